//! The control core: the AFT's one writer.
//!
//! [`ControlCore::step`] is a pure function of its state, what workers have told it, and the time: it takes messages from
//! the rings in bounded slices, turns them into operations, watches over the instances, and publishes a generation
//! when there is something to say and the interval has passed. [`thread`] runs it.

pub mod thread;
mod watch;
mod operate;
#[cfg(feature = "bench-hooks")]
mod driver;

use std::sync::Arc;

use afr_dataplane::aft::epoch::{Publish, Publisher, Pushed, Reader};
use afr_dataplane::aft::live::LiveState;
use afr_dataplane::aft::{Aft, Op, SigKey};
use afr_dataplane::id::{ClassIx, Incarnation, Now, Slot, WorkerId};
use afr_dataplane::message::{Shared, WorkerMsg};
use afr_wire::InstanceId;

use crate::config::Loaded;
use crate::registry::classes::ClassIndexes;
use crate::registry::{Changes, Registry};
use crate::telemetry::{Health, Telemetry};

/// Messages taken from one ring in a step at the most, so that no worker keeps the others waiting.
const SLICE: usize = 4_096;

/// The control core; see the module's description.
#[derive(Debug)]
pub struct ControlCore {
    running: Loaded,
    shared: Arc<Shared>,
    publisher: Publisher<Aft, Op>,
    registry: Registry,
    class_indexes: ClassIndexes,
    /// By slot.
    watched: Vec<Option<Watched>>,
    /// Messages taken from each worker's ring.
    taken: Vec<u64>,
    /// Ring positions from which on no message can be about a vacated slot's former tenant, once that can be told.
    settling: Option<Vec<u64>>,
    timers: Timers,
    stalls: u64,
    is_stuck: bool,
    /// The time of the present step, or the last.
    now: Now,
}

/// What is known of a slot's tenant besides its entry.
#[derive(Debug)]
struct Watched {
    name: String,
    incarnation: Incarnation,
    telemetry: Telemetry,
    health: Health,
    /// When an operator declared it alive: its silence counts from then.
    excused_us: u64,
    /// Dispatches counted for the slot before it, by class.
    predecessors: Vec<(ClassIx, u64)>,
}

/// When things were done last, in microseconds.
#[derive(Debug, Default)]
struct Timers {
    tick_s: Option<u32>,
    watch_us: u64,
    publish_us: Option<u64>,
    swapped_us: u64,
}

/// What a step did.
#[derive(Debug)]
pub struct Step {
    /// Messages taken.
    pub taken: usize,
    /// What became of the next generation.
    pub publish: Publish,
    /// What an operator should know.
    pub notices: Vec<Notice>,
}

/// Something that an operator should know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Notice {
    /// An instance has been silent for too long.
    #[error("instance {name} has sent no report for {silent_ms} ms: taken for dead")]
    Silent {
        /// Its name.
        name: String,
        /// How long.
        silent_ms: u64,
    },
    /// It is heard again.
    #[error("instance {name} reports again: alive")]
    Heard {
        /// Its name.
        name: String,
    },
    /// Its agent drains it, or no longer.
    #[error("instance {name}: its agent says {}", if *.drains { "it drains" } else { "it takes new flows again" })]
    AgentDrain {
        /// Its name.
        name: String,
        /// Whether it drains.
        drains: bool,
    },
    /// Its cache was cleared.
    #[error("instance {name} has cleared its cache: its signatures are forgotten")]
    Cleared {
        /// Its name.
        name: String,
    },
    /// A worker has kept the next generation waiting for too long.
    #[error(
        "a worker has kept the next AFT generation waiting for {stalled_ms} ms; see afrctl show workers"
    )]
    Stuck {
        /// How long.
        stalled_ms: u64,
    },
    /// It goes on.
    #[error("the AFT is published again")]
    Unstuck,
}

