//! Flows: who opens one, where its packets go, and when it is over.

use afr_dataplane::aft::Op;
use afr_dataplane::aft::live::LiveState;
use afr_dataplane::config::{OnDeath, PlainDispatch, PolicyKind};
use afr_dataplane::flow::FlowState;
use afr_dataplane::id::{ClassIx, Slot};
use afr_dataplane::verdict::{DispatchReason, DropReason, MetadataNote};
use afr_wire::{Request, RequestFlags};

use crate::support::metadata::{report, request, told, with_prefixes};
use crate::support::packet::{ACK, FIN, Packet, RST, SYN};
use crate::support::setup::{
    CHAT, CHAT_IX, CODE, CODE_IX, EDGE, EMPTY, FABRIC, Setup, UNIX_S, instance, service,
};
use crate::support::world::{World, ack, data, datagram, report_datagram, syn};

fn world() -> World {
    World::new(Setup::new(3))
}

/// Instance `n` says how many tokens wait there.
fn pending(world: &mut World, n: u16, seq: u32, tokens: u32) {
    let mut report = report(n, seq);
    report.pending_prefill_tokens = tokens;
    report.sampled_at_ms = world.now.unix_ms as u32;
    let outcome = world.send(FABRIC, &report_datagram(n, &told(&report)));
    assert_eq!(outcome.noted(MetadataNote::ReportApplied), 1);
    world.settle();
}

#[test]
fn a_retransmitted_syn_is_no_new_flow() {
    let mut world = world();
    let asking = syn(1, service(CHAT)).asking(&request());
    let first = world.send(EDGE, &asking);
    let chosen = first.forwarded().instance();
    pending(&mut world, chosen, 1, 1_000_000);
    let again = world.send(EDGE, &asking);
    assert_eq!(again.forwarded().instance(), chosen);
    assert_eq!(again.noted(MetadataNote::FlowCreated), 0);
    assert_eq!(world.flows().len(), 1);
    // On an established flow as well.
    world.send(EDGE, &data(1, service(CHAT), 7)).forwarded();
    let again = world.send(EDGE, &syn(1, service(CHAT)));
    assert_eq!(again.forwarded().instance(), chosen);
    assert_eq!(again.noted(MetadataNote::FlowCreated), 0);
}

#[test]
fn a_syn_reopens_what_is_closing_or_idle() {
    let chat = service(CHAT);
    type End = fn(&mut World);
    let ends: [(&str, End); 3] = [
        ("FIN", |world| {
            world.send(
                EDGE,
                &ack(1, service(CHAT), 9).tcp(|t| *t.flags = FIN | ACK),
            );
        }),
        ("RST", |world| {
            world.send(EDGE, &ack(1, service(CHAT), 9).tcp(|t| *t.flags = RST));
        }),
        ("idle", |world| world.skip(3_600_000)),
    ];
    for (name, end) in ends {
        let mut world = world();
        let fresh = |world: &World| Request {
            issued_at: world.now.unix_s() as u32,
            ..request()
        };
        let asking = fresh(&world);
        let first = world.send(EDGE, &syn(1, chat).asking(&asking));
        let chosen = first.forwarded().instance();
        world.send(EDGE, &data(1, chat, 7)).forwarded();
        end(&mut world);
        pending(&mut world, chosen, 1, 1_000_000);
        let asking = fresh(&world);
        let again = world.send(EDGE, &syn(1, chat).asking(&asking));
        assert_ne!(again.forwarded().instance(), chosen, "{name}");
        assert_eq!(again.noted(MetadataNote::FlowCreated), 1, "{name}");
        assert_eq!(again.noted(MetadataNote::FlowEvicted), 0, "{name}");
        assert_eq!(world.flows().len(), 1);
    }
}

/// A RST in the client's name.
fn reset(port: u16, seq: u32) -> Packet {
    ack(port, service(CHAT), 0x5555).tcp(|tcp| (*tcp.flags, *tcp.seq) = (RST | ACK, seq))
}

fn state(world: &World) -> FlowState {
    world.flows()[0].state()
}

