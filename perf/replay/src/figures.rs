//! What a run is judged by.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cluster::Tally;
use crate::router::Instance;

/// Imbalance is looked at in windows of this length, in milliseconds.
const WINDOW_MS: f64 = 10_000.0;

/// What became of one request.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Served {
    /// When it arrived, in milliseconds.
    pub arrival_ms: f64,
    /// Time to the first token.
    pub ttft_ms: f64,
    /// Length of its prompt.
    pub input_tokens: u32,
    /// Of these, tokens that its instance held.
    pub reused_tokens: u32,
    /// Its instance.
    pub instance: Instance,
    /// Speed of that when it answered, relative to the model's.
    pub speed: f64,
}

/// A distribution of times to the first token, in milliseconds.
#[derive(Copy, Clone, Debug, Default, PartialEq, Serialize)]
pub struct Ttft {
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
}

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Run {
    /// The router.
    pub policy: String,
    /// Of the workload's jitter and of the router's dice.
    pub seed: u64,
    /// Time to the first token.
    pub ttft_ms: Ttft,
    /// Share of all prompt tokens that did not have to be computed.
    pub prefill_saved: f64,
    /// The most loaded instance's uncached tokens, over its speed, relative to the mean, in windows of ten seconds, weighted
    /// by their tokens: 1 is even.
    pub imbalance: f64,
    /// Requests that were not answered.
    pub rejected: usize,
    /// Requests at an instance that could not serve them.
    pub misdispatched: usize,
    /// Connections that broke, refused ones included.
    pub broken: usize,
    /// Seconds that the run took.
    pub wall_s: f64,
    /// What the router counted.
    pub counts: BTreeMap<&'static str, f64>,
}

/// All runs of a workload at a load.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Runs {
    /// The workload.
    pub workload: String,
    /// The cluster, and what happens to it.
    pub scenario: String,
    /// Requests a second, relative to what the cluster can serve; 0 where that was not measured.
    pub load: f64,
    /// Requests a second.
    pub rate_per_s: f64,
    /// Instances of the cluster.
    pub instances: usize,
    /// The runs.
    pub runs: Vec<Run>,
}

/// The part of [`Run`] that was agreed upon as the format of results.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AgreedRun<'a> {
    policy: &'a str,
    seed: u64,
    ttft_ms: Ttft,
    prefill_saved: f64,
    imbalance: f64,
    rejected: usize,
    misdispatched: usize,
}

/// The same of [`Runs`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AgreedRuns<'a> {
    workload: String,
    load: f64,
    instances: usize,
    runs: Vec<AgreedRun<'a>>,
}

impl Runs {
    /// The workload and, if it is not even, the cluster.
    #[must_use]
    pub fn title(&self) -> String {
        match self.scenario.as_str() {
            "" | "even" => self.workload.clone(),
            scenario => format!("{}/{scenario}", self.workload),
        }
    }

    /// What goes into `result.json`.
    #[must_use]
    pub fn agreed(&self) -> AgreedRuns<'_> {
        AgreedRuns {
            workload: self.title(),
            load: self.load,
            instances: self.instances,
            runs: self.runs.iter().map(Run::agreed).collect(),
        }
    }
}

impl Run {
    const fn agreed(&self) -> AgreedRun<'_> {
        AgreedRun {
            policy: self.policy.as_str(),
            seed: self.seed,
            ttft_ms: self.ttft_ms,
            prefill_saved: self.prefill_saved,
            imbalance: self.imbalance,
            rejected: self.rejected,
            misdispatched: self.misdispatched,
        }
    }

    /// Takes over what the loop counted.
    pub fn count(&mut self, tally: &Tally) {
        self.misdispatched = tally.misdispatched;
        self.broken = tally.broken;
        let counts = [
            ("broken_answers", tally.broken_answers),
            ("readmissions", tally.readmissions),
        ];
        self.counts
            .extend(counts.map(|(name, count)| (name, count as f64)));
    }

    /// Judges what was served of `requests` requests.
    #[must_use]
    pub fn new(
        policy: &str,
        seed: u64,
        requests: usize,
        served: &[Served],
        instances: usize,
    ) -> Self {
        let input: u64 = served.iter().map(|s| u64::from(s.input_tokens)).sum();
        let reused: u64 = served.iter().map(|s| u64::from(s.reused_tokens)).sum();
        Self {
            policy: policy.to_owned(),
            seed,
            ttft_ms: ttft(served),
            prefill_saved: reused as f64 / input.max(1) as f64,
            imbalance: imbalance(served, instances),
            rejected: requests - served.len(),
            ..Self::default()
        }
    }
}

