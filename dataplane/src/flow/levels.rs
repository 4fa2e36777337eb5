//! Indexes of several sizes, of which one is in use: few flows in an index for many would lie in a cache line each, and in a page
//! each, and wait for both.
//!
//! Flows are entered in the current index. When they become too many for it, or few enough for a smaller one, another
//! becomes the current one, and they move a bucket at a time: a bucket with each flow that is entered, so that all have moved before
//! the next change, and some in between. Until then who is not found in the current index is looked for in the one that is left.
//! All memory is taken at the start: a third more than the largest takes.

use super::index::{Guesses, Index, MAX_BUCKET_BITS, MEAN_FILL, Place, buckets_for};

/// One index has four times the buckets of the next smaller one.
const STEP_BITS: u32 = 2;
/// None has fewer buckets than this: 64 KiB, a part of the L2 cache.
const SMALLEST: u32 = 1 << 10;

pub(super) struct Levels {
    current: Index,
    at: usize,
    /// All of them, the smallest first; in the current one's place is one that nobody uses.
    rest: Vec<Index>,
    leaving: Option<Leaving>,
}

/// The index that flows move out of.
#[derive(Debug, Clone, Copy)]
struct Leaving {
    level: usize,
    /// The bucket that is emptied next.
    bucket: u32,
}

/// A bucket as a flow's way back names it: with the level that it is of.
const fn named(level: usize, bucket: u32) -> u32 {
    (level as u32) << MAX_BUCKET_BITS | bucket
}

impl Levels {
    /// For up to `entries` entries.
    pub(super) fn new(entries: u32) -> Self {
        Self::from(entries, SMALLEST)
    }

    /// The same with no index of fewer than `smallest` buckets, but where a smaller one is enough for all.
    fn from(entries: u32, smallest: u32) -> Self {
        let largest = buckets_for(entries);
        let mut sizes = vec![largest];
        while let Some(last) = sizes.last()
            && last >> STEP_BITS >= smallest
        {
            sizes.push(last >> STEP_BITS);
        }
        let mut rest: Vec<_> = sizes.into_iter().rev().map(Index::new).collect();
        let current = std::mem::replace(&mut rest[0], Index::new(1));
        Self {
            current,
            at: 0,
            rest,
            leaving: None,
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let rest: usize = self.rest.iter().map(Index::memory_bytes).sum();
        self.current.memory_bytes() + rest
    }

    /// [`Index::guesses`]: nothing is guessed where the entry has not moved yet, so that having none is certain only while all are
    /// settled.
    #[inline(always)]
    pub(super) fn guesses(&self) -> Guesses<'_> {
        self.current.guesses()
    }

