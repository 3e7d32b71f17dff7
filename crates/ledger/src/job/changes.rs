//! The changes of a job's record.

use time::OffsetDateTime;

use super::{
    Failure, JobRecord, Lease, MAX_REMOTE_RUNS, MAX_RUNS, OnWorkerLoss, Outcome, Reason, RecoveryScope, Run,
    Status,
};
use crate::money::Spend;

impl JobRecord {
    /// The name of the model. Records of versions before 0.2 have it in the request; it is empty if their request
    /// was erased.
    pub fn model(&self) -> &str {
        match self.model.as_str() {
            "" => self.request.get("model").and_then(serde_json::Value::as_str).unwrap_or_default(),
            name => name,
        }
    }

    /// The current run.
    pub fn run(&self) -> Run {
        Run { owner: self.owner.clone(), job: self.id, number: self.runs }
    }

    /// True if a remote service works on the job and no worker waits for the result.
    pub fn is_remote(&self) -> bool {
        self.status == Status::Queued && self.receipt.is_some()
    }

    /// True if this run is the current one, so that its worker may report on the job.
    pub fn is_run_by(&self, run: &Run) -> bool {
        self.status == Status::Running && self.runs == run.number
    }

    /// Starts a run of a queued job.
    pub fn start(&mut self, lease: Lease, now: OffsetDateTime) {
        self.status = Status::Running;
        if self.receipt.is_none() {
            self.started = Some(now);
        }
        self.runs += 1;
        self.lease = Some(lease);
    }

    /// Ends the job.
    pub fn end(&mut self, outcome: Outcome, cost: Spend, now: OffsetDateTime) {
        self.status = match outcome {
            Outcome::Succeeded { images, warnings, picture_key } => {
                self.picture_key = picture_key;
                (self.images, self.warnings) = (images, warnings);
                Status::Succeeded
            }
            Outcome::Failed(Failure { reason, upstream_error }) => {
                self.upstream_error = upstream_error;
                Status::Failed(reason)
            }
            Outcome::Canceled => Status::Canceled,
        };
        self.cost = Some(cost);
        self.finished = Some(now);
        self.lease = None;
        self.receipt = None;
    }

    /// The charge for a remote job that ends now without a result. The remote work cannot be stopped, so this
    /// is the time since the job started, at most the reserved amount. Nothing for a local job.
    fn remote_cost(&self, now: OffsetDateTime) -> Spend {
        match self.started.filter(|_| self.receipt.is_some()) {
            Some(started) => {
                let elapsed_ms = u64::try_from((now - started).whole_milliseconds()).unwrap_or(0);
                self.reservation.reserved.prorated(elapsed_ms)
            }
            None => Spend::ZERO,
        }
    }

    /// The time at which the images were sent to a client: when a client first fetched them, or when the job
    /// ended while a client waited. It is unknown whether the client received them.
    pub fn delivered_at(&self) -> Option<OffsetDateTime> {
        let waited = self.waiter.as_ref().and(self.finished);
        self.delivered.or(waited)
    }

    /// Why the job failed; `None` if it has not failed.
    pub fn failure(&self) -> Option<Failure> {
        match self.status {
            Status::Failed(reason) => Some(Failure { reason, upstream_error: self.upstream_error.clone() }),
            _ => None,
        }
    }

    /// True if a request with the same idempotency key is answered with this job. A job that failed as busy
    /// had no effect and no cost, so such a request gets a new job.
    pub fn answers_retries(&self) -> bool {
        self.status != Status::Failed(Reason::Busy)
    }

    /// True if this run has already reported this outcome and reports it again, because the answer was lost.
    pub fn has_reported(&self, run: &Run, outcome: &Outcome, cost: &Spend) -> bool {
        let same = match outcome {
            Outcome::Succeeded { images, .. } => {
                self.status == Status::Succeeded && (self.deleted || self.images == *images)
            }
            Outcome::Failed(failure) => self.status == Status::Failed(failure.reason),
            Outcome::Canceled => self.status == Status::Canceled,
        };
        same && self.runs == run.number && self.cost == Some(*cost)
    }

