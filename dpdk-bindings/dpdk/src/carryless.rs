//! A keyed hash of short texts by carry-less multiplication, where the processor has it (PCLMULQDQ) and all else that
//! [`wide`](crate::vector::wide) asks for.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::__m128i;

use crate::vector::Level;

/// Blocks of sixteen bytes that a text may have.
pub const MAX_BLOCKS: usize = 16;

/// x⁶⁴ is this in the field: x⁴ + x³ + x + 1.
#[cfg(any(test, target_arch = "x86_64"))]
const FOLD: u64 = 0x1B;

/// A secret and random key, by block.
pub type Key = [[u8; 16]; MAX_BLOCKS];

/// The hash of `bytes`, of which the first 256 count and the length, where the code in hand may use PCLMULQDQ, `None` elsewhere: the sum over blocks that the text is cut into, as its length says, of products in GF(2⁶⁴), each of the two halves of
/// a block, to which the key's are added (the CLNH of Lemire and Kaser, *Faster 64-bit universal hashing using carry-less
/// multiplications*, J. Cryptographic Engineering 2016, §4, with the product taken modulo x⁶⁴ + x⁴ + x³ + x + 1), and of twice the length.
///
/// Of two different texts the hashes differ by any given value under one key in 2⁶⁴: where they differ in half of a block, one
/// term of the difference is the other half's key times something that is not 0, and nothing else contains that key; under two
/// at the most where one text has a block more, whose product is the difference. Where only the length differs the hashes do. So every
/// bit of the hash may be used, and the lowest may be left out.
#[inline(always)]
#[must_use]
pub fn hash(level: Level, key: &Key, bytes: &[u8]) -> Option<u64> {
    #[cfg(target_arch = "x86_64")]
    if level.is_wide() {
        // SAFETY: there is such a level only where the processor has been asked for PCLMULQDQ, among others.
        return Some(unsafe { hashed(key, bytes) });
    }
    let _ = (level, key, bytes);
    None
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "pclmulqdq")]
#[inline]
fn hashed(key: &Key, bytes: &[u8]) -> u64 {
    use std::arch::x86_64::{
        _mm_clmulepi64_si128, _mm_cvtsi64_si128, _mm_cvtsi128_si64, _mm_xor_si128,
    };
    // As many blocks from the front as from the back, some bytes twice: nearly all texts are of a length that makes these few
    // enough, and none of them waits for another.
    let sum = if (32..=64).contains(&bytes.len()) {
        _mm_xor_si128(
            products(bytes[..32].as_chunks().0, key),
            products(bytes[bytes.len() - 32..].as_chunks().0, &key[2..]),
        )
    } else if (64..=128).contains(&bytes.len()) {
        _mm_xor_si128(
            products(bytes[..64].as_chunks().0, key),
            products(bytes[bytes.len() - 64..].as_chunks().0, &key[4..]),
        )
    } else {
        others(key, bytes)
    };
    // The upper half times x⁶⁴, and what of that is above x⁶⁴ again, at most four bits.
    let fold = _mm_cvtsi64_si128(FOLD as i64);
    let once = _mm_clmulepi64_si128::<0x01>(sum, fold);
    let twice = _mm_clmulepi64_si128::<0x01>(once, fold);
    let folded = _mm_cvtsi128_si64(_mm_xor_si128(sum, _mm_xor_si128(once, twice))) as u64;
    folded ^ (bytes.len() as u64) << 1
}

/// The sum of the products of blocks with their keys, of 128 bits.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "pclmulqdq")]
#[inline]
fn products(blocks: &[[u8; 16]], keys: &[[u8; 16]]) -> __m128i {
    use std::arch::x86_64::{
        _mm_clmulepi64_si128, _mm_loadu_si128, _mm_setzero_si128, _mm_xor_si128,
    };
    let load = |block: &[u8; 16]| {
        // SAFETY: the load is of a whole array of sixteen bytes, and needs no alignment.
        unsafe { _mm_loadu_si128(block.as_ptr().cast::<__m128i>()) }
    };
    let pairs = blocks.iter().zip(keys);
    pairs.fold(_mm_setzero_si128(), |sum, (block, key)| {
        let both = _mm_xor_si128(load(block), load(key));
        _mm_xor_si128(sum, _mm_clmulepi64_si128::<0x10>(both, both))
    })
}

