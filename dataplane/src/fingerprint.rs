//! Keyed fingerprints of metadata: what "verified before" means for a flow.
//!
//! Where the processor has what [`dpdk::vector::wide`] asks for, the bytes are hashed in GF(2⁶⁴) ([`carryless::hash`]): of two texts one key in 2⁶⁴ makes
//! their hashes equal, or two where one has a block more, and one bit is given up. Elsewhere by NH (Black et al., *UMAC: Fast and Secure
//! Message Authentication*, CRYPTO 1999, §4.2) in words of 64 bits: one multiplication for sixteen bytes, none waiting for another. For any two texts of
//! one length, one key in 2⁶⁴ at the most makes their sums of 128 bits equal. Of these the halves are then added bit by bit, and one bit is given up.

use dpdk::carryless::{self, MAX_BLOCKS, padded_block};
use dpdk::vector::Level;

/// The bit of a flow's fingerprint that says what its bytes were worth.
const USABLE: u64 = 1;
/// Bytes that count: more than an option can have.
const LONGEST: usize = 16 * MAX_BLOCKS;

/// Makes fingerprints, under a key of its own.
#[derive(Clone)]
pub struct Fingerprint(carryless::Key);

impl Fingerprint {
    /// Fingerprints under a key grown from `seed`, which is random per process.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        let mut next =
            || u128::from(splitmix64(&mut state)) | u128::from(splitmix64(&mut state)) << 64;
        Self(std::array::from_fn(|_| next().to_le_bytes()))
    }

    /// The fingerprint of `bytes`, of which the first 256 count and the length: 63 bits. By means that
    /// the code in hand has: `level` is what [`wide`](dpdk::vector::wide) said or [`Level::here`], or this is another one.
    #[inline(always)]
    #[must_use]
    pub fn of(&self, level: Level, bytes: &[u8]) -> u64 {
        let hash = carryless::hash(level, &self.0, bytes);
        hash.unwrap_or_else(|| by_words(&self.0, bytes)) & !USABLE
    }

    /// What a flow keeps of it: the fingerprint, and whether the bytes were worth acting on.
    #[inline]
    #[must_use]
    pub const fn mark(print: u64, usable: bool) -> u64 {
        if usable { print | USABLE } else { print }
    }

    /// The fingerprint in what a flow keeps, and whether its bytes were worth acting on.
    #[inline]
    #[must_use]
    pub const fn read(mark: u64) -> (u64, bool) {
        (mark & !USABLE, mark & USABLE != 0)
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprint(secret)")
    }
}

#[inline(never)]
fn by_words(key: &carryless::Key, bytes: &[u8]) -> u64 {
    // Past the bit that is given up.
    let mut sum = (bytes.len() as u128) << 1;
    let bytes = &bytes[..bytes.len().min(LONGEST)];
    let blocks = bytes.as_chunks::<16>().0;
    for (key, block) in key.iter().zip(blocks) {
        sum = sum.wrapping_add(product(*key, block));
    }
    if !bytes.len().is_multiple_of(16) {
        let key = key[blocks.len() % MAX_BLOCKS];
        sum = sum.wrapping_add(match bytes.last_chunk::<16>() {
            // What is behind the last whole block, and some of what is before it once more.
            Some(last) => product(key, last),
            None => product(key, &padded_block(bytes)),
        });
    }
    sum as u64 ^ (sum >> 64) as u64
}

/// What sixteen bytes add to the sum.
#[inline(always)]
fn product(key: [u8; 16], block: &[u8; 16]) -> u128 {
    let [key, block] = [key, *block].map(u128::from_le_bytes);
    let low = (block as u64).wrapping_add(key as u64);
    let high = ((block >> 64) as u64).wrapping_add((key >> 64) as u64);
    u128::from(low) * u128::from(high)
}

/// The next number of the sequence called SplitMix64 (Steele et al., OOPSLA 2014).
pub(crate) const fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Fingerprints by every means.
    fn all(seed: u64) -> [impl Fn(&[u8]) -> u64; 2] {
        [Level::here(), Level::LEAST].map(|level| {
            let fingerprint = Fingerprint::new(seed);
            move |bytes: &[u8]| fingerprint.of(level, bytes)
        })
    }

    fn text(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at * 37 % 251) as u8).collect()
    }

    #[test]
    fn every_bit_of_every_length_counts() {
        for fingerprint in all(7) {
            let mut seen = HashSet::new();
            let mut texts = 0;
            for len in 0..=LONGEST {
                let mut text = text(len);
                texts += 1;
                seen.insert(fingerprint(&text));
                for bit in 0..len * 8 {
                    text[bit / 8] ^= 1 << (bit % 8);
                    texts += 1;
                    seen.insert(fingerprint(&text));
                    text[bit / 8] ^= 1 << (bit % 8);
                }
            }
            assert_eq!(seen.len(), texts);
        }
    }

    #[test]
    fn zeros_behind_and_bytes_swapped_are_told() {
        for fingerprint in all(7) {
            let zeros: HashSet<u64> = (0..=LONGEST)
                .map(|len| fingerprint(&vec![0; len]))
                .collect();
            assert_eq!(zeros.len(), LONGEST + 1);
            let mut swapped = text(64);
            swapped.swap(3, 19);
            assert_ne!(fingerprint(&swapped), fingerprint(&text(64)));
            swapped.copy_from_slice(&text(64));
            swapped.rotate_left(16);
            assert_ne!(fingerprint(&swapped), fingerprint(&text(64)));
        }
    }

    #[test]
    fn another_seed_is_another_fingerprint() {
        let prints: HashSet<u64> = (0..100)
            .map(|seed| Fingerprint::new(seed).of(Level::here(), &text(52)))
            .collect();
        assert_eq!(prints.len(), 100);
        let print = Fingerprint::new(1).of(Level::here(), &text(52));
        for usable in [false, true] {
            assert_eq!(
                Fingerprint::read(Fingerprint::mark(print, usable)),
                (print, usable)
            );
        }
    }

    #[test]
    fn what_is_longer_than_an_option_does_not_panic() {
        for fingerprint in all(7) {
            assert_ne!(fingerprint(&text(257)), fingerprint(&text(300)));
        }
    }
}
