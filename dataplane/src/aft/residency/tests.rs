use std::collections::{BTreeMap, BTreeSet};

use afr_wire::{CatalogueVersion, DomainId, Signature};
use proptest::prelude::*;

use super::*;

const TTL: Ttl = Ttl {
    confirmed_s: 60,
    provisional_s: 7,
};
const SLOTS: u16 = 150;

fn key(n: u32) -> SigKey {
    SigKey {
        catalogue: CatalogueVersion(1),
        domain: DomainId(2),
        depth: 3,
        signature: Signature(n.to_be_bytes()),
    }
}

fn slots(holders: Holders<'_>) -> BTreeSet<u16> {
    let mut slots = BTreeSet::new();
    holders.for_each(|slot| assert!(slots.insert(slot.0), "{slot:?} twice"));
    slots
}

/// What the table should say, were it unbounded.
#[derive(Debug, Default)]
struct Model {
    /// (date, provisional) by key and slot.
    held: BTreeMap<(u32, u16), (u32, bool)>,
}

impl Model {
    fn counts((date, provisional): (u32, bool), now_s: u32) -> bool {
        let ttl = if provisional {
            TTL.provisional_s
        } else {
            TTL.confirmed_s
        };
        now_s.saturating_sub(date) < ttl
    }

    fn insert(&mut self, key: u32, slot: u16, provisional: bool, now_s: u32) {
        let held = self.held.get(&(key, slot)).copied();
        let confirmed = held.is_some_and(|held| Self::counts(held, now_s) && !held.1);
        self.held
            .insert((key, slot), (now_s, provisional && !confirmed));
    }

