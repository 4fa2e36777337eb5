//! Bloom filters over labels, of any power of two of bits.

use crate::{BLOOM_LEN, Label32};

/// A set of labels in `64 * WORDS` bits, `WORDS` a power of two; four probes a label.
///
/// Bit *n* is bit *n* mod 64, least significant first, of word *n* div 64, which is the order of
/// the wire: bit *n* mod 8 of byte *n* div 8.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bloom<const WORDS: usize>([u64; WORDS]);

impl<const WORDS: usize> Bloom<WORDS> {
    /// Size of the filter in bits.
    pub const BITS: u32 = {
        assert!(
            WORDS.is_power_of_two(),
            "probes are taken modulo a power of two"
        );
        64 * WORDS as u32
    };

    /// The empty set.
    #[inline]
    pub const fn new() -> Self {
        Self([0; WORDS])
    }

    /// The filter with these words.
    #[inline]
    pub const fn from_words(words: [u64; WORDS]) -> Self {
        Self(words)
    }

    /// The words, for a caller that lays many filters out its own way.
    #[inline]
    pub const fn words(&self) -> &[u64; WORDS] {
        &self.0
    }

    /// Adds a label.
    #[inline]
    pub fn insert(&mut self, label: Label32) {
        for bit in label.bloom_bits(Self::BITS) {
            self.0[bit as usize / 64] |= 1 << (bit % 64);
        }
    }

    /// Whether the label may have been added. Never false for one that was.
    #[inline]
    pub fn contains(&self, label: Label32) -> bool {
        label
            .bloom_bits(Self::BITS)
            .iter()
            .all(|bit| self.0[*bit as usize / 64] >> (bit % 64) & 1 == 1)
    }

    /// Whether every bit of `request` is set here: `request` ⊆ `self`. The words are not left
    /// early, so that the compiler can use wide instructions.
    #[inline]
    pub fn covers(&self, request: &Self) -> bool {
        let missing = |(have, want): (&u64, &u64)| want & !have;
        self.0
            .iter()
            .zip(&request.0)
            .map(missing)
            .fold(0, |all, word| all | word)
            == 0
    }

    /// Whether no bit is set.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }
}

impl Bloom<4> {
    /// The filter of the 32 bytes of the wire.
    #[inline]
    pub fn from_bytes(bytes: &[u8; BLOOM_LEN]) -> Self {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Self(words)
    }

    /// The 32 bytes of the wire.
    #[inline]
    pub fn to_bytes(&self) -> [u8; BLOOM_LEN] {
        let mut bytes = [0; BLOOM_LEN];
        for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(&self.0) {
            *bytes = word.to_le_bytes();
        }
        bytes
    }
}

impl<const WORDS: usize> Default for Bloom<WORDS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const WORDS: usize> Extend<Label32> for Bloom<WORDS> {
    fn extend<I: IntoIterator<Item = Label32>>(&mut self, labels: I) {
        labels.into_iter().for_each(|label| self.insert(label));
    }
}

impl<const WORDS: usize> FromIterator<Label32> for Bloom<WORDS> {
    fn from_iter<I: IntoIterator<Item = Label32>>(labels: I) -> Self {
        let mut filter = Self::new();
        filter.extend(labels);
        filter
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bit_order_is_the_wires() {
        let bytes = Bloom::<4>::from_iter([Label32(0x0001_0006)]).to_bytes();
        let mut expected = [0; BLOOM_LEN];
        // Bits 1, 8, 15, 22.
        expected[..3].copy_from_slice(&[0x02, 0x81, 0x40]);
        assert_eq!(bytes, expected);
    }

    proptest! {
        #[test]
        fn a_superset_covers_and_a_missing_bit_does_not(
            all in prop::collection::vec(any::<u32>(), 1..20),
            part: prop::sample::Index,
            bit in 0..256_usize,
        ) {
            let labels = || all.iter().copied().map(Label32);
            let have: Bloom<4> = labels().collect();
            let want: Bloom<4> = labels().take(part.index(all.len() + 1)).collect();
            prop_assert!(have.covers(&want));
            prop_assert!(labels().all(|label| have.contains(label)));
            let mut less = have;
            less.0[bit / 64] &= !(1 << (bit % 64));
            prop_assert_eq!(less.covers(&have), less == have);
            prop_assert_eq!(Bloom::from_bytes(&have.to_bytes()), have);
        }
    }
}
