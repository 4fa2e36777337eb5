//! A run's figures as the demo shows them.

use super::outcome::{Outcome, Policy, Quantiles};
use crate::lab::Played;

/// What a run under this policy came to.
pub(super) fn outcome(policy: Policy, played: &Played) -> Outcome {
    let Played { outcomes, result } = played;
    let answered = outcomes
        .iter()
        .filter_map(|outcome| outcome.answer.as_ref().ok());
    let to_ms = result.time_scale * 1_000.0;
    Outcome {
        policy,
        ttft_ms: Quantiles {
            mean: result.ttft_ms.mean,
            p50: result.ttft_ms.p50,
            p99: result.ttft_ms.p99,
        },
        prefill_saved: result.prefill_saved,
        imbalance: result.imbalance,
        misdispatched: result.misdispatched as u64,
        broken: result.broken as u64,
        requests: result.requests as u64,
        samples_ms: answered
            .map(|answer| answer.first_token_s * to_ms)
            .collect(),
    }
}
