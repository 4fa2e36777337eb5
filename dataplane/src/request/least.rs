//! The smallest estimated time to first token, over any number of candidates at once.
//!
//! Slots are taken 64 at a time, without a branch between them, so that the compiler makes vector instructions of the loops.
//! What an estimate takes is kept between decisions ([`super::standing`]); what is new is one multiplication a candidate.

use dpdk::vector::{self, at_most};

use super::policy::{Task, mix};
use super::score::{Scratch, View, Weight, prefill_us, reused_tokens, slots};
use super::standing::{Known, Least, MAX_COST_US};
use crate::aft::RATE_SHIFT;
use crate::aft::reuse::{MAX_LEVELS, Reuse};
use crate::id::Slot;

/// The estimate of who is no candidate: more than any candidate's.
const NOBODY: u32 = i32::MAX as u32;

/// Up to so many slots of 64 it is quicker to look at each.
const FEW: u32 = 8;

/// The candidate that costs least, or one that costs at most `margin_us` more. The cost is the estimated time to first token,
/// in which new tokens count more where everybody has work waiting, and a share of what was sent lately; see [`Weight`].
pub(super) fn least(
    view: &View<'_>,
    task: &Task,
    margin_us: u32,
    thrift_per_s: u32,
    scratch: &mut Scratch,
) -> Option<Slot> {
    let least = scratch.standing.refresh(view, &scratch.candidates)?;
    vector::wide(
        #[inline(always)]
        |_| {
            let weight = match thrift_per_s {
                0 => Weight::ONE,
                _ => Weight::new(thrift_per_s, least.work_us, least.rate_q),
            };
            let limit_us = score(task.prompt_tokens, weight, least.us, margin_us, scratch);
            one_within(scratch, limit_us, task.flow_hash)
        },
    )
}

/// How new tokens count with these candidates.
pub(crate) fn weight(view: &View<'_>, thrift_per_s: u32, candidates: &[u64]) -> Weight {
    let work_us = slots(candidates).map(|slot| view.work_us(slot));
    let rates_q = slots(candidates).map(|slot| view.rate_q(slot));
    Weight::new(
        thrift_per_s,
        work_us.min().unwrap_or(0),
        rates_q.min().unwrap_or(0),
    )
}

/// What those candidates cost that may be chosen; returns the most that a near-tie costs. `standing_us` is the least that any
/// costs before anything new is asked of it.
///
/// Who certainly costs more than a near-tie is not looked at; see [`Prompt::affordable`].
#[inline(always)]
fn score(
    prompt_tokens: u32,
    weight: Weight,
    standing_us: u32,
    margin_us: u32,
    scratch: &mut Scratch,
) -> u32 {
    let prompt = Prompt::new(prompt_tokens, weight, &scratch.reuse);
    let greatest_rate_q = scratch.standing.greatest_rate_q();
    let longest = u64::from(prompt_tokens) * u64::from(weight.at(greatest_rate_q));
    let is_short = longest >> RATE_SHIFT <= u64::from(MAX_COST_US);
    // None: some costs do not fit.
    let more_q = weight.more_than(greatest_rate_q).filter(|_| is_short);
    let limit = |us: u32| us.saturating_add(margin_us).min(NOBODY - 1);
    let dearest_us = prompt.us(0, greatest_rate_q);
    // One candidate costs no more than this, for certain.
    let mut limit_us = limit(standing_us + dearest_us);
    let new_to_all = [prompt_tokens; 64];
    let known = scratch.standing.known();
    let words = scratch.candidates.iter().zip(&mut scratch.ttft).zip(known);
    for (at, ((candidates, ttft), known)) in words.enumerate() {
        let (who, level) = prompt.affordable(at, *candidates, known.least, limit_us);
        ttft.least_us = NOBODY;
        if who == 0 {
            continue;
        }
        if who.count_ones() <= FEW {
            ttft.us = [NOBODY; 64];
            for bit in bits(who) {
                let level = prompt.held(at, bit, level);
                let us = known.us[bit] + prompt.us(level, known.rates_q[bit]);
                ttft.us[bit] = us;
                ttft.least_us = ttft.least_us.min(us);
            }
        } else {
            let nobody_holds = scratch.reuse.holders(0, at) == 0;
            // All is new to all of them and takes the same time, as where all engines are alike.
            let alike = nobody_holds && prompt.us(0, known.least.rate_q) == dearest_us;
            if alike {
                for (us, standing_us) in ttft.us.iter_mut().zip(known.us) {
                    *us = standing_us + dearest_us;
                }
            } else if nobody_holds {
                estimate(&mut ttft.us, &known, &new_to_all, weight, more_q);
            } else {
                let new_to_each = prompt.new_to_each(at, level);
                estimate(&mut ttft.us, &known, &new_to_each, weight, more_q);
            }
            if who != u64::MAX {
                vector::replace(&mut ttft.us, !who, NOBODY);
            }
            ttft.least_us = if alike {
                known.least.us + dearest_us
            } else {
                vector::least(&ttft.us, u64::MAX, NOBODY)
            };
        }
        limit_us = limit_us.min(limit(ttft.least_us));
    }
    limit_us
}

