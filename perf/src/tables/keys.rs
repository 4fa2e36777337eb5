//! The flows that every table is given.

use afr_dataplane::flow::FlowKey;

use super::BURST;
use crate::rng::SplitMix64;

/// Seed of the keys and of their order.
const SEED: u64 = 0x0AF7_AB1E;
/// Every so many looked-up keys one is of no flow, where misses are asked for.
const MISS_EVERY: usize = 10;
/// Keys looked up in a pass, at least.
const LEAST_LOOKED_UP: usize = 1 << 20;

/// A key that is looked up, and the number of its flow.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// The key.
    pub key: FlowKey,
    /// Its flow's number, unless there is none.
    pub flow: Option<u32>,
}

/// The keys of `flows` flows, the flow's number being the place.
#[must_use]
pub fn entered(flows: u32) -> Vec<FlowKey> {
    let mut random = SplitMix64::new(SEED);
    (0..flows).map(|n| key(n, &mut random)).collect()
}

/// Keys of clients in a few thousand networks towards 64 service addresses. Unique: the number is in the source.
fn key(number: u32, random: &mut SplitMix64) -> FlowKey {
    let bits = random.next_u64();
    let mut src = [0; 16];
    src[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    src[4..6].copy_from_slice(&((bits as u16) & 0x0FFF).to_be_bytes());
    src[8..12].copy_from_slice(&((bits >> 16) as u32).to_be_bytes());
    src[12..].copy_from_slice(&number.to_be_bytes());
    let mut dst = [0; 16];
    dst[..4].copy_from_slice(&[0xfd, 0, 0, 0xa9]);
    dst[15] = (bits >> 48) as u8 & 63;
    FlowKey {
        src,
        dst,
        sport: 1_024 + (bits >> 54) as u16 * 61,
        dport: 8_000,
        proto: 6,
    }
}

/// What one pass looks up: the keys of `entered` in an order of chance, again until it is a million or all, in whole
/// bursts; with `misses` a tenth are keys that were not entered.
#[must_use]
pub fn looked_up(entered: &[FlowKey], misses: bool) -> Vec<Asked> {
    let mut random = SplitMix64::new(SEED + 1);
    let mut order: Vec<u32> = (0..entered.len() as u32).collect();
    for last in (1..order.len()).rev() {
        order.swap(last, random.below(last as u64 + 1) as usize);
    }
    let count = entered.len().max(LEAST_LOOKED_UP) / BURST * BURST;
    let asked = order.iter().cycle().take(count).enumerate();
    asked
        .map(|(at, &flow)| {
            let key = entered[flow as usize];
            if misses && at % MISS_EVERY == MISS_EVERY / 2 {
                // The ports of clients begin at 1,024.
                return Asked {
                    key: FlowKey { sport: 7, ..key },
                    flow: None,
                };
            }
            Asked {
                key,
                flow: Some(flow),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_are_unique_and_a_tenth_is_missed_where_asked_for() {
        let keys = entered(5_000);
        let set: HashSet<_> = keys.iter().collect();
        assert_eq!(set.len(), keys.len());
        for (misses, expected) in [(false, 0), (true, LEAST_LOOKED_UP.div_ceil(10))] {
            let asked = looked_up(&keys, misses);
            assert_eq!(asked.len() % BURST, 0);
            let missed = asked.iter().filter(|one| one.flow.is_none()).count();
            assert_eq!(missed, expected);
            for one in &asked {
                let number = one.flow.map(|flow| keys[flow as usize]);
                assert_eq!(set.contains(&one.key), one.flow.is_some());
                assert!(number.is_none_or(|key| key == one.key));
            }
            let first: HashSet<_> = asked[..keys.len()].iter().map(|one| one.key).collect();
            assert_eq!(first.len(), keys.len(), "every flow once before any twice");
        }
    }
}
