//! A short text that differs for every difference in what was loaded of a model.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

/// Digits of the text.
const DIGITS: usize = 16;

/// Checksums of everything that a loader reads, by name. [`ModelFiles`](crate::ModelFiles) and
/// [`Weights`](crate::Weights) enter each file and each tensor as they hand it out, so that nothing can decide an
/// image and be missing here.
#[derive(Debug, Default)]
pub(crate) struct Fingerprint {
    entries: Mutex<BTreeMap<String, [u64; LANES]>>,
}

impl Fingerprint {
    /// Enters a file or a tensor.
    pub(crate) fn add(&self, name: String, bytes: &[u8]) {
        let checksum = checksum(bytes);
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).insert(name, checksum);
    }

    /// The files of which something was read.
    #[cfg(test)]
    pub(crate) fn names(&self) -> std::collections::BTreeSet<String> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.keys().map(|name| name.split(": ").next().unwrap_or(name).to_owned()).collect()
    }

    /// A digest of all entries so far, whatever their order was.
    pub(crate) fn revision(&self) -> String {
        let mut digest = Sha256::new();
        for (name, checksum) in self.entries.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            digest.update(name.len().to_le_bytes());
            digest.update(name);
            for lane in checksum {
                digest.update(lane.to_le_bytes());
            }
        }
        let mut text = String::new();
        for byte in digest.finalize().iter().take(DIGITS / 2) {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

/// Independent sums, so that the processor computes them at once.
const LANES: usize = 4;

/// A checksum against accidents. Unlike a cryptographic digest, it takes a gigabyte of weights in a fraction of the
/// time that loading them takes. Each step is a bijection of the lane, so that a single changed word always shows.
fn checksum(bytes: &[u8]) -> [u64; LANES] {
    const WORD: usize = size_of::<u64>();
    // The odd constants of xxHash, which spread every bit over the upper half.
    const FACTOR: u64 = 0x9E37_79B1_85EB_CA87;
    let mut lanes = [0xC2B2_AE3D_27D4_EB4F, 0x1656_67B1_9E37_79F9, 0x85EB_CA77_C2B2_AE63, bytes.len() as u64];
    let mut mix = |block: &[u8]| {
        for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(WORD)) {
            let word = word.try_into().map_or(0, u64::from_le_bytes);
            *lane = (*lane ^ word).wrapping_mul(FACTOR).rotate_left(29);
        }
    };
    let blocks = bytes.chunks_exact(LANES * WORD);
    let mut rest = [0; LANES * WORD];
    rest[..blocks.remainder().len()].copy_from_slice(blocks.remainder());
    blocks.for_each(&mut mix);
    mix(&rest);
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_and_the_length_count() {
        let bytes: Vec<u8> = (0..100u8).collect();
        let whole = checksum(&bytes);
        assert_eq!(whole, checksum(&bytes.clone()));
        for i in 0..bytes.len() {
            let mut other = bytes.clone();
            other[i] ^= 1;
            assert_ne!(checksum(&other), whole, "byte {i}");
            assert_ne!(checksum(&bytes[..i]), whole, "{i} bytes");
        }
        assert_ne!(checksum(&[0; 8]), checksum(&[0; 9]));
        // Words of one lane that change places.
        let mut swapped = bytes.clone();
        swapped.copy_within(0..8, 32);
        swapped[..8].copy_from_slice(&bytes[32..40]);
        assert_ne!(checksum(&swapped), whole);
    }

    #[test]
    fn the_order_of_reading_does_not_count() {
        let of = |entries: &[(&str, &[u8])]| {
            let fingerprint = Fingerprint::default();
            for (name, bytes) in entries {
                fingerprint.add((*name).to_owned(), bytes);
            }
            fingerprint.revision()
        };
        let one = of(&[("a", b"1"), ("b", b"2")]);
        assert_eq!(one.len(), DIGITS);
        assert_eq!(one, of(&[("b", b"2"), ("a", b"1"), ("a", b"1")]));
        for other in [of(&[("a", b"1")]), of(&[("a", b"2"), ("b", b"1")]), of(&[("ab", b"1"), ("", b"2")])] {
            assert_ne!(one, other);
        }
    }
}
