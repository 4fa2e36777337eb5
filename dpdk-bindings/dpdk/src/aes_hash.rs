//! A keyed hash of what makes a flow, by rounds of AES, where the processor has them (AES-NI) and all else that
//! [`wide`](crate::vector::wide) asks for.

use crate::vector::Level;

/// A secret and random key.
#[derive(Clone)]
#[repr(align(16))]
pub struct Key(pub [[u8; 16]; 3]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(secret)")
    }
}

/// The hash of 40 bytes under a secret key, for tables whose keys strangers choose, where the code in hand may use AES-NI; `None`
/// elsewhere. All its bits are usable.
///
/// Four rounds of AES: sixteen bytes whitened, then each round adds what is next, the second sixteen, the last eight, and twice
/// the key. Every byte goes through two rounds at least after it was added, in which it reaches all sixteen of the state.
/// The first sixteen are whitened by a secret, so that nobody knows what a difference in them becomes; it is meant for the source
/// address, for a stranger who could choose the second as well as the first could make them cancel each other in one of some
/// 2⁶ attempts, without seeing which. It is no MAC.
#[inline(always)]
#[must_use]
pub fn hash(
    level: Level,
    key: &Key,
    first: &[u8; 16],
    second: &[u8; 16],
    last: u64,
) -> Option<u64> {
    #[cfg(target_arch = "x86_64")]
    if level.is_wide() {
        // SAFETY: there is such a level only where the processor has been asked for AES-NI, among others.
        return Some(unsafe { hashed(key, first, second, last) });
    }
    let _ = (level, key, first, second, last);
    None
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "aes")]
#[inline]
fn hashed(Key(key): &Key, first: &[u8; 16], second: &[u8; 16], last: u64) -> u64 {
    use std::arch::x86_64::{
        __m128i, _mm_aesenc_si128, _mm_cvtsi64_si128, _mm_cvtsi128_si64, _mm_loadu_si128,
        _mm_xor_si128,
    };
    let load = |block: &[u8; 16]| {
        // SAFETY: the load is of a whole array of sixteen bytes, and needs no alignment.
        unsafe { _mm_loadu_si128(block.as_ptr().cast::<__m128i>()) }
    };
    let state = _mm_xor_si128(load(first), load(&key[0]));
    let state = _mm_aesenc_si128(state, load(second));
    let state = _mm_aesenc_si128(state, _mm_cvtsi64_si128(last.cast_signed()));
    let state = _mm_aesenc_si128(state, load(&key[1]));
    _mm_cvtsi128_si64(_mm_aesenc_si128(state, load(&key[2]))).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const KEY: Key = Key([[0x3C; 16], [0x96; 16], [0x5A; 16]]);

    /// What hashes under a key, if the processor can.
    fn hashing(key: Key) -> Option<impl Fn(&[u8; 16], &[u8; 16], u64) -> u64> {
        let hash = move |level, first: &[u8; 16], second: &[u8; 16], last| {
            hash(level, &key, first, second, last)
        };
        assert_eq!(hash(Level::LEAST, &[0; 16], &[0; 16], 0), None);
        hash(Level::here(), &[0; 16], &[0; 16], 0)?;
        Some(move |first: &[u8; 16], second: &[u8; 16], last| {
            hash(Level::here(), first, second, last).unwrap()
        })
    }

    /// S-box of AES (FIPS 197 §5.1.1): the inverse in GF(2⁸), and an affine map.
    fn sub(byte: u8) -> u8 {
        let inverse = (1..=255)
            .find(|other| times(byte, *other) == 1)
            .unwrap_or(0);
        (0..5).fold(0x63, |sum, turn| sum ^ inverse.rotate_left(turn))
    }

    /// Product in GF(2⁸) modulo x⁸ + x⁴ + x³ + x + 1.
    fn times(mut a: u8, mut b: u8) -> u8 {
        let mut product = 0;
        while b != 0 {
            product ^= a * (b & 1);
            a = (a << 1) ^ ((a >> 7) * 0x1B);
            b >>= 1;
        }
        product
    }

    /// A round of the cipher (FIPS 197 §5.1), written down from the standard.
    fn round(state: [u8; 16], key: [u8; 16]) -> [u8; 16] {
        // Byte i of the state is in row i mod 4, which is turned by so many columns.
        let shifted: [u8; 16] = std::array::from_fn(|at| sub(state[(at + at % 4 * 4) % 16]));
        std::array::from_fn(|at| {
            let column = &shifted[at / 4 * 4..][..4];
            let row = |n: usize| column[(at + n) % 4];
            times(row(0), 2) ^ times(row(1), 3) ^ row(2) ^ row(3) ^ key[at]
        })
    }

    #[test]
    fn is_four_rounds_of_the_standard() {
        let Some(hash) = hashing(KEY) else {
            return;
        };
        let text = |seed: u8| std::array::from_fn(|at| (at as u8).wrapping_mul(seed) ^ seed);
        for seed in 0..40 {
            let (first, second): ([u8; 16], [u8; 16]) = (text(seed), text(seed ^ 0xA5));
            let last = u64::from(seed) << 32 | 0x1F90_C350;
            let mut tail = [0; 16];
            tail[..8].copy_from_slice(&last.to_le_bytes());
            let mut state = std::array::from_fn(|at| first[at] ^ KEY.0[0][at]);
            for key in [second, tail, KEY.0[1], KEY.0[2]] {
                state = round(state, key);
            }
            let expected = u64::from_le_bytes(*state.first_chunk().unwrap());
            assert_eq!(hash(&first, &second, last), expected);
        }
    }

    #[test]
    fn every_bit_counts() {
        let Some(hash) = hashing(KEY) else {
            return;
        };
        let (mut first, mut second, last) = ([0x20; 16], [0x11; 16], 6_u64 << 32 | 8_000);
        let base = hash(&first, &second, last);
        let mut seen = HashSet::from([base]);
        let mut changed = 0;
        for bit in 0..320 {
            let flip = 1 << (bit % 8);
            let other = match bit / 8 {
                at @ 0..16 => {
                    first[at] ^= flip;
                    let other = hash(&first, &second, last);
                    first[at] ^= flip;
                    other
                }
                at @ 16..32 => {
                    second[at - 16] ^= flip;
                    let other = hash(&first, &second, last);
                    second[at - 16] ^= flip;
                    other
                }
                _ => hash(&first, &second, last ^ 1 << (bit - 256)),
            };
            seen.insert(other);
            changed += (base ^ other).count_ones();
        }
        // A bit of the first part of the key is as one of the first text.
        for key in 1..3 {
            let mut other = KEY;
            other.0[key][5] ^= 1;
            seen.insert(hashing(other).map_or(base, |hash| hash(&first, &second, last)));
        }
        assert_eq!(seen.len(), 323);
        // Half of the bits, give or take nine standard deviations (of 320 · 64 bits, 71.6).
        assert!(changed.abs_diff(320 * 32) < 9 * 72, "{changed}");
    }

    #[test]
    fn neighbours_spread() {
        let Some(hash) = hashing(KEY) else {
            return;
        };
        // Clients of one /64, a port each, as flows come: a fair share in each of 4,096 places, by either end of the hash.
        let (mut low, mut high) = (vec![0_u32; 4_096], vec![0_u32; 4_096]);
        for client in 0..64_u8 {
            for port in 0..1_024_u64 {
                let mut source = [0x20; 16];
                source[15] = client;
                let hash = hash(&source, &[0x11; 16], 17 << 32 | 8_000 << 16 | port);
                low[(hash & 0xFFF) as usize] += 1;
                high[(hash >> 52) as usize] += 1;
            }
        }
        for places in [low, high] {
            // Chi squared: 4,095 expected, standard deviation 90.5.
            let squared: f64 = places
                .iter()
                .map(|n| (f64::from(*n) - 16.0).powi(2) / 16.0)
                .sum();
            assert!((squared - 4_095.0).abs() < 9.0 * 90.5, "{squared}");
        }
    }
}