    /// Clears the waiter of an open job. True if the record changed.
    pub fn detach(&mut self) -> bool {
        !self.status.is_final() && self.waiter.take().is_some()
    }

    /// Makes the job a remote job, if this is the current run. True if the record changed.
    pub fn save_receipt(&mut self, run: &Run, receipt: &str) -> bool {
        let changed = self.is_run_by(run) && self.receipt.as_deref() != Some(receipt);
        if changed {
            self.receipt = Some(receipt.to_owned());
        }
        changed
    }

    /// Returns the job to the queue as if this run had not started, or cancels it if that was requested. True
    /// if this was the current run.
    pub fn release(&mut self, run: &Run, now: OffsetDateTime) -> bool {
        let is_current = self.is_run_by(run);
        if is_current && self.is_cancel_pending() {
            self.end(Outcome::Canceled, self.remote_cost(now), now);
        } else if is_current {
            self.runs -= 1;
            self.requeue();
        }
        is_current
    }

    fn requeue(&mut self) {
        self.status = Status::Queued;
        self.lease = None;
    }

    fn is_cancel_pending(&self) -> bool {
        self.cancel_requested || self.deleted
    }

    /// Cancels a queued job, or requests that of a running job's worker. True if the record changed.
    pub fn cancel(&mut self, now: OffsetDateTime) -> bool {
        match self.status {
            Status::Queued => self.end(Outcome::Canceled, self.remote_cost(now), now),
            Status::Running if !self.cancel_requested => self.cancel_requested = true,
            _ => return false,
        }
        true
    }

    /// Ends or requeues an open job that no worker will end: a queued job past its deadline, or a running job
    /// that `scope` counts as lost. True if the record changed.
    pub fn reconcile(&mut self, now: OffsetDateTime, scope: RecoveryScope) -> bool {
        let is_remote = self.receipt.is_some();
        // A remote job is already paid for, so its deadline does not apply.
        let is_late = !is_remote && self.deadline.is_some_and(|deadline| deadline <= now);
        match self.status {
            Status::Queued if is_late => self.end(Outcome::Failed(Reason::Deadline.into()), Spend::ZERO, now),
            Status::Running if scope == RecoveryScope::All || self.lease_expired(now) => {
                if is_remote {
                    self.reconcile_remote(now)
                } else {
                    self.reconcile_local(is_late, now)
                }
            }
            _ => return false,
        }
        true
    }

    fn lease_expired(&self, now: OffsetDateTime) -> bool {
        self.lease.as_ref().is_none_or(|lease| lease.until <= now)
    }

    /// Ends or requeues a local job that lost its worker.
    fn reconcile_local(&mut self, is_late: bool, now: OffsetDateTime) {
        if self.on_worker_loss == OnWorkerLoss::OutcomeUnknown {
            self.end(Outcome::Failed(Reason::OutcomeUnknown.into()), self.reservation.reserved, now);
        } else if self.is_cancel_pending() {
            self.end(Outcome::Canceled, Spend::ZERO, now);
        } else if is_late {
            self.end(Outcome::Failed(Reason::Deadline.into()), Spend::ZERO, now);
        } else if self.runs >= MAX_RUNS {
            self.end(Outcome::Failed(Reason::Crashed.into()), Spend::ZERO, now);
        } else {
            self.requeue();
        }
    }

    /// Ends or requeues a remote job that lost its worker.
    fn reconcile_remote(&mut self, now: OffsetDateTime) {
        if self.is_cancel_pending() {
            self.end(Outcome::Canceled, self.remote_cost(now), now);
        } else if self.runs >= MAX_REMOTE_RUNS {
            self.end(Outcome::Failed(Reason::OutcomeUnknown.into()), self.remote_cost(now), now);
        } else {
            self.requeue();
        }
    }

    /// Marks the job as deleted and removes everything that the customer wrote. What the account needs stays.
    pub fn erase(&mut self) {
        self.deleted = true;
        self.request = serde_json::Value::Null;
        self.images.clear();
        self.warnings.clear();
        self.upstream_error = None;
        self.idempotency_key = None;
        self.events_key = None;
    }
}
