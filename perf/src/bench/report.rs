//! What a measurement says.

use serde::Serialize;

use super::frames::Size;
use super::measure::{Growth, Measured};
use super::program::Program;
use super::scenario::Case;

/// How much faster than the fastest testpmd the AFR may seem, noise included: it does more, so beyond that something was
/// not the same.
const TOO_GOOD: f64 = 1.3;

/// One program on one scenario.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// The scenario; of a sweep, with the point.
    pub scenario: String,
    /// The program.
    pub program: &'static str,
    /// Million packets a second, round by round: the median of its slices.
    pub mpps: Vec<f64>,
    /// The slices, in order: what is at one place of two programs was measured one after the other.
    pub slices: Vec<f64>,
    /// Their median.
    pub median: f64,
    /// Rate over that of testpmd 5tswap in the slice beside it, the median of all slices.
    pub ratio_to_5tswap: f64,
    /// The same over the quarter of slices in which 5tswap was fastest: those that the machine's other guests disturbed least.
    /// 0 where there are not so many.
    pub ratio_undisturbed: f64,
    /// TSC cycles a packet and worker, at the median.
    pub cycles_per_packet: f64,
    /// The sweep that it is a point of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sweep: Option<&'static str>,
    /// The point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point: Option<String>,
    /// Which packets count: `transmitted`, or `received` where all are refused.
    pub counts: &'static str,
    /// Bytes of a frame without FCS that were asked for; 0 for IMIX.
    pub bytes: usize,
    /// Flows.
    pub flows: usize,
    /// Instances.
    pub instances: usize,
    /// Workers.
    pub workers: usize,
    /// Least ratio that is aimed at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<f64>,
    /// Swaps of the AFT a second that there were, the median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swaps_per_s: Option<f64>,
    /// Memory of the AFR in the last round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Growth>,
    /// Measured on an `afrd` with bench hooks.
    pub bench_hooks: bool,
}

/// A whole measurement.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The machine's processor.
    pub machine: String,
    /// The runs.
    pub runs: Vec<Run>,
    /// What was left out, and why.
    pub skipped: Vec<String>,
    /// Seconds of a round that a program is looked at.
    pub window_s: f64,
    /// Seconds of a slice: how long it is looked at before it is the next program's turn.
    pub slice_s: f64,
    /// Rounds.
    pub rounds: usize,
    /// Where packet buffers were: `huge` or `ordinary` pages.
    pub pages: &'static str,
    /// What the reference does not do.
    pub reference: &'static str,
}

/// The median; 0 of nothing.
#[must_use]
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// Makes the runs of a case from what was measured by program and round.
#[must_use]
pub fn runs(case: &Case, measured: &[(Program, Vec<Measured>)], tsc_hz: f64) -> Vec<Run> {
    let slices = |rounds: &[Measured]| -> Vec<f64> {
        rounds.iter().flat_map(|one| one.pps.clone()).collect()
    };
    let reference = measured
        .iter()
        .find(|(program, _)| *program == Program::FiveTupleSwap)
        .map_or(Vec::new(), |(_, rounds)| slices(rounds));
    let over = |figure: f64, by: f64| if by > 0.0 { figure / by } else { 0.0 };
    let one = |(program, rounds): &(Program, Vec<Measured>)| {
        let pps = slices(rounds);
        let middle = median(&pps);
        let mut beside: Vec<_> = reference.iter().copied().zip(pps.iter().copied()).collect();
        let ratios = |beside: &[(f64, f64)]| -> Vec<f64> {
            let each = beside.iter().map(|(reference, one)| over(*one, *reference));
            each.collect()
        };
        let ratio = if pps.len() == reference.len() {
            median(&ratios(&beside))
        } else {
            // One pass only.
            over(middle, median(&reference))
        };
        beside.sort_by(|one, next| next.0.total_cmp(&one.0));
        let undisturbed = &beside[..beside.len() / 4];
        let is_afr = *program == Program::Afr;
        let swaps: Vec<_> = rounds.iter().filter_map(|one| one.swaps_per_s).collect();
        Run {
            scenario: case.name(),
            program: program.name(),
            mpps: rounds.iter().map(|one| median(&one.pps) / 1e6).collect(),
            slices: pps.iter().map(|pps| pps / 1e6).collect(),
            median: middle / 1e6,
            ratio_to_5tswap: ratio,
            ratio_undisturbed: median(&ratios(undisturbed)),
            cycles_per_packet: over(tsc_hz * case.workers as f64, middle),
            sweep: case.point.as_ref().map(|(sweep, _)| *sweep),
            point: case.point.as_ref().map(|(_, point)| point.clone()),
            counts: if is_afr && case.scenario.refuses() {
                "received"
            } else {
                "transmitted"
            },
            bytes: match case.frames.size {
                Size::Bytes(bytes) => bytes,
                Size::Imix => 0,
            },
            flows: case.frames.flows,
            instances: case.frames.instances,
            workers: case.workers,
            target: case
                .scenario
                .target()
                .filter(|_| is_afr && case.point.is_none()),
            swaps_per_s: (!swaps.is_empty()).then(|| median(&swaps)),
            memory: rounds.last().filter(|_| is_afr).and_then(|one| one.memory),
            bench_hooks: is_afr && case.needs_hooks(),
        }
    };
    measured.iter().map(one).collect()
}

