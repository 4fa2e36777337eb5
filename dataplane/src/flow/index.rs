//! From a flow's hash to its place in the slab.
//!
//! Buckets of one cache line hold ten tags of 15 bits and the numbers of ten entries. A hash names a first bucket and,
//! through its tag, a second (partial-key cuckoo hashing: Fan et al., MemC3, NSDI 2013), each reachable from the
//! other without the key. An entry goes to its first bucket while there is room, so that a hit costs one line;
//! to the second otherwise; and where both are full one resident is moved to *its* other bucket if that has room. At
//! the load this index is built for (at most a half) about one entry in thirty, or fewer, is not in its first bucket, and
//! both ways failing is not seen at all with a keyed hash.
//!
//! A bucket counts the entries that had to go past it. While that is 0, a miss costs one line as well.

use dpdk::prefetch::prefetch_read;
use dpdk::vector::{equal, first_equal};
use dpdk::{HashedSlice, HashedView};

/// Entries of a bucket, and a bit for each.
const WAYS: usize = 10;
const ALL_WAYS: u32 = (1 << WAYS) - 1;
/// Where a bucket has a bit *i* for each entry *i* that is there because its first bucket was full.
const AWAY: usize = WAYS;
/// Where it counts entries in other buckets whose first bucket it is. Once at the maximum it stays there, which costs needless
/// probes and nothing else.
const PASSED: usize = WAYS + 1;

/// Entries of a bucket when the slab is full, at most.
pub(super) const MEAN_FILL: u32 = 5;

/// Hash bits that choose the first bucket; the tag is taken from the 15 highest.
pub(super) const MAX_BUCKET_BITS: u32 = 24;

/// The largest slab that one index serves.
pub(super) const MAX_ENTRIES: u32 = MEAN_FILL << MAX_BUCKET_BITS;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Bucket {
    /// Highest 15 bits of each entry's hash and a 1 (0: nothing there), and behind them what is at [`AWAY`] and [`PASSED`].
    head: [u16; WAYS + 2],
    entries: [u32; WAYS],
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl Bucket {
    const EMPTY: Self = Self {
        head: [0; WAYS + 2],
        entries: [0; WAYS],
    };

    /// Bit *i* is set where tag *i* is `tag`.
    #[inline(always)]
    fn matches(&self, tag: u16) -> u32 {
        equal(&self.head, tag) & ALL_WAYS
    }

    /// The first entry under `tag` that is the one meant.
    #[inline(always)]
    fn find(&self, tag: u16, is: &mut impl FnMut(u32) -> bool) -> Option<u32> {
        ways(self.matches(tag))
            .map(|way| self.entries[way])
            .find(|entry| is(*entry))
    }

    /// Bit *i* is set where there is an entry *i*.
    fn used(&self) -> u32 {
        !self.matches(0) & ALL_WAYS
    }

    fn free_way(&self) -> Option<usize> {
        ways(self.matches(0)).next()
    }
}

/// The positions of the bits set in `mask`, lowest first.
#[inline]
fn ways(mut mask: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let way = mask.trailing_zeros() as usize;
        mask &= mask.wrapping_sub(1);
        (way < WAYS).then_some(way)
    })
}

/// A free place, valid until the index changes other than by a removal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// The bucket, which a removal will ask for.
    pub(super) bucket: u32,
    way: usize,
    away: bool,
}

impl Place {
    /// The same place with another name for its bucket.
    pub(super) fn known_as(self, name: impl FnOnce(u32) -> u32) -> Self {
        Self {
            bucket: name(self.bucket),
            ..self
        }
    }
}

/// Buckets of an index for up to `entries` (at most [`MAX_ENTRIES`]) entries.
pub(super) fn buckets_for(entries: u32) -> u32 {
    let least = entries.min(MAX_ENTRIES).div_ceil(MEAN_FILL);
    least.max(1).next_power_of_two()
}

pub(super) struct Index {
    buckets: HashedSlice<Bucket>,
    len: u32,
}

