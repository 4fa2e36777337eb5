//! Watching over the instances: what their reports and their silence mean.

use std::sync::Arc;

use afr_dataplane::aft::{Load, Op};
use afr_dataplane::id::{Now, Slot};
use afr_wire::ClassId;

use super::{ControlCore, Notice, Watched};
use crate::telemetry::Health;

/// Time between two looks at the silent ones, in microseconds.
const WATCH_US: u64 = 10_000;

impl ControlCore {
    pub(super) fn take_load(
        &mut self,
        slot: Slot,
        load: &Load,
        cache_generation: u32,
        refusals: &[ClassId],
        now: Now,
        notices: &mut Vec<Notice>,
    ) {
        let Some(Some(watched)) = self.watched.get_mut(slot.index()) else {
            return;
        };
        let news = watched.telemetry.report(load, cache_generation);
        if !news.is_newest {
            return;
        }
        let name = || watched.name.clone();
        if news.is_cleared {
            notices.push(Notice::Cleared { name: name() });
        }
        if watched.health.silent {
            notices.push(Notice::Heard { name: name() });
        }
        if watched.health.drain_by_agent != load.draining {
            let drains = load.draining;
            notices.push(Notice::AgentDrain {
                name: name(),
                drains,
            });
        }
        if news.is_cleared {
            self.push(Op::Cleared { slot });
        }
        self.push(Op::Load { slot, load: *load });
        let until_us = now.mono_us + self.running.plane.dispatch.refusal_ttl_us;
        for class in refusals {
            self.push(Op::Refused {
                slot,
                class: *class,
                until_us,
            });
        }
        self.set_health(slot, |health| {
            health.silent = false;
            health.drain_by_agent = load.draining;
        });
    }

    /// Looks after the silent: reckons what they have done since, and gives up those that have been silent for too long.
    pub(super) fn watch(&mut self, now: Now, notices: &mut Vec<Notice>) {
        if now.mono_us.saturating_sub(self.timers.watch_us) < WATCH_US {
            return;
        }
        self.timers.watch_us = now.mono_us;
        let stale_us = self.running.plane.dispatch.stale_report_us;
        let dead_after_us = self.running.control.dead_after_us;
        // Most slots of most AFRs are free.
        let shared = Arc::clone(&self.shared);
        for slot in shared.inflight.sampled() {
            let Some(watched) = &mut self.watched[slot.index()] else {
                continue;
            };
            let committed = self.shared.inflight.committed(slot);
            let telemetry = &mut watched.telemetry;
            let is_reckoned = telemetry.reckon(now.mono_us, stale_us, committed);
            let op = Op::Reckoned {
                slot,
                order: telemetry.order(),
                pending_tokens: telemetry.pending_tokens,
                base_tokens: telemetry.base_tokens,
            };
            let silence_us = silence_us(watched, now);
            let is_silent = dead_after_us.is_some() && silence_us > dead_after_us;
            let was_silent = watched.health.silent;
            if is_silent && !was_silent {
                let name = watched.name.clone();
                let silent_ms = silence_us.unwrap_or(0) / 1_000;
                notices.push(Notice::Silent { name, silent_ms });
            }
            if is_reckoned {
                self.push(op);
            }
            if is_silent != was_silent {
                self.set_health(slot, |health| health.silent = is_silent);
            }
        }
    }

    pub(super) fn set_health(&mut self, slot: Slot, change: impl FnOnce(&mut Health)) {
        if let Some(Some(watched)) = self.watched.get_mut(slot.index()) {
            change(&mut watched.health);
            self.show_state(slot);
        }
    }

    /// Tells the workers, beside the generations, what state the slot's tenant is in.
    pub(super) fn show_state(&self, slot: Slot) {
        if let Some(Some(watched)) = self.watched.get(slot.index()) {
            let (live, state) = (&self.shared.live, watched.health.state());
            // Each setting makes workers look for flows of the dead.
            if live.state(slot) != state || live.incarnation(slot) != watched.incarnation {
                live.set(slot, watched.incarnation, state);
            }
        }
    }
}

/// How long the instance has been silent since it last reported, or was excused; `None` if it has never reported.
fn silence_us(watched: &Watched, now: Now) -> Option<u64> {
    let load = watched.telemetry.load?;
    let since_us = load.received_us.max(watched.excused_us);
    Some(now.mono_us.saturating_sub(since_us))
}
