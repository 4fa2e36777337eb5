//! The command line of `afr-demo`.

use std::path::PathBuf;

use clap::Parser;

use super::outcome::Policy;
use crate::emulator::args::positive;

const EXAMPLE: &str = "\
Example:
  afr-demo                                  all three policies, about four minutes
  afr-demo --policies afr --requests 200    a quick look at one
  afr-demo --json                           the result on standard output, too
  afr-demo --clean                          remove what a killed demo left behind";

/// Replays one workload through afrd under three dispatch policies, on real packets between network namespaces.
#[derive(Clone, Debug, Parser)]
#[command(name = "afr-demo", version, after_help = EXAMPLE)]
pub struct DemoArgs {
    /// Print the result as JSON; it is written to result.json under --out in any case
    #[arg(long)]
    pub json: bool,
    /// Seed of everything random in the workload
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Requests of each run
    #[arg(long, default_value_t = 1_400, value_parser = clap::value_parser!(u32).range(10..=12_000))]
    pub requests: u32,
    /// Arrivals per time, relative to the trace's own
    #[arg(long, default_value_t = 4.0, value_parser = positive)]
    pub rate: f64,
    /// Emulated seconds in a real one; every time shown is emulated
    #[arg(long, default_value_t = 2.0, value_parser = positive)]
    pub time_scale: f64,
    /// Policies to run, in this order
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Policy::ALL)]
    pub policies: Vec<Policy>,
    /// Conversation trace in Mooncake's format. Default: the environment's AFR_TRACE, else the usual place, else agentic
    /// sessions are made up
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Where results go
    #[arg(long, default_value = "target/demo", value_name = "DIRECTORY")]
    pub out: PathBuf,
    /// Keep the directories of logs and configurations, and say where they are
    #[arg(long)]
    pub keep: bool,
    /// Remove what killed demos and tests left behind, and do nothing else
    #[arg(long)]
    pub clean: bool,
}

/// The environment's word for [`DemoArgs::trace`].
const TRACE_VARIABLE: &str = "AFR_TRACE";
/// Where the conversation trace is looked for if none is given, relative to the repository.
const USUAL_TRACE: &str = "../shared/traces/mooncake/conversation_trace.jsonl";

impl DemoArgs {
    /// The trace to replay, if there is one.
    #[must_use]
    pub fn trace(&self) -> Option<PathBuf> {
        let told = || std::env::var_os(TRACE_VARIABLE).map(PathBuf::from);
        let usual = || Some(PathBuf::from(USUAL_TRACE)).filter(|path| path.is_file());
        self.trace.clone().or_else(told).or_else(usual)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        DemoArgs::command().debug_assert();
        let args = DemoArgs::try_parse_from(["afr-demo"]).unwrap();
        assert_eq!(args.policies, Policy::ALL);
        let args = DemoArgs::try_parse_from(["afr-demo", "--policies", "afr,least-load"]).unwrap();
        assert_eq!(args.policies, [Policy::Afr, Policy::LeastLoad]);
        assert!(DemoArgs::try_parse_from(["afr-demo", "--requests", "0"]).is_err());
    }
}
