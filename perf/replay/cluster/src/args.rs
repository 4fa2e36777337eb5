//! The command line.

use std::path::PathBuf;

use afr_replay::afr::{AfrOptions, Depths};
use afr_replay::scenario::Event;
use clap::Parser;

/// Replays a workload in virtual time: the AFR's own dispatch and other routers' algorithms in the same simulated cluster
#[derive(Clone, Debug, Parser)]
#[command(name = "afr-replay", version)]
pub(crate) struct Args {
    /// Trace in Mooncake's format; without one, the workload is made up
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Workloads: "trace", "agents" (long contexts, sub-agents, bursts), "sessions" (short ones); by default the trace if
    /// there is one, else sessions
    #[arg(long, value_delimiter = ',')]
    pub(crate) workload: Vec<String>,
    /// What the cluster is like and what happens: "even", "uneven", "capabilities", "adapters", "dies", "vanishes", "drains",
    /// "slows", "lies", "trouble", or "all"
    #[arg(long, value_delimiter = ',', default_value = "even")]
    pub(crate) scenario: Vec<String>,
    /// Something else that happens: SHARE:INSTANCE:WHAT, the share of the time that requests arrive in, WHAT one of "dies",
    /// "vanishes", "returns", "drains", "undrains", "lies", "confesses", "pace=NUMBER"; may be given several times
    #[arg(long, value_name = "EVENT")]
    pub(crate) event: Vec<Event>,
    /// Speeds of engines relative to the model's, in turn
    #[arg(long, value_delimiter = ',', value_name = "SPEEDS")]
    pub(crate) speeds: Vec<f64>,
    /// From an instance's death to when the control plane, or the AFR, knows of it; the AFR takes 1000 at least
    #[arg(long, value_name = "MS", default_value_t = 1_000.0)]
    pub(crate) detect_ms: f64,
    /// Use the simulator's own replay instead of the loop here
    #[arg(long)]
    pub(crate) replayer: bool,
    /// Runs at the same time; by default one a processor
    #[arg(long, value_name = "COUNT")]
    pub(crate) jobs: Option<usize>,
    /// Arrivals per time relative to the workload's own; several are so many replays
    #[arg(long, value_delimiter = ',', default_value = "1")]
    pub(crate) speedup: Vec<f64>,
    /// Requests a second relative to what an even cluster can serve, measured first; instead of --speedup
    #[arg(long, value_delimiter = ',', conflicts_with = "speedup")]
    pub(crate) load: Vec<f64>,
    /// Requests to replay at the most
    #[arg(long, value_name = "COUNT", default_value_t = usize::MAX, hide_default_value = true)]
    pub(crate) take: usize,
    /// Keep a trace's timestamps as they are, rounded and all
    #[arg(long)]
    pub(crate) as_is: bool,
    /// Engines of the cluster
    #[arg(long, default_value_t = 8)]
    pub(crate) instances: usize,
    /// Blocks of 512 tokens in an engine's KV store
    #[arg(long, default_value_t = 2_048)]
    pub(crate) kv_blocks: usize,
    /// Routers, by name; "all" for every one
    #[arg(long, value_delimiter = ',', default_value = "all")]
    pub(crate) policies: Vec<String>,
    /// Seeds, each a run: of the jitter of arrivals, the sessions, the routers' dice
    #[arg(long, value_delimiter = ',', default_value = "1,2,3")]
    pub(crate) seeds: Vec<u64>,
    /// How late KV events reach Dynamo's router
    #[arg(long, value_name = "MS", default_value_t = 0.0)]
    pub(crate) kv_event_lag_ms: f64,
    /// Write results here: result.json, a line for each workload and load; detail.json, the same with everything that was
    /// counted; index.html, tables and plots
    #[arg(long, value_name = "DIRECTORY", default_value = "target/replay")]
    pub(crate) out: PathBuf,
    /// The AFR.
    #[command(flatten)]
    pub(crate) afr: AfrArgs,
    /// Made-up sessions.
    #[command(flatten)]
    pub(crate) sessions: SessionArgs,
}

