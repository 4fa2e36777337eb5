//! The table's memory: buckets of two cache lines.

use std::hash::BuildHasher;

use dpdk::prefetch::prefetch_read;
use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;

use super::Clock;
use super::spill::NO_RECORD;
use crate::aft::SigKey;
use crate::id::Slot;

/// Entries of a bucket.
pub(super) const WAYS: usize = 4;
/// Holders that an entry names itself.
pub(super) const INLINE_HOLDERS: usize = 3;

/// One instance that holds an entry's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Holder {
    /// The slot, or [`Self::VACANT`].
    pub(super) slot: u16,
    /// When it was entered, in seconds modulo 2¹⁶.
    pub(super) stamp: u16,
    /// Twice the slot's cache generation then, plus one if provisional.
    tag: u16,
}

impl Holder {
    /// The slot number of no instance.
    pub(super) const VACANT: u16 = u16::MAX;
    /// Nobody.
    pub(super) const NONE: Self = Self {
        slot: Self::VACANT,
        stamp: 0,
        tag: 0,
    };

    pub(super) const fn new(slot: Slot, stamp: u16, generation: u16, provisional: bool) -> Self {
        Self {
            slot: slot.0,
            stamp,
            tag: generation << 1 | provisional as u16,
        }
    }

    pub(super) const fn is_none(&self) -> bool {
        self.slot == Self::VACANT
    }

    pub(super) const fn provisional(&self) -> bool {
        self.tag & 1 == 1
    }

    /// Whether it is somebody whose cache was not cleared since, and not too old.
    #[inline]
    pub(super) fn counts(&self, clock: Clock, generations: &[u16]) -> bool {
        // A vacant slot has no generation.
        generations
            .get(usize::from(self.slot))
            .is_some_and(|generation| self.tag >> 1 == *generation)
            && clock.fresh(self.stamp, self.provisional())
    }

    /// This holder, which counts, after `news` of the same: the newer date, confirmed if either is.
    pub(super) fn renewed(self, news: Self, clock: Clock) -> Self {
        let newer = if clock.age(self.stamp) < clock.age(news.stamp) {
            self.stamp
        } else {
            news.stamp
        };
        let provisional = self.provisional() && news.provisional();
        Self {
            stamp: newer,
            tag: news.tag & !1 | u16::from(provisional),
            ..news
        }
    }
}

/// One prefix and who holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: KeyBits,
    /// The pool's record that has the holders instead, or [`NO_RECORD`].
    pub(super) record: u16,
    pub(super) holders: [Holder; INLINE_HOLDERS],
}

impl Entry {
    /// No prefix: an entry without holders.
    pub(super) const VACANT: Self = Self::vacant(KeyBits::NONE);

    pub(super) const fn vacant(key: KeyBits) -> Self {
        Self {
            key,
            record: NO_RECORD,
            holders: [Holder::NONE; INLINE_HOLDERS],
        }
    }

    #[inline]
    pub(super) fn is_vacant(&self) -> bool {
        self.record == NO_RECORD && self.holders.iter().all(Holder::is_none)
    }
}

/// Entries whose keys hash alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(128))]
pub(super) struct Bucket {
    pub(super) entries: [Entry; WAYS],
}

const _: () = assert!(
    size_of::<Bucket>() == 128,
    "a bucket is two cache lines, which the processor fetches as a pair"
);

impl Bucket {
    pub(super) const EMPTY: Self = Self {
        entries: [Entry::VACANT; WAYS],
    };

    #[inline]
    pub(super) fn prefetch(&self) {
        let [first, .., last] = &self.entries;
        prefetch_read(first);
        prefetch_read(last);
    }

    #[inline(always)]
    pub(super) fn way_of(&self, key: KeyBits) -> Option<usize> {
        let each = self.entries.iter().enumerate();
        let same = |same, (way, entry): (usize, &Entry)| same | u32::from(entry.key.is(key)) << way;
        let mut same = each.fold(0, same);
        while same != 0 {
            let way = same.trailing_zeros() as usize % WAYS;
            if !self.entries[way].is_vacant() {
                return Some(way);
            }
            same &= same - 1;
        }
        None
    }

    #[inline(always)]
    pub(super) fn find(&self, key: KeyBits) -> Option<&Entry> {
        self.way_of(key).map(|way| &self.entries[way])
    }

    pub(super) fn holders_mut(&mut self) -> impl Iterator<Item = &mut Holder> {
        self.entries.iter_mut().flat_map(|entry| &mut entry.holders)
    }
}

/// A key as tables keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, packed(2))]
pub(super) struct KeyBits {
    /// Domain, depth and signature.
    within: u64,
    catalogue: u16,
}

impl KeyBits {
    /// Of no prefix.
    pub(super) const NONE: Self = Self {
        within: 0,
        catalogue: 0,
    };

    #[inline]
    const fn new(key: SigKey) -> Self {
        let signature = u32::from_be_bytes(key.signature.0) as u64;
        Self {
            within: (key.domain.0 as u64) << 48 | (key.depth as u64) << 32 | signature,
            catalogue: key.catalogue.0,
        }
    }

    /// Whether it is `other`. Without a branch: which of a bucket's keys are the same is hard to predict.
    #[inline(always)]
    pub(super) const fn is(self, other: Self) -> bool {
        (self.within ^ other.within) | (self.catalogue ^ other.catalogue) as u64 == 0
    }
}

/// A key with its hash, which is the same for every table of the process.
#[derive(Debug, Clone, Copy)]
pub struct Hashed {
    pub(super) key: KeyBits,
    pub(super) hash: u64,
}

/// The hash of a key, keyed anew in each process and the same for every table in it: both copies of an AFT put a
/// signature in the same place, and no sender can tell which signatures share a bucket.
#[derive(Debug, Clone)]
pub(super) struct KeyHash(SeedableRandomState);

impl KeyHash {
    pub(super) fn new() -> Self {
        Self(SeedableRandomState::with_seed(
            0,
            SharedSeed::global_random(),
        ))
    }

    #[inline]
    pub(super) fn hashed(&self, key: SigKey) -> Hashed {
        let key = KeyBits::new(key);
        let bits = u128::from(key.catalogue) << 64 | u128::from(key.within);
        Hashed {
            key,
            hash: self.0.hash_one(bits),
        }
    }
}

impl PartialEq for KeyHash {
    /// Within a process there is only one.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for KeyHash {}
