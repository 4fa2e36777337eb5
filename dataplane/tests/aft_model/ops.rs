//! A small world of slots, instances, classes and prefixes, and random operations in it.

use std::net::Ipv6Addr;
use std::sync::Arc;

use afr_dataplane::aft::maglev::Maglev;
use afr_dataplane::aft::{Load, Op, ReportOrder, SigKey};
use afr_dataplane::config::{
    Admit, Claim, Class, Config, Dispatch, EcnMode, Flows, Instance, Limits, NextHop, OnDeath,
    Path, PlainDispatch, PolicyKind, Router, Saturation,
};
use afr_dataplane::id::{Incarnation, PortIx, Slot, WorkerId};
use afr_wire::{
    CatalogueVersion, ClassId, ClusterId, DomainId, InstanceId, Label32, PolicyScope, Prefix,
    Signature,
};
use proptest::prelude::*;

pub(crate) const SLOTS: u16 = 6;
pub(crate) const WORKERS: usize = 2;
pub(crate) const CLASSES: u32 = 5;
pub(crate) const KEYS: u16 = 6;
pub(crate) const SCOPES: u16 = 4;
pub(crate) const LABELS: u32 = 6;
pub(crate) const IDS: u32 = 5;

pub(crate) fn label(n: u32) -> Label32 {
    Label32(n.wrapping_mul(0x9e37_79b9))
}

pub(crate) fn tunnel_source(n: u32) -> Ipv6Addr {
    Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(n))
}

pub(crate) fn key(n: u16) -> SigKey {
    let prefix = Prefix {
        depth: n + 1,
        signature: Signature([n as u8; 4]),
    };
    SigKey::new(CatalogueVersion(1), DomainId(1), prefix)
}

pub(crate) fn config(revision: u64, classes: &[u32], pressure_from: u8) -> Arc<Config> {
    let class = |id: &u32| Class {
        id: ClassId(*id),
        name: id.to_string(),
        policy: PolicyKind::Ttft,
        plain: PlainDispatch::Maglev,
        objective_us: None,
        saturation: Saturation::LeastBad,
        spill: None,
        on_death: OnDeath::Reset,
        default_prompt_tokens: 1,
        max_prompt_tokens: 1,
        allow_bloom: false,
        addresses: Vec::new(),
        admit_per_s: 0,
        admit_burst: 0,
    };
    Arc::new(Config {
        revision,
        cluster: ClusterId(1),
        router: Router {
            address: Ipv6Addr::LOCALHOST,
            sids: Vec::new(),
            own_addresses: Vec::new(),
            report_port: 4724,
            option_type: 0x1e,
            srh_tlv_type: 124,
            hop_limit: 64,
            transit: false,
            mss_clamp: None,
            punt_port: None,
        },
        ports: Vec::new(),
        trusted_prefixes: Vec::new(),
        routes: Vec::new(),
        peers: Vec::new(),
        catalogues: Vec::new(),
        keys: Vec::new(),
        accept_unauthenticated: false,
        classes: classes.iter().map(class).collect(),
        services: Vec::new(),
        dispatch: Dispatch {
            pressure_from,
            provisional_ttl_s: 5,
            residency_ttl_s: 20,
            ..Dispatch::default()
        },
        flows: Flows::default(),
        admit: Admit::default(),
        limits: Limits {
            instances: SLOTS,
            signatures: 1_024,
            ..Limits::default()
        },
        maglev_seed: [7; 16],
    })
}

/// An instance that serves every class, carries no label and accepts every scope.
pub(crate) fn instance_of(id: u32) -> Arc<Instance> {
    let next_hop = NextHop {
        port: PortIx(id as u8),
        mac: [id as u8; 6],
    };
    Arc::new(Instance {
        id: InstanceId(id),
        name: id.to_string(),
        incarnation: Incarnation(1),
        path: Path::L2 { next_hop },
        mtu: 1_500,
        ecn: EcnMode::Normal,
        tunnel_source: tunnel_source(id),
        classes: (0..CLASSES).map(ClassId).collect(),
        labels: Vec::new(),
        policies: Claim::Any,
        weight: 1,
        prefill_rate_tokens_s: 1,
        max_running: 1,
        report_key: None,
    })
}

fn subset(of: u32) -> impl Strategy<Value = Vec<u32>> {
    prop::sample::subsequence((0..of).collect::<Vec<_>>(), 0..=of as usize)
}

