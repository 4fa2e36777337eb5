//! The AFT without indexes, bounds or layout: what was said, kept in maps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use afr_dataplane::aft::maglev::Maglev;
use afr_dataplane::aft::{Aft, Load, Op, PathKind, RATE_SHIFT, SigKey};
use afr_dataplane::config::{Claim, Config, Instance, Path};
use afr_dataplane::id::{Incarnation, Slot, WorkerId};
use afr_wire::{Bloom, ClassId, InstanceId, PolicyScope};

use super::ops::{self, CLASSES, IDS, KEYS, LABELS, SCOPES, SLOTS, WORKERS};

struct Tenant {
    instance: Arc<Instance>,
    load: Option<Load>,
    reported_rate: Option<u32>,
}

#[derive(Default)]
struct ClassNews {
    maglev: Option<Arc<Maglev>>,
    refused: BTreeMap<u16, u64>,
}

pub(crate) struct Model {
    config: Arc<Config>,
    tenants: BTreeMap<u16, Tenant>,
    /// Who was the last to claim an identity or an address, if it still has the slot.
    ids: BTreeMap<InstanceId, u16>,
    sources: BTreeMap<std::net::Ipv6Addr, u16>,
    classes: BTreeMap<u32, ClassNews>,
    held: BTreeMap<(u16, u16), (u32, bool)>,
    consumed: [u64; WORKERS],
    pub(crate) now_s: u32,
}

fn key_number(key: &SigKey) -> u16 {
    key.depth - 1
}

