//! What a measurement says.

use serde::Serialize;

use super::program::Program;

/// One program on one scenario.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// The scenario.
    pub scenario: String,
    /// The program.
    pub program: &'static str,
    /// Million packets a second, round by round.
    pub mpps: Vec<f64>,
    /// Their median.
    pub median: f64,
    /// Median over the median of testpmd 5tswap.
    pub ratio_to_5tswap: f64,
    /// TSC cycles a packet, at the median.
    pub cycles_per_packet: f64,
}

/// A whole measurement.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The machine's processor.
    pub machine: String,
    /// The runs.
    pub runs: Vec<Run>,
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

/// Makes the runs of a scenario from packets a second by program and round.
#[must_use]
pub fn runs(scenario: &str, measured: &[(Program, Vec<f64>)], tsc_hz: f64) -> Vec<Run> {
    let reference = measured
        .iter()
        .find(|(program, _)| *program == Program::FiveTupleSwap)
        .map_or(0.0, |(_, pps)| median(pps));
    measured
        .iter()
        .map(|(program, pps)| {
            let middle = median(pps);
            Run {
                scenario: scenario.to_owned(),
                program: program.name(),
                mpps: pps.iter().map(|pps| pps / 1e6).collect(),
                median: middle / 1e6,
                ratio_to_5tswap: if reference > 0.0 {
                    middle / reference
                } else {
                    0.0
                },
                cycles_per_packet: if middle > 0.0 { tsc_hz / middle } else { 0.0 },
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_and_even() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0]) - 2.5).abs() < 1e-9);
        assert!(median(&[]).abs() < 1e-9);
    }

    #[test]
    fn ratios_are_to_5tswap() {
        let measured = [
            (Program::Afr, vec![5e6, 7e6, 6e6]),
            (Program::FiveTupleSwap, vec![12e6]),
        ];
        let runs = runs("established", &measured, 2.4e9);
        assert!((runs[0].ratio_to_5tswap - 0.5).abs() < 1e-9);
        assert!((runs[0].cycles_per_packet - 400.0).abs() < 1e-6);
    }
}
