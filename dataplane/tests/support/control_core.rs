//! A control core of a page: drains the workers' rings into operations and publishes.

use std::sync::Arc;

use afr_dataplane::aft::epoch::{Publish, Publisher, Reader};
use afr_dataplane::aft::live::LiveState;
use afr_dataplane::aft::maglev::Maglev;
use afr_dataplane::aft::{Aft, Op, SigKey};
use afr_dataplane::config::{Config, Instance};
use afr_dataplane::id::{Now, Slot, WorkerId};
use afr_dataplane::message::{Shared, WorkerMsg};
use afr_wire::Prefix;

pub(crate) struct ControlCore {
    publisher: Publisher<Aft, Op>,
    shared: Arc<Shared>,
    instances: Vec<Option<Instance>>,
    caches: Vec<u32>,
    consumed: Vec<u64>,
}

impl ControlCore {
    pub(crate) fn new(
        config: &Arc<Config>,
        shared: Arc<Shared>,
        workers: usize,
    ) -> (Self, Vec<Reader<Aft>>) {
        let make = || Aft::new(Arc::clone(config), workers);
        let (publisher, readers) = Publisher::new(make, workers, 4_096);
        let slots = usize::from(config.limits.instances);
        let core = Self {
            publisher,
            shared,
            instances: vec![None; slots],
            caches: vec![0; slots],
            consumed: vec![0; workers],
        };
        (core, readers)
    }

    pub(crate) fn aft(&self) -> &Aft {
        self.publisher.current()
    }

    pub(crate) fn push(&mut self, op: Op) {
        self.publisher.push(op);
    }

    /// An instance appears or changes.
    pub(crate) fn register(&mut self, slot: Slot, instance: Instance) {
        self.enter(slot, instance);
        self.rebuild();
    }

    /// The same without rebuilding the Maglev tables, for many at once.
    pub(crate) fn enter(&mut self, slot: Slot, instance: Instance) {
        let held = &mut self.instances[slot.index()];
        let same = held
            .as_ref()
            .is_some_and(|held| held.incarnation == instance.incarnation);
        if !same {
            self.shared.inflight.reset(slot);
            self.shared.clocks.reset(slot);
            let live = &self.shared.live;
            live.set(slot, instance.incarnation, LiveState::Up);
        }
        *held = Some(instance.clone());
        let instance = Arc::new(instance);
        self.push(Op::Instance { slot, instance });
    }

    /// An instance is gone.
    pub(crate) fn remove(&mut self, slot: Slot) {
        self.mark(slot, LiveState::Absent);
        self.instances[slot.index()] = None;
        self.push(Op::Remove { slot });
        self.rebuild();
    }

    /// What an instance is believed to be, at once.
    pub(crate) fn mark(&self, slot: Slot, state: LiveState) {
        let instance = self.instances[slot.index()].as_ref().unwrap();
        self.shared.live.set(slot, instance.incarnation, state);
    }

    pub(crate) fn reload(&mut self, config: Config) {
        self.push(Op::Config(Arc::new(config)));
    }

    /// Every class's Maglev table, over the registered instances.
    pub(crate) fn rebuild(&mut self) {
        let config = Arc::clone(&self.aft().config);
        for (_, class) in config.classes.iter() {
            let members: Vec<_> = (0_u16..)
                .zip(&self.instances)
                .filter_map(|(slot, held)| held.as_ref().map(|held| (Slot(slot), held)))
                .filter(|(_, held)| held.classes.contains(&class.id))
                .map(|(slot, held)| (held.id, slot, held.weight))
                .collect();
            let table = Maglev::build(&config.maglev_seed, config.limits.maglev, &members);
            self.push(Op::Maglev {
                class: class.id,
                table: Arc::new(table),
            });
        }
    }

    /// Takes what the workers said. The next generation will include it.
    pub(crate) fn drain(&mut self, now: Now) {
        let refusal_ttl_us = self.aft().config.dispatch.refusal_ttl_us;
        let now_s = (now.mono_us / 1_000_000) as u32;
        self.push(Op::Tick { now_s });
        for worker in 0..self.consumed.len() {
            while let Some(message) = self.shared.rings[worker].pop() {
                self.consumed[worker] += 1;
                self.take(message, now, now_s, refusal_ttl_us);
            }
            self.push(Op::Consumed {
                worker: WorkerId(worker as u16),
                position: self.consumed[worker],
            });
        }
        self.shared.inflight.sample(now.mono_us);
    }

    fn take(&mut self, message: WorkerMsg, now: Now, now_s: u32, refusal_ttl_us: u64) {
        let stored = |slot, key, provisional| Op::Stored {
            slot,
            key,
            provisional,
            now_s,
        };
        match message {
            WorkerMsg::Dispatched {
                slot,
                catalogue,
                domain,
                prefixes,
            } => {
                let key = |prefix: Prefix| SigKey::new(catalogue, domain, prefix);
                for prefix in prefixes {
                    self.push(stored(slot, key(prefix), true));
                }
            }
            WorkerMsg::Load {
                slot,
                load,
                cache_generation,
                refusals,
            } => {
                let held = std::mem::replace(&mut self.caches[slot.index()], cache_generation);
                if held != cache_generation {
                    self.push(Op::Cleared { slot });
                }
                self.push(Op::Load { slot, load });
                for class in refusals {
                    let until_us = now.mono_us + refusal_ttl_us;
                    self.push(Op::Refused {
                        slot,
                        class,
                        until_us,
                    });
                }
            }
            WorkerMsg::Events {
                slot,
                catalogue,
                domain,
                events,
            } => {
                for event in events {
                    let key = SigKey::new(catalogue, domain, event.prefix);
                    self.push(if event.stored {
                        stored(slot, key, false)
                    } else {
                        Op::Evicted { slot, key }
                    });
                }
            }
        }
    }

    pub(crate) fn publish(&mut self, now: Now) -> Publish {
        self.publisher.publish(now.mono_us)
    }
}
