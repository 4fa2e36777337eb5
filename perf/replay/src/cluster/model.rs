//! The simplest engine there can be: a step computes the first prompt that waits, at ten tokens a millisecond, and the next
//! free one ends all answers. Its cache forgets nothing.

use std::collections::{HashSet, VecDeque};

use super::engine::{Begun, CacheChange, Ended, Engine, EngineError, Gauges, Output};
use crate::workload::Job;

pub(super) const TOKENS_PER_MS: f64 = 10.0;

#[derive(Debug)]
enum Step {
    Prefill(Job, u32),
    Decode,
}

#[derive(Debug)]
pub(super) struct Simple {
    speed: f64,
    waiting: VecDeque<Job>,
    decoding: Vec<u32>,
    held: HashSet<u64>,
    step: Option<Step>,
}

impl Simple {
    pub(super) fn new() -> Self {
        Self {
            speed: 1.0,
            waiting: VecDeque::new(),
            decoding: Vec::new(),
            held: HashSet::new(),
            step: None,
        }
    }

    fn gauges(&self) -> Gauges {
        Gauges {
            waiting: self.waiting.len() as u32,
            running: self.decoding.len() as u32 + u32::from(self.step.is_some()),
            kv_used: 0.0,
        }
    }
}

impl Engine for Simple {
    fn submit(&mut self, _: f64, job: &Job) -> Result<Gauges, EngineError> {
        self.waiting.push_back(job.clone());
        Ok(self.gauges())
    }

    fn begin(&mut self, now_ms: f64) -> Result<Option<Begun>, EngineError> {
        if self.step.is_some() {
            return Ok(None);
        }
        let Some(job) = self.waiting.pop_front() else {
            if self.decoding.is_empty() {
                return Ok(None);
            }
            self.step = Some(Step::Decode);
            return Ok(Some(Begun {
                ends_ms: now_ms + 1.0 / self.speed,
                admitted: Vec::new(),
            }));
        };
        let held = |block: &&crate::workload::Block| self.held.contains(&block.key);
        let reused = job.reused_tokens(job.blocks.iter().take_while(held).count());
        let new = job.input_tokens - reused;
        let begun = Begun {
            ends_ms: now_ms + f64::from(new) / TOKENS_PER_MS / self.speed,
            admitted: vec![(job.id, reused)],
        };
        self.step = Some(Step::Prefill(job, new));
        Ok(Some(begun))
    }

    fn end(&mut self, _: f64) -> Result<Ended, EngineError> {
        let mut ended = Ended::default();
        match self.step.take() {
            None => return Err(EngineError("no step is under way".to_owned())),
            Some(Step::Decode) => {
                let last = |job| Output {
                    job,
                    has_token: true,
                    is_last: true,
                };
                ended.outputs = self.decoding.drain(..).map(last).collect();
            }
            Some(Step::Prefill(job, new)) => {
                ended.prefilled_tokens = u64::from(new);
                self.held.extend(job.blocks.iter().map(|block| block.key));
                ended.cache.push(CacheChange::Stored(job.blocks.clone()));
                ended.outputs.push(Output {
                    job: job.id,
                    has_token: true,
                    is_last: false,
                });
                self.decoding.push(job.id);
            }
        }
        ended.gauges = self.gauges();
        Ok(ended)
    }

    fn set_speed(&mut self, speed: f64) {
        self.speed = speed;
    }
}
