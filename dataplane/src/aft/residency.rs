//! Who holds which prefix: one table from signature to instances, and each worker's own addition to it.
//!
//! [`Residency`] lives in the AFT and is written by the control core. A bucket is two neighbouring cache lines with four
//! entries. An entry names up to three holders itself; a fourth moves them to a record of a bounded pool
//! ([`spill`]), a bitmap over all instances with a date each: system prompts are held by everyone, and a bitmap an entry
//! would not fit. Nothing grows: a full bucket gives up the entry that was confirmed longest ago, and with the pool
//! empty an entry gives up its oldest holder. Both are counted.
//!
//! What is held is a hint with an age. Dates are seconds in 16 bits; a sweep that passes every entry in
//! [`SWEEP_PERIOD_S`] removes what is expired long before a date could be mistaken for a new one. An instance's whole
//! cache is forgotten by counting up its generation: holders carry the generation they were entered under and count
//! under no other. The generation has 15 bits, and before it starts over every holder of the slot is removed, so an
//! old holder never meets its own generation again; that pass is paid once in 32,768 clearings.

mod bucket;
mod holders;
mod overlay;
mod spill;

use dpdk::HugeSlice;

use crate::aft::SigKey;
use crate::id::Slot;

pub use bucket::Hashed;
pub use holders::Holders;
pub use overlay::{OVERLAY_HITS, Overlay, OverlayHits, Said};

use bucket::{Bucket, Entry, Holder, INLINE_HOLDERS, KeyHash, WAYS};
use spill::{NO_RECORD, Pool};

/// Longest time to live of a holder, in seconds; a longer one counts as this.
pub const MAX_TTL_S: u32 = 32_768;
/// Time in which the sweep passes every entry, in seconds.
pub const SWEEP_PERIOD_S: u32 = 1_024;
/// Time in which the sweep passes every record of the pool, in seconds.
const POOL_PERIOD_S: u32 = 8;
/// After a gap in time as long as this, everything is forgotten: dates would no longer be told apart.
const FORGET_GAP_S: u32 = 16_384;
/// A date up to this many seconds ahead counts as now: workers' clock readings run ahead of the table's.
const AHEAD_S: u16 = 4_096;
/// Generations of a slot before they start over.
const GENERATIONS: u16 = 1 << 15;

/// How long a holder counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ttl {
    /// Seconds after a report said so.
    pub confirmed_s: u32,
    /// Seconds after an own dispatch made it likely; at most as long as the other.
    pub provisional_s: u32,
}

/// A moment in the table's own measure, with the times to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Clock {
    now: u16,
    confirmed: u16,
    provisional: u16,
}

impl Clock {
    fn new(now_s: u32, ttl: Ttl) -> Self {
        let confirmed = ttl.confirmed_s.min(MAX_TTL_S) as u16;
        Self {
            now: now_s as u16,
            confirmed,
            provisional: confirmed.min(ttl.provisional_s.min(MAX_TTL_S) as u16),
        }
    }

    /// Seconds since `stamp`.
    #[inline]
    const fn age(self, stamp: u16) -> u16 {
        let age = self.now.wrapping_sub(stamp);
        if age > u16::MAX - AHEAD_S { 0 } else { age }
    }

    /// Whether a holder entered at `stamp` still counts.
    #[inline]
    const fn fresh(self, stamp: u16, provisional: bool) -> bool {
        let ttl = if provisional {
            self.provisional
        } else {
            self.confirmed
        };
        self.age(stamp) < ttl
    }
}

/// The table; see the module's description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Residency {
    hash: KeyHash,
    buckets: HugeSlice<Bucket>,
    pool: Pool,
    /// Current cache generation of each slot.
    generations: Vec<u16>,
    ttl: Ttl,
    /// Time of the last [`Self::advance`], seconds.
    now_s: u32,
    /// Next bucket and next record of the sweep.
    sweep_bucket: usize,
    sweep_record: usize,
    len: usize,
    evictions: u64,
    overflows: u64,
}

impl Residency {
    /// A table of at least `entries` signatures (rounded up to a power of two) over `instances` slots.
    ///
    /// Takes 32 bytes an entry, and at most a quarter more for the pool (or 16 records, whichever is more).
    #[must_use]
    pub fn new(entries: usize, instances: usize, ttl: Ttl) -> Self {
        let buckets = entries.div_ceil(WAYS).max(1).next_power_of_two();
        let instances = instances.min(usize::from(Holder::VACANT));
        Self {
            hash: KeyHash::new(),
            buckets: HugeSlice::filled(buckets, Bucket::EMPTY),
            pool: Pool::new(buckets * size_of::<Bucket>() / 4, instances),
            generations: vec![0; instances],
            ttl,
            now_s: 0,
            sweep_bucket: 0,
            sweep_record: 0,
            len: 0,
            evictions: 0,
            overflows: 0,
        }
    }

    /// Changes how long holders count, those already entered too.
    pub fn set_ttl(&mut self, ttl: Ttl) {
        self.ttl = ttl;
    }

