//! The runs, one after the other, each in a lab of its own.

use std::io::{IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

use super::accounts::Accounts;
use super::args::DemoArgs;
use super::checks::decide;
use super::cluster::{MEMBERS, configuration, lab_spec, load_arguments, start_engines};
use super::load::outcome;
use super::outcome::{Policy, Results};
use crate::lab::{
    Afrd, AfrdError, HugePages, Interrupt, Lab, LabError, LoadError, LoadProgress, Played,
    play_load,
};

/// Memory for `afrd`'s packet buffers, in MiB.
const HUGE_MIB: u32 = 256;
/// How long the counters must not move to be at rest; workers publish them far more often.
const REST: Duration = Duration::from_millis(500);

/// Why the demo came to no end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The lab.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// `afrd` or an engine.
    #[error(transparent)]
    Afrd(#[from] AfrdError),
    /// The load client.
    #[error("{source}\nthe log of afrd ends with\n{afrd}")]
    Load {
        /// What went wrong.
        source: LoadError,
        /// The end of `afrd`'s log.
        afrd: String,
    },
    /// Someone asked to stop.
    #[error("interrupted; everything is cleaned up")]
    Interrupted,
}

/// Tells people how far the demo is.
#[derive(Debug)]
pub struct Narrator {
    /// Whether a line can be written over.
    rewrites: bool,
}

impl Narrator {
    /// On standard error.
    #[must_use]
    pub fn on_standard_error() -> Self {
        Self {
            rewrites: std::io::stderr().is_terminal(),
        }
    }

    /// A line that stays.
    pub(crate) fn say(&self, line: &str) {
        let end = if self.rewrites { "\x1b[K" } else { "" };
        // Nothing depends on somebody reading it.
        let _ = writeln!(std::io::stderr(), "{line}{end}");
    }

    /// A line that the next one replaces, where it can.
    pub(crate) fn update(&self, line: &str) {
        if self.rewrites {
            let _ = write!(std::io::stderr(), "{line}\x1b[K\r");
        } else {
            self.say(line);
        }
    }

    /// Shortest time between two progress lines: a log wants fewer than a terminal.
    pub(crate) const fn pace(&self) -> Duration {
        Duration::from_millis(if self.rewrites { 500 } else { 10_000 })
    }
}

/// Plays all runs, and returns their results and what they rest on in words.
///
/// # Errors
///
/// [`DemoError`]. A run with bad figures is none: that is what the checks are for.
pub fn play(
    args: &DemoArgs,
    interrupt: &Interrupt,
    narrator: &Narrator,
) -> Result<(Results, String), DemoError> {
    let workload = args.trace().map_or_else(
        || "made-up agentic sessions (no trace found: --trace or AFR_TRACE)".to_owned(),
        |path| format!("trace {}", path.file_name().unwrap_or_default().display()),
    );
    narrator.say(&format!(
        "{} requests a run, {workload} at {}x its rate, seed {}; times are emulated, {} s in a real one",
        args.requests, args.rate, args.seed, args.time_scale
    ));
    let (mut runs, mut accounts) = (Vec::new(), Vec::new());
    for (number, policy) in (1..).zip(&args.policies) {
        let title = format!("run {number}/{} {}", args.policies.len(), policy.title());
        let (played, counted) =
            run(args, *policy, &title, interrupt, narrator).map_err(|error| {
                if interrupt.is_raised() {
                    DemoError::Interrupted
                } else {
                    error
                }
            })?;
        let outcome = outcome(*policy, &played);
        narrator.say(&format!(
            "{title}: {} requests in {:.0} s, TTFT mean {:.0} ms, p99 {:.0} ms",
            outcome.requests, played.result.duration_s, outcome.ttft_ms.mean, outcome.ttft_ms.p99
        ));
        for (kind, example) in &played.result.broken_examples {
            narrator.say(&format!("  broken, {kind}: {example}"));
        }
        runs.push(outcome);
        accounts.push(counted);
    }
    let slow = MEMBERS.iter().filter(|member| member.is_slow()).count();
    let caption = format!(
        "{} requests a run, {workload} x {}, {} instances ({slow} slow), seed {}, emulated time",
        args.requests,
        args.rate,
        MEMBERS.len(),
        args.seed
    );
    let checks = decide(&runs, &accounts);
    Ok((Results { runs, checks }, caption))
}

fn run(
    args: &DemoArgs,
    policy: Policy,
    title: &str,
    interrupt: &Interrupt,
    narrator: &Narrator,
) -> Result<(Played, Accounts), DemoError> {
    narrator.update(&format!("{title}: setting up"));
    let mut lab = Lab::build(lab_spec(), interrupt)?;
    if args.keep {
        lab.keep_directory();
        narrator.say(&format!("{title}: logs in {}", lab.directory().display()));
    }
    let _huge_pages = HugePages::take(lab.directory(), HUGE_MIB)
        .inspect_err(|error| {
            narrator.say(&format!(
                "{title}: without huge pages, which works, too ({error})"
            ));
        })
        .ok();
    let afrd = Afrd::start(&lab, &configuration(&lab, policy))?;
    let engines = start_engines(&lab, args)?;
    afrd.until(&lab, "hearing of every instance", |afrd| {
        Ok(reporting(afrd, &lab)? == MEMBERS.len())
    })?;

    let mut told = Instant::now();
    let show = |progress: LoadProgress| {
        if told.elapsed() < narrator.pace() {
            return;
        }
        told = Instant::now();
        narrator.update(&format!(
            "{title}: {:3.0} s, {} of {} requests sent, {} answered, {} broken",
            progress.seconds, progress.sent, args.requests, progress.answered, progress.broken
        ));
    };
    let arguments = load_arguments(args, policy);
    let played =
        play_load(&lab.client, arguments, interrupt, show).map_err(|source| DemoError::Load {
            source,
            afrd: afrd.tail(),
        })?;

    // Nobody speaks any more, and the counters come to rest.
    drop(engines);
    let mut last = Accounts::default();
    afrd.until(&lab, "rest", |afrd| {
        let before = Accounts::read(&afrd.metrics(&lab)?);
        thread::sleep(REST);
        last = Accounts::read(&afrd.metrics(&lab)?);
        Ok(last == before)
    })?;
    afrd.stop()?;
    Ok((played, last))
}

/// Instances that `afrd` has a report of.
fn reporting(afrd: &Afrd, lab: &Lab) -> Result<usize, AfrdError> {
    let metrics = afrd.metrics(lab)?;
    Ok(metrics.by("afr_instance_reports_total", "instance").len())
}
