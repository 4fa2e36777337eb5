//! Where everything is measured: a configuration, so many instances with a load each, what they hold of prompts, and the
//! generation that says so.

use std::sync::Arc;

use afr_dataplane::aft::epoch::{Publish, Reader};
use afr_dataplane::aft::{Aft, Load, Op, ReportOrder, SigKey};
use afr_dataplane::config::{Config, Dispatch, Limits};
use afr_dataplane::id::{Now, Slot};
use afr_dataplane::message::Shared;
use afr_wire::{DomainId, Prefix, Request};

use crate::support::control_core::ControlCore;
use crate::support::metadata::{labels, prefix, with_prefixes};
use crate::support::setup::{CATALOGUE, Setup, UNIX_S};

/// Prompts that are asked for: each has a prefix that some hold, one that few hold, and one that nobody holds.
const PROMPTS: u16 = 16;

/// A control core that has said and published everything.
pub(crate) struct Site {
    pub(crate) core: ControlCore,
    pub(crate) shared: Arc<Shared>,
    pub(crate) now: Now,
    pub(crate) instances: u16,
}

impl Site {
    /// With so many instances, all of them candidates for a request, under what `change` makes of the configuration. And
    /// the reader of its one worker.
    pub(crate) fn new(instances: u16, change: impl FnOnce(&mut Config)) -> (Self, Reader<Aft>) {
        let setup = Setup::new(instances).config(|config| {
            config.limits = limits(instances);
            config.flows.capacity = 4_096;
            config.dispatch = Dispatch {
                replay_limit: u16::MAX,
                ..Dispatch::default()
            };
            change(config);
        });
        let config = Arc::new(setup.config);
        let shared = Arc::new(Shared::new(&config.limits, 1));
        let (mut core, mut readers) = ControlCore::new(&config, Arc::clone(&shared), 1);
        for (slot, instance) in (0..).map(Slot).zip(setup.instances) {
            core.enter(slot, instance);
        }
        core.rebuild();
        let mut site = Self {
            core,
            shared,
            now: Now {
                mono_us: 100_000_000,
                unix_ms: u64::from(UNIX_S) * 1_000,
            },
            instances,
        };
        let mut reader = readers.remove(0);
        site.publish(&mut reader);
        for slot in (0..instances).map(Slot) {
            site.core.push(Op::Load {
                slot,
                load: load(slot),
            });
        }
        site.store_prefixes(&mut reader);
        (site, reader)
    }

    /// Publishes what is pending, and takes it up.
    fn publish(&mut self, reader: &mut Reader<Aft>) {
        self.core.drain(self.now);
        for _ in 0..4 {
            let published = self.core.publish(self.now);
            reader.refresh();
            if published == Publish::Idle {
                return;
            }
        }
        panic!("the operations do not go through");
    }

    /// Every eighth instance has seen a prompt's begin, every thirty-second has seen more of it.
    fn store_prefixes(&mut self, reader: &mut Reader<Aft>) {
        for prompt in 0..PROMPTS {
            for (held, every) in prefixes(prompt).into_iter().zip([8, 32]) {
                let key = SigKey::new(CATALOGUE, DomainId(0), held);
                for slot in (prompt % every..self.instances).step_by(usize::from(every)) {
                    self.core.push(Op::Stored {
                        slot: Slot(slot),
                        key,
                        provisional: false,
                        now_s: (self.now.mono_us / 1_000_000) as u32,
                    });
                }
            }
            // Before the queue of operations is full.
            self.publish(reader);
        }
    }

    /// What was dispatched is forgotten: nothing is in flight, and nobody has to be told.
    pub(crate) fn forget_dispatches(&self) {
        for slot in (0..self.instances).map(Slot) {
            self.shared.inflight.reset(slot);
        }
        while self.shared.rings[0].pop().is_some() {}
    }
}

fn limits(instances: u16) -> Limits {
    Limits {
        instances,
        classes: 8,
        signatures: 16_384,
        overlay_signatures: 8_192,
        ring: 4_096,
        sender_keys: 1_024,
        sessions: 4_096,
        maglev: 16_381,
    }
}

/// Loads that differ, so that most instances are out of the question for a near-tie.
fn load(slot: Slot) -> Load {
    let spread = u32::from(slot.0).wrapping_mul(0x9E37_79B9) >> 8;
    Load {
        order: ReportOrder::new(UNIX_S - 100, 1),
        queue_depth: (spread % 8) as u16,
        running: (spread % 32) as u16,
        pending_tokens: spread % 40_000,
        prefill_rate_tokens_s: 10_000,
        kv_used: (spread % 200) as u8,
        load_class: 0,
        draining: false,
        refusing: false,
        base_tokens: 0,
        received_us: 100_000_000,
    }
}

/// The prefixes that a request for a prompt carries.
pub(crate) fn prefixes(prompt: u16) -> [Prefix; 3] {
    let seed = prompt % PROMPTS;
    [2, 6, 14].map(|depth| prefix(depth, 1_000 + seed))
}

/// The request of the `n`th task: two labels, three prefixes.
pub(crate) fn task(n: usize) -> Request {
    Request {
        labels: labels(&["tool:search", "lang:de"]),
        session: n as u64,
        ..with_prefixes(&prefixes(n as u16))
    }
}
