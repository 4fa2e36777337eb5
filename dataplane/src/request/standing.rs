//! What each instance costs before anything new is asked of it: its queue, its pressure and a share of what was sent to it lately,
//! in microseconds, kept from one decision to the next.
//!
//! A decision looks at every candidate, and between two decisions next to nothing changes. So the figures are kept by slot, in one
//! vector that a decision reads from end to end, and are made anew where something they rest on has changed:
//!
//! - a new generation: everything ([`Standing::forget`]);
//! - a report that this worker learned from: the instance's group ([`Standing::forget_slot`]);
//! - tokens in flight, by another worker, or recent, by the control core: the instance's group, told by [`Inflight::changes_of`],
//!   one counter for each group of [`GROUP`] slots;
//! - tokens that this worker has charged: the instance ([`Charges`]).
//!
//! [`Inflight::changes_of`]: crate::aft::inflight::Inflight::changes_of

use dpdk::vector;

use super::charges::Charges;
use super::score::View;
use crate::aft::inflight::GROUP;
use crate::id::Slot;
use crate::memory::room;

/// No cost is more: a quarter of an hour, which nobody waits. Two of them can be added in 31 bits.
pub const MAX_COST_US: u32 = (1 << 30) - 1;

/// The figures; see the module's description. Those of slots that there are not are 0.
#[derive(Debug)]
pub struct Standing {
    us: Vec<[u32; 64]>,
    /// Of these, without what was sent lately.
    work_us: Vec<[u32; 64]>,
    /// Of the same slots, [`Aft::us_per_token_q`](crate::aft::Aft::us_per_token_q).
    rates_q: Vec<[u32; 64]>,
    /// No rate is greater.
    greatest_rate_q: u32,
    /// By group: the change it was made after, or [`STALE`].
    seen: Vec<[u64; GROUPS]>,
    /// By 64 slots.
    words: Vec<Summary>,
    /// Of this worker's charges that are not told yet, those that are in the figures.
    counted: usize,
}

/// What is known of 64 slots together.
#[derive(Debug, Clone, Copy)]
struct Summary {
    /// The sum of what was seen of its groups, none of which ever counts down; [`STALE`] if one of them is.
    seen: u64,
    least: Least,
}

/// The least figures of some of 64 slots: of the candidates met last.
#[derive(Debug, Clone, Copy)]
pub struct Least {
    /// Which, a bit each.
    of: u64,
    /// The least standing cost in microseconds; more than any cost where it is to be found again, and the next with it.
    pub us: u32,
    /// The least work.
    work_us: u32,
    /// The least rate.
    pub rate_q: u32,
}

/// The least figures of all candidates, each for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeastOfAll {
    /// Standing cost in microseconds.
    pub us: u32,
    /// Queue and pressure, in microseconds.
    pub work_us: u32,
    /// Rate: that of the fastest.
    pub rate_q: u32,
}

/// What a slot costs, in microseconds, at most [`MAX_COST_US`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Standing.
    pub us: u32,
    /// Of it, queue and pressure.
    pub work_us: u32,
}

/// The figures of 64 slots.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The least of the candidates among them.
    pub least: &'a Least,
    /// Standing costs in microseconds.
    pub us: &'a [u32; 64],
    /// Rates.
    pub rates_q: &'a [u32; 64],
}

/// Groups of 64 slots.
const GROUPS: usize = 64 / GROUP;
const STALE: u64 = u64::MAX;
/// More than any cost.
const UNKNOWN: u32 = u32::MAX;

impl Standing {
    /// Memory held, in bytes; the same from [`Self::new`] on.
    #[must_use]
    pub(crate) fn memory_bytes(&self) -> usize {
        room(&self.us)
            + room(&self.work_us)
            + room(&self.rates_q)
            + room(&self.seen)
            + room(&self.words)
    }

