//! Figures of a run, as JSON and as a table.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::RunProgress;
use super::client::{Answered, Outcome};
use super::plan::Plan;

/// The figures. But for `broken` and `misdispatched`, which are of the whole run, they leave out the warm-up.
#[derive(Clone, Debug, Serialize)]
pub struct RunResult {
    /// Requests measured, broken ones included.
    pub requests: usize,
    /// Requests that came before and were not.
    pub warmup: usize,
    /// Time to first token, from `connect()`, in emulated milliseconds.
    pub ttft_ms: Distribution,
    /// Time to the last byte, from `connect()`, in emulated milliseconds.
    pub e2e_ms: Distribution,
    /// Share of prompt tokens that were in a cache: cached over all.
    pub prefill_saved: f64,
    /// Work of the busiest instance over the mean of all; 1 is even. Work is uncached prompt tokens and generated ones,
    /// divided by the instance's speed.
    pub imbalance: f64,
    /// Answers from an instance without the class or a label asked for. Must be 0.
    pub misdispatched: usize,
    /// Requests without a whole, right answer. Must be 0.
    pub broken: usize,
    /// The same by kind.
    pub broken_by_kind: BTreeMap<&'static str, usize>,
    /// The first of each kind.
    pub broken_examples: BTreeMap<&'static str, String>,
    /// Prompt tokens.
    pub prompt_tokens: u64,
    /// Prompt tokens that were in a cache.
    pub cached_tokens: u64,
    /// Tokens generated.
    pub completion_tokens: u64,
    /// By instance.
    pub per_instance: Vec<InstanceResult>,
    /// Mean time to make the metadata of a request, in real microseconds; 0 without metadata.
    pub metadata_us_mean: f64,
    /// Mean length of the metadata's header in bytes; 0 without metadata.
    pub metadata_bytes_mean: f64,
    /// Requests that started late because too many connections were open.
    pub delayed: usize,
    /// The run's length in real seconds.
    pub duration_s: f64,
    /// Emulated seconds in a real one.
    pub time_scale: f64,
    /// The seed.
    pub seed: u64,
    /// Where the workload comes from.
    pub workload: String,
}

/// Mean and percentiles (nearest rank) of some values; all 0 if there are none.
#[derive(Copy, Clone, Debug, Default, PartialEq, Serialize)]
pub struct Distribution {
    /// Mean.
    pub mean: f64,
    /// Half are not above.
    pub p50: f64,
    /// Nine of ten are not above.
    pub p90: f64,
    /// All but one of a hundred are not above.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

/// Figures of one instance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InstanceResult {
    /// Its number.
    pub instance: u32,
    /// Its speed relative to the engine model's.
    pub speed: f64,
    /// Requests answered.
    pub requests: usize,
    /// Prompt tokens.
    pub prompt_tokens: u64,
    /// Prompt tokens that were in its cache.
    pub cached_tokens: u64,
    /// Tokens generated.
    pub completion_tokens: u64,
    /// Mean time to first token in emulated milliseconds.
    pub ttft_ms_mean: f64,
    /// Work as in [`RunResult::imbalance`].
    pub work: f64,
}

impl Distribution {
    /// Of these values.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let percentile = |percent: usize| {
            let rank = (values.len() * percent).div_ceil(100).max(1);
            values.get(rank - 1).copied().unwrap_or_default()
        };
        Self {
            mean: mean(&values),
            p50: percentile(50),
            p90: percentile(90),
            p99: percentile(99),
            max: percentile(100),
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() {
        0.0
    } else {
        values.iter().sum::<f64>() / values.len() as f64
    }
}

impl RunResult {
    /// Of the outcomes of a plan, in its order.
    #[must_use]
    pub fn new(plan: &Plan, outcomes: &[Outcome], progress: &RunProgress, duration_s: f64) -> Self {
        let measured = outcomes.get(plan.warmup..).unwrap_or_default();
        let answered: Vec<&Answered> = measured.iter().filter_map(answer).collect();
        let to_ms = plan.time_scale * 1_000.0;
        let times = |time: fn(&Answered) -> f64| {
            Distribution::of(answered.iter().map(|answer| time(answer) * to_ms).collect())
        };
        let per_instance = by_instance(&answered, to_ms);
        let sum = |tokens: fn(&InstanceResult) -> u64| per_instance.iter().map(tokens).sum::<u64>();
        let (prompt_tokens, cached_tokens) =
            (sum(|one| one.prompt_tokens), sum(|one| one.cached_tokens));
        let mut result = Self {
            requests: measured.len(),
            warmup: outcomes.len() - measured.len(),
            ttft_ms: times(|answer| answer.first_token_s),
            e2e_ms: times(|answer| answer.last_byte_s),
            prefill_saved: cached_tokens as f64 / (prompt_tokens as f64).max(1.0),
            imbalance: imbalance(&per_instance, plan.instances),
            misdispatched: outcomes
                .iter()
                .filter_map(answer)
                .filter(|a| !a.is_capable)
                .count(),
            broken: 0,
            broken_by_kind: BTreeMap::new(),
            broken_examples: BTreeMap::new(),
            prompt_tokens,
            cached_tokens,
            completion_tokens: sum(|one| one.completion_tokens),
            per_instance,
            metadata_us_mean: 0.0,
            metadata_bytes_mean: 0.0,
            delayed: progress.delayed(),
            duration_s,
            time_scale: plan.time_scale,
            seed: plan.seed,
            workload: plan.origin.clone(),
        };
        result.count_broken(outcomes);
        let costs = || measured.iter().filter_map(|outcome| outcome.metadata);
        result.metadata_us_mean = mean(&costs().map(|cost| cost.make_us).collect::<Vec<_>>());
        let lengths: Vec<f64> = costs().map(|cost| cost.header_bytes as f64).collect();
        result.metadata_bytes_mean = mean(&lengths);
        result
    }

