//! AWS's Query protocol: form requests and XML responses.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::call::ServiceResponse;
use crate::error::AwsError;

/// IAM's API version.
pub(crate) const IAM: &str = "2010-05-08";

/// A list in a response.
#[derive(Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
pub(crate) struct Members<T> {
    #[serde(default = "Vec::new", rename = "member")]
    pub(crate) members: Vec<T>,
}

impl<T> Default for Members<T> {
    fn default() -> Self {
        Self { members: Vec::new() }
    }
}

/// The form fields of a list: `ActionNames.member.1` and so on.
pub(crate) fn members<'a>(
    name: &'a str,
    values: impl IntoIterator<Item = &'a str>,
) -> impl Iterator<Item = (String, String)> {
    let numbered = values.into_iter().enumerate();
    numbered.map(move |(index, value)| (format!("{name}.member.{}", index + 1), value.to_owned()))
}

/// Parses a response of the operation `what`.
///
/// # Errors
/// AWS's error, or [`AwsError::Failed`] for a body that is not AWS's XML.
pub(crate) fn read<T: DeserializeOwned>(reply: &ServiceResponse, what: &'static str) -> Result<T, AwsError> {
    check(reply, what)?;
    let text = String::from_utf8_lossy(&reply.body);
    quick_xml::de::from_str(&text).map_err(|error| AwsError::Failed {
        what,
        code: None,
        message: format!("invalid response: {error}"),
    })
}

/// Checks the status of a response whose body contains nothing of use.
///
/// # Errors
/// AWS's error.
pub(crate) fn check(reply: &ServiceResponse, what: &'static str) -> Result<(), AwsError> {
    if reply.status.is_success() {
        return Ok(());
    }
    Err(reply.error(what))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;

    fn reply(status: u16, body: &str) -> ServiceResponse {
        let status = StatusCode::from_u16(status).expect("a status");
        ServiceResponse { status, headers: HeaderMap::new(), body: body.as_bytes().to_vec() }
    }

    #[derive(Deserialize)]
    struct Listed {
        list: Members<String>,
    }

    #[test]
    fn lists_of_any_length_are_parsed() {
        for (body, expected) in [
            ("<A><list><member>1</member><member>&lt;2&gt;</member></list></A>", vec!["1", "<2>"]),
            ("<?xml version=\"1.0\"?>\n<A xmlns=\"https://x/\"><list/><more><a>1</a></more></A>", vec![]),
        ] {
            let listed: Listed = read(&reply(200, body), "ask").expect("an answer");
            assert_eq!(listed.list.members, expected);
        }
    }

    #[test]
    fn an_error_has_a_code_and_a_proxys_page_has_none() {
        let refusal = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message></Error>\
                       <RequestId>1</RequestId></ErrorResponse>";
        let refused = read::<Listed>(&reply(403, refusal), "ask").map(|listed| listed.list.members);
        assert!(matches!(&refused, Err(AwsError::Denied { message, .. }) if message == "no"), "{refused:?}");
        for status in [200, 502] {
            let page = read::<Listed>(&reply(status, "<html><body>hello<br></body></html>"), "ask");
            let page = page.map(|listed| listed.list.members);
            assert!(matches!(&page, Err(AwsError::Failed { code: None, .. })), "{page:?}");
        }
    }
}
