//! `afr-load`: replays a workload against emulated instances, through an AFR or directly.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use afr_perf::load::args::LoadArgs;
use afr_perf::load::plan::Plan;
use afr_perf::load::result::RunResult;
use afr_perf::load::{RunProgress, run};
use clap::Parser;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Exit code where something was answered wrongly or not at all.
const NOT_RIGHT: u8 = 1;
/// Exit code where nothing was sent.
const NOT_STARTED: u8 = 2;

#[tokio::main(flavor = "current_thread")]
#[allow(clippy::print_stderr)] // why it could not start
async fn main() -> ExitCode {
    match load(&LoadArgs::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => NOT_RIGHT.into(),
        Err(error) => {
            eprintln!("afr-load: {error}");
            NOT_STARTED.into()
        }
    }
}

/// Whether every request was answered, rightly and by an instance that has what it asked for.
#[allow(clippy::print_stdout)] // the result
async fn load(args: &LoadArgs) -> anyhow::Result<bool> {
    let plan = Arc::new(Plan::new(args)?);
    let progress = Arc::new(RunProgress::default());
    let begin = Instant::now();
    let outcomes = tokio::select! {
        outcomes = run(Arc::clone(&plan), Arc::clone(&progress)) => outcomes,
        () = show(&progress, plan.requests.len(), args.quiet) => Vec::new(),
    };
    let result = RunResult::new(&plan, &outcomes, &progress, begin.elapsed().as_secs_f64());
    if args.json {
        println!("{}", serde_json::to_string(&result)?);
    } else {
        print!("{result}");
    }
    Ok(result.broken == 0 && result.misdispatched == 0)
}

/// A line every second, for ever.
#[allow(clippy::print_stderr)]
async fn show(progress: &RunProgress, all: usize, quiet: bool) {
    if quiet {
        return std::future::pending().await;
    }
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    seconds.tick().await;
    loop {
        seconds.tick().await;
        let (started, answered, broken) =
            (progress.started(), progress.answered(), progress.broken());
        let open = started.saturating_sub(answered + broken);
        eprintln!(
            "afr-load: {started}/{all} started, {open} open, {answered} answered, {broken} broken"
        );
    }
}