fn instance() -> impl Strategy<Value = Arc<Instance>> {
    (
        (0..IDS, 1u16..3, 0..IDS),
        (subset(CLASSES), subset(LABELS)),
        prop::option::of(subset(u32::from(SCOPES))),
        (any::<bool>(), 1u32..100_000, 0u16..4),
    )
        .prop_map(
            |(names, (classes, labels), policies, (encap, rate, max_running))| {
                let (id, incarnation, source) = names;
                let plain = Instance::clone(&instance_of(id));
                let sid = tunnel_source(100 + id);
                let next_hop = plain.path.next_hop();
                let policies = policies.map_or(Claim::Any, |scopes| {
                    Claim::Only(scopes.iter().map(|n| PolicyScope(*n as u16)).collect())
                });
                Arc::new(Instance {
                    incarnation: Incarnation(incarnation),
                    path: if encap {
                        Path::Encap { sid, next_hop }
                    } else {
                        plain.path
                    },
                    tunnel_source: tunnel_source(source),
                    classes: classes.into_iter().map(ClassId).collect(),
                    labels: labels.into_iter().map(label).collect(),
                    policies,
                    prefill_rate_tokens_s: rate,
                    max_running,
                    ..plain
                })
            },
        )
}

fn load() -> impl Strategy<Value = Load> {
    (
        (1u32..4, 0u32..4),
        (any::<u16>(), 0u16..5, any::<u32>()),
        prop_oneof![Just(0u32), 1u32..100_000],
        (any::<u8>(), any::<u8>(), any::<bool>(), any::<bool>()),
        (any::<u64>(), any::<u64>()),
    )
        .prop_map(|(order, counts, rate, scores, times)| Load {
            order: ReportOrder::new(order.0, order.1),
            queue_depth: counts.0,
            running: counts.1,
            pending_tokens: counts.2,
            prefill_rate_tokens_s: rate,
            kv_used: scores.0,
            load_class: scores.1,
            draining: scores.2,
            refusing: scores.3,
            base_tokens: times.0,
            received_us: times.1,
        })
}

/// Any operation, also about slots and classes that do not exist. Dates count from the time of the table: see [`dated`].
pub(crate) fn op() -> impl Strategy<Value = Op> {
    let slot = || (0..SLOTS + 1).prop_map(Slot);
    let class = || (0..CLASSES + 1).prop_map(ClassId);
    let key = || (0..KEYS).prop_map(key);
    prop_oneof![
        1 => (any::<u64>(), subset(CLASSES), any::<u8>())
            .prop_map(|(revision, classes, from)| Op::Config(config(revision, &classes, from))),
        4 => (slot(), instance()).prop_map(|(slot, instance)| Op::Instance { slot, instance }),
        2 => slot().prop_map(|slot| Op::Remove { slot }),
        1 => (class(), slot()).prop_map(|(class, slot)| Op::Maglev {
            class,
            table: Arc::new(Maglev::build(&[7; 16], 13, &[(InstanceId(1), slot, 1)])),
        }),
        6 => (slot(), load()).prop_map(|(slot, load)| Op::Load { slot, load }),
        3 => (slot(), load()).prop_map(|(slot, load)| Op::Reckoned {
            slot,
            order: load.order,
            pending_tokens: load.pending_tokens,
            base_tokens: load.base_tokens,
        }),
        10 => (slot(), key(), any::<bool>()).prop_map(|(slot, key, provisional)| {
            Op::Stored { slot, key, provisional, now_s: 0 }
        }),
        3 => (slot(), key()).prop_map(|(slot, key)| Op::Evicted { slot, key }),
        1 => slot().prop_map(|slot| Op::Cleared { slot }),
        3 => (slot(), class(), 0u64..5_000_000)
            .prop_map(|(slot, class, until_us)| Op::Refused { slot, class, until_us }),
        2 => (0..WORKERS as u16 + 1, 0u64..9)
            .prop_map(|(worker, position)| Op::Consumed { worker: WorkerId(worker), position }),
        3 => (0u32..4).prop_map(|now_s| Op::Tick { now_s }),
    ]
}

/// The operation with its dates counted from `now_s`.
pub(crate) fn dated(mut op: Op, now: u32) -> Op {
    match &mut op {
        Op::Stored { now_s, .. } | Op::Tick { now_s } => *now_s += now,
        Op::Refused { until_us, .. } => *until_us += u64::from(now) * 1_000_000,
        _ => {}
    }
    op
}
