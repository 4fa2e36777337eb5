//! Label hashes: what stands on the wire for the names of capabilities.

use blake2::Blake2sMac;
use blake2::digest::{Mac, consts::U4};

use crate::signature::keyed;
use crate::{Label32, LabelHash};

/// The salt of one catalogue version. Whoever publishes a catalogue picks one under which all its
/// labels differ in their 16-bit hashes.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CatalogueSalt([u8; 8]);

impl CatalogueSalt {
    /// Takes the salt.
    pub const fn new(salt: [u8; 8]) -> Self {
        Self(salt)
    }

    /// BLAKE2s with the salt as key and a digest of 4 bytes, over the label in UTF-8, read
    /// big-endian.
    pub fn label(&self, label: &str) -> Label32 {
        let mac: Blake2sMac<U4> = keyed(&self.0);
        Label32(u32::from_be_bytes(
            mac.chain_update(label).finalize().into_bytes().into(),
        ))
    }
}

impl From<[u8; 8]> for CatalogueSalt {
    fn from(salt: [u8; 8]) -> Self {
        Self::new(salt)
    }
}

impl Label32 {
    /// The low half: the hash that travels.
    #[inline]
    pub const fn short(self) -> LabelHash {
        LabelHash(self.0 as u16)
    }

    /// The four bits that stand for the label in a Bloom filter of `bits` bits, a power of two:
    /// (a + i·b) mod `bits` for i = 0…3, with a the high half and b the low half | 1.
    #[inline]
    pub const fn bloom_bits(self, bits: u32) -> [u32; 4] {
        debug_assert!(bits.is_power_of_two());
        let mask = bits.wrapping_sub(1);
        // Both halves are 16 bits wide, so no sum overflows.
        let a = self.0 >> 16;
        let b = self.0 & 0xffff | 1;
        [
            a & mask,
            (a + b) & mask,
            (a + 2 * b) & mask,
            (a + 3 * b) & mask,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_step_by_an_odd_number() {
        let label = Label32(0x0001_0002);
        assert_eq!(label.bloom_bits(256), [1, 4, 7, 10]);
        assert_eq!(label.bloom_bits(4), [1, 0, 3, 2]);
        assert_eq!(Label32(u32::MAX).bloom_bits(1 << 31)[3], 0x3_fffc);
    }
}
