//! The whole measurement: cases in order, rounds in turn, and what is left out.

use std::time::Duration;

use super::measure::{Bench, Measured};
use super::program::{DISCLAIMER, Program};
use super::report::{Report, Run, is_sane, median, runs};
use super::scenario::Case;
use super::subject::SLICE;

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The cases.
    pub cases: Vec<Case>,
    /// Rounds; each starts every program.
    pub rounds: usize,
    /// Programs.
    pub programs: Vec<Program>,
    /// Measure with more workers than there are CPUs to spare.
    pub forced: bool,
}

/// Measures everything, calling `done` after each case with the report so far. A case that the machine has no room for is
/// left out, and said so; what goes wrong with one case is returned after the others were measured.
///
/// # Errors
///
/// Someone asks to stop.
pub fn measure(
    plan: &Plan,
    bench: &mut Bench<'_>,
    mut done: impl FnMut(&Report),
) -> anyhow::Result<(Report, Vec<anyhow::Error>)> {
    let mut report = Report {
        machine: processor(),
        runs: Vec::new(),
        skipped: Vec::new(),
        window_s: bench.window.as_secs_f64(),
        slice_s: SLICE.as_secs_f64(),
        rounds: plan.rounds,
        pages: "ordinary",
        reference: DISCLAIMER,
    };
    let mut failed = Vec::new();
    for (at, case) in plan.cases.iter().enumerate() {
        if let Some(why) = left_out(case, plan, bench)? {
            (bench.tell)(&format!("{}: left out: {why}", case.name()));
            report.skipped.push(format!("{}: {why}", case.name()));
            continue;
        }
        let label = format!("[{}/{}] {}", at + 1, plan.cases.len(), case.name());
        match one(case, plan, bench, &label) {
            Ok(runs) => report.runs.extend(runs),
            Err(error) if bench.interrupt.is_raised() => return Err(error),
            Err(error) => {
                (bench.tell)(&format!("{label} FAILED: {error:#}"));
                report.skipped.push(format!("{} failed", case.name()));
                failed.push(error);
            }
        }
        if bench.place.huge_dir().is_some() {
            report.pages = "huge";
        }
        done(&report);
    }
    Ok((report, failed))
}

fn one(case: &Case, plan: &Plan, bench: &mut Bench<'_>, label: &str) -> anyhow::Result<Vec<Run>> {
    let mut measured: Vec<_> = plan
        .programs
        .iter()
        .map(|program| (*program, Vec::<Measured>::new()))
        .collect();
    for round in 0..plan.rounds {
        // Anew each time: reports age.
        let written = bench.write(case, plan.programs.len())?;
        if round == 0 {
            bench.check(case)?;
            (bench.tell)(&format!("{label}: answers to a sample are right"));
        }
        let each = bench.measure(&plan.programs, case, &written, round)?;
        for ((program, rounds), one) in measured.iter_mut().zip(each) {
            (bench.tell)(&format!(
                "{label} round {}/{} {}: {:.2} Mpps",
                round + 1,
                plan.rounds,
                program.name(),
                median(&one.pps) / 1e6
            ));
            rounds.push(one);
        }
    }
    let runs = runs(case, &measured, tsc_hz());
    is_sane(&runs)?;
    Ok(runs)
}

/// Why a case cannot be measured here.
fn left_out(case: &Case, plan: &Plan, bench: &Bench<'_>) -> anyhow::Result<Option<String>> {
    let spare = std::thread::available_parallelism().map_or(1, usize::from) - 1;
    if case.workers > 1 && case.workers > spare && !plan.forced {
        return Ok(Some(format!(
            "{} workers and the main thread take {} CPUs, and there are {}; --force lets them share",
            case.workers,
            case.workers + 1,
            spare + 1
        )));
    }
    if bench.cpus.workers.len() < case.workers {
        return Ok(Some(format!(
            "--cpu names {} CPUs for {} workers",
            bench.cpus.workers.len(),
            case.workers
        )));
    }
    if case.needs_hooks() && bench.files.afrd_bench.is_none() {
        return Ok(Some("it takes afrd-bench, which is not built".to_owned()));
    }
    let (needed_mib, fits) = bench.fits(case, 1)?;
    Ok((!fits).then(|| {
        format!(
            "{} frames take {needed_mib} MiB of packet buffers, and there is not so much memory",
            case.frames.count()
        )
    }))
}

/// About how long a plan takes.
#[must_use]
pub fn estimate(plan: &Plan, window: Duration) -> Duration {
    // To start, and what turns take besides their slices.
    let each = window + Duration::from_millis(1_700) + window / 4;
    let checks = Duration::from_millis(1_500) * plan.cases.len() as u32;
    checks + each * (plan.cases.len() * plan.programs.len() * plan.rounds) as u32
}

fn cpuinfo(key: &str) -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split(':').nth(1)?.trim().to_owned())
}

fn processor() -> String {
    cpuinfo("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// The TSC's frequency, as near as the kernel tells without asking the hardware.
#[must_use]
pub fn tsc_hz() -> f64 {
    let bogomips = cpuinfo("bogomips").and_then(|text| text.parse::<f64>().ok());
    bogomips.map_or(0.0, |mips| mips / 2.0 * 1e6)
}
