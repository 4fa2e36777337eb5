//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueHint};

use super::prompt::{DomainSecret, PromptError, read_key, read_prompt, signatures};
use super::render::Detail;
use crate::api::protocol::{CounterFilter, DEFAULT_FLOWS, ExplainRequest, MOST_FLOWS, PrefixText};

const EXAMPLES: &str = "\
Examples:
  afrctl show instances
  afrctl show flows --class chat --instance inst-1 --limit 20
  afrctl explain --class chat --label tool:search --prefix 4:8cf47850 --prompt-tokens 4096
  afrctl drain inst-2
  afrctl top --interval 2
  afrctl --json show counters | jq '.data.drops[] | select(.count > 0)'

Exit status: 0 done; 1 afrd refused, or is unwell; 2 wrong usage, or afrd cannot be asked.";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  afrctl explain --class chat
  afrctl explain --class chat --label tool:search --prefix 4:8cf47850 --prompt-tokens 4096
  afrctl explain --class chat --prompt-file prompt.txt --domain 7 --domain-key-file tenant-7.hex";

/// Shows and steers a running afrd.
#[derive(Debug, Parser)]
#[command(name = "afrctl", version, about, after_help = EXAMPLES)]
pub struct Cli {
    /// afrd's socket: its api.socket
    #[arg(long, global = true, value_name = "PATH", default_value = "/run/afrd.sock", value_hint = ValueHint::FilePath)]
    pub socket: PathBuf,
    /// Print JSON instead of tables
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show a part of afrd's state
    #[command(subcommand)]
    Show(Show),
    /// Tell where a request would go: every candidate, its estimate term by term, who would win and why
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(ExplainArgs),
    /// Give an instance no new flows; those it has go on
    #[command(after_help = "Example:\n  afrctl drain inst-2")]
    Drain {
        /// Name or id of the instance
        instance: String,
    },
    /// Give a drained instance new flows again, whatever the configuration file says
    #[command(after_help = "Example:\n  afrctl undrain inst-2")]
    Undrain {
        /// Name or id of the instance
        instance: String,
    },
    /// Declare an instance dead: its flows get what their class's on_death says
    #[command(after_help = "Example:\n  afrctl down inst-2")]
    Down {
        /// Name or id of the instance
        instance: String,
    },
    /// Declare an instance alive again
    #[command(after_help = "Example:\n  afrctl up inst-2")]
    Up {
        /// Name or id of the instance
        instance: String,
    },
    /// Read the configuration file again; a wrong one is refused and changes nothing
    #[command(after_help = "Example:\n  afrctl reload")]
    Reload,
    /// Tell whether all is well; exit status 1 if not
    #[command(after_help = "Example:\n  afrctl health && echo well")]
    Health,
    /// Tell which afrd answers
    #[command(after_help = "Example:\n  afrctl --json version")]
    Version,
    /// Show rates and instances, refreshing
    #[command(
        after_help = "Examples:\n  afrctl top\n  afrctl top --interval 5\n  afrctl top --once"
    )]
    Top(TopArgs),
}

/// What to show.
#[derive(Debug, Subcommand)]
pub enum Show {
    /// Ports: link, packets, bytes
    #[command(after_help = "Examples:\n  afrctl show ports\n  afrctl show ports --all")]
    Ports(DetailArgs),
    /// Workers: packets, flows, cycles, generation, ring
    #[command(after_help = "Example:\n  afrctl show workers")]
    Workers,
    /// Instances: state, load, reports
    #[command(after_help = "Examples:\n  afrctl show instances\n  afrctl show instances --all")]
    Instances(DetailArgs),
    /// Flows, in no order
    #[command(
        after_help = "Example:\n  afrctl show flows --class chat --instance inst-1 --limit 20"
    )]
    Flows(FlowArgs),
    /// Classes: policy, instances, dispatches
    #[command(after_help = "Example:\n  afrctl show classes")]
    Classes,
    /// What became of packets, by reason
    #[command(
        after_help = "Examples:\n  afrctl show counters\n  afrctl show counters --worker 0 --all"
    )]
    Counters(CounterArgs),
    /// The AFT as a whole: generation, residency, publishing
    #[command(after_help = "Example:\n  afrctl show aft")]
    Aft,
}

