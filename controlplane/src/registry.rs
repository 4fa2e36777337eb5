//! Who has which slot of the AFT, and what a new configuration changes.
//!
//! A slot goes to another instance only under a new incarnation, and only when no worker can still count for the former one:
//! after a removal it is *vacated* until every worker has taken up a generation without the former tenant
//! ([`Registry::settle`]). Instances for which no settled slot is free wait; that takes a few publish intervals.

pub mod classes;

use std::collections::VecDeque;
use std::sync::Arc;

use afr_dataplane::aft::Op;
use afr_dataplane::aft::maglev::Maglev;
use afr_dataplane::config::{Config, Instance};
use afr_dataplane::id::{Incarnation, Slot};
use afr_wire::{ClassId, InstanceId};
use hashbrown::HashMap;

/// Who has which slot.
#[derive(Debug)]
pub struct Registry {
    seats: Vec<Seat>,
    by_id: HashMap<InstanceId, Slot>,
    /// Free and settled, the longest free first, so that a slot rests as long as possible.
    free: VecDeque<Slot>,
    /// Free, and some worker may still count for the former tenant.
    vacated: Vec<Slot>,
    waiting: VecDeque<Instance>,
    maglev: HashMap<ClassId, Basis>,
}

#[derive(Debug, Default)]
struct Seat {
    tenant: Option<Arc<Instance>>,
    incarnation: u16,
}

/// What a class's Maglev table was built of.
#[derive(Debug, PartialEq, Eq)]
struct Basis {
    seed: [u8; 16],
    size: u32,
    members: Vec<(InstanceId, Slot, u16)>,
}

/// What changed.
#[derive(Debug, Default)]
pub struct Changes {
    /// Operations that bring the AFT up to date, in their order.
    pub ops: Vec<Op>,
    /// Slots that have a new tenant.
    pub seated: Vec<Slot>,
    /// Slots whose tenant is gone, with what it was.
    pub removed: Vec<(Slot, Arc<Instance>)>,
    /// Slots whose tenant's entry is another.
    pub changed: Vec<Slot>,
}

impl Registry {
    /// A registry of `slots` free slots.
    #[must_use]
    pub fn new(slots: u16) -> Self {
        Self {
            seats: (0..slots).map(|_| Seat::default()).collect(),
            by_id: HashMap::new(),
            free: (0..slots).map(Slot).collect(),
            vacated: Vec::new(),
            waiting: VecDeque::new(),
            maglev: HashMap::new(),
        }
    }

    /// Registers what is in `wanted` and not here, changes what differs, removes what is not wanted.
    ///
    /// `config` is the configuration that holds from now on. Its operation stands after the removals and before the
    /// instances, whose classes it may bring.
    pub fn reconcile(&mut self, config: &Arc<Config>, wanted: &[Instance]) -> Changes {
        let mut changes = Changes::default();
        let is_wanted = |id| wanted.iter().any(|instance| instance.id == id);
        let gone: Vec<_> = self
            .by_id
            .keys()
            .copied()
            .filter(|id| !is_wanted(*id))
            .collect();
        for id in gone {
            self.remove(id, &mut changes);
        }
        changes.ops.push(Op::Config(Arc::clone(config)));
        self.waiting.clear();
        for instance in wanted {
            match self.by_id.get(&instance.id) {
                Some(slot) => self.change(*slot, instance, &mut changes),
                None => self.waiting.push_back(instance.clone()),
            }
        }
        self.seat(&mut changes);
        self.rebuild_maglev(config, &mut changes);
        changes
    }

    /// Every worker has taken up a generation without the tenants of vacated slots: instances that wait get them.
    pub fn settle(&mut self, config: &Arc<Config>) -> Changes {
        let mut changes = Changes::default();
        self.free.extend(self.vacated.drain(..));
        if !self.waiting.is_empty() {
            self.seat(&mut changes);
            self.rebuild_maglev(config, &mut changes);
        }
        changes
    }

