//! The smallest estimated time to first token, over any number of candidates at once.
//!
//! Slots are taken 64 at a time, without a branch between them, so that the compiler makes vector instructions of the loops.
//! What an estimate takes is kept between decisions ([`super::standing`]); what is new is one multiplication a candidate.

use dpdk::vector::{self, at_most, lanes};

use super::policy::{Task, mix};
use super::score::{Estimates, Scratch, View, Weight, prefill_us, reused_tokens, slots};
use super::standing::{Known, MAX_COST_US};
use crate::aft::RATE_SHIFT;
use crate::aft::reuse::{MAX_LEVELS, Reuse};
use crate::id::Slot;

/// The estimate of who is no candidate: more than any candidate's.
const NOBODY: u32 = i32::MAX as u32;

/// Up to so many slots of a word it is quicker to look at each.
const SPARSE: u32 = 4;

/// The candidate that costs least, or one that costs at most `margin_us` more. The cost is the estimated time to first token,
/// in which new tokens count more where everybody has work waiting, and a share of what was sent lately; see [`Weight`].
pub(super) fn least(
    view: &View<'_>,
    task: &Task,
    margin_us: u32,
    thrift_per_s: u32,
    scratch: &mut Scratch,
) -> Option<Slot> {
    scratch.standing.refresh(view, scratch.candidates.len());
    vector::wide(
        #[inline(always)]
        || {
            let weight = match thrift_per_s {
                0 => Weight::ONE,
                _ => Weight::new(thrift_per_s, least_work_us(scratch)),
            };
            let least_us = score(task.prompt_tokens, weight, scratch);
            if least_us == NOBODY {
                return None;
            }
            let limit_us = least_us.saturating_add(margin_us).min(NOBODY - 1);
            one_within(scratch, limit_us, task.flow_hash)
        },
    )
}

/// How new tokens count with these candidates.
pub(crate) fn weight(view: &View<'_>, thrift_per_s: u32, candidates: &[u64]) -> Weight {
    let work_us = slots(candidates).map(|slot| view.work_us(slot));
    Weight::new(thrift_per_s, work_us.min().unwrap_or(0))
}

/// The least that a candidate's work takes; 0 where there is none.
#[inline(always)]
fn least_work_us(scratch: &Scratch) -> u32 {
    let mut least_us = [NOBODY; 8];
    for (at, candidates) in scratch.candidates.iter().enumerate() {
        let Some(known) = scratch.standing.known(at).filter(|_| *candidates != 0) else {
            continue;
        };
        let eights = known.work_us.as_chunks::<8>().0.iter();
        if *candidates == u64::MAX {
            for us in eights {
                for (least_us, us) in least_us.iter_mut().zip(us) {
                    *least_us = (*least_us).min(*us);
                }
            }
            continue;
        }
        for (us, candidates) in eights.zip(candidates.to_le_bytes()) {
            let each = least_us.iter_mut().zip(us).zip(lanes(candidates));
            for ((least_us, us), lane) in each {
                *least_us = (*least_us).min(*us & lane | NOBODY & !lane);
            }
        }
    }
    match least_us.iter().fold(NOBODY, |least, us| least.min(*us)) {
        NOBODY => 0,
        least_us => least_us,
    }
}

/// What every candidate costs; returns the least of all, [`NOBODY`] where there is none.
#[inline(always)]
fn score(prompt_tokens: u32, weight: Weight, scratch: &mut Scratch) -> u32 {
    let prompt = Prompt::new(prompt_tokens, weight, &scratch.reuse);
    let standing = &scratch.standing;
    let longest = (u64::from(prompt.tokens) * u64::from(standing.greatest_rate_q())) >> RATE_SHIFT;
    let is_short = longest <= u64::from(MAX_COST_US);
    let mut least_us = NOBODY;
    let words = scratch.candidates.iter().zip(&mut scratch.ttft);
    for (at, (candidates, ttft)) in words.enumerate() {
        ttft.least_us = NOBODY;
        let Some(known) = standing.known(at).filter(|_| *candidates != 0) else {
            continue;
        };
        if prompt.is_new_to_all(at) {
            estimate(ttft, &known, |_| prompt.tokens, is_short);
        } else {
            let new_tokens = prompt.new_tokens(at);
            estimate(ttft, &known, |slot| new_tokens[slot], is_short);
        }
        if *candidates != u64::MAX {
            exclude(&mut ttft.us, !*candidates);
        }
        ttft.least_us = ttft.us.iter().fold(NOBODY, |least, us| least.min(*us));
        least_us = least_us.min(ttft.least_us);
    }
    least_us
}

