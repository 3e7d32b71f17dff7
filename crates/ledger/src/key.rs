//! API keys and their stored records.
//!
//! A key consists of `tt_`, 43 random base-62 characters (256 bits) and a checksum of 6 characters (CRC-32 in
//! base 62). GitHub's tokens have the same form: secret scanners recognise a key, and a mistyped key is
//! detected without a look-up. The ledger stores only the SHA-256 of a key. A slow password hash would add
//! cost to every request and no protection, because a random key of 256 bits cannot be guessed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use time::OffsetDateTime;
use tintype_core::secret::Secret;

use crate::id::{Fingerprint, KeyId, OwnerId};
use crate::policy::Policy;

const PREFIX: &str = "tt_";
const RANDOM_CHARS: usize = 43;
const CHECKSUM_CHARS: usize = 6;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The text is not a tintype API key. This is detected without a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// The prefix, the length or a character is wrong.
    #[error("malformed API key: it must begin with `tt_` and have 52 characters")]
    Malformed,
    /// The checksum is wrong: the key was mistyped or copied incompletely.
    #[error("mistyped API key: its checksum is wrong")]
    Checksum,
}

/// An API key, the secret that a client sends. It prints as `[redacted]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey(Secret);

impl ApiKey {
    /// Generates a key with the operating system's random number generator.
    ///
    /// # Errors
    /// If the operating system provides no random numbers.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut text = String::with_capacity(PREFIX.len() + RANDOM_CHARS + CHECKSUM_CHARS);
        text.push_str(PREFIX);
        let mut bytes = [0u8; 64];
        while text.len() < PREFIX.len() + RANDOM_CHARS {
            getrandom::fill(&mut bytes)?;
            // 248 is the largest multiple of 62 in a byte; higher values would favour the first characters.
            let fair = bytes.iter().filter(|byte| **byte < 248).map(|byte| BASE62[usize::from(byte % 62)]);
            text.extend(fair.take(PREFIX.len() + RANDOM_CHARS - text.len()).map(char::from));
        }
        text.push_str(&checksum(&text));
        Ok(Self(Secret::new(text)))
    }

    /// Parses a key and verifies its checksum.
    ///
    /// # Errors
    /// [`InvalidKey`], which does not contain the text.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        let random = text.strip_prefix(PREFIX).ok_or(InvalidKey::Malformed)?;
        let length = RANDOM_CHARS + CHECKSUM_CHARS;
        if random.len() != length || !random.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(InvalidKey::Malformed);
        }
        let (body, sum) = text.split_at(text.len() - CHECKSUM_CHARS);
        if checksum(body) == sum { Ok(Self(Secret::new(text))) } else { Err(InvalidKey::Checksum) }
    }

    /// The text of the key. Show it once, when the key is created.
    pub fn secret(&self) -> &Secret {
        &self.0
    }

    /// The hash that the ledger stores.
    pub fn hash(&self) -> KeyHash {
        KeyHash(Sha256::digest(self.0.expose().as_bytes()).into())
    }
}

fn checksum(text: &str) -> String {
    let mut rest = crc32fast::hash(text.as_bytes());
    let mut sum = [b'0'; CHECKSUM_CHARS];
    for place in sum.iter_mut().rev() {
        *place = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    sum.iter().copied().map(char::from).collect()
}

/// The SHA-256 of an API key, compared in constant time.
#[derive(Clone, Copy)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The key's public id: the first 16 hexadecimal digits of the hash. The ledger finds a key by this id.
    pub fn id(&self) -> KeyId {
        let digits = self.to_string();
        digits[..16].parse().expect("hexadecimal digits are a valid name")
    }
}

impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyHash {}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({}…)", self.id())
    }
}

impl Serialize for KeyHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = Fingerprint::deserialize(deserializer)?;
        Ok(Self(*digits.as_bytes()))
    }
}

/// The properties of a key to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// A label for people: any text, not necessarily unique.
    pub name: String,
    /// The owner; `None` creates an owner whose id equals the key's id.
    pub owner: Option<OwnerId>,
    /// The time from which the key is rejected; `None` for a key that does not expire.
    pub expires: Option<OffsetDateTime>,
    /// Whether the key may manage keys.
    pub admin: bool,
    /// The key's limits.
    pub policy: Policy,
}

/// The stored record of a key, without the key itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// The public id.
    pub id: KeyId,
    /// The hash of the key. The key cannot be computed from it; nevertheless no API response contains it.
    pub hash: KeyHash,
    /// A label for people.
    pub name: String,
    /// The owner.
    pub owner: OwnerId,
    /// The time of creation.
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
    /// The time from which the key is rejected.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub expires: Option<OffsetDateTime>,
    /// The time at which the key was revoked.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub revoked: Option<OffsetDateTime>,
    /// Whether the key may manage keys.
    #[serde(default)]
    pub admin: bool,
    /// The key's limits.
    #[serde(default)]
    pub policy: Policy,
}

