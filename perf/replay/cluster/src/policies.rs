//! Routers by name.

use afr_perf::engine::cost::prefill_rate_tokens_s;
use afr_replay::afr::Afrs;
use afr_replay::peers::llmd::{EndpointPicker, SCRAPE_US};
use afr_replay::peers::oracle::Oracle;
use afr_replay::peers::preble::Preble;
use afr_replay::peers::sglang::CacheAware;
use afr_replay::peers::simple::{LeastRequests, Maglev, Random, RoundRobin, TwoChoices};
use afr_replay::router::Router;
use afr_replay::workload::Workload;
use anyhow::{Context, Result, bail};
use dynamo_mocker::replay::ReplayRouterMode;

use crate::args::Args;
use crate::simulate::Outcome;
use crate::{dynamo, simulate};

/// All there are, in the order of the table.
pub(crate) const ALL: [&str; 13] = [
    "round-robin",
    "random",
    "least-requests",
    "two-choices",
    "maglev",
    "sglang",
    "llm-d",
    "preble",
    "dynamo-rr",
    "dynamo-kv",
    "afr",
    "afr-weighted",
    "oracle",
];

/// Tokens in an engine's batch at the most.
const BATCH_TOKENS: u32 = 8_192;

/// Runs a workload under the router of this name.
pub(crate) fn run(name: &str, workload: &Workload, args: &Args, seed: u64) -> Result<Outcome> {
    let (size, lag_ms) = (args.cluster(), args.kv_event_lag_ms);
    let count = size.instances;
    let afr = |policy: &str| -> Result<Box<dyn Router>> {
        let rate = prefill_rate_tokens_s(BATCH_TOKENS) as u32;
        let afrs = Afrs::new(&args.afr.options(policy, seed), count, rate)?;
        Ok(Box::new(afrs))
    };
    let router: Box<dyn Router> = match name {
        "round-robin" => Box::new(RoundRobin::new(count)),
        "random" => Box::new(Random::new(count, seed)),
        "least-requests" => Box::new(LeastRequests::new(count, seed)),
        "two-choices" => Box::new(TwoChoices::new(count, seed)),
        "maglev" => Box::new(Maglev::new(count, seed)),
        "sglang" => Box::new(CacheAware::new(count, seed)),
        "llm-d" => Box::new(EndpointPicker::new(count, SCRAPE_US, seed)),
        "preble" => Box::new(Preble::new(count, seed)),
        "oracle" => Box::new(Oracle::new(count, 0.0, seed)),
        "afr" => afr("ttft")?,
        "afr-weighted" => afr("weighted")?,
        "dynamo-rr" | "dynamo-kv" => {
            let mode = match name {
                "dynamo-kv" => ReplayRouterMode::KvRouter,
                _ => ReplayRouterMode::RoundRobin,
            };
            return dynamo::run(workload, size, mode, lag_ms);
        }
        _ if name.starts_with("oracle:") => {
            let thrift = name.trim_start_matches("oracle:").parse();
            let thrift = thrift.context("\"oracle:NUMBER\" wanted")?;
            Box::new(Oracle::new(count, thrift, seed))
        }
        _ => bail!("no router is called {name:?}; there are {}", ALL.join(", ")),
    };
    simulate::run(workload, size, router)
}
