//! `explain`: the worker's own decision, on the control core's view of the AFT, with names.

use std::sync::Arc;

use afr_dataplane::aft::Aft;
use afr_dataplane::config::{Class, PolicyKind, Saturation};
use afr_dataplane::explain::{Candidate, Explanation, Query, WhyNot, explain as decide};
use afr_dataplane::message::Shared;
use afr_wire::{DomainId, MAX_LABELS, MAX_PREFIXES, PolicyScope, Prefix, Signature};

use super::error::{ApiError, Entity};
use super::platform::Site;
use super::protocol::{ExplainRequest, PrefixText};
use super::view::{CandidateView, ExplanationView};
use super::{names, resolve};

/// Where the request would go, and why.
pub(super) async fn explain(
    site: &Site,
    request: ExplainRequest,
) -> Result<ExplanationView, ApiError> {
    let prefixes = prefixes(&request.prefixes)?;
    if request.labels.len() > MAX_LABELS {
        let given = format!("{} labels", request.labels.len());
        return Err(ApiError::invalid("labels", given, at_most(MAX_LABELS)));
    }
    let shared = Arc::clone(&site.shared);
    let look = site.core.look(move |core| {
        let aft = core.aft();
        let now_us = core.now().mono_us;
        answer(aft, &shared, &request, prefixes, now_us)
    });
    look.await?
}

fn answer(
    aft: &Aft,
    shared: &Shared,
    request: &ExplainRequest,
    prefixes: Vec<Prefix>,
    now_us: u64,
) -> Result<ExplanationView, ApiError> {
    let (_, class) = resolve::class(&aft.config, &request.class)?;
    let catalogue = resolve::catalogue(&aft.config, request.catalogue)?;
    let query = Query {
        class: class.id,
        labels: resolve::labels(catalogue, &request.labels)?,
        prefixes,
        catalogue: catalogue.map(|c| c.version).unwrap_or_default(),
        domain: DomainId(request.domain),
        policy: PolicyScope(request.policy),
        prompt_tokens: request.prompt_tokens,
        flow_hash: request.flow_hash,
        now_us,
    };
    let explanation = decide(aft, shared, &query).ok_or_else(|| {
        let names = aft
            .config
            .classes
            .iter()
            .map(|(_, class)| class.name.clone());
        ApiError::unknown(Entity::Class, &*request.class, names)
    })?;
    Ok(view(aft, class, &explanation))
}

fn view(aft: &Aft, class: &Class, explanation: &Explanation) -> ExplanationView {
    let name = |slot| aft.instance(slot).map(|instance| instance.name.clone());
    let mut candidates: Vec<_> = explanation
        .candidates
        .iter()
        .filter_map(|candidate| candidate_view(aft, candidate))
        .collect();
    candidates.sort_by(|a, b| {
        let key = |c: &CandidateView| (c.why_not.is_some(), c.cost_us, c.id);
        key(a).cmp(&key(b))
    });
    let winner = explanation.winner.and_then(name);
    ExplanationView {
        class: class.name.clone(),
        policy: names::policy(class.policy).to_owned(),
        prompt_tokens: explanation.prompt_tokens,
        weight_per_mille: explanation.weight.per_mille(),
        objective_us: class.objective_us,
        reason: reason(
            class,
            aft.config.dispatch.near_tie_us,
            &candidates,
            winner.as_deref(),
        ),
        candidates,
        winner,
    }
}

fn candidate_view(aft: &Aft, candidate: &Candidate) -> Option<CandidateView> {
    let instance = aft.instance(candidate.slot)?;
    let estimate = &candidate.estimate;
    Some(CandidateView {
        id: instance.id.0,
        instance: instance.name.clone(),
        why_not: candidate.why_not.map(|why| why_not(why).to_owned()),
        pending_tokens: estimate.pending_tokens,
        in_flight_tokens: estimate.in_flight_tokens,
        reuse_tokens: estimate.reuse_tokens,
        queue_us: estimate.queue_us,
        prefill_us: estimate.prefill_us,
        pressure_us: estimate.pressure_us,
        total_us: estimate.total_us(),
        recent_us: candidate.recent_us,
        cost_us: candidate.cost_us,
    })
}

const fn why_not(why: WhyNot) -> &'static str {
    match why {
        WhyNot::Down => "believed dead",
        WhyNot::Draining => "draining",
        WhyNot::Unavailable => "reports that it drains or refuses",
        WhyNot::Policy => "does not accept the policy scope",
        WhyNot::Labels => "lacks a label",
        WhyNot::LabelsExact => "lacks a label (a Bloom false positive)",
        WhyNot::RefusedClass => "refused the class lately",
    }
}

