//! Other routers' algorithms, each fed as it is fed where it runs.
//!
//! | module | is |
//! |---|---|
//! | [`simple`] | round-robin, random, least requests, two choices, Maglev |
//! | [`sglang`] | SGLang's cache-aware router |
//! | [`llmd`] | llm-d's, Gateway API's endpoint picker, with its default weights |
//! | [`preble`] | Preble's exploit or explore |
//! | [`oracle`] | the AFR's estimate from the engines' true state at every instant: the limit |
//! | [`recency`] | what a router remembers to have sent where, within a bound |
//!
//! Dynamo's own router is not here: it runs from its own crates, in `cluster/`.

pub mod recency;
pub mod simple;
pub mod sglang;
pub mod llmd;
pub mod preble;
pub mod oracle;

use afr_perf::rng::SplitMix64;

/// One of those for which `cost` is smallest, at random.
fn least<C: PartialOrd + Copy>(
    count: usize,
    dice: &mut SplitMix64,
    cost: impl Fn(usize) -> C,
) -> usize {
    let mut best: Vec<usize> = Vec::new();
    let mut least = None;
    for at in 0..count {
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
    best.get(chosen).copied().unwrap_or_default()
}
