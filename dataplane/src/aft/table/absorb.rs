//! Applying operations. Runs on the control core, on each copy in turn: nothing here may depend on anything but the
//! copy and the operation.

use std::sync::Arc;

use afr_wire::{Bloom, ClassId};

use super::{Aft, PathEntry, RATE_SHIFT, class, ttl};
use crate::aft::epoch::Absorb;
use crate::aft::{Load, Op, ReportOrder};
use crate::config::{Config, Dispatch, Instance};
use crate::id::Slot;

impl Absorb<Op> for Aft {
    fn absorb(&mut self, op: &Op) {
        match op {
            Op::Config(config) => self.configure(config),
            Op::Instance { slot, instance } => self.register(*slot, instance),
            Op::Remove { slot } => self.unregister(*slot),
            Op::Maglev { class, table } => {
                if let Some(state) = self.class_mut(*class) {
                    state.maglev = Arc::clone(table);
                }
            }
            Op::Load { slot, load } => self.load(*slot, load),
            Op::Reckoned {
                slot,
                order,
                pending_tokens,
                base_tokens,
            } => {
                if self.registered.test(*slot) && self.order[slot.index()] == *order {
                    self.pending_tokens[slot.index()] = *pending_tokens;
                    self.base_tokens[slot.index()] = *base_tokens;
                }
            }
            Op::Stored {
                slot,
                key,
                provisional,
                now_s,
            } => {
                if self.registered.test(*slot) {
                    self.residency.insert(*key, *slot, *provisional, *now_s);
                }
            }
            Op::Evicted { slot, key } => self.residency.evict(*key, *slot),
            Op::Cleared { slot } => self.residency.clear_slot(*slot),
            Op::Refused {
                slot,
                class,
                until_us,
            } => {
                if self.registered.test(*slot)
                    && let Some(state) = self.class_mut(*class)
                {
                    state.refuse(*slot, *until_us);
                }
            }
            Op::Consumed { worker, position } => {
                if let Some(consumed) = self.consumed.get_mut(usize::from(worker.0)) {
                    *consumed = (*consumed).max(*position);
                }
            }
            Op::Tick { now_s } => self.tick(*now_s),
        }
    }

    fn foresee(&self, op: &Op) {
        // Of what makes up large batches, only signatures are in a table too large for the caches.
        if let Op::Stored { key, .. } | Op::Evicted { key, .. } = op {
            self.residency.prefetch(self.residency.hashed(*key));
        }
    }
}

impl Aft {
    fn class_mut(&mut self, id: ClassId) -> Option<&mut class::ClassState> {
        let class = self.config.class(id)?;
        self.classes.get_mut(usize::from(class.0))?.as_mut()
    }

    fn configure(&mut self, config: &Arc<Config>) {
        let slots = self.slots();
        self.capabilities += 1;
        self.classes = class::states_of(config, &mut self.classes, slots);
        self.config = Arc::clone(config);
        self.residency.set_ttl(ttl(config));
        for slot in (0..slots as u16).map(Slot) {
            let Some(instance) = self.instance(slot).map(Arc::clone) else {
                continue;
            };
            self.join_classes(slot, &instance);
            self.set_pressure(slot, &instance);
            self.lead(slot, PathEntry::to(&instance, config));
        }
    }

    fn lead(&mut self, slot: Slot, path: PathEntry) {
        self.tenants[slot.index()] = path.incarnation;
        self.path[slot.index()] = path;
    }

    fn register(&mut self, slot: Slot, instance: &Arc<Instance>) {
        let Some(held) = self.instances.get(slot.index()) else {
            return;
        };
        let same_tenant = held
            .as_ref()
            .is_some_and(|held| held.id == instance.id && held.incarnation == instance.incarnation);
        if same_tenant {
            self.withdraw(slot);
        } else {
            self.unregister(slot);
        }
        let index = slot.index();
        self.capabilities += 1;
        self.instances[index] = Some(Arc::clone(instance));
        self.lead(slot, PathEntry::to(instance, &self.config));
        self.report_keys[index] = instance.report_key;
        self.registered.set(slot);
        self.policies.enter(slot, &instance.policies);
        self.by_id.insert(instance.id, slot);
        self.by_tunnel_source
            .insert(instance.tunnel_source.into(), slot);
        let bloom: Bloom<4> = instance.labels.iter().copied().collect();
        for (words, word) in self.bloom.iter_mut().zip(bloom.words()) {
            words[index] = *word;
        }
        self.join_classes(slot, instance);
        if !same_tenant {
            self.available.set(slot);
        }
        if !self.rate_reported.test(slot) {
            self.us_per_token_q[index] = us_per_token_q(instance.prefill_rate_tokens_s);
        }
        self.set_pressure(slot, instance);
    }

