//! What a candidate would cost: estimated time to first token, term by term, in integers.
//!
//! `ttft = (pending + in flight + prompt − reuse) / prefill rate + pressure`, after the load the worker itself knows
//! where that is newer than its generation's. Rate and pressure, which change slowly, are the generation's.

use crate::aft::bitmap::iter_words;
use crate::aft::inflight::{Counts, Inflight};
use crate::aft::reuse::Reuse;
use crate::aft::{Aft, Load, RATE_SHIFT};
use crate::id::Slot;
use crate::memory::room;
use crate::reply::overlay::LoadOverlay;
use crate::request::capable::Capable;
use crate::request::charges::Charges;
use crate::request::standing::{Cost, MAX_COST_US, Standing};

/// Tokens of one unit of depth.
const UNIT_TOKENS: u32 = afr_wire::UNIT_TOKENS as u32;

/// Memory that a decision works in, taken once.
#[derive(Debug)]
pub struct Scratch {
    /// Candidates by slot, a bit each, up to the last word that may have one.
    pub candidates: Vec<u64>,
    /// Slots and costs of the candidates scored last.
    pub costs: Vec<(Slot, u64)>,
    /// Depths that instances hold of the request's prefix.
    pub reuse: Reuse,
    /// Where round-robin goes on, by class.
    pub turn: Vec<u16>,
    /// What each instance costs before anything new is asked of it.
    pub standing: Standing,
    /// Who could serve the needs met last.
    pub capable: Capable,
    /// Estimates of the candidates scored last, in microseconds, by 64 slots.
    pub ttft: Vec<Estimates>,
}

/// Estimates of 64 slots.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct Estimates {
    /// By slot; of who is no candidate, more than any candidate's. Where nobody is one, anything.
    pub us: [u32; 64],
    /// The smallest.
    pub least_us: u32,
    /// A bit for each that is near the smallest of all; 0 where none can be.
    pub near: u64,
}

impl Estimates {
    const NONE: Self = Self {
        us: [0; 64],
        least_us: 0,
        near: 0,
    };
}

impl Scratch {
    /// For so many instance slots and classes.
    #[must_use]
    pub fn new(slots: usize, classes: usize) -> Self {
        Self {
            candidates: Vec::with_capacity(slots.div_ceil(64)),
            costs: Vec::with_capacity(slots),
            reuse: Reuse::new(slots),
            turn: vec![0; classes],
            standing: Standing::new(slots),
            capable: Capable::new(slots),
            ttft: vec![Estimates::NONE; slots.div_ceil(64)],
        }
    }

    /// Memory held, in bytes; the same from [`Self::new`] on.
    #[must_use]
    pub(crate) fn memory_bytes(&self) -> usize {
        room(&self.candidates)
            + room(&self.costs)
            + room(&self.turn)
            + room(&self.ttft)
            + self.reuse.memory_bytes()
            + self.standing.memory_bytes()
            + self.capable.memory_bytes()
    }

    /// Takes one candidate out.
    #[inline]
    pub fn exclude(&mut self, slot: Slot) {
        if let Some(word) = self.candidates.get_mut(slot.index() / 64) {
            *word &= !(1 << (slot.0 % 64));
        }
    }
}

/// The slots whose bits are set.
#[inline]
pub fn slots(candidates: &[u64]) -> impl Iterator<Item = Slot> + '_ {
    iter_words(candidates)
}

/// The state that an estimate is made from.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The generation.
    pub aft: &'a Aft,
    /// Loads that the worker knows better.
    pub loads: &'a LoadOverlay,
    /// Tokens in flight.
    pub inflight: &'a Inflight,
    /// Tokens that the worker has charged besides.
    pub charges: &'a Charges,
}

/// An estimate, term by term. Times in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Estimate {
    /// Tokens reported as waiting.
    pub pending_tokens: u32,
    /// Tokens this AFR sent and no report covers, or whose clients wait for their answers all the same.
    pub in_flight_tokens: u32,
    /// Tokens of the prompt that the instance holds.
    pub reuse_tokens: u32,
    /// Time for what waits.
    pub queue_us: u64,
    /// Time for the part of the prompt that is new.
    pub prefill_us: u64,
    /// What a nearly full KV store or batch costs.
    pub pressure_us: u64,
}

impl Estimate {
    /// The sum.
    #[inline]
    #[must_use]
    pub const fn total_us(&self) -> u64 {
        self.queue_us + self.prefill_us + self.pressure_us
    }
}

/// Tokens of a prompt that need not be computed by who holds `depth` units of it. The last one always is, so that
/// there is a first one to answer with.
#[inline]
#[must_use]
pub fn reused_tokens(prompt_tokens: u32, depth: u16) -> u32 {
    (u32::from(depth) * UNIT_TOKENS).min(prompt_tokens.saturating_sub(1))
}

