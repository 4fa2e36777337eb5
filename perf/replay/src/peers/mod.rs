//! Other routers' algorithms, each fed as it is fed where it runs.
//!
//! | module | is |
//! |---|---|
//! | [`simple`] | round-robin, random, least requests, two choices, Maglev |
//! | [`sglang`] | SGLang's cache-aware router |
//! | [`llmd`] | llm-d's, Gateway API's endpoint picker, with its default weights |
//! | [`preble`] | Preble's exploit or explore |
//! | [`dynamo`] | Dynamo's published cost |
//! | [`oracle`] | the AFR's estimate from the engines' true state at every instant: the limit |
//! | [`recency`] | what a router remembers to have sent where, within a bound |
//!
//! Dynamo's own router is not here: it runs from its own crates, in `cluster/`, where engines are equal and sound;
//! elsewhere [`dynamo`], its published cost, stands in for it.
//!
//! What a request needs and which instances are up is not theirs to find out here: they choose among candidates.

pub mod recency;
pub mod simple;
pub mod sglang;
pub mod llmd;
pub mod preble;
pub mod dynamo;
pub mod oracle;

use afr_perf::rng::SplitMix64;

use crate::router::{Instance, RouteError};
use crate::workload::Job;

/// One of those candidates for which `cost` is smallest, at random.
fn least<C: PartialOrd + Copy>(
    job: &Job,
    candidates: &[Instance],
    dice: &mut SplitMix64,
    cost: impl Fn(Instance) -> C,
) -> Result<Instance, RouteError> {
    let mut best: Vec<Instance> = Vec::new();
    let mut least = None;
    for at in candidates.iter().copied() {
        let here = cost(at);
        if least.is_none_or(|least| here < least) {
            least = Some(here);
            best.clear();
        }
        if least == Some(here) {
            best.push(at);
        }
    }
    let chosen = dice.below(best.len() as u64) as usize;
    let none = RouteError::NoCandidate { job: job.id };
    best.get(chosen).copied().ok_or(none)
}