/// How much is shown.
#[derive(Debug, Args)]
pub struct DetailArgs {
    /// Show everything there is to each
    #[arg(long)]
    pub all: bool,
}

impl From<DetailArgs> for Detail {
    fn from(args: DetailArgs) -> Self {
        if args.all { Self::All } else { Self::Brief }
    }
}

/// Which flows.
#[derive(Debug, Args)]
pub struct FlowArgs {
    /// Only of this class, by name or id
    #[arg(long, value_name = "CLASS")]
    pub class: Option<String>,
    /// Only of this instance, by name or id
    #[arg(long, value_name = "INSTANCE")]
    pub instance: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = DEFAULT_FLOWS, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_FLOWS)))]
    pub limit: u32,
}

/// Which counters.
#[derive(Debug, Args)]
pub struct CounterArgs {
    /// Only of this worker
    #[arg(long, value_name = "NUMBER")]
    pub worker: Option<u16>,
    /// Those at 0 too, and what each means
    #[arg(long)]
    pub all: bool,
}

impl From<CounterArgs> for CounterFilter {
    fn from(args: CounterArgs) -> Self {
        Self {
            worker: args.worker,
        }
    }
}

/// How `top` runs.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    pub interval: Duration,
    /// Print one screen, over one interval, and end
    #[arg(long)]
    pub once: bool,
}

/// The request to explain.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Class, by name or id
    #[arg(long, value_name = "CLASS")]
    pub class: String,
    /// Label it needs, by name; may be repeated
    #[arg(long = "label", value_name = "LABEL")]
    pub labels: Vec<String>,
    /// Prefix it carries: depth in units of 256 tokens, and signature; may be repeated, depths ascending
    #[arg(long = "prefix", value_name = "DEPTH:HEX", value_parser = prefix)]
    pub prefixes: Vec<PrefixText>,
    /// Length of its prompt in tokens [default: the class's, or that of --prompt-file]
    #[arg(long, value_name = "TOKENS")]
    pub prompt_tokens: Option<u32>,
    /// File with its prompt in UTF-8, from which the signatures of a domain of kind "bytes" are computed
    #[arg(long, value_name = "FILE", conflicts_with = "prefixes", requires_all = ["domain", "key"], value_hint = ValueHint::FilePath)]
    pub prompt_file: Option<PathBuf>,
    /// Signature domain [default: 0]
    #[arg(long, value_name = "NUMBER")]
    pub domain: Option<u16>,
    /// The domain's key, 16 bytes in hexadecimal; others on this machine can see it
    #[arg(long, value_name = "HEX", group = "key", requires = "prompt_file")]
    pub domain_key: Option<DomainSecret>,
    /// File that holds the domain's key, 16 bytes in hexadecimal
    #[arg(long, value_name = "FILE", group = "key", requires = "prompt_file", value_hint = ValueHint::FilePath)]
    pub domain_key_file: Option<PathBuf>,
    /// Version of the label catalogue [default: the current one]
    #[arg(long, value_name = "NUMBER")]
    pub catalogue: Option<u16>,
    /// Policy scope, 0 for none
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub policy: u16,
    /// Hash of the flow, by which near-ties are spread
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub flow_hash: u64,
}

