//! What a run came to, as it is shown and written.

use serde::Serialize;

use crate::columns::align;

/// How new flows are dispatched in a run.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Consistent hashing; clients send no metadata.
    Maglev,
    /// Fewest tokens waiting, from the same state reports; clients send no metadata.
    LeastLoad,
    /// Smallest estimated time to first token, from metadata, residency and load.
    Afr,
}

impl Policy {
    /// All, in the order in which they run.
    pub const ALL: [Self; 3] = [Self::Maglev, Self::LeastLoad, Self::Afr];

    /// The name in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Maglev => "maglev",
            Self::LeastLoad => "least-load",
            Self::Afr => "afr",
        }
    }

    /// The name for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Maglev => "Maglev, no metadata",
            Self::LeastLoad => "least load, no metadata",
            Self::Afr => "AFR: agent-aware dispatch",
        }
    }
}

/// Times to first token, in milliseconds of emulated time.
#[derive(Copy, Clone, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
}

/// The figures of one run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// How it dispatched.
    pub policy: Policy,
    /// Times to first token.
    pub ttft_ms: Quantiles,
    /// Prompt tokens found in a cache, of all, 0 to 1.
    pub prefill_saved: f64,
    /// Prefill work of the busiest instance for its speed, relative to the mean; 1 is even.
    pub imbalance: f64,
    /// Requests answered by an instance without the capability asked for.
    pub misdispatched: u64,
    /// Connections that failed, broke, or carried a wrong byte.
    pub broken: u64,
    /// Requests the figures rest on.
    pub requests: u64,
    /// Every time to first token, for the picture.
    #[serde(skip)]
    pub samples_ms: Vec<f64>,
}

/// A statement that the demo stands or falls with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What is claimed, with the figures that decide it.
    pub name: String,
    /// Whether it holds.
    pub ok: bool,
}

/// What is written as JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Results {
    /// The runs, in order.
    pub runs: Vec<Outcome>,
    /// The checks.
    pub checks: Vec<Check>,
}

impl Results {
    /// Whether every check holds.
    #[must_use]
    pub fn all_hold(&self) -> bool {
        self.checks.iter().all(|check| check.ok)
    }

    /// The table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let header = [
            "policy",
            "requests",
            "TTFT mean ms",
            "p50 ms",
            "p99 ms",
            "prefill saved",
            "imbalance",
            "misdispatched",
            "broken",
        ];
        let mut rows = vec![header.map(str::to_owned)];
        rows.extend(self.runs.iter().map(|run| {
            [
                run.policy.title().to_owned(),
                run.requests.to_string(),
                format!("{:.0}", run.ttft_ms.mean),
                format!("{:.0}", run.ttft_ms.p50),
                format!("{:.0}", run.ttft_ms.p99),
                format!("{:.1} %", run.prefill_saved * 100.0),
                format!("{:.2}", run.imbalance),
                run.misdispatched.to_string(),
                run.broken.to_string(),
            ]
        }));
        align(&rows)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Figures of no particular run.
    pub(in crate::demo) fn outcome(policy: Policy) -> Outcome {
        Outcome {
            policy,
            ttft_ms: Quantiles {
                mean: 250.0,
                p50: 200.0,
                p99: 900.0,
            },
            prefill_saved: 0.2,
            imbalance: 1.1,
            misdispatched: 0,
            broken: 0,
            requests: 3,
            samples_ms: vec![50.0, 200.0, 900.0],
        }
    }

    #[test]
    fn the_json_has_the_shape_that_scripts_rely_on() {
        let results = Results {
            runs: vec![outcome(Policy::LeastLoad)],
            checks: vec![Check {
                name: "x".to_owned(),
                ok: true,
            }],
        };
        let json = serde_json::to_value(&results).unwrap();
        let expected = serde_json::json!({
            "runs": [{
                "policy": "least-load",
                "ttft_ms": {"mean": 250.0, "p50": 200.0, "p99": 900.0},
                "prefill_saved": 0.2, "imbalance": 1.1, "misdispatched": 0, "broken": 0, "requests": 3
            }],
            "checks": [{"name": "x", "ok": true}]
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn the_table_is_aligned() {
        let runs = Policy::ALL.map(outcome).to_vec();
        let table = Results {
            runs,
            checks: Vec::new(),
        }
        .table();
        let widths: Vec<_> = table.lines().map(|line| line.chars().count()).collect();
        assert_eq!(widths.len(), 5, "{table}");
        assert!(widths.iter().all(|width| *width == widths[0]), "{table}");
    }
}
