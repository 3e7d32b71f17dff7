//! Starts the workers of a loaded model.

use std::sync::Arc;

use tintype_core::engine::Engine;
use tintype_ledger::job::RecoveryScope;

use super::worker::claim_and_run_jobs;
use super::{availability, janitor};
use crate::inner::Inner;
use crate::models::Model;
use crate::settings::Topology;

impl Inner {
    /// Sets a model's loaded engine and starts its workers.
    pub(crate) async fn start_engine(self: &Arc<Self>, model: &Arc<Model>, engine: Arc<dyn Engine>) {
        if model.set_loaded(engine) {
            self.start_workers(model).await;
        }
    }

    /// Starts the workers of a model. In a serverless process, each job starts a worker of its own.
    pub(crate) async fn start_workers(self: &Arc<Self>, model: &Arc<Model>) {
        if self.settings.topology == Topology::Serverless {
            return model.open_slots();
        }
        self.runtime.spawn(availability::watch_engine(Arc::downgrade(model)));
        self.recovery.get_or_init(|| self.recover_at_start()).await;
        model.open_slots();
        for slot in 0..model.slot_count() {
            self.runtime.spawn(claim_and_run_jobs(self.clone(), model.clone(), slot));
        }
    }

    /// Recovers the jobs of an earlier process, once, before the first worker starts: jobs that are running in the
    /// ledger belong to other processes.
    async fn recover_at_start(self: &Arc<Self>) {
        let scope = match self.settings.topology {
            Topology::SingleProcess => RecoveryScope::All,
            Topology::Cluster | Topology::Serverless => RecoveryScope::ExpiredLeases,
        };
        self.recover(scope).await;
        self.runtime.spawn(janitor::recover_lost_jobs(Arc::downgrade(self)));
    }
}
