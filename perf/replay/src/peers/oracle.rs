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
    loads: Vec<(EngineLoad, f64)>,
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
            loads: vec![(EngineLoad::default(), 1.0); instances],
            thrift,
            dice: SplitMix64::new(seed),
        }
    }
}

impl Router for Oracle {
    fn place(
        &mut self,
        _: Micros,
        job: &Job,
        candidates: &[Instance],
    ) -> Result<Instance, RouteError> {
        let (engines, loads) = (&self.engines, &self.loads);
        let pending = candidates.iter().map(|at| loads[*at].0.pending_tokens);
        let pending = pending.min();
        let batches = f64::from(pending.unwrap_or_default()) / BATCH_TOKENS;
        let weight = 1.0 + self.thrift * batches;
        let cost = |at: usize| {
            let new = job.new_tokens(engines.held_blocks(at, job));
            let (load, speed) = loads[at];
            let tokens = f64::from(load.pending_tokens) + weight * f64::from(new);
            (tokens / speed, load.running)
        };
        let costs: Vec<_> = (0..loads.len()).map(cost).collect();
        least(job, candidates, &mut self.dice, |at| costs[at])
    }

    fn stored(&mut self, _: Micros, instance: Instance, blocks: &[Block]) {
        self.engines.stored(instance, blocks);
    }

    fn evicted(&mut self, _: Micros, instance: Instance, blocks: &[Block]) {
        self.engines.evicted(instance, blocks);
    }

    fn truth(&mut self, _: Micros, instance: Instance, load: &EngineLoad, speed: f64) {
        self.loads[instance] = (*load, speed);
    }

    fn died(&mut self, _: Micros, instance: Instance) {
        self.engines.cleared(instance);
        self.loads[instance] = (EngineLoad::default(), 1.0);
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
        let all = [0, 1, 2];
        assert_eq!(router.place(0, &jobs[0], &all), Ok(2));
        let busy = |pending_tokens| EngineLoad {
            pending_tokens,
            ..EngineLoad::default()
        };
        router.truth(0, 2, &busy(1_537), 1.0);
        router.truth(0, 0, &busy(1), 1.0);
        assert_eq!(router.place(0, &jobs[0], &all), Ok(1));
        router.evicted(0, 2, &jobs[0].blocks[1..2]);
        router.truth(0, 1, &busy(1_600), 1.0);
        router.truth(0, 0, &busy(1_024), 1.0);
        let chosen = router.place(0, &jobs[0], &all);
        assert_eq!(chosen, Ok(0), "2 has one block left");
        router.thrift = 1.0;
        let chosen = router.place(0, &jobs[0], &all);
        assert_eq!(chosen, Ok(2), "it counts for more");
    }

    #[test]
    fn it_is_not_lied_to_and_knows_who_is_slow() {
        let jobs = workload(&[(2_048, &[1, 2, 3, 4])]).jobs;
        let mut router = Oracle::new(2, 0.0, 1);
        let load = |pending_tokens| EngineLoad {
            pending_tokens,
            ..EngineLoad::default()
        };
        router.truth(0, 0, &load(1_000), 1.0);
        router.truth(0, 1, &load(0), 0.5);
        router.loaded(0, 0, &load(0));
        // 3,048 tokens at the model's speed, 2,048 at half of it.
        assert_eq!(router.place(0, &jobs[0], &[0, 1]), Ok(0));
        router.truth(1, 1, &load(0), 1.0);
        assert_eq!(router.place(1, &jobs[0], &[0, 1]), Ok(1));
    }
}