    /// Takes back what was derived from the slot's instance, but not what reports have told of it.
    fn withdraw(&mut self, slot: Slot) -> Option<Arc<Instance>> {
        let instance = self.instances.get_mut(slot.index())?.take()?;
        self.policies.leave(slot, &instance.policies);
        self.by_id.remove(instance.id, slot);
        self.by_tunnel_source
            .remove(instance.tunnel_source.into(), slot);
        Some(instance)
    }

    fn unregister(&mut self, slot: Slot) {
        if self.withdraw(slot).is_none() {
            return;
        }
        let index = slot.index();
        self.capabilities += 1;
        self.lead(slot, PathEntry::NONE);
        self.report_keys[index] = None;
        self.registered.clear(slot);
        self.available.clear(slot);
        self.rate_reported.clear(slot);
        for class in self.classes.iter_mut().flatten() {
            class.forget(slot);
        }
        for words in &mut self.bloom {
            words[index] = 0;
        }
        self.pending_tokens[index] = 0;
        self.us_per_token_q[index] = 0;
        self.base_tokens[index] = 0;
        self.pressure_us[index] = 0;
        self.kv_used[index] = 0;
        self.running[index] = 0;
        self.queue[index] = 0;
        self.load_class[index] = 0;
        self.order[index] = ReportOrder::default();
        self.received_us[index] = 0;
        self.residency.clear_slot(slot);
    }

    fn join_classes(&mut self, slot: Slot, instance: &Instance) {
        for class in self.classes.iter_mut().flatten() {
            class
                .members
                .assign(slot, instance.classes.contains(&class.id));
        }
    }

    fn load(&mut self, slot: Slot, load: &Load) {
        let Some(instance) = self.instance(slot).map(Arc::clone) else {
            return;
        };
        let index = slot.index();
        if load.order <= self.order[index] {
            return;
        }
        self.order[index] = load.order;
        self.received_us[index] = load.received_us;
        self.queue[index] = load.queue_depth;
        self.running[index] = load.running;
        self.pending_tokens[index] = load.pending_tokens;
        self.kv_used[index] = load.kv_used;
        self.load_class[index] = load.load_class;
        self.base_tokens[index] = load.base_tokens;
        if load.prefill_rate_tokens_s != 0 {
            self.us_per_token_q[index] = us_per_token_q(load.prefill_rate_tokens_s);
            self.rate_reported.set(slot);
        }
        self.available
            .assign(slot, !load.draining && !load.refusing);
        self.set_pressure(slot, &instance);
    }

    fn set_pressure(&mut self, slot: Slot, instance: &Instance) {
        let index = slot.index();
        self.pressure_us[index] = pressure_us(
            &self.config.dispatch,
            self.kv_used[index],
            self.running[index],
            instance.max_running,
        );
    }

    fn tick(&mut self, now_s: u32) {
        if now_s <= self.now_s {
            return;
        }
        self.now_s = now_s;
        self.residency.advance(now_s);
        for class in self.classes.iter_mut().flatten() {
            class.expire(u64::from(now_s) * 1_000_000);
        }
    }
}

/// Microseconds a token at this rate, in units of 2^-[`RATE_SHIFT`].
fn us_per_token_q(tokens_s: u32) -> u32 {
    let us_per_token = (1_000_000 << RATE_SHIFT) / u64::from(tokens_s.max(1));
    u32::try_from(us_per_token).unwrap_or(u32::MAX)
}

/// Grows linearly with the KV store's use from `pressure_from` on; a batch at its limit counts as a full store.
fn pressure_us(dispatch: &Dispatch, kv_used: u8, running: u16, max_running: u16) -> u32 {
    if running >= max_running {
        return dispatch.pressure_full_us;
    }
    let over = u64::from(kv_used.saturating_sub(dispatch.pressure_from));
    let range = u64::from(u8::MAX - dispatch.pressure_from).max(1);
    (u64::from(dispatch.pressure_full_us) * over / range) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_become_microseconds_a_token() {
        assert_eq!(us_per_token_q(1_000_000), 1 << RATE_SHIFT);
        assert_eq!(us_per_token_q(8_000), 125 << RATE_SHIFT);
        assert_eq!(us_per_token_q(0), u32::MAX);
        assert_eq!(us_per_token_q(1), u32::MAX);
    }

    #[test]
    fn pressure_grows_from_its_threshold() {
        let dispatch = Dispatch {
            pressure_full_us: 1_000,
            pressure_from: 205,
            ..Dispatch::default()
        };
        let of = |kv_used, running| pressure_us(&dispatch, kv_used, running, 8);
        assert_eq!(of(205, 0), 0);
        assert_eq!(of(230, 7), 500);
        assert_eq!(of(255, 7), 1_000);
        assert_eq!(of(0, 8), 1_000);
        let never = Dispatch {
            pressure_from: 255,
            ..dispatch
        };
        assert_eq!(pressure_us(&never, 255, 0, 8), 0);
    }
}