impl Model {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        let mut model = Self {
            config: config.clone(),
            tenants: BTreeMap::new(),
            ids: BTreeMap::new(),
            sources: BTreeMap::new(),
            classes: BTreeMap::new(),
            held: BTreeMap::new(),
            consumed: [0; WORKERS],
            now_s: 0,
        };
        model.configure(config);
        model
    }

    pub(crate) fn absorb(&mut self, op: &Op) {
        match op {
            Op::Config(config) => self.configure(config.clone()),
            Op::Instance { slot, instance } if slot.0 < SLOTS => self.register(slot.0, instance),
            Op::Remove { slot } => self.remove(slot.0),
            Op::Maglev { class, table } => {
                if let Some(news) = self.classes.get_mut(&class.0) {
                    news.maglev = Some(table.clone());
                }
            }
            Op::Load { slot, load } => {
                if let Some(tenant) = self.tenants.get_mut(&slot.0)
                    && tenant.load.is_none_or(|held| load.order > held.order)
                {
                    tenant.load = Some(*load);
                    if load.prefill_rate_tokens_s != 0 {
                        tenant.reported_rate = Some(load.prefill_rate_tokens_s);
                    }
                }
            }
            Op::Reckoned {
                slot,
                order,
                pending_tokens,
                base_tokens,
            } => {
                if let Some(tenant) = self.tenants.get_mut(&slot.0)
                    && let Some(load) = &mut tenant.load
                    && load.order == *order
                {
                    load.pending_tokens = *pending_tokens;
                    load.base_tokens = *base_tokens;
                }
            }
            Op::Stored {
                slot,
                key,
                provisional,
                now_s,
            } if self.tenants.contains_key(&slot.0) => {
                let held = self.held.get(&(key_number(key), slot.0)).copied();
                let held = held.filter(|held| self.counts(*held, *now_s));
                let news = match held {
                    Some((date, was)) => (date.max(*now_s), was && *provisional),
                    None => (*now_s, *provisional),
                };
                self.held.insert((key_number(key), slot.0), news);
            }
            Op::Evicted { slot, key } => {
                self.held.remove(&(key_number(key), slot.0));
            }
            Op::Cleared { slot } => self.held.retain(|held, _| held.1 != slot.0),
            Op::Refused {
                slot,
                class,
                until_us,
            } if self.tenants.contains_key(&slot.0) => {
                if let Some(news) = self.classes.get_mut(&class.0) {
                    let held = news.refused.entry(slot.0).or_default();
                    *held = (*held).max(*until_us);
                }
            }
            Op::Consumed { worker, position } => {
                if let Some(held) = self.consumed.get_mut(usize::from(worker.0)) {
                    *held = (*held).max(*position);
                }
            }
            Op::Tick { now_s } => self.now_s = self.now_s.max(*now_s),
            _ => {}
        }
    }

    fn configure(&mut self, config: Arc<Config>) {
        let mut old = std::mem::take(&mut self.classes);
        for (_, class) in config.classes.iter() {
            let news = old.remove(&class.id.0).unwrap_or_default();
            self.classes.insert(class.id.0, news);
        }
        self.config = config;
    }

    fn register(&mut self, slot: u16, instance: &Arc<Instance>) {
        let same = self.tenants.get(&slot).is_some_and(|tenant| {
            let held = &tenant.instance;
            (held.id, held.incarnation) == (instance.id, instance.incarnation)
        });
        let known = same.then(|| self.tenants.remove(&slot)).flatten();
        self.ids.retain(|_, held| !same || *held != slot);
        self.sources.retain(|_, held| !same || *held != slot);
        self.remove(slot);
        self.tenants.insert(
            slot,
            Tenant {
                instance: instance.clone(),
                load: known.as_ref().and_then(|tenant| tenant.load),
                reported_rate: known.and_then(|tenant| tenant.reported_rate),
            },
        );
        self.ids.insert(instance.id, slot);
        self.sources.insert(instance.tunnel_source, slot);
    }

    fn remove(&mut self, slot: u16) {
        if self.tenants.remove(&slot).is_none() {
            return;
        }
        self.ids.retain(|_, held| *held != slot);
        self.sources.retain(|_, held| *held != slot);
        self.held.retain(|held, _| held.1 != slot);
        for news in self.classes.values_mut() {
            news.refused.remove(&slot);
        }
    }

    fn counts(&self, (date, provisional): (u32, bool), now_s: u32) -> bool {
        let dispatch = &self.config.dispatch;
        let ttl = if provisional {
            dispatch.provisional_ttl_s
        } else {
            dispatch.residency_ttl_s
        };
        now_s.saturating_sub(date) < ttl
    }

    /// Compares everything that can be asked of a table.
    pub(crate) fn check(&self, aft: &Aft) {
        assert!(Arc::ptr_eq(&aft.config, &self.config));
        assert_eq!(aft.now_s, self.now_s);
        assert_eq!(aft.consumed, self.consumed);
        assert_eq!(aft.known(WorkerId(WORKERS as u16), &overlay()).consumed, 0);
        for slot in 0..=SLOTS {
            self.check_slot(aft, Slot(slot), self.tenants.get(&slot));
        }
        for class in 0..=CLASSES {
            self.check_class(aft, ClassId(class));
        }
        for id in (0..IDS).map(InstanceId) {
            assert_eq!(aft.slot_of(id), self.ids.get(&id).copied().map(Slot));
        }
        for source in (0..IDS).map(ops::tunnel_source) {
            let slot = self.sources.get(&source).copied().map(Slot);
            assert_eq!(aft.slot_by_tunnel_source(source), slot);
        }
        for scope in (0..=SCOPES).map(PolicyScope) {
            let mask = aft.policy_mask(scope);
            let particular = |t: &Tenant| t.instance.policies != Claim::Any;
            assert_eq!(mask.is_some(), self.tenants.values().any(particular));
            for (slot, tenant) in &self.tenants {
                let accepts = mask.is_none_or(|mask| mask.test(Slot(*slot)));
                assert_eq!(accepts, tenant.instance.policies.allows(&scope));
            }
            if let Some(mask) = mask {
                assert!(mask.iter().all(|slot| self.tenants.contains_key(&slot.0)));
            }
        }
        for key in 0..KEYS {
            let expected: BTreeSet<u16> = self
                .held
                .iter()
                .filter(|(held, date)| held.0 == key && self.counts(**date, self.now_s))
                .map(|(held, _)| held.1)
                .collect();
            let mut found = BTreeSet::new();
            aft.holders(ops::key(key))
                .for_each(|slot| assert!(found.insert(slot.0)));
            assert_eq!(found, expected, "holders of key {key}");
        }
    }

    fn check_slot(&self, aft: &Aft, slot: Slot, tenant: Option<&Tenant>) {
        assert_eq!(aft.registered.test(slot), tenant.is_some());
        assert_eq!(aft.instance(slot).is_some(), tenant.is_some());
        let load = tenant.and_then(|tenant| tenant.load);
        let available =
            tenant.is_some() && load.is_none_or(|load| !load.draining && !load.refusing);
        assert_eq!(aft.available.test(slot), available);
        if slot.0 >= SLOTS {
            assert_eq!(aft.incarnation(slot), Incarnation(0));
            return;
        }
        let index = slot.index();
        let of = |value: fn(&Load) -> u64| load.as_ref().map_or(0, value);
        assert_eq!(
            u64::from(aft.pending_tokens[index]),
            of(|l| l.pending_tokens.into())
        );
        assert_eq!(u64::from(aft.queue[index]), of(|l| l.queue_depth.into()));
        assert_eq!(u64::from(aft.running[index]), of(|l| l.running.into()));
        assert_eq!(u64::from(aft.kv_used[index]), of(|l| l.kv_used.into()));
        assert_eq!(
            u64::from(aft.load_class[index]),
            of(|l| l.load_class.into())
        );
        assert_eq!(aft.base_tokens[index], of(|l| l.base_tokens));
        assert_eq!(aft.received_us[index], of(|l| l.received_us));
        assert_eq!(aft.order[index], load.map(|l| l.order).unwrap_or_default());
        let path = &aft.path[index];
        let Some(tenant) = tenant else {
            assert_eq!(
                (path.kind, path.incarnation),
                (PathKind::None, Incarnation(0))
            );
            assert_eq!((aft.us_per_token_q[index], aft.pressure_us[index]), (0, 0));
            assert!(aft.bloom.iter().all(|words| words[index] == 0));
            assert!(!aft.has_labels(slot, &[]));
            return;
        };
        let instance = &tenant.instance;
        assert_eq!(aft.incarnation(slot), instance.incarnation);
        assert_eq!(path.destination_mac(), instance.path.next_hop().mac);
        assert_eq!(path.port, instance.path.next_hop().port);
        match instance.path {
            Path::Encap { sid, .. } => {
                assert_eq!((path.kind, path.sid()), (PathKind::Encap, sid.octets()));
            }
            Path::L2 { .. } => assert_eq!((path.kind, path.sid()), (PathKind::L2, [0; 16])),
        }
        let rate = tenant
            .reported_rate
            .unwrap_or(instance.prefill_rate_tokens_s);
        let exact = 1e6 / f64::from(rate) * f64::from(1 << RATE_SHIFT);
        let rate = f64::from(aft.us_per_token_q[index]);
        assert!((rate - exact.min(f64::from(u32::MAX))).abs() <= 1.0);
        self.check_pressure(aft, slot, instance);
        for labels in 0..1u32 << LABELS {
            let wanted: Vec<_> = (0..LABELS)
                .filter(|n| labels >> n & 1 == 1)
                .map(ops::label)
                .collect();
            let has = wanted.iter().all(|label| instance.labels.contains(label));
            assert_eq!(aft.has_labels(slot, &wanted), has);
            let bloom: Bloom<4> = wanted.into_iter().collect();
            assert!(aft.may_have(slot, &bloom) || !has);
        }
    }

    fn check_pressure(&self, aft: &Aft, slot: Slot, instance: &Instance) {
        let dispatch = &self.config.dispatch;
        let index = slot.index();
        let from = f64::from(dispatch.pressure_from);
        let share = if aft.running[index] >= instance.max_running {
            1.0
        } else if aft.kv_used[index] <= dispatch.pressure_from {
            0.0
        } else {
            (f64::from(aft.kv_used[index]) - from) / (255.0 - from)
        };
        let exact = share * f64::from(dispatch.pressure_full_us);
        assert!((f64::from(aft.pressure_us[index]) - exact).abs() <= 1.0);
    }

    fn check_class(&self, aft: &Aft, id: ClassId) {
        let mut configured = self.config.classes.iter();
        let Some((at, _)) = configured.find(|(_, class)| class.id == id) else {
            let mut known = aft.classes.iter().flatten();
            assert!(known.all(|class| class.id != id));
            return;
        };
        let Some(class) = aft.class(at) else {
            unreachable!("no state of class {id}");
        };
        let news = &self.classes[&id.0];
        assert_eq!(class.id, id);
        match &news.maglev {
            Some(maglev) => assert!(Arc::ptr_eq(&class.maglev, maglev)),
            None => assert!(class.maglev.members().is_empty()),
        }
        let now_us = u64::from(self.now_s) * 1_000_000;
        for slot in 0..SLOTS {
            let tenant = self.tenants.get(&slot);
            let member = tenant.is_some_and(|tenant| tenant.instance.classes.contains(&id));
            assert_eq!(class.members.test(Slot(slot)), member);
            let refused = news.refused.get(&slot).is_some_and(|until| now_us < *until);
            assert_eq!(class.is_refused(Slot(slot), now_us), refused);
        }
    }
}

fn overlay() -> afr_dataplane::aft::residency::Overlay {
    afr_dataplane::aft::residency::Overlay::new(1)
}
