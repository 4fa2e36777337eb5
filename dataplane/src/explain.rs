//! Why a request would go where it would go: every candidate, its estimate term by term, and who would win. The same
//! functions as a worker's decision, on the management side's view of the AFT.

use afr_wire::{Bloom, CatalogueVersion, ClassId, DomainId, Label32, PolicyScope, Prefix};

use crate::aft::Aft;
use crate::aft::live::LiveState;
use crate::aft::residency::Overlay;
use crate::aft::reuse::Known;
use crate::config::PolicyKind;
use crate::id::Slot;
use crate::message::Shared;
use crate::reply::overlay::LoadOverlay;
use crate::request::charges::Charges;
use crate::request::least;
use crate::request::matching::{Need, candidates};
use crate::request::policy::{self, Task};
use crate::request::score::{Estimate, Scratch, View, Weight};

/// What is asked.
#[derive(Debug, Clone)]
pub struct Query {
    /// The class.
    pub class: ClassId,
    /// Labels the request needs.
    pub labels: Vec<Label32>,
    /// Prefixes it carries, depth ascending.
    pub prefixes: Vec<Prefix>,
    /// Catalogue of labels and signatures.
    pub catalogue: CatalogueVersion,
    /// Domain of the signatures.
    pub domain: DomainId,
    /// Policy scope, 0 any.
    pub policy: PolicyScope,
    /// Prompt length in tokens, 0: the class's default.
    pub prompt_tokens: u32,
    /// Which of several near-ties wins: a flow's hash.
    pub flow_hash: u64,
    /// Now, microseconds of the monotonic clock.
    pub now_us: u64,
}

/// Why an instance of the class is no candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyNot {
    /// Believed dead.
    Down,
    /// Draining, by the operator.
    Draining,
    /// It reports that it drains, or refuses requests.
    Unavailable,
    /// It does not accept the policy scope.
    Policy,
    /// It lacks a label, which the Bloom filter told.
    Labels,
    /// It lacks a label, though the Bloom filter passed it: the exact check told.
    LabelsExact,
    /// It refused this class lately.
    RefusedClass,
}

/// An instance of the class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its slot.
    pub slot: Slot,
    /// Why it is out, if it is.
    pub why_not: Option<WhyNot>,
    /// What it would cost.
    pub estimate: Estimate,
    /// A share of what was sent to it lately, in microseconds.
    pub recent_us: u64,
    /// The estimate with new tokens weighed, and that share: what the choice of the smallest estimate goes by, in microseconds.
    pub cost_us: u64,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Every registered instance of the class.
    pub candidates: Vec<Candidate>,
    /// Who would get the request.
    pub winner: Option<Slot>,
    /// Prompt length that was reckoned with.
    pub prompt_tokens: u32,
    /// How its new tokens counted.
    pub weight: Weight,
}

/// Explains. `None` where there is no such class.
#[must_use]
pub fn explain(aft: &Aft, shared: &Shared, query: &Query) -> Option<Explanation> {
    let config = &aft.config;
    let class_ix = config.class(query.class)?;
    let class = config.classes.get(class_ix)?;
    let state = aft.class(class_ix)?;
    let slots = usize::from(config.limits.instances);
    let mut scratch = Scratch::new(slots, usize::from(config.limits.classes));
    let mut bloom = Bloom::<4>::new();
    for label in &query.labels {
        bloom.insert(*label);
    }
    let need = Need {
        class: class_ix,
        policy: query.policy,
        bloom: bloom.words(),
    };
    let loads = LoadOverlay::new(slots);
    candidates(aft, &shared.live, &loads, &need, query.now_us, &mut scratch);
    let passed = scratch.candidates.clone();
    let passes = |slot: Slot| {
        shared.live.accepts_new(slot, aft.incarnation(slot))
            && passed
                .get(slot.index() / 64)
                .is_some_and(|word| word >> (slot.0 % 64) & 1 != 0)
    };
    let overlay = Overlay::new(1);
    let known = Known {
        residency: &aft.residency,
        now_s: aft.now_s,
        overlay: &overlay,
        consumed: u64::MAX,
    };
    scratch
        .reuse
        .compute(&known, query.catalogue, query.domain, &query.prefixes);
    let prompt_tokens = match query.prompt_tokens {
        0 => class.default_prompt_tokens,
        told => told.min(class.max_prompt_tokens),
    };
    let view = View {
        aft,
        loads: &loads,
        inflight: &shared.inflight,
        charges: Charges::NONE,
    };
    let why_nots: Vec<_> = state
        .members
        .iter()
        .map(|slot| {
            let why_not = if passes(slot) {
                (!aft.has_labels(slot, &query.labels)).then_some(WhyNot::LabelsExact)
            } else {
                Some(why_not(aft, shared, query, &bloom, slot))
            };
            (slot, why_not)
        })
        .collect();
    for (slot, why_not) in &why_nots {
        if why_not.is_some() {
            scratch.exclude(*slot);
        }
    }
    let weight = match class.policy {
        PolicyKind::Ttft => {
            let thrift_per_s = config.dispatch.thrift_per_s;
            least::weight(&view, thrift_per_s, &scratch.candidates)
        }
        _ => Weight::ONE,
    };
    let candidate = |(slot, why_not)| {
        let depth = scratch.reuse.depth(slot);
        Candidate {
            slot,
            why_not,
            estimate: view.estimate(slot, prompt_tokens, depth),
            recent_us: view.recent_us(slot),
            cost_us: view.cost_us(slot, prompt_tokens, depth, weight),
        }
    };
    let listed = why_nots.into_iter().map(candidate).collect();
    let task = Task {
        class: class_ix,
        prompt_tokens,
        flow_hash: query.flow_hash,
    };
    let winner = policy::pick(class.policy, &view, &task, &config.dispatch, &mut scratch);
    Some(Explanation {
        candidates: listed,
        winner,
        prompt_tokens,
        weight,
    })
}

fn why_not(aft: &Aft, shared: &Shared, query: &Query, bloom: &Bloom<4>, slot: Slot) -> WhyNot {
    match shared.live.state(slot) {
        LiveState::Absent | LiveState::Down => return WhyNot::Down,
        LiveState::Draining => return WhyNot::Draining,
        LiveState::Up => {}
    }
    if !aft.available.test(slot) {
        return WhyNot::Unavailable;
    }
    if aft
        .policy_mask(query.policy)
        .is_some_and(|mask| !mask.test(slot))
    {
        return WhyNot::Policy;
    }
    let lacks = aft.bloom.iter().zip(bloom.words()).any(|(filter, need)| {
        filter
            .get(slot.index())
            .is_none_or(|has| has & need != *need)
    });
    if lacks {
        WhyNot::Labels
    } else {
        WhyNot::RefusedClass
    }
}
