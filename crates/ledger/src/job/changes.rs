//! What happens to a job's record.

use time::OffsetDateTime;

use super::{
    Failure, JobRecord, Lease, MAX_REMOTE_RUNS, MAX_RUNS, OnWorkerLoss, Outcome, Reason, RecoveryScope, Run,
    Status,
};
use crate::money::Spend;

impl JobRecord {
    /// The current attempt.
    pub fn run(&self) -> Run {
        Run { owner: self.owner.clone(), job: self.id, number: self.runs }
    }

    /// Others work on it, and no worker waits for them.
    pub fn is_remote(&self) -> bool {
        self.status == Status::Queued && self.receipt.is_some()
    }

    /// True if the worker of this attempt may still report on it.
    pub(crate) fn is_run_by(&self, run: &Run) -> bool {
        self.status == Status::Running && self.runs == run.number
    }

    /// Hands a queued job to a worker.
    pub(crate) fn start(&mut self, lease: Lease, now: OffsetDateTime) {
        self.status = Status::Running;
        if self.receipt.is_none() {
            self.started = Some(now);
        }
        self.runs += 1;
        self.lease = Some(lease);
    }

    /// Ends the job.
    pub(crate) fn end(&mut self, outcome: Outcome, cost: Spend, now: OffsetDateTime) {
        self.status = match outcome {
            Outcome::Succeeded { images, warnings } => {
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

    /// What is charged for it if it ends now although others work on it: they cannot be called back. The time since they were
    /// given it, and never more than was reserved.
    fn remote_cost(&self, now: OffsetDateTime) -> Spend {
        match self.started.filter(|_| self.receipt.is_some()) {
            Some(began) => {
                let took = u64::try_from((now - began).whole_milliseconds()).unwrap_or(0);
                self.reservation.reserved.prorated(took)
            }
            None => Spend::ZERO,
        }
    }

    /// When its pictures were given to a client: to whoever fetched them, or waited for them to the end. That they arrived
    /// is not known.
    pub(crate) fn answered(&self) -> Option<OffsetDateTime> {
        let waited = self.waiter.as_ref().and(self.finished);
        self.delivered.or(waited)
    }

    /// Why it failed, if it did.
    pub fn failure(&self) -> Option<Failure> {
        match self.status {
            Status::Failed(reason) => Some(Failure { reason, upstream_error: self.upstream_error.clone() }),
            _ => None,
        }
    }

    /// True if its idempotency key stands for it: not once nothing came of it that a second try would pay again.
    pub(crate) fn answers_retries(&self) -> bool {
        self.status != Status::Failed(Reason::Busy)
    }

    /// True if this run has already reported this end: its answer was lost, and it reports again.
    pub(crate) fn has_reported(&self, run: &Run, outcome: &Outcome, cost: &Spend) -> bool {
        let same = match outcome {
            Outcome::Succeeded { images, .. } => {
                self.status == Status::Succeeded && (self.deleted || self.images == *images)
            }
            Outcome::Failed(failure) => self.status == Status::Failed(failure.reason),
            Outcome::Canceled => self.status == Status::Canceled,
        };
        same && self.runs == run.number && self.cost == Some(*cost)
    }

    /// It is made whether anybody waits or not. True if anything changed.
    pub(crate) fn detach(&mut self) -> bool {
        !self.status.is_final() && self.waiter.take().is_some()
    }

    /// Others work on it now. True if it is that run's and anything changed.
    pub(crate) fn save_receipt(&mut self, run: &Run, receipt: &str) -> bool {
        let news = self.is_run_by(run) && self.receipt.as_deref() != Some(receipt);
        if news {
            self.receipt = Some(receipt.to_owned());
        }
        news
    }

    /// Puts it back as if this run had not begun; if it is not wanted any more, that is its end. True if it was that run's.
    pub(crate) fn release(&mut self, run: &Run, now: OffsetDateTime) -> bool {
        let ours = self.is_run_by(run);
        if ours && self.is_cancel_pending() {
            self.end(Outcome::Canceled, self.remote_cost(now), now);
        } else if ours {
            self.status = Status::Queued;
            self.runs -= 1;
            self.lease = None;
        }
        ours
    }

    fn is_cancel_pending(&self) -> bool {
        self.cancel_requested || self.deleted
    }

    /// Stops it if it waits; asks for that if it runs. True if anything changed.
    pub(crate) fn cancel(&mut self, now: OffsetDateTime) -> bool {
        match self.status {
            Status::Queued => self.end(Outcome::Canceled, self.remote_cost(now), now),
            Status::Running if !self.cancel_requested => self.cancel_requested = true,
            _ => return false,
        }
        true
    }

    /// Ends or requeues what nobody will end by himself: a queued job past its deadline, a running one that is lost.
    /// True if anything changed.
    pub(crate) fn reconcile(&mut self, now: OffsetDateTime, lost: RecoveryScope) -> bool {
        let elsewhere = self.receipt.is_some();
        // What is paid for is not given up for being late.
        let late = !elsewhere && self.deadline.is_some_and(|deadline| deadline <= now);
        match self.status {
            Status::Queued if late => self.end(Outcome::Failed(Reason::Deadline.into()), Spend::ZERO, now),
            Status::Running if lost == RecoveryScope::All || self.lease_ended(now) => {
                if elsewhere {
                    self.reconcile_remote(now)
                } else {
                    self.reconcile_lost(late, now)
                }
            }
            _ => return false,
        }
        true
    }

    fn lease_ended(&self, now: OffsetDateTime) -> bool {
        self.lease.as_ref().is_none_or(|lease| lease.until <= now)
    }

    fn reconcile_lost(&mut self, late: bool, now: OffsetDateTime) {
        if self.on_worker_loss == OnWorkerLoss::OutcomeUnknown {
            self.end(Outcome::Failed(Reason::OutcomeUnknown.into()), self.reservation.reserved, now);
        } else if self.is_cancel_pending() {
            self.end(Outcome::Canceled, Spend::ZERO, now);
        } else if late {
            self.end(Outcome::Failed(Reason::Deadline.into()), Spend::ZERO, now);
        } else if self.runs >= MAX_RUNS {
            self.end(Outcome::Failed(Reason::Crashed.into()), Spend::ZERO, now);
        } else {
            self.status = Status::Queued;
            self.lease = None;
        }
    }

    /// The worker died that waited for those who work on it.
    fn reconcile_remote(&mut self, now: OffsetDateTime) {
        if self.is_cancel_pending() {
            self.end(Outcome::Canceled, self.remote_cost(now), now);
        } else if self.runs >= MAX_REMOTE_RUNS {
            self.end(Outcome::Failed(Reason::OutcomeUnknown.into()), self.remote_cost(now), now);
        } else {
            self.status = Status::Queued;
            self.lease = None;
        }
    }

    /// Leaves nothing of what the customer wrote, only what the books need.
    pub(crate) fn erase(&mut self) {
        self.deleted = true;
        self.request = serde_json::Value::Null;
        self.images.clear();
        self.warnings.clear();
        self.upstream_error = None;
        self.idempotency_key = None;
    }
}
