//! Ctrl-C during `tintype generate`.

/// The command was interrupted. The exit status is the one of shells for SIGINT.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Interrupted(pub(crate) String);

impl Interrupted {
    /// 128 and the number of SIGINT.
    pub(crate) const EXIT_STATUS: u8 = 130;
}
