//! What a failed call to a queue, the bus or the parameters says. Must not: carry anything of a message or a value.

#[cfg(feature = "aws-queues")]
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
#[cfg(feature = "aws-queues")]
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

/// A call to AWS that failed: what was attempted, and why. Of a message or a parameter it says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{attempted}: {problem}")]
pub struct AwsError {
    /// What was attempted.
    pub attempted: String,
    /// The error code, or what is missing.
    pub problem: String,
}

impl AwsError {
    pub(super) fn missing(variable: &str) -> AwsError {
        let problem = format!("{variable} is not set; the template of the stack sets it");
        AwsError { attempted: "read the environment".to_owned(), problem }
    }

    pub(super) fn new(attempted: impl Into<String>, problem: impl Into<String>) -> AwsError {
        AwsError { attempted: attempted.into(), problem: problem.into() }
    }

    #[cfg(feature = "aws-queues")]
    pub(super) fn of<E: ProvideErrorMetadata>(attempted: &str, error: &SdkError<E, HttpResponse>) -> AwsError {
        let problem = match error {
            SdkError::ServiceError(answer) => answer.err().code().unwrap_or("refused without an error code"),
            SdkError::ConstructionFailure(_) => "the request could not be built",
            SdkError::TimeoutError(_) => "no answer in time",
            SdkError::DispatchFailure(_) => "no connection",
            _ => "the answer could not be read",
        };
        AwsError::new(attempted, problem)
    }
}
