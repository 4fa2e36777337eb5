//! A router of `afr-replay` in the simulator's own replay: placement goes to it, and what the simulator lets be seen of its
//! engines is told to it. It can only do even clusters; the loop of `afr-replay` is held against it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use afr_replay::cluster::Tally;
use afr_replay::engines::Engines;
use afr_replay::figures::Served;
use afr_replay::router::{EngineLoad, Instance, Micros, Router};
use afr_replay::workload::{Block, Job, Workload};
use aisimulate_core::engine::{KvEvent, KvEventData};
use aisimulate_core::replay::loadgen::{
    ReplayRequestHashes, ReplayRequestPayload, SessionTrace, Trace, TurnTrace,
};
use aisimulate_core::replay::{
    CURRENT_REPLAY_SPEC_VERSION, EngineEventBatch, Placement, PlacementDecision, PlacementEffects,
    PlacementPolicy, ProviderSpec, ReplayAdapters, ReplayAdmissionMetadata, ReplayCaptureOptions,
    ReplayComposition, ReplayEngineFactory, ReplayEngineObservation, ReplayReport,
    ReplayRuntimeInput, ReplayScalingDecision, ReplayScalingPolicy, ReplayScalingSnapshot,
    ReplaySpec, ReplayTelemetryObserver, ReplayTelemetrySnapshot, ReplayTerminalStatus,
    ReplayTopology, Replayer, SlaThresholds, WorkerStage, WorkerTopology,
};
use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use uuid::Uuid;

/// Tokens of a block of the engine's cache: the trace's.
pub(crate) const BLOCK_TOKENS: usize = 512;
/// How often engines are looked at: more often than the shortest step of an engine (5.74 ms), so that none is missed.
const LOOK_MS: f64 = 5.0;

