//! A bounded map that forgets: four ways a set, the oldest of a set replaced.
//!
//! What a worker keeps about the senders it hears (rates, charged sessions) must not grow with their number and may be
//! forgotten: the limits that rest on it then start afresh for whoever was replaced.

use std::fmt;
use std::hash::Hasher as _;

use dpdk::HashedSlice;
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
    fn place(&self, secret: &Secret) -> u64;
}

/// What a hash of keys depends on, so that nobody outside can choose keys which share a place.
#[derive(Clone)]
pub(super) struct Secret {
    /// What the hash begins with. Begun with 0, every key whose lower half is 0, as that of a masked address is, would hash to 0.
    begin: u64,
    shared: SharedSeed,
}

impl Secret {
    /// Grown from `seed`, which is random per process.
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            begin: seed.rotate_left(17) | 1,
            shared: SharedSeed::from_u64(seed),
        }
    }

    #[inline(always)]
    pub(super) const fn hasher(&self) -> FoldHasher<'_> {
        FoldHasher::with_seed(self.begin, &self.shared)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(secret)")
    }
}

impl Placed for u128 {
    #[inline(always)]
    fn place(&self, secret: &Secret) -> u64 {
        let mut hasher = secret.hasher();
        hasher.write_u128(*self);
        hasher.finish()
    }
}

pub(super) struct Assoc<K: Copy, V: Copy> {
    sets: HashedSlice<[(K, V); WAYS]>,
    secret: Secret,
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
            sets: HashedSlice::filled(sets as usize, empty),
            secret: Secret::new(seed),
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.sets)
    }

    pub(super) fn capacity(&self) -> usize {
        self.sets.len() * WAYS
    }

    /// Brings nearer what [`Self::entry`] will most probably read.
    #[inline]
    pub(super) fn prefetch(&self, key: &K) {
        let (set, first) = self.place(key);
        prefetch_read(&self.sets.at(set)[first % WAYS]);
    }

    /// What names the set of `key`, and its first way: of a set of two cache lines, half of the keys begin with the one and half with the
    /// other, so that as long as there is room for all a key needs one.
    #[inline]
    fn place(&self, key: &K) -> (usize, usize) {
        let place = key.place(&self.secret);
        let first = (place >> 63) as usize * (WAYS / 2);
        (place as usize, first)
    }

    /// The value of `key`; a default one in the place of its set's oldest if it had none.
    #[inline(always)]
    pub(super) fn entry(&mut self, key: K) -> &mut V {
        let (set, first) = self.place(&key);
        let set = self.sets.at_mut(set);
        let way = if set[first % WAYS].0 == key {
            first
        } else if set[(first ^ 1) % WAYS].0 == key {
            first ^ 1
        } else {
            Self::other(set, first, key)
        };
        &mut set[way % WAYS].1
    }

    /// The way of a key that is not on its first line.
    #[inline(never)]
    fn other(set: &mut [(K, V); WAYS], first: usize, key: K) -> usize {
        let [one, other] = [2, 3].map(|nth| (first ^ nth) % WAYS);
        if set[one].0 == key {
            return one;
        }
        if set[other].0 == key {
            return other;
        }
        let mut oldest = first % WAYS;
        for way in [oldest ^ 1, one, other] {
            if set[way].1.stamp() < set[oldest].1.stamp() {
                oldest = way;
            }
        }
        set[oldest] = (key, V::default());
        oldest
    }
}

impl<K: Copy, V: Copy> fmt::Debug for Assoc<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assoc")
            .field("sets", &self.sets.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    struct At(u64);

    impl Stamped for At {
        fn stamp(&self) -> u64 {
            self.0
        }
    }

    #[test]
    fn as_long_as_there_is_room_a_key_is_where_it_is_brought_nearer() {
        let mut map = Assoc::<u128, At>::new(1 << 12, 7);
        // Of addresses that are masked the lower half is 0, of others of one link the upper half is the same.
        let keys = || (1..200_u128).flat_map(|n| [n, n << 64]);
        for key in keys() {
            map.entry(key).0 = 5;
        }
        let near = |key: &u128| {
            let (set, first) = map.place(key);
            let line = &map.sets.at(set)[first..first + WAYS / 2];
            line.iter().any(|(known, _)| known == key)
        };
        assert!(keys().filter(near).count() > 380);
        assert!(keys().all(|key| map.entry(key).0 == 5), "none was replaced");
    }
}
