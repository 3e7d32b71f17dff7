//! A request's query string, for the parameters of signatures.

use http::Uri;
use percent_encoding::percent_decode_str;

/// A query string. Names and values are decoded on access.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueryString<'a>(&'a str);

impl<'a> QueryString<'a> {
    pub(crate) fn of(uri: &'a Uri) -> Self {
        Self(uri.query().unwrap_or_default())
    }

    pub(crate) fn pairs(self) -> impl Iterator<Item = (String, String)> {
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        self.0.split('&').filter(|pair| !pair.is_empty()).map(move |pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
    }

    /// The value of the first parameter with this name.
    pub(crate) fn first(self, name: &str) -> Option<String> {
        self.pairs().find(|(found, _)| found == name).map(|(_, value)| value)
    }

    /// Whether it has a parameter with this name.
    pub(crate) fn has(self, name: &str) -> bool {
        self.first(name).is_some()
    }

    /// Whether it has a Signature Version 4, valid or not.
    pub(crate) fn is_signed_v4(self) -> bool {
        self.has("X-Amz-Signature") || self.has("X-Amz-Algorithm")
    }

    /// Whether it has a Signature Version 2, valid or not.
    pub(crate) fn is_signed_v2(self) -> bool {
        self.has("AWSAccessKeyId") || self.has("Signature")
    }
}