    /// [`Index::find`].
    #[inline(always)]
    pub(super) fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        match (self.current.find(hash, &mut is), self.leaving) {
            (None, Some(leaving)) => self.rest[leaving.level].find(hash, is),
            (found, _) => found,
        }
    }

    /// [`Index::make_room`].
    pub(super) fn make_room(&mut self, hash: u64, moved: impl FnOnce(u32, u32)) -> Option<Place> {
        let at = self.at;
        let room = self
            .current
            .make_room(hash, |entry, bucket| moved(entry, named(at, bucket)));
        room.map(|place| place.known_as(|bucket| named(at, bucket)))
    }

    /// [`Index::residents`].
    pub(super) fn residents(&self, hash: u64) -> impl Iterator<Item = u32> {
        self.current.residents(hash)
    }

    /// [`Index::occupy`].
    pub(super) fn occupy(&mut self, place: Place, hash: u64, entry: u32) {
        let place = place.known_as(|bucket| bucket & ((1 << MAX_BUCKET_BITS) - 1));
        self.current.occupy(place, hash, entry);
    }

    /// Takes `entry` out of the bucket of this name, where it is.
    pub(super) fn remove(&mut self, name: u32, entry: u32) {
        let level = (name >> MAX_BUCKET_BITS) as usize;
        let bucket = name & ((1 << MAX_BUCKET_BITS) - 1);
        if level == self.at {
            self.current.remove(bucket, entry);
        } else {
            self.rest[level].remove(bucket, entry);
        }
    }

    /// Whether all entries are in the current index.
    #[inline]
    pub(super) const fn is_settled(&self) -> bool {
        self.leaving.is_none()
    }

    /// Changes to a larger index if `entries` are too many for the current one.
    #[inline]
    pub(super) fn grow(&mut self, entries: u32) {
        let larger = self.at + 1;
        if entries > self.current.buckets() * MEAN_FILL && larger < self.rest.len() {
            // What is left already is the larger one, or nothing: all have moved before there are four times as many.
            let free = self.leaving.is_none_or(|leaving| leaving.level == larger);
            debug_assert!(free, "flows come faster than they move");
            if free {
                self.change_to(larger);
            }
        }
    }

    /// Changes to a smaller index if it would not be half full.
    pub(super) fn shrink(&mut self, entries: u32) {
        if self.is_settled()
            && let Some(smaller) = self.at.checked_sub(1)
            && entries < self.rest[smaller].buckets() * MEAN_FILL / 2
        {
            self.change_to(smaller);
        }
    }

    fn change_to(&mut self, level: usize) {
        std::mem::swap(&mut self.current, &mut self.rest[self.at]);
        std::mem::swap(&mut self.current, &mut self.rest[level]);
        self.leaving = Some(Leaving {
            level: self.at,
            bucket: 0,
        });
        self.at = level;
    }

    /// Moves what is in the next `buckets` buckets of the index that is left. `hash_of` says an entry's hash; `moved` hears of each
    /// that is elsewhere now, and of its bucket's name.
    #[inline(never)]
    pub(super) fn step(
        &mut self,
        buckets: u32,
        hash_of: impl Fn(u32) -> u64,
        mut moved: impl FnMut(u32, u32),
    ) {
        for _ in 0..buckets {
            let Some(leaving) = &mut self.leaving else {
                return;
            };
            let (from, at) = (&mut self.rest[leaving.level], self.at);
            while let Some(entry) = from.first_in(leaving.bucket) {
                let hash = hash_of(entry);
                let gave_way = |entry, bucket| moved(entry, named(at, bucket));
                let Some(place) = self.current.make_room(hash, gave_way) else {
                    // As good as never. It stays where it is found, for the next round.
                    break;
                };
                from.remove(leaving.bucket, entry);
                self.current.occupy(place, hash, entry);
                moved(entry, named(at, place.bucket));
            }
            leaving.bucket += 1;
            if leaving.bucket >= from.buckets() {
                leaving.bucket = 0;
                if from.is_empty() {
                    self.leaving = None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// Hashes that share buckets and tags.
    fn hash(entry: u32, spread: u64) -> u64 {
        let mixed = u64::from(entry).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ mixed >> 29 ^ (u64::from(entry) % spread) << 49
    }

    struct World {
        levels: Levels,
        /// By entry, its bucket's name.
        names: HashMap<u32, u32>,
        spread: u64,
    }

    impl World {
        fn insert(&mut self, entry: u32) {
            let hash_of = |entry| hash(entry, self.spread);
            let names = &mut self.names;
            let moved = |entry, name| {
                names.insert(entry, name);
            };
            let Some(place) = self.levels.make_room(hash_of(entry), moved) else {
                return;
            };
            self.names.insert(entry, place.bucket);
            self.levels.occupy(place, hash_of(entry), entry);
            self.levels.grow(self.names.len() as u32);
            self.step(1);
        }

        fn step(&mut self, buckets: u32) {
            let (names, spread) = (&mut self.names, self.spread);
            let moved = |entry, name| {
                names.insert(entry, name);
            };
            self.levels
                .step(buckets, |entry| hash(entry, spread), moved);
        }

        fn remove(&mut self, entry: u32) {
            if let Some(name) = self.names.remove(&entry) {
                self.levels.remove(name, entry);
            }
        }

        fn check(&self) {
            for entry in self.names.keys() {
                let found = self
                    .levels
                    .find(hash(*entry, self.spread), |found| found == *entry);
                assert_eq!(found, Some(*entry));
            }
            let count =
                |index: &Index| -> usize { (0..index.buckets()).map(|b| index.count_in(b)).sum() };
            let all =
                count(&self.levels.current) + self.levels.rest.iter().map(count).sum::<usize>();
            assert_eq!(all, self.names.len(), "each is in one place");
            if self.levels.is_settled() {
                assert_eq!(count(&self.levels.current), all);
            }
        }
    }

    proptest! {
        #[test]
        fn each_is_found_wherever_it_is(
            spread in prop_oneof![Just(3_u64), Just(1 << 16)],
            ops in prop::collection::vec((0..8_u8, 0..400_u32), 1..1_500),
        ) {
            // 80, 20 and 5 buckets' worth of entries.
            let mut world = World { levels: Levels::from(400, 4), names: HashMap::new(), spread };
            prop_assert!(world.levels.rest.len() >= 3);
            for (at, (op, entry)) in ops.into_iter().enumerate() {
                match op {
                    0..=3 if !world.names.contains_key(&entry) => world.insert(entry),
                    0..=4 => world.remove(entry),
                    5 => world.step(1 + entry % 4),
                    6 => world.levels.shrink(world.names.len() as u32),
                    _ => {
                        // Many go at once.
                        for entry in entry..entry + 60 {
                            world.remove(entry);
                        }
                    }
                }
                if at % 16 == 0 {
                    world.check();
                }
            }
            world.check();
            world.step(1_000);
            prop_assert!(world.levels.is_settled());
            world.check();
        }
    }

    #[test]
    fn few_lie_in_the_smallest_and_many_in_the_largest() {
        let mut world = World {
            levels: Levels::new(1 << 20),
            names: HashMap::new(),
            spread: 1 << 16,
        };
        let buckets = |world: &World| world.levels.current.buckets();
        assert_eq!(buckets(&world), SMALLEST);
        let fits = SMALLEST * MEAN_FILL;
        (0..fits).for_each(|entry| world.insert(entry));
        assert_eq!(buckets(&world), SMALLEST);
        (fits..40 * fits).for_each(|entry| world.insert(entry));
        assert_eq!(buckets(&world), SMALLEST << (3 * STEP_BITS));
        for entry in 100..40 * fits {
            world.remove(entry);
        }
        for _ in 0..4 {
            world.levels.shrink(world.names.len() as u32);
            world.step(1 << 20);
        }
        assert_eq!(buckets(&world), SMALLEST);
        world.check();
    }

    #[test]
    fn a_small_table_has_one() {
        for entries in [1, 7, 5_120] {
            let levels = Levels::new(entries);
            assert_eq!(levels.rest.len(), 1);
            assert_eq!(levels.current.buckets(), buckets_for(entries));
        }
    }
}
