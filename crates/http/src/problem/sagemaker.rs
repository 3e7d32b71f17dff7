//! The same problems as SageMaker tells them to clients of its Runtime API, where ours is the model behind it.

use tintype_core::causes::causes;
use tintype_sagemaker::wire::Failure;
use tintype_service::ServiceError as E;

use super::Problem;

impl Problem {
    /// What SageMaker says when its model's container answers with this problem.
    pub(crate) fn failure(&self) -> Failure {
        match self.service_error() {
            Some(E::NotReady) => Failure::NotReady("The model is still being loaded.".into()),
            Some(E::Draining | E::Abandoned) => Failure::Unavailable,
            Some(E::Store(_) | E::Ledger(_) | E::Panicked(_)) => {
                if let Some(cause) = self.cause() {
                    tracing::error!(error = %causes(cause), "the invocation failed");
                }
                Failure::Internal
            }
            _ => Failure::Model { status: self.kind().status.as_u16(), message: self.message() },
        }
    }

    /// All that there is to say, as there is no document beside it.
    fn message(&self) -> String {
        match self.service_error() {
            Some(E::Invalid(violations)) => {
                violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
            }
            _ => self.detail(),
        }
    }
}