#[test]
fn a_reset_that_is_nowhere_near_the_client_closes_nothing() {
    let chat = service(CHAT);
    // A request of `data` has sent 31 bytes from 1,001 on.
    let next = 1_032_u32;
    for (seq, closes) in [
        (next, true),
        (next + 0xF_FFFF, true),
        (next.wrapping_sub(0x10_0000), true),
        (next + 0x10_0000, false),
        (next.wrapping_sub(0x10_0001), false),
        (next + 0x8000_0000, false),
    ] {
        let mut world = world();
        world
            .send(EDGE, &syn(1, chat).asking(&request()))
            .forwarded();
        world.send(EDGE, &data(1, chat, 7)).forwarded();
        let outcome = world.send(EDGE, &reset(1, seq));
        // What the instance makes of it is its affair.
        outcome.forwarded();
        assert_eq!(state(&world) == FlowState::Reset, closes, "{seq:#x}");
        assert_eq!(world.flows()[0].last_ack, 7, "what a RST of the AFR needs");
        let noted = outcome.noted(MetadataNote::ResetImplausible);
        assert_eq!(noted, u64::from(!closes), "{seq:#x}");
        // A client that waits for its first token is silent for longer than a closing flow lives.
        world.pass(15_000);
        assert_eq!(world.flows().is_empty(), closes, "{seq:#x}");
    }
}

#[test]
fn forged_payload_does_not_make_a_forged_reset_plausible() {
    let chat = service(CHAT);
    let mut world = world();
    world.send(EDGE, &syn(1, chat)).forwarded();
    world.send(EDGE, &data(1, chat, 7)).forwarded();
    let far = 1_032 + 0x4000_0000;
    world
        .send(EDGE, &data(1, chat, 7).tcp(|tcp| *tcp.seq = far))
        .forwarded();
    world.send(EDGE, &reset(1, far + 31)).forwarded();
    assert_eq!(state(&world), FlowState::Established);
    // The client's own goes on counting, a retransmission is not taken for progress back, and its RST is heeded.
    for seq in [1_032, 600_000, 1_200_000, 1_032] {
        world
            .send(EDGE, &data(1, chat, 7).tcp(|tcp| *tcp.seq = seq))
            .forwarded();
    }
    world.send(EDGE, &reset(1, 1_032)).forwarded();
    assert_eq!(state(&world), FlowState::Established);
    world.send(EDGE, &reset(1, 1_200_031)).forwarded();
    assert_eq!(state(&world), FlowState::Reset);
}

#[test]
fn a_client_that_goes_on_takes_a_reset_back() {
    let chat = service(CHAT);
    for (what, segment) in [
        ("payload", data(1, chat, 9)),
        ("an acknowledgement", ack(1, chat, 9)),
    ] {
        let mut world = world();
        let chosen = world.send(EDGE, &syn(1, chat)).forwarded().instance();
        world.send(EDGE, &data(1, chat, 7)).forwarded();
        // One that happens to be plausible.
        world.send(EDGE, &reset(1, 1_032)).forwarded();
        assert_eq!(state(&world), FlowState::Reset);
        world.pass(9_000);
        let outcome = world.send(EDGE, &segment);
        assert_eq!(outcome.forwarded().instance(), chosen, "{what}");
        assert_eq!(state(&world), FlowState::Established, "{what}");
        world.pass(60_000);
        // It lives as long as any, and its client hears of a death like any.
        assert_eq!(world.flows().len(), 1, "{what}");
        world.send(EDGE, &segment).forwarded();
        world.mark(chosen, LiveState::Down);
        let told = world.pass(50);
        assert_eq!(told.noted(MetadataNote::ResetSent), 1, "{what}");
        // That one is the AFR's own, and nothing takes it back.
        world.send(EDGE, &segment);
        assert_eq!(state(&world), FlowState::Reset, "{what}");
    }
}