fn ttft(served: &[Served]) -> Ttft {
    let mut times: Vec<f64> = served.iter().map(|served| served.ttft_ms).collect();
    times.sort_by(f64::total_cmp);
    // Nearest rank.
    let at = |share: f64| {
        let rank = (share * times.len() as f64).ceil() as usize;
        times
            .get(rank.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    };
    Ttft {
        mean: times.iter().sum::<f64>() / times.len().max(1) as f64,
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
    }
}

fn imbalance(served: &[Served], instances: usize) -> f64 {
    let mut windows: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for request in served {
        let window = (request.arrival_ms / WINDOW_MS) as u64;
        let tokens = (windows.entry(window)).or_insert_with(|| vec![0.0; instances]);
        let new_tokens = request.input_tokens.saturating_sub(request.reused_tokens);
        tokens[request.instance] += f64::from(new_tokens) / request.speed;
    }
    let greatest = |tokens: &Vec<f64>| tokens.iter().copied().fold(0.0, f64::max);
    let most: f64 = windows.values().map(greatest).sum();
    let all: f64 = windows.values().flatten().sum();
    most * instances as f64 / all.max(1.0)
}

/// Mean and half the width of its 95 % confidence interval (Student's t).
#[must_use]
pub fn mean_and_interval(samples: &[f64]) -> (f64, f64) {
    const T: [f64; 10] = [
        12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    ];
    let count = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / count.max(1.0);
    if samples.len() < 2 {
        return (mean, 0.0);
    }
    let squares: f64 = samples.iter().map(|sample| (sample - mean).powi(2)).sum();
    let t = T.get(samples.len() - 2).copied().unwrap_or(2.0);
    (mean, t * (squares / (count - 1.0) / count).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(arrival_ms: f64, ttft_ms: f64, new_tokens: u32, instance: Instance) -> Served {
        Served {
            arrival_ms,
            ttft_ms,
            input_tokens: 1_000,
            reused_tokens: 1_000 - new_tokens,
            instance,
            speed: 1.0,
        }
    }

    #[test]
    fn a_run_is_judged() {
        let mut all: Vec<Served> = (1..=98)
            .map(|n| served(0.0, f64::from(n), 500, n as usize % 2))
            .collect();
        all.push(served(20_000.0, 99.0, 1_000, 1));
        all.push(served(20_000.0, 200.0, 1_000, 1));
        let run = Run::new("x", 1, 101, &all, 2);
        assert_eq!((run.ttft_ms.p50, run.ttft_ms.p99), (50.0, 99.0));
        assert!((run.ttft_ms.mean - (4_950.0 + 200.0) / 100.0).abs() < 1e-9);
        assert!((run.prefill_saved - 0.49).abs() < 1e-9);
        // 24,500 each in one window, 2,000 on one of two in another.
        assert!((run.imbalance - 2.0 * (24_500.0 + 2_000.0) / 51_000.0).abs() < 1e-9);
        assert_eq!(run.rejected, 1);
    }

    #[test]
    fn who_is_half_as_fast_with_half_as_much_is_even() {
        let mut all = vec![served(0.0, 1.0, 800, 0), served(0.0, 1.0, 400, 1)];
        all[1].speed = 0.5;
        let run = Run::new("x", 1, 2, &all, 2);
        assert!((run.imbalance - 1.0).abs() < 1e-9);
    }

    /// Who reads results finds what was agreed, and nothing else.
    #[test]
    fn results_have_the_agreed_fields() {
        let run = Run::new("afr", 7, 3, &[served(0.0, 20.0, 250, 0)], 2);
        let runs = Runs {
            workload: "agents".to_owned(),
            scenario: "dies".to_owned(),
            load: 0.5,
            instances: 2,
            runs: vec![run],
            ..Runs::default()
        };
        let json = serde_json::to_value(runs.agreed()).unwrap();
        let wanted = serde_json::json!({
            "workload": "agents/dies", "load": 0.5, "instances": 2,
            "runs": [{
                "policy": "afr", "seed": 7,
                "ttft_ms": {"mean": 20.0, "p50": 20.0, "p90": 20.0, "p99": 20.0},
                "prefill_saved": 0.75, "imbalance": 2.0, "rejected": 2, "misdispatched": 0,
            }],
        });
        assert_eq!(json, wanted);
    }

    #[test]
    fn the_interval_of_three() {
        let (mean, half) = mean_and_interval(&[1.0, 2.0, 3.0]);
        assert!((mean - 2.0).abs() < 1e-9 && (half - 4.303 / 3.0_f64.sqrt()).abs() < 1e-9);
        assert_eq!(mean_and_interval(&[5.0]), (5.0, 0.0));
    }
}
