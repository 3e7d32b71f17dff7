//! Measured engine times of a model, kept for the estimates of the next process.

use serde::{Deserialize, Serialize};

/// The average engine times of a model. They are estimates: a ledger may lose them, and backups leave them out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineTimes {
    /// Seconds per job.
    pub per_job: f64,
    /// Seconds per unit of [`ModelCard::work`](tintype_core::model::ModelCard::work).
    pub per_work: f64,
}
