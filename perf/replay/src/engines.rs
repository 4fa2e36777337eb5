//! What can be told of engines from outside, exactly: which blocks each holds, by its events, and how much it has to
//! prefill.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::router::{EngineLoad, Instance};
use crate::workload::{Block, Job};

/// A request that an engine has and whose first token it has not made.
#[derive(Debug)]
struct Ahead {
    job: u32,
    /// Uncached tokens not yet computed.
    tokens: u32,
}

/// One engine.
#[derive(Debug, Default)]
struct Engine {
    held: HashSet<u64>,
    ahead: VecDeque<Ahead>,
    /// Tokens of requests whose first token came since the last step was told: they were computed in it.
    credit: u32,
    waiting: u32,
    running: u32,
    kv_used: f64,
}

/// The engines of a cluster.
#[derive(Debug)]
pub struct Engines {
    engines: Vec<Engine>,
    of_job: HashMap<u32, Instance>,
}

impl Engines {
    /// So many, empty.
    #[must_use]
    pub fn new(instances: usize) -> Self {
        Self {
            engines: (0..instances).map(|_| Engine::default()).collect(),
            of_job: HashMap::new(),
        }
    }

    /// How many of the request's blocks, from the first on, an engine holds.
    #[must_use]
    pub fn held_blocks(&self, instance: Instance, job: &Job) -> usize {
        let engine = &self.engines[instance];
        let held = |block: &&Block| engine.held.contains(&block.key);
        job.blocks.iter().take_while(held).count()
    }

    /// A request arrives.
    pub fn arrived(&mut self, instance: Instance, job: &Job) {
        let tokens = job.new_tokens(self.held_blocks(instance, job));
        self.of_job.insert(job.id, instance);
        let engine = &mut self.engines[instance];
        engine.ahead.push_back(Ahead {
            job: job.id,
            tokens,
        });
        engine.waiting += 1;
    }

    /// A step of an engine ended, in which it computed so many prompt tokens. Prompts are computed in the order of
    /// arrival. The first tokens that the step brought were told before.
    pub fn stepped(&mut self, instance: Instance, tokens: u64) {
        let engine = &mut self.engines[instance];
        let credit = std::mem::take(&mut engine.credit);
        let mut left = u32::try_from(tokens)
            .unwrap_or(u32::MAX)
            .saturating_sub(credit);
        for ahead in &mut engine.ahead {
            let done = ahead.tokens.min(left);
            ahead.tokens -= done;
            left -= done;
        }
    }

    /// The engine's own figures.
    pub fn observed(&mut self, instance: Instance, waiting: u32, running: u32, kv_used: f64) {
        let engine = &mut self.engines[instance];
        (engine.waiting, engine.running, engine.kv_used) = (waiting, running, kv_used);
    }

    /// A request's first token is out, or it ended without one.
    pub fn prefilled(&mut self, job: u32) {
        if let Some(instance) = self.of_job.remove(&job) {
            let Engine { ahead, credit, .. } = &mut self.engines[instance];
            if let Some(at) = ahead.iter().position(|ahead| ahead.job == job)
                && let Some(done) = ahead.remove(at)
            {
                *credit += done.tokens;
            }
        }
    }

    /// Blocks entered a cache.
    pub fn stored(&mut self, instance: Instance, blocks: &[Block]) {
        let keys = blocks.iter().map(|block| block.key);
        self.engines[instance].held.extend(keys);
    }

    /// Blocks left a cache.
    pub fn evicted(&mut self, instance: Instance, blocks: &[Block]) {
        for block in blocks {
            self.engines[instance].held.remove(&block.key);
        }
    }

    /// An engine is gone, with its cache and whatever it had to do.
    pub fn cleared(&mut self, instance: Instance) {
        self.engines[instance] = Engine::default();
        self.of_job.retain(|_, at| *at != instance);
    }

    /// What an engine is doing.
    #[must_use]
    pub fn load(&self, instance: Instance) -> EngineLoad {
        let engine = &self.engines[instance];
        let pending: u64 = engine.ahead.iter().map(|a| u64::from(a.tokens)).sum();
        EngineLoad {
            waiting: engine.waiting,
            running: engine.running,
            pending_tokens: u32::try_from(pending).unwrap_or(u32::MAX),
            kv_used: engine.kv_used,
        }
    }

    /// How many engines there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.engines.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::tests::workload;

    #[test]
    fn what_is_pending_shrinks_with_steps_and_first_tokens() {
        let jobs = workload(&[(1_100, &[1, 2, 3]), (1_600, &[1, 2, 4, 5])]).jobs;
        let mut engines = Engines::new(2);
        engines.stored(1, &jobs[0].blocks[..1]);
        engines.arrived(1, &jobs[0]);
        assert_eq!(engines.load(1).pending_tokens, 1_100 - 512);
        engines.arrived(1, &jobs[1]);
        assert_eq!(engines.load(1).waiting, 2);
        engines.stepped(1, 500);
        engines.observed(1, 1, 1, 0.25);
        assert_eq!(engines.load(1).pending_tokens, 88 + 1_600 - 512);
        // One step that ends the first prompt and computes 400 tokens of the second.
        engines.prefilled(0);
        engines.stepped(1, 88 + 400);
        let load = engines.load(1);
        assert_eq!(load.pending_tokens, 1_600 - 512 - 400);
        assert_eq!((load.waiting, load.running), (1, 1));
        engines.evicted(1, &jobs[0].blocks[..1]);
        assert_eq!(engines.held_blocks(1, &jobs[0]), 0);
        engines.prefilled(1);
        assert_eq!(engines.load(1).pending_tokens, 0);
        engines.stored(1, &jobs[0].blocks[..1]);
        engines.arrived(1, &jobs[1]);
        engines.cleared(1);
        engines.prefilled(1);
        assert_eq!(engines.load(1), EngineLoad::default());
        assert_eq!(engines.held_blocks(1, &jobs[0]), 0);
        assert_eq!(engines.load(0), EngineLoad::default());
    }
}