    /// For so many slots, all of them to be looked at.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        let words = slots.div_ceil(64);
        Self {
            us: vec![[0; 64]; words],
            work_us: vec![[0; 64]; words],
            rates_q: vec![[0; 64]; words],
            greatest_rate_q: 0,
            seen: vec![[STALE; GROUPS]; words],
            words: vec![Summary::STALE; words],
            counted: 0,
        }
    }

    /// There is a new generation.
    pub fn forget(&mut self) {
        self.seen.fill([STALE; GROUPS]);
        self.words.fill(Summary::STALE);
        self.greatest_rate_q = 0;
    }

    /// There is news of an instance.
    pub fn forget_slot(&mut self, slot: Slot) {
        if let Some(seen) = self.seen.get_mut(slot.index() / 64) {
            seen[slot.index() % 64 / GROUP] = STALE;
            self.words[slot.index() / 64].seen = STALE;
        }
    }

    /// Whether all of these charges are in the figures.
    #[inline]
    #[must_use]
    pub fn has_counted(&self, charges: &Charges) -> bool {
        self.counted == charges.slots().len()
    }

    /// Charges that were in the figures were told: that is a change of the group, before which there had been `before`, and if
    /// no other was seen it changes nothing here.
    #[inline]
    pub fn told(&mut self, word: usize, group: usize, before: u64) {
        if let (Some(seen), Some(summary)) = (self.seen.get_mut(word), self.words.get_mut(word))
            && seen[group % GROUPS] == before
        {
            seen[group % GROUPS] += 1;
            if summary.seen != STALE {
                summary.seen += 1;
            }
        }
    }

    /// There are no charges now that are not told.
    #[inline]
    pub fn begin(&mut self) {
        self.counted = 0;
    }

    /// Brings what this worker has charged since into the figures. [`Self::refresh`] does if nobody did before; it is quicker
    /// beforehand, for it reads the figures in larger pieces than they are written in.
    #[inline]
    pub fn count(&mut self, view: &View<'_>) {
        let slots = view.charges.slots();
        for slot in slots.get(self.counted..).unwrap_or(&[]) {
            let (word, bit) = (slot.index() / 64, slot.index() % 64);
            if word < self.words.len() {
                let was = self.cost(word, bit);
                let now = self.renew_slot(view, *slot);
                self.words[word].least.charged(bit, was, now);
            }
        }
        self.counted = slots.len();
    }

    /// Brings the figures of the 64 slots that each word of `candidates` is about up to date, and returns the least of these
    /// candidates'; `None` where there is none. Apart from what reads the figures: the
    /// compiler keeps the loop over atomics small, and that over figures free of calls.
    #[inline(never)]
    pub fn refresh(&mut self, view: &View<'_>, candidates: &[u64]) -> Option<LeastOfAll> {
        self.count(view);
        let mut all = LeastOfAll {
            us: UNKNOWN,
            work_us: UNKNOWN,
            rate_q: u32::MAX,
        };
        for (word, candidates) in candidates.iter().enumerate().take(self.words.len()) {
            if *candidates == 0 {
                continue;
            }
            let seen: u64 = view.inflight.changes_of(word).sum();
            if self.words[word].seen != seen {
                self.renew(view, word);
            }
            let least = &self.words[word].least;
            if least.of != *candidates || least.us == UNKNOWN {
                self.find_least(word, *candidates);
            }
            let least = &self.words[word].least;
            all.us = all.us.min(least.us);
            all.work_us = all.work_us.min(least.work_us);
            all.rate_q = all.rate_q.min(least.rate_q);
        }
        (all.us != UNKNOWN).then_some(all)
    }

    /// The figures of all slots, 64 at a time, as of [`Self::refresh`].
    #[inline(always)]
    pub fn known(&self) -> impl Iterator<Item = Known<'_>> {
        let figures = self.us.iter().zip(&self.rates_q).zip(&self.words);
        figures.map(|((us, rates_q), summary)| Known {
            us,
            rates_q,
            least: &summary.least,
        })
    }

    /// No rate is greater than this.
    #[inline]
    #[must_use]
    pub const fn greatest_rate_q(&self) -> u32 {
        self.greatest_rate_q
    }

    #[inline(never)]
    fn find_least(&mut self, word: usize, candidates: u64) {
        let least = &mut self.words[word].least;
        if least.of != candidates {
            least.of = candidates;
            least.rate_q = vector::least(&self.rates_q[word], candidates, u32::MAX);
        }
        least.us = vector::least(&self.us[word], candidates, MAX_COST_US);
        least.work_us = vector::least(&self.work_us[word], candidates, MAX_COST_US);
    }

    #[cold]
    #[inline(never)]
    fn renew(&mut self, view: &View<'_>, word: usize) {
        let mut sum = 0;
        for (group, now) in view.inflight.changes_of(word).enumerate() {
            sum += now;
            if self.seen[word][group] == now {
                continue;
            }
            self.seen[word][group] = now;
            for bit in group * GROUP..(group + 1) * GROUP {
                let slot = Slot((word * 64 + bit) as u16);
                let rate_q = view.rate_q(slot);
                self.renew_slot(view, slot);
                self.rates_q[word][bit] = rate_q;
                self.greatest_rate_q = self.greatest_rate_q.max(rate_q);
            }
        }
        self.words[word] = Summary {
            seen: sum,
            ..Summary::STALE
        };
    }

    #[inline(always)]
    fn renew_slot(&mut self, view: &View<'_>, slot: Slot) -> Cost {
        let (word, bit) = (slot.index() / 64, slot.index() % 64);
        let cost = view.standing(slot);
        if let (Some(us), Some(work_us)) = (self.us.get_mut(word), self.work_us.get_mut(word)) {
            us[bit] = cost.us;
            work_us[bit] = cost.work_us;
        }
        cost
    }

    #[inline]
    fn cost(&self, word: usize, bit: usize) -> Cost {
        Cost {
            us: self.us[word][bit],
            work_us: self.work_us[word][bit],
        }
    }
}

impl Summary {
    const STALE: Self = Self {
        seen: STALE,
        least: Least {
            of: 0,
            us: UNKNOWN,
            work_us: UNKNOWN,
            rate_q: 0,
        },
    };
}

impl Least {
    /// What one slot costs changed.
    #[inline]
    fn charged(&mut self, bit: usize, was: Cost, now: Cost) {
        if self.of >> bit & 1 == 0 {
            return;
        }
        // What the least one cost is the least no more, unless it costs less now.
        let raised = (was.us == self.us && now.us > was.us)
            || (was.work_us == self.work_us && now.work_us > was.work_us);
        if raised {
            self.us = UNKNOWN;
        } else if self.us != UNKNOWN {
            self.us = self.us.min(now.us);
            self.work_us = self.work_us.min(now.work_us);
        }
    }
}
