//! Routers by name.

use afr_perf::engine::cost::prefill_rate_tokens_s;
use afr_replay::afr::Afrs;
use afr_replay::cluster;
use afr_replay::cluster::engine::EngineError;
use afr_replay::peers::dynamo::Dynamo;
use afr_replay::peers::llmd::{EndpointPicker, SCRAPE_US};
use afr_replay::peers::oracle::Oracle;
use afr_replay::peers::preble::Preble;
use afr_replay::peers::sglang::CacheAware;
use afr_replay::peers::simple::{LeastRequests, Maglev, Random, RoundRobin, TwoChoices};
use afr_replay::router::Router;
use afr_replay::scenario::Scenario;
use afr_replay::workload::Workload;
use anyhow::{Context, Result, bail};
use dynamo_mocker::replay::ReplayRouterMode;

use crate::args::Args;
use crate::engine::Machine;
use crate::simulate::Outcome;
use crate::{dynamo, simulate};

/// All there are, in the order of the table.
pub(crate) const ALL: [&str; 14] = [
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
    "dynamo-cost",
    "afr",
    "afr-weighted",
    "oracle",
];

/// Those that run in their own composition of the simulator's replay: on even clusters only.
const COMPOSED: [&str; 2] = ["dynamo-rr", "dynamo-kv"];

/// Tokens in an engine's batch at the most.
const BATCH_TOKENS: u32 = 8_192;

/// All that can run in a scenario. The real router is better than its cost alone, where it runs.
pub(crate) fn all(scenario: &Scenario) -> Vec<&'static str> {
    let is_even = scenario.is_even();
    let can_run = |name: &&str| match *name {
        "dynamo-cost" => !is_even,
        name => is_even || !COMPOSED.contains(&name),
    };
    ALL.into_iter().filter(can_run).collect()
}

/// The router of this name.
fn router(name: &str, args: &Args, scenario: &Scenario, seed: u64) -> Result<Box<dyn Router>> {
    let count = args.instances;
    let afr = |policy: &str| -> Result<Box<dyn Router>> {
        let rate = prefill_rate_tokens_s(BATCH_TOKENS) as u32;
        let mut options = args.afr.options(policy, seed);
        options.labels.clone_from(&scenario.labels);
        let variants = scenario.variants.iter();
        options.needs = variants.map(|variant| variant.needs).collect();
        if scenario.has_deaths() {
            options.dead_after_ms = args.detect_ms as u64;
        }
        Ok(Box::new(Afrs::new(&options, count, rate)?))
    };
    Ok(match name {
        "round-robin" => Box::new(RoundRobin::new(count)),
        "random" => Box::new(Random::new(seed)),
        "least-requests" => Box::new(LeastRequests::new(count, seed)),
        "two-choices" => Box::new(TwoChoices::new(count, seed)),
        "maglev" => Box::new(Maglev::new(count, seed)),
        "sglang" => Box::new(CacheAware::new(count, seed)),
        "llm-d" => Box::new(EndpointPicker::new(count, SCRAPE_US, seed)),
        "preble" => Box::new(Preble::new(count, seed)),
        "dynamo-cost" => Box::new(Dynamo::new(count, seed)),
        "afr" => afr("ttft")?,
        "afr-weighted" => afr("weighted")?,
        "oracle" => Box::new(Oracle::new(count, 0.0, seed)),
        _ if name.starts_with("oracle:") => {
            let thrift = name.trim_start_matches("oracle:").parse();
            let thrift = thrift.context("\"oracle:NUMBER\" wanted")?;
            Box::new(Oracle::new(count, thrift, seed))
        }
        _ => bail!("no router is called {name:?}; there are {}", ALL.join(", ")),
    })
}

/// Runs a workload under the router of this name.
pub(crate) fn run(
    name: &str,
    workload: &Workload,
    scenario: &Scenario,
    args: &Args,
    seed: u64,
) -> Result<Outcome> {
    let size = args.cluster();
    if COMPOSED.contains(&name) {
        if !scenario.is_even() {
            bail!("{name} runs on even clusters only; \"dynamo-cost\" stands in for it elsewhere");
        }
        let mode = match name {
            "dynamo-kv" => ReplayRouterMode::KvRouter,
            _ => ReplayRouterMode::RoundRobin,
        };
        return dynamo::run(workload, size, mode, args.kv_event_lag_ms);
    }
    let mut router = router(name, args, scenario, seed)?;
    if args.replayer {
        if !scenario.is_even() {
            bail!("the simulator's own replay can only do even clusters");
        }
        return simulate::run(workload, size, router);
    }
    let timing = cluster::Timing {
        detect_ms: args.detect_ms,
        ..cluster::Timing::default()
    };
    let mut make = |instance| {
        let machine = Machine::new(instance, size.kv_blocks);
        machine.map_err(|error| EngineError(format!("{error:#}")))
    };
    let (served, tally) = cluster::run(workload, scenario, timing, router.as_mut(), &mut make)?;
    Ok((served, tally, router.counts()))
}