    fn holders(&self, key: u32, now_s: u32) -> BTreeSet<u16> {
        let of_key = self.held.range((key, 0)..=(key, u16::MAX));
        of_key
            .filter(|(_, held)| Self::counts(**held, now_s))
            .map(|(held, _)| held.1)
            .collect()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Insert(u32, u16, bool),
    /// Many slots at once, so that records of the pool come and go.
    Crowd(u32, u16, bool),
    Evict(u32, u16),
    Disperse(u32, u16),
    Clear(u16),
    Pass(u32),
    Tick,
}

fn step() -> impl Strategy<Value = Step> {
    let (key, slot) = (0u32..12, 0..SLOTS);
    prop_oneof![
        6 => (key.clone(), slot.clone(), any::<bool>()).prop_map(|(k, s, p)| Step::Insert(k, s, p)),
        2 => (key.clone(), slot.clone(), any::<bool>()).prop_map(|(k, s, p)| Step::Crowd(k, s, p)),
        3 => (key.clone(), slot.clone()).prop_map(|(k, s)| Step::Evict(k, s)),
        1 => (key, slot.clone()).prop_map(|(k, s)| Step::Disperse(k, s)),
        1 => slot.prop_map(Step::Clear),
        2 => (0u32..30).prop_map(Step::Pass),
        2 => Just(Step::Tick),
    ]
}

proptest! {
    #[test]
    fn agrees_with_an_unbounded_table(
        steps in prop::collection::vec(step(), 1..300),
        start_s in prop_oneof![Just(0u32), Just(65_500), Just(u32::MAX - 20_000)],
    ) {
        let mut table = Residency::new(1 << 12, usize::from(SLOTS), TTL);
        let mut model = Model::default();
        let mut now_s = start_s;
        table.advance(now_s);
        for step in steps {
            match step {
                Step::Insert(k, slot, provisional) => {
                    table.insert(key(k), Slot(slot), provisional, now_s);
                    model.insert(k, slot, provisional, now_s);
                }
                Step::Crowd(k, from, provisional) => for slot in (from..SLOTS).step_by(7) {
                    table.insert(key(k), Slot(slot), provisional, now_s);
                    model.insert(k, slot, provisional, now_s);
                },
                Step::Evict(k, slot) => {
                    table.evict(key(k), Slot(slot));
                    model.held.remove(&(k, slot));
                }
                Step::Disperse(k, from) => for slot in from..SLOTS {
                    table.evict(key(k), Slot(slot));
                    model.held.remove(&(k, slot));
                },
                Step::Clear(slot) => {
                    table.clear_slot(Slot(slot));
                    model.held.retain(|held, _| held.1 != slot);
                }
                Step::Pass(seconds) => now_s += seconds,
                Step::Tick => table.advance(now_s),
            }
            prop_assert_eq!((table.evictions(), table.overflows()), (0, 0));
            for k in 0..12 {
                let expected = model.holders(k, now_s);
                let holders = table.holders(key(k), now_s);
                prop_assert_eq!(slots(holders), expected.clone());
                prop_assert_eq!(holders.count(), expected.len());
                prop_assert_eq!(holders.is_empty(), expected.is_empty());
                for slot in 0..SLOTS {
                    prop_assert_eq!(holders.contains(Slot(slot)), expected.contains(&slot));
                }
            }
        }
        // Swept once round after everything has expired, nothing is left, and every record is free again.
        table.advance(now_s + TTL.confirmed_s);
        table.advance(now_s + TTL.confirmed_s + SWEEP_PERIOD_S);
        prop_assert!(table.is_empty());
        prop_assert!((0..table.pool.records() as u16).all(|record| table.pool.owner(record).is_none()));
    }
}

#[test]
fn a_full_bucket_gives_up_its_oldest_entry() {
    let mut table = Residency::new(1, 8, TTL);
    assert_eq!(table.capacity(), WAYS);
    for n in 0..4 {
        table.insert(key(n), Slot(0), false, n);
    }
    // Renewed: now key 1 is the oldest.
    table.insert(key(0), Slot(1), false, 9);
    table.insert(key(4), Slot(2), false, 10);
    assert_eq!((table.len(), table.evictions()), (4, 1));
    assert!(table.holders(key(1), 10).is_empty());
    for n in [0, 2, 3, 4] {
        assert!(!table.holders(key(n), 10).is_empty(), "key {n}");
    }
    // One without holders that count goes first, and is no loss.
    table.clear_slot(Slot(2));
    table.insert(key(5), Slot(3), false, 10);
    assert_eq!((table.len(), table.evictions()), (4, 1));
}

#[test]
fn evicting_a_popular_entry_frees_its_record() {
    let mut table = Residency::new(1, 8, TTL);
    for round in 0..1_000_u32 {
        for slot in 0..8 {
            table.insert(key(round), Slot(slot), false, round);
        }
        assert_eq!(slots(table.holders(key(round), round)), (0..8).collect());
    }
    assert_eq!(table.overflows(), 0);
    assert_eq!(table.evictions(), 1_000 - 4);
}

#[test]
fn an_empty_pool_costs_the_oldest_holder() {
    // Records over so many slots are large: only the least number of them fits beside the table.
    let mut table = Residency::new(1 << 12, 4_000, TTL);
    let records = table.pool.records() as u32;
    for n in 0..records + 1 {
        for slot in 0..4 {
            table.insert(key(n), Slot(slot), false, u32::from(slot));
        }
    }
    assert_eq!((table.overflows(), table.evictions()), (1, 0));
    assert_eq!(slots(table.holders(key(records), 4)), [1, 2, 3].into());
    assert_eq!(slots(table.holders(key(0), 4)), [0, 1, 2, 3].into());
}

#[test]
fn a_generation_that_starts_over_does_not_bring_holders_back() {
    let mut table = Residency::new(64, 8, TTL);
    table.insert(key(0), Slot(1), false, 0);
    table.insert(key(0), Slot(2), false, 0);
    for _ in 0..u32::from(GENERATIONS) {
        table.clear_slot(Slot(1));
        assert!(!table.holders(key(0), 0).contains(Slot(1)));
    }
    assert!(table.holders(key(0), 0).contains(Slot(2)));
    table.insert(key(0), Slot(1), false, 0);
    assert!(table.holders(key(0), 0).contains(Slot(1)));
}

#[test]
fn dates_that_wrap_do_not_bring_holders_back() {
    let ttl = Ttl {
        confirmed_s: u32::MAX,
        provisional_s: u32::MAX,
    };
    for gap_s in [
        1,
        7,
        SWEEP_PERIOD_S,
        FORGET_GAP_S - 1,
        FORGET_GAP_S,
        1 << 20,
    ] {
        let mut table = Residency::new(1 << 12, 80, ttl);
        // Few enough that no bucket is full, whatever the table's random seed.
        for n in 0..100 {
            table.insert(key(n), Slot(n as u16 % 8), n % 2 == 0, 0);
        }
        for slot in 0..80 {
            table.insert(key(0), Slot(slot), false, 0);
        }
        let mut now_s = 0;
        while now_s < 200_000 {
            now_s += gap_s;
            table.advance(now_s);
            let expected = now_s < MAX_TTL_S && gap_s < FORGET_GAP_S;
            for n in [0, 1, 50, 99] {
                assert_eq!(
                    !table.holders(key(n), now_s).is_empty(),
                    expected,
                    "{now_s} by {gap_s}"
                );
            }
        }
        assert!(table.is_empty());
    }
}

#[test]
fn slots_beyond_the_size_hold_nothing() {
    let mut table = Residency::new(64, 8, TTL);
    table.insert(key(0), Slot(8), false, 0);
    table.insert(key(0), Slot(u16::MAX), false, 0);
    table.evict(key(0), Slot(u16::MAX));
    table.clear_slot(Slot(u16::MAX));
    assert!(table.is_empty());
}

#[test]
fn an_overlay_entry_retires_with_the_message_that_says_the_same() {
    let mut overlay = Overlay::new(16);
    overlay.insert(key(0), Slot(1), Said::Stored, 1);
    overlay.insert(key(0), Slot(2), Said::Stored, 2);
    overlay.insert(key(0), Slot(1), Said::Evicted, 3);
    let said = |consumed, slot| overlay.lookup(key(0), consumed).said(Slot(slot));
    assert_eq!(said(0, 1), Some(Said::Evicted));
    assert_eq!(said(0, 2), Some(Said::Stored));
    assert_eq!(said(2, 2), None);
    assert_eq!(said(2, 1), Some(Said::Evicted));
    assert_eq!(said(3, 1), None);
    assert!(overlay.lookup(key(9), 0).as_slice().is_empty());
}

#[test]
fn a_full_overlay_forgets_what_was_said_first() {
    let mut overlay = Overlay::new(1);
    assert_eq!(overlay.capacity(), OVERLAY_HITS);
    for n in 0..OVERLAY_HITS as u16 + 2 {
        overlay.insert(key(0), Slot(n), Said::Stored, u64::from(n) + 1);
    }
    let hits = overlay.lookup(key(0), 0);
    assert_eq!(hits.as_slice().len(), OVERLAY_HITS);
    assert_eq!(hits.said(Slot(1)), None);
    assert_eq!(hits.said(Slot(2)), Some(Said::Stored));
}
