//! `tintype keys`: works on the ledger itself, whether a server runs or not.

use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tintype_ledger::Ledger;
use tintype_ledger::account::DayUsage;
use tintype_ledger::id::KeyId;
use tintype_ledger::key::{KeyRecord, NewKey};
use tintype_ledger::money::Amount;
use tintype_ledger::policy::{Policy, utc_day};
use tintype_service::unpriced;

use crate::cli::{CreateKey, KeyCommand};
use crate::config::{Config, LedgerChoice};
use crate::{ledger, output, store};

/// Does what was asked.
///
/// # Errors
/// When the ledger cannot be used, or there is no such key.
pub(crate) fn run(config: &Config, command: KeyCommand) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let ledger = open(config).await?;
        match command {
            KeyCommand::Create(create) => self::create(&*ledger, config.ledger.price, create).await,
            KeyCommand::List(any) => list(&*ledger, any.json).await,
            KeyCommand::Show(one) => show(&*ledger, &one.id, one.common.json).await,
            KeyCommand::Revoke(one) => revoke(&*ledger, &one.id, one.common.json).await,
        }
    })
}

async fn open(config: &Config) -> Result<Arc<dyn Ledger>> {
    match config.ledger.choice {
        LedgerChoice::Sqlite => ledger::sqlite(config).await,
        LedgerChoice::Bucket => {
            // No links are signed here, so it does not matter where they would lead.
            let opened = store::open(config, "http://localhost").await;
            let opened = opened.context("if a server has the folder, use its /v1/keys instead")?;
            ledger::open(config, opened.objects()).await
        }
    }
}

async fn create(ledger: &dyn Ledger, price: Option<Amount>, create: CreateKey) -> Result<()> {
    let CreateKey { name, owner, rate, concurrency, budgets, expires, admin, common } = create;
    let now = OffsetDateTime::now_utc();
    let expires = expires.map(|span| now + span.duration());
    let policy = Policy { rate, concurrency, budgets };
    let (key, record) = ledger.create_key(NewKey { name, owner, expires, admin, policy }, now).await?;
    if common.json {
        let mut shown = as_json(&record);
        shown["key"] = key.secret().expose().into();
        return output::json(&shown);
    }
    output::line(key.secret().expose())?;
    if let Some(currency) = unpriced(&record.policy.budgets, price) {
        output::message(&format!(
            "The budget is in {currency}: a server does not start with this key unless its `price` is in {currency} too."
        ));
    }
    output::message(&format!("{}\nThe key is shown this once.", summary(&record)));
    Ok(())
}

async fn list(ledger: &dyn Ledger, json: bool) -> Result<()> {
    let keys = ledger.keys().await?;
    if json {
        return output::json(&Value::Array(keys.iter().map(as_json).collect()));
    }
    if keys.is_empty() {
        output::message("There is no key yet. Make one with `tintype keys create --name NAME`.");
    }
    keys.iter().try_for_each(|record| output::line(&summary(record)))
}

async fn show(ledger: &dyn Ledger, id: &KeyId, json: bool) -> Result<()> {
    let record = ledger.key(id).await?.with_context(|| format!("there is no key {id}"))?;
    let today = utc_day(OffsetDateTime::now_utc());
    let used =
        ledger.usage(id, today, today).await?.into_iter().next().map(|(_, day)| day).unwrap_or_default();
    if json {
        let mut shown = as_json(&record);
        shown["today"] = usage(&used);
        return output::json(&shown);
    }
    output::line(&summary(&record))?;
    let DayUsage { jobs, pictures, stored, joined, spent, .. } = used;
    let seconds = spent.engine_ms as f64 / 1e3;
    output::line(&format!(
        "today: {jobs} jobs, {pictures} pictures, {stored} answered from the store, {joined} joined, {seconds} s of engine time"
    ))
}

async fn revoke(ledger: &dyn Ledger, id: &KeyId, json: bool) -> Result<()> {
    let revoked = ledger.revoke_key(id, OffsetDateTime::now_utc()).await?;
    let record = revoked.with_context(|| format!("there is no key {id}"))?;
    if json { output::json(&as_json(&record)) } else { output::line(&summary(&record)) }
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

/// One line: id, name, owner, limits, and whether it works.
fn summary(record: &KeyRecord) -> String {
    let KeyRecord { id, name, owner, policy, .. } = record;
    let admin = if record.admin { ", admin" } else { "" };
    let state = match (record.revoked, record.expires) {
        (Some(at), _) => format!(", revoked {}", day(at)),
        (None, Some(at)) if at <= OffsetDateTime::now_utc() => format!(", expired {}", day(at)),
        (None, Some(at)) => format!(", until {}", day(at)),
        (None, None) => String::new(),
    };
    format!("{id}  {name} (owner {owner}): {policy}{admin}{state}")
}

fn day(at: OffsetDateTime) -> String {
    utc_day(at).to_string()
}

/// The record without its hash.
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
        "created_at": time(record.created),
        "expires_at": record.expires.map(time),
        "revoked_at": record.revoked.map(time),
    })
}
