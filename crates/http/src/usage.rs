//! `/v1/usage`: what a key has used and what is left to it. `/metrics`: what this process has done.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime};
use tintype_core::violation::Violation;
use tintype_service::ledger::account::{DayUsage, USAGE_RETENTION_DAYS};
use tintype_service::ledger::limits::{Limit, Quota};
use tintype_service::ledger::money::{Amount, Totals};
use tintype_service::ledger::policy::{Allowance, utc_day};

use crate::App;
use crate::caller::Authenticated;
use crate::image_resource::{Money, moment, seconds, units};
use crate::openapi::types::Timestamp;
use crate::problem::Problem;
use crate::query;

const DAY: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");
/// How far back the answer goes unless asked otherwise.
const BACK: Duration = Duration::days(30);

#[derive(Serialize, JsonSchema)]
pub(crate) struct Usage {
    /// By day; days without any are left out.
    data: Vec<OfDay>,
    /// What is left of the key's limits.
    limits: Vec<Left>,
}

/// What was used on a day.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Day")]
struct OfDay {
    /// The day, UTC.
    date: String,
    /// Jobs accepted.
    jobs: u64,
    /// Pictures made.
    pictures: u64,
    /// Requests answered by pictures that were there already.
    stored: u64,
    /// Requests answered by somebody else's job in flight.
    joined: u64,
    /// Engine time charged.
    engine_seconds: f64,
    /// Engine time set aside for jobs that have not ended.
    reserved_engine_seconds: f64,
    /// Money charged, by currency.
    amounts: Vec<Money>,
}

/// What is left of a limit, in its own unit: requests, jobs, engine seconds or the currency's.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Limit")]
struct Left {
    /// The limit, as it was written.
    limit: String,
    /// What is left of it.
    remaining: serde_json::Number,
    /// When it is whole again.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Timestamp>")]
    resets_at: Option<OffsetDateTime>,
}

/// `GET /v1/usage`
pub(crate) async fn usage(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let given = query::only(&query.unwrap_or_default(), &["from", "to"])?;
    let today = utc_day(OffsetDateTime::now_utc());
    let (from, to) = (day("from", given.get("from")), day("to", given.get("to")));
    let violations: Vec<_> = [&from, &to].into_iter().filter_map(|day| day.clone().err()).collect();
    let (Ok(from), Ok(to)) = (from, to) else { return Err(violations.into()) };
    let to = to.unwrap_or(today);
    let from = from.unwrap_or_else(|| to.checked_sub(BACK).unwrap_or(Date::MIN));
    if !(Duration::ZERO..Duration::days(USAGE_RETENTION_DAYS)).contains(&(to - from)) {
        let expected = format!("a day no later than `to`, and at most {USAGE_RETENTION_DAYS} days of it");
        return Err(vec![Violation::malformed("from", expected)].into());
    }
    let days = app.service.usage(&caller, from, to).await?;
    let quotas = app.service.quotas(&caller).await?;
    let data = days.iter().map(|(date, day)| OfDay::new(*date, day)).collect();
    Ok(Json(Usage { data, limits: quotas.iter().map(Left::from).collect() }).into_response())
}

/// `GET /metrics`
pub(crate) async fn metrics(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
) -> Result<Response, Problem> {
    let text = app.service.metrics(&caller).await?;
    let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, openmetrics)], text).into_response())
}

fn day(name: &str, text: Option<&String>) -> Result<Option<Date>, Violation> {
    let read = text.map(|text| Date::parse(text, DAY)).transpose();
    read.map_err(|_| Violation::malformed(name, "a day like 2026-11-23"))
}

impl OfDay {
    fn new(date: Date, day: &DayUsage) -> Self {
        Self {
            date: date.format(DAY).expect("every date has a year, a month and a day"),
            jobs: day.jobs,
            pictures: day.pictures,
            stored: day.stored,
            joined: day.joined,
            engine_seconds: seconds(day.spent.engine_ms),
            reserved_engine_seconds: seconds(day.reserved.engine_ms),
            amounts: amounts(&day.spent),
        }
    }
}

fn amounts(totals: &Totals) -> Vec<Money> {
    totals.money.iter().map(|(&currency, &micros)| Money::from(Amount { micros, currency })).collect()
}

impl From<&Quota> for Left {
    fn from(quotas: &Quota) -> Self {
        let amount = match quotas.limit {
            Limit::Rate(_) | Limit::Concurrency(_) => None,
            Limit::Budget(budget) => Some(match budget.allowance {
                Allowance::EngineMs(_) => seconds(quotas.remaining),
                Allowance::Money(_) => units(quotas.remaining),
            }),
        };
        let remaining = amount.and_then(serde_json::Number::from_f64);
        Self {
            limit: quotas.limit.to_string(),
            remaining: remaining.unwrap_or_else(|| quotas.remaining.into()),
            resets_at: quotas.resets_at.map(moment),
        }
    }
}
