//! The native parameters, read from a query string.

use std::borrow::Cow;

use percent_encoding::percent_decode;
use tintype_core::request::Draft;
use tintype_core::violation::{Violation, ViolationKind};

/// Every parameter of the native `GET`, in the order in which messages list them.
const PARAMETERS: [&str; 9] =
    ["prompt", "negative_prompt", "width", "height", "steps", "guidance", "seed", "format", "expires_in"];
/// Most violations that are told of one query.
const MOST_TOLD: usize = 20;
/// Most characters of an unknown parameter's name that are repeated to the client.
const NAME_CHARS: usize = 64;

/// What a query string says: the fields that could be read, and what is wrong with the others.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Query {
    pub(crate) draft: Draft,
    pub(crate) violations: Vec<Violation>,
}

impl Query {
    /// Reads a query string; `+` and percent-encoding as HTML forms have them.
    pub(crate) fn parse(query: &str) -> Self {
        let mut read = Self::default();
        let mut seen = Vec::new();
        for (name, value) in pairs(query) {
            let name = String::from_utf8_lossy(&decode(name)).into_owned();
            match read.field(&name, value, &mut seen) {
                Err(violation) if read.violations.len() < MOST_TOLD => read.violations.push(violation),
                _ => {}
            }
        }
        read
    }

    /// Adds what the service found, except about fields of which we know better why they are not there.
    pub(crate) fn add(mut self, found: Vec<Violation>) -> Vec<Violation> {
        let known = self.violations.len();
        for violation in found {
            let told = self.violations[..known].iter().any(|before| before.parameter == violation.parameter);
            if !told {
                self.violations.push(violation);
            }
        }
        self.violations
    }

    fn field(&mut self, name: &str, value: &str, seen: &mut Vec<&'static str>) -> Result<(), Violation> {
        if name == "n" {
            return Err(Violation::malformed(
                "n",
                "left out of a GET, which makes one picture; use POST for several",
            ));
        }
        let Some(name) = PARAMETERS.into_iter().find(|known| *known == name) else {
            let short: String = name.chars().take(NAME_CHARS).collect();
            return Err(Violation::new(short, ViolationKind::Unknown { known: PARAMETERS.join(", ") }));
        };
        if seen.contains(&name) {
            return Err(Violation::new(name, ViolationKind::Repeated));
        }
        seen.push(name);
        let value = String::from_utf8(decode(value).into_owned())
            .map_err(|_| Violation::new(name, ViolationKind::NotUtf8))?;
        let draft = &mut self.draft;
        match name {
            "prompt" => draft.prompt = Some(value),
            "negative_prompt" => draft.negative_prompt = Some(value),
            "width" => draft.width = Some(whole(name, &value)?),
            "height" => draft.height = Some(whole(name, &value)?),
            "steps" => draft.steps = Some(whole(name, &value)?),
            "guidance" => draft.guidance = Some(number(name, &value)?),
            "seed" => draft.seed = Some(whole(name, &value)?),
            "format" => {
                let format = given(name, &value)?.parse();
                draft.format =
                    Some(format.map_err(|_| Violation::malformed(name, "one of jpeg, png, webp"))?);
            }
            _ => draft.expires_in = Some(whole(name, &value)?),
        }
        Ok(())
    }
}

/// Whether a query string has any parameter of ours, well-formed or not.
pub(crate) fn asks_for_a_picture(query: &str) -> bool {
    pairs(query).any(|(name, _)| PARAMETERS.iter().any(|known| *decode(name) == *known.as_bytes()))
}

/// The name and value of each parameter, still encoded.
fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn decode(text: &str) -> Cow<'_, [u8]> {
    if text.contains('+') {
        // A plus sign itself arrives as %2B, so this must come first.
        let spaced = text.replace('+', " ");
        return Cow::Owned(percent_decode(spaced.as_bytes()).collect());
    }
    percent_decode(text.as_bytes()).into()
}

fn given<'a>(name: &str, value: &'a str) -> Result<&'a str, Violation> {
    if value.is_empty() { Err(Violation::new(name, ViolationKind::Empty)) } else { Ok(value) }
}

/// A whole number. One too large for 64 bits becomes the largest: it is out of every parameter's range all the same.
fn whole(name: &str, value: &str) -> Result<i64, Violation> {
    let digits = given(name, value)?.strip_prefix('-').unwrap_or(value);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Violation::malformed(name, "a whole number"));
    }
    let extreme = if digits.len() < value.len() { i64::MIN } else { i64::MAX };
    Ok(value.parse().unwrap_or(extreme))
}

fn number(name: &str, value: &str) -> Result<f64, Violation> {
    // Rust reads `inf` and `nan` too, which are no numbers to a client.
    let plain = given(name, value)?.bytes().any(|byte| byte.is_ascii_digit());
    let parsed = value.parse().ok().filter(|_| plain);
    parsed.ok_or_else(|| Violation::malformed(name, "a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_parameter() {
        let query = "prompt=a&negative_prompt=b&width=64&height=72&steps=5&guidance=1.5&seed=9&format=png&expires_in=60";
        let read = Query::parse(query);
        assert_eq!(read.violations, []);
        let expected = Draft {
            prompt: Some("a".into()),
            negative_prompt: Some("b".into()),
            width: Some(64),
            height: Some(72),
            steps: Some(5),
            guidance: Some(1.5),
            seed: Some(9),
            n: None,
            format: Some(tintype_core::picture::Format::Png),
            expires_in: Some(60),
        };
        assert_eq!(read.draft, expected);
    }

    #[test]
    fn text_is_decoded_once_and_otherwise_left_alone() {
        for (encoded, plain) in [
            ("cyborg_tiger", "cyborg_tiger"),
            ("a+b", "a b"),
            ("a%2Bb", "a+b"),
            ("100%25+pure", "100% pure"),
            ("%252B", "%2B"),
            ("%E8%99%8E", "虎"),
            ("a=b", "a=b"),
            ("50%", "50%"),
        ] {
            assert_eq!(Query::parse(&format!("prompt={encoded}")).draft.prompt.as_deref(), Some(plain));
        }
    }

    #[test]
    fn numbers_are_numbers() {
        for (value, expected) in [
            ("7", Some(7)),
            ("-1", Some(-1)),
            ("99999999999999999999", Some(i64::MAX)),
            ("7.0", None),
            ("%2B7", None),
            ("-", None),
            ("٣", None),
        ] {
            assert_eq!(Query::parse(&format!("seed={value}")).draft.seed, expected, "{value}");
        }
        for (value, expected) in [
            ("7", Some(7.0)),
            ("7.5", Some(7.5)),
            (".5", Some(0.5)),
            ("nan", None),
            ("inf", None),
            ("1,5", None),
        ] {
            assert_eq!(Query::parse(&format!("guidance={value}")).draft.guidance, expected, "{value}");
        }
    }

    #[test]
    fn a_flood_of_nonsense_gets_a_short_answer() {
        let query: String = (0..10_000).map(|i| format!("x{i}=&")).collect();
        assert_eq!(Query::parse(&query).violations.len(), MOST_TOLD);
        let read = Query::parse(&"x".repeat(60_000));
        assert_eq!(read.violations[0].parameter.len(), NAME_CHARS);
    }
}
