//! Where the images of a response come from.

/// Where the images of a response come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServedFrom {
    /// A new job, charged to this request.
    Made,
    /// An identical unfinished job, charged to another request.
    Joined,
    /// The images of an identical finished job.
    Stored,
    /// The job of an earlier request with the same idempotency key.
    Replayed,
}

impl ServedFrom {
    /// The name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::Joined => "joined",
            Self::Stored => "stored",
            Self::Replayed => "replayed",
        }
    }
}
