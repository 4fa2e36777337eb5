use std::collections::{BTreeMap, BTreeSet};

use afr_wire::Signature;
use proptest::prelude::*;

use super::*;
use crate::aft::residency::{OVERLAY_HITS, Ttl};

const SLOTS: u16 = 70;
const CATALOGUE: CatalogueVersion = CatalogueVersion(3);
const DOMAIN: DomainId = DomainId(4);

fn prefix(level: u16) -> Prefix {
    Prefix {
        depth: 1 + 3 * level,
        signature: Signature(u32::from(level).to_be_bytes()),
    }
}

proptest! {
    /// Against sets: depth is that of the last level up to which every level is held.
    #[test]
    fn depth_needs_every_shallower_prefix(
        stored in prop::collection::vec((0u16..8, 0..SLOTS), 0..400),
        said in prop::collection::vec((0u16..8, 0..SLOTS, any::<bool>()), 0..6),
        consumed in 0u64..6,
        carried in prop::collection::btree_set(0u16..8, 0..8),
    ) {
        let mut residency = Residency::new(1 << 14, usize::from(SLOTS), Ttl { confirmed_s: 100, provisional_s: 10 });
        let mut overlay = Overlay::new(8_192);
        let mut held: BTreeSet<(u16, u16)> = stored.iter().copied().collect();
        for (level, slot) in stored {
            residency.insert(SigKey::new(CATALOGUE, DOMAIN, prefix(level)), Slot(slot), false, 5);
        }
        // The newest word on a key and slot counts, if it is not retired.
        let mut words = BTreeMap::new();
        for (n, (level, slot, stored)) in said.into_iter().enumerate() {
            let position = n as u64 + 1;
            let word = if stored { Said::Stored } else { Said::Evicted };
            overlay.insert(SigKey::new(CATALOGUE, DOMAIN, prefix(level)), Slot(slot), word, position);
            words.insert((level, slot), (word, position));
        }
        // A bucket of the overlay forgets the first of six words about one prefix.
        prop_assume!((0..8).all(|level| words.keys().filter(|key| key.0 == level).count() <= OVERLAY_HITS));
        for (key, (word, position)) in words {
            if position > consumed {
                if word == Said::Stored { held.insert(key); } else { held.remove(&key); }
            }
        }
        let known = Known { residency: &residency, now_s: 6, overlay: &overlay, consumed };
        let prefixes: Vec<Prefix> = carried.iter().map(|&level| prefix(level)).collect();
        Reuse::prefetch(&known, CATALOGUE, DOMAIN, &prefixes);
        let mut reuse = Reuse::new(usize::from(SLOTS));
        // The second time must not see the first.
        for prefixes in [&[prefix(0), prefix(1)][..], &prefixes] {
            reuse.compute(&known, CATALOGUE, DOMAIN, prefixes);
        }
        let mut reached = BTreeMap::new();
        for slot in 0..SLOTS {
            let depth = carried.iter().take_while(|&&level| held.contains(&(level, slot)))
                .last().map_or(0, |&level| prefix(level).depth);
            prop_assert_eq!(reuse.depth(Slot(slot)), depth);
            prop_assert_eq!(known.depth_of(Slot(slot), CATALOGUE, DOMAIN, &prefixes), depth);
            if depth > 0 {
                reached.insert(Slot(slot), depth);
            }
        }
        prop_assert_eq!(reuse.iter().count(), reached.len());
        prop_assert_eq!(reuse.is_empty(), reached.is_empty());
        prop_assert_eq!(reuse.iter().collect::<BTreeMap<_, _>>(), reached);
        reuse.reset();
        prop_assert!((0..SLOTS).all(|slot| reuse.depth(Slot(slot)) == 0));
    }
}

#[test]
fn other_domains_and_catalogues_do_not_match() {
    let mut residency = Residency::new(
        64,
        4,
        Ttl {
            confirmed_s: 9,
            provisional_s: 9,
        },
    );
    residency.insert(SigKey::new(CATALOGUE, DOMAIN, prefix(0)), Slot(1), false, 0);
    let overlay = Overlay::new(8);
    let known = Known {
        residency: &residency,
        now_s: 0,
        overlay: &overlay,
        consumed: 0,
    };
    let mut reuse = Reuse::new(4);
    reuse.compute(&known, CATALOGUE, DomainId(5), &[prefix(0)]);
    assert!(reuse.is_empty());
    reuse.compute(&known, CatalogueVersion(4), DOMAIN, &[prefix(0)]);
    assert!(reuse.is_empty());
    reuse.compute(&known, CATALOGUE, DOMAIN, &[prefix(0), prefix(0)]);
    assert_eq!(reuse.iter().collect::<Vec<_>>(), [(Slot(1), 1)]);
}

/// Few holders are kept as a list, many as a bitmap: in both, each slot is itself, also the last of a word.
#[test]
fn each_slot_is_found_alone_and_among_many() {
    const MANY: u16 = 40;
    let ttl = Ttl {
        confirmed_s: 100,
        provisional_s: 10,
    };
    for slot in 0..130 {
        let mut residency = Residency::new(64, 130, ttl);
        let (alone, among) = (prefix(0), prefix(1));
        let key = |prefix| SigKey::new(CATALOGUE, DOMAIN, prefix);
        residency.insert(key(alone), Slot(slot), false, 5);
        for other in (0..MANY).map(|n| (slot + 3 * n) % 130) {
            residency.insert(key(among), Slot(other), false, 5);
        }
        let known = Known {
            residency: &residency,
            now_s: 6,
            overlay: &Overlay::new(64),
            consumed: 0,
        };
        let mut reuse = Reuse::new(130);
        reuse.compute(&known, CATALOGUE, DOMAIN, &[alone]);
        assert!(reuse.iter().eq([(Slot(slot), alone.depth)]), "{slot} alone");
        reuse.compute(&known, CATALOGUE, DOMAIN, &[among]);
        let holders: BTreeSet<u16> = reuse.iter().map(|(slot, _)| slot.0).collect();
        let expected: BTreeSet<u16> = (0..MANY).map(|n| (slot + 3 * n) % 130).collect();
        assert_eq!(holders, expected, "{slot} among many");
        reuse.compute(&known, CATALOGUE, DOMAIN, &[alone, among]);
        assert_eq!(reuse.depth(Slot(slot)), among.depth, "{slot} in both");
    }
}
