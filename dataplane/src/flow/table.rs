//! The flow table: a slab of entries, the index over it, and what gives way when there is no room.

use std::cmp::Ordering;
use std::fmt;

use dpdk::HugeSlice;
use dpdk::prefetch::prefetch_at;
use dpdk::vector::Level;

use super::entry::{FlowEntry, FlowKey, FlowState, halves};
use super::hash::FlowSeeds;
use super::index::{Guesses, MAX_ENTRIES};
use super::levels::Levels;
use crate::config::Flows;

/// Entries that the eviction hand compares when the slab is full.
pub const EVICTION_WINDOW: u32 = 16;

/// Ends the chain of vacant places.
const NONE: u32 = u32::MAX;

/// A flow's place in the table. Good until the table's next insertion, removal or sweep: the place may be another
/// flow's afterwards. [`FlowTable::holds`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowRef(u32);

impl FlowRef {
    /// No flow's place: there is none.
    pub const NONE: Self = Self(u32::MAX);
    /// No flow's place: perhaps there is one all the same.
    pub const UNSURE: Self = Self(u32::MAX - 1);

    /// Whether it is a flow's place.
    #[inline]
    #[must_use]
    pub fn is_some(self) -> bool {
        self != Self::NONE && self != Self::UNSURE
    }
}

/// Where a walk over the table goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor(u32);

impl Cursor {
    /// The table's begin.
    pub const START: Self = Self(0);

    /// The walk that goes on at `place`, as [`Self::place`] told it before. Beyond the table the walk is over.
    #[must_use]
    pub const fn at(place: u32) -> Self {
        Self(place)
    }

    /// The place as a number, for those who ask for the next slice from outside.
    #[must_use]
    pub const fn place(self) -> u32 {
        self.0
    }
}

/// What came of an insertion.
#[derive(Debug)]
pub struct Inserted {
    /// Where the new flow is.
    pub flow: FlowRef,
    /// What gave way to it, its charge included: another flow for want of room (counted in
    /// [`FlowTable::evictions`]), or an earlier entry of the same key.
    pub evicted: Option<FlowEntry>,
}

/// All flows of one worker.
///
/// 89 bytes a flow at the default capacity: 64 of the entry, 21 of the index in all its sizes, 4 of the entry's way back into it.
pub struct FlowTable {
    seeds: FlowSeeds,
    index: Levels,
    slab: HugeSlice<FlowEntry>,
    /// Of a used place the index bucket that names it, of a vacant one the next vacant.
    links: Box<[u32]>,
    /// A bit a place, so that walks skip what is vacant without touching the slab.
    used: Box<[u64]>,
    first_vacant: u32,
    len: u32,
    changes: u32,
    evictions: u64,
    eviction_hand: u32,
    pub(super) ageing_hand: Cursor,
}

/// Looks for a burst's flows ahead of their turn: while none changes, and with all that it takes in hand.
#[derive(Clone, Copy)]
pub struct Ahead<'a> {
    seeds: &'a FlowSeeds,
    guesses: Guesses<'a>,
    is_settled: bool,
    slab: &'a [FlowEntry],
}

impl Ahead<'_> {
    /// The hash of a flow in its parts: its addresses as a header has them, and [`upper`](super::upper).
    #[inline(always)]
    pub(crate) fn hash(self, level: Level, addresses: &[u8; 32], upper: u64) -> u64 {
        let (source, destination) = halves(addresses);
        self.seeds.of(level, source, destination, upper)
    }

    /// First step of a look-up: starts loading the index bucket of `hash`.
    #[inline(always)]
    pub fn prefetch_bucket(self, hash: u64) {
        self.guesses.prefetch(hash);
    }

    /// Second step, once the bucket is there: starts loading the entry that `hash` most likely means, and says which flow it is.
    /// Whether it is the flow meant, or of any by then, is for [`FlowEntry::is_of`] to say: a place that is vacant is nobody's.
    /// Where there is no guess, [`FlowRef::NONE`] is certain until [`FlowTable::changes`] changes, and [`FlowRef::UNSURE`] is not.
    #[inline(always)]
    #[must_use]
    pub fn prefetch_guess(self, hash: u64) -> FlowRef {
        if let Some(number) = self.guesses.guess(hash) {
            prefetch_at(self.slab, number as usize);
            return FlowRef(number);
        }
        if self.is_settled && self.guesses.has_none(hash) {
            FlowRef::NONE
        } else {
            FlowRef::UNSURE
        }
    }
}

impl FlowTable {
    /// An empty table; all memory it will ever use.
    ///
    /// `flows.capacity` is taken as at least 1 and at most [`Self::MAX_CAPACITY`]. `seed` is random per process.
    #[must_use]
    pub fn new(flows: &Flows, seed: u64) -> Self {
        let capacity = flows.capacity.clamp(1, Self::MAX_CAPACITY);
        let links = (1..capacity).chain([NONE]).collect();
        Self {
            seeds: FlowSeeds::new(seed),
            index: Levels::new(capacity),
            slab: HugeSlice::filled(capacity as usize, FlowEntry::VACANT),
            links,
            used: vec![0; capacity.div_ceil(u64::BITS) as usize].into_boxed_slice(),
            first_vacant: 0,
            len: 0,
            changes: 0,
            evictions: 0,
            eviction_hand: 0,
            ageing_hand: Cursor::START,
        }
    }

