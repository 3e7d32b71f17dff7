//! The `Prefer` header (RFC 7240): how long a client waits.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};

const PREFER: &str = "prefer";
/// The response header with the preferences that were applied.
pub(crate) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// The maximum of `wait`, in seconds.
const MAX_WAIT_S: u64 = 600;

/// The supported preferences; others are ignored, as RFC 7240 requires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Preferences {
    /// The client prefers an immediate response to a response with images.
    pub(crate) respond_async: bool,
    /// How long the client waits for the images, in seconds.
    pub(crate) wait: Option<u64>,
}

impl Preferences {
    /// Reads all `Prefer` headers. The first of repeated preferences counts.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut read = Self::default();
        let lines = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
        for preference in lines.flat_map(|line| split(line, ',')) {
            // The supported preferences have no parameters after a semicolon.
            let token = split(preference, ';').next().unwrap_or_default();
            let (name, value) = token.split_once('=').unwrap_or((token, ""));
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "respond-async" => read.respond_async = true,
                "wait" if read.wait.is_none() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                    read.wait = value.parse().ok().map(|seconds: u64| seconds.min(MAX_WAIT_S));
                }
                _ => {}
            }
        }
        read
    }

    /// The longest wait for the images; unlimited without a preference.
    pub(crate) fn max_wait(&self) -> Option<Duration> {
        match self.wait {
            Some(seconds) => Some(Duration::from_secs(seconds)),
            None => self.respond_async.then_some(Duration::ZERO),
        }
    }

    /// The value of `Preference-Applied`, if any was applied; `is_pending` if the response is without images.
    pub(crate) fn applied(&self, is_pending: bool) -> Option<String> {
        let respond_async = (self.respond_async && is_pending).then(|| "respond-async".to_owned());
        let wait = self.wait.map(|seconds| format!("wait={seconds}"));
        let applied: Vec<_> = respond_async.into_iter().chain(wait).collect();
        (!applied.is_empty()).then(|| applied.join(", "))
    }
}

/// Splits at the separators outside of quoted strings.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut escaped = false;
    text.split(move |char| {
        let end = char == separator && !quoted;
        if char == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = quoted && char == '\\' && !escaped;
        end
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&'static str]) -> (bool, Option<u64>) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(PREFER, line.parse().expect("a header value"));
        }
        let Preferences { respond_async, wait } = Preferences::of(&headers);
        (respond_async, wait)
    }

    #[test]
    fn preferences_are_parsed_as_rfc_7240_defines() {
        for (lines, expected) in [
            (&[][..], (false, None)),
            (&["respond-async"], (true, None)),
            (&["Respond-Async, WAIT=20"], (true, Some(20))),
            (&["respond-async", "wait=20"], (true, Some(20))),
            (&["wait = \"20\""], (false, Some(20))),
            (&["wait=20; foo=bar, respond-async; x"], (true, Some(20))),
            (&["wait=0"], (false, Some(0))),
            (&["wait=3, wait=4"], (false, Some(3))),
            (&["wait=600"], (false, Some(600))),
            (&["wait=601"], (false, Some(600))),
            (&["wait=-1", "wait="], (false, None)),
            (&["wait=1.5, handling=lenient, ,"], (false, None)),
            (&["foo=\"a, respond-async\", wait=2"], (false, Some(2))),
            (&["foo=\"a\\\", respond-async\""], (false, None)),
        ] {
            assert_eq!(read(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn applied_preferences_are_reported() {
        let both = Preferences { respond_async: true, wait: Some(20) };
        assert_eq!(both.applied(true).as_deref(), Some("respond-async, wait=20"));
        assert_eq!(both.applied(false).as_deref(), Some("wait=20"));
        assert_eq!(Preferences { wait: None, ..both }.applied(false), None);
        assert_eq!(Preferences::default().applied(true), None);
    }
}
