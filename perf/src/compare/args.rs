//! The command line of `afr-compare`.

use std::path::PathBuf;

use clap::Parser;

use super::contender::Contender;
use crate::emulator::args::positive;

const EXAMPLE: &str = "\
Example:
  afr-compare                                     everything, about ten minutes
  afr-compare --quick                             shorter runs, about three minutes
  afr-compare --contenders direct-bare,afr --phases latency
  afr-compare --trace conversation_trace.jsonl --phases ttft

Routers are installed from PyPI into target/tools/routers. Exit code: 0 compared, 1 a request was broken outside the search
for the highest rate, 2 not compared.";

/// Puts the AFR and real routers from PyPI, in turn, between the same clients and the same emulated engines.
#[derive(Clone, Debug, Parser)]
#[command(name = "afr-compare", version, after_help = EXAMPLE)]
pub struct CompareArgs {
    /// Print the result as JSON; it is written to result.json under --out in any case
    #[arg(long)]
    pub json: bool,
    /// Shorter runs: coarser percentiles
    #[arg(long)]
    pub quick: bool,
    /// Who is compared, in this order
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Contender::ALL)]
    pub contenders: Vec<Contender>,
    /// What is measured
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Phase::ALL)]
    pub phases: Vec<Phase>,
    /// Instances, all alike
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub instances: u8,
    /// Seed of everything random in the workload
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Requests a second while latency is measured
    #[arg(long, default_value_t = 50.0, value_name = "RATE", value_parser = positive)]
    pub latency_rate: f64,
    /// A rate is held if 99 of 100 requests have their first token so long after their arrival
    #[arg(long, default_value_t = 50.0, value_name = "MS", value_parser = positive)]
    pub within_ms: f64,
    /// Requests of the replay that TTFT is taken from. Default: 1000, with --quick 200
    #[arg(long, value_parser = clap::value_parser!(u32).range(10..=12_000))]
    pub requests: Option<u32>,
    /// Arrivals of the replay per time, relative to the workload's own
    #[arg(long, default_value_t = 4.0, value_parser = positive)]
    pub rate: f64,
    /// Emulated seconds in a real one, in the replay
    #[arg(long, default_value_t = 2.0, value_parser = positive)]
    pub time_scale: f64,
    /// Conversation trace in Mooncake's format for the replay. Default: agentic sessions are made up
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Where results go
    #[arg(long, default_value = "target/compare", value_name = "DIRECTORY")]
    pub out: PathBuf,
    /// Where routers are installed
    #[arg(long, default_value = "target/tools/routers", value_name = "DIRECTORY")]
    pub tools: PathBuf,
    /// Keep the directories of logs and configurations, and say where they are
    #[arg(long)]
    pub keep: bool,
    /// Remove what killed labs left behind, and do nothing else
    #[arg(long)]
    pub clean: bool,
}

/// What is measured.
#[derive(Copy, Clone, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Phase {
    /// Time to the first token where engines answer at once
    Latency,
    /// The highest rate held where engines answer at once
    Rate,
    /// Time to the first token where engines take their time, and cache reuse
    Ttft,
}

impl Phase {
    /// All, in their order.
    pub const ALL: [Self; 3] = [Self::Latency, Self::Rate, Self::Ttft];
}

impl CompareArgs {
    /// Requests of one measurement of latency.
    #[must_use]
    pub const fn latency_requests(&self) -> u32 {
        if self.quick { 120 } else { 600 }
    }

    /// Seconds of one step of the search for the highest rate.
    #[must_use]
    pub const fn step_s(&self) -> f64 {
        if self.quick { 1.0 } else { 2.0 }
    }

    /// How near the search for the highest rate goes: what was held and what was not differ by no more.
    #[must_use]
    pub const fn step_ratio(&self) -> f64 {
        if self.quick { 1.5 } else { 1.1 }
    }

    /// Requests of the replay.
    #[must_use]
    pub fn replay_requests(&self) -> u32 {
        self.requests
            .unwrap_or(if self.quick { 200 } else { 1_000 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        CompareArgs::command().debug_assert();
        let args = CompareArgs::try_parse_from(["afr-compare", "--quick"]).unwrap();
        assert_eq!(args.contenders, Contender::ALL);
        assert_eq!((args.replay_requests(), args.step_s()), (200, 1.0));
        let words = ["afr-compare", "--contenders=afr,smg", "--phases=ttft"];
        let args = CompareArgs::try_parse_from(words).unwrap();
        assert_eq!(args.contenders, [Contender::Afr, Contender::Smg]);
        assert_eq!(args.phases, [Phase::Ttft]);
    }
}