impl ControlCore {
    /// A control core for the checked configuration, and the readers of its workers. `shared` has as many workers as the
    /// configuration.
    #[must_use]
    pub fn new(loaded: Loaded, shared: Arc<Shared>, now: Now) -> (Self, Vec<Reader<Aft>>) {
        let workers = shared.rings.len();
        let limits = loaded.plane.limits;
        let bound = loaded.control.log.max(reload_ops(&loaded));
        let config = Arc::clone(&loaded.plane);
        let make = || Aft::new(Arc::clone(&config), workers);
        let (publisher, readers) = Publisher::new(make, workers, bound);
        let mut core = Self {
            registry: Registry::new(limits.instances),
            class_indexes: ClassIndexes::new(&loaded.plane.classes, limits.classes),
            watched: (0..limits.instances).map(|_| None).collect(),
            taken: vec![0; workers],
            settling: None,
            timers: Timers::default(),
            stalls: 0,
            is_stuck: false,
            now,
            running: loaded,
            shared,
            publisher,
        };
        core.reconcile();
        (core, readers)
    }

    /// Does what is due.
    pub fn step(&mut self, now: Now) -> Step {
        self.now = now;
        let mut notices = Vec::new();
        self.shared.inflight.sample(now.mono_us);
        let workers = self.taken.len();
        let taken = (0..workers)
            .map(|worker| self.take_from(worker, now, &mut notices))
            .sum();
        self.tick(now);
        self.watch(now, &mut notices);
        self.settle();
        let publish = self.publish(now, &mut notices);
        Step {
            taken,
            publish,
            notices,
        }
    }

    /// The running configuration.
    #[must_use]
    pub fn running(&self) -> &Loaded {
        &self.running
    }

    /// Brings registry and AFT to what the running configuration says.
    fn reconcile(&mut self) -> Reconciled {
        let entries = self.running.instances.iter();
        let wanted: Vec<_> = entries.map(|entry| entry.instance.clone()).collect();
        let changes = self.registry.reconcile(&self.running.plane, &wanted);
        let reconciled = Reconciled {
            added: changes.seated.len() + self.registry.waiting(),
            changed: changes.changed.len(),
            removed: changes.removed.len(),
        };
        self.make_known(changes);
        for entry in &self.running.instances {
            if let Some(slot) = self.registry.slot_of(entry.instance.id)
                && let Some(watched) = &mut self.watched[slot.index()]
            {
                watched.health.drain_by_file = entry.drain;
                self.show_state(slot);
            }
        }
        reconciled
    }

    /// Makes the registry's changes known: what cannot wait beside the generations, the rest with the next.
    fn make_known(&mut self, changes: Changes) {
        for (slot, tenant) in &changes.removed {
            let live = &self.shared.live;
            live.set(*slot, tenant.incarnation, LiveState::Absent);
            self.shared.inflight.retire(*slot);
            self.watched[slot.index()] = None;
            self.settling = None;
        }
        for slot in changes.seated.iter().chain(&changes.changed) {
            let Some(tenant) = self.registry.tenant(*slot).cloned() else {
                continue;
            };
            let drain = self.is_drained_by_file(tenant.id);
            // No worker counts for a former tenant any more: see `settle`.
            let predecessors = self.dispatched(*slot);
            match &mut self.watched[slot.index()] {
                Some(watched) => watched.name.clone_from(&tenant.name),
                empty => {
                    self.shared.inflight.reset(*slot);
                    self.shared.clocks.reset(*slot);
                    *empty = Some(Watched {
                        name: tenant.name.clone(),
                        incarnation: tenant.incarnation,
                        telemetry: Telemetry::new(tenant.prefill_rate_tokens_s, self.now.mono_us),
                        health: Health {
                            drain_by_file: drain,
                            ..Health::default()
                        },
                        excused_us: 0,
                        predecessors,
                    });
                }
            }
            self.show_state(*slot);
        }
        for op in changes.ops {
            self.push(op);
        }
    }

    /// What workers have ever counted for the slot, by class, where there is anything.
    fn dispatched(&self, slot: Slot) -> Vec<(ClassIx, u64)> {
        let workers = &self.shared.counters;
        let count = |at| workers.iter().map(|of| of.dispatches(at, slot)).sum();
        let counts = self.class_indexes.all().map(|at| (at, count(at)));
        counts.filter(|(_, count)| *count != 0).collect()
    }

    fn is_drained_by_file(&self, id: InstanceId) -> bool {
        let mut entries = self.running.instances.iter();
        entries.any(|entry| entry.instance.id == id && entry.drain)
    }

    fn push(&mut self, op: Op) {
        // What is dropped or refused is counted by the publisher; the registry's operations always have room.
        let _: Pushed = self.publisher.push(op);
    }

