//! AWS's Query protocol: a form goes there, XML comes back.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::call::Reply;
use crate::error::AwsError;

/// The version of IAM's interface.
pub(crate) const IAM: &str = "2010-05-08";

/// A list in an answer.
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

/// Numbers the members of a list in a question: `ActionNames.member.1` and so on.
pub(crate) fn members<'a>(
    name: &'a str,
    values: impl IntoIterator<Item = &'a str>,
) -> impl Iterator<Item = (String, String)> {
    let numbered = values.into_iter().enumerate();
    numbered.map(move |(index, value)| (format!("{name}.member.{}", index + 1), value.to_owned()))
}

/// What was answered.
///
/// # Errors
/// What AWS said instead.
pub(crate) fn read<T: DeserializeOwned>(reply: &Reply, what: &'static str) -> Result<T, AwsError> {
    let text = String::from_utf8_lossy(&reply.body);
    if reply.status.is_success() {
        return quick_xml::de::from_str(&text).map_err(|error| AwsError::Failed {
            what,
            code: None,
            said: format!("this is no answer of AWS's: {error}"),
        });
    }
    match quick_xml::de::from_str::<Refusal>(&text) {
        Ok(Refusal { error }) => Err(AwsError::said(what, Some(&error.code), error.message)),
        Err(_) => Err(AwsError::said(what, None, format!("status {}", reply.status))),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Refusal {
    error: Said,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Said {
    code: String,
    #[serde(default)]
    message: String,
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;

    fn reply(status: u16, body: &str) -> Reply {
        let status = StatusCode::from_u16(status).expect("a status");
        Reply { status, headers: HeaderMap::new(), body: body.as_bytes().to_vec() }
    }

    #[derive(Deserialize)]
    struct Listed {
        list: Members<String>,
    }

    #[test]
    fn lists_of_any_length_are_read() {
        for (body, expected) in [
            ("<A><list><member>1</member><member>&lt;2&gt;</member></list></A>", vec!["1", "<2>"]),
            ("<?xml version=\"1.0\"?>\n<A xmlns=\"https://x/\"><list/><more><a>1</a></more></A>", vec![]),
        ] {
            let listed: Listed = read(&reply(200, body), "ask").expect("an answer");
            assert_eq!(listed.list.members, expected);
        }
    }

    #[test]
    fn a_refusal_has_a_code_and_a_page_of_a_proxy_has_none() {
        let refusal = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message></Error>\
                       <RequestId>1</RequestId></ErrorResponse>";
        let refused = read::<Listed>(&reply(403, refusal), "ask").map(|listed| listed.list.members);
        assert!(matches!(&refused, Err(AwsError::Denied { said, .. }) if said == "no"), "{refused:?}");
        for status in [200, 502] {
            let page = read::<Listed>(&reply(status, "<html><body>hello<br></body></html>"), "ask");
            let page = page.map(|listed| listed.list.members);
            assert!(matches!(&page, Err(AwsError::Failed { code: None, .. })), "{page:?}");
        }
    }
}