impl KeyRecord {
    /// The record of a key that was just generated.
    pub fn new(key: &ApiKey, new: NewKey, now: OffsetDateTime) -> Self {
        let hash = key.hash();
        let id = hash.id();
        let owner = new.owner.unwrap_or_else(|| id.as_str().parse().expect("a key id is a valid owner id"));
        let NewKey { name, expires, admin, policy, .. } = new;
        Self { id, hash, name, owner, created: now, expires, revoked: None, admin, policy }
    }

    /// Checks a client's key against this record.
    pub fn verify(self, key: &ApiKey, now: OffsetDateTime) -> Authentication {
        if self.hash != key.hash() {
            Authentication::Unknown
        } else if self.revoked.is_some() {
            Authentication::Revoked(self)
        } else if self.expires.is_some_and(|at| at <= now) {
            Authentication::Expired(self)
        } else {
            Authentication::Valid(self)
        }
    }
}

/// The result of checking a client's API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// The key is valid.
    Valid(KeyRecord),
    /// The ledger has no such key.
    Unknown,
    /// The key has expired.
    Expired(KeyRecord),
    /// The key was revoked.
    Revoked(KeyRecord),
}

impl FromStr for ApiKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn malformed_and_mistyped_keys_are_detected_without_a_look_up() {
        let key = ApiKey::generate().expect("random numbers");
        let text = key.secret().expose().to_owned();
        assert_eq!((text.len(), text.starts_with("tt_")), (52, true));
        assert_eq!(ApiKey::parse(&text), Ok(key));

        let mut typo = text.clone().into_bytes();
        typo[10] = if typo[10] == b'a' { b'b' } else { b'a' };
        let typo = String::from_utf8(typo).expect("ASCII");
        assert_eq!(ApiKey::parse(&typo), Err(InvalidKey::Checksum));
        for bad in ["", "tt_", "sk-abc", &text[..51], &format!("{text}0"), &text.replace("tt_", "tt-"), "虎"]
        {
            assert_eq!(ApiKey::parse(bad), Err(InvalidKey::Malformed), "{bad}");
        }
    }

    #[test]
    fn keys_are_random_and_uniform() {
        let keys: Vec<_> = (0..500).map(|_| ApiKey::generate().expect("random numbers")).collect();
        let ids: HashSet<_> = keys.iter().map(|key| key.hash().id()).collect();
        assert_eq!(ids.len(), keys.len());
        let mut counts = [0u32; 256];
        for key in &keys {
            key.secret().expose()[3..46].bytes().for_each(|byte| counts[usize::from(byte)] += 1);
        }
        // 21,500 characters over 62 values: 347 each with a standard deviation of 18.5; the bounds are 9 of
        // those.
        assert!(BASE62.iter().all(|char| (180..=514).contains(&counts[usize::from(*char)])), "{counts:?}");
    }

    #[test]
    fn debug_output_has_no_key_and_no_hash() {
        let key = ApiKey::generate().expect("random numbers");
        let printed = format!("{key:?} {:?}", key.hash());
        assert!(!printed.contains(&key.secret().expose()[3..]), "{printed}");
        assert!(!printed.contains(&key.hash().to_string()), "{printed}");
    }

    #[test]
    fn the_stored_form_of_a_record_does_not_change() {
        let at = time::macros::datetime!(2026-11-23 12:00 UTC);
        let digits = "0123456789abcdef".repeat(4);
        let record = KeyRecord {
            id: digits[..16].parse().expect("an id"),
            hash: KeyHash(*digits.parse::<Fingerprint>().expect("a hash").as_bytes()),
            name: "acme".to_owned(),
            owner: "acme-inc".parse().expect("an owner"),
            created: at,
            expires: Some(at),
            revoked: None,
            admin: true,
            policy: Policy { rate: "60/min".parse().ok(), ..Policy::default() },
        };
        let text = serde_json::to_value(&record).expect("plain data");
        let expected = serde_json::json!({
            "id": "0123456789abcdef", "hash": digits, "name": "acme", "owner": "acme-inc",
            "created": "2026-11-23T12:00:00Z", "expires": "2026-11-23T12:00:00Z", "admin": true,
            "policy": {"rate": "60/min"},
        });
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_value::<KeyRecord>(text).expect("its own text"), record);
    }

    #[test]
    fn the_checksum_is_crc_32_in_base_62() {
        // The check value of CRC-32 (ISO-HDLC), which is defined for "123456789", is 0xCBF43926.
        let sum = checksum("123456789");
        let digit = |byte: u8| BASE62.iter().position(|other| *other == byte).expect("base 62") as u64;
        assert_eq!(sum.bytes().fold(0, |value, byte| value * 62 + digit(byte)), 0xCBF4_3926);
    }
}