    fn take_from(&mut self, worker: usize, now: Now, notices: &mut Vec<Notice>) -> usize {
        let ring = Arc::clone(&self.shared.rings[worker]);
        let mut taken = 0;
        while taken < SLICE
            && let Some(message) = ring.pop()
        {
            self.take(message, now, notices);
            taken += 1;
        }
        if taken > 0 {
            self.taken[worker] += taken as u64;
            self.push(Op::Consumed {
                worker: WorkerId(worker as u16),
                position: self.taken[worker],
            });
        }
        taken
    }

    fn take(&mut self, message: WorkerMsg, now: Now, notices: &mut Vec<Notice>) {
        let now_s = seconds(now);
        match message {
            WorkerMsg::Dispatched {
                slot,
                catalogue,
                domain,
                prefixes,
            } => {
                for prefix in prefixes {
                    let key = SigKey::new(catalogue, domain, prefix);
                    let provisional = true;
                    self.push(Op::Stored {
                        slot,
                        key,
                        provisional,
                        now_s,
                    });
                }
            }
            WorkerMsg::Load {
                slot,
                load,
                cache_generation,
                refusals,
            } => self.take_load(slot, &load, cache_generation, &refusals, now, notices),
            WorkerMsg::Events {
                slot,
                catalogue,
                domain,
                events,
            } => {
                for event in events {
                    let key = SigKey::new(catalogue, domain, event.prefix);
                    let provisional = false;
                    self.push(if event.stored {
                        Op::Stored {
                            slot,
                            key,
                            provisional,
                            now_s,
                        }
                    } else {
                        Op::Evicted { slot, key }
                    });
                }
            }
        }
    }

    /// Gives vacated slots away, once no worker can count for a former tenant and nothing about one is in the rings.
    fn settle(&mut self) {
        if !self.registry.is_unsettled() {
            return;
        }
        if self.publisher.pending() != 0 || self.publisher.behind() != 0 {
            return;
        }
        let rings = self.shared.rings.iter().zip(&self.taken);
        let marks = rings.map(|(ring, taken)| taken + ring.len() as u64);
        let marks = self.settling.get_or_insert_with(|| marks.collect());
        let is_past = marks
            .iter()
            .zip(&self.taken)
            .all(|(mark, taken)| taken >= mark);
        if is_past {
            self.settling = None;
            let config = Arc::clone(&self.running.plane);
            let changes = self.registry.settle(&config);
            self.make_known(changes);
        }
    }

    fn tick(&mut self, now: Now) {
        let now_s = seconds(now);
        if self.timers.tick_s != Some(now_s) {
            self.timers.tick_s = Some(now_s);
            self.push(Op::Tick { now_s });
        }
    }

    fn publish(&mut self, now: Now, notices: &mut Vec<Notice>) -> Publish {
        let interval_us = self.running.control.publish_interval_us;
        let last_us = self.timers.publish_us;
        if last_us.is_some_and(|last| now.mono_us.saturating_sub(last) < interval_us) {
            return Publish::Idle;
        }
        let publish = self.publisher.publish(now.mono_us);
        match publish {
            Publish::Swapped { .. } => {
                self.timers.publish_us = Some(now.mono_us);
                self.timers.swapped_us = now.mono_us;
            }
            Publish::Idle => self.timers.publish_us = Some(now.mono_us),
            // A worker is between two bursts at any moment: try again with the next step.
            Publish::Waiting => {}
        }
        let stalled_us = self.publisher.stalled_us(now.mono_us);
        let is_stuck = stalled_us > self.running.control.watchdog_us;
        if is_stuck && !self.is_stuck {
            self.stalls += 1;
            let stalled_ms = stalled_us / 1_000;
            notices.push(Notice::Stuck { stalled_ms });
        } else if self.is_stuck && !is_stuck {
            notices.push(Notice::Unstuck);
        }
        self.is_stuck = is_stuck;
        publish
    }
}

/// How many instances a configuration changed.
#[derive(Debug, Clone, Copy)]
struct Reconciled {
    added: usize,
    changed: usize,
    removed: usize,
}

/// Operations that a reload makes at the most.
fn reload_ops(loaded: &Loaded) -> usize {
    let limits = &loaded.plane.limits;
    2 * usize::from(limits.instances) + usize::from(limits.classes) + 1
}

/// Seconds of the monotonic clock.
const fn seconds(now: Now) -> u32 {
    (now.mono_us / 1_000_000) as u32
}

#[cfg(test)]
mod tests;
