//! All of it in turn.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use super::args::{CompareArgs, Phase};
use super::contender::Contender;
use super::cpu;
use super::outcome::{Comparison, Latency, Machine, Measured, Rate, Step, not_held};
use super::reading::{Reading, measure};
use super::search::Search;
use super::site::{Pace, Site};
use super::tools::{ToolError, install};
use crate::demo::Narrator;
use crate::lab::{
    AfrdError, Interrupt, LabError, LoadError, LoadProgress, NamespaceError, ProcessError, flags,
};

/// Longest prompt in tokens, as in the demo.
const MAX_INPUT_TOKENS: u32 = 32_768;
/// Prompts of a request that hardly has one.
const SHORT_TOKENS: u32 = 64;
/// Sessions that begin in a second, as in the demo.
const SESSIONS_PER_S: f64 = 0.7;
/// Real seconds that a request may take where engines take their time.
const PATIENCE_S: u32 = 150;
/// The same where they answer at once.
const SHORT_PATIENCE_S: u32 = 10;
/// The first rate of the search.
const FIRST_PER_S: f64 = 100.0;

/// Why there is no comparison.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// A router could not be installed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The lab.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// `afrd` or an engine.
    #[error(transparent)]
    Afrd(#[from] AfrdError),
    /// An engine or a router.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A host.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// The load client.
    #[error("{source}\nthe log of what is in the middle ends with\n{log}")]
    Load {
        /// What went wrong.
        source: LoadError,
        /// The end of the log.
        log: String,
    },
    /// No way from a client to an engine.
    #[error("the engine at {engine} cannot be reached: {source}")]
    Unreachable {
        /// Which.
        engine: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Processor times.
    #[error("processor times: {0}")]
    Cpu(#[from] io::Error),
    /// Someone asked to stop.
    #[error("interrupted; everything is cleaned up")]
    Interrupted,
}

/// Measures every contender in every phase.
///
/// # Errors
///
/// [`CompareError`]. Bad figures are none.
pub fn compare(
    args: &CompareArgs,
    interrupt: &Interrupt,
    narrator: &Narrator,
) -> Result<Comparison, CompareError> {
    let session = Session {
        args,
        interrupt,
        narrator,
    };
    // All first: nobody waits for minutes to hear that the last one is missing.
    let programs = session.programs()?;
    let mut comparison = Comparison {
        machine: Machine {
            cpus: thread::available_parallelism().map_or(1, usize::from),
            model: cpu::model_name(),
        },
        seed: args.seed,
        instances: args.instances,
        latency_rate: args.latency_rate,
        within_ms: args.within_ms,
        replay: args.trace.as_ref().map_or_else(
            || "made-up agentic sessions".to_owned(),
            |path| path.file_name().unwrap_or_default().display().to_string(),
        ),
        contenders: Vec::new(),
    };
    for (contender, program) in args.contenders.iter().zip(programs) {
        let measured = session
            .contender(*contender, program.as_deref())
            .map_err(|error| {
                if interrupt.is_raised() {
                    CompareError::Interrupted
                } else {
                    error
                }
            })?;
        comparison.contenders.push(measured);
    }
    Ok(comparison)
}

struct Session<'a> {
    args: &'a CompareArgs,
    interrupt: &'a Interrupt,
    narrator: &'a Narrator,
}

impl Session<'_> {
    /// The programs of all contenders that are routers.
    fn programs(&self) -> Result<Vec<Option<PathBuf>>, CompareError> {
        let mut programs = Vec::new();
        for contender in &self.args.contenders {
            let program = match contender.package() {
                Some(package) => {
                    let (name, version) = (package.name, package.version);
                    self.narrator.update(&format!("{name} {version} from PyPI"));
                    Some(install(&package, &self.args.tools)?)
                }
                None => None,
            };
            programs.push(program);
        }
        Ok(programs)
    }

    fn contender(
        &self,
        contender: Contender,
        program: Option<&Path>,
    ) -> Result<Measured, CompareError> {
        let wants = |phase| self.args.phases.contains(&phase) && contender.takes_part(phase);
        let mut measured = Measured {
            contender,
            version: contender.package().map(|package| package.version),
            latency: None,
            rate: None,
            ttft: None,
        };
        if wants(Phase::Latency) || wants(Phase::Rate) {
            let site = self.site(contender, program, Pace::AtOnce)?;
            if wants(Phase::Latency) {
                measured.latency = Some(self.latency(contender, &site)?);
            }
            if wants(Phase::Rate) {
                measured.rate = Some(self.rate(contender, &site)?);
            }
        }
        if wants(Phase::Ttft) {
            let time_scale = self.args.time_scale;
            let site = self.site(contender, program, Pace::Model { time_scale })?;
            measured.ttft = Some(self.ttft(contender, &site)?);
        }
        Ok(measured)
    }

    fn site(
        &self,
        contender: Contender,
        program: Option<&Path>,
        pace: Pace,
    ) -> Result<Site, CompareError> {
        let title = contender.title();
        self.narrator.update(&format!("{title}: setting up"));
        let size = (self.args.instances, pace);
        let mut site = Site::start(contender, program, size, self.interrupt)?;
        if self.args.keep {
            site.lab.keep_directory();
            let directory = site.lab.directory().display();
            self.narrator.say(&format!("{title}: logs in {directory}"));
        }
        Ok(site)
    }

    /// Latency at a rate that nobody finds hard: of prompts that hardly are any, and of the workload's.
    fn latency(&self, contender: Contender, site: &Site) -> Result<Latency, CompareError> {
        let requests = self.args.latency_requests();
        let take = |tokens: u32, what: &str| {
            let words = self.at_once(self.args.latency_rate, requests, tokens, self.args.seed);
            let title = format!("{}, latency, {what} prompts", contender.title());
            let reading = self.play(site, &title, &words)?;
            let ms = reading.first_token_ms;
            self.narrator.say(&format!(
                "{title}: first token p50 {:.2} ms, p99 {:.2} ms",
                ms.p50, ms.p99
            ));
            Ok::<_, CompareError>(reading)
        };
        Ok(Latency {
            short: take(SHORT_TOKENS, "short")?,
            whole: take(MAX_INPUT_TOKENS, "whole")?,
        })
    }

    fn rate(&self, contender: Contender, site: &Site) -> Result<Rate, CompareError> {
        let mut search = Search::new(FIRST_PER_S, self.args.step_ratio());
        let mut steps = Vec::new();
        while let Some(per_s) = search.next() {
            let requests = (per_s * self.args.step_s()).ceil().max(20.0) as u32;
            // Other requests in every step: nobody has seen them before.
            let seed = self.args.seed + 1 + steps.len() as u64;
            let words = self.at_once(per_s, requests, MAX_INPUT_TOKENS, seed);
            let title = format!("{}, {per_s:.0} requests a second", contender.title());
            let reading = self.play(site, &title, &words)?;
            let not_held = not_held(&reading, self.args.within_ms);
            let verdict = not_held.as_deref().unwrap_or("held");
            self.narrator.say(&format!("{title}: {verdict}"));
            search.tell(not_held.is_none());
            steps.push(Step {
                per_s,
                not_held,
                reading,
            });
        }
        Ok(Rate {
            held_per_s: search.held(),
            steps,
        })
    }

    fn ttft(&self, contender: Contender, site: &Site) -> Result<Reading, CompareError> {
        let mut words = flags(&[
            ("--requests", self.args.replay_requests().to_string()),
            ("--rate", self.args.rate.to_string()),
            ("--time-scale", self.args.time_scale.to_string()),
            ("--seed", self.args.seed.to_string()),
            ("--max-input", MAX_INPUT_TOKENS.to_string()),
            ("--sessions-per-s", SESSIONS_PER_S.to_string()),
            ("--timeout-s", PATIENCE_S.to_string()),
        ]);
        if let Some(trace) = &self.args.trace {
            words.extend(flags(&[("--trace", trace.display().to_string())]));
        }
        let title = format!("{}, replay", contender.title());
        let reading = self.play(site, &title, &words)?;
        self.narrator.say(&format!(
            "{title}: TTFT mean {:.0} ms, p99 {:.0} ms, prefill saved {:.1} %",
            reading.first_token_ms.mean,
            reading.first_token_ms.p99,
            reading.prefill_saved * 100.0
        ));
        Ok(reading)
    }

    /// A workload for engines that answer at once.
    fn at_once(&self, per_s: f64, requests: u32, tokens: u32, seed: u64) -> Vec<String> {
        flags(&[
            ("--arrivals-per-s", per_s.to_string()),
            ("--requests", requests.to_string()),
            ("--warmup", (requests / 10).to_string()),
            ("--max-input", tokens.to_string()),
            ("--sessions-per-s", SESSIONS_PER_S.to_string()),
            ("--seed", seed.to_string()),
            ("--timeout-s", SHORT_PATIENCE_S.to_string()),
        ])
    }

    fn play(&self, site: &Site, title: &str, words: &[String]) -> Result<Reading, CompareError> {
        let mut told = Instant::now();
        let reading = measure(site, words, |progress: LoadProgress| {
            if told.elapsed() < self.narrator.pace() {
                return;
            }
            told = Instant::now();
            self.narrator.update(&format!(
                "{title}: {:3.0} s, {} sent, {} answered, {} broken",
                progress.seconds, progress.sent, progress.answered, progress.broken
            ));
        })?;
        for (kind, example) in &reading.broken_examples {
            self.narrator.say(&format!("  broken, {kind}: {example}"));
        }
        Ok(reading)
    }
}
