//! What the API sees of the control core and asks of it, between two steps.

use std::sync::Arc;

use afr_dataplane::aft::Aft;
use afr_dataplane::id::{Now, Slot};
use afr_wire::InstanceId;

use super::ControlCore;
use crate::api::core::{CoreControl, CoreState, Operation, Publishing, Refusal, Standing};
use crate::api::view::{ReloadView, StateCause};
use crate::config::{Loaded, needs_restart};
use crate::telemetry::Health;

impl CoreState for ControlCore {
    fn now(&self) -> Now {
        self.now
    }

    fn aft(&self) -> &Aft {
        self.publisher.current()
    }

    fn publishing(&self) -> Publishing {
        Publishing {
            epoch: self.publisher.epoch(),
            published_us: self.timers.swapped_us,
            pending_ops: self.publisher.pending(),
            dropped_ops: self.publisher.dropped(),
            stalls: self.stalls,
            stalled_us: self.publisher.stalled_us(self.now.mono_us),
            is_stuck: self.is_stuck,
            workers_behind: self.publisher.behind(),
            instances_waiting: self.registry.waiting(),
        }
    }

    fn standing(&self, slot: Slot) -> Standing {
        let Some(Some(watched)) = self.watched.get(slot.index()) else {
            return Standing::default();
        };
        Standing {
            reports: watched.telemetry.reports,
            reports_lost: watched.telemetry.lost,
            causes: causes(&watched.health),
            predecessors: watched.predecessors.clone(),
        }
    }
}

impl CoreControl for ControlCore {
    fn operate(&mut self, instance: InstanceId, operation: Operation) -> Result<(), Refusal> {
        let slot = self.registry.slot_of(instance);
        let slot = slot.ok_or(Refusal::NotRegistered(instance))?;
        if let (Operation::Up, Some(Some(watched))) =
            (operation, self.watched.get_mut(slot.index()))
        {
            watched.excused_us = self.now.mono_us;
        }
        self.set_health(slot, |health| match operation {
            Operation::Drain => health.drain_by_operator = Some(true),
            Operation::Undrain => health.drain_by_operator = Some(false),
            Operation::Down => health.killed = true,
            Operation::Up => {
                health.killed = false;
                health.silent = false;
            }
        });
        Ok(())
    }

    fn apply(&mut self, mut next: Loaded) -> Result<ReloadView, Refusal> {
        let keys = needs_restart(&self.running, &next);
        if !keys.is_empty() {
            return Err(Refusal::NeedsRestart { keys });
        }
        let waiting = self.publisher.pending();
        // Below this the log has room for all that a reload can bring.
        if waiting > self.running.control.log {
            return Err(Refusal::Backlog { waiting });
        }
        // A name may go to another class, and an index never does.
        self.class_indexes
            .enter(&next.plane.classes)
            .map_err(Refusal::Classes)?;
        if !next.reindex(|id| self.class_indexes.of(id)) {
            return Err(Refusal::Shared);
        }
        let running = Arc::clone(&self.running.plane);
        next.adopt(
            running.revision + 1,
            running.ports.iter().map(|port| port.mac),
        );
        self.running = next;
        let reconciled = self.reconcile();
        Ok(ReloadView {
            revision: self.running.plane.revision,
            instances_added: reconciled.added,
            instances_changed: reconciled.changed,
            instances_removed: reconciled.removed,
        })
    }
}

fn causes(health: &Health) -> Vec<StateCause> {
    let Health {
        drain_by_file,
        drain_by_operator,
        drain_by_agent,
        killed,
        silent,
    } = *health;
    let causes = [
        (killed, StateCause::DownByOperator),
        (silent, StateCause::Silent),
        (
            drain_by_operator == Some(true),
            StateCause::DrainedByOperator,
        ),
        (
            drain_by_file && drain_by_operator.is_none(),
            StateCause::DrainedByFile,
        ),
        (
            drain_by_file && drain_by_operator == Some(false),
            StateCause::UndrainedByOperator,
        ),
        (drain_by_agent, StateCause::DrainedByReport),
    ];
    let holding = causes.into_iter().filter(|(holds, _)| *holds);
    holding.map(|(_, cause)| cause).collect()
}
