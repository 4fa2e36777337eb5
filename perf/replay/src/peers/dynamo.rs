//! Dynamo's published cost, for where its own router does not run: tokens to prefill, in blocks, with the request's own
//! where it would go, and blocks of all requests there; the smallest sum wins, ties by dice.
//!
//! After `DefaultWorkerSelector` of Dynamo 1.6 with its defaults. It hears every KV event at once, and counts its own
//! requests in flight: until the first token what was not cached of a prompt, until the last the blocks.

use std::collections::HashMap;

use afr_perf::engine::BLOCK_TOKENS;
use afr_perf::rng::SplitMix64;

use super::least;
use crate::engines::Engines;
use crate::router::{Instance, Micros, RouteError, Router};
use crate::workload::{Block, Job};

/// Its own requests at one instance.
#[derive(Clone, Debug, Default)]
struct Own {
    /// Tokens still to prefill, by request.
    prefill: HashMap<u32, u32>,
    /// Requests that have a block, by its name.
    blocks: HashMap<u64, u32>,
    /// Blocks that no two requests share: those cut short.
    cut_short: u32,
}

impl Own {
    fn prefill_tokens(&self) -> u64 {
        self.prefill.values().map(|tokens| u64::from(*tokens)).sum()
    }

    /// Blocks there would be with the request.
    fn blocks_with(&self, job: &Job) -> u64 {
        let is_new = |block: &&Block| !self.blocks.contains_key(&block.key);
        let new = job.blocks.iter().filter(is_new).count();
        (self.blocks.len() + new) as u64 + u64::from(self.cut_short + cut_short(job))
    }

    fn ended(&mut self, job: &Job) {
        self.prefill.remove(&job.id);
        self.cut_short = self.cut_short.saturating_sub(cut_short(job));
        for block in &job.blocks {
            if let Some(requests) = self.blocks.get_mut(&block.key) {
                *requests -= 1;
                if *requests == 0 {
                    self.blocks.remove(&block.key);
                }
            }
        }
    }
}

const fn cut_short(job: &Job) -> u32 {
    if job.input_tokens.is_multiple_of(BLOCK_TOKENS) {
        0
    } else {
        1
    }
}

/// The router.
#[derive(Debug)]
pub struct Dynamo {
    engines: Engines,
    own: Vec<Own>,
    dice: SplitMix64,
}

impl Dynamo {
    /// Over so many instances.
    #[must_use]
    pub fn new(instances: usize, seed: u64) -> Self {
        Self {
            engines: Engines::new(instances),
            own: vec![Own::default(); instances],
            dice: SplitMix64::new(seed),
        }
    }
}

impl Router for Dynamo {
    fn place(
        &mut self,
        _: Micros,
        job: &Job,
        candidates: &[Instance],
    ) -> Result<Instance, RouteError> {
        let (engines, own) = (&self.engines, &self.own);
        let uncached = |at: Instance| {
            let held = engines.held_blocks(at, job) as u32 * BLOCK_TOKENS;
            job.input_tokens.saturating_sub(held)
        };
        let cost = |at: Instance| {
            let prefill = own[at].prefill_tokens() + u64::from(uncached(at));
            let blocks = own[at].blocks_with(job);
            prefill as f64 / f64::from(BLOCK_TOKENS) + blocks as f64
        };
        let chosen = least(job, candidates, &mut self.dice, cost)?;
        let tokens = uncached(chosen);
        let own = &mut self.own[chosen];
        own.prefill.insert(job.id, tokens);
        own.cut_short += cut_short(job);
        for block in &job.blocks {
            *own.blocks.entry(block.key).or_default() += 1;
        }
        Ok(chosen)
    }

    fn prefilled(&mut self, _: Micros, job: &Job, instance: Instance) {
        self.own[instance].prefill.remove(&job.id);
    }

    fn finished(&mut self, _: Micros, job: &Job, instance: Instance) {
        self.own[instance].ended(job);
    }

    fn stored(&mut self, _: Micros, instance: Instance, blocks: &[Block]) {
        self.engines.stored(instance, blocks);
    }

    fn evicted(&mut self, _: Micros, instance: Instance, blocks: &[Block]) {
        self.engines.evicted(instance, blocks);
    }

    fn died(&mut self, _: Micros, instance: Instance) {
        // Its KV events are of a worker that is no more.
        self.engines.cleared(instance);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::tests::workload;

    #[test]
    fn what_is_cached_outweighs_as_much_that_waits_and_no_more() {
        let jobs = workload(&[
            (2_048, &[1, 2, 3, 4]),
            (1_024, &[1, 2]),
            (1_024, &[8, 9]),
            (1_024, &[1, 2]),
        ])
        .jobs;
        let begin = |seed| {
            let mut router = Dynamo::new(2, seed);
            router.stored(0, 1, &jobs[0].blocks[..3]);
            // 1 block to prefill and 4 in all, against 4 and 4.
            assert_eq!(router.place(0, &jobs[0], &[0, 1]), Ok(1));
            router
        };
        let mut router = begin(0);
        // Not by the dice.
        (1..8).for_each(|seed| drop(begin(seed)));
        // 1 waits, none to prefill, 4 in all, against 2 and 2.
        assert_eq!(router.place(0, &jobs[1], &[0, 1]), Ok(0));
        // 1 waits, 2 to prefill and 6 in all, against 2 and 2 and 4.
        assert_eq!(router.place(0, &jobs[2], &[0, 1]), Ok(0));
        router.prefilled(1, &jobs[0], 1);
        // None to prefill and 4 in all, against 4 and 2 and 4.
        assert_eq!(router.place(1, &jobs[3], &[0, 1]), Ok(1));
    }

    #[test]
    fn what_ended_counts_no_more() {
        let jobs = workload(&[(2_100, &[1, 2, 3, 4, 5]), (600, &[1, 2])]).jobs;
        let mut router = Dynamo::new(1, 1);
        router.place(0, &jobs[0], &[0]).unwrap();
        router.place(0, &jobs[1], &[0]).unwrap();
        let own = &router.own[0];
        assert_eq!((own.prefill_tokens(), own.blocks.len()), (2_700, 4));
        router.prefilled(1, &jobs[1], 0);
        let own = &router.own[0];
        assert_eq!((own.prefill_tokens(), own.blocks.len()), (2_100, 4));
        router.broken(2, &jobs[0], 0);
        let own = &router.own[0];
        assert_eq!((own.prefill_tokens(), own.blocks.len()), (0, 1));
        assert_eq!(own.cut_short, 1);
    }
}
