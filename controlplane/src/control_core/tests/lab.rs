//! A control core with workers that do what they are told, and what they tell it.

use afr_dataplane::aft::{Load, ReportOrder};
use afr_dataplane::id::Slot;
use afr_wire::{CatalogueVersion, DomainId, Prefix, Signature};
use arrayvec::ArrayVec;

use super::super::*;

pub(super) const CATALOGUE: CatalogueVersion = CatalogueVersion(1);
pub(super) const DOMAIN: DomainId = DomainId(3);

pub(super) fn at(us: u64) -> Now {
    Now {
        mono_us: us,
        unix_ms: 1_700_000_000_000 + us / 1_000,
    }
}

/// A control core with its workers' ends.
pub(super) struct Lab {
    pub(super) core: ControlCore,
    pub(super) shared: Arc<Shared>,
    pub(super) readers: Vec<Reader<Aft>>,
    pub(super) now_us: u64,
}

impl Lab {
    pub(super) fn new(loaded: Loaded) -> Self {
        let workers = loaded.process.workers.lcores.len();
        let shared = Arc::new(Shared::new(&loaded.plane.limits, workers));
        let (core, readers) = ControlCore::new(loaded, Arc::clone(&shared), at(0));
        let mut lab = Self {
            core,
            shared,
            readers,
            now_us: 0,
        };
        lab.step(0);
        lab
    }

    /// A step after `us` microseconds, all workers passing a quiescent point.
    pub(super) fn step(&mut self, us: u64) -> Step {
        self.now_us += us;
        let step = self.core.step(at(self.now_us));
        for reader in &mut self.readers {
            reader.refresh();
        }
        step
    }

    pub(super) fn tell(&self, worker: usize, message: WorkerMsg) {
        assert!(self.shared.rings[worker].push(message).is_ok());
    }

    pub(super) fn aft(&self) -> &Aft {
        self.readers[0].get()
    }

    pub(super) fn state(&self, slot: u16) -> LiveState {
        self.shared.live.state(Slot(slot))
    }
}

pub(super) fn load(seq: u32, received_us: u64) -> Load {
    Load {
        order: ReportOrder::new(1, seq),
        queue_depth: 1,
        running: 2,
        pending_tokens: 500,
        prefill_rate_tokens_s: 0,
        kv_used: 100,
        load_class: 0,
        draining: false,
        refusing: false,
        base_tokens: 0,
        received_us,
    }
}

pub(super) fn report(slot: u16, load: Load, cache_generation: u32) -> WorkerMsg {
    WorkerMsg::Load {
        slot: Slot(slot),
        load,
        cache_generation,
        refusals: ArrayVec::new(),
    }
}

pub(super) fn prefix(depth: u16) -> Prefix {
    Prefix {
        depth,
        signature: Signature([1, 2, 3, depth as u8]),
    }
}

pub(super) fn dispatched(slot: u16, depths: &[u16]) -> WorkerMsg {
    WorkerMsg::Dispatched {
        slot: Slot(slot),
        catalogue: CATALOGUE,
        domain: DOMAIN,
        prefixes: depths.iter().map(|depth| prefix(*depth)).collect(),
    }
}

pub(super) fn holds(aft: &Aft, slot: u16, depth: u16) -> bool {
    let key = SigKey::new(CATALOGUE, DOMAIN, prefix(depth));
    aft.holders(key).contains(Slot(slot))
}
