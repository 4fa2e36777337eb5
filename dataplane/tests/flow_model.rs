//! The flow table against a plain map: random operations, hashes as bad as can be, a clock that wraps.

#![allow(clippy::expect_used, reason = "a test may fail in a helper as well")]

use std::collections::HashMap;

use afr_dataplane::config::{Dispatch, Flows};
use afr_dataplane::flow::{
    Aged, Cursor, Fate, FlowEntry, FlowKey, FlowRef, FlowSeeds, FlowState, FlowTable, Pin, Timeouts,
};
use afr_dataplane::id::{ClassIx, Incarnation, Slot};
use proptest::prelude::*;

const TCP: u8 = 6;
const UDP: u8 = 17;
const PIN: Pin = Pin::Instance(Slot(7), Incarnation(1));

const TIMEOUTS: Timeouts = Timeouts {
    tcp_idle_ms: 900,
    tcp_opening_ms: 500,
    tcp_closing_ms: 100,
    other_idle_ms: 300,
    charge_ms: 200,
};

fn key(number: u32) -> FlowKey {
    let mut src = [0x20; 16];
    src[12..].copy_from_slice(&number.to_be_bytes());
    FlowKey {
        src,
        dst: [0xfd; 16],
        sport: 40_000 + number as u16 % 1_000,
        dport: 8_000,
        proto: if number % 5 == 4 { UDP } else { TCP },
    }
}

fn table(capacity: u32) -> FlowTable {
    let flows = Flows {
        capacity,
        ..Flows::default()
    };
    FlowTable::new(&flows, 0x5eed)
}

fn opened(number: u32, now_ms: u32) -> FlowEntry {
    FlowEntry::new(&key(number), PIN, ClassIx(0), now_ms)
}

/// What the model keeps of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    state: FlowState,
    last_seen_ms: u32,
    tokens: u32,
    marker: u32,
}

impl Known {
    fn of(entry: &FlowEntry) -> Self {
        Self {
            state: entry.state(),
            last_seen_ms: entry.last_seen_ms(),
            tokens: entry.opening_tokens(),
            marker: entry.last_ack,
        }
    }

    /// The higher, the sooner it gives way.
    fn rank(&self, now_ms: u32) -> (u8, u32) {
        let rank = match self.state {
            FlowState::Established => 0,
            FlowState::Opening => 1,
            FlowState::ClientClosing | FlowState::Reset => 2,
        };
        (rank, now_ms.wrapping_sub(self.last_seen_ms))
    }

