//! A bounded map that forgets: four ways a set, the oldest of a set replaced.
//!
//! What a worker keeps about the senders it hears (rates, charged sessions) must not grow with their number and may be
//! forgotten: the limits that rest on it then start afresh for whoever was replaced.

use std::fmt;
use std::hash::Hasher as _;

use dpdk::HugeSlice;
use dpdk::prefetch::prefetch_read;
use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

const WAYS: usize = 4;

/// Entries that one map can have.
pub(super) const MAX_ENTRIES: u32 = 1 << 26;

/// A value that knows when it was used last.
///
/// Its default is what an unheard-of key has, with the oldest stamp there is: an empty way needs no other mark.
pub(super) trait Stamped: Default {
    /// The larger, the later.
    fn stamp(&self) -> u64;
}

/// A key that knows its place in a map.
pub(super) trait Placed: Copy + Default + Eq {
    /// A number whose lowest bits name the key's set. Whoever chooses keys cannot tell which they share.
    fn place(&self, seed: &SharedSeed) -> u64;
}

impl Placed for u128 {
    #[inline]
    fn place(&self, seed: &SharedSeed) -> u64 {
        let mut hasher = FoldHasher::with_seed(0, seed);
        hasher.write_u128(*self);
        hasher.finish()
    }
}

pub(super) struct Assoc<K: Copy, V: Copy> {
    /// A power of two of them.
    sets: HugeSlice<[(K, V); WAYS]>,
    seed: SharedSeed,
}

impl<K: Placed, V: Copy + Stamped> Assoc<K, V> {
    /// A map of at least `entries` (at most [`MAX_ENTRIES`]) entries; all memory it will ever use.
    pub(super) fn new(entries: u32, seed: u64) -> Self {
        let sets = entries
            .clamp(1, MAX_ENTRIES)
            .div_ceil(WAYS as u32)
            .next_power_of_two();
        let empty = std::array::from_fn(|_| (K::default(), V::default()));
        Self {
            sets: HugeSlice::filled(sets as usize, empty),
            seed: SharedSeed::from_u64(seed),
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.sets)
    }

    pub(super) fn capacity(&self) -> usize {
        self.sets.len() * WAYS
    }

    /// Brings nearer what [`Self::entry`] will read.
    #[inline]
    pub(super) fn prefetch(&self, key: &K) {
        // Of two cache lines at the most.
        let [first, .., last] = &self.sets[self.set_of(key)];
        prefetch_read(first);
        prefetch_read(last);
    }

    #[inline]
    fn set_of(&self, key: &K) -> usize {
        key.place(&self.seed) as usize & (self.sets.len() - 1)
    }

    /// The value of `key`; a default one in the place of its set's oldest if it had none.
    pub(super) fn entry(&mut self, key: K) -> &mut V {
        let set = self.set_of(&key);
        let set = &mut self.sets[set];
        let found = set.iter().position(|(known, _)| *known == key);
        let way = found.unwrap_or_else(|| {
            let mut oldest = 0;
            for (way, (_, value)) in set.iter().enumerate() {
                if value.stamp() < set[oldest].1.stamp() {
                    oldest = way;
                }
            }
            set[oldest] = (key, V::default());
            oldest
        });
        &mut set[way].1
    }
}

impl<K: Copy, V: Copy> fmt::Debug for Assoc<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assoc")
            .field("sets", &self.sets.len())
            .finish_non_exhaustive()
    }
}
