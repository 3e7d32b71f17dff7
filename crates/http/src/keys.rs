//! `/v1/keys`: who may ask, for those who say so.

use std::num::NonZeroU32;
use std::str::FromStr;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};
use tintype_core::violation::{Violation, ViolationKind};
use tintype_service::ServiceError;
use tintype_service::ledger::id::KeyId;
use tintype_service::ledger::key::{KeyRecord, NewKey};
use tintype_service::ledger::policy::{CoarseDuration, Policy};

use crate::App;
use crate::caller::Authenticated;
use crate::image_resource::to_millisecond;
use crate::json::{Members, integer};
use crate::openapi::types::{KeyLimits, Timestamp};
use crate::params::{MAX_REPORTED_ERRORS, out_of_range, unknown_parameter};
use crate::path_param::PathParam;
use crate::problem::Problem;

const MEMBERS: [&str; 8] =
    ["name", "owner", "rate", "concurrency", "budgets", "expires_in", "expires_at", "admin"];
/// The longest name, in characters.
const MAX_NAME_CHARS: usize = 200;

/// A key as its operator sees it: everything but the key and its hash.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Key")]
pub(crate) struct KeyResource {
    /// The key's id, which is not the key.
    #[schemars(with = "String")]
    id: KeyId,
    /// What people call it.
    name: String,
    /// Whose jobs and pictures it reaches.
    owner: String,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "Timestamp")]
    created_at: OffsetDateTime,
    /// Until when it works.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Timestamp>")]
    expires_at: Option<OffsetDateTime>,
    /// When it was taken back.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Timestamp>")]
    revoked_at: Option<OffsetDateTime>,
    /// It may manage keys, and read metrics.
    admin: bool,
    #[serde(flatten)]
    #[schemars(with = "KeyLimits")]
    policy: Policy,
}

/// A key that has just been made.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NewKey")]
pub(crate) struct CreatedKey {
    /// The key itself, shown this once.
    key: String,
    #[serde(flatten)]
    record: KeyResource,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "KeyList")]
pub(crate) struct KeyList {
    data: Vec<KeyResource>,
}

/// `POST /v1/keys`
pub(crate) async fn create(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    body: Members,
) -> Result<Response, Problem> {
    if !caller.admin {
        return Err(ServiceError::NotAdmin.into());
    }
    let new = KeyParser::default().read(body, OffsetDateTime::now_utc())?;
    let (key, record) = app.service.create_key(&caller, new).await.map_err(budget_violation)?;
    let location = [(LOCATION, format!("/v1/keys/{}", record.id))];
    let body = CreatedKey { key: key.secret().expose().to_owned(), record: record.into() };
    Ok((StatusCode::CREATED, location, Json(body)).into_response())
}

/// A budget in the wrong currency is a mistake in the request here; elsewhere it is one in the key.
fn budget_violation(error: ServiceError) -> ServiceError {
    let ServiceError::Unpriced(currency) = error else { return error };
    let expected =
        format!("in engine seconds, or in a currency with a price: nothing here has one in {currency}");
    ServiceError::Invalid(vec![Violation::malformed("budgets", expected)])
}

/// `GET /v1/keys`
pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
) -> Result<Response, Problem> {
    let keys = app.service.keys(&caller).await?;
    Ok(Json(KeyList { data: keys.into_iter().map(KeyResource::from).collect() }).into_response())
}

/// `GET /v1/keys/{id}`
pub(crate) async fn read(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathParam(id): PathParam,
) -> Result<Response, Problem> {
    let record = app.service.key(&caller, &parse_key_id(&id)?).await?;
    Ok(Json(KeyResource::from(record)).into_response())
}

/// `DELETE /v1/keys/{id}`: takes it back.
pub(crate) async fn revoke(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathParam(id): PathParam,
) -> Result<Response, Problem> {
    let record = app.service.revoke_key(&caller, &parse_key_id(&id)?).await?;
    Ok(Json(KeyResource::from(record)).into_response())
}

fn parse_key_id(id: &str) -> Result<KeyId, Problem> {
    id.parse().map_err(|_| ServiceError::NotFound("key").into())
}

impl From<KeyRecord> for KeyResource {
    fn from(record: KeyRecord) -> Self {
        Self {
            id: record.id,
            name: record.name,
            owner: record.owner.to_string(),
            created_at: to_millisecond(record.created),
            expires_at: record.expires.map(to_millisecond),
            revoked_at: record.revoked.map(to_millisecond),
            admin: record.admin,
            policy: record.policy,
        }
    }
}

