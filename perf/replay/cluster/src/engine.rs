//! `aisimulate-core`'s engine as an engine of the loop: its own scheduler and cache, with its own timing formula, which may
//! become faster or slower.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use afr_replay::cluster::engine::{Begun, CacheChange, Ended, Engine, EngineError, Gauges, Output};
use afr_replay::router::Instance;
use afr_replay::workload::{Block, Job};
use aisimulate_core::engine::generalized::{EngineIdentity, PassId, SchedulerCommand};
use aisimulate_core::engine::{
    Command, Engine as Simulated, EngineConfig, EngineFactory, KvEvent, KvEventData, Metrics,
    Request, TimingModel,
};
use aisimulate_core::replay::loadgen::ReplayRequestHashes;
use anyhow::Result;
use serde_json::json;
use uuid::Uuid;

use crate::simulate::BLOCK_TOKENS;

/// The simulator's own polynomials, at a speed that may change.
struct Paced {
    /// The bits of the speed.
    speed: Arc<AtomicU64>,
}

impl Paced {
    fn at_speed(&self, ms: f64) -> f64 {
        ms / f64::from_bits(self.speed.load(Ordering::Relaxed))
    }
}

impl TimingModel for Paced {
    fn prefill_batch_validation_can_fail(&self) -> bool {
        false
    }

    fn prefill_prediction_can_fail(&self) -> bool {
        false
    }

    fn predict_prefill_ms(
        &self,
        batch_size: usize,
        mean_isl: usize,
        mean_prefix: usize,
    ) -> Result<f64> {
        let tokens = (batch_size * mean_isl.saturating_sub(mean_prefix)) as f64;
        if tokens == 0.0 {
            return Ok(0.0);
        }
        let ms = 4.209989e-07 * tokens.powi(2) + 1.518344e-02 * tokens + 1.650142e+01;
        Ok(self.at_speed(ms))
    }

    fn predict_decode_ms(
        &self,
        batch_size: usize,
        active_kv_tokens: usize,
        _: usize,
        total_kv_tokens: usize,
    ) -> Result<f64> {
        if batch_size == 0 {
            return Ok(0.0);
        }
        let active = if total_kv_tokens > 0 {
            (active_kv_tokens as f64 / total_kv_tokens as f64).min(1.0)
        } else {
            1.0
        };
        let ms = -25.74 * active.powi(2) + 54.01 * active + 5.74;
        Ok(self.at_speed(ms.max(1.0)))
    }
}

/// The engine.
pub(crate) struct Machine {
    engine: Simulated,
    speed: Arc<AtomicU64>,
    pass: Option<PassId>,
    /// The engine's names of blocks; those of answers are no request's.
    blocks: HashMap<u64, Block>,
}

impl Machine {
    /// The engine of an instance, with so many blocks.
    pub(crate) fn new(instance: Instance, kv_blocks: usize) -> Result<Self> {
        let config: EngineConfig = serde_json::from_value(json!({
            "num_gpu_blocks": kv_blocks, "block_size": BLOCK_TOKENS, "emit_kv_events": true,
        }))?;
        let speed = Arc::new(AtomicU64::new(1.0_f64.to_bits()));
        let timing = Arc::new(Paced {
            speed: Arc::clone(&speed),
        });
        let factory = EngineFactory::with_timing_model(config, timing)?;
        let identity = EngineIdentity::new(instance as u64);
        Ok(Self {
            engine: factory.build(identity, NonZeroU32::MIN)?,
            speed,
            pass: None,
            blocks: HashMap::new(),
        })
    }

    fn change(&self, event: KvEvent) -> CacheChange {
        let known = |hash: &u64| self.blocks.get(hash).copied();
        match event.data {
            KvEventData::Stored(stored) => {
                let hashes = stored.blocks.iter().map(|block| &block.block_hash);
                CacheChange::Stored(hashes.filter_map(known).collect())
            }
            KvEventData::Removed { block_hashes } => {
                CacheChange::Evicted(block_hashes.iter().filter_map(known).collect())
            }
        }
    }
}

fn gauges(metrics: &Metrics) -> Gauges {
    Gauges {
        waiting: metrics.waiting_requests as u32,
        running: metrics.running_requests as u32,
        kv_used: metrics.cache_usage,
    }
}

fn failed(error: impl std::fmt::Display) -> EngineError {
    EngineError(format!("{error:#}"))
}

/// A request's name to the engine, another for each attempt, and back.
fn request_id(job: &Job) -> Uuid {
    Uuid::from_u128(u128::from(job.attempt + 1) << 32 | u128::from(job.id))
}

fn job_of(id: Uuid) -> u32 {
    id.as_u128() as u32
}

/// Every token of a block is the block's id.
fn tokens(job: &Job) -> Vec<u32> {
    let whole = job.block_ids.iter();
    let mut tokens: Vec<u32> = whole
        .flat_map(|id| std::iter::repeat_n(*id, BLOCK_TOKENS))
        .collect();
    tokens.truncate(job.input_tokens as usize);
    tokens
}

impl Engine for Machine {
    fn submit(&mut self, now_ms: f64, job: &Job) -> Result<Gauges, EngineError> {
        let tokens = tokens(job);
        let hashes = ReplayRequestHashes::from_tokens(&tokens, BLOCK_TOKENS as u32);
        let hashes = hashes.sequence_hashes.iter().copied();
        self.blocks.extend(hashes.zip(job.blocks.iter().copied()));
        let request = Request {
            request_id: request_id(job),
            tokens,
            max_output_tokens: job.output_tokens as usize,
            output_token_ids: None,
        };
        let command = SchedulerCommand::new(0, Command::Submit(request));
        let effects = self.engine.apply_command_effects(command, now_ms);
        let effects = effects.map_err(failed)?.into_by_rank();
        let first = effects.first().map(|rank| gauges(&rank.effects.metrics));
        first.ok_or_else(|| failed("a command without effects"))
    }

    fn begin(&mut self, now_ms: f64) -> Result<Option<Begun>, EngineError> {
        if self.pass.is_some() {
            return Ok(None);
        }
        let Some(started) = self.engine.execute_pass(now_ms).map_err(failed)? else {
            return Ok(None);
        };
        self.pass = Some(started.pass_id);
        let ranks = started.by_rank.iter();
        let admissions = ranks.flat_map(|rank| &rank.effects.admissions);
        let admitted = admissions.map(|it| (job_of(it.request_id), it.reused_input_tokens as u32));
        Ok(Some(Begun {
            ends_ms: started.end_ms,
            admitted: admitted.collect(),
        }))
    }

    fn end(&mut self, now_ms: f64) -> Result<Ended, EngineError> {
        let pass = self.pass.take();
        let pass = pass.ok_or_else(|| failed("no pass is under way"))?;
        let completed = self.engine.complete_pass(pass, now_ms).map_err(failed)?;
        let mut ended = Ended::default();
        for rank in completed.effects.into_by_rank() {
            let effects = rank.effects;
            ended.prefilled_tokens += effects.forward_pass_metrics.sum_prefill_tokens;
            ended.gauges = gauges(&effects.metrics);
            let changes = effects
                .kv_events
                .into_iter()
                .map(|event| self.change(event));
            ended.cache.extend(changes);
            ended
                .outputs
                .extend(effects.outputs.iter().map(|output| Output {
                    job: job_of(output.request_id),
                    has_token: output.token_id.is_some(),
                    is_last: output.completed,
                }));
        }
        Ok(ended)
    }

    fn set_speed(&mut self, speed: f64) {
        self.speed.store(speed.to_bits(), Ordering::Relaxed);
    }
}
