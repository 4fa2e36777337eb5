//! What each instance costs before anything new is asked of it: its queue, its pressure and a share of what was sent to it lately,
//! in microseconds, kept from one decision to the next.
//!
//! A decision looks at every candidate, and between two decisions next to nothing changes. So the figures are kept by slot, in one
//! vector that a decision reads from end to end, and are made anew where something they rest on has changed:
//!
//! - a new generation: everything ([`Standing::forget`]);
//! - a report that this worker learned from: the instance's group ([`Standing::forget_slot`]);
//! - tokens in flight, by any worker, or recent, by the control core: the instance's group, told by [`Inflight::changes`], one
//!   counter for each group of [`GROUP`] slots.
//!
//! [`Inflight::changes`]: crate::aft::inflight::Inflight::changes

use dpdk::vector;

use super::score::View;
use crate::aft::inflight::{Change, GROUP};
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

/// What a slot costs, in microseconds.
#[derive(Debug, Clone, Copy)]
struct Cost {
    /// Standing.
    us: u32,
    /// Of it, queue and pressure.
    work_us: u32,
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

    /// This worker has changed what is in flight to an instance: if that is the only change in its group, its figure alone is
    /// made anew.
    #[inline]
    pub fn charged(&mut self, view: &View<'_>, change: Change) {
        let (word, bit) = (change.slot.index() / 64, change.slot.index() % 64);
        if let Some(seen) = self.seen.get_mut(word) {
            let seen = &mut seen[bit / GROUP];
            if *seen == change.before {
                *seen += 1;
                let was = self.cost(word, bit);
                self.renew_slot(view, change.slot);
                let now = self.cost(word, bit);
                self.words[word].charged(bit, was, now);
            }
        }
    }

    /// Brings the figures of the 64 slots that each word of `candidates` is about up to date, and returns the least of these
    /// candidates'; `None` where there is none. Apart from what reads the figures: the
    /// compiler keeps the loop over atomics small, and that over figures free of calls.
    #[inline(never)]
    pub fn refresh(&mut self, view: &View<'_>, candidates: &[u64]) -> Option<LeastOfAll> {
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

    #[inline]
    fn renew_slot(&mut self, view: &View<'_>, slot: Slot) {
        let (word, bit) = (slot.index() / 64, slot.index() % 64);
        if let (Some(us), Some(work_us)) = (self.us.get_mut(word), self.work_us.get_mut(word)) {
            work_us[bit] = view.work_us(slot);
            us[bit] = view.standing_us(slot, work_us[bit]);
        }
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

    /// One change was made and is known, in the cost of one slot.
    #[inline]
    fn charged(&mut self, bit: usize, was: Cost, now: Cost) {
        if self.seen != STALE {
            self.seen += 1;
        }
        let least = &mut self.least;
        if least.of >> bit & 1 == 0 {
            return;
        }
        // What the least one cost is the least no more, unless it costs less now.
        let raised = (was.us == least.us && now.us > was.us)
            || (was.work_us == least.work_us && now.work_us > was.work_us);
        if raised {
            least.us = UNKNOWN;
        } else if least.us != UNKNOWN {
            least.us = least.us.min(now.us);
            least.work_us = least.work_us.min(now.work_us);
        }
    }
}
