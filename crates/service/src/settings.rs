//! What an operator decides about the service.

use std::time::Duration;

use tintype_core::engine::Model;
use tintype_core::request::Limits;

/// The operator's limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSettings {
    /// How many requests may wait beyond those that an engine works on.
    pub queue: usize,
    /// How long work goes on that nobody waits for, in case a retry joins it.
    pub abandon_after: Duration,
    /// Most pixels in one picture; the model's own limit if absent.
    pub max_pixels: Option<u64>,
    /// Most `width × height × steps × n`; the model's own limit if absent.
    pub max_work: Option<u64>,
    /// Bytes that all requests in the engine together may use beyond the model's weights; unlimited if absent.
    pub max_memory: Option<u64>,
}

impl Default for ServiceSettings {
    fn default() -> Self {
        Self {
            queue: 32,
            abandon_after: Duration::from_secs(10),
            max_pixels: None,
            max_work: None,
            max_memory: None,
        }
    }
}

impl ServiceSettings {
    /// The limits that requests for this model are held to.
    pub(crate) fn limits(&self, model: &Model) -> Limits {
        let own = Limits::for_model(model);
        Limits {
            max_pixels: self.max_pixels.unwrap_or(own.max_pixels),
            max_work: self.max_work.unwrap_or(own.max_work),
        }
    }
}