    fn count_broken(&mut self, outcomes: &[Outcome]) {
        for broken in outcomes
            .iter()
            .filter_map(|outcome| outcome.answer.as_ref().err())
        {
            self.broken += 1;
            *self.broken_by_kind.entry(broken.kind()).or_default() += 1;
            let example = || broken.to_string();
            self.broken_examples
                .entry(broken.kind())
                .or_insert_with(example);
        }
    }
}

fn answer(outcome: &Outcome) -> Option<&Answered> {
    outcome.answer.as_ref().ok()
}

fn by_instance(answered: &[&Answered], to_ms: f64) -> Vec<InstanceResult> {
    let mut instances: BTreeMap<u32, Vec<&Answered>> = BTreeMap::new();
    for answer in answered {
        instances.entry(answer.instance).or_default().push(answer);
    }
    let result = |(instance, answers): (u32, Vec<&Answered>)| {
        let sum = |tokens: fn(&Answered) -> u32| -> u64 {
            answers.iter().map(|answer| u64::from(tokens(answer))).sum()
        };
        let prompt_tokens = sum(|answer| answer.usage.prompt_tokens);
        let cached_tokens = sum(|answer| answer.usage.prompt_tokens_details.cached_tokens);
        let completion_tokens = sum(|answer| answer.usage.completion_tokens);
        let speed = answers.first().map_or(1.0, |answer| answer.speed);
        let times: Vec<f64> = answers
            .iter()
            .map(|answer| answer.first_token_s * to_ms)
            .collect();
        let computed = prompt_tokens.saturating_sub(cached_tokens) + completion_tokens;
        InstanceResult {
            instance,
            speed,
            requests: answers.len(),
            prompt_tokens,
            cached_tokens,
            completion_tokens,
            ttft_ms_mean: mean(&times),
            work: computed as f64 / speed,
        }
    };
    instances.into_iter().map(result).collect()
}

/// Largest over mean, over `instances` if there are more than answered.
fn imbalance(per_instance: &[InstanceResult], instances: Option<usize>) -> f64 {
    let works = per_instance.iter().map(|one| one.work);
    let count = instances.unwrap_or(0).max(per_instance.len());
    let sum: f64 = works.clone().sum();
    let largest = works.fold(0.0, f64::max);
    if sum > 0.0 {
        largest * count as f64 / sum
    } else {
        1.0
    }
}

impl fmt::Display for RunResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} requests measured after {} of warm-up, {} (seed {}), {:.1} s at {}x",
            self.requests, self.warmup, self.workload, self.seed, self.duration_s, self.time_scale
        )?;
        writeln!(
            f,
            "           {:>9} {:>9} {:>9} {:>9} {:>9}",
            "mean", "p50", "p90", "p99", "max"
        )?;
        for (name, of) in [("TTFT, ms", self.ttft_ms), ("whole, ms", self.e2e_ms)] {
            writeln!(
                f,
                "{name:<10} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>9.1}",
                of.mean, of.p50, of.p90, of.p99, of.max
            )?;
        }
        writeln!(
            f,
            "prefill saved {:.1} %, imbalance {:.2}, misdispatched {}, broken {}, delayed {}",
            self.prefill_saved * 100.0,
            self.imbalance,
            self.misdispatched,
            self.broken,
            self.delayed
        )?;
        for (kind, example) in &self.broken_examples {
            let count = self.broken_by_kind.get(kind).copied().unwrap_or_default();
            writeln!(f, "  {count} {kind}, for example: {example}")?;
        }
        if self.metadata_bytes_mean > 0.0 {
            writeln!(
                f,
                "metadata {:.0} bytes, made in {:.0} us a request",
                self.metadata_bytes_mean, self.metadata_us_mean
            )?;
        }
        writeln!(
            f,
            "instance  speed  requests   prompt tokens  saved %  TTFT mean, ms"
        )?;
        for one in &self.per_instance {
            writeln!(
                f,
                "{:>8} {:>6.2} {:>9} {:>15} {:>8.1} {:>14.1}",
                one.instance,
                one.speed,
                one.requests,
                one.prompt_tokens,
                100.0 * one.cached_tokens as f64 / (one.prompt_tokens as f64).max(1.0),
                one.ttft_ms_mean
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::api::Usage;

    fn answered(instance: u32, speed: f64, prompt: u32, cached: u32) -> Answered {
        Answered {
            first_token_s: 0.1,
            last_byte_s: 0.2,
            usage: Usage::new(prompt, cached, 10),
            instance,
            speed,
            is_capable: true,
        }
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let distribution = Distribution::of((1..=200).rev().map(f64::from).collect());
        let expected = Distribution {
            mean: 100.5,
            p50: 100.0,
            p90: 180.0,
            p99: 198.0,
            max: 200.0,
        };
        assert_eq!(distribution, expected);
        assert_eq!(Distribution::of(vec![]), Distribution::default());
        assert_eq!(Distribution::of(vec![3.0]).p99, 3.0);
    }

    #[test]
    fn imbalance_weighs_by_speed_and_counts_the_idle() {
        let fast = answered(1, 1.0, 1_000, 10);
        let slow = answered(2, 0.5, 500, 10);
        let instances = by_instance(&[&fast, &slow], 1_000.0);
        assert_eq!((instances[0].work, instances[1].work), (1_000.0, 1_000.0));
        assert!((imbalance(&instances, None) - 1.0).abs() < 1e-9);
        assert!((imbalance(&instances, Some(4)) - 2.0).abs() < 1e-9);
        assert_eq!(imbalance(&[], None), 1.0);
        assert!((instances[0].ttft_ms_mean - 100.0).abs() < 1e-9);
    }
}
