//! Replaces values that differ in every run, such as ids and times, by constants, and the links of the store in
//! memory by links like those of an S3 service.

use serde_json::Value;

/// Patterns and replacements. In a pattern, `h` is a hexadecimal digit, `d` a decimal digit, `b` a character
/// of a key.
const TEXTS: [(&str, &str); 11] = [
    ("hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh", "0199d2a4-7c00-7000-8000-000000000001"),
    ("dddd-dd-ddTdd:dd:dd.dddZ", "2026-11-23T12:00:00Z"),
    ("dddd-dd-ddTdd:dd:dd.ddZ", "2026-11-23T12:00:00Z"),
    ("dddd-dd-ddTdd:dd:dd.dZ", "2026-11-23T12:00:00Z"),
    ("dddd-dd-ddTdd:dd:ddZ", "2026-11-23T12:00:00Z"),
    ("/dddd/dd/dd/", "/2026/11/23/"),
    ("from=dddd-dd-dd", "from=2026-11-23"),
    ("to=dddd-dd-dd", "to=2026-11-23"),
    ("_at\":dddddddddd", "_at\":1795435200"),
    ("/v1/keys/hhhhhhhhhhhhhhhh", "/v1/keys/3f9c1a5b7d2e4f60"),
    (
        "tt_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
        "tt_3f9c1a5b7d2e4f603f9c1a5b7d2e4f603f9c1a5b7d2e4f603",
    ),
];

/// Replaces ids, times, keys and files.
pub(super) fn mask(value: &mut Value) {
    match value {
        Value::String(text) => *text = masked(text),
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Object(members) => {
            for (name, member) in members {
                mask(member);
                match (name.as_str(), &*member) {
                    ("b64_json", Value::String(_)) => *member = Value::from("iVBORw0KGgo="),
                    ("created", Value::Number(_)) => *member = Value::from(1_795_435_200),
                    ("date", _) => *member = Value::from("2026-11-23"),
                    ("retry_after", Value::Number(_)) => *member = Value::from(60),
                    // A key's id has 16 hexadecimal digits.
                    ("id" | "owner", Value::String(text)) if text.len() == 16 => {
                        *member = Value::from("3f9c1a5b7d2e4f60")
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

/// A link of the store in memory is this, the key and the lifetime.
const MEMORY: &str = "memory:";
/// The query of a link of the store in memory, before its lifetime.
const LIFETIME: &str = "?expires_in=";
/// The place of the bucket in the examples.
const BUCKET: &str = "https://s3.example.com/tintype/";
/// The query of a presigned URL, before and after its lifetime.
const SIGNED: (&str, &str) = (
    "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=EXAMPLE%2F20261123%2Fus-east-1%2Fs3%2Faws4_request\
     &X-Amz-Date=20261123T120000Z&X-Amz-Expires=",
    "&X-Amz-SignedHeaders=host&X-Amz-Signature=3f9c1a5b7d2e4f603f9c1a5b7d2e4f603f9c1a5b7d2e4f603f9c1a5b7d2e4f60",
);

/// The text with realistic links: those of the store in memory, and those of the API to its files.
fn with_signed_links(text: &str) -> String {
    let mut signed = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("memory:images/").or_else(|| rest.find("/v1/images/files/")) {
        let (before, link) = rest.split_at(start);
        let end = link.find(['"', ' ', '\n']).unwrap_or(link.len());
        let (link, after) = link.split_at(end);
        signed.push_str(before);
        let link = link.strip_prefix(MEMORY).map_or_else(|| link.to_owned(), |key| format!("{BUCKET}{key}"));
        match link.split_once(LIFETIME) {
            Some((path, lifetime)) => signed.extend([path, SIGNED.0, lifetime, SIGNED.1]),
            None => signed.push_str(&link),
        }
        rest = after;
    }
    signed + rest
}

fn masked(text: &str) -> String {
    let mut text = with_signed_links(text);
    for (pattern, replacement) in TEXTS {
        let mut at = 0;
        while at + pattern.len() <= text.len() {
            if text.as_bytes()[at..].iter().zip(pattern.as_bytes()).all(|(byte, kind)| matches(*byte, *kind))
            {
                text.replace_range(at..at + pattern.len(), replacement);
                at += replacement.len();
            } else {
                at += 1;
            }
        }
    }
    text
}

fn matches(byte: u8, kind: u8) -> bool {
    match kind {
        b'h' => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        b'd' => byte.is_ascii_digit(),
        b'b' => byte.is_ascii_alphanumeric(),
        same => byte == same,
    }
}
