//! One AFR: its control core and its workers, the functions that `afrd` runs, over buffers in ordinary memory.

use std::net::Ipv6Addr;
use std::sync::Arc;

use afr_controlplane::api::core::{CoreControl as _, Operation};
use afr_controlplane::config::Loaded;
use afr_controlplane::control_core::ControlCore;
use afr_dataplane::aft::epoch::Publish;
use afr_dataplane::counters::Figure;
use afr_dataplane::id::{Now, PortIx, WorkerId};
use afr_dataplane::message::Shared;
use afr_dataplane::packet::{PacketBuf, VecBuf, VecPool};
use afr_dataplane::path::{Burst, Egress};
use afr_dataplane::verdict::{DropReason, MetadataNote};
use afr_dataplane::worker::{Peers, Worker};

use super::config::{instance_id, instance_of};
use crate::router::Instance;

/// Steps until a generation with everything said so far is with every worker, at the most.
const SETTLING: u64 = 8;

/// So many seconds before.
const fn before(now: Now, seconds: u64) -> Now {
    Now {
        mono_us: now.mono_us - seconds * 1_000_000,
        unix_ms: now.unix_ms - seconds * 1_000,
    }
}

/// The AFR.
pub(super) struct Appliance {
    core: ControlCore,
    workers: Vec<Worker<VecPool>>,
    exit: Exit,
    pool: VecPool,
}

/// Where the last packet went.
#[derive(Default)]
struct Exit(Option<Vec<u8>>);

impl Egress<VecBuf> for Exit {
    fn send(&mut self, _: PortIx, packet: VecBuf) {
        self.0 = Some(packet.data().to_vec());
    }
}

impl Appliance {
    pub(super) fn new(loaded: Loaded, workers: usize, seed: u64, begin: Now) -> Self {
        let shared = Arc::new(Shared::new(&loaded.plane.limits, workers));
        let (core, readers) =
            ControlCore::new(loaded, Arc::clone(&shared), before(begin, SETTLING));
        let peers = Peers::new(workers);
        let seeds = [0, 1, 2, 3].map(|at| afr_perf::rng::at(seed, at));
        let workers = (0_u16..)
            .zip(readers)
            .map(|(id, reader)| {
                let shared = Arc::clone(&shared);
                Worker::new(WorkerId(id), reader, shared, peers.clone(), seeds)
            })
            .collect();
        let mut appliance = Self {
            core,
            workers,
            exit: Exit::default(),
            pool: VecPool::new(usize::MAX),
        };
        // The generation with the instances, on every worker, before the first packet.
        for step in (0..SETTLING).rev() {
            let _: bool = appliance.step(before(begin, step));
        }
        appliance
    }

    /// What the control core does when its thread wakes, and workers between two bursts. Whether there was nothing to do.
    pub(super) fn step(&mut self, now: Now) -> bool {
        let step = self.core.step(now);
        for worker in &mut self.workers {
            if step.publish != Publish::Idle {
                worker.begin();
            }
            worker.maintain(now, &mut self.exit, &mut self.pool);
        }
        self.exit.0 = None;
        step.publish == Publish::Idle && step.taken == 0
    }

    /// A worker receives a frame. Where it sends it: the instance whose SID is the outer destination, if it is one.
    pub(super) fn receive(
        &mut self,
        worker: usize,
        port: PortIx,
        frame: &[u8],
        now: Now,
    ) -> Option<Instance> {
        let mut burst: Burst<VecBuf> = [VecBuf::new(frame)].into_iter().collect();
        self.exit.0 = None;
        let worker = &mut self.workers[worker];
        worker.begin();
        worker.burst(now, port, &mut burst, &mut self.exit, &mut self.pool);
        let sent = self.exit.0.take()?;
        let destination: [u8; 16] = *sent.get(14 + 24..)?.first_chunk()?;
        instance_of(Ipv6Addr::from(destination))
    }

    /// An operator says something of an instance.
    pub(super) fn operate(&mut self, instance: Instance, operation: Operation) {
        // Every instance of a run is registered.
        let _ = self.core.operate(instance_id(instance), operation);
    }

    /// A figure, over all workers.
    pub(super) fn figure(&self, figure: Figure) -> u64 {
        let counters = self.workers.iter().map(Worker::counters);
        counters.map(|counters| counters.figure(figure)).sum()
    }

    /// Everything dropped, and every note made, by name.
    pub(super) fn account(&self) -> String {
        let drops = DropReason::ALL.iter().map(|r| (r.name(), Figure::Drop(*r)));
        let notes = MetadataNote::ALL
            .iter()
            .map(|n| (n.name(), Figure::Note(*n)));
        drops
            .chain(notes)
            .map(|(name, figure)| (name, self.figure(figure)))
            .filter(|(_, count)| *count != 0)
            .map(|(name, count)| format!("{name} {count}"))
            .collect::<Vec<_>>()
            .join(", ")
    }
}