    fn limit_ms(&self, proto: u8) -> u32 {
        match (proto, self.state) {
            (TCP, FlowState::Opening) => TIMEOUTS.tcp_opening_ms,
            (TCP, FlowState::Established) => TIMEOUTS.tcp_idle_ms,
            (TCP, _) => TIMEOUTS.tcp_closing_ms,
            _ => TIMEOUTS.other_idle_ms,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Insert { flow: u32, tokens: u32 },
    Touch { flow: u32 },
    Move { flow: u32, state: FlowState },
    Commit { flow: u32 },
    Remove { flow: u32 },
    Sweep { budget: usize },
    Wait { ms: u32 },
}

fn ops(flows: u32) -> impl Strategy<Value = Vec<Op>> {
    let state = prop_oneof![
        Just(FlowState::Established),
        Just(FlowState::ClientClosing),
        Just(FlowState::Reset),
    ];
    let op = prop_oneof![
        6 => (0..flows, prop_oneof![Just(0), 1..5_000_u32])
            .prop_map(|(flow, tokens)| Op::Insert { flow, tokens }),
        2 => (0..flows).prop_map(|flow| Op::Touch { flow }),
        2 => (0..flows, state).prop_map(|(flow, state)| Op::Move { flow, state }),
        1 => (0..flows).prop_map(|flow| Op::Commit { flow }),
        2 => (0..flows).prop_map(|flow| Op::Remove { flow }),
        1 => prop_oneof![0..8_usize, Just(10_000)].prop_map(|budget| Op::Sweep { budget }),
        2 => (0..150_u32).prop_map(|ms| Op::Wait { ms }),
    ];
    proptest::collection::vec(op, 1..300)
}

/// Runs `ops` on both and compares after each. `exact`: every flow is a candidate of every eviction, so the victim must
/// be the most dispensable of all.
fn run(capacity: u32, ops: &[Op], exact: bool, hash: impl Fn(&FlowTable, &FlowKey) -> u64) {
    let mut table = table(capacity);
    let mut model: HashMap<FlowKey, Known> = HashMap::new();
    let mut now_ms = u32::MAX - 2_000;
    let mut evictions = 0;
    for (marker, op) in (0..).zip(ops) {
        match *op {
            Op::Insert { flow, tokens } => {
                let key = key(flow);
                let mut entry = opened(flow, now_ms);
                entry.last_ack = marker;
                assert_eq!(entry.charge_opening(tokens, now_ms), 0);
                let hash = hash(&table, &key);
                let inserted = table.insert(hash, entry, now_ms);
                let former = model.remove(&key);
                if former.is_some() {
                    let same = inserted.evicted.as_ref().filter(|old| old.is(&key));
                    assert_eq!(same.map(Known::of), former);
                } else if let Some(victim) = &inserted.evicted {
                    let known = model.remove(&victim.key()).expect("a flow that was there");
                    assert_eq!(Known::of(victim), known, "returned as it was");
                    let worst = model.values().map(|k| k.rank(now_ms)).max();
                    assert!(!exact || Some(known.rank(now_ms)) >= worst);
                    evictions += 1;
                }
                model.insert(key, Known::of(&entry));
                assert!(table.holds(inserted.flow, &key));
            }
            Op::Touch { flow } => {
                if let Some(at) = table.lookup(hash(&table, &key(flow)), &key(flow)) {
                    table.entry_mut(at).touch(now_ms);
                    let known = model.get_mut(&key(flow)).expect("known");
                    if known.tokens == 0 {
                        known.last_seen_ms = now_ms;
                    }
                }
            }
            Op::Move { flow, state } => {
                if let Some(at) = table.lookup(hash(&table, &key(flow)), &key(flow)) {
                    table.entry_mut(at).set_state(state);
                    model.get_mut(&key(flow)).expect("known").state = state;
                }
            }
            Op::Commit { flow } => {
                if let Some(at) = table.lookup(hash(&table, &key(flow)), &key(flow)) {
                    let known = model.get_mut(&key(flow)).expect("known");
                    assert_eq!(table.entry_mut(at).take_opening(), known.tokens);
                    known.tokens = 0;
                }
            }
            Op::Remove { flow } => {
                let found = table.lookup(hash(&table, &key(flow)), &key(flow));
                let removed = found.map(|at| Known::of(&table.remove(at)));
                assert_eq!(removed, model.remove(&key(flow)));
            }
            Op::Sweep { budget } => sweep_both(&mut table, &mut model, now_ms, budget),
            Op::Wait { ms } => now_ms = now_ms.wrapping_add(ms),
        }
        assert_same(&table, &model, &hash);
        assert_eq!(table.evictions(), evictions);
    }
}

fn sweep_both(
    table: &mut FlowTable,
    model: &mut HashMap<FlowKey, Known>,
    now_ms: u32,
    budget: usize,
) {
    let mut events = 0;
    table.sweep(now_ms, budget, &TIMEOUTS, |aged| {
        events += 1;
        match aged {
            Aged::OpeningTimeout(entry) => {
                let known = model.get_mut(&entry.key()).expect("known");
                assert_eq!(Known::of(entry), *known);
                assert!(known.tokens != 0);
                assert!(now_ms.wrapping_sub(known.last_seen_ms) >= TIMEOUTS.charge_ms);
                known.tokens = 0;
                known.last_seen_ms = now_ms;
            }
            Aged::AnswerTimeout(entry) => assert!(!entry.waits(), "nobody does here"),
            Aged::Expired(entry) => {
                let known = model.remove(&entry.key()).expect("known");
                assert_eq!(Known::of(entry), known);
                let age_ms = now_ms.wrapping_sub(known.last_seen_ms);
                assert!(age_ms >= known.limit_ms(entry.proto()));
            }
        }
    });
    assert!(events <= budget);
    if budget == 10_000 {
        for (key, known) in model.iter() {
            let age_ms = now_ms.wrapping_sub(known.last_seen_ms);
            assert!(age_ms < known.limit_ms(key.proto), "{known:?} was missed");
            assert!(known.tokens == 0 || age_ms < TIMEOUTS.charge_ms);
        }
    }
}

fn assert_same(
    table: &FlowTable,
    model: &HashMap<FlowKey, Known>,
    hash: &impl Fn(&FlowTable, &FlowKey) -> u64,
) {
    assert_eq!(table.len() as usize, model.len());
    for (key, known) in model {
        let at = table.lookup(hash(table, key), key).expect("still there");
        assert!(table.entry(at).is(key));
        assert_eq!(Known::of(table.entry(at)), *known);
    }
    let mut shown = 0;
    let mut cursor = Some(Cursor::START);
    while let Some(at) = cursor {
        cursor = table.scan(at, 3, |entry| {
            assert_eq!(model.get(&entry.key()), Some(&Known::of(entry)));
            shown += 1;
        });
    }
    assert_eq!(shown, model.len(), "a scan shows every flow once");
}

proptest! {
    #[test]
    fn agrees_with_a_map(ops in ops(60)) {
        run(100, &ops, false, |table, key| table.hash(key));
    }

    #[test]
    fn gives_way_in_order_when_the_slab_is_full(ops in ops(30)) {
        run(12, &ops, true, |table, key| table.hash(key));
    }

    #[test]
    fn gives_way_in_order_when_one_bucket_takes_all(ops in ops(40)) {
        run(100, &ops, true, |_, _| 0);
    }

    #[test]
    fn survives_a_handful_of_hashes(ops in ops(120)) {
        // Six hashes over sixteen buckets: full buckets, displacement, and both kinds of eviction.
        run(70, &ops, false, |table, key| {
            let choice = table.hash(key) % 6;
            (choice << 49) | (choice % 4 * 64)
        });
    }
}

#[test]
fn keys_that_differ_anywhere_are_different_flows() {
    let base = key(0);
    let mut others = vec![base; 5];
    others[0].src[15] ^= 1;
    others[1].dst[0] ^= 1;
    others[2].sport ^= 1;
    others[3].dport ^= 1;
    others[4].proto = UDP;
    let seeds = FlowSeeds::new(1);
    let mut table = table(100);
    // All under one hash, so that only the key tells them apart.
    table.insert(9, FlowEntry::new(&base, PIN, ClassIx(0), 0), 0);
    for other in &others {
        assert_eq!(table.lookup(9, other), None);
        assert_ne!(other.hash(&seeds), base.hash(&seeds));
    }
    assert_eq!(base.hash(&seeds), base.hash(&FlowSeeds::new(1)));
    assert_ne!(base.hash(&seeds), base.hash(&FlowSeeds::new(2)));
}

#[test]
fn a_million_flows_fit_in_their_memory() {
    let mut table = FlowTable::new(&Flows::default(), 0x5eed);
    let memory = table.memory_bytes();
    assert_eq!(table.capacity(), 1 << 20);
    assert!(memory <= 136_000_000, "{memory} bytes");
    for number in 0..table.capacity() {
        let hash = table.hash(&key(number));
        assert!(table.insert(hash, opened(number, 0), 0).evicted.is_none());
    }
    assert_eq!((table.len(), table.evictions()), (1 << 20, 0));
    for number in 0..table.capacity() {
        let hash = table.hash(&key(number));
        table.ahead().prefetch_bucket(hash);
        let _ = table.ahead().prefetch_guess(hash);
        let at = table.lookup(hash, &key(number)).expect("there");
        assert!(table.entry(at).is(&key(number)));
    }
    // One more has to take another's place.
    let hash = table.hash(&key(1 << 20));
    let inserted = table.insert(hash, opened(1 << 20, 0), 0);
    assert!(inserted.evicted.is_some());
    assert_eq!((table.len(), table.evictions()), (1 << 20, 1));
    assert_eq!(table.memory_bytes(), memory);
}

#[test]
fn ages_across_the_wrap_of_the_clock() {
    let mut table = table(10);
    let born_ms = u32::MAX - 99;
    let hash = table.hash(&key(0));
    table.insert(hash, opened(0, born_ms), born_ms);
    let mut expired = 0;
    for (age_ms, expected) in [(0, 0), (99, 0), (499, 0), (500, 1)] {
        let now_ms = born_ms.wrapping_add(age_ms);
        table.sweep(now_ms, 100, &TIMEOUTS, |_| expired += 1);
        assert_eq!(expired, expected, "after {age_ms} ms");
    }
    assert!(table.is_empty());
}

#[test]
fn bare_acks_do_not_keep_a_charge_open() {
    let mut table = table(10);
    let hash = table.hash(&key(0));
    let mut entry = opened(0, 0);
    assert_eq!(entry.charge_opening(1_234, 0), 0);
    let flow = table.insert(hash, entry, 0).flow;
    let mut released = Vec::new();
    for now_ms in (0..1_000).step_by(50) {
        table.entry_mut(flow).touch(now_ms);
        table.sweep(now_ms, 100, &TIMEOUTS, |aged| match aged {
            Aged::OpeningTimeout(entry) => released.push((now_ms, entry.opening_tokens())),
            _ => panic!("the client is heard every 50 ms"),
        });
    }
    assert_eq!(released, [(TIMEOUTS.charge_ms, 1_234)]);
    assert_eq!(table.entry(flow).opening_tokens(), 0);
}

#[test]
fn who_waits_for_a_minute_waits_no_longer_and_keeps_the_flow() {
    let mut table = table(10);
    let hash = table.hash(&key(0));
    let mut entry = opened(0, 0);
    entry.set_state(FlowState::Established);
    entry.begin_waiting();
    let flow = table.insert(hash, entry, 0).flow;
    let mut overdue = Vec::new();
    let timeouts = Timeouts {
        tcp_idle_ms: 3_600_000,
        ..TIMEOUTS
    };
    for now_ms in (0..120_000).step_by(500) {
        table.sweep(now_ms, 100, &timeouts, |aged| match aged {
            Aged::AnswerTimeout(entry) => overdue.push((now_ms, entry.waits())),
            _ => panic!("nothing else is due"),
        });
    }
    assert_eq!(overdue, [(60_000, true)]);
    assert!(!table.entry(flow).waits());
}

#[test]
fn a_syn_reopens_what_is_closing_or_idle() {
    let timeouts = Timeouts::new(&Flows::default(), &Dispatch::default());
    assert_eq!(timeouts.charge_ms, 1_000);
    let mut entry = opened(0, 0);
    assert!(!timeouts.syn_reopens(&entry, 29_999));
    assert!(timeouts.syn_reopens(&entry, 30_000));
    entry.set_state(FlowState::Established);
    assert!(!timeouts.syn_reopens(&entry, 3_599_999));
    for state in [FlowState::ClientClosing, FlowState::Reset] {
        entry.set_state(state);
        assert!(timeouts.syn_reopens(&entry, 1));
    }
}

#[test]
fn entries_keep_their_parts_apart() {
    let mut entry = FlowEntry::new(&key(4), Pin::Spill, ClassIx(3), 5);
    assert_eq!(
        (entry.state(), entry.pin()),
        (FlowState::Established, Pin::Spill)
    );
    entry.note_metadata();
    entry.note_death_told();
    entry.set_state(FlowState::Reset);
    assert!(entry.metadata_seen() && entry.death_told());
    assert_eq!((entry.state(), entry.pin()), (FlowState::Reset, Pin::Spill));
    entry.set_state(FlowState::Opening);
    entry.repin(Pin::Instance(Slot(9), Incarnation(2)));
    assert!(entry.metadata_seen() && !entry.death_told());
    assert_eq!(entry.pin(), Pin::Instance(Slot(9), Incarnation(2)));
    assert_eq!(
        (entry.state(), entry.class),
        (FlowState::Opening, ClassIx(3))
    );
    assert_eq!(entry.key(), key(4));

    // What is charged and how far the client is share a place, and are not taken for each other.
    entry.note_sent(100);
    assert!(entry.is_plausible(100) && !entry.is_plausible(1 << 30));
    assert_eq!(entry.opening_tokens(), 0);
    assert_eq!(entry.take_opening(), 0);
    assert!(!entry.is_plausible(1 << 30), "no charge was taken");
    assert_eq!(entry.charge_opening(7, 1), 0);
    entry.note_sent(100);
    assert_eq!(entry.opening_tokens(), 7);
    assert!(
        entry.is_plausible(1 << 30),
        "nothing is known while a charge is open"
    );
    assert_eq!(entry.take_opening(), 7);
    assert_eq!(entry.opening_tokens(), 0);
    entry.note_sent(1 << 30);
    assert!(entry.is_plausible(1 << 30) && !entry.is_plausible(100));
}

#[test]
fn a_walk_finds_the_few_that_are_left() {
    let mut table = table(300);
    let mut flows = Vec::new();
    for number in 0..300 {
        let hash = table.hash(&key(number));
        flows.push(table.insert(hash, opened(number, 0), 0).flow);
    }
    let left = [3, 62, 64, 65, 191, 299];
    for (number, &flow) in (0..).zip(&flows) {
        if !left.contains(&number) {
            table.remove(flow);
        }
    }
    let mut shown = Vec::new();
    let mut cursor = Some(Cursor::START);
    let mut steps = 0;
    while let Some(at) = cursor {
        cursor = table.scan(at, 1, |entry| shown.push(entry.key()));
        cursor = cursor.map(|at| Cursor::at(at.place()));
        steps += 1;
    }
    assert_eq!(shown, left.map(key));
    assert_eq!(
        table.scan(Cursor::at(u32::MAX), 9, |_| panic!("beyond")),
        None
    );
    // What is vacant costs a step for each 64 at the most, and one call more tells the end.
    assert!(steps <= left.len() + 300_usize.div_ceil(64) + 1);
    let mut expired = 0;
    table.sweep(30_000, steps, &TIMEOUTS, |_| expired += 1);
    assert_eq!(expired, left.len(), "one lap is as long");
}

#[test]
fn flows_of_a_dead_instance_are_walked_in_slices() {
    let mut table = table(500);
    let dead = Pin::Instance(Slot(1), Incarnation(3));
    for number in 0..400 {
        let pin = match number % 4 {
            0 => dead,
            // The slot's next tenant.
            1 => Pin::Instance(Slot(1), Incarnation(4)),
            _ => PIN,
        };
        let entry = FlowEntry::new(&key(number), pin, ClassIx(0), 0);
        table.insert(table.hash(&key(number)), entry, 0);
    }
    let mut cursor = Some(Cursor::START);
    let (mut told, mut rst_budget, mut slices) = (0, 0, 0);
    while let Some(at) = cursor {
        slices += 1;
        let pinned = |entry: &FlowEntry| entry.pin() == dead && !entry.death_told();
        let before = told;
        cursor = table.scan_dead(at, 7, pinned, |entry| {
            if rst_budget == 0 {
                return Fate::Pause;
            }
            rst_budget -= 1;
            told += 1;
            entry.note_death_told();
            if told % 2 == 0 {
                Fate::Forget
            } else {
                Fate::Keep
            }
        });
        assert!(told - before <= 7);
        rst_budget = 1;
    }
    assert_eq!(told, 100, "each once, whatever the pauses");
    assert!(slices > 100);
    assert_eq!(table.len(), 350);
    let mut left = 0;
    assert_eq!(
        table.scan(Cursor::START, 1_000, |entry| {
            left += u32::from(entry.pin() == dead);
            assert!(entry.pin() != dead || entry.death_told());
        }),
        None
    );
    assert_eq!(left, 50);
}

/// Many flows come, and most go: the index becomes another one five times, and every flow is found at every moment.
#[test]
fn flows_are_found_while_the_index_becomes_another_one() {
    let mut table = table(1 << 17);
    let hash = |table: &FlowTable, number| table.hash(&key(number));
    let is_found = |table: &FlowTable, number| {
        let flow = table.lookup(hash(table, number), &key(number));
        let is_sure_of_none = table.ahead().prefetch_guess(hash(table, number)) == FlowRef::NONE;
        assert!(flow.is_none() || !is_sure_of_none, "{number} is there");
        flow.is_some_and(|flow| table.holds(flow, &key(number)))
    };
    const MANY: u32 = 100_000;
    for number in 0..MANY {
        let hash = hash(&table, number);
        table.insert(hash, opened(number, 0), 0);
        // The first, the last, and some between.
        for known in [0, number / 3, number / 2, number] {
            assert!(is_found(&table, known), "{known} of {number}");
        }
    }
    assert_eq!((table.len(), table.evictions()), (MANY, 0));
    assert!((0..MANY).all(|number| is_found(&table, number)));
    for number in 50..MANY {
        let flow = table.lookup(hash(&table, number), &key(number));
        table.remove(flow.expect("it is there"));
        if number % 97 == 0 {
            table.sweep(0, 1, &TIMEOUTS, |_| ());
            table.settle(8);
            for known in [0, 49, number + 1, MANY - 1] {
                assert!(
                    is_found(&table, known) || known >= MANY,
                    "{known} of {number}"
                );
            }
        }
    }
    for _ in 0..10 {
        table.sweep(0, 1, &TIMEOUTS, |_| ());
        table.settle(1 << 20);
    }
    // All are in the smallest index now: a guess finds what a look-up finds.
    for number in 0..50 {
        let guess = table.ahead().prefetch_guess(hash(&table, number));
        assert!(table.holds(guess, &key(number)), "{number}");
        assert!(!is_found(&table, number + 50));
    }
    // And mostly it is sure that there is none.
    let unknown = (50..1_050).map(|number| table.ahead().prefetch_guess(hash(&table, number)));
    let sure = unknown.filter(|guess| *guess == FlowRef::NONE).count();
    assert!(sure > 900, "{sure}");
}