#[test]
fn a_flow_stays_its_class_when_a_class_before_it_goes() {
    let mut setup = Setup::new(3);
    setup.class(CODE).on_death = OnDeath::Rehash;
    let mut world = World::new(setup);
    let code = service(CODE);
    let chosen = world.send(EDGE, &syn(1, code)).forwarded().instance();
    world.send(EDGE, &syn(2, service(CHAT))).forwarded();
    // The configuration no longer has the first class. The second keeps its index, and a new one has one of its own.
    world.reload(|setup| {
        setup.class(CODE).on_death = OnDeath::Rehash;
        setup.class(EMPTY).on_death = OnDeath::Drop;
        let classes = std::mem::take(&mut setup.config.classes);
        setup.config.classes = classes.reindexed(|id| match id {
            CODE => Some(CODE_IX),
            EMPTY => Some(ClassIx(5)),
            _ => None,
        });
    });
    let classes = |world: &World| -> Vec<ClassIx> {
        let flows = world.flows();
        let of_code = flows.iter().filter(|flow| flow.key().dst == code.octets());
        of_code.map(|flow| flow.class).collect()
    };
    let outcome = world.send(EDGE, &data(1, code, 7));
    assert_eq!(outcome.forwarded().instance(), chosen);
    assert_eq!(classes(&world), [CODE_IX]);
    // New flows are counted as the second's, and what the class says of a death is the second's.
    let maglev = DispatchReason::FallbackMaglev;
    assert_eq!(world.dispatches(CODE_IX, maglev), 1);
    world.send(EDGE, &syn(3, code)).forwarded();
    assert_eq!(world.dispatches(CODE_IX, maglev), 2);
    assert_eq!(world.dispatches(CHAT_IX, maglev), 1, "as before");
    world.mark(chosen, LiveState::Down);
    let outcome = world.send(EDGE, &data(1, code, 7));
    assert_ne!(outcome.forwarded().instance(), chosen);
    assert_eq!(world.dispatches(CODE_IX, DispatchReason::Rehash), 1);
    // The first is no class any more, by its address.
    let outcome = world.send(EDGE, &syn(4, service(CHAT)));
    outcome.refused(DropReason::ClassUnknown);
}

#[test]
fn a_flow_stays_whatever_changes() {
    let mut world = World::new(Setup::new(4).policy(PolicyKind::RoundRobin));
    let chat = service(CHAT);
    let mut chosen = Vec::new();
    for port in 0..40 {
        let outcome = if port % 2 == 0 {
            world.send(EDGE, &syn(port, chat).asking(&request()))
        } else {
            world.send(EDGE, &syn(port, chat))
        };
        chosen.push(outcome.forwarded().instance());
    }
    assert!((1..=4).all(|n| chosen.contains(&n)));
    let stays = |world: &mut World, why: &str| {
        for (port, n) in (0..).zip(&chosen) {
            let outcome = world.send(EDGE, &data(port, chat, 7));
            assert_eq!(outcome.forwarded().instance(), *n, "{why}");
        }
    };
    stays(&mut world, "nothing");
    pending(&mut world, 1, 1, 10_000_000);
    stays(&mut world, "load");
    let mut draining = report(2, 1);
    draining.flags = afr_wire::ReportFlags::DRAINING;
    world.send(FABRIC, &report_datagram(2, &told(&draining)));
    stays(&mut world, "the instance says that it drains");
    world.settle();
    stays(&mut world, "the generation says so");
    world.mark(3, LiveState::Draining);
    stays(&mut world, "the operator drains it");
    let change = |world: &mut World, n: u16, change: &dyn Fn(&mut _)| {
        let mut changed = instance(n);
        change(&mut changed);
        world.core.register(Slot(n - 1), changed);
        world.settle();
    };
    change(&mut world, 1, &|i: &mut afr_dataplane::config::Instance| {
        i.weight = 100;
    });
    change(&mut world, 2, &|i| i.labels.clear());
    change(&mut world, 4, &|i| i.classes = vec![CODE]);
    stays(&mut world, "weights, labels, classes");
    world.core.register(Slot(9), instance(10));
    world.settle();
    stays(&mut world, "a new instance");
    world.reload(|setup| {
        setup.class(CHAT).policy = PolicyKind::LeastLoad;
        setup.class(CHAT).plain = PlainDispatch::Load;
    });
    stays(&mut world, "policies");
    // And new ones keep to what is now: only 1 and 10 take new flows of the class.
    for port in 100..140 {
        let outcome = world.send(EDGE, &syn(port, chat).asking(&request()));
        assert!([1, 10].contains(&outcome.forwarded().instance()));
    }
}