    /// Whether there are vacated slots.
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        !self.vacated.is_empty()
    }

    /// Instances that wait for a slot.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The slot of an instance.
    #[must_use]
    pub fn slot_of(&self, id: InstanceId) -> Option<Slot> {
        self.by_id.get(&id).copied()
    }

    /// The tenant of a slot.
    #[must_use]
    pub fn tenant(&self, slot: Slot) -> Option<&Arc<Instance>> {
        self.seats.get(slot.index())?.tenant.as_ref()
    }

    /// All tenants, by slot.
    pub fn tenants(&self) -> impl Iterator<Item = (Slot, &Arc<Instance>)> {
        let seats = self.seats.iter().enumerate();
        seats.filter_map(|(at, seat)| Some((Slot(at as u16), seat.tenant.as_ref()?)))
    }

    fn remove(&mut self, id: InstanceId, changes: &mut Changes) {
        let Some(slot) = self.by_id.remove(&id) else {
            return;
        };
        if let Some(tenant) = self.seats[slot.index()].tenant.take() {
            self.vacated.push(slot);
            changes.ops.push(Op::Remove { slot });
            changes.removed.push((slot, tenant));
        }
    }

    fn change(&mut self, slot: Slot, wanted: &Instance, changes: &mut Changes) {
        let seat = &mut self.seats[slot.index()];
        let incarnation = Incarnation(seat.incarnation);
        if seat
            .tenant
            .as_ref()
            .is_some_and(|held| is_same(held, wanted))
        {
            return;
        }
        let instance = Arc::new(Instance {
            incarnation,
            ..wanted.clone()
        });
        seat.tenant = Some(Arc::clone(&instance));
        changes.changed.push(slot);
        changes.ops.push(Op::Instance { slot, instance });
    }

    fn seat(&mut self, changes: &mut Changes) {
        while !self.waiting.is_empty() {
            let Some(slot) = self.free.pop_front() else {
                return;
            };
            let Some(instance) = self.waiting.pop_front() else {
                return;
            };
            let seat = &mut self.seats[slot.index()];
            // 0 is nobody's.
            seat.incarnation = seat.incarnation.checked_add(1).unwrap_or(1);
            let instance = Arc::new(Instance {
                incarnation: Incarnation(seat.incarnation),
                ..instance
            });
            seat.tenant = Some(Arc::clone(&instance));
            self.by_id.insert(instance.id, slot);
            changes.seated.push(slot);
            changes.ops.push(Op::Instance { slot, instance });
        }
    }

    /// Builds the tables of classes whose members, or their weights, are others than those of the table they have.
    fn rebuild_maglev(&mut self, config: &Config, changes: &mut Changes) {
        self.maglev.retain(|id, _| config.class(*id).is_some());
        for (_, class) in config.classes.iter() {
            let serves =
                |(_, instance): &(Slot, &Arc<Instance>)| instance.classes.contains(&class.id);
            let members = self.tenants().filter(serves);
            let mut members: Vec<_> = members
                .map(|(slot, instance)| (instance.id, slot, instance.weight))
                .collect();
            members.sort_unstable();
            let basis = Basis {
                seed: config.maglev_seed,
                size: config.limits.maglev,
                members,
            };
            if self.maglev.get(&class.id) == Some(&basis) {
                continue;
            }
            let table = Arc::new(Maglev::build(&basis.seed, basis.size, &basis.members));
            changes.ops.push(Op::Maglev {
                class: class.id,
                table,
            });
            self.maglev.insert(class.id, basis);
        }
    }
}

/// Whether two entries say the same of an instance, whatever their incarnation.
fn is_same(a: &Instance, b: &Instance) -> bool {
    let Instance {
        id,
        name,
        incarnation: _,
        path,
        mtu,
        ecn,
        tunnel_source,
        classes,
        labels,
        policies,
        weight,
        prefill_rate_tokens_s,
        max_running,
        report_key,
    } = a;
    *id == b.id
        && *name == b.name
        && *path == b.path
        && *mtu == b.mtu
        && *ecn == b.ecn
        && *tunnel_source == b.tunnel_source
        && *classes == b.classes
        && *labels == b.labels
        && *policies == b.policies
        && *weight == b.weight
        && *prefill_rate_tokens_s == b.prefill_rate_tokens_s
        && *max_running == b.max_running
        && *report_key == b.report_key
}

#[cfg(test)]
mod tests;
