//! What a worker has said about residency that its generation of the AFT does not include yet.

use dpdk::prefetch::prefetch_read;

use super::bucket::{Hashed, KeyBits, KeyHash};
use crate::aft::SigKey;
use crate::id::Slot;
use crate::memory::room;

/// Most answers of one look-up: the entries of a bucket.
pub const OVERLAY_HITS: usize = 5;

/// What was said of an instance and a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It holds it.
    Stored,
    /// It no longer does.
    Evicted,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Ring position of the message that said so; positions count from 1, 0 is a free entry.
    position: u64,
    key: KeyBits,
    slot: Slot,
    said: Said,
}

const FREE: Entry = Entry {
    position: 0,
    key: KeyBits::NONE,
    slot: Slot(0),
    said: Said::Evicted,
};

#[derive(Debug, Clone, Copy)]
#[repr(C, align(128))]
struct Bucket([Entry; OVERLAY_HITS]);

const _: () = assert!(size_of::<Bucket>() == 128, "a bucket is two cache lines");

/// A worker's own residency table, of fixed size.
///
/// An entry counts until the worker's generation includes the message in which the control core was told the same:
/// the n-th message of the worker's ring has position n, and a generation that has consumed n messages includes it. What was
/// said but could not be put on the full ring is entered under the position of the next message, and so ages with it.
/// A full bucket gives up what was said first.
#[derive(Debug, Clone)]
pub struct Overlay {
    hash: KeyHash,
    buckets: Vec<Bucket>,
}

impl Overlay {
    /// A table of at least `entries` entries.
    #[must_use]
    pub fn new(entries: usize) -> Self {
        let buckets = entries.div_ceil(OVERLAY_HITS).max(1).next_power_of_two();
        Self {
            hash: KeyHash::new(),
            buckets: vec![Bucket([FREE; OVERLAY_HITS]); buckets],
        }
    }

    /// Memory held, in bytes; the same from [`Self::new`] on.
    #[must_use]
    pub(crate) fn memory_bytes(&self) -> usize {
        room(&self.buckets)
    }

    /// Brings the bucket of `key` nearer.
    #[inline]
    pub fn prefetch(&self, key: Hashed) {
        let Bucket([first, .., last]) = &self.buckets[self.place(key.hash)];
        prefetch_read(first);
        prefetch_read(last);
    }

    /// The key as this table and every other look for it.
    #[inline]
    #[must_use]
    pub fn hashed(&self, key: SigKey) -> Hashed {
        self.hash.hashed(key)
    }

    /// Remembers what the message at ring `position` says. The newest word on a prefix and instance counts.
    #[inline]
    pub fn insert(&mut self, key: SigKey, slot: Slot, said: Said, position: u64) {
        let Hashed { key, hash } = self.hashed(key);
        let bucket = self.place(hash);
        let entries = &mut self.buckets[bucket].0;
        let same = ways(entries, |entry| entry.key.is(key) & (entry.slot == slot));
        let place = if same == 0 {
            let mut oldest = 0;
            for way in 1..OVERLAY_HITS {
                if entries[way].position < entries[oldest].position {
                    oldest = way;
                }
            }
            oldest
        } else {
            same.trailing_zeros() as usize % OVERLAY_HITS
        };
        entries[place] = Entry {
            position,
            key,
            slot,
            said,
        };
    }

    /// What was said of `key` in messages after the first `consumed`.
    #[inline]
    #[must_use]
    pub fn lookup(&self, key: SigKey, consumed: u64) -> OverlayHits {
        let mut hits = OverlayHits {
            hits: [(Slot(0), Said::Evicted); OVERLAY_HITS],
            len: 0,
        };
        for (slot, said) in self.hits(self.hashed(key), consumed) {
            hits.hits[hits.len] = (slot, said);
            hits.len += 1;
        }
        hits
    }

    /// The same, one by one.
    #[inline]
    pub fn hits(&self, key: Hashed, consumed: u64) -> impl Iterator<Item = (Slot, Said)> + '_ {
        let entries = &self.buckets[self.place(key.hash)].0;
        let mut left = ways(entries, |entry| {
            (entry.position > consumed) & entry.key.is(key.key)
        });
        std::iter::from_fn(move || {
            let way = (left != 0).then(|| left.trailing_zeros() as usize % OVERLAY_HITS)?;
            left &= left - 1;
            Some((entries[way].slot, entries[way].said))
        })
    }

    /// Entries that the table has room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.buckets.len() * OVERLAY_HITS
    }

    #[inline]
    fn place(&self, hash: u64) -> usize {
        hash as usize & (self.buckets.len() - 1)
    }
}

/// The ways of a bucket that are as wanted, a bit each. Without a branch for each: they are hard to predict.
#[inline(always)]
fn ways(entries: &[Entry; OVERLAY_HITS], wanted: impl Fn(&Entry) -> bool) -> u32 {
    let each = entries.iter().enumerate();
    each.fold(0, |ways, (way, entry)| {
        ways | u32::from(wanted(entry)) << way
    })
}

/// The answer of [`Overlay::lookup`]: each instance at most once.
#[derive(Debug, Clone, Copy)]
pub struct OverlayHits {
    hits: [(Slot, Said); OVERLAY_HITS],
    len: usize,
}

impl OverlayHits {
    /// The answer as a slice.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[(Slot, Said)] {
        &self.hits[..self.len]
    }

    /// Of which of the 64 slots from 64·`word` on this was said, a bit each.
    #[inline]
    #[must_use]
    pub fn word(&self, word: usize, said: Said) -> u64 {
        let hits = self.as_slice().iter();
        hits.filter(|hit| hit.1 == said && hit.0.index() / 64 == word)
            .fold(0, |bits, hit| bits | 1 << (hit.0.0 % 64))
    }

    /// What was said of `slot`.
    #[inline]
    #[must_use]
    pub fn said(&self, slot: Slot) -> Option<Said> {
        self.as_slice()
            .iter()
            .find(|hit| hit.0 == slot)
            .map(|hit| hit.1)
    }
}