    /// Entries that one table can have.
    pub const MAX_CAPACITY: u32 = MAX_ENTRIES;

    /// The hash that every other call about `key` takes.
    #[inline]
    #[must_use]
    pub fn hash(&self, key: &FlowKey) -> u64 {
        key.hash(&self.seeds)
    }

    /// To look for a burst's flows ahead of their turn.
    #[inline(always)]
    #[must_use]
    pub fn ahead(&self) -> Ahead<'_> {
        Ahead {
            seeds: &self.seeds,
            guesses: self.index.guesses(),
            is_settled: self.index.is_settled(),
            slab: &self.slab,
        }
    }

    /// The flow of `key`, whose hash is `hash`, however long it has been idle.
    #[inline]
    #[must_use]
    pub fn lookup(&self, hash: u64, key: &FlowKey) -> Option<FlowRef> {
        self.index
            .find(hash, |number| self.slab[number as usize].is(key))
            .map(FlowRef)
    }

    /// Whether there is a flow of this key, in its parts.
    #[inline(always)]
    #[must_use]
    pub fn knows(&self, hash: u64, addresses: &[u8; 32], ports: u32, proto: u8) -> bool {
        let is = |number: u32| self.slab[number as usize].is_of(addresses, ports, proto);
        self.index.find(hash, is).is_some()
    }

    /// What is kept of a flow; `None` of [`FlowRef::NONE`] and [`FlowRef::UNSURE`].
    #[inline(always)]
    #[must_use]
    pub fn get(&self, flow: FlowRef) -> Option<&FlowEntry> {
        self.slab.get(flow.0 as usize)
    }

    /// The same, to change.
    #[inline(always)]
    #[must_use]
    pub fn get_mut(&mut self, flow: FlowRef) -> Option<&mut FlowEntry> {
        self.slab.get_mut(flow.0 as usize)
    }

    /// What is kept of a flow that there is.
    #[inline]
    #[must_use]
    pub fn entry(&self, flow: FlowRef) -> &FlowEntry {
        &self.slab[flow.0 as usize]
    }

    /// The same, to change.
    #[inline]
    #[must_use]
    pub fn entry_mut(&mut self, flow: FlowRef) -> &mut FlowEntry {
        &mut self.slab[flow.0 as usize]
    }

    /// Whether `flow` is, still or again, the place of `key`.
    #[inline]
    #[must_use]
    pub fn holds(&self, flow: FlowRef, key: &FlowKey) -> bool {
        self.get(flow).is_some_and(|entry| entry.is(key)) && self.is_used(flow.0)
    }

    /// Enters a flow whose key hashes to `hash`. Never fails: at most one other flow gives way.
    ///
    /// Where both index buckets of `hash` are full that is one of theirs; where only the slab is full, one of the next
    /// [`EVICTION_WINDOW`] entries under a hand that goes round. Among these: one that is closing before one that is
    /// opening before an established one, and of several such the one idle for longest at `now_ms`.
    pub fn insert(&mut self, hash: u64, entry: FlowEntry, now_ms: u32) -> Inserted {
        self.changes = self.changes.wrapping_add(1);
        if let Some(flow) = self.lookup(hash, &entry.key()) {
            let former = std::mem::replace(self.entry_mut(flow), entry);
            return Inserted {
                flow,
                evicted: Some(former),
            };
        }
        let mut evicted = None;
        let place = loop {
            let links = &mut self.links;
            let moved = |number: u32, bucket| links[number as usize] = bucket;
            if let Some(place) = self.index.make_room(hash, moved) {
                break place;
            }
            // Both buckets are full, so there is a victim, and room the next time round.
            if let Some(victim) = self.victim(self.index.residents(hash), now_ms) {
                evicted = Some(self.evict(victim));
            }
        };
        if self.first_vacant == NONE {
            let capacity = self.capacity();
            let hand = self.eviction_hand;
            let window = (hand..hand + EVICTION_WINDOW.min(capacity)).map(|at| at % capacity);
            if let Some(victim) = self.victim(window, now_ms) {
                evicted = Some(self.evict(victim));
            }
            self.eviction_hand = (hand + EVICTION_WINDOW) % capacity;
        }
        let number = self.first_vacant;
        self.first_vacant = std::mem::replace(&mut self.links[number as usize], place.bucket);
        self.index.occupy(place, hash, number);
        self.slab[number as usize] = entry;
        self.used[(number / u64::BITS) as usize] |= 1 << (number % u64::BITS);
        self.len += 1;
        self.index.grow(self.len);
        self.settle(1);
        Inserted {
            flow: FlowRef(number),
            evicted,
        }
    }

    /// Forgets a flow. Returns what was kept of it; its charge, if any, is the caller's to release.
    pub fn remove(&mut self, flow: FlowRef) -> FlowEntry {
        self.changes = self.changes.wrapping_add(1);
        let number = flow.0;
        let entry = self.slab[number as usize];
        debug_assert!(self.is_used(number), "{flow:?} is vacant");
        if self.is_used(number) {
            self.index.remove(self.links[number as usize], number);
            self.slab[number as usize] = FlowEntry::VACANT;
            self.links[number as usize] = self.first_vacant;
            self.first_vacant = number;
            self.used[(number / u64::BITS) as usize] &= !(1 << (number % u64::BITS));
            self.len -= 1;
        }
        entry
    }

    /// Moves some flows to where they are found sooner, if the index is to be another one.
    #[inline]
    pub fn settle(&mut self, buckets: u32) {
        if self.index.is_settled() {
            return;
        }
        let (slab, links, seeds) = (&self.slab, &mut self.links, &self.seeds);
        self.index.step(
            buckets,
            |number| slab[number as usize].key().hash(seeds),
            |number, bucket| links[number as usize] = bucket,
        );
    }

    /// Takes a smaller index, if there are few flows enough for it. [`Self::sweep`] does.
    pub(super) fn shrink(&mut self) {
        self.index.shrink(self.len);
    }

    /// Counts insertions and removals. As long as it stays the same, a place is of the flow that it was of.
    #[inline]
    #[must_use]
    pub const fn changes(&self) -> u32 {
        self.changes
    }

    /// Flows in the table.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Flows that fit.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.slab.len() as u32
    }

    /// Flows that gave way to others for want of room, since the start.
    #[must_use]
    pub const fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Memory held, in bytes; the same from [`Self::new`] on.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.index.memory_bytes()
            + size_of_val(&*self.slab)
            + size_of_val(&*self.links)
            + size_of_val(&*self.used)
    }

    /// Shows flows to `f`, from `cursor` on, for at most `budget` steps (a step is a flow, or up to 64 vacant places).
    ///
    /// Returns where to go on, `None` at the end. A flow that is there from the first slice to the last is shown once.
    pub fn scan(
        &self,
        cursor: Cursor,
        mut budget: usize,
        mut f: impl FnMut(&FlowEntry),
    ) -> Option<Cursor> {
        let mut cursor = cursor;
        loop {
            match self.step(cursor, &mut budget) {
                Step::Flow(flow) => {
                    f(self.entry(flow));
                    cursor = flow.next();
                }
                Step::Pause(cursor) => return Some(cursor),
                Step::End => return None,
            }
        }
    }

    /// The next flow from `cursor` on, within `budget` steps, which it counts down.
    pub(super) fn step(&self, cursor: Cursor, budget: &mut usize) -> Step {
        let mut at = cursor.0;
        while at < self.capacity() {
            let Some(rest) = budget.checked_sub(1) else {
                return Step::Pause(Cursor(at));
            };
            *budget = rest;
            let used = self.used[(at / u64::BITS) as usize] >> (at % u64::BITS);
            if used != 0 {
                return Step::Flow(FlowRef(at + used.trailing_zeros()));
            }
            at = (at / u64::BITS + 1) * u64::BITS;
        }
        Step::End
    }

    fn is_used(&self, number: u32) -> bool {
        self.used[(number / u64::BITS) as usize] >> (number % u64::BITS) & 1 != 0
    }

    fn evict(&mut self, victim: FlowRef) -> FlowEntry {
        self.evictions += 1;
        self.remove(victim)
    }

    fn victim(&self, candidates: impl Iterator<Item = u32>, now_ms: u32) -> Option<FlowRef> {
        candidates.map(FlowRef).reduce(|worst, next| {
            if dispensable(self.entry(next), self.entry(worst), now_ms).is_gt() {
                next
            } else {
                worst
            }
        })
    }
}

impl fmt::Debug for FlowTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowTable")
            .field("len", &self.len)
            .field("capacity", &self.capacity())
            .field("evictions", &self.evictions)
            .finish_non_exhaustive()
    }
}

/// Which of two flows is missed less.
fn dispensable(a: &FlowEntry, b: &FlowEntry, now_ms: u32) -> Ordering {
    let rank = |entry: &FlowEntry| match entry.state() {
        FlowState::Established => 0,
        FlowState::Opening => 1,
        FlowState::ClientClosing | FlowState::Reset => 2,
    };
    (rank(a), a.age_ms(now_ms)).cmp(&(rank(b), b.age_ms(now_ms)))
}

impl FlowRef {
    /// The place behind.
    pub(super) const fn next(self) -> Cursor {
        Cursor(self.0 + 1)
    }

    /// The place itself.
    pub(super) const fn here(self) -> Cursor {
        Cursor(self.0)
    }
}

/// Where a walk has come to.
pub(super) enum Step {
    /// A flow.
    Flow(FlowRef),
    /// The budget's end.
    Pause(Cursor),
    /// The table's end.
    End,
}