/// How many tokens are new to those who hold some of a prompt, weighed.
struct Prompt<'a> {
    /// To who holds nothing.
    tokens: u32,
    reuse: &'a Reuse,
    /// By level of `reuse`.
    new_tokens: [u32; MAX_LEVELS],
}

impl<'a> Prompt<'a> {
    #[inline(always)]
    fn new(tokens: u32, weight: Weight, reuse: &'a Reuse) -> Self {
        let mut new_tokens = [0; MAX_LEVELS];
        for (new_tokens, depth) in new_tokens.iter_mut().zip(reuse.depths()) {
            *new_tokens = weight.of(tokens - reused_tokens(tokens, *depth));
        }
        Self {
            tokens: weight.of(tokens),
            reuse,
            new_tokens,
        }
    }

    /// Whether nobody of the 64 slots from 64·`word` on holds any of it.
    #[inline(always)]
    fn is_new_to_all(&self, word: usize) -> bool {
        self.reuse.holders(0, word) == 0
    }

    /// Of each of the 64 slots from 64·`word` on, how many tokens are new to it.
    #[inline(always)]
    fn new_tokens(&self, word: usize) -> [u32; 64] {
        let mut new_tokens = [self.tokens; 64];
        for (level, tokens) in self.new_tokens.iter().enumerate() {
            match self.reuse.holders(level, word) {
                0 => break,
                u64::MAX => new_tokens = [*tokens; 64],
                holders => replace(&mut new_tokens, holders, *tokens),
            }
        }
        new_tokens
    }
}

/// Sets the figures of the slots in `which` to `value`.
#[inline(always)]
fn replace(figures: &mut [u32; 64], mut which: u64, value: u32) {
    for _ in 0..SPARSE {
        figures[which.trailing_zeros() as usize % 64] = value;
        which &= which - 1;
        if which == 0 {
            return;
        }
    }
    for (figures, which) in figures
        .as_chunks_mut::<8>()
        .0
        .iter_mut()
        .zip(which.to_le_bytes())
    {
        for (figure, lane) in figures.iter_mut().zip(lanes(which)) {
            *figure ^= (*figure ^ value) & lane;
        }
    }
}

/// Makes the estimates of the slots in `others` nobody's.
#[inline(always)]
fn exclude(us: &mut [u32; 64], others: u64) {
    for (us, others) in us
        .as_chunks_mut::<8>()
        .0
        .iter_mut()
        .zip(others.to_le_bytes())
    {
        for (us, lane) in us.iter_mut().zip(lanes(others)) {
            *us = *us & !lane | NOBODY & lane;
        }
    }
}

/// The estimates of 64 slots, to which so many tokens are new; `is_short`: which takes none of them more than
/// [`MAX_COST_US`].
#[inline(always)]
fn estimate(
    ttft: &mut Estimates,
    known: &Known<'_>,
    new_tokens: impl Fn(usize) -> u32,
    is_short: bool,
) {
    let each = ttft.us.iter_mut().zip(known.us).zip(known.rates_q);
    if is_short {
        for (at, ((us, standing), rate)) in each.enumerate() {
            *us = standing + ((u64::from(new_tokens(at)) * u64::from(*rate)) >> RATE_SHIFT) as u32;
        }
    } else {
        for (at, ((us, standing), rate)) in each.enumerate() {
            *us = standing + prefill_us(new_tokens(at), *rate);
        }
    }
}

/// One of those whose estimate is within the limit, the same for the same flow and estimates: AFRs with the same view do not
/// all choose the same for different flows.
#[inline(always)]
fn one_within(scratch: &mut Scratch, limit_us: u32, flow_hash: u64) -> Option<Slot> {
    let words = scratch.candidates.len().min(scratch.ttft.len());
    let ttft = &mut scratch.ttft[..words];
    let mut all = 0;
    for ttft in &mut *ttft {
        ttft.near = if ttft.least_us <= limit_us {
            at_most(&ttft.us, limit_us)
        } else {
            0
        };
        all += ttft.near.count_ones();
    }
    // Which of them, by the hash's high bits (Lemire's reduction).
    let mut left = (((mix(flow_hash, 1) >> 32) * u64::from(all)) >> 32) as u32;
    for (at, ttft) in ttft.iter().enumerate() {
        let here = ttft.near.count_ones();
        if left < here {
            let mut near = ttft.near;
            for _ in 0..left {
                near &= near - 1;
            }
            return Some(Slot((at * 64) as u16 + near.trailing_zeros() as u16));
        }
        left -= here;
    }
    None
}
