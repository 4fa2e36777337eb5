//! Preble (Srivatsa et al., 2024): exploit or explore.
//!
//! If what is cached of a prompt is longer than what is new, it goes where it is cached (of several such instances, to that
//! with the least load); else to the least load, which is the uncached tokens sent there in the last three minutes, with
//! the request's own new ones. It keeps its own record of what it sent and hears of evictions at once.

use std::collections::VecDeque;

use afr_perf::rng::SplitMix64;

use super::least;
use super::recency::Recency;
use crate::router::{Instance, Micros, RouteError, Router, Standing};
use crate::workload::{Block, Job};

const WINDOW_US: Micros = 180_000_000;

/// The router.
#[derive(Debug)]
pub struct Preble {
    records: Vec<Recency>,
    sent: VecDeque<(Micros, Instance, u64)>,
    window_tokens: Vec<u64>,
    dice: SplitMix64,
}

impl Preble {
    /// Over so many instances.
    #[must_use]
    pub fn new(instances: usize, seed: u64) -> Self {
        Self {
            records: (0..instances).map(|_| Recency::new(usize::MAX)).collect(),
            sent: VecDeque::new(),
            window_tokens: vec![0; instances],
            dice: SplitMix64::new(seed),
        }
    }
}

impl Router for Preble {
    fn place(
        &mut self,
        now: Micros,
        job: &Job,
        candidates: &[Instance],
    ) -> Result<Instance, RouteError> {
        while let Some((_, instance, tokens)) =
            self.sent.pop_front_if(|(at, ..)| *at + WINDOW_US < now)
        {
            self.window_tokens[instance] -= tokens;
        }
        let new_tokens: Vec<u32> = (self.records.iter())
            .map(|record| job.new_tokens(record.matched(&job.blocks)))
            .collect();
        let fewest = candidates.iter().map(|at| new_tokens[*at]).min();
        let fewest = fewest.unwrap_or_default();
        let exploits = job.input_tokens - fewest > fewest;
        let window = &self.window_tokens;
        let chosen = least(job, candidates, &mut self.dice, |at| {
            let is_out = exploits && new_tokens[at] > fewest;
            (is_out, window[at] + u64::from(new_tokens[at]))
        })?;
        let tokens = u64::from(new_tokens[chosen]);
        self.window_tokens[chosen] += tokens;
        self.sent.push_back((now, chosen, tokens));
        self.records[chosen].sent(&job.blocks);
        Ok(chosen)
    }

    fn evicted(&mut self, _: Micros, instance: Instance, blocks: &[Block]) {
        self.records[instance].forget(blocks);
    }

    fn declared(&mut self, _: Micros, instance: Instance, standing: Standing) {
        if standing == Standing::Down {
            self.records[instance] = Recency::new(usize::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::tests::workload;

    #[test]
    fn more_cached_than_new_is_exploited_and_less_is_not() {
        let jobs = workload(&[
            (2_048, &[1, 2, 3, 4]),
            (3_072, &[1, 2, 3, 4, 5, 6]),
            (2_048, &[1, 2, 8, 9]),
        ])
        .jobs;
        let mut router = Preble::new(2, 1);
        let both = [0, 1];
        let home = router.place(0, &jobs[0], &both).unwrap();
        assert_eq!(router.place(1, &jobs[1], &both), Ok(home));
        // Though the other has been sent less by more than it would have to compute.
        assert_eq!(router.place(1, &jobs[1], &both), Ok(home));
        let half = router.place(2, &jobs[2], &both);
        assert_eq!(half, Ok(1 - home), "half is not more");
        router.declared(3, home, Standing::Down);
        assert_eq!(router.place(3, &jobs[1], &both), Ok(1 - home), "forgotten");
    }

    #[test]
    fn load_is_forgotten_after_the_window_and_evictions_at_once() {
        let jobs = workload(&[(2_048, &[1, 2, 3, 4]), (512, &[9]), (2_048, &[1, 2, 3, 4])]).jobs;
        let mut router = Preble::new(2, 1);
        let home = router.place(0, &jobs[0], &[0, 1]).unwrap();
        router.evicted(1, home, &jobs[0].blocks);
        assert_eq!(router.place(2, &jobs[2], &[0, 1]), Ok(1 - home));
        router.place(WINDOW_US + 10, &jobs[1], &[0, 1]).unwrap();
        assert_eq!(router.window_tokens.iter().sum::<u64>(), 512);
    }
}
