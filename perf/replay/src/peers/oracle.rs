//! The limit: the AFR's estimate made from the engines' true state at every instant. What it loses to a better router is
//! the estimate's fault; what the AFR loses to it is that of what the AFR knows.

use afr_perf::rng::SplitMix64;

use super::least;
use crate::engines::Engines;
use crate::router::{EngineLoad, Instance, Micros, RouteError, Router};
use crate::workload::{Block, Job};

/// Tokens of a full batch.
const BATCH_TOKENS: f64 = 8_192.0;

/// The router.
#[derive(Debug)]
pub struct Oracle {
    engines: Engines,
    loads: Vec<EngineLoad>,
    thrift: f64,
    dice: SplitMix64,
}

impl Oracle {
    /// Over so many instances. `thrift` is an experiment: how much more a token counts that would have to be computed, for
    /// each full batch that waits on the least loaded instance. What is computed twice there delays all who wait.
    #[must_use]
    pub fn new(instances: usize, thrift: f64, seed: u64) -> Self {
        Self {
            engines: Engines::new(instances),
            loads: vec![EngineLoad::default(); instances],
            thrift,
            dice: SplitMix64::new(seed),
        }
    }
}

impl Router for Oracle {
    fn place(&mut self, _: Micros, job: &Job) -> Result<Instance, RouteError> {
        let (engines, loads) = (&self.engines, &self.loads);
        let pending = loads.iter().map(|load| load.pending_tokens).min();
        let batches = f64::from(pending.unwrap_or_default()) / BATCH_TOKENS;
        let weight = 1.0 + self.thrift * batches;
        let cost = |at: usize| {
            let new = job.new_tokens(engines.held_blocks(at, job));
            let tokens = f64::from(loads[at].pending_tokens) + weight * f64::from(new);
            (tokens, loads[at].running)
        };
        let costs: Vec<_> = (0..loads.len()).map(cost).collect();
        Ok(least(costs.len(), &mut self.dice, |at| costs[at]))
    }

    fn stored(&mut self, _: Micros, instance: Instance, blocks: &[Block]) {
        self.engines.stored(instance, blocks);
    }

    fn evicted(&mut self, _: Micros, instance: Instance, blocks: &[Block]) {
        self.engines.evicted(instance, blocks);
    }

    fn loaded(&mut self, _: Micros, instance: Instance, load: &EngineLoad) {
        self.loads[instance] = *load;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::tests::workload;

    #[test]
    fn it_weighs_what_is_held_against_what_waits() {
        let jobs = workload(&[(2_048, &[1, 2, 3, 4])]).jobs;
        let mut router = Oracle::new(3, 0.0, 1);
        router.stored(0, 2, &jobs[0].blocks[..3]);
        assert_eq!(router.place(0, &jobs[0]), Ok(2));
        let busy = |pending_tokens| EngineLoad {
            pending_tokens,
            ..EngineLoad::default()
        };
        router.loaded(0, 2, &busy(1_537));
        router.loaded(0, 0, &busy(1));
        assert_eq!(router.place(0, &jobs[0]), Ok(1));
        router.evicted(0, 2, &jobs[0].blocks[1..2]);
        router.loaded(0, 1, &busy(1_600));
        router.loaded(0, 0, &busy(1_024));
        assert_eq!(router.place(0, &jobs[0]), Ok(0), "2 has one block left");
        router.thrift = 1.0;
        assert_eq!(router.place(0, &jobs[0]), Ok(2), "it counts for more");
    }
}
