//! `tintype ledger check`: lists the records that cannot be read, and ends the jobs of damaged ones.

use anyhow::{Result, bail};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tintype_ledger::{RecordName, Repair, UnreadableRecord};

use crate::config::Config;
use crate::ledger_commands::CheckLedger;
use crate::{ledger, output};

/// Runs `tintype ledger check`.
///
/// # Errors
/// If the ledger cannot be opened, or records are unreadable and were not repaired.
pub(crate) fn run(config: &Config, check: &CheckLedger) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let repair = runtime.block_on(async {
        let ledger = ledger::open_for_command(config, "stop it first").await?;
        if check.repair {
            anyhow::Ok(ledger.repair(OffsetDateTime::now_utc()).await?)
        } else {
            Ok(Repair { left: ledger.check().await?, ..Repair::default() })
        }
    })?;
    if check.json {
        let list = |records: &[UnreadableRecord]| records.iter().map(as_json).collect::<Vec<_>>();
        output::json(&json!({
            "unreadable": list(&repair.left),
            "repaired": list(&repair.ended),
            "reservations_released": repair.reservations_released,
        }))?;
    } else {
        print(&repair)?;
    }
    match repair.left.len() {
        0 => Ok(()),
        count => bail!("{count} unreadable {} in the ledger", if count == 1 { "record" } else { "records" }),
    }
}

fn print(repair: &Repair) -> Result<()> {
    for record in &repair.ended {
        output::line(&format!("repaired  {}: the job is now failed", record.name))?;
    }
    for UnreadableRecord { name, fault, error } in &repair.left {
        output::line(&format!("{}  {name}: {error}", fault.name()))?;
    }
    if !repair.ended.is_empty() && !repair.reservations_released {
        output::message(
            "warning: the reservations of the repaired jobs are not released, because a record that is still \
             unreadable may have reservations",
        );
    }
    if repair.ended.is_empty() && repair.left.is_empty() {
        output::message("All records of the ledger are readable.");
    }
    Ok(())
}

fn as_json(record: &UnreadableRecord) -> Value {
    let (owner, job) = match &record.name {
        RecordName::Job { owner, id } => (Some(owner), Some(id)),
        RecordName::Other(_) => (None, None),
    };
    json!({
        "record": record.name.to_string(),
        "owner": owner,
        "job": job,
        "fault": record.fault.name(),
        "error": record.error,
    })
}
