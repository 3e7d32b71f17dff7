//! `/v1/usage`: the usage and remaining quota of a key. `/metrics`: the metrics of this process.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, VARY};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime};
use tintype_core::violation::Violation;
use tintype_ledger::account::{DayUsage, ModelUsage, USAGE_RETENTION_DAYS};
use tintype_ledger::limits::{Limit, Quota};
use tintype_ledger::money::{Amount, Totals};
use tintype_ledger::policy::{Allowance, utc_day};

use crate::App;
use crate::caller::Authenticated;
use crate::image_resource::{Money, seconds, to_millisecond, units};
use crate::metrics_format::MetricsFormat;
use crate::openapi::types::Timestamp;
use crate::problem::Problem;
use crate::query;

/// `2026-11-23`
const DATE_FORMAT: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");
/// The default period between `from` and `to`.
const DEFAULT_PERIOD: Duration = Duration::days(30);

/// The usage and the limits of a key.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Usage {
    /// The usage by day; days without usage are omitted.
    data: Vec<DailyUsage>,
    /// The remaining quota of the key's limits.
    limits: Vec<RemainingLimit>,
}

/// The usage of a day.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Day")]
struct DailyUsage {
    /// The day in UTC.
    date: String,
    /// The number of accepted jobs.
    jobs: u64,
    /// The number of generated images.
    pictures: u64,
    /// The number of requests that were served with stored images.
    stored: u64,
    /// The number of requests that joined another request's running job.
    joined: u64,
    /// The charged engine time in seconds.
    engine_seconds: f64,
    /// The engine time in seconds that is reserved for jobs that have not ended.
    reserved_engine_seconds: f64,
    /// The charged money by currency.
    amounts: Vec<Money>,
    /// The jobs that ended on this day, by model.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    models: Vec<DailyModelUsage>,
}

/// The usage of a model on a day.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DayOfModel")]
struct DailyModelUsage {
    /// The name of the model.
    model: String,
    /// The number of jobs that ended.
    jobs: u64,
    /// The number of generated images.
    pictures: u64,
    /// The charged engine time in seconds.
    engine_seconds: f64,
    /// The charged money by currency.
    amounts: Vec<Money>,
}

/// A limit and its remaining quota.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Limit")]
struct RemainingLimit {
    /// The limit as it was configured.
    limit: String,
    /// The remaining quota in the limit's unit: requests, jobs, engine seconds or units of the currency.
    remaining: serde_json::Number,
    /// When the full quota is available again.
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
    let values = query::parse_known(&query.unwrap_or_default(), &["from", "to"])?;
    let today = utc_day(OffsetDateTime::now_utc());
    let (from, to) = (parse_date("from", values.get("from")), parse_date("to", values.get("to")));
    let violations: Vec<_> = [&from, &to].into_iter().filter_map(|day| day.clone().err()).collect();
    let (Ok(from), Ok(to)) = (from, to) else { return Err(violations.into()) };
    let to = to.unwrap_or(today);
    let from = from.unwrap_or_else(|| to.checked_sub(DEFAULT_PERIOD).unwrap_or(Date::MIN));
    if !(Duration::ZERO..Duration::days(USAGE_RETENTION_DAYS)).contains(&(to - from)) {
        let expected =
            format!("a day up to {} days before `to`, and not after `to`", USAGE_RETENTION_DAYS - 1);
        return Err(vec![Violation::malformed("from", expected)].into());
    }
    let days = app.service.usage(&caller, from, to).await?;
    let quotas = app.service.quotas(&caller).await?;
    let data = days.iter().map(|(date, day)| DailyUsage::new(*date, day)).collect();
    Ok(Json(Usage { data, limits: quotas.iter().map(RemainingLimit::from).collect() }).into_response())
}

/// `GET /metrics`
pub(crate) async fn metrics(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let format = MetricsFormat::preferred(&headers);
    let text = format.convert(app.service.metrics(&caller).await?);
    Ok(([(CONTENT_TYPE, format.content_type()), (VARY, "accept")], text).into_response())
}

fn parse_date(name: &str, text: Option<&String>) -> Result<Option<Date>, Violation> {
    let date = text.map(|text| Date::parse(text, DATE_FORMAT)).transpose();
    date.map_err(|_| Violation::malformed(name, "a date such as `2026-11-23`"))
}

impl DailyUsage {
    fn new(date: Date, day: &DayUsage) -> Self {
        Self {
            date: date.format(DATE_FORMAT).expect("every date has a year, a month and a day"),
            jobs: day.jobs,
            pictures: day.pictures,
            stored: day.stored,
            joined: day.joined,
            engine_seconds: seconds(day.spent.engine_ms),
            reserved_engine_seconds: seconds(day.reserved.engine_ms),
            amounts: amounts(&day.spent),
            models: day.models.iter().map(DailyModelUsage::from).collect(),
        }
    }
}

impl From<(&String, &ModelUsage)> for DailyModelUsage {
    fn from((model, usage): (&String, &ModelUsage)) -> Self {
        Self {
            model: model.clone(),
            jobs: usage.jobs,
            pictures: usage.pictures,
            engine_seconds: seconds(usage.spent.engine_ms),
            amounts: amounts(&usage.spent),
        }
    }
}

fn amounts(totals: &Totals) -> Vec<Money> {
    totals.money.iter().map(|(&currency, &micros)| Money::from(Amount { micros, currency })).collect()
}

impl From<&Quota> for RemainingLimit {
    fn from(quota: &Quota) -> Self {
        let amount = match quota.limit {
            Limit::Rate(_) | Limit::Concurrency(_) => None,
            Limit::Budget(budget) => Some(match budget.allowance {
                Allowance::EngineMs(_) => seconds(quota.remaining),
                Allowance::Money(_) => units(quota.remaining),
            }),
        };
        let remaining = amount.and_then(serde_json::Number::from_f64);
        Self {
            limit: quota.limit.to_string(),
            remaining: remaining.unwrap_or_else(|| quota.remaining.into()),
            resets_at: quota.resets_at.map(to_millisecond),
        }
    }
}