/// Whether the runs of one case can be true: figures there are, and the AFR is no faster than who does nothing.
///
/// # Errors
///
/// What cannot be.
pub fn is_sane(runs: &[Run]) -> anyhow::Result<()> {
    for run in runs {
        let all_there = run.median > 0.0 && run.mpps.iter().all(|mpps| mpps.is_finite());
        anyhow::ensure!(all_there, "{}, {}: no rate", run.scenario, run.program);
    }
    let (afr, others): (Vec<_>, Vec<_>) = runs
        .iter()
        .partition(|run| run.program == Program::Afr.name());
    let fastest = others.iter().map(|run| run.median).fold(0.0, f64::max);
    for run in afr {
        anyhow::ensure!(
            others.is_empty() || run.median <= TOO_GOOD * fastest,
            "{}: the AFR seems to forward {:.2} Mpps where testpmd forwards {fastest:.2}: they did not do the same",
            run.scenario,
            run.median
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::scenario::Scenario;

    fn at(pps: f64) -> Measured {
        Measured {
            pps: vec![pps],
            swaps_per_s: None,
            memory: None,
        }
    }

    fn measured() -> Vec<(Program, Vec<Measured>)> {
        vec![
            (Program::Afr, vec![at(5e6), at(7e6), at(6e6)]),
            (Program::Io, vec![at(20e6)]),
            (Program::FiveTupleSwap, vec![at(12e6)]),
        ]
    }

    #[test]
    fn median_of_odd_and_even() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0]) - 2.5).abs() < 1e-9);
        assert!(median(&[]).abs() < 1e-9);
    }

    #[test]
    fn ratios_are_to_5tswap() {
        let runs = runs(&Case::of(Scenario::Established), &measured(), 2.4e9);
        assert!((runs[0].ratio_to_5tswap - 0.5).abs() < 1e-9);
        assert!((runs[0].cycles_per_packet - 400.0).abs() < 1e-6);
        is_sane(&runs).unwrap();
    }

    #[test]
    fn slices_are_held_against_those_beside_them() {
        let slices = |pps: &[f64]| Measured {
            pps: pps.to_vec(),
            ..at(0.0)
        };
        let measured = [
            (
                Program::Afr,
                vec![slices(&[9e6, 2e6, 3e6]), slices(&[6e6, 4e6, 8e6])],
            ),
            (
                Program::FiveTupleSwap,
                vec![slices(&[18e6, 4e6, 5e6]), slices(&[12e6, 9e6, 16e6])],
            ),
        ];
        let runs = runs(&Case::of(Scenario::Established), &measured, 2.4e9);
        // Of the medians it would be 5 in 10.5.
        assert!((runs[0].ratio_to_5tswap - 0.5).abs() < 1e-9);
        assert!((runs[0].median - 5.0).abs() < 1e-9);
        assert_eq!(runs[0].mpps, [3.0, 6.0], "by round");
        assert_eq!(runs[0].slices, [9.0, 2.0, 3.0, 6.0, 4.0, 8.0]);
    }

    #[test]
    fn undisturbed_is_the_quarter_in_which_5tswap_was_fastest() {
        let slices = |pps: [f64; 8]| {
            vec![Measured {
                pps: pps.to_vec(),
                ..at(0.0)
            }]
        };
        let measured = [
            (
                Program::Afr,
                slices([1e6, 8e6, 1e6, 1e6, 1e6, 6e6, 1e6, 1e6]),
            ),
            (
                Program::FiveTupleSwap,
                slices([5e6, 10e6, 5e6, 5e6, 5e6, 10e6, 5e6, 5e6]),
            ),
        ];
        let runs = runs(&Case::of(Scenario::Established), &measured, 2.4e9);
        assert!((runs[0].ratio_to_5tswap - 0.2).abs() < 1e-9);
        assert!((runs[0].ratio_undisturbed - 0.7).abs() < 1e-9);
    }

    #[test]
    fn json_has_the_agreed_fields() {
        let report = Report {
            machine: "m".to_owned(),
            runs: runs(&Case::of(Scenario::Plain), &measured(), 2.4e9),
            skipped: Vec::new(),
            window_s: 1.0,
            slice_s: 0.05,
            rounds: 3,
            pages: "huge",
            reference: "",
        };
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["machine"], "m");
        let run = &json["runs"][0];
        assert_eq!(run["scenario"], "plain");
        assert_eq!(run["program"], "afr");
        assert_eq!(run["mpps"], serde_json::json!([5.0, 7.0, 6.0]));
        assert_eq!(run["median"], 6.0);
        assert_eq!(run["ratio_to_5tswap"], 0.5);
        assert_eq!(run["cycles_per_packet"], 400.0);
        assert!(run.get("sweep").is_none());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let case = Case::of(Scenario::BadMac);
        let too_good = [
            (Program::Afr, vec![at(30e6)]),
            (Program::Io, vec![at(20e6)]),
        ];
        assert!(is_sane(&runs(&case, &too_good, 2.4e9)).is_err());
        let none = [(Program::Afr, vec![at(0.0)])];
        assert!(is_sane(&runs(&case, &none, 2.4e9)).is_err());
    }
}