/// Never 0, at the price of a bit.
#[inline(always)]
fn tag_of(hash: u64) -> u16 {
    (hash >> 48) as u16 | 1
}

/// Bits of a hash below those that name the first bucket: as many as a bucket's size has zeros, so that the others are its offset
/// in bytes where they are.
const WITHIN: u32 = size_of::<Bucket>().ilog2();

const _: () = assert!(
    WITHIN + MAX_BUCKET_BITS <= 48,
    "tag and bucket share no bits"
);

/// An [`Index`] for who guesses many entries.
#[derive(Clone, Copy)]
pub(super) struct Guesses<'a>(HashedView<'a, Bucket>);

impl Guesses<'_> {
    /// The first bucket of `hash`, as [`Index::first_bucket`] names it.
    #[inline(always)]
    fn first(&self, hash: u64) -> &Bucket {
        self.0.at_offset(hash as usize)
    }

    /// Starts loading the first bucket of `hash`.
    #[inline(always)]
    pub(super) fn prefetch(self, hash: u64) {
        prefetch_read(self.first(hash));
    }

    /// The entry that most likely belongs to `hash`, by its tag in the first bucket.
    #[inline(always)]
    pub(super) fn guess(self, hash: u64) -> Option<u32> {
        let bucket = self.first(hash);
        let way = first_equal(&bucket.head, tag_of(hash));
        bucket.entries.get(way).copied()
    }

    /// Whether there is nothing under `hash`, where [`Self::guess`] found nothing.
    #[inline(always)]
    pub(super) fn has_none(self, hash: u64) -> bool {
        self.first(hash).head[PASSED] == 0
    }
}

impl Index {
    /// An index of so many buckets, a power of two.
    pub(super) fn new(buckets: u32) -> Self {
        Self {
            buckets: HashedSlice::filled(buckets as usize, Bucket::EMPTY),
            len: 0,
        }
    }

    pub(super) fn buckets(&self) -> u32 {
        self.mask() + 1
    }

    #[inline(always)]
    fn mask(&self) -> u32 {
        self.buckets.mask() as u32
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// An entry in `bucket`, if there is one.
    pub(super) fn first_in(&self, bucket: u32) -> Option<u32> {
        let here = self.at(bucket);
        let way = ways(here.used()).next()?;
        Some(here.entries[way])
    }

    #[cfg(test)]
    pub(super) fn count_in(&self, bucket: u32) -> usize {
        ways(self.at(bucket).used()).count()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.buckets)
    }

    #[inline]
    fn first_bucket(&self, hash: u64) -> u32 {
        (hash >> WITHIN) as u32 & self.mask()
    }

    /// The other bucket of an entry with `tag` that is in `bucket`; an involution. The same one only in an index of
    /// one bucket.
    #[inline]
    fn other_bucket(&self, bucket: u32, tag: u16) -> u32 {
        // Odd, so never 0; multiplied, so that neighbouring tags spread over an index of more than 2^16 buckets.
        let distance = (u32::from(tag).wrapping_mul(0x9e37_79b1) >> 8) | 1;
        (bucket ^ distance) & self.mask()
    }

    #[inline(always)]
    fn at(&self, bucket: u32) -> &Bucket {
        self.buckets.at(bucket as usize)
    }

    #[inline]
    fn at_mut(&mut self, bucket: u32) -> &mut Bucket {
        self.buckets.at_mut(bucket as usize)
    }

