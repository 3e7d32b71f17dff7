//! AWS's error responses, in the formats of its protocols.

use serde::Deserialize;

use crate::call::ServiceResponse;
use crate::error::AwsError;

/// Codes of AWS for a request that it rejected because of its rate, without executing it. The SDKs have the
/// same list for all services (`aws_runtime::retries::classifiers`), with codes of other services.
const THROTTLING: [&str; 8] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "SlowDown",
];

/// What an error response says. A response that is not AWS's, such as a proxy's page, says nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ErrorDetail {
    /// AWS's error code.
    pub(crate) code: Option<String>,
    /// AWS's message.
    pub(crate) message: Option<String>,
}

impl ErrorDetail {
    /// Whether the code is one of [`THROTTLING`].
    pub(crate) fn is_throttling(&self) -> bool {
        self.code.as_deref().is_some_and(|code| THROTTLING.contains(&code))
    }
}

impl ServiceResponse {
    /// The code and the message of an error response, in the format of the Query protocol or of JSON 1.1.
    pub(crate) fn error_detail(&self) -> ErrorDetail {
        let text = String::from_utf8_lossy(&self.body);
        if let Ok(QueryError { error }) = quick_xml::de::from_str(&text) {
            return ErrorDetail { code: Some(error.code), message: error.message };
        }
        let JsonError { code, message } = serde_json::from_str(&text).unwrap_or_default();
        ErrorDetail { code: code.as_deref().map(plain_code).map(str::to_owned), message }
    }

    /// The error of the operation `what` that this response reports.
    pub(crate) fn error(&self, what: &'static str) -> AwsError {
        let ErrorDetail { code, message } = self.error_detail();
        let message = message.unwrap_or_else(|| format!("status {}", self.status));
        AwsError::from_code(what, code.as_deref(), message)
    }
}

/// A code without the namespace before it and the URL after it, as the protocol JSON 1.1 requires of clients.
fn plain_code(code: &str) -> &str {
    let code = code.rsplit('#').next().unwrap_or_default();
    code.split(':').next().unwrap_or_default()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct QueryError {
    error: QueryErrorBody,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct QueryErrorBody {
    code: String,
    message: Option<String>,
}

#[derive(Default, Deserialize)]
struct JsonError {
    #[serde(rename = "__type")]
    code: Option<String>,
    #[serde(alias = "Message")]
    message: Option<String>,
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;

    fn detail(body: &str) -> ErrorDetail {
        let response = ServiceResponse {
            status: StatusCode::BAD_REQUEST,
            headers: HeaderMap::new(),
            body: body.as_bytes().to_vec(),
        };
        response.error_detail()
    }

    #[test]
    fn both_protocols_have_a_code_and_a_message() {
        for (body, code, message) in [
            (
                "<?xml version=\"1.0\"?>\n<ErrorResponse xmlns=\"https://x/\"><Error><Type>Sender</Type>\
                 <Code>AccessDenied</Code><Message>no</Message></Error><RequestId>1</RequestId></ErrorResponse>",
                Some("AccessDenied"),
                Some("no"),
            ),
            (
                "<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>",
                Some("Throttling"),
                None,
            ),
            (r#"{"__type":"ValidationException","message":"no"}"#, Some("ValidationException"), Some("no")),
            (r#"{"__type":"aws.protocols#Busy:http://x/","Message":"no"}"#, Some("Busy"), Some("no")),
            (r#"{"message":"no"}"#, None, Some("no")),
            ("<html><body>Throttling<br></body></html>", None, None),
            ("[]", None, None),
            ("", None, None),
        ] {
            let found = detail(body);
            assert_eq!((found.code.as_deref(), found.message.as_deref()), (code, message), "{body}");
        }
    }

    #[test]
    fn only_the_code_says_that_a_request_was_throttled() {
        let query = |code: &str, message: &str| {
            let error = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
            detail(&format!("<ErrorResponse>{error}</ErrorResponse>")).is_throttling()
        };
        let json = |code: &str| detail(&format!(r#"{{"__type":"com.amazonaws#{code}"}}"#)).is_throttling();
        for code in ["Throttling", "ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded"]
        {
            assert!(query(code, "Rate exceeded") && json(code), "{code}");
        }
        assert!(!query("ValidationError", "Parameter ThrottlingBurst: Throttling is not a number"));
        assert!(!query("ThrottlingBurstInvalid", "") && !json("ValidationException"));
    }
}
