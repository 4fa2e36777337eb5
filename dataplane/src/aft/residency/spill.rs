//! Records of the signatures that more instances hold than an entry can name.
//!
//! A record is a bit an instance, a second bit that says provisional, and a date; all records lie in three vectors.
//! Readers mostly need the bits only: as long as the record's oldest date still counts, every bit does.

use super::Clock;
use super::bucket::{Holder, WAYS};
use crate::aft::bitmap::iter_words;
use crate::id::Slot;

/// The number of no record.
pub(super) const NO_RECORD: u16 = u16::MAX;
/// Fewest records, however small the table.
const MIN_RECORDS: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    /// Bucket and way of the entry, as one number; meaningless while `used` is false.
    owner: u32,
    used: bool,
    count: u16,
    /// No confirmed holder is older, none is newer.
    oldest: u16,
    newest: u16,
    /// No provisional holder is older.
    oldest_provisional: u16,
}

const UNUSED: Head = Head {
    owner: 0,
    used: false,
    count: 0,
    oldest: 0,
    newest: 0,
    oldest_provisional: 0,
};

/// The records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pool {
    instances: usize,
    words_per_record: usize,
    heads: Vec<Head>,
    held: Vec<u64>,
    provisional: Vec<u64>,
    stamps: Vec<u16>,
    /// Records not in use, the next to be used last.
    free: Vec<u16>,
}

/// One record, for reading.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) held: &'a [u64],
    provisional: &'a [u64],
    stamps: &'a [u16],
    head: &'a Head,
}

impl Record<'_> {
    /// Whether every holder counts at this time, without a look at each.
    #[inline]
    pub(super) const fn all_fresh(&self, clock: Clock) -> bool {
        clock.fresh(self.head.oldest, false) && clock.fresh(self.head.oldest_provisional, true)
    }

    /// Whether a holder counts at this time.
    #[inline]
    pub(super) fn fresh(&self, slot: Slot, clock: Clock) -> bool {
        let provisional = bit(self.provisional, slot);
        self.stamps
            .get(slot.index())
            .is_some_and(|stamp| clock.fresh(*stamp, provisional))
    }

    /// Adds the holders that count at this time to `set`, a bit a slot, as far as that reaches.
    #[inline]
    pub(super) fn add_to(&self, set: &mut [u64], clock: Clock) {
        let all_fresh = self.all_fresh(clock);
        for (at, (word, held)) in set.iter_mut().zip(self.held).enumerate() {
            let mut held = *held;
            if !all_fresh {
                for slot in iter_words(&[held]) {
                    let slot = Slot((at * 64) as u16 + slot.0);
                    if !self.fresh(slot, clock) {
                        held &= !(1 << (slot.0 % 64));
                    }
                }
            }
            *word |= held;
        }
    }

    #[inline]
    pub(super) fn holds(&self, slot: Slot) -> bool {
        bit(self.held, slot)
    }
}

impl Pool {
    /// As many records as fit `bytes`, within reason.
    pub(super) fn new(bytes: usize, instances: usize) -> Self {
        let words_per_record = instances.div_ceil(64);
        let record_bytes = 2 * 8 * words_per_record + 2 * instances + size_of::<Head>() + 2;
        let records = (bytes / record_bytes).clamp(MIN_RECORDS, usize::from(NO_RECORD));
        Self {
            instances,
            words_per_record,
            heads: vec![UNUSED; records],
            held: vec![0; records * words_per_record],
            provisional: vec![0; records * words_per_record],
            stamps: vec![0; records * instances],
            free: (0..records as u16).rev().collect(),
        }
    }

    pub(super) fn records(&self) -> usize {
        self.heads.len()
    }

    /// An empty record for an entry.
    pub(super) fn allocate(&mut self, bucket: usize, way: usize) -> Option<u16> {
        let record = self.free.pop()?;
        let words = self.words(record);
        self.held[words.clone()].fill(0);
        self.provisional[words].fill(0);
        self.heads[usize::from(record)] = Head {
            owner: (bucket * WAYS + way) as u32,
            used: true,
            ..UNUSED
        };
        Some(record)
    }

    pub(super) fn free(&mut self, record: u16) {
        self.heads[usize::from(record)] = UNUSED;
        self.free.push(record);
    }

    pub(super) fn free_all(&mut self) {
        self.heads.fill(UNUSED);
        self.free.clear();
        self.free.extend((0..self.heads.len() as u16).rev());
    }

    /// Bucket and way of the entry that has the record.
    pub(super) fn owner(&self, record: u16) -> Option<(usize, usize)> {
        let head = self.heads.get(usize::from(record)).filter(|h| h.used)?;
        let owner = head.owner as usize;
        Some((owner / WAYS, owner % WAYS))
    }

