//! API keys: what a customer is given, and what is kept of it.
//!
//! A key is `tt_`, 43 random base-62 characters (256 bits), and 6 characters of checksum (CRC-32, base 62), as
//! GitHub's tokens have it: secret scanners can recognise one, and a mistyped one is told from a wrong one without
//! looking anything up. Only its SHA-256 is kept. There is nothing to guess among 2²⁵⁶ keys, so a slow hash as for
//! passwords would cost every request and protect nothing.

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

/// The text is no key of ours; nothing was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Not the prefix, the length or the characters of a key.
    #[error("this is no tintype key: one begins with `tt_` and has 52 characters")]
    Malformed,
    /// The checksum is wrong: mistyped, or cut and pasted together.
    #[error("the key's checksum is wrong: it was mistyped")]
    Checksum,
}

/// A key as the customer holds it. It prints as `[redacted]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey(Secret);

impl ApiKey {
    /// A new key from the operating system's random numbers.
    ///
    /// # Errors
    /// When the operating system has none to give.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut text = String::with_capacity(PREFIX.len() + RANDOM_CHARS + CHECKSUM_CHARS);
        text.push_str(PREFIX);
        let mut bytes = [0u8; 64];
        while text.len() < PREFIX.len() + RANDOM_CHARS {
            getrandom::fill(&mut bytes)?;
            // 248 is the largest multiple of 62 in a byte; what lies above would favour the first characters.
            let fair = bytes.iter().filter(|byte| **byte < 248).map(|byte| BASE62[usize::from(byte % 62)]);
            text.extend(fair.take(PREFIX.len() + RANDOM_CHARS - text.len()).map(char::from));
        }
        text.push_str(&checksum(&text));
        Ok(Self(Secret::new(text)))
    }

    /// Reads a key and checks its checksum.
    ///
    /// # Errors
    /// [`InvalidKey`]; the text is not in it.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        let random = text.strip_prefix(PREFIX).ok_or(InvalidKey::Malformed)?;
        let length = RANDOM_CHARS + CHECKSUM_CHARS;
        if random.len() != length || !random.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(InvalidKey::Malformed);
        }
        let (body, sum) = text.split_at(text.len() - CHECKSUM_CHARS);
        if checksum(body) == sum { Ok(Self(Secret::new(text))) } else { Err(InvalidKey::Checksum) }
    }

    /// The key itself, to be shown once to whom it is made for.
    pub fn secret(&self) -> &Secret {
        &self.0
    }

    /// What is kept of it.
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

/// The SHA-256 of a key. Compares in constant time.
#[derive(Clone, Copy)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The key's public name: the first 16 hexadecimal digits of its hash, which is how it is found.
    pub fn id(&self) -> KeyId {
        let digits = self.to_string();
        digits[..16].parse().expect("hexadecimal digits are a name")
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

/// What is asked for when a key is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// What people call it; free text, need not be unique.
    pub name: String,
    /// Whose it is; a new owner named like the key's id if none is given.
    pub owner: Option<OwnerId>,
    /// When it stops working.
    pub expires: Option<OffsetDateTime>,
    /// It may manage keys.
    pub admin: bool,
    /// Its limits.
    pub policy: Policy,
}

/// A key as the ledger keeps it: everything but the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Its public name.
    pub id: KeyId,
    /// The hash it is recognised by. Whoever has it cannot compute the key; still no answer shows it.
    pub hash: KeyHash,
    /// What people call it.
    pub name: String,
    /// Whose it is.
    pub owner: OwnerId,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
    /// When it stops working.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub expires: Option<OffsetDateTime>,
    /// When it was revoked.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub revoked: Option<OffsetDateTime>,
    /// It may manage keys.
    #[serde(default)]
    pub admin: bool,
    /// Its limits.
    #[serde(default)]
    pub policy: Policy,
}

impl KeyRecord {
    /// The record of a key just made.
    pub(crate) fn new(key: &ApiKey, new: NewKey, now: OffsetDateTime) -> Self {
        let hash = key.hash();
        let id = hash.id();
        let owner = new.owner.unwrap_or_else(|| id.as_str().parse().expect("a key's id is a name"));
        let NewKey { name, expires, admin, policy, .. } = new;
        Self { id, hash, name, owner, created: now, expires, revoked: None, admin, policy }
    }

    /// What this record says of the key that was presented.
    pub(crate) fn verify(self, key: &ApiKey, now: OffsetDateTime) -> Authentication {
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

/// What became of a key that someone presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// It is good.
    Valid(KeyRecord),
    /// No such key.
    Unknown,
    /// It was good once.
    Expired(KeyRecord),
    /// It was taken back.
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
    fn keys_are_recognised_without_looking_them_up() {
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
    fn keys_are_random_and_even() {
        let keys: Vec<_> = (0..500).map(|_| ApiKey::generate().expect("random numbers")).collect();
        let ids: HashSet<_> = keys.iter().map(|key| key.hash().id()).collect();
        assert_eq!(ids.len(), keys.len());
        let mut counts = [0u32; 256];
        for key in &keys {
            key.secret().expose()[3..46].bytes().for_each(|byte| counts[usize::from(byte)] += 1);
        }
        // 21,500 characters over 62: 347 each, with a standard deviation of 18.5; 9 of those is never.
        assert!(BASE62.iter().all(|char| (180..=514).contains(&counts[usize::from(*char)])), "{counts:?}");
    }

    #[test]
    fn nothing_prints_a_key_or_its_hash() {
        let key = ApiKey::generate().expect("random numbers");
        let printed = format!("{key:?} {:?}", key.hash());
        assert!(!printed.contains(&key.secret().expose()[3..]), "{printed}");
        assert!(!printed.contains(&key.hash().to_string()), "{printed}");
    }

    #[test]
    fn the_checksum_is_crc_32_in_base_62() {
        // CRC-32 (ISO-HDLC) of "123456789" is 0xCBF43926 by every table of check values.
        let sum = checksum("123456789");
        let digit = |byte: u8| BASE62.iter().position(|other| *other == byte).expect("base 62") as u64;
        assert_eq!(sum.bytes().fold(0, |value, byte| value * 62 + digit(byte)), 0xCBF4_3926);
    }
}