/// The places of the bits that are set.
#[inline(always)]
fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros() as usize % 64)?;
        word &= word - 1;
        Some(bit)
    })
}

/// How many tokens of a prompt are new, and how they count.
struct Prompt<'a> {
    reuse: &'a Reuse,
    weight: Weight,
    /// To who holds nothing, then by level of `reuse`.
    new_tokens: [u32; MAX_LEVELS + 1],
}

impl<'a> Prompt<'a> {
    #[inline(always)]
    fn new(tokens: u32, weight: Weight, reuse: &'a Reuse) -> Self {
        let mut new_tokens = [0; MAX_LEVELS + 1];
        new_tokens[0] = tokens;
        for (new_tokens, depth) in new_tokens[1..].iter_mut().zip(reuse.depths()) {
            *new_tokens = tokens - reused_tokens(tokens, *depth);
        }
        Self {
            reuse,
            weight,
            new_tokens,
        }
    }

    /// What the part that is new costs who holds `level` and takes `rate_q` a token.
    #[inline(always)]
    fn us(&self, level: usize, rate_q: u32) -> u32 {
        prefill_us(self.new_tokens[level], self.weight.at(rate_q))
    }

    /// Which of the candidates from 64·`word` on may cost as little as `limit_us`, and the level that all of these hold.
    #[inline(always)]
    fn affordable(
        &self,
        word: usize,
        candidates: u64,
        least: &Least,
        limit_us: u32,
    ) -> (u64, usize) {
        let mut who = candidates;
        for level in 0..self.new_tokens.len() {
            // None of those who hold no more costs less.
            if who == 0 || least.us + self.us(level, least.rate_q) <= limit_us {
                return (who, level);
            }
            who &= self.reuse.holders(level, word);
        }
        (0, 0)
    }

    /// The level that the slot 64·`word` + `bit` holds: `level` at the least.
    #[inline(always)]
    fn held(&self, word: usize, bit: usize, mut level: usize) -> usize {
        while self.reuse.holders(level, word) >> bit & 1 != 0 {
            level += 1;
        }
        level
    }

    /// What is new to each of the 64 slots from 64·`word` on, as if all of them held `level`.
    #[inline(always)]
    fn new_to_each(&self, word: usize, mut level: usize) -> [u32; 64] {
        let mut each = [self.new_tokens[level]; 64];
        loop {
            let holders = self.reuse.holders(level, word);
            if holders == 0 {
                return each;
            }
            level += 1;
            let new_tokens = self.new_tokens[level];
            if holders.count_ones() > FEW {
                vector::replace(&mut each, holders, new_tokens);
            } else {
                for bit in bits(holders) {
                    each[bit] = new_tokens;
                }
            }
        }
    }
}

/// The costs of 64 slots, to which so many tokens are new; `more_q`: what each counts more, if that costs nobody more than
/// [`MAX_COST_US`].
#[inline(always)]
fn estimate(
    us: &mut [u32; 64],
    known: &Known<'_>,
    new_tokens: &[u32; 64],
    weight: Weight,
    more_q: Option<u32>,
) {
    const { assert!(RATE_SHIFT == 16, "what products are shifted by") };
    match more_q {
        Some(more_q) => vector::add_products(us, known.us, (known.rates_q, more_q), new_tokens),
        None => {
            let rates_q = (known.rates_q, weight.more_q());
            vector::add_capped_products(us, known.us, rates_q, new_tokens, MAX_COST_US);
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
            return Some(Slot((at * 64) as u16 + nth_set(ttft.near, left) as u16));
        }
        left -= here;
    }
    None
}

/// The place of the bit of `word` that is set behind `n` others: more are.
#[inline(always)]
fn nth_set(mut word: u64, mut n: u32) -> u32 {
    if n < FEW {
        for _ in 0..n {
            word &= word - 1;
        }
        return word.trailing_zeros();
    }
    let mut at = 0;
    for half in [32, 16, 8, 4, 2, 1] {
        let lower = (word >> at & ((1 << half) - 1)).count_ones();
        let skips = u32::from(n >= lower);
        n -= lower * skips;
        at += half * skips;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_that_is_set_is_found_by_its_number() {
        let words = [
            1,
            1 << 63,
            u64::MAX,
            0x8000_0000_0000_0001,
            0xF0F0_1234_8000_5555,
        ];
        for word in words.into_iter().chain((0..64).map(|bit| u64::MAX << bit)) {
            let places: Vec<u32> = bits(word).map(|bit| bit as u32).collect();
            let found: Vec<u32> = (0..word.count_ones()).map(|n| nth_set(word, n)).collect();
            assert_eq!(found, places, "{word:x}");
        }
    }
}
