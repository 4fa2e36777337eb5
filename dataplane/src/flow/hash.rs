//! The hash of what makes a flow, under a secret. What makes a session is hashed likewise.

use std::fmt;
use std::hash::Hasher as _;

use dpdk::aes_hash;
use dpdk::vector::Level;
use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

use crate::fingerprint::splitmix64;

/// The secret that [`FlowKey::hash`](super::FlowKey::hash) depends on, so that nobody outside can choose flows which collide.
#[derive(Clone)]
pub struct FlowSeeds {
    /// For rounds of AES, where the processor has what [`dpdk::vector::wide`] asks for.
    key: aes_hash::Key,
    /// For multiplications, elsewhere.
    per_hasher: u64,
    shared: SharedSeed,
}

impl FlowSeeds {
    /// Seeds grown from `seed`, which is random per process; the same `seed` gives the same hashes on processors of one kind.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        let mut next =
            || u128::from(splitmix64(&mut state)) << 64 | u128::from(splitmix64(&mut state));
        Self {
            key: aes_hash::Key([next(), next(), next()].map(u128::to_le_bytes)),
            per_hasher: seed.rotate_left(32),
            shared: SharedSeed::from_u64(seed),
        }
    }

    /// The hash of 40 bytes, of which a stranger chooses the first freely, and the last. By means that the code in hand has: `level` is what
    /// [`wide`](dpdk::vector::wide) said or [`Level::here`], or this is another one.
    #[inline(always)]
    pub(crate) fn of(&self, level: Level, first: &[u8; 16], second: &[u8; 16], last: u64) -> u64 {
        aes_hash::hash(level, &self.key, first, second, last)
            .unwrap_or_else(|| self.folded(first, second, last))
    }

    #[inline(never)]
    fn folded(&self, first: &[u8; 16], second: &[u8; 16], last: u64) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.per_hasher, &self.shared);
        hasher.write_u128(u128::from_ne_bytes(*first));
        hasher.write_u128(u128::from_ne_bytes(*second));
        hasher.write_u64(last);
        hasher.finish()
    }
}

impl fmt::Debug for FlowSeeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FlowSeeds(secret)")
    }
}

/// Ports, as the upper layer's header has them, the first byte lowest, and protocol in one number, as they are hashed.
#[inline(always)]
pub(crate) const fn upper(ports: u32, proto: u8) -> u64 {
    (proto as u64) << u32::BITS | ports as u64
}

#[cfg(test)]
mod tests {
    use super::super::FlowKey;
    use super::*;

    #[test]
    fn what_makes_a_flow_makes_its_hash_by_every_means() {
        let base = FlowKey {
            src: [0x20; 16],
            dst: [0x11; 16],
            sport: 50_000,
            dport: 8_000,
            proto: 6,
        };
        let mut others = vec![base; 5];
        others[0].src[15] ^= 1;
        others[1].dst[0] ^= 1;
        others[2].sport ^= 1;
        others[3].dport ^= 1;
        others[4].proto = 17;
        for level in [Level::here(), Level::LEAST] {
            let of = |seed, key: &FlowKey| key.hash_at(level, &FlowSeeds::new(seed));
            let hash = of(1, &base);
            assert_eq!(of(1, &base), hash);
            assert_ne!(of(2, &base), hash);
            for other in &others {
                assert_ne!(of(1, other), hash, "{other:?}");
            }
            let (low, high) = (hash as u32, (hash >> 32) as u32);
            assert!(low != 0 && high != 0 && low != high);
        }
    }
}
