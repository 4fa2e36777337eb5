//! Results as JSON.

use serde::Serialize;

use super::contender::Contender;
use super::reading::Reading;

/// Everything that was measured, and on what.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The machine.
    pub machine: Machine,
    /// Seed of the workload.
    pub seed: u64,
    /// Instances, all alike.
    pub instances: u8,
    /// Requests a second while latency was measured.
    pub latency_rate: f64,
    /// What a rate had to keep to be held, in milliseconds.
    pub within_ms: f64,
    /// Where the replayed requests come from.
    pub replay: String,
    /// By contender, in the order in which they ran.
    pub contenders: Vec<Measured>,
}

/// The machine, on which everything runs.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Processors, which clients, contender and engines share.
    pub cpus: usize,
    /// Their name.
    pub model: Option<String>,
}

/// What was measured of a contender.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Who.
    pub contender: Contender,
    /// Its version, if it is a program from PyPI.
    pub version: Option<&'static str>,
    /// Latency where engines answer at once.
    pub latency: Option<Latency>,
    /// The highest rate held where engines answer at once.
    pub rate: Option<Rate>,
    /// The replay where engines take their time.
    pub ttft: Option<Reading>,
}

/// Latency where engines answer at once.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    /// Prompts of 64 tokens.
    pub short: Reading,
    /// The workload's prompts.
    pub whole: Reading,
}

/// The search for the highest rate.
#[derive(Clone, Debug, Serialize)]
pub struct Rate {
    /// The highest rate held, in requests a second; none if not even the lowest was.
    pub held_per_s: Option<f64>,
    /// Every step in order.
    pub steps: Vec<Step>,
}

/// A step of the search.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// Requests a second.
    pub per_s: f64,
    /// Why the rate was not held; none if it was.
    pub not_held: Option<String>,
    /// What was measured.
    pub reading: Reading,
}

impl Comparison {
    /// What was measured of this one, if it took part.
    #[must_use]
    pub fn of(&self, contender: Contender) -> Option<&Measured> {
        self.contenders
            .iter()
            .find(|measured| measured.contender == contender)
    }

    /// Requests that were not answered, or not rightly, where no limit was sought.
    #[must_use]
    pub fn broken(&self) -> usize {
        let readings = self.contenders.iter().flat_map(Measured::readings);
        readings.map(|reading| reading.broken).sum()
    }
}

impl Measured {
    /// Its readings where no limit was sought.
    fn readings(&self) -> impl Iterator<Item = &Reading> {
        let latency = self.latency.iter();
        let latency = latency.flat_map(|latency| [&latency.short, &latency.whole]);
        latency.chain(&self.ttft)
    }
}

impl Rate {
    /// The step in which the highest rate was held.
    #[must_use]
    pub fn highest(&self) -> Option<&Step> {
        let held = self.steps.iter().filter(|step| step.not_held.is_none());
        held.max_by(|a, b| a.per_s.total_cmp(&b.per_s))
    }
}

/// Why a reading at a rate says that the rate is not held; none if it is.
#[must_use]
pub(super) fn not_held(reading: &Reading, within_ms: f64) -> Option<String> {
    if reading.broken > 0 {
        return Some(format!("{} requests broken", reading.broken));
    }
    if reading.delayed > 0 {
        return Some(format!(
            "{} requests beyond the client's places",
            reading.delayed
        ));
    }
    let p99_ms = reading.from_arrival_ms.p99;
    (p99_ms > within_ms).then(|| format!("p99 {p99_ms:.0} ms"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::compare::reading::Cpu;
    use crate::load::result::Distribution;

    /// Of no particular run: all percentiles are this many milliseconds.
    pub(in crate::compare) fn reading(ms: f64) -> Reading {
        let all = Distribution::of(vec![ms]);
        Reading {
            requests: 100,
            broken: 0,
            broken_examples: [].into(),
            delayed: 0,
            duration_s: 1.0,
            first_token_ms: all,
            from_arrival_ms: all,
            signatures_us: None,
            prefill_saved: 0.5,
            imbalance: 1.0,
            cpu: Cpu::default(),
            afr: None,
        }
    }

    #[test]
    fn a_rate_is_held_if_all_are_answered_in_time_and_none_waits_for_a_place() {
        assert_eq!(not_held(&reading(50.0), 50.0), None);
        assert_eq!(not_held(&reading(51.0), 50.0).unwrap(), "p99 51 ms");
        let broken = Reading {
            broken: 1,
            ..reading(1.0)
        };
        assert_eq!(not_held(&broken, 50.0).unwrap(), "1 requests broken");
        let delayed = Reading {
            delayed: 1,
            ..reading(1.0)
        };
        assert!(not_held(&delayed, 50.0).is_some());
    }
}
