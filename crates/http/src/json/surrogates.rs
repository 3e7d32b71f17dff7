//! Lone surrogates in JSON strings: halves of a character above U+FFFF, as programs write them that cut text
//! in the middle of an emoji. A Rust string cannot hold them.

use std::collections::BTreeSet;

/// The escape sequence of U+FFFD, the replacement character, without its backslash and `u`.
const REPLACEMENT: &[u8] = b"fffd";

/// Replaces each lone surrogate by U+FFFD, and returns the names of the top-level members that had one. A
/// body that is not JSON may be changed in any place.
pub(crate) fn replace_lone_surrogates(body: &mut [u8]) -> BTreeSet<String> {
    let mut replaced = BTreeSet::new();
    if !has_surrogate(body) {
        return replaced;
    }
    let mut scanner = Scanner::default();
    let mut at = 0;
    while at < body.len() {
        if !(scanner.in_string && body[at] == b'\\') {
            scanner.read(body, at);
            at += 1;
            continue;
        }
        match unicode_escape(body, at) {
            None => at += 2,
            Some(0xD800..=0xDBFF) if matches!(unicode_escape(body, at + 6), Some(0xDC00..=0xDFFF)) => {
                at += 12
            }
            Some(code) => {
                if matches!(code, 0xD800..=0xDFFF) {
                    body[at + 2..at + 6].copy_from_slice(REPLACEMENT);
                    replaced.extend(scanner.member(body));
                }
                at += 6;
            }
        }
    }
    replaced
}

/// Whether there may be an escape sequence of a surrogate.
fn has_surrogate(body: &[u8]) -> bool {
    body.windows(3).any(|bytes| matches!(bytes, [b'\\', b'u', b'd' | b'D']))
}

/// The code unit of the escape sequence `\uXXXX` at this position.
fn unicode_escape(body: &[u8], at: usize) -> Option<u32> {
    let digits = body.get(at..at + 6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |code, digit| Some(code * 16 + char::from(*digit).to_digit(16)?))
}

/// The position in a JSON text.
#[derive(Default)]
struct Scanner {
    in_string: bool,
    /// The number of open objects and arrays.
    depth: usize,
    /// The next string is the name of a top-level member.
    expects_name: bool,
    /// Start and end of the last name of a top-level member, with its quotes.
    name: (usize, usize),
}

impl Scanner {
    /// Reads a byte that is not part of an escape sequence.
    fn read(&mut self, body: &[u8], at: usize) {
        match body[at] {
            b'"' => {
                self.in_string = !self.in_string;
                if self.expects_name {
                    self.name = if self.in_string { (at, at) } else { (self.name.0, at + 1) };
                }
            }
            _ if self.in_string => {}
            b'{' | b'[' => {
                self.depth += 1;
                self.expects_name = self.depth == 1;
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.expects_name = false;
            }
            b',' => self.expects_name = self.depth == 1,
            b':' if self.depth == 1 => self.expects_name = false,
            _ => {}
        }
    }

    /// The name of the top-level member whose value is being read.
    fn member(&self, body: &[u8]) -> Option<String> {
        let name = (!self.expects_name).then_some(self.name)?;
        serde_json::from_slice(body.get(name.0..name.1)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replace(body: &str) -> (String, Vec<String>) {
        let mut bytes = body.as_bytes().to_vec();
        let names = replace_lone_surrogates(&mut bytes);
        (String::from_utf8(bytes).expect("UTF-8"), names.into_iter().collect())
    }

    #[test]
    fn only_lone_surrogates_are_replaced() {
        for (body, expected, names) in [
            (r#"{"prompt":"a cat \ud83d"}"#, r#"{"prompt":"a cat \ufffd"}"#, &["prompt"][..]),
            (r#"{"prompt":"\uDE00 a"}"#, r#"{"prompt":"\ufffd a"}"#, &["prompt"]),
            (r#"{"prompt":"\ud83d\ud83d\ude00"}"#, r#"{"prompt":"\ufffd\ud83d\ude00"}"#, &["prompt"]),
            (r#"{"prompt":"\ud83d\u0041"}"#, r#"{"prompt":"\ufffd\u0041"}"#, &["prompt"]),
            (
                r#"{"a":"x","b":"\ud800","c":["\udfff"]}"#,
                r#"{"a":"x","b":"\ufffd","c":["\ufffd"]}"#,
                &["b", "c"],
            ),
            (
                r#"{"a":{"b":"\ud800"},"\u0063":"\ud800"}"#,
                r#"{"a":{"b":"\ufffd"},"\u0063":"\ufffd"}"#,
                &["a", "c"],
            ),
            (r#"{"\ud800":"x"}"#, r#"{"\ufffd":"x"}"#, &[]),
            (r#"["\ud800"]"#, r#"["\ufffd"]"#, &[]),
            (r#"{"a\"":"\ud800"}"#, r#"{"a\"":"\ufffd"}"#, &["a\""]),
        ] {
            let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
            assert_eq!(replace(body), (expected.to_owned(), names), "{body}");
        }
        for same in [
            r#"{"prompt":"\ud83d\ude00"}"#,
            r#"{"prompt":"\\ud83d"}"#,
            r#"{"prompt":"\u00e9\ufffd"}"#,
            r#"{"prompt":"\ud83"#,
            r#"{"prompt":"\ud83d\"#,
            r#"\ud83d"#,
            "",
        ] {
            let (text, names) = replace(same);
            if same != r#"{"prompt":"\ud83d\"# {
                assert_eq!((text.as_str(), names.len()), (same, 0));
            }
        }
    }
}