/// Reads what a key shall be, and collects what is wrong with it.
#[derive(Default)]
struct KeyParser {
    seen: Vec<&'static str>,
    violations: Vec<Violation>,
}

impl KeyParser {
    fn read(mut self, members: Members, now: OffsetDateTime) -> Result<NewKey, Vec<Violation>> {
        let mut new = NewKey {
            name: String::new(),
            owner: None,
            expires: None,
            admin: false,
            policy: Policy::default(),
        };
        for (name, value) in members.0 {
            let Some(name) = MEMBERS.into_iter().find(|known| *known == name) else {
                self.violations.push(unknown_parameter(&name, &MEMBERS));
                continue;
            };
            if self.seen.contains(&name) {
                self.violations.push(Violation::new(name, ViolationKind::Repeated));
                continue;
            }
            if value.is_null() {
                continue;
            }
            self.seen.push(name);
            if let Err(violation) = set(&mut new, name, &value, now) {
                self.violations.push(violation);
            }
        }
        if !self.seen.contains(&"name") {
            self.violations.push(Violation::new("name", ViolationKind::Missing));
        }
        if self.seen.contains(&"expires_in") && self.seen.contains(&"expires_at") {
            self.violations.push(Violation::malformed("expires_at", "left out where `expires_in` is given"));
        }
        self.violations.truncate(MAX_REPORTED_ERRORS);
        if self.violations.is_empty() { Ok(new) } else { Err(self.violations) }
    }
}

fn set(new: &mut NewKey, name: &'static str, value: &Value, now: OffsetDateTime) -> Result<(), Violation> {
    match name {
        "name" => new.name = parse_name(name, value)?,
        "owner" => {
            new.owner =
                Some(parse_text(name, value, "1 to 64 of the characters A-Z a-z 0-9 - _ . (no dot first)")?);
        }
        "rate" => {
            new.policy.rate =
                Some(parse_text(name, value, "a rate like 60/min (1 to 1,000,000 per s, min, h or day)")?)
        }
        "concurrency" => new.policy.concurrency = Some(concurrency(name, value)?),
        "budgets" => {
            let expected = "a list of budgets like 3600s/day and 5usd/day";
            let list = value.as_array().ok_or_else(|| Violation::malformed(name, expected))?;
            let read = list.iter().map(|budget| parse_text(name, budget, expected));
            new.policy.budgets = read.collect::<Result<_, _>>()?;
        }
        "expires_in" => {
            let span: CoarseDuration =
                parse_text(name, value, "a length of time like 90d, 12h, 30min or 45s (up to 3650d)")?;
            new.expires = Some(now + span.duration());
        }
        "expires_at" => {
            let at = value.as_str().and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
            // Times are written in UTC, where the last hours of the year 9999 may be in the year 10000, which is none.
            let at = at.and_then(|at| at.checked_to_offset(UtcOffset::UTC)).filter(|at| *at > now);
            let expected = "a time to come like 2027-01-31T12:00:00Z, at the latest 9999-12-31T23:59:59Z";
            new.expires = Some(at.ok_or_else(|| Violation::malformed(name, expected))?);
        }
        _ => new.admin = value.as_bool().ok_or_else(|| Violation::malformed(name, "true or false"))?,
    }
    Ok(())
}

fn parse_name(name: &'static str, value: &Value) -> Result<String, Violation> {
    let text = value.as_str().ok_or_else(|| Violation::malformed(name, "a text"))?;
    let actual = text.chars().count();
    match text.trim() {
        "" => Err(Violation::new(name, ViolationKind::Empty)),
        _ if actual > MAX_NAME_CHARS => {
            Err(Violation::new(name, ViolationKind::TooLong { limit: MAX_NAME_CHARS, actual }))
        }
        trimmed => Ok(trimmed.to_owned()),
    }
}

fn parse_text<T: FromStr>(name: &'static str, value: &Value, expected: &str) -> Result<T, Violation> {
    let read = value.as_str().and_then(|text| text.parse().ok());
    read.ok_or_else(|| Violation::malformed(name, expected))
}

fn concurrency(name: &'static str, value: &Value) -> Result<NonZeroU32, Violation> {
    let number = value.as_number().and_then(integer);
    let number = number.ok_or_else(|| Violation::malformed(name, "a whole number"))?;
    let most = i64::from(u32::MAX);
    u32::try_from(number).ok().and_then(NonZeroU32::new).ok_or_else(|| out_of_range(name, 1, most))
}
