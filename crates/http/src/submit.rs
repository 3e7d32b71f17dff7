//! Handing an order in, for every call that makes pictures.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use tintype_service::{Caller, Image, Order, ServiceError, Source, State, Ticket};
use tokio::time::timeout;

use crate::App;
use crate::fields::Asked;
use crate::idempotency::{self, REPLAYED};
use crate::problem::Problem;
use crate::ratelimit;

/// What came of an order.
pub(crate) struct Submitted {
    /// The job, with its pictures or on its way.
    pub(crate) result: Result<Image, Problem>,
    /// What the answer says beside that, good or bad.
    pub(crate) headers: HeaderMap,
}

/// Checks what was asked for under this path, hands it in, and waits: as long as it takes, but no longer than `patience`
/// or the operator's time budget.
///
/// # Errors
/// Why it was not let in. What becomes of it afterwards is in the result.
pub(crate) async fn submit(
    app: &App,
    caller: &Caller,
    (asked, path): (Asked, &str),
    headers: &HeaderMap,
    patience: Option<Duration>,
) -> Result<Submitted, Problem> {
    let key = idempotency::key(headers)?;
    let canonical = asked.canonical(path);
    let order = asked.order(&app.service)?;
    let expires_in = order.request.expires_in;
    let patience = patience.into_iter().chain(app.time_budget).min();
    // Nobody is to wait: then it does not take the place of a client who does.
    let order = Order { detached: patience == Some(Duration::ZERO), ..order };
    let order = match key {
        Some(key) => order.once(key, &canonical),
        None => order,
    };

    let ticket = app.service.submit(caller, order).await?;
    let mut headers = ratelimit::headers(ticket.standing());
    if ticket.source() == Source::Replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    let id = ticket.id();
    let mut states = ticket.states();
    let ended = match patience {
        None => true,
        Some(patience) => timeout(patience, states.wait_for(State::is_final)).await.is_ok(),
    };
    let result = if ended { ticket.finished().await } else { later(app, caller, ticket, expires_in).await };
    Ok(Submitted { result: result.map_err(|error| Problem::Job(id, error)), headers })
}

/// The client will come back: from now on the pictures are made whoever waits. Where the job is by then.
async fn later(
    app: &App,
    caller: &Caller,
    ticket: Ticket,
    expires_in: Duration,
) -> Result<Image, ServiceError> {
    ticket.keep().await?;
    let image = app.service.image(caller, ticket.id(), expires_in).await?;
    // It may have ended just now, well or not.
    if image.status.is_final() { ticket.finished().await } else { Ok(image) }
}
