//! Counts the submissions that are being admitted.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tintype_ledger::id::OwnerId;

/// The number of submissions per owner that are being admitted.
#[derive(Debug, Default)]
pub(crate) struct AdmissionCounter(Mutex<HashMap<OwnerId, usize>>);

/// A submission that is being admitted, until this is dropped.
pub(crate) struct AdmissionGuard<'a> {
    counter: &'a AdmissionCounter,
    pub(crate) owner: OwnerId,
    /// Whether the owner had no other submission in admission.
    pub(crate) is_only: bool,
}

impl AdmissionCounter {
    pub(crate) fn enter(&self, owner: &OwnerId) -> AdmissionGuard<'_> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(owner.clone()).or_default();
        *count += 1;
        AdmissionGuard { counter: self, owner: owner.clone(), is_only: *count == 1 }
    }
}

impl Drop for AdmissionGuard<'_> {
    fn drop(&mut self) {
        let mut counts = self.counter.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.owner) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.owner);
            }
        }
    }
}
