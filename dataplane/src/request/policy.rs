//! The policies of dispatch behind one trait. All see the same state; each picks one of the candidates.

use crate::config::{Dispatch, PolicyKind};
use crate::id::{ClassIx, Slot};

use super::least::least;
use super::score::{Scratch, View, slots};

/// What is to be placed.
#[derive(Debug, Clone, Copy)]
pub struct Task {
    /// Its class.
    pub class: ClassIx,
    /// Length of its prompt in tokens.
    pub prompt_tokens: u32,
    /// Hash of its flow, the same on every AFR: what spreads near-ties.
    pub flow_hash: u64,
}

/// A policy: picks one of `scratch.candidates`, or `None` where there is none.
pub trait Policy {
    /// The choice.
    fn pick(
        &self,
        view: &View<'_>,
        task: &Task,
        knobs: &Dispatch,
        scratch: &mut Scratch,
    ) -> Option<Slot>;
}

/// Picks under the policy called `kind`.
#[inline]
pub fn pick(
    kind: PolicyKind,
    view: &View<'_>,
    task: &Task,
    knobs: &Dispatch,
    scratch: &mut Scratch,
) -> Option<Slot> {
    match kind {
        PolicyKind::Ttft => Ttft.pick(view, task, knobs, scratch),
        PolicyKind::Weighted => Weighted.pick(view, task, knobs, scratch),
        PolicyKind::LeastLoad => LeastLoad.pick(view, task, knobs, scratch),
        PolicyKind::TwoChoices => TwoChoices.pick(view, task, knobs, scratch),
        PolicyKind::Maglev => Consistent.pick(view, task, knobs, scratch),
        PolicyKind::RoundRobin => RoundRobin.pick(view, task, knobs, scratch),
    }
}

/// Smallest estimated time to first token, in which new tokens count more the more waits; near-ties are spread by the flow's hash.
#[derive(Debug, Clone, Copy)]
pub struct Ttft;

impl Policy for Ttft {
    fn pick(
        &self,
        view: &View<'_>,
        task: &Task,
        knobs: &Dispatch,
        scratch: &mut Scratch,
    ) -> Option<Slot> {
        least(view, task, knobs.near_tie_us, knobs.thrift_per_s, scratch)
    }
}

/// Normalised queue, KV and prefix scores with weights, the greatest sum wins (Gateway API's endpoint picker).
#[derive(Debug, Clone, Copy)]
pub struct Weighted;

/// A whole score of one term.
const UNITY: u64 = 1 << 16;

impl Policy for Weighted {
    fn pick(
        &self,
        view: &View<'_>,
        task: &Task,
        knobs: &Dispatch,
        scratch: &mut Scratch,
    ) -> Option<Slot> {
        let [queue_weight, kv_weight, prefix_weight] = knobs.weights.map(u64::from);
        let Scratch {
            candidates,
            costs,
            reuse,
            ..
        } = scratch;
        let queue = |slot: Slot| u64::from(view.queue(slot));
        let (mut least, mut most) = (u64::MAX, 0);
        for slot in slots(candidates) {
            least = least.min(queue(slot));
            most = most.max(queue(slot));
        }
        costs.clear();
        let units = u64::from(task.prompt_tokens / afr_wire::UNIT_TOKENS as u32).max(1);
        for slot in slots(candidates) {
            let short = if most == least {
                UNITY
            } else {
                UNITY * (most - queue(slot)) / (most - least)
            };
            let free = UNITY * u64::from(255 - view.kv_used(slot)) / 255;
            let held = UNITY * u64::from(reuse.depth(slot)).min(units) / units;
            let score = queue_weight * short + kv_weight * free + prefix_weight * held;
            let best = (queue_weight + kv_weight + prefix_weight) * UNITY;
            costs.push((slot, best.saturating_sub(score)));
        }
        smallest(costs, 0, task.flow_hash)
    }
}