/// The same of texts of any length, block by block. Out of the way of those of a common one.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "pclmulqdq")]
#[cold]
#[inline(never)]
fn others(key: &Key, bytes: &[u8]) -> __m128i {
    use std::arch::x86_64::_mm_xor_si128;
    let bytes = &bytes[..bytes.len().min(16 * MAX_BLOCKS)];
    let (whole, rest) = bytes.as_chunks();
    let sum = products(whole, key);
    if rest.is_empty() {
        return sum;
    }
    _mm_xor_si128(sum, products(&[padded_block(rest)], &key[whole.len()..]))
}

/// Sixteen bytes or fewer, with zeros behind.
#[must_use]
#[cold]
pub fn padded_block(bytes: &[u8]) -> [u8; 16] {
    let mut padded = [0; 16];
    padded[..bytes.len()].copy_from_slice(bytes);
    padded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The product in the field, bit by bit.
    fn times(a: u64, b: u64) -> u64 {
        let mut product = 0;
        for bit in (0..64).rev() {
            product = product << 1 ^ if product >> 63 != 0 { FOLD } else { 0 };
            product ^= if b >> bit & 1 != 0 { a } else { 0 };
        }
        product
    }

    fn half(block: &[u8; 16], at: usize) -> u64 {
        u64::from_le_bytes(block[at..at + 8].try_into().unwrap())
    }

    fn term(block: &[u8; 16], key: &[u8; 16]) -> u64 {
        times(half(block, 0) ^ half(key, 0), half(block, 8) ^ half(key, 8))
    }

    /// What the documentation says.
    fn told(key: &Key, bytes: &[u8]) -> u64 {
        let mut sum = 2 * bytes.len() as u64;
        let bytes = &bytes[..bytes.len().min(256)];
        let half = match bytes.len() {
            32..=64 => 32,
            65..=128 => 64,
            _ => 0,
        };
        let blocks: Vec<&[u8]> = if half == 0 {
            bytes.chunks(16).collect()
        } else {
            let (front, back) = (&bytes[..half], &bytes[bytes.len() - half..]);
            front.chunks(16).chain(back.chunks(16)).collect()
        };
        for (block, key) in blocks.into_iter().zip(key) {
            sum ^= term(&padded_block(block), key);
        }
        sum
    }

    #[test]
    fn the_field_is_one() {
        let power = |mut exponent: u64| {
            let (mut result, mut base) = (1, 2);
            while exponent != 0 {
                if exponent & 1 != 0 {
                    result = times(result, base);
                }
                base = times(base, base);
                exponent >>= 1;
            }
            result
        };
        // Rabin's test: x^(2^64) = x, and x^(2^32) - x has no common divisor with the polynomial, so it is irreducible.
        assert_eq!(power(u64::MAX), 1);
        let mut squared = 2;
        for _ in 0..32 {
            squared = times(squared, squared);
        }
        let mut divisor = (1_u128 << 64) | u128::from(FOLD);
        let mut rest = u128::from(squared ^ 2);
        while rest != 0 {
            while divisor.leading_zeros() <= rest.leading_zeros() {
                divisor ^= rest << (rest.leading_zeros() - divisor.leading_zeros());
                if divisor == 0 {
                    break;
                }
            }
            (divisor, rest) = (rest, divisor);
        }
        assert_eq!(divisor, 1, "the greatest common divisor");
    }

    proptest! {
        #[test]
        fn it_is_what_the_documentation_says(
            key: [[u8; 16]; MAX_BLOCKS],
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            if let Some(hash) = hash(Level::here(), &key, &bytes) {
                prop_assert_eq!(hash, told(&key, &bytes));
            }
            prop_assert_eq!(super::hash(Level::LEAST, &key, &bytes), None);
        }
    }
}