    /// The key as this table and every [`Overlay`] look for it.
    #[inline]
    #[must_use]
    pub fn hashed(&self, key: SigKey) -> Hashed {
        self.hash.hashed(key)
    }

    /// Brings the bucket of `key` nearer.
    #[inline]
    pub fn prefetch(&self, key: Hashed) {
        self.buckets[self.place(key.hash)].prefetch();
    }

    /// Adds who holds `key` at `now_s` to `set`, a bit a slot, as far as that reaches.
    #[inline]
    pub fn add_holders(&self, key: Hashed, now_s: u32, set: &mut [u64]) {
        let Some(entry) = self.buckets[self.place(key.hash)].find(key.key) else {
            return;
        };
        let clock = Clock::new(now_s, self.ttl);
        if entry.record != NO_RECORD {
            self.pool.record(entry.record).add_to(set, clock);
            return;
        }
        for holder in &entry.holders {
            if let Some(word) = set.get_mut(usize::from(holder.slot) / 64)
                && holder.counts(clock, &self.generations)
            {
                *word |= 1 << (holder.slot % 64);
            }
        }
    }

    /// Who holds `key` at `now_s`.
    #[inline]
    #[must_use]
    pub fn holders(&self, key: SigKey, now_s: u32) -> Holders<'_> {
        self.holders_of(self.hashed(key), now_s)
    }

    /// The same of a key that is hashed.
    #[inline]
    #[must_use]
    pub fn holders_of(&self, key: Hashed, now_s: u32) -> Holders<'_> {
        let clock = Clock::new(now_s, self.ttl);
        let Some(entry) = self.buckets[self.place(key.hash)].find(key.key) else {
            return Holders::none();
        };
        if entry.record != NO_RECORD {
            return Holders::many(self.pool.record(entry.record), clock);
        }
        Holders::few(
            entry
                .holders
                .iter()
                .filter(|holder| holder.counts(clock, &self.generations))
                .map(|holder| Slot(holder.slot)),
        )
    }

    /// `slot` holds `key` as of `now_s`: a report said so, or, `provisional`, an own dispatch makes it so.
    ///
    /// A provisional holder never takes a report's word back: it only makes it newer, for the instance has just used
    /// that prefix.
    pub fn insert(&mut self, key: SigKey, slot: Slot, provisional: bool, now_s: u32) {
        let Some(&generation) = self.generations.get(slot.index()) else {
            return;
        };
        let clock = Clock::new(now_s, self.ttl);
        let holder = Holder::new(slot, clock.now, generation, provisional);
        let Hashed { key, hash } = self.hashed(key);
        let bucket = self.place(hash);
        if let Some(way) = self.buckets[bucket].way_of(key) {
            self.add(bucket, way, holder, clock);
            return;
        }
        let way = self.make_room(bucket, clock);
        let mut entry = Entry::vacant(key);
        entry.holders[0] = holder;
        self.buckets[bucket].entries[way] = entry;
        self.len += 1;
    }

    /// `slot` no longer holds `key`.
    pub fn evict(&mut self, key: SigKey, slot: Slot) {
        let Hashed { key, hash } = self.hashed(key);
        let bucket = self.place(hash);
        let Some(way) = self.buckets[bucket].way_of(key) else {
            return;
        };
        let entry = &mut self.buckets[bucket].entries[way];
        if entry.record == NO_RECORD {
            for holder in &mut entry.holders {
                if holder.slot == slot.0 {
                    *holder = Holder::NONE;
                }
            }
        } else {
            self.pool.remove(entry.record, slot);
        }
        self.settle(bucket, way);
    }

    /// `slot` holds nothing any more.
    pub fn clear_slot(&mut self, slot: Slot) {
        let Some(generation) = self.generations.get_mut(slot.index()) else {
            return;
        };
        *generation += 1;
        if *generation == GENERATIONS {
            *generation = 0;
            for holder in self.buckets.iter_mut().flat_map(Bucket::holders_mut) {
                if holder.slot == slot.0 {
                    *holder = Holder::NONE;
                }
            }
        }
        // Records carry no generations: their number is bounded, so they are cleared at once.
        self.pool.remove_everywhere(slot);
    }

    /// Time passes: a share of the table in proportion is cleaned of what is expired or cleared.
    pub fn advance(&mut self, now_s: u32) {
        let elapsed_s = now_s.saturating_sub(self.now_s);
        if elapsed_s == 0 {
            return;
        }
        self.now_s = now_s;
        if elapsed_s >= FORGET_GAP_S {
            self.forget_everything();
            return;
        }
        let clock = Clock::new(now_s, self.ttl);
        for _ in 0..share(self.pool.records(), elapsed_s, POOL_PERIOD_S) {
            if let Some((bucket, way)) = self.pool.owner(self.sweep_record as u16) {
                self.clean(bucket, way, clock);
            }
            self.sweep_record = (self.sweep_record + 1) % self.pool.records();
        }
        for _ in 0..share(self.buckets.len(), elapsed_s, SWEEP_PERIOD_S) {
            for way in 0..WAYS {
                if !self.buckets[self.sweep_bucket].entries[way].is_vacant() {
                    self.clean(self.sweep_bucket, way, clock);
                }
            }
            self.sweep_bucket = (self.sweep_bucket + 1) % self.buckets.len();
        }
    }

    /// Signatures in the table, those included whose holders are expired and not yet swept.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no signature in the table.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Signatures that the table has room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.buckets.len() * WAYS
    }

    /// Signatures with holders that were given up because their bucket was full.
    #[must_use]
    pub const fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Holders that were given up because the pool for popular signatures was empty.
    #[must_use]
    pub const fn overflows(&self) -> u64 {
        self.overflows
    }

    #[inline]
    fn place(&self, hash: u64) -> usize {
        hash as usize & (self.buckets.len() - 1)
    }

    /// A free way of the bucket: a vacant one, else the one whose newest holder is the oldest.
    fn make_room(&mut self, bucket: usize, clock: Clock) -> usize {
        let entries = &self.buckets[bucket].entries;
        let age = |entry: &Entry| -> u32 {
            if entry.is_vacant() {
                return u32::MAX;
            }
            let newest = if entry.record == NO_RECORD {
                let counting = entry.holders.iter();
                counting
                    .filter(|holder| holder.counts(clock, &self.generations))
                    .map(|holder| clock.age(holder.stamp))
                    .min()
            } else {
                self.pool.newest_age(entry.record, clock)
            };
            newest.map_or(u32::from(u16::MAX) + 1, u32::from)
        };
        let mut oldest = (0, 0);
        for (way, entry) in entries.iter().enumerate() {
            let age = age(entry);
            if age > oldest.1 {
                oldest = (way, age);
            }
        }
        let (way, age) = oldest;
        if !entries[way].is_vacant() {
            self.evictions += u64::from(age <= u32::from(u16::MAX));
            self.vacate(bucket, way);
        }
        way
    }

    /// Adds a holder to an entry.
    fn add(&mut self, bucket: usize, way: usize, holder: Holder, clock: Clock) {
        let entry = &mut self.buckets[bucket].entries[way];
        if entry.record != NO_RECORD {
            self.pool.add(entry.record, holder, clock);
            return;
        }
        let counts = |held: &Holder| held.counts(clock, &self.generations);
        if let Some(held) = entry.holders.iter_mut().find(|h| h.slot == holder.slot) {
            *held = if counts(held) {
                held.renewed(holder, clock)
            } else {
                holder
            };
            return;
        }
        if let Some(free) = entry.holders.iter_mut().find(|held| !counts(held)) {
            *free = holder;
            return;
        }
        if let Some(record) = self.pool.allocate(bucket, way) {
            for held in std::mem::replace(&mut entry.holders, [Holder::NONE; INLINE_HOLDERS]) {
                self.pool.add(record, held, clock);
            }
            self.pool.add(record, holder, clock);
            entry.record = record;
            return;
        }
        self.overflows += 1;
        if let Some(oldest) = entry.holders.iter_mut().max_by_key(|h| clock.age(h.stamp)) {
            *oldest = holder;
        }
    }

    /// Removes what does not count any more from an entry, and the entry if nothing is left.
    fn clean(&mut self, bucket: usize, way: usize, clock: Clock) {
        let entry = &mut self.buckets[bucket].entries[way];
        if entry.record == NO_RECORD {
            for holder in &mut entry.holders {
                if !holder.counts(clock, &self.generations) {
                    *holder = Holder::NONE;
                }
            }
        } else {
            self.pool.expire(entry.record, clock);
        }
        self.settle(bucket, way);
    }

    /// After holders went: a record that has become small is folded back, an entry that has become empty vacated.
    fn settle(&mut self, bucket: usize, way: usize) {
        let entry = &mut self.buckets[bucket].entries[way];
        // One less than would fit, so that a holder that comes and goes does not move the others each time.
        if entry.record != NO_RECORD && self.pool.count(entry.record) < INLINE_HOLDERS {
            let left = self.pool.slots(entry.record);
            for (holder, (slot, stamp, provisional)) in entry.holders.iter_mut().zip(left) {
                *holder = Holder::new(slot, stamp, self.generations[slot.index()], provisional);
            }
            self.pool.free(entry.record);
            entry.record = NO_RECORD;
        }
        if entry.record == NO_RECORD && entry.holders.iter().all(Holder::is_none) {
            self.vacate(bucket, way);
        }
    }

    fn vacate(&mut self, bucket: usize, way: usize) {
        let entry = &mut self.buckets[bucket].entries[way];
        if entry.record != NO_RECORD {
            self.pool.free(entry.record);
        }
        *entry = Entry::VACANT;
        self.len -= 1;
    }

    fn forget_everything(&mut self) {
        self.buckets.fill(Bucket::EMPTY);
        self.pool.free_all();
        self.len = 0;
    }
}

/// How many of `things` are due after `elapsed_s`, so that all are in `period_s`.
fn share(things: usize, elapsed_s: u32, period_s: u32) -> usize {
    if elapsed_s >= period_s {
        return things;
    }
    (things.div_ceil(period_s as usize) * elapsed_s as usize).min(things)
}

#[cfg(test)]
mod tests;