    #[inline]
    pub(super) fn record(&self, record: u16) -> Record<'_> {
        let words = self.words(record);
        Record {
            held: &self.held[words.clone()],
            provisional: &self.provisional[words],
            stamps: &self.stamps[self.stamps_of(record)],
            head: &self.heads[usize::from(record)],
        }
    }

    pub(super) fn count(&self, record: u16) -> usize {
        usize::from(self.heads[usize::from(record)].count)
    }

    /// Age of the newest holder, or none if there is no holder.
    pub(super) fn newest_age(&self, record: u16, clock: Clock) -> Option<u16> {
        let head = &self.heads[usize::from(record)];
        (head.count > 0).then(|| clock.age(head.newest))
    }

    /// The holders: slot, date, whether provisional.
    pub(super) fn slots(&self, record: u16) -> impl Iterator<Item = (Slot, u16, bool)> {
        let record = self.record(record);
        iter_words(record.held).map(move |slot| {
            (
                slot,
                record.stamps[slot.index()],
                bit(record.provisional, slot),
            )
        })
    }

    /// Adds a holder, or renews it.
    pub(super) fn add(&mut self, record: u16, news: Holder, clock: Clock) {
        let slot = Slot(news.slot);
        if slot.index() >= self.instances {
            return;
        }
        let words = self.words(record);
        let (word, mask) = (words.start + slot.index() / 64, 1 << (slot.index() % 64));
        let stamp = &mut self.stamps[usize::from(record) * self.instances + slot.index()];
        let head = &mut self.heads[usize::from(record)];

        let mut entered = news;
        if self.held[word] & mask != 0 {
            let provisional = self.provisional[word] & mask != 0;
            if clock.fresh(*stamp, provisional) {
                entered = Holder::new(slot, *stamp, 0, provisional).renewed(news, clock);
            }
        } else {
            self.held[word] |= mask;
            if head.count == 0 {
                (head.oldest, head.newest, head.oldest_provisional) =
                    (entered.stamp, entered.stamp, entered.stamp);
            }
            head.count += 1;
        }
        *stamp = entered.stamp;
        if entered.provisional() {
            self.provisional[word] |= mask;
        } else {
            self.provisional[word] &= !mask;
        }
        head.include(entered, clock);
    }

    /// Removes a holder.
    pub(super) fn remove(&mut self, record: u16, slot: Slot) {
        if slot.index() >= self.instances {
            return;
        }
        let word = usize::from(record) * self.words_per_record + slot.index() / 64;
        let mask = 1 << (slot.index() % 64);
        if self.held[word] & mask != 0 {
            self.held[word] &= !mask;
            self.provisional[word] &= !mask;
            self.heads[usize::from(record)].count -= 1;
        }
    }

    /// Removes a holder from every record.
    pub(super) fn remove_everywhere(&mut self, slot: Slot) {
        for record in 0..self.heads.len() as u16 {
            if self.heads[usize::from(record)].used {
                self.remove(record, slot);
            }
        }
    }

    /// Removes the holders that do not count any more, and dates the rest exactly.
    pub(super) fn expire(&mut self, record: u16, clock: Clock) {
        for word in 0..self.words_per_record {
            let held = self.held[usize::from(record) * self.words_per_record + word];
            for slot in iter_words(&[held]).map(|slot| Slot(slot.0 + 64 * word as u16)) {
                if !self.record(record).fresh(slot, clock) {
                    self.remove(record, slot);
                }
            }
        }
        let mut head = Head {
            oldest: clock.now,
            oldest_provisional: clock.now,
            newest: clock.now.wrapping_sub(u16::MAX / 2),
            ..self.heads[usize::from(record)]
        };
        for (slot, stamp, provisional) in self.slots(record) {
            head.include(Holder::new(slot, stamp, 0, provisional), clock);
        }
        self.heads[usize::from(record)] = head;
    }

    fn words(&self, record: u16) -> std::ops::Range<usize> {
        let start = usize::from(record) * self.words_per_record;
        start..start + self.words_per_record
    }

    fn stamps_of(&self, record: u16) -> std::ops::Range<usize> {
        let start = usize::from(record) * self.instances;
        start..start + self.instances
    }
}

impl Head {
    /// Widens the dates so that they include a holder's.
    fn include(&mut self, holder: Holder, clock: Clock) {
        let age = clock.age(holder.stamp);
        let oldest = if holder.provisional() {
            &mut self.oldest_provisional
        } else {
            &mut self.oldest
        };
        if age > clock.age(*oldest) {
            *oldest = holder.stamp;
        }
        if age < clock.age(self.newest) {
            self.newest = holder.stamp;
        }
    }
}

#[inline]
fn bit(words: &[u64], slot: Slot) -> bool {
    words
        .get(slot.index() / 64)
        .is_some_and(|word| word >> (slot.index() % 64) & 1 == 1)
}