#[test]
fn the_flow_label_is_the_flows() {
    let mut world = World::new(Setup::new(1));
    let chat = service(CHAT);
    let label =
        |world: &mut World, packet: &_| world.send(EDGE, packet).forwarded().ip().flow_label;
    let mut labels = Vec::new();
    for port in 1..30 {
        let first = label(&mut world, &syn(port, chat).asking(&request()));
        assert_ne!(first, 0);
        assert_eq!(label(&mut world, &syn(port, chat)), first);
        assert_eq!(label(&mut world, &data(port, chat, 7)), first);
        labels.push(first);
    }
    labels.sort_unstable();
    labels.dedup();
    assert!(labels.len() > 25, "labels tell flows apart");
}

#[test]
fn what_is_under_way_goes_where_it_would_have_begun() {
    let chat = service(CHAT);
    for port in 1..30 {
        let mut first = world();
        let begun = first.send(EDGE, &syn(port, chat)).forwarded().instance();
        // Another AFR takes over, or this one started again.
        let mut other = world();
        let outcome = other.send(EDGE, &ack(port, chat, 0x0102_0304));
        assert_eq!(outcome.forwarded().instance(), begun);
        let flow = other.flows()[0];
        assert_eq!(flow.state(), FlowState::Established);
        assert_eq!(
            flow.last_ack, 0x0102_0304,
            "for the reset, should it come to that"
        );
        assert_eq!(flow.opening_tokens(), 0);
        // Also while the instance drains: what is new goes elsewhere, what is under way does not.
        let mut draining = world();
        draining.mark(begun, LiveState::Draining);
        let outcome = draining.send(EDGE, &ack(port, chat, 1));
        assert_eq!(outcome.forwarded().instance(), begun);
        let outcome = draining.send(EDGE, &syn(port + 100, chat));
        assert_ne!(outcome.forwarded().instance(), begun);
    }
}

#[test]
fn an_end_without_a_beginning_is_not_remembered() {
    let mut world = world();
    let chat = service(CHAT);
    let flags = [RST, RST | ACK, FIN | ACK, SYN | FIN, SYN | RST];
    for (port, flags) in (1..).zip(flags) {
        let packet = ack(port, chat, 9).tcp(|tcp| *tcp.flags = flags);
        let outcome = world.send(EDGE, &packet.asking(&request()));
        outcome.forwarded();
        assert_eq!(outcome.noted(MetadataNote::NotAtSyn), 1);
    }
    assert!(world.flows().is_empty());
    let charged: u32 = (1..=3).map(|n| world.in_flight(n)).sum();
    assert_eq!(charged, 0);
    // A SYN|FIN does not end what is open either.
    world.send(EDGE, &syn(50, chat)).forwarded();
    let odd = syn(50, chat).tcp(|tcp| *tcp.flags = SYN | RST);
    let outcome = world.send(EDGE, &odd);
    assert_eq!(outcome.noted(MetadataNote::FlowCreated), 0);
}

#[test]
fn flows_age() {
    let chat = service(CHAT);
    let fin = |port| ack(port, chat, 9).tcp(|t| *t.flags = FIN | ACK);
    let rst = |port| ack(port, chat, 9).tcp(|t| *t.flags = RST);
    let cases = [
        ("opening", vec![syn(1, chat)], 30_000),
        ("acknowledged", vec![syn(1, chat), ack(1, chat, 7)], 30_000),
        (
            "established",
            vec![syn(1, chat), data(1, chat, 7)],
            3_600_000,
        ),
        (
            "closing",
            vec![syn(1, chat), data(1, chat, 7), fin(1)],
            10_000,
        ),
        (
            "reset",
            vec![syn(1, chat), data(1, chat, 7), rst(1)],
            10_000,
        ),
        ("under way", vec![data(1, chat, 7)], 3_600_000),
        ("datagrams", vec![datagram(1, chat)], 60_000),
    ];
    for (name, packets, idle_ms) in cases {
        let mut world = world();
        for packet in packets {
            world.send(EDGE, &packet).forwarded();
        }
        assert_eq!(world.flows().len(), 1, "{name}");
        world.skip(idle_ms - 1_100);
        let outcome = world.pass(1_000);
        assert_eq!(world.flows().len(), 1, "{name}: {outcome:?}");
        let outcome = world.pass(1_200);
        assert_eq!(world.flows().len(), 0, "{name}: {outcome:?}");
        assert_eq!(outcome.noted(MetadataNote::FlowExpired), 1);
    }
}