impl ExplainArgs {
    /// The request, signatures computed.
    ///
    /// # Errors
    /// [`PromptError`]: a file cannot be read, or holds no key.
    pub fn into_request(self) -> Result<ExplainRequest, PromptError> {
        let (prefixes, prompt_tokens) = match self.prompt_file {
            None => (self.prefixes, 0),
            Some(file) => {
                let key = match (self.domain_key, self.domain_key_file) {
                    (Some(secret), _) => secret.into(),
                    (None, Some(file)) => read_key(&file)?,
                    (None, None) => return Err(PromptError::NoKey),
                };
                signatures(&key, &read_prompt(&file)?)
            }
        };
        Ok(ExplainRequest {
            class: self.class,
            labels: self.labels,
            prefixes,
            catalogue: self.catalogue,
            domain: self.domain.unwrap_or(0),
            policy: self.policy,
            prompt_tokens: self.prompt_tokens.unwrap_or(prompt_tokens),
            flow_hash: self.flow_hash,
        })
    }
}

fn prefix(text: &str) -> Result<PrefixText, String> {
    let allowed =
        "a prefix is DEPTH:HEX, a depth of 1 to 65535 and 8 hexadecimal digits, such as 4:8cf47850";
    let (depth, signature) = text.split_once(':').ok_or(allowed)?;
    let depth = depth
        .parse()
        .ok()
        .filter(|depth| *depth != 0)
        .ok_or(allowed)?;
    if signature.len() != 8 || !signature.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(allowed.to_owned());
    }
    Ok(PrefixText {
        depth,
        signature: signature.to_ascii_lowercase(),
    })
}

fn interval(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok();
    match seconds {
        Some(seconds) if (0.1..=3_600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("seconds are 0.1 to 3600".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn explain(args: &[&str]) -> Result<ExplainArgs, clap::Error> {
        let line = ["afrctl", "explain", "--class", "chat"].iter().chain(args);
        match Cli::try_parse_from(line)?.command {
            Command::Explain(args) => Ok(args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        fn check(command: &clap::Command) {
            let leaves = command.get_subcommands().filter(|c| c.get_name() != "help");
            let mut has_any = false;
            for leaf in leaves {
                has_any = true;
                check(leaf);
            }
            if !has_any {
                let help = command.get_after_help().map(ToString::to_string);
                let help = help.unwrap_or_default();
                assert!(help.contains("afrctl"), "{}: {help}", command.get_name());
            }
        }
        check(&Cli::command());
    }

    #[test]
    fn prefixes_are_read() {
        let args = explain(&["--prefix", "4:8cf47850", "--prefix", "9:00FF00ff"]).unwrap();
        let texts: Vec<_> = args
            .prefixes
            .iter()
            .map(|p| (p.depth, &*p.signature))
            .collect();
        assert_eq!(texts, [(4, "8cf47850"), (9, "00ff00ff")]);
        for wrong in [
            "4",
            "0:8cf47850",
            "4:8cf4785",
            "4:8cf4785g",
            "65536:8cf47850",
            ":",
        ] {
            let error = explain(&["--prefix", wrong]).unwrap_err().to_string();
            assert!(error.contains("such as 4:8cf47850"), "{error}");
        }
    }

    #[test]
    fn a_prompt_file_wants_a_domain_and_one_key() {
        let file = ["--prompt-file", "p"];
        let with = |more: &[&str]| explain(&[&file, more].concat());
        let key = "000102030405060708090a0b0c0d0e0f";
        assert!(with(&["--domain", "1", "--domain-key", key]).is_ok());
        assert!(with(&["--domain", "1", "--domain-key-file", "k"]).is_ok());
        assert!(with(&["--domain", "1"]).is_err());
        assert!(with(&["--domain-key", key]).is_err());
        assert!(with(&["--domain", "1", "--domain-key", &key[2..]]).is_err());
        assert!(
            with(&[
                "--domain",
                "1",
                "--domain-key",
                key,
                "--prefix",
                "1:00000000"
            ])
            .is_err()
        );
        assert!(explain(&["--domain-key", key]).is_err());
    }

    #[test]
    fn a_key_is_never_printed() {
        let key = "000102030405060708090a0b0c0d0e0f";
        let args = explain(&["--prompt-file", "p", "--domain", "1", "--domain-key", key]).unwrap();
        assert!(!format!("{args:?}").contains("0b0c"));
    }
}