/// What was served, and what was counted, by name.
pub(crate) type Outcome = (Vec<Served>, Tally, Vec<(&'static str, f64)>);

/// A cluster of equal engines.
#[derive(Copy, Clone, Debug)]
pub(crate) struct ClusterSize {
    pub(crate) instances: usize,
    /// Blocks of each engine's KV store.
    pub(crate) kv_blocks: usize,
}

/// The cluster during a run, shared by the callbacks that the simulator wants apart.
struct Cluster {
    router: Box<dyn Router>,
    jobs: Rc<[Job]>,
    all: Vec<Instance>,
    engines: Engines,
    /// Requests placed and not ended.
    placed: HashMap<Uuid, (usize, Instance)>,
    /// The engine's names of blocks.
    blocks: HashMap<u64, Block>,
}

type Shared = Rc<RefCell<Cluster>>;

fn micros(now_ms: f64) -> Micros {
    (now_ms * 1_000.0).round() as Micros
}

impl Cluster {
    fn tell_load(&mut self, now: Micros, instance: Instance) {
        let load: EngineLoad = self.engines.load(instance);
        self.router.truth(now, instance, &load, 1.0);
        self.router.loaded(now, instance, &load);
    }

    fn place(&mut self, now: Micros, uuid: Uuid, job: usize, hashes: &[u64]) -> Result<Instance> {
        let jobs = Rc::clone(&self.jobs);
        let request = jobs
            .get(job)
            .context("a request that is not in the workload")?;
        self.blocks
            .extend(hashes.iter().copied().zip(request.blocks.iter().copied()));
        let instance = self.router.place(now, request, &self.all)?;
        self.placed.insert(uuid, (job, instance));
        self.engines.arrived(instance, request);
        self.tell_load(now, instance);
        Ok(instance)
    }

    fn prefilled(&mut self, now: Micros, uuid: Uuid) {
        let jobs = Rc::clone(&self.jobs);
        if let Some((job, instance)) = self.placed.get(&uuid).copied() {
            self.engines.prefilled(jobs[job].id);
            self.tell_load(now, instance);
            self.router.prefilled(now, &jobs[job], instance);
        }
    }

    fn finished(&mut self, now: Micros, uuid: Uuid) {
        let jobs = Rc::clone(&self.jobs);
        if let Some((job, instance)) = self.placed.remove(&uuid) {
            self.engines.prefilled(jobs[job].id);
            self.router.finished(now, &jobs[job], instance);
        }
    }

    fn cached(&mut self, now: Micros, instance: Instance, event: &KvEvent) {
        // Blocks of answers are no request's.
        let known = |hash: &u64| self.blocks.get(hash).copied();
        match &event.data {
            KvEventData::Stored(stored) => {
                let hashes = stored.blocks.iter().map(|block| &block.block_hash);
                let blocks: Vec<Block> = hashes.filter_map(known).collect();
                self.engines.stored(instance, &blocks);
                self.router.stored(now, instance, &blocks);
            }
            KvEventData::Removed { block_hashes } => {
                let blocks: Vec<Block> = block_hashes.iter().filter_map(known).collect();
                self.engines.evicted(instance, &blocks);
                self.router.evicted(now, instance, &blocks);
            }
        }
    }
}

/// The names that the engine has for a prompt's whole blocks.
#[derive(Debug, Default)]
struct Hashes(Option<ReplayRequestHashes>);

impl ReplayAdmissionMetadata for Hashes {
    fn from_hashes(hashes: Option<ReplayRequestHashes>) -> Self {
        Self(hashes)
    }

    fn for_prefill(self) -> Self {
        self
    }

    fn max_output_tokens_override(&self) -> Option<usize> {
        None
    }

    fn into_hashes(self) -> Option<ReplayRequestHashes> {
        self.0
    }
}

#[derive(Debug, Default)]
struct Events(Vec<(Instance, KvEvent)>);

impl EngineEventBatch for Events {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }
}

struct Observation;

impl ReplayEngineObservation for Observation {
    type Batch = Events;

    const CAPTURE_ENGINE_KV_EVENTS: bool = true;

    fn observe_engine_events(
        _: WorkerStage,
        worker: usize,
        _: u32,
        events: Vec<KvEvent>,
    ) -> Events {
        Events(events.into_iter().map(|event| (worker, event)).collect())
    }
}

struct Placing {
    shared: Shared,
    schedulers: Vec<usize>,
}

impl PlacementPolicy<ReplayRequestPayload> for Placing {
    type Metadata = Hashes;
    type Observation = Events;

    fn place(
        &mut self,
        request: &ReplayRequestPayload,
        metadata: Hashes,
        session_id: Option<String>,
        now_ms: f64,
    ) -> Result<PlacementEffects> {
        let request_id = request.metadata().uuid.context("a request without id")?;
        let job = session_id.context("a request without session")?.parse()?;
        let hashes = metadata.0.map(|hashes| hashes.sequence_hashes);
        let mut cluster = self.shared.borrow_mut();
        let instance =
            cluster.place(micros(now_ms), request_id, job, &hashes.unwrap_or_default())?;
        let scheduler = self.schedulers.get(instance);
        let placement = Placement {
            request_id,
            scheduler_id: *scheduler.context("an instance that does not exist")?,
            reported_overlap_tokens: 0,
            cache_sample: None,
            placement_replica_id: None,
        };
        Ok(PlacementEffects {
            decision: PlacementDecision::Immediate(placement),
            released: Vec::new(),
        })
    }

    fn observe(&mut self, events: Events, now_ms: f64) -> Result<Vec<Placement>> {
        let mut cluster = self.shared.borrow_mut();
        for (instance, event) in &events.0 {
            cluster.cached(micros(now_ms), *instance, event);
        }
        Ok(Vec::new())
    }

    fn cancel_pending(&mut self, _: Uuid) -> bool {
        false
    }

    fn request_terminal(&mut self, request: Uuid, now_ms: f64) -> Result<Vec<Placement>> {
        self.shared.borrow_mut().finished(micros(now_ms), request);
        Ok(Vec::new())
    }

    fn prefill_completed(&mut self, request: Uuid, now_ms: f64) -> Result<Vec<Placement>> {
        self.shared.borrow_mut().prefilled(micros(now_ms), request);
        Ok(Vec::new())
    }

    fn pending_count(&self) -> usize {
        0
    }

    fn worker_ready(&mut self, _: WorkerTopology, _: f64) -> Result<Vec<Placement>> {
        bail!("the cluster does not grow")
    }

    fn worker_draining(&mut self, _: WorkerTopology, _: f64) -> Result<Vec<Placement>> {
        bail!("the cluster does not shrink")
    }

    fn worker_removed(&mut self, _: WorkerTopology, _: f64) -> Result<Vec<Placement>> {
        bail!("the cluster does not shrink")
    }

    fn topology_settled(&mut self, _: f64) -> Result<Vec<Placement>> {
        Ok(Vec::new())
    }
}

/// Requests waiting and running and KV use, by worker, as last sampled.
type Sampled = Arc<Mutex<Vec<(usize, u32, u32, f64)>>>;

struct Telemetry(Sampled);

impl ReplayTelemetryObserver for Telemetry {
    fn on_sample(&mut self, snapshot: ReplayTelemetrySnapshot) -> Result<()> {
        let rows = snapshot.decode_scheduler_metrics.iter().map(|row| {
            let (waiting, running) = (row.waiting_requests as u32, row.running_requests as u32);
            (row.worker_id, waiting, running, row.active_cache_usage)
        });
        let mut sampled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sampled.clear();
        sampled.extend(rows);
        Ok(())
    }
}

/// Looks at the engines at regular times. Nothing is ever scaled.
struct Looking {
    shared: Shared,
    sampled: Sampled,
}

impl ReplayScalingPolicy for Looking {
    fn initial_tick_ms(&mut self) -> Result<f64> {
        Ok(LOOK_MS)
    }

    fn on_tick(&mut self, snapshot: ReplayScalingSnapshot) -> Result<ReplayScalingDecision> {
        let now = micros(snapshot.now_ms);
        let cluster = &mut *self.shared.borrow_mut();
        let mut before = Vec::new();
        for instance in 0..cluster.engines.count() {
            before.push(cluster.engines.load(instance));
        }
        for (worker, step) in &snapshot.decode_fpm {
            cluster.engines.stepped(*worker, step.sum_prefill_tokens);
        }
        let sampled = self.sampled.lock().unwrap_or_else(PoisonError::into_inner);
        for (worker, waiting, running, kv_used) in sampled.iter().copied() {
            cluster.engines.observed(worker, waiting, running, kv_used);
        }
        for (instance, before) in before.iter().enumerate() {
            if cluster.engines.load(instance) != *before {
                cluster.tell_load(now, instance);
            }
        }
        Ok(ReplayScalingDecision {
            next_tick_ms: Some(snapshot.now_ms + LOOK_MS),
            ..ReplayScalingDecision::default()
        })
    }
}

struct Composition {
    shared: Shared,
    looking: Option<Box<dyn ReplayScalingPolicy>>,
}

impl ReplayComposition for Composition {
    type Metadata = Hashes;
    type Observation = Observation;
    type AggregatedPlacement = Placing;
    type DisaggregatedPlacement = Placing;

    fn create_aggregated_placement(
        &mut self,
        _: u32,
        topology: Vec<WorkerTopology>,
    ) -> Result<Placing> {
        let first = |worker: &WorkerTopology| worker.scheduler_ids.first().copied();
        let schedulers = topology.iter().map(first).collect::<Option<Vec<_>>>();
        Ok(Placing {
            shared: Rc::clone(&self.shared),
            schedulers: schedulers.context("a worker without scheduler")?,
        })
    }

    fn create_disaggregated_placements(
        &mut self,
        _: u32,
        _: Vec<WorkerTopology>,
        _: u32,
        _: Vec<WorkerTopology>,
    ) -> Result<(Placing, Placing)> {
        bail!("prefill and decode are not apart here")
    }

    fn take_scaling_policy(&mut self) -> Result<Option<Box<dyn ReplayScalingPolicy>>> {
        Ok(self.looking.take())
    }
}

/// The workload as the simulator's own: one session a request, called by its number.
pub(crate) fn trace(workload: &Workload, sessions_are_real: bool) -> Trace {
    let session = |job: &Job| SessionTrace {
        session_id: job.id.to_string(),
        first_arrival_timestamp_ms: Some(job.arrival_ms),
        turns: vec![TurnTrace {
            input_length: job.input_tokens as usize,
            max_output_tokens: job.output_tokens as usize,
            hash_ids: job.block_ids.clone(),
            synthetic_session_id: !sessions_are_real,
            ..TurnTrace::default()
        }],
    };
    Trace {
        block_size: BLOCK_TOKENS,
        sessions: workload.jobs.iter().map(session).collect(),
    }
}

/// Runs a workload under a router.
pub(crate) fn run(
    workload: &Workload,
    size: ClusterSize,
    router: Box<dyn Router>,
) -> Result<Outcome> {
    let shared = Rc::new(RefCell::new(Cluster {
        router,
        jobs: workload.jobs.clone().into(),
        all: (0..size.instances).collect(),
        engines: Engines::new(size.instances),
        placed: HashMap::new(),
        blocks: HashMap::new(),
    }));
    let sampled = Sampled::default();
    let looking = Looking {
        shared: Rc::clone(&shared),
        sampled: Arc::clone(&sampled),
    };
    let spec = ReplaySpec {
        version: CURRENT_REPLAY_SPEC_VERSION,
        topology: ReplayTopology::aggregated(size.instances),
        engine: json!({
            "num_gpu_blocks_is_explicit": true,
            "rank": {"num_gpu_blocks": size.kv_blocks, "block_size": BLOCK_TOKENS},
        }),
        adapters: ReplayAdapters {
            placement: ProviderSpec {
                provider: "afr_replay".to_owned(),
                config: serde_json::Value::Null,
            },
            scaling: ProviderSpec::no_scaling(),
        },
        max_sim_time_ms: None,
        max_in_flight: None,
        record_per_request: true,
        sla: SlaThresholds::default(),
        requests: Vec::new(),
    };
    let composition = Composition {
        shared: Rc::clone(&shared),
        looking: Some(Box::new(looking)),
    };
    let driver = trace(workload, true).into_trace_driver_with_block_size(BLOCK_TOKENS)?;
    let report = Replayer::with_composition(spec, ReplayEngineFactory::new(), composition)?
        .with_capture_options(capture())
        .with_runtime_input(ReplayRuntimeInput::Workload(driver))
        .with_telemetry_observer(LOOK_MS, Box::new(Telemetry(sampled)))?
        .run()?;
    let counts = shared.borrow().router.counts();
    Ok((served(&report)?, tally(&report), counts))
}

/// What there is to count where nothing breaks.
pub(crate) fn tally(report: &ReplayReport) -> Tally {
    let records = report.per_request.iter();
    let each = records.map(|record| record.readmission_count);
    Tally {
        readmissions: each.sum(),
        ..Tally::default()
    }
}

pub(crate) fn capture() -> ReplayCaptureOptions {
    ReplayCaptureOptions {
        capture_per_request: true,
        ..ReplayCaptureOptions::default()
    }
}

/// What was served, by the simulator's own report.
pub(crate) fn served(report: &ReplayReport) -> Result<Vec<Served>> {
    ensure!(!report.per_request.is_empty(), "a report without requests");
    let completed = report
        .per_request
        .iter()
        .filter(|record| record.terminal_status == ReplayTerminalStatus::Completed);
    completed
        .map(|record| {
            let instance = record.decode_worker_idx.or(record.prefill_worker_idx);
            // One that is taken up again finds its own blocks: that is nothing saved.
            let first = record.admission_history.first();
            let reused = first.map_or(record.reused_input_tokens, |first| {
                first.reused_input_tokens
            });
            Ok(Served {
                arrival_ms: record.arrival_time_ms,
                ttft_ms: record.ttft_ms.context("a request without first token")?,
                input_tokens: record.input_length as u32,
                reused_tokens: reused.min(record.input_length) as u32,
                instance: instance.context("a request without instance")?,
                speed: 1.0,
            })
        })
        .collect()
}