#[test]
fn the_clients_packets_keep_a_flow() {
    let chat = service(CHAT);
    let mut world = world();
    world.send(EDGE, &syn(1, chat)).forwarded();
    world.send(EDGE, &data(1, chat, 7)).forwarded();
    world.send(EDGE, &ack(1, chat, 9).tcp(|t| *t.flags = FIN | ACK));
    for _ in 0..5 {
        world.skip(8_000);
        world.pass(1_000);
        world.send(EDGE, &ack(1, chat, 10)).forwarded();
    }
    assert_eq!(world.flows()[0].state(), FlowState::ClientClosing);
}

#[test]
fn each_task_of_its_own() {
    let mut world = World::new(Setup::new(3).policy(PolicyKind::RoundRobin));
    let chat = service(CHAT);
    let task = Request {
        flags: RequestFlags::NEW_TASK,
        ..request()
    };
    let mut seen = Vec::new();
    for _ in 0..6 {
        let outcome = world.send(EDGE, &datagram(1, chat).asking(&task));
        seen.push(outcome.forwarded().instance());
    }
    assert_eq!(seen, [1, 2, 3, 1, 2, 3]);
    assert!(world.flows().is_empty());
    // Without the flag datagrams are a flow.
    let mut kept = Vec::new();
    for _ in 0..4 {
        let outcome = world.send(EDGE, &datagram(2, chat).asking(&request()));
        kept.push(outcome.forwarded().instance());
    }
    assert_eq!(kept, [kept[0]; 4]);
    // One that does not verify goes with the flow there is.
    let stale = Request {
        issued_at: UNIX_S - 1_000,
        ..task
    };
    for port in 2..12 {
        let first = world.send(EDGE, &datagram(port, chat).asking(&request()));
        let outcome = world.send(EDGE, &datagram(port, chat).asking(&stale));
        assert_eq!(outcome.forwarded().instance(), first.forwarded().instance());
        assert_eq!(outcome.noted(MetadataNote::Stale), 1);
    }
    assert_eq!(world.flows().len(), 10);
    // On TCP the flag means nothing.
    let first = world.send(EDGE, &syn(3, chat).asking(&task));
    let again = world.send(EDGE, &syn(3, chat).asking(&task));
    assert_eq!(again.forwarded().instance(), first.forwarded().instance());
}

#[test]
fn where_there_is_no_room_something_gives_way() {
    let mut setup = Setup::new(3).config(|config| config.flows.capacity = 64);
    setup.class(CHAT).plain = PlainDispatch::Load;
    let mut world = World::new(setup);
    let mut evicted = 0;
    for port in 1..=200 {
        let outcome = world.send(EDGE, &syn(port, service(CHAT)));
        outcome.forwarded();
        evicted += outcome.noted(MetadataNote::FlowEvicted);
    }
    assert!(world.flows().len() <= 64);
    assert_eq!(evicted as usize + world.flows().len(), 200);
    // What gave way charges nobody any more.
    let charged: u32 = (1..=3).map(|n| world.in_flight(n)).sum();
    let open: u32 = world.flows().iter().map(|f| f.opening_tokens()).sum();
    assert_eq!(charged, open);
    assert_eq!(world.dispatches(CHAT_IX, DispatchReason::FallbackLoad), 200);
}

#[test]
fn a_slot_given_away_takes_no_flows_along() {
    let mut world = world();
    let chat = service(CHAT);
    let mut to_two = Vec::new();
    for port in 1..60 {
        if world.send(EDGE, &syn(port, chat)).forwarded().instance() == 2 {
            world.send(EDGE, &data(port, chat, 7));
            to_two.push(port);
        }
    }
    assert!(to_two.len() > 5);
    world.core.remove(Slot(1));
    world.settle();
    world.core.register(Slot(1), instance(12));
    world.settle();
    for port in to_two {
        let outcome = world.send(EDGE, &data(port, chat, 7));
        outcome.refused(afr_dataplane::verdict::DropReason::InstanceDead);
    }
    world.push(Op::Tick { now_s: 1 });
}

#[test]
fn a_request_without_prefixes_teaches_nothing() {
    let mut world = world();
    world.send(EDGE, &syn(1, service(CHAT)).asking(&with_prefixes(&[])));
    world.settle();
    assert!(world.aft().residency.is_empty());
}