/// What varies of the AFR.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "AFR")]
pub(crate) struct AfrArgs {
    /// AFRs that share the cluster, each with its own state
    #[arg(long, default_value_t = 1)]
    pub(crate) afrs: usize,
    /// Workers of each
    #[arg(long, default_value_t = 1)]
    pub(crate) workers: usize,
    /// From when an engine is sampled to when an AFR has the report
    #[arg(long, value_name = "MS", default_value_t = 0.2)]
    pub(crate) report_delay_ms: f64,
    /// Share of reports that are lost
    #[arg(long, default_value_t = 0.0)]
    pub(crate) report_loss: f64,
    /// Shortest time between two report datagrams of an instance; the longest is ten times that, at least 200 ms
    #[arg(long, value_name = "MS", default_value_t = 10.0)]
    pub(crate) report_interval_ms: f64,
    /// Replies carry no reports
    #[arg(long)]
    pub(crate) no_in_band: bool,
    /// Shortest time between two generations of the AFT
    #[arg(long, value_name = "MS", default_value_t = 1.0)]
    pub(crate) publish_ms: f64,
    /// Depths of the prompt that requests carry: "endpoint", "octaves" or "none"
    #[arg(long, default_value = "endpoint", value_parser = depths)]
    pub(crate) depths: Depths,
    /// The class's latency objective, beyond which requests are rejected; 0 for none
    #[arg(long, value_name = "MS", default_value_t = 0.0)]
    pub(crate) objective_ms: f64,
    /// A line of [dispatch] in afrd.toml; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) dispatch: Vec<String>,
}

fn depths(text: &str) -> Result<Depths, String> {
    match text {
        "endpoint" => Ok(Depths::Endpoint),
        "octaves" => Ok(Depths::Octaves),
        "none" => Ok(Depths::None),
        _ => Err("\"endpoint\", \"octaves\" or \"none\" wanted".to_owned()),
    }
}

impl AfrArgs {
    /// The options of a run under a class policy.
    pub(crate) fn options(&self, policy: &str, seed: u64) -> AfrOptions {
        let micros = |ms: f64| (ms * 1_000.0).max(0.0) as u64;
        let shortest_us = micros(self.report_interval_ms).max(1);
        AfrOptions {
            afrs: self.afrs.max(1),
            workers: self.workers.max(1),
            policy: policy.to_owned(),
            publish_us: micros(self.publish_ms),
            report_interval_us: (shortest_us, (10 * shortest_us).max(200_000)),
            report_delay_us: micros(self.report_delay_ms),
            report_loss: self.report_loss,
            in_band: !self.no_in_band,
            depths: self.depths,
            dispatch: self.dispatch.join("\n"),
            objective_us: micros(self.objective_ms) as u32,
            seed,
            ..AfrOptions::default()
        }
    }
}

/// The shape of made-up sessions.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Made-up sessions")]
pub(crate) struct SessionArgs {
    /// Requests, where --take does not say
    #[arg(long, default_value_t = 4_000)]
    pub(crate) requests: usize,
    /// Sessions that begin in a second, at --speedup 1
    #[arg(long, default_value_t = 1.0)]
    pub(crate) per_second: f64,
    /// Kinds of agent
    #[arg(long, default_value_t = 4)]
    pub(crate) kinds: u64,
    /// Tokens of a kind's system prompt
    #[arg(long, default_value_t = 2_048)]
    pub(crate) system_tokens: u32,
    /// Mean tokens that a session begins with
    #[arg(long, default_value_t = 3_000.0)]
    pub(crate) opening_tokens: f64,
    /// Mean tokens that a turn adds
    #[arg(long, default_value_t = 1_200.0)]
    pub(crate) growth_tokens: f64,
    /// Mean turns
    #[arg(long, default_value_t = 5.0)]
    pub(crate) turns: f64,
}
