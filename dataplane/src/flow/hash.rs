//! The hash of what makes a flow, under a secret. What makes a session is hashed likewise.

use std::fmt;
use std::hash::Hasher as _;

use dpdk::aes_hash::AesHash;
use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

use super::entry::halves;
use crate::fingerprint::splitmix64;

/// The secret that [`FlowKey::hash`](super::FlowKey::hash) depends on, so that nobody outside can choose flows which collide.
#[derive(Clone)]
pub struct FlowSeeds(Means);

/// Rounds of AES where the processor has them, multiplications elsewhere.
#[derive(Clone)]
enum Means {
    Aes(AesHash),
    Folded { per_hasher: u64, shared: SharedSeed },
}

impl FlowSeeds {
    /// Seeds grown from `seed`, which is random per process; the same `seed` gives the same hashes.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        let mut next =
            || u128::from(splitmix64(&mut state)) << 64 | u128::from(splitmix64(&mut state));
        let key = [next(), next(), next()].map(u128::to_le_bytes);
        AesHash::new(key).map_or_else(|| Self::folded(seed), |hash| Self(Means::Aes(hash)))
    }

    /// Gives `work` what hashes a flow's parts: its addresses as a header has them, and [`upper`]. By which means is asked here, once
    /// for all that `work` hashes.
    #[inline(always)]
    pub(crate) fn with<W: Hashing>(&self, work: W) -> W::Done {
        match &self.0 {
            Means::Aes(hash) => work.with(|addresses: &[u8; 32], upper| {
                let (source, destination) = halves(addresses);
                hash.of(source, destination, upper)
            }),
            Means::Folded { .. } => work.with(|addresses: &[u8; 32], upper| {
                let (source, destination) = halves(addresses);
                self.of(source, destination, upper)
            }),
        }
    }

    /// The hash of 40 bytes, of which a stranger chooses the first freely, and the last.
    #[inline(always)]
    pub(crate) fn of(&self, first: &[u8; 16], second: &[u8; 16], last: u64) -> u64 {
        match &self.0 {
            Means::Aes(hash) => hash.of(first, second, last),
            Means::Folded { per_hasher, shared } => {
                folded(*per_hasher, shared, first, second, last)
            }
        }
    }

    /// Seeds for a processor without AES.
    const fn folded(seed: u64) -> Self {
        Self(Means::Folded {
            per_hasher: seed.rotate_left(32),
            shared: SharedSeed::from_u64(seed),
        })
    }
}

/// Work that hashes flows, compiled for each means.
pub(crate) trait Hashing {
    /// What comes of it.
    type Done;

    /// Does it.
    fn with(self, hash: impl Fn(&[u8; 32], u64) -> u64) -> Self::Done;
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

#[inline(never)]
fn folded(
    per_hasher: u64,
    shared: &SharedSeed,
    first: &[u8; 16],
    second: &[u8; 16],
    last: u64,
) -> u64 {
    let mut hasher = FoldHasher::with_seed(per_hasher, shared);
    hasher.write_u128(u128::from_ne_bytes(*first));
    hasher.write_u128(u128::from_ne_bytes(*second));
    hasher.write_u64(last);
    hasher.finish()
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
        for new in [FlowSeeds::new, FlowSeeds::folded] {
            let hash = base.hash(&new(1));
            assert_eq!(base.hash(&new(1)), hash);
            assert_ne!(base.hash(&new(2)), hash);
            for other in &others {
                assert_ne!(other.hash(&new(1)), hash, "{other:?}");
            }
            let (low, high) = (hash as u32, (hash >> 32) as u32);
            assert!(low != 0 && high != 0 && low != high);
        }
    }
}