/// Fewest tokens ahead.
#[derive(Debug, Clone, Copy)]
pub struct LeastLoad;

impl Policy for LeastLoad {
    fn pick(
        &self,
        view: &View<'_>,
        task: &Task,
        _: &Dispatch,
        scratch: &mut Scratch,
    ) -> Option<Slot> {
        let Scratch {
            candidates, costs, ..
        } = scratch;
        costs.clear();
        costs.extend(slots(candidates).map(|slot| (slot, load(view, slot))));
        smallest(costs, 0, task.flow_hash)
    }
}

/// The less loaded of two that the flow's hash names.
#[derive(Debug, Clone, Copy)]
pub struct TwoChoices;

impl Policy for TwoChoices {
    fn pick(
        &self,
        view: &View<'_>,
        task: &Task,
        _: &Dispatch,
        scratch: &mut Scratch,
    ) -> Option<Slot> {
        let Scratch {
            candidates, costs, ..
        } = scratch;
        costs.clear();
        costs.extend(slots(candidates).map(|slot| (slot, 0)));
        let count = costs.len() as u64;
        if count == 0 {
            return None;
        }
        let hash = mix(task.flow_hash, 0);
        let first = hash % count;
        // Another one, where there is another.
        let second = (first + 1 + (hash >> 32) % (count - 1).max(1)) % count;
        let [one, two] = [first, second].map(|at| costs[at as usize].0);
        Some(if load(view, two) < load(view, one) {
            two
        } else {
            one
        })
    }
}

/// Rendezvous hashing over the candidates: the same choice on every AFR that sees the same candidates.
#[derive(Debug, Clone, Copy)]
pub struct Consistent;

impl Policy for Consistent {
    fn pick(
        &self,
        view: &View<'_>,
        task: &Task,
        _: &Dispatch,
        scratch: &mut Scratch,
    ) -> Option<Slot> {
        let maglev = &view.aft.class(task.class)?.maglev;
        let candidates = &scratch.candidates;
        let is_candidate = |slot: Slot| {
            candidates
                .get(slot.index() / 64)
                .is_some_and(|word| word >> (slot.0 % 64) & 1 != 0)
        };
        maglev.pick(task.flow_hash, is_candidate)
    }
}

/// In turn, by worker and class.
#[derive(Debug, Clone, Copy)]
pub struct RoundRobin;

impl Policy for RoundRobin {
    fn pick(&self, _: &View<'_>, task: &Task, _: &Dispatch, scratch: &mut Scratch) -> Option<Slot> {
        let turn = scratch.turn.get_mut(usize::from(task.class.0))?;
        let next = slots(&scratch.candidates)
            .find(|slot| slot.0 >= *turn)
            .or_else(|| slots(&scratch.candidates).next())?;
        *turn = next.0 + 1;
        Some(next)
    }
}

fn load(view: &View<'_>, slot: Slot) -> u64 {
    let (pending, in_flight) = view.ahead(slot);
    // Tokens first; requests that run decide between instances without any waiting.
    let tokens = u64::from(pending) + u64::from(in_flight);
    let requests = u64::from(view.running(slot)) + u64::from(view.queue(slot));
    (tokens << 20) + requests
}

/// One of those within `margin` of the smallest cost: the one that the hash of flow and slot ranks highest, so that
/// AFRs with the same view do not all choose the same.
fn smallest(costs: &[(Slot, u64)], margin: u64, flow_hash: u64) -> Option<Slot> {
    let least = costs.iter().map(|(_, cost)| *cost).min()?;
    let limit = least.saturating_add(margin);
    costs
        .iter()
        .filter(|(_, cost)| *cost <= limit)
        .max_by_key(|(slot, _)| mix(flow_hash, u64::from(slot.0) + 1))
        .map(|(slot, _)| *slot)
}

/// A finaliser in the manner of SplitMix64.
#[inline]
pub(super) const fn mix(hash: u64, salt: u64) -> u64 {
    let mut z = hash ^ salt.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