    /// To guess a burst's entries by.
    #[inline(always)]
    pub(super) fn guesses(&self) -> Guesses<'_> {
        Guesses(self.buckets.view())
    }

    /// The entry under `hash` for which `is` holds.
    #[inline]
    pub(super) fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = tag_of(hash);
        let first = self.first_bucket(hash);
        let bucket = self.at(first);
        match bucket.find(tag, &mut is) {
            None if bucket.head[PASSED] != 0 => {
                self.at(self.other_bucket(first, tag)).find(tag, &mut is)
            }
            found => found,
        }
    }

    /// A free place for an entry under `hash`. `moved` hears of a resident that gives way, and of its new bucket.
    ///
    /// `None` when both buckets are full and none of their residents can move.
    pub(super) fn make_room(&mut self, hash: u64, moved: impl FnOnce(u32, u32)) -> Option<Place> {
        let first = self.first_bucket(hash);
        let second = self.other_bucket(first, tag_of(hash));
        for bucket in [first, second] {
            if let Some(way) = self.at(bucket).free_way() {
                return Some(Place {
                    bucket,
                    way,
                    away: bucket != first,
                });
            }
        }
        for bucket in [first, second] {
            for way in 0..WAYS {
                let to = self.other_bucket(bucket, self.at(bucket).head[way]);
                if let Some(free) = self.at(to).free_way() {
                    let (tag, entry, away) = self.take(bucket, way);
                    // Away from its first bucket here, it is at home there, and the other way round.
                    let place = Place {
                        bucket: to,
                        way: free,
                        away: !away,
                    };
                    self.put(place, tag, entry);
                    moved(entry, to);
                    return Some(Place {
                        bucket,
                        way,
                        away: bucket != first,
                    });
                }
            }
        }
        None
    }

    /// Every entry in the two buckets of `hash`.
    pub(super) fn residents(&self, hash: u64) -> impl Iterator<Item = u32> {
        let first = self.first_bucket(hash);
        let second = self.other_bucket(first, tag_of(hash));
        let of = |bucket: u32| {
            let bucket = self.at(bucket);
            ways(bucket.used()).map(|way| bucket.entries[way])
        };
        // In an index of one bucket both are the same, and naming an entry twice does no harm.
        of(first).chain(of(second))
    }

    /// Enters `entry` under `hash` in the place made for that hash.
    pub(super) fn occupy(&mut self, place: Place, hash: u64, entry: u32) {
        self.put(place, tag_of(hash), entry);
    }

    /// Takes `entry` out of `bucket`, where it is.
    pub(super) fn remove(&mut self, bucket: u32, entry: u32) {
        let here = self.at(bucket);
        let Some(way) = ways(here.used()).find(|&way| here.entries[way] == entry) else {
            debug_assert!(false, "entry {entry} is not in bucket {bucket}");
            return;
        };
        self.take(bucket, way);
    }

    fn put(&mut self, place: Place, tag: u16, entry: u32) {
        self.len += 1;
        let bucket = self.at_mut(place.bucket);
        bucket.head[place.way] = tag;
        bucket.entries[place.way] = entry;
        if place.away {
            bucket.head[AWAY] |= 1 << place.way;
            let first = self.other_bucket(place.bucket, tag);
            let first = self.at_mut(first);
            first.head[PASSED] = first.head[PASSED].saturating_add(1);
        }
    }

    /// Frees a place. Returns its tag, its entry, and whether that was away from its first bucket.
    fn take(&mut self, bucket: u32, way: usize) -> (u16, u32, bool) {
        self.len -= 1;
        let here = self.at_mut(bucket);
        let tag = std::mem::replace(&mut here.head[way], 0);
        let entry = here.entries[way];
        let away = here.head[AWAY] & 1 << way != 0;
        here.head[AWAY] &= !(1 << way);
        if away {
            let first = self.other_bucket(bucket, tag);
            let first = self.at_mut(first);
            if first.head[PASSED] != u16::MAX {
                first.head[PASSED] -= 1;
            }
        }
        (tag, entry, away)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// Counts afresh what `passed` and `away` say.
    fn assert_consistent(index: &Index, homes: &HashMap<u32, (u64, u32)>) {
        let mut passed = vec![0; index.buckets.len()];
        for (&entry, &(hash, bucket)) in homes {
            let first = index.first_bucket(hash);
            let way = (0..WAYS)
                .find(|&way| {
                    let at = index.at(bucket);
                    at.head[way] == tag_of(hash) && at.entries[way] == entry
                })
                .expect("where the owner was told");
            assert_eq!(index.at(bucket).head[AWAY] >> way & 1 != 0, bucket != first);
            passed[first as usize] += u16::from(bucket != first);
            assert_eq!(index.find(hash, |found| found == entry), Some(entry));
            assert!(index.residents(hash).any(|resident| resident == entry));
        }
        for (bucket, passed) in index.buckets.iter().zip(passed) {
            assert_eq!(bucket.head[PASSED], passed);
        }
        let used: u32 = index
            .buckets
            .iter()
            .map(|b| WAYS as u32 - b.matches(0).count_ones())
            .sum();
        assert_eq!(used as usize, homes.len());
    }

    /// A hash with the tag of this number, which no other has, and this first bucket.
    fn hash_of(tag: u16, first: u64) -> u64 {
        u64::from(tag) << 49 | first << WITHIN
    }

    proptest! {
        #[test]
        fn keeps_its_books(
            entries in prop_oneof![Just(1_u32), Just(7), Just(40)],
            ops in proptest::collection::vec((any::<bool>(), 0..8_u64, any::<u16>(), 0..60_u32), 1..400),
        ) {
            let mut index = Index::new(buckets_for(entries));
            let mut homes: HashMap<u32, (u64, u32)> = HashMap::new();
            for (insert, low, high, entry) in ops {
                if let Some((_, bucket)) = homes.remove(&entry) {
                    index.remove(bucket, entry);
                } else if insert {
                    let hash = hash_of(high % 9, low);
                    let place = index.make_room(hash, |moved, bucket| {
                        homes.get_mut(&moved).expect("a resident").1 = bucket;
                    });
                    if let Some(place) = place {
                        index.occupy(place, hash, entry);
                        homes.insert(entry, (hash, place.bucket));
                    }
                }
                assert_consistent(&index, &homes);
            }
        }
    }

    #[test]
    fn a_resident_gives_way_when_both_buckets_are_full() {
        let mut index = Index::new(1 << 6);
        let mut homes = HashMap::new();
        let mut moves = Vec::new();
        let mut insert = |entry: u32, hash: u64| {
            let place = index.make_room(hash, |moved, bucket| moves.push((moved, bucket)));
            let place = place.expect("room");
            index.occupy(place, hash, entry);
            homes.insert(entry, (hash, place.bucket));
            place.bucket
        };
        // Ten flows at home in bucket 0, ten in the second bucket of the next flow to come.
        let late = hash_of(0, 0);
        for entry in 1..11_u16 {
            assert_eq!(insert(entry.into(), hash_of(entry, 0)), 0);
        }
        let second = Index::new(1 << 6).other_bucket(0, tag_of(late));
        for entry in 11..21_u16 {
            assert_eq!(insert(entry.into(), hash_of(entry, second.into())), second);
        }
        assert_eq!(insert(0, late), 0, "in its first bucket after all");
        assert_eq!(moves.len(), 1);
        let (moved, bucket) = moves[0];
        homes.get_mut(&moved).expect("a resident").1 = bucket;
        assert_consistent(&index, &homes);
        homes.remove(&moved);
        index.remove(bucket, moved);
        assert_consistent(&index, &homes);
    }

    #[test]
    fn buckets_come_in_pairs() {
        let index = Index::new(buckets_for(1 << 20));
        for tag in (1..=u16::MAX).step_by(2) {
            let other = index.other_bucket(77, tag);
            assert_ne!(other, 77);
            assert_eq!(index.other_bucket(other, tag), 77);
        }
        assert_eq!(Index::new(1).other_bucket(0, 5), 0);
    }

    #[test]
    fn nearly_all_entries_are_at_home_when_full() {
        // The fullest case: 5 entries a bucket on average.
        let entries = MEAN_FILL << 14;
        let mut index = Index::new(buckets_for(entries));
        let mut state = 1_u64;
        for entry in 0..entries {
            // SplitMix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut hash = state;
            hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            hash ^= hash >> 31;
            let place = index.make_room(hash, |_, _| {}).expect("room");
            index.occupy(place, hash, entry);
        }
        let away: u32 = index
            .buckets
            .iter()
            .map(|b| b.head[AWAY].count_ones())
            .sum();
        assert!(away * 100 < entries, "{away} of {entries} away");
    }
}