/// Microseconds for so many tokens at `rate_q`, of [`Aft::us_per_token_q`].
#[inline]
fn time_us(tokens: u64, rate_q: u32) -> u64 {
    tokens.saturating_mul(u64::from(rate_q)) >> RATE_SHIFT
}

/// The time of a prompt's new part, at most [`MAX_COST_US`].
#[inline]
#[must_use]
pub fn prefill_us(tokens: u32, rate_q: u32) -> u32 {
    time_us(u64::from(tokens), rate_q).min(u64::from(MAX_COST_US)) as u32
}

/// How much a new token of a prompt counts in a choice. What is computed where it is not held delays all who come later, and that
/// costs the cluster the more, the longer they wait: where even the least loaded candidate has work for a second, a
/// new token counts `thrift_per_s` times more.
///
/// What it counts more is the same at every candidate, in the time of the fastest: else what is new would be drawn to fast
/// engines, whose caches hold no more than others'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    /// With the fastest candidate, in units of 2^-16.
    q16: u64,
    /// What a new token counts more than its time, like [`Aft::us_per_token_q`].
    more_q: u32,
}

impl Weight {
    /// A token counts as a token.
    pub const ONE: Self = Self {
        q16: 1 << 16,
        more_q: 0,
    };

    /// Where the least that the work of any candidate takes, its pressure included, is `least_us`, at most [`MAX_COST_US`], and
    /// the fastest takes `fastest_q` a token.
    #[inline]
    #[must_use]
    pub fn new(thrift_per_s: u32, least_us: u32, fastest_q: u32) -> Self {
        let more_millionths = u64::from(least_us) * u64::from(thrift_per_s);
        let more_q16 = more_millionths.saturating_mul(1 << 16) / 1_000_000;
        let more_q16 = more_q16.min(u64::from(u32::MAX) - (1 << 16));
        let more_q = (more_q16 * u64::from(fastest_q)) >> 16;
        Self {
            q16: more_q16 + (1 << 16),
            more_q: more_q.min(u64::from(u32::MAX)) as u32,
        }
    }

    /// What a new token counts where one takes `rate_q`.
    #[inline]
    #[must_use]
    pub const fn at(self, rate_q: u32) -> u32 {
        rate_q.saturating_add(self.more_q)
    }

    /// What a new token counts more than its time.
    #[inline(always)]
    pub(super) const fn more_q(self) -> u32 {
        self.more_q
    }

    /// The same, if it can be added to `rate_q`.
    #[inline]
    pub(super) const fn more_than(self, rate_q: u32) -> Option<u32> {
        match rate_q.checked_add(self.more_q) {
            Some(_) => Some(self.more_q),
            None => None,
        }
    }

    /// In thousandths of a token, with the fastest candidate.
    #[must_use]
    pub const fn per_mille(self) -> u64 {
        (self.q16 * 1_000) >> 16
    }
}

/// The figure of a slot, 0 for one out of range.
#[inline]
fn of<T: Copy + Default>(figures: &[T], slot: Slot) -> T {
    figures.get(slot.index()).copied().unwrap_or_default()
}

