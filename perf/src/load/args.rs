//! The command line of `afr-load`.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;

use super::target::{ClassSpec, ServicePrefix, ipv6_socket};
use crate::emulator::args::{MODEL, positive};
use crate::trace::Slice;
use crate::trace::sessions::Sessions;
use crate::trust::TrustArgs;

const EXAMPLE: &str = "\
Example:
  afr-load --service-prefix fd00:a9::/96 --port 8000 --class 1=0.7,model:llama-3-70b --class 2=0.3 \\
      --trace conversation_trace.jsonl --requests 400 --rate 4 --time-scale 4 --warmup 50 \\
      --metadata full --key-id 1 --master-key 000102030405060708090a0b0c0d0e0f --json

Exit code: 0 all answered rightly, 1 something broken or misdispatched, 2 not started.";

/// Replays a workload as real TCP connections with Agent-Aware Metadata, checks every byte and measures TTFT.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "afr-load", version, after_help = EXAMPLE)]
pub struct LoadArgs {
    /// Where requests go.
    #[command(flatten)]
    pub destination: DestinationArgs,
    /// What is sent, and when.
    #[command(flatten)]
    pub workload: WorkloadArgs,
    /// Metadata on the connections; `full` needs CAP_NET_RAW
    #[arg(long, value_enum, default_value_t = Metadata::Full)]
    pub metadata: Metadata,
    /// Most connections open at a time. Default: what the limit on open files allows
    #[arg(long, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub max_connections: Option<usize>,
    /// Real seconds that one request may take
    #[arg(long, default_value_t = 60.0, value_name = "S", value_parser = positive)]
    pub timeout_s: f64,
    /// Emulated seconds in a real one, as the instances have it
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    pub time_scale: f64,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// No progress on standard error
    #[arg(long, short)]
    pub quiet: bool,
    /// Keys, catalogue, signature domain.
    #[command(flatten)]
    pub trust: TrustArgs,
    /// Bits of the own address that the key derived for it depends on
    #[arg(
        long,
        default_value_t = 128,
        value_name = "BITS",
        help_heading = "Trust domain",
        value_parser = clap::value_parser!(u8).range(..=128)
    )]
    pub source_prefix_len: u8,
}

/// What of the metadata is sent.
#[derive(Copy, Clone, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Metadata {
    /// Plain connections
    None,
    /// Class, labels, session, prefix signatures
    Full,
}

/// Where requests go.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Destination")]
pub struct DestinationArgs {
    /// Prefix of the service addresses; the last 32 bits are the class
    #[arg(long, value_name = "PREFIX/96", required_unless_present = "target")]
    pub service_prefix: Option<ServicePrefix>,
    /// Port of the service addresses
    #[arg(long, default_value_t = 8000)]
    pub port: u16,
    /// Send everything here instead; of several, requests take them in turn
    #[arg(
        long,
        value_name = "[ADDRESS]:PORT",
        value_parser = ipv6_socket,
        conflicts_with = "service_prefix"
    )]
    pub target: Vec<SocketAddrV6>,
    /// Name of the model asked for
    #[arg(long, default_value = MODEL)]
    pub model: String,
    /// Own address. Default: the kernel's choice
    #[arg(long)]
    pub source: Option<Ipv6Addr>,
    /// How many instances there are, so that idle ones count in the imbalance. Default: as many as answered
    #[arg(long, value_name = "N")]
    pub instances: Option<usize>,
}

/// What is sent, and when.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Workload")]
pub struct WorkloadArgs {
    /// A Mooncake trace; without one, agentic sessions are made up
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Requests to send
    #[arg(long, default_value_t = 200, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub requests: usize,
    /// Requests to leave out at the beginning of the workload
    #[arg(long, default_value_t = 0)]
    pub skip: usize,
    /// Requests to send first and leave out of the figures (counted in --requests)
    #[arg(long, default_value_t = 0)]
    pub warmup: usize,
    /// Arrivals per time, relative to the workload's own
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    pub rate: f64,
    /// Let requests arrive at random (Poisson) so many a second, not when the workload has them
    #[arg(long, value_name = "RATE", conflicts_with = "rate", value_parser = positive)]
    pub arrivals_per_s: Option<f64>,
    /// Cut prompts to so many tokens
    #[arg(long, default_value_t = u32::MAX, value_name = "TOKENS", hide_default_value = true,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub max_input: u32,
    /// Cut answers to so many tokens
    #[arg(long, default_value_t = u32::MAX, value_name = "TOKENS", hide_default_value = true,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub max_output: u32,
    /// A class, its share of the conversations, and the labels its requests need; may be given several times
    #[arg(
        long = "class",
        value_name = "ID[=SHARE][,LABEL]...",
        default_value = "1"
    )]
    pub classes: Vec<ClassSpec>,
    /// Seed of everything random
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Sessions that begin in a second, where they are made up
    #[arg(long, default_value_t = Sessions::default().per_second, value_parser = positive)]
    pub sessions_per_s: f64,
}

impl WorkloadArgs {
    /// Which part of the workload to play.
    #[must_use]
    pub const fn slice(&self) -> Slice {
        Slice {
            skip: self.skip,
            take: self.requests,
            rate: self.rate,
            max_input_tokens: self.max_input,
            max_output_tokens: self.max_output,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_command_line_is_consistent() {
        LoadArgs::command().debug_assert();
        let args = LoadArgs::try_parse_from([
            "afr-load",
            "--service-prefix=fd00:a9::/96",
            "--class=1=0.7,model:a",
            "--class=2",
        ])
        .unwrap();
        assert_eq!(args.workload.classes.len(), 2);
        let args =
            LoadArgs::try_parse_from(["afr-load", "--target=[::1]:1", "--target=[::1]:2"]).unwrap();
        assert_eq!(args.destination.target.len(), 2);
        assert!(
            LoadArgs::try_parse_from(["afr-load"]).is_err(),
            "no destination"
        );
        assert!(LoadArgs::try_parse_from(["afr-load", "--target=127.0.0.1:1"]).is_err());
    }
}