/// Why the winner, in a sentence.
fn reason(
    class: &Class,
    near_tie_us: u32,
    candidates: &[CandidateView],
    winner: Option<&str>,
) -> String {
    let eligible: Vec<_> = candidates.iter().filter(|c| c.why_not.is_none()).collect();
    let Some(winner) = eligible.iter().find(|c| Some(&*c.instance) == winner) else {
        return if candidates.is_empty() {
            "no instance serves the class: the flow is rejected".to_owned()
        } else {
            "every instance of the class is out: the flow is rejected".to_owned()
        };
    };
    let least_us = eligible.iter().map(|c| c.total_us).min().unwrap_or(0);
    let least_cost_us = eligible.iter().map(|c| c.cost_us).min().unwrap_or(0);
    let tied_us = least_cost_us.saturating_add(u64::from(near_tie_us));
    let tied = eligible.iter().filter(|c| c.cost_us <= tied_us).count();
    let is_thrifty = winner.total_us > least_us.saturating_add(u64::from(near_tie_us));
    let held = match winner.reuse_tokens {
        0 => String::new(),
        tokens => format!("; it holds {tokens} tokens of the prompt"),
    };
    let choice = match (class.policy, tied) {
        _ if eligible.len() == 1 => "the only candidate".to_owned(),
        (PolicyKind::Ttft, 1) if is_thrifty => {
            "smallest cost: all have work waiting, which makes new tokens count for more".to_owned()
        }
        (PolicyKind::Ttft, 1) => "smallest estimated time to first token".to_owned(),
        (PolicyKind::Ttft, tied) => format!(
            "one of {tied} candidates within {near_tie_us} us of the smallest estimate; the flow's hash decides"
        ),
        (PolicyKind::Weighted, _) => "best weighted score of queue, KV and prefix".to_owned(),
        (PolicyKind::LeastLoad, _) => "fewest tokens waiting".to_owned(),
        (PolicyKind::TwoChoices, _) => "the less loaded of two drawn by the flow's hash".to_owned(),
        (PolicyKind::Maglev, _) => "consistent hashing of the flow".to_owned(),
        (PolicyKind::RoundRobin, _) => "its turn".to_owned(),
    };
    format!("{choice}{held}{}", beyond_objective(class, least_us))
}

/// What happens besides, where even the smallest estimate is beyond the class's objective.
fn beyond_objective(class: &Class, least_us: u64) -> String {
    let Some(objective_us) = class.objective_us.filter(|o| least_us > u64::from(*o)) else {
        return String::new();
    };
    let spilled = match class.spill {
        Some(_) => "a flow that allows it is spilled, any other is ",
        None => "the flow is ",
    };
    let handled = match class.saturation {
        Saturation::LeastBad => "dispatched to the smallest estimate all the same",
        Saturation::Reject => "rejected",
    };
    format!("; every candidate is beyond the objective of {objective_us} us: {spilled}{handled}")
}

fn prefixes(given: &[PrefixText]) -> Result<Vec<Prefix>, ApiError> {
    if given.len() > MAX_PREFIXES {
        let count = format!("{} prefixes", given.len());
        return Err(ApiError::invalid("prefixes", count, at_most(MAX_PREFIXES)));
    }
    let mut last = 0;
    let mut prefixes = Vec::with_capacity(given.len());
    for prefix in given {
        if prefix.depth <= last {
            let allowed = "depths are at least 1 and strictly ascending";
            return Err(ApiError::invalid("prefixes.depth", prefix.depth, allowed));
        }
        last = prefix.depth;
        prefixes.push(Prefix {
            depth: prefix.depth,
            signature: signature(&prefix.signature)?,
        });
    }
    Ok(prefixes)
}

fn signature(given: &str) -> Result<Signature, ApiError> {
    let is_hex = given.len() == 8 && given.bytes().all(|byte| byte.is_ascii_hexdigit());
    let value = u32::from_str_radix(given, 16).ok().filter(|_| is_hex);
    let value = value.ok_or_else(|| {
        let allowed = "8 hexadecimal digits";
        ApiError::invalid("prefixes.signature", given, allowed)
    })?;
    Ok(Signature(value.to_be_bytes()))
}

fn at_most(most: usize) -> String {
    format!("at most {most}, as many as a request carries")
}
