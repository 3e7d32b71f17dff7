//! Problems in the format of SageMaker's Runtime API, as errors of the model behind an endpoint.

use tintype_core::causes::causes;
use tintype_sagemaker::wire::RuntimeApiError;
use tintype_service::ServiceError as E;

use super::Problem;

impl Problem {
    /// The Runtime API's error for this problem of the model.
    pub(crate) fn failure(&self) -> RuntimeApiError {
        match self.service_error() {
            Some(E::NotReady) => RuntimeApiError::NotReady("The model is still loading; retry later.".into()),
            Some(E::Draining | E::Abandoned) => RuntimeApiError::Unavailable,
            Some(E::Store(_) | E::Ledger(_) | E::Panicked(_)) => {
                if let Some(cause) = self.cause() {
                    tracing::error!(error = %causes(cause), "failed to process invocation");
                }
                RuntimeApiError::Internal
            }
            _ => RuntimeApiError::Model { status: self.kind().status.as_u16(), message: self.message() },
        }
    }

    /// The complete message, since the format has no list of violations.
    fn message(&self) -> String {
        match self.service_error() {
            Some(E::Invalid(violations)) => {
                violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
            }
            _ => self.detail(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tintype_ledger::job::Reason;

    use super::*;

    #[test]
    fn an_image_that_is_not_finite_is_an_error_of_the_model() {
        let problem = Problem::from(E::Failed(Reason::NotFinite.into()));
        let RuntimeApiError::Model { status, message } = problem.failure() else { panic!("{problem:?}") };
        assert_eq!(status, 500);
        assert!(message.contains("NaN or infinity") && message.contains("`seed`"), "{message}");
    }
}
