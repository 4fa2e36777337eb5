//! llm-d's router, which is Gateway API's endpoint picker, with its default weights: 2 for the queue, 2 for KV use, 3 for the
//! prefix, each score from 0 to 1, the greatest sum wins, ties by dice.
//!
//! Queue and KV use are what it last scraped; the prefix score is by its own record of what it sent, at most 31,250 blocks of
//! 64 tokens an instance. Its bound of 256 blocks on a match is left out, which is in its favour here.

use afr_perf::rng::SplitMix64;

use super::least;
use super::recency::Recency;
use crate::router::{EngineLoad, Instance, Micros, RouteError, Router, Standing};
use crate::workload::Job;

const QUEUE_WEIGHT: f64 = 2.0;
const KV_WEIGHT: f64 = 2.0;
const PREFIX_WEIGHT: f64 = 3.0;
const RECORD_BLOCKS: usize = 31_250 * 64 / 512;
/// Time from one scrape to the next.
pub const SCRAPE_US: Micros = 50_000;

/// The router.
#[derive(Debug)]
pub struct EndpointPicker {
    records: Vec<Recency>,
    scraped: Vec<EngineLoad>,
    /// What the next scrape will find.
    present: Vec<EngineLoad>,
    scrape_us: Micros,
    next_us: Micros,
    dice: SplitMix64,
}

impl EndpointPicker {
    /// Over so many instances, scraping every `scrape_us`.
    #[must_use]
    pub fn new(instances: usize, scrape_us: Micros, seed: u64) -> Self {
        Self {
            records: (0..instances)
                .map(|_| Recency::new(RECORD_BLOCKS))
                .collect(),
            scraped: vec![EngineLoad::default(); instances],
            present: vec![EngineLoad::default(); instances],
            scrape_us: scrape_us.max(1),
            next_us: 0,
            dice: SplitMix64::new(seed),
        }
    }

    /// What was true when the last scrape was due is what it found.
    fn scrape(&mut self, now: Micros) {
        if now >= self.next_us {
            self.scraped.clone_from(&self.present);
            self.next_us = now - now % self.scrape_us + self.scrape_us;
        }
    }
}

impl Router for EndpointPicker {
    fn place(
        &mut self,
        now: Micros,
        job: &Job,
        candidates: &[Instance],
    ) -> Result<Instance, RouteError> {
        self.scrape(now);
        let queue = |at: usize| f64::from(self.scraped[at].waiting);
        let queues = || candidates.iter().map(|at| queue(*at));
        let most = queues().fold(0.0, f64::max);
        let fewest = queues().fold(f64::INFINITY, f64::min);
        let total = job.blocks.len().max(1) as f64;
        let score = |at: usize| {
            let short = if most > fewest {
                (most - queue(at)) / (most - fewest)
            } else {
                1.0
            };
            let prefix = self.records[at].matched(&job.blocks) as f64 / total;
            let free = 1.0 - self.scraped[at].kv_used;
            QUEUE_WEIGHT * short + KV_WEIGHT * free + PREFIX_WEIGHT * prefix
        };
        let scores: Vec<f64> = (0..self.scraped.len()).map(score).collect();
        let chosen = least(job, candidates, &mut self.dice, |at| -scores[at])?;
        self.records[chosen].sent(&job.blocks);
        Ok(chosen)
    }

    fn loaded(&mut self, now: Micros, instance: Instance, load: &EngineLoad) {
        self.scrape(now);
        self.present[instance] = *load;
    }

    fn declared(&mut self, _: Micros, instance: Instance, standing: Standing) {
        if standing == Standing::Down {
            self.records[instance] = Recency::new(RECORD_BLOCKS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::tests::workload;

    fn load(waiting: u32, kv_used: f64) -> EngineLoad {
        EngineLoad {
            waiting,
            kv_used,
            ..EngineLoad::default()
        }
    }

    #[test]
    fn a_whole_prefix_outweighs_a_queue_and_half_of_one_does_not() {
        let jobs = workload(&[(1_024, &[1, 2]), (1_024, &[1, 2]), (1_024, &[1, 3])]).jobs;
        let mut router = EndpointPicker::new(2, SCRAPE_US, 1);
        let both = [0, 1];
        let home = router.place(0, &jobs[0], &both).unwrap();
        router.loaded(1, home, &load(9, 0.0));
        assert_eq!(router.place(60_000, &jobs[1], &both), Ok(home), "3 over 2");
        let half = router.place(60_000, &jobs[2], &both);
        assert_eq!(half, Ok(1 - home), "1.5 under 2");
        router.declared(70_000, home, Standing::Down);
        // The other was sent half of it.
        let second = router.place(80_000, &jobs[1], &both);
        assert_eq!(second, Ok(1 - home), "forgotten with its record");
    }

    #[test]
    fn it_sees_what_it_scraped() {
        let jobs = workload(&[(512, &[1]), (512, &[2]), (512, &[3])]).jobs;
        let mut router = EndpointPicker::new(2, SCRAPE_US, 1);
        router.loaded(0, 0, &load(0, 0.1));
        router.loaded(0, 1, &load(0, 0.9));
        assert_eq!(router.place(50_000, &jobs[0], &[0, 1]), Ok(0));
        router.loaded(50_001, 0, &load(5, 0.1));
        let chosen = router.place(60_000, &jobs[1], &[0, 1]);
        assert_eq!(chosen, Ok(0), "not scraped yet");
        assert_eq!(router.place(100_000, &jobs[2], &[0, 1]), Ok(1));
    }
}
