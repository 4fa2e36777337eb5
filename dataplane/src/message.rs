//! What a worker and the control core say to each other.

use std::sync::Arc;

use afr_wire::{CatalogueVersion, ClassId, DomainId, Prefix};
use arrayvec::ArrayVec;
use crossbeam_queue::ArrayQueue;

use crate::aft::inflight::{ClockMap, Inflight};
use crate::aft::live::Live;
use crate::aft::{Load, SigKey};
use crate::counters::WorkerCounters;
use crate::flow::FlowEntry;
use crate::id::{Slot, WorkerId};

/// Events carried by one message. A report datagram with more is split.
pub const EVENTS_PER_MESSAGE: usize = 12;

/// A KV event of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvEvent {
    /// What it is about.
    pub prefix: Prefix,
    /// Stored, else evicted.
    pub stored: bool,
}

/// From a worker to the control core. The n-th message of a worker has ring position n, counted from 1.
#[derive(Debug, Clone)]
pub enum WorkerMsg {
    /// A request with usable metadata was sent to an instance, which will hold its prefixes.
    Dispatched {
        /// The instance.
        slot: Slot,
        /// Catalogue of the signatures.
        catalogue: CatalogueVersion,
        /// Domain of the signatures.
        domain: DomainId,
        /// The request's prefixes.
        prefixes: ArrayVec<Prefix, 8>,
    },
    /// A verified report that was news to the worker: its load.
    Load {
        /// The instance.
        slot: Slot,
        /// Its load.
        load: Load,
        /// Its cache generation.
        cache_generation: u32,
        /// Classes it refuses.
        refusals: ArrayVec<ClassId, 4>,
    },
    /// Events of a verified report.
    Events {
        /// The instance.
        slot: Slot,
        /// Catalogue of the signatures.
        catalogue: CatalogueVersion,
        /// Domain of the signatures.
        domain: DomainId,
        /// The events, in the report's order.
        events: ArrayVec<KvEvent, EVENTS_PER_MESSAGE>,
    },
}

impl WorkerMsg {
    /// The residency key of one of the message's prefixes.
    #[must_use]
    pub const fn key(catalogue: CatalogueVersion, domain: DomainId, prefix: Prefix) -> SigKey {
        SigKey::new(catalogue, domain, prefix)
    }
}

/// From the management side to a worker: answered from the worker's loop, between bursts.
#[derive(Debug, Clone)]
pub enum WorkerCommand {
    /// Copy flows into `reply`, from `cursor` on, at most `limit`, then [`FlowScan::Done`].
    ScanFlows {
        /// Where to start: 0, or what the last scan ended with.
        cursor: u32,
        /// How many at the most.
        limit: u32,
        /// Where they go; must have room for `limit` + 1. Who asks keeps a handle until the worker has dropped this one
        /// (the count of handles tells), or has ended: a worker frees nothing.
        reply: Arc<ArrayQueue<FlowScan>>,
    },
}

/// Answer to [`WorkerCommand::ScanFlows`].
#[derive(Debug, Clone)]
pub enum FlowScan {
    /// A flow.
    Flow(FlowEntry),
    /// The end of this scan; the cursor to go on from, none at the end of the table.
    Done(Option<u32>),
}

/// What workers and the control core share besides the generations.
#[derive(Debug)]
pub struct Shared {
    /// Tokens in flight by slot.
    pub inflight: Arc<Inflight>,
    /// Clock offsets of instances by slot.
    pub clocks: Arc<ClockMap>,
    /// Which instance is alive.
    pub live: Arc<Live>,
    /// Counters by worker.
    pub counters: Vec<Arc<WorkerCounters>>,
    /// Rings from workers to the control core, by worker.
    pub rings: Vec<Arc<ArrayQueue<WorkerMsg>>>,
    /// Commands to workers, by worker.
    pub commands: Vec<Arc<ArrayQueue<WorkerCommand>>>,
}

impl Shared {
    /// What `workers` workers share under these limits.
    #[must_use]
    pub fn new(limits: &crate::config::Limits, workers: usize) -> Self {
        let slots = usize::from(limits.instances);
        Self {
            inflight: Arc::new(Inflight::new(slots)),
            clocks: Arc::new(ClockMap::new(slots)),
            live: Arc::new(Live::new(slots)),
            counters: (0..workers)
                .map(|_| Arc::new(WorkerCounters::new(usize::from(limits.classes), slots)))
                .collect(),
            rings: (0..workers)
                .map(|_| Arc::new(ArrayQueue::new(limits.ring.max(1) as usize)))
                .collect(),
            commands: (0..workers).map(|_| Arc::new(ArrayQueue::new(8))).collect(),
        }
    }

    /// The counters of a worker.
    #[must_use]
    pub fn counters_of(&self, worker: WorkerId) -> Option<&Arc<WorkerCounters>> {
        self.counters.get(usize::from(worker.0))
    }
}