impl View<'_> {
    /// What the worker has learned of `slot` since its generation.
    #[inline]
    fn newer(&self, slot: Slot) -> Option<&Load> {
        self.loads.newer(slot)
    }

    /// Requests waiting.
    #[inline]
    #[must_use]
    pub fn queue(&self, slot: Slot) -> u16 {
        let newer = self.newer(slot).map(|load| load.queue_depth);
        newer.unwrap_or_else(|| of(&self.aft.queue, slot))
    }

    /// Requests running.
    #[inline]
    #[must_use]
    pub fn running(&self, slot: Slot) -> u16 {
        let newer = self.newer(slot).map(|load| load.running);
        newer.unwrap_or_else(|| of(&self.aft.running, slot))
    }

    /// KV capacity in use, 0–255.
    #[inline]
    #[must_use]
    pub fn kv_used(&self, slot: Slot) -> u8 {
        let newer = self.newer(slot).map(|load| load.kv_used);
        newer.unwrap_or_else(|| of(&self.aft.kv_used, slot))
    }

    /// Tokens in flight and what else is counted of `slot`, with what this worker has not told yet.
    #[inline(always)]
    fn counts(&self, slot: Slot) -> Counts {
        self.inflight.counts(slot).with(self.charges.of(slot))
    }

    /// What a truthful engine may have in hand and not answered is no debt of `slot`, of whose tokens so many are unanswered.
    #[inline(never)]
    fn less_in_hand(&self, slot: Slot, unanswered: u32) -> u32 {
        let in_hand_us = u64::from(self.aft.config.dispatch.unanswered_us);
        let in_hand = (in_hand_us << RATE_SHIFT) / u64::from(self.rate_q(slot).max(1));
        u32::try_from(in_hand).map_or(0, |in_hand| unanswered.saturating_sub(in_hand))
    }

    /// Tokens ahead of a new request on `slot`: reported, and in flight. These are at the least what it has not computed, whatever
    /// it reports: what clients of this AFR wait for, less what a truthful engine may have in hand.
    #[inline]
    #[must_use]
    pub fn ahead(&self, slot: Slot) -> (u32, u32) {
        self.ahead_of(slot, &self.counts(slot))
    }

    #[inline(always)]
    fn ahead_of(&self, slot: Slot, counts: &Counts) -> (u32, u32) {
        let (pending, base) = match self.newer(slot) {
            Some(load) => (load.pending_tokens, load.base_tokens),
            None => (
                of(&self.aft.pending_tokens, slot),
                of(&self.aft.base_tokens, slot),
            ),
        };
        let in_flight = counts.in_flight(base);
        match counts.unanswered() {
            0 => (pending, in_flight),
            unanswered => {
                let owed = self.less_in_hand(slot, unanswered);
                (pending, in_flight.max(owed.saturating_sub(pending)))
            }
        }
    }

    /// [`Aft::us_per_token_q`] of `slot`.
    #[inline]
    #[must_use]
    pub fn rate_q(&self, slot: Slot) -> u32 {
        of(&self.aft.us_per_token_q, slot)
    }

    /// What `slot` costs before anything new is asked of it: its work, and a share of what was sent to it lately, for that fills
    /// its cache and brings more.
    #[inline(always)]
    #[must_use]
    pub fn standing(&self, slot: Slot) -> Cost {
        let counts = self.counts(slot);
        let rate_q = self.rate_q(slot);
        let (pending, in_flight) = self.ahead_of(slot, &counts);
        let queue_us = time_us(u64::from(pending) + u64::from(in_flight), rate_q);
        let pressure_us = u64::from(of(&self.aft.pressure_us, slot));
        let work_us = queue_us
            .saturating_add(pressure_us)
            .min(u64::from(MAX_COST_US));
        let us = self
            .recent_us_of(&counts, rate_q)
            .saturating_add(work_us)
            .min(u64::from(MAX_COST_US));
        Cost {
            us: us as u32,
            work_us: work_us as u32,
        }
    }

    /// The share that counts of what was sent to `slot` lately, in microseconds, at most [`MAX_COST_US`].
    #[must_use]
    pub fn recent_us(&self, slot: Slot) -> u64 {
        let recent_us = self.recent_us_of(&self.counts(slot), self.rate_q(slot));
        recent_us.min(u64::from(MAX_COST_US))
    }

    #[inline(always)]
    fn recent_us_of(&self, counts: &Counts, rate_q: u32) -> u64 {
        let per_mille = u64::from(self.aft.config.dispatch.recent_per_mille);
        let tokens = counts.recent().saturating_mul(per_mille) / 1_000;
        time_us(tokens, rate_q)
    }

    /// Time for what waits on `slot`, and its pressure, in microseconds, at most [`MAX_COST_US`].
    #[inline]
    #[must_use]
    pub fn work_us(&self, slot: Slot) -> u32 {
        self.standing(slot).work_us
    }

    /// The estimate for a prompt of `prompt_tokens` of which the instance holds `depth` units.
    #[inline]
    #[must_use]
    pub fn estimate(&self, slot: Slot, prompt_tokens: u32, depth: u16) -> Estimate {
        let (pending_tokens, in_flight_tokens) = self.ahead(slot);
        let reuse_tokens = reused_tokens(prompt_tokens, depth);
        let rate_q = of(&self.aft.us_per_token_q, slot);
        let time = |tokens: u64| time_us(tokens, rate_q);
        Estimate {
            pending_tokens,
            in_flight_tokens,
            reuse_tokens,
            queue_us: time(u64::from(pending_tokens) + u64::from(in_flight_tokens)),
            prefill_us: time(u64::from(prompt_tokens - reuse_tokens)),
            pressure_us: u64::from(of(&self.aft.pressure_us, slot)),
        }
    }

    /// What the choice of the smallest estimate goes by: the estimate, but with the prompt's new tokens weighed, and a share of
    /// what was sent lately.
    #[must_use]
    pub fn cost_us(&self, slot: Slot, prompt_tokens: u32, depth: u16, weight: Weight) -> u64 {
        let new_tokens = prompt_tokens - reused_tokens(prompt_tokens, depth);
        let prefill_us = prefill_us(new_tokens, weight.at(self.rate_q(slot)));
        u64::from(self.standing(slot).us) + u64::from(prefill_us)
    }
}
