//! File names in the header `Content-Disposition` (RFC 6266).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The characters that `filename*` does not encode (RFC 8187, section 3.2.1).
const UNENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// The header's value in ASCII. A file name with other characters becomes `filename*`, which all browsers
/// decode, and an ASCII `filename` for other clients.
pub(crate) fn to_ascii(value: &str) -> String {
    if value.is_ascii() {
        return value.to_owned();
    }
    let mut parameters = Vec::new();
    let has_extended = split(value).iter().any(|part| is_parameter(part, "filename*"));
    for part in split(value) {
        let name =
            part.split_once('=').filter(|_| is_parameter(part, "filename")).map(|(_, name)| unquote(name));
        match name {
            Some(name) if !name.is_ascii() => {
                parameters.push(format!("filename=\"{}\"", quotable(&name)));
                if !has_extended {
                    parameters.push(format!("filename*=UTF-8''{}", utf8_percent_encode(&name, UNENCODED)));
                }
            }
            _ => parameters.push(part.chars().map(ascii).collect()),
        }
    }
    parameters.join("; ")
}

fn ascii(character: char) -> char {
    if character.is_ascii() { character } else { '_' }
}

fn quotable(name: &str) -> String {
    name.chars()
        .map(ascii)
        .map(|character| if matches!(character, '"' | '\\') { '_' } else { character })
        .collect()
}

/// Whether a part of the header's value is the parameter with this name.
pub(crate) fn is_parameter(part: &str, name: &str) -> bool {
    part.split_once('=').is_some_and(|(found, _)| found.trim().eq_ignore_ascii_case(name))
}

/// The parts between semicolons that are not in quotes.
pub(crate) fn split(value: &str) -> Vec<&str> {
    let (mut parts, mut start, mut is_quoted, mut is_escaped) = (Vec::new(), 0, false, false);
    for (at, character) in value.char_indices() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            ';' if !is_quoted => {
                parts.push(value[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(value[start..].trim());
    parts
}

/// The text of a value that may be in quotes.
pub(crate) fn unquote(text: &str) -> String {
    let text = text.trim();
    let Some(quoted) = text.strip_prefix('"').map(|rest| rest.strip_suffix('"').unwrap_or(rest)) else {
        return text.to_owned();
    };
    let mut name = String::new();
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        name.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_become_ascii() {
        for (value, expected) in [
            ("attachment; filename=\"a.txt\"", "attachment; filename=\"a.txt\""),
            (
                "attachment; filename=\"虎.txt\"",
                "attachment; filename=\"_.txt\"; filename*=UTF-8''%E8%99%8E.txt",
            ),
            (
                "attachment; filename=ä b.txt",
                "attachment; filename=\"_ b.txt\"; filename*=UTF-8''%C3%A4%20b.txt",
            ),
            (
                "inline; FileName=\"a;\\\"ü\\\".txt\"; size=1",
                "inline; filename=\"a;___.txt\"; filename*=UTF-8''a%3B%22%C3%BC%22.txt; size=1",
            ),
            (
                "attachment; filename=\"é\"; filename*=UTF-8''%C3%A9",
                "attachment; filename=\"_\"; filename*=UTF-8''%C3%A9",
            ),
            ("附件", "__"),
        ] {
            assert_eq!(to_ascii(value), expected, "{value}");
        }
    }
}
