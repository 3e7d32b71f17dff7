//! `tintype keys`: opens the ledger directly, with or without a running server.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tintype_ledger::account::DayUsage;
use tintype_ledger::id::KeyId;
use tintype_ledger::key::{KeyRecord, NewKey};
use tintype_ledger::policy::{Policy, utc_day};
use tintype_ledger::{KeyStore, Ledger};
use tintype_service::unpriced;

use crate::cli::{CreateKey, KeyCommand, KeyOptions};
use crate::config::{Config, Models};
use crate::{ledger, output};

/// Runs a `tintype keys` command.
///
/// # Errors
/// If the ledger cannot be opened, or the key does not exist.
pub(crate) fn run(config: &Config, command: KeyCommand) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let ledger = ledger::open_for_command(config, "call its /v1/keys instead").await?;
        match command {
            KeyCommand::Create(create) => self::create(&*ledger, &config.models, create).await,
            KeyCommand::List(options) => list(&*ledger, OutputFormat::of(&options)).await,
            KeyCommand::Show(one) => show(&*ledger, &one.id, OutputFormat::of(&one.common)).await,
            KeyCommand::Revoke(one) => revoke(&*ledger, &one.id, OutputFormat::of(&one.common)).await,
        }
    })
}

/// The format of a command's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OutputFormat {
    Text,
    Json,
}

impl OutputFormat {
    fn of(options: &KeyOptions) -> Self {
        if options.json { Self::Json } else { Self::Text }
    }
}

async fn create(keys: &dyn KeyStore, known: &Models, create: CreateKey) -> Result<()> {
    let CreateKey { name, owner, rate, concurrency, budgets, models, expires, admin, common } = create;
    let now = OffsetDateTime::now_utc();
    let expires = expires.map(|span| now + span.duration());
    let policy = Policy { rate, concurrency, budgets, models };
    let (key, record) = keys.create_key(NewKey { name, owner, expires, admin, policy }, now).await?;
    if common.json {
        let mut shown = as_json(&record);
        shown["key"] = key.secret().expose().into();
        return output::json(&shown);
    }
    output::line(key.secret().expose())?;
    if let Some(currency) = unpriced(&record.policy.budgets, &known.prices()) {
        output::message(&format!(
            "warning: the budget is in {currency}; a server refuses the requests of this key with status 402 \
             unless its setting `price` is in {currency}, for example 0.0005{currency}"
        ));
    }
    let names: Vec<_> = known.entries.iter().map(|entry| entry.name.as_str()).collect();
    for model in record.policy.models.iter().filter(|model| !names.contains(&model.as_str())) {
        output::message(&format!(
            "warning: the settings of this command have no model named `{model}`, only {}; a server refuses the \
             requests of this key with status 403 unless one of its models has this name (an alias does not count)",
            names.join(", ")
        ));
    }
    output::message(&format!("{}\nSave the key: it cannot be shown again.", summary(&record)));
    Ok(())
}

async fn list(keys: &dyn KeyStore, format: OutputFormat) -> Result<()> {
    let keys = keys.keys().await?;
    if format == OutputFormat::Json {
        return output::json(&Value::Array(keys.iter().map(as_json).collect()));
    }
    if keys.is_empty() {
        output::message("No keys. Create one with `tintype keys create --name NAME`.");
    }
    keys.iter().try_for_each(|record| output::line(&summary(record)))
}

async fn show(ledger: &dyn Ledger, id: &KeyId, format: OutputFormat) -> Result<()> {
    let record = ledger.key(id).await?.with_context(|| unknown_key(id))?;
    let today = utc_day(OffsetDateTime::now_utc());
    let used =
        ledger.usage(id, today, today).await?.into_iter().next().map(|(_, day)| day).unwrap_or_default();
    if format == OutputFormat::Json {
        let mut shown = as_json(&record);
        shown["today"] = usage(&used);
        return output::json(&shown);
    }
    output::line(&summary(&record))?;
    let DayUsage { jobs, pictures, stored, joined, spent, .. } = used;
    let seconds = spent.engine_ms as f64 / 1e3;
    output::line(&format!(
        "today (UTC): {jobs} jobs, {pictures} images, {seconds} s of engine time; requests without a new \
         job: {stored} served from the store, {joined} joined to a running job"
    ))
}

async fn revoke(keys: &dyn KeyStore, id: &KeyId, format: OutputFormat) -> Result<()> {
    let revoked = keys.revoke_key(id, OffsetDateTime::now_utc()).await?;
    let record = revoked.with_context(|| unknown_key(id))?;
    match format {
        OutputFormat::Json => output::json(&as_json(&record)),
        OutputFormat::Text => output::line(&summary(&record)),
    }
}

fn unknown_key(id: &KeyId) -> String {
    format!("no key has the id {id}; `tintype keys list` shows all keys")
}

fn usage(day: &DayUsage) -> Value {
    json!({
        "jobs": day.jobs,
        "pictures": day.pictures,
        "stored": day.stored,
        "joined": day.joined,
        "engine_seconds": day.spent.engine_ms as f64 / 1e3,
    })
}

/// One line with id, name, owner, limits and state.
fn summary(record: &KeyRecord) -> String {
    let KeyRecord { id, name, owner, policy, .. } = record;
    let admin = if record.admin { ", admin" } else { "" };
    let state = match (record.revoked, record.expires) {
        (Some(at), _) => format!(", revoked {}", day(at)),
        (None, Some(at)) if at <= OffsetDateTime::now_utc() => format!(", expired {}", day(at)),
        (None, Some(at)) => format!(", expires {}", day(at)),
        (None, None) => String::new(),
    };
    format!("{id}  {name} (owner {owner}): {policy}{admin}{state}")
}

fn day(at: OffsetDateTime) -> String {
    utc_day(at).to_string()
}

/// The record without the hash of the secret.
fn as_json(record: &KeyRecord) -> Value {
    let time = |at: OffsetDateTime| at.format(&Rfc3339).unwrap_or_default();
    json!({
        "id": record.id,
        "name": record.name,
        "owner": record.owner,
        "admin": record.admin,
        "rate": record.policy.rate,
        "concurrency": record.policy.concurrency,
        "budgets": record.policy.budgets,
        "models": record.policy.models,
        "created_at": time(record.created),
        "expires_at": record.expires.map(time),
        "revoked_at": record.revoked.map(time),
    })
}
