//! `/v1/keys`: the management of API keys, for admins.

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
use tintype_ledger::id::KeyId;
use tintype_ledger::key::{KeyRecord, NewKey};
use tintype_ledger::policy::{CoarseDuration, Policy};
use tintype_service::{Service, ServiceError};

use crate::App;
use crate::caller::Authenticated;
use crate::image_resource::to_millisecond;
use crate::json::{Members, integer};
use crate::openapi::types::{KeyLimits, Timestamp};
use crate::params::{MAX_REPORTED_ERRORS, ValueKind, model_names, out_of_range, unknown_parameter};
use crate::path_param::PathParam;
use crate::problem::Problem;

const MEMBERS: [&str; 9] =
    ["name", "owner", "rate", "concurrency", "budgets", "models", "expires_in", "expires_at", "admin"];
/// The maximum length of a name, in characters.
const MAX_NAME_CHARS: usize = 200;

/// A key without its secret and hash.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Key")]
pub(crate) struct KeyResource {
    /// The id of the key; not the secret key itself.
    #[schemars(with = "String")]
    id: KeyId,
    /// A name for people.
    name: String,
    /// The owner whose jobs and images the key can access.
    owner: String,
    /// When the key was created.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "Timestamp")]
    created_at: OffsetDateTime,
    /// When the key expires.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Timestamp>")]
    expires_at: Option<OffsetDateTime>,
    /// When the key was revoked.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Timestamp>")]
    revoked_at: Option<OffsetDateTime>,
    /// Whether the key may manage keys and read metrics.
    admin: bool,
    #[serde(flatten)]
    #[schemars(with = "KeyLimits")]
    policy: Policy,
}

/// A new key with its secret.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NewKey")]
pub(crate) struct CreatedKey {
    /// The secret key; no other response contains it.
    key: String,
    #[serde(flatten)]
    record: KeyResource,
}

/// The response of `GET /v1/keys`.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "KeyList")]
pub(crate) struct KeyList {
    /// All keys, revoked ones included.
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
    let new = KeyParser::default().parse(body, OffsetDateTime::now_utc())?;
    let created = app.service.create_key(&caller, new).await;
    let (key, record) = created.map_err(|error| limit_violation(&app.service, error))?;
    let location = [(LOCATION, format!("/v1/keys/{}", record.id))];
    let body = CreatedKey { key: key.secret().expose().to_owned(), record: record.into() };
    Ok((StatusCode::CREATED, location, Json(body)).into_response())
}

/// Reports a limit that this server does not know as an invalid parameter; elsewhere it is an error of the key
/// or of the request.
fn limit_violation(service: &Service, error: ServiceError) -> ServiceError {
    let violation = match error {
        ServiceError::Unpriced(currency) => {
            let expected = format!(
                "in engine seconds or in a currency with a price; this server has no price in {currency}"
            );
            Violation::malformed("budgets", expected)
        }
        ServiceError::UnknownModel(_) => {
            let names = model_names(service, |_| true);
            Violation::malformed("models", format!("a list of names (not aliases) of models: {names}"))
        }
        other => return other,
    };
    ServiceError::Invalid(vec![violation])
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

/// `DELETE /v1/keys/{id}`: revokes the key.
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

/// Parses the description of a new key and collects its violations.
#[derive(Default)]
struct KeyParser {
    seen: Vec<&'static str>,
    violations: Vec<Violation>,
}

impl KeyParser {
    fn parse(mut self, members: Members, now: OffsetDateTime) -> Result<NewKey, Vec<Violation>> {
        let mut new = NewKey {
            name: String::new(),
            owner: None,
            expires: None,
            admin: false,
            policy: Policy::default(),
        };
        for (name, value) in members.members {
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
            if members.repaired.contains(name) {
                // A stored text is not changed.
                self.violations.push(Violation::malformed(name, "text without halves of surrogate pairs"));
                continue;
            }
            if let Err(violation) = set(&mut new, name, &value, now) {
                self.violations.push(violation);
            }
        }
        if !self.seen.contains(&"name") {
            self.violations.push(Violation::new("name", ViolationKind::Missing));
        }
        if self.seen.contains(&"expires_in") && self.seen.contains(&"expires_at") {
            self.violations.push(Violation::malformed("expires_at", "absent if `expires_in` is given"));
        }
        self.violations.truncate(MAX_REPORTED_ERRORS);
        if self.violations.is_empty() { Ok(new) } else { Err(self.violations) }
    }
}

fn set(new: &mut NewKey, name: &'static str, value: &Value, now: OffsetDateTime) -> Result<(), Violation> {
    match name {
        "name" => new.name = parse_name(name, value)?,
        "owner" => {
            new.owner = Some(parse_text(
                name,
                value,
                "1 to 64 of the characters A-Z a-z 0-9 - _ . (no leading dot)",
            )?);
        }
        "rate" => {
            new.policy.rate = Some(parse_text(
                name,
                value,
                "a rate such as `60/min` (1 to 1,000,000 per s, min, h or day)",
            )?)
        }
        "concurrency" => new.policy.concurrency = Some(concurrency(name, value)?),
        "budgets" => {
            let expected = "a list of budgets such as `3600s/day` and `5usd/day`";
            let list = value.as_array().ok_or_else(|| Violation::malformed(name, expected))?;
            let budgets = list.iter().map(|budget| parse_text(name, budget, expected));
            new.policy.budgets = budgets.collect::<Result<_, _>>()?;
        }
        "models" => {
            let expected = "a list of names of models";
            let list = value.as_array().ok_or_else(|| Violation::malformed(name, expected))?;
            let models = list.iter().map(|model| match model.as_str().map(str::trim) {
                None | Some("") => Err(Violation::malformed(name, expected)),
                Some(model) => Ok(model.to_owned()),
            });
            new.policy.models = models.collect::<Result<_, _>>()?;
        }
        "expires_in" => {
            let span: CoarseDuration =
                parse_text(name, value, "a duration such as `90d`, `12h`, `30min` or `45s` (at most 3650d)")?;
            new.expires = Some(now + span.duration());
        }
        "expires_at" => {
            let at = value.as_str().and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
            // Times are written in UTC, where the last hours of the year 9999 can be in the year 10000, which
            // RFC 3339 lacks.
            let at = at.and_then(|at| at.checked_to_offset(UtcOffset::UTC)).filter(|at| *at > now);
            let expected = "a future time such as `2027-01-31T12:00:00Z`, not after `9999-12-31T23:59:59Z`";
            new.expires = Some(at.ok_or_else(|| Violation::malformed(name, expected))?);
        }
        _ => {
            new.admin =
                value.as_bool().ok_or_else(|| Violation::malformed(name, ValueKind::Boolean.expected()))?
        }
    }
    Ok(())
}

fn parse_name(name: &'static str, value: &Value) -> Result<String, Violation> {
    let text = value.as_str().ok_or_else(|| Violation::malformed(name, ValueKind::Text.expected()))?;
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
    let parsed = value.as_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| Violation::malformed(name, expected))
}

fn concurrency(name: &'static str, value: &Value) -> Result<NonZeroU32, Violation> {
    let number = Some(value).filter(|value| value.is_number()).and_then(integer);
    let number = number.ok_or_else(|| Violation::malformed(name, ValueKind::Integer.expected()))?;
    let max = i64::from(u32::MAX);
    u32::try_from(number).ok().and_then(NonZeroU32::new).ok_or_else(|| out_of_range(name, 1, max))
}
