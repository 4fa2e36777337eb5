//! The command line of `afr-emulator`.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};

use clap::builder::RangedU64ValueParser;

use crate::engine::EngineConfig;
use crate::trust::TrustArgs;

/// Name of the model where no other is given.
pub(crate) const MODEL: &str = "emulated";

const EXAMPLE: &str = "\
Example:
  afr-emulator --instance-id 11 --listen '[::]:8000' --classes 1,2 --labels model:llama-3-70b,tool:search \\
      --report-to '[fd00:af::1]:4724' --key-id 1 --master-key 000102030405060708090a0b0c0d0e0f

  curl -N -d '{\"prompt\": \"hello\", \"max_tokens\": 8, \"stream\": true}' 'http://[::1]:8000/v1/completions'";

/// Emulates one LLM inference instance: OpenAI-style HTTP, an engine model in real time, state reports to AFRs.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "afr-emulator", version, after_help = EXAMPLE)]
pub struct EmulatorArgs {
    /// Number of the instance, as the AFR's configuration has it
    #[arg(long)]
    pub instance_id: u32,
    /// Address and port to serve on; port 0 for any
    #[arg(long, default_value = "[::]:8000")]
    pub listen: SocketAddr,
    /// Name of the model served
    #[arg(long, default_value = MODEL)]
    pub model: String,
    /// Capability classes served, by number
    #[arg(long, value_delimiter = ',', value_name = "ID")]
    pub classes: Vec<u32>,
    /// Labels carried
    #[arg(long, value_delimiter = ',', value_name = "LABEL")]
    pub labels: Vec<String>,
    /// Print the ready line as JSON
    #[arg(long)]
    pub json: bool,
    /// Sizes and speed.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Send state reports to this AFR; may be given several times
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "[ADDRESS]:PORT",
        help_heading = "Reports"
    )]
    pub report_to: Vec<SocketAddrV6>,
    /// Send them from this address
    #[arg(long, default_value = "::", help_heading = "Reports")]
    pub report_source: Ipv6Addr,
    /// Shortest time between two reports
    #[arg(
        long,
        default_value_t = 20,
        value_name = "MS",
        help_heading = "Reports"
    )]
    pub report_interval_ms: u64,
    /// Longest time between two reports
    #[arg(
        long,
        default_value_t = 200,
        value_name = "MS",
        help_heading = "Reports"
    )]
    pub heartbeat_ms: u64,
    /// Put reports into the replies, too (needs CAP_NET_RAW)
    #[arg(long, help_heading = "Reports")]
    pub transit: bool,
    /// Keys, catalogue, signature domain.
    #[command(flatten)]
    pub trust: TrustArgs,
}

/// Sizes and speed of the engine.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Engine")]
pub struct EngineArgs {
    /// Blocks of 512 tokens in the KV store
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..))]
    pub kv_blocks: u32,
    /// Most sequences in a batch
    #[arg(long, default_value_t = 256, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub max_sequences: usize,
    /// Most tokens in a batch
    #[arg(long, default_value_t = 8192, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_batched_tokens: u32,
    /// Speed relative to the engine model's
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    pub speed: f64,
    /// Emulated seconds in a real one. Reports tell rates per real second, metrics emulated times
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    pub time_scale: f64,
    /// Tokens of an answer in a chunk of its stream, but for the first, which is sent alone
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    pub stream_tokens: u32,
}

impl From<&EngineArgs> for EngineConfig {
    fn from(args: &EngineArgs) -> Self {
        Self {
            kv_blocks: args.kv_blocks,
            max_sequences: args.max_sequences,
            max_batched_tokens: args.max_batched_tokens,
            speed: args.speed,
            notice_tokens: args.stream_tokens,
        }
    }
}

/// A number above 0, and finite.
pub(crate) fn positive(text: &str) -> Result<f64, NotPositive> {
    let number: f64 = text.parse().map_err(|_| NotPositive)?;
    if number.is_finite() && number > 0.0 {
        Ok(number)
    } else {
        Err(NotPositive)
    }
}

/// Not a number above 0.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a number above 0 wanted")]
pub(crate) struct NotPositive;

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_command_line_is_consistent() {
        EmulatorArgs::command().debug_assert();
        let args = EmulatorArgs::try_parse_from([
            "afr-emulator",
            "--instance-id=3",
            "--classes=1,2",
            "--labels=a,b",
            "--report-to=[::1]:1,[::1]:2",
            "--speed=0.33",
        ])
        .unwrap();
        assert_eq!((args.classes.len(), args.report_to.len()), (2, 2));
        assert_eq!(EngineConfig::from(&args.engine).speed, 0.33);
    }

    #[test]
    fn what_would_stop_time_is_refused() {
        for wrong in [
            "--speed=0",
            "--time-scale=-1",
            "--speed=inf",
            "--kv-blocks=0",
        ] {
            let parsed = EmulatorArgs::try_parse_from(["afr-emulator", "--instance-id=3", wrong]);
            assert!(parsed.is_err(), "{wrong}");
        }
    }
}
