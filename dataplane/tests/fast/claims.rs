//! A request that says what the one before it said is believed with it, and a task dispatched with it.

use afr_dataplane::config::{Claim, Key, NextHop, PlainDispatch, PolicyKind, Saturation, Spill};
use afr_dataplane::counters::Figure;
use afr_dataplane::id::Slot;
use afr_dataplane::path::BURST;
use afr_dataplane::verdict::{DispatchReason, DropReason, MetadataNote};
use afr_wire::{
    CatalogueVersion, DomainId, KeyId, Labels, MacAlgorithm, PolicyScope, Request, RequestFlags,
};

use super::burst;
use super::support::metadata::{dest_option, labels, prefix, request, signed, with_prefixes};
use super::support::packet::Packet;
use super::support::setup::{
    CATALOGUE, CHAT, CHAT_IX, CODE, CODE_EXACT, EDGE, FABRIC, GENERIC, NARROW_KEY, OLD_KEY,
    PREFIX_KEY, SPILL_ROUTER, SPILL_SID, Setup, UNIX_S, ip, key, service,
};
use super::support::world::{World, datagram, syn};

/// AES-CMAC, `CHAT` and policy scope 0 only.
const MODEST: KeyId = KeyId(12);
const SKEW_S: u32 = 120;

/// In the next generation a slot may have another tenant, which was not charged.
#[test]
fn charges_are_told_before_another_generation_is_taken_up() {
    let mut world = World::new(Setup::new(4));
    let tasks: Vec<_> = (0..BURST as u16)
        .map(|port| datagram(port, service(CHAT)).asking(&request()).frame())
        .collect();
    let told = |world: &World| -> u64 {
        let slots = (0..8).map(Slot);
        slots
            .map(|slot| world.shared.inflight.committed(slot))
            .sum()
    };
    burst(&mut world, EDGE, &tasks);
    assert_eq!(told(&world), 0, "another may follow");
    world.core.rebuild();
    world.publish();
    let tokens = u64::from(request().prompt_tokens);
    let all = told(&world);
    assert!(all >= tokens && all.is_multiple_of(tokens), "{all}");
    burst(&mut world, EDGE, &[]);
    assert_eq!(told(&world), all);
}

/// One that most resemble, and others that differ from it in something.
pub(super) fn requests() -> Vec<Request> {
    vec![
        request(),
        Request {
            session: 1,
            prompt_tokens: 0,
            ..request()
        },
        Request {
            prompt_tokens: u32::MAX,
            ..request()
        },
        Request {
            flags: RequestFlags(RequestFlags::SPILL_OK.0 | 0x80),
            ..request()
        },
        Request {
            issued_at: UNIX_S - SKEW_S,
            ..request()
        },
        Request {
            issued_at: UNIX_S - SKEW_S - 1,
            ..request()
        },
        Request {
            issued_at: UNIX_S + SKEW_S + 1,
            ..request()
        },
        Request {
            class_id: CODE,
            ..request()
        },
        Request {
            policy: PolicyScope(1),
            ..request()
        },
        Request {
            catalogue: CatalogueVersion(CATALOGUE.0 + 1),
            ..request()
        },
        Request {
            key_id: PREFIX_KEY,
            ..request()
        },
        Request {
            key_id: MODEST,
            ..request()
        },
        Request {
            key_id: MODEST,
            class_id: CODE,
            ..request()
        },
        Request {
            key_id: MODEST,
            policy: PolicyScope(1),
            ..request()
        },
        Request {
            key_id: OLD_KEY,
            ..request()
        },
        // Without a MAC, which passes or does not.
        Request {
            key_id: KeyId::NONE,
            ..request()
        },
        Request {
            key_id: KeyId::NONE,
            session: 3,
            policy: PolicyScope(1),
            ..request()
        },
        // SipHash, and what it may and may not claim.
        Request {
            key_id: NARROW_KEY,
            policy: PolicyScope(1),
            ..request()
        },
        Request {
            key_id: NARROW_KEY,
            ..request()
        },
        Request {
            domain: DomainId(5),
            ..request()
        },
        Request {
            labels: labels(&["tool:search"]),
            ..request()
        },
        with_prefixes(&[prefix(2, 1)]),
        Request {
            labels: Labels::Bloom([0; 32]),
            ..request()
        },
    ]
}

/// Two worlds, one of them without a fast path.
pub(super) fn worlds(change: impl Fn(&mut Setup)) -> [World; 2] {
    let world = || {
        let mut setup = Setup::new(4).config(|config| {
            config.dispatch.request_skew_s = SKEW_S;
            // Enough for some to be charged no more.
            config.dispatch.replay_limit = 40;
            config.keys.push(Key {
                classes: Claim::Only(vec![CHAT]),
                policies: Claim::Only(vec![PolicyScope(0)]),
                ..key(MODEST, MacAlgorithm::AesCmac)
            });
        });
        change(&mut setup);
        World::new(setup)
    };
    let (fast, mut whole) = (world(), world());
    whole.workers[0].forgo_fast_path();
    [fast, whole]
}

/// The same burst to both, of which the same comes.
pub(super) fn send([fast, whole]: &mut [World; 2], frames: &[Vec<u8>]) {
    let one = burst(fast, EDGE, frames);
    assert_eq!(one, burst(whole, EDGE, frames));
}

/// So for each that differs in something: after each other, on flows of two classes.
#[test]
fn a_request_unlike_the_one_before_is_believed_for_itself() {
    let (strict, trusting) = (believed_for_itself(false), believed_for_itself(true));
    assert!(strict > trusting + 100, "{strict} {trusting}");
}

/// Returns how many were not believed.
fn believed_for_itself(accept_unauthenticated: bool) -> u64 {
    let mut worlds = worlds(|setup| setup.config.accept_unauthenticated = accept_unauthenticated);
    let flow = |to| datagram(1, service(to));
    let asking = |to, request: &Request, seq| {
        let again = Request {
            session: request.session ^ seq,
            ..*request
        };
        flow(to).asking(&again).frame()
    };
    send(&mut worlds, &[CHAT, CODE].map(|to| flow(to).frame()));
    let later = datagram(2, service(CHAT));
    send(&mut worlds, &[later.frame()]);
    send(
        &mut worlds,
        &[
            asking(CHAT, &request(), 0),
            later.asking(&request()).frame(),
        ],
    );
    // Without a MAC, and of another length than it says.
    let unsigned = |labels| Request {
        key_id: KeyId::NONE,
        labels,
        ..request()
    };
    let (none, some) = (unsigned(labels(&[])), unsigned(labels(&["tool:search"])));
    for (before, bytes) in [(&none, 52), (&some, 36), (&none, 35), (&none, 37)] {
        let mut object = signed(before, &flow(CHAT));
        object.resize(bytes, 0);
        let amiss = flow(CHAT).with(dest_option(&object)).frame();
        send(&mut worlds, &[asking(CHAT, before, 7), amiss]);
    }
    let requests = requests();
    for one in &requests {
        for other in &requests {
            // What a flow was told last is not looked at again: told anew, the same is.
            send(
                &mut worlds,
                &[
                    asking(CHAT, one, 0),
                    asking(CHAT, other, 1),
                    asking(CODE, other, 0),
                    asking(CHAT, one, 2),
                    asking(CODE, one, 1),
                    asking(CODE, other, 2),
                ],
            );
        }
    }
    let [fast, _] = &worlds;
    let (taken, verified) = (
        fast.figure(Figure::FastPath),
        fast.figure(Figure::Note(MetadataNote::RequestVerified)),
    );
    assert!(taken > 1_000 && verified > 1_000, "{taken} {verified}");
    assert!(fast.figure(Figure::Note(MetadataNote::Replayed)) > 100);
    fast.figure(Figure::Note(MetadataNote::RequestChangedInvalid))
}

/// What may become of a task besides that it is forwarded.
fn clusters() -> Vec<fn(&mut Setup)> {
    fn objective(setup: &mut Setup) {
        let class = setup.class(CHAT);
        class.objective_us = Some(1_000_000);
        class.saturation = Saturation::Reject;
    }
    vec![
        |_| {},
        |setup| setup.config.accept_unauthenticated = true,
        // Some are not admitted.
        |setup| {
            let class = setup.class(CHAT);
            (class.admit_per_s, class.admit_burst) = (1, 40);
        },
        |setup| {
            let admit = &mut setup.config.admit;
            admit.source_prefix_len = 128;
            (admit.per_source_per_s, admit.per_source_burst) = (1, 40);
        },
        // Nobody is to be asked for more at some time, and then some may be spilled.
        objective,
        |setup| {
            objective(setup);
            setup.class(CHAT).spill = Some(Spill {
                sid: SPILL_SID,
                next_hop: NextHop {
                    port: FABRIC,
                    mac: SPILL_ROUTER,
                },
            });
        },
        // Consistently, or by load, also what is charged no more.
        |setup| setup.class(CHAT).policy = PolicyKind::Maglev,
        |setup| setup.class(CHAT).plain = PlainDispatch::Load,
        // A scope is one instance's own.
        |setup| setup.instance(1).policies = Claim::Only(vec![PolicyScope(0)]),
        // Too long for one of the instances.
        |setup| setup.instance(1).mtu = 150,
        // Their room is not the headroom.
        |setup| setup.config.ports[usize::from(FABRIC.0)].vlan = Some(5),
    ]
}

/// The same for tasks that are dispatched anew: to a class's own address, the generic one, and one that means another.
#[test]
fn a_task_unlike_the_one_before_is_dispatched_for_itself() {
    let mut fast_path = 0;
    let mut reasons = [0; DispatchReason::COUNT];
    let mut counted = [0; 4];
    for change in clusters() {
        let mut worlds = worlds(|setup| {
            setup.config.dispatch.replay_limit = 6;
            change(setup);
        });
        // A few pairs share a session, so that some are charged no more.
        let mut pairs = 0;
        let task = |pair: u64, packet: Packet, request: &Request, seq: u64| {
            let more = if seq < 2 {
                RequestFlags::NEW_TASK.0
            } else {
                RequestFlags::NEW_TASK.0 | RequestFlags::SPILL_OK.0
            };
            let anew = Request {
                flags: RequestFlags(request.flags.0 | more),
                session: request.session ^ seq ^ (pair / 4) << 8,
                ..*request
            };
            packet.asking(&anew).frame()
        };
        for one in &requests() {
            for other in &requests() {
                pairs += 1;
                let task = |packet, request, seq| task(pairs, packet, request, seq);
                let to = |to| datagram(1, to);
                let chat = service(CHAT);
                send(
                    &mut worlds,
                    &[
                        task(to(chat), one, 0),
                        task(to(chat), other, 1),
                        task(to(GENERIC), other, 0),
                        task(to(GENERIC), other, 2),
                        task(to(CODE_EXACT), one, 0),
                        task(to(chat), one, 2),
                        task(to(chat).hops(1), one, 3),
                        task(to(chat).from(ip("fe80::9")), one, 4),
                        task(to(chat).from(ip("2001:db8:c::8")), one, 5),
                        task(syn(9, chat), one, 0),
                        // No task, but of one's flow from then on, where that one was charged no more.
                        to(chat).asking(one).frame(),
                        task(to(chat), one, 6),
                    ],
                );
            }
        }
        let [fast, _] = &worlds;
        fast_path += fast.figure(Figure::FastPath);
        for (count, why) in reasons.iter_mut().zip(DispatchReason::ALL) {
            *count += fast.shared.counters[0].dispatches_why(CHAT_IX, *why);
        }
        let figures = [
            Figure::Drop(DropReason::AdmitClass),
            Figure::Drop(DropReason::AdmitSource),
            Figure::Drop(DropReason::PacketTooBig),
            Figure::Note(MetadataNote::Replayed),
        ];
        for (count, figure) in counted.iter_mut().zip(figures) {
            *count += fast.figure(figure);
        }
    }
    assert!(fast_path > 3_000, "{fast_path}");
    assert!(counted.iter().all(|count| *count > 50), "{counted:?}");
    for why in [
        DispatchReason::Load,
        DispatchReason::Spill,
        DispatchReason::FallbackMaglev,
        DispatchReason::FallbackLoad,
    ] {
        assert!(reasons[why as usize] > 50, "{why:?}: {reasons:?}");
    }
}

/// What one request was believed to claim is taken for what the next does, from burst to burst, but not from one configuration to
/// the next.
#[test]
fn claims_are_not_believed_under_another_configuration() {
    let tasks = [RequestFlags::default(), RequestFlags::NEW_TASK];
    for flags in tasks {
        let two = || World::new(Setup::new(4));
        let (mut fast, mut whole) = (two(), two());
        whole.workers[0].forgo_fast_path();
        let asking = |session| {
            let request = Request {
                session,
                flags,
                ..request()
            };
            datagram(1, service(CHAT)).asking(&request).frame()
        };
        let mut both = |frames: &[Vec<u8>], world: fn(&mut World)| {
            world(&mut fast);
            world(&mut whole);
            let one = burst(&mut fast, EDGE, frames);
            assert_eq!(one, burst(&mut whole, EDGE, frames), "{flags:?}");
            one
        };
        let unchanged = |_: &mut World| {};
        for sessions in [[1, 2], [3, 4]] {
            let outcome = both(&sessions.map(asking), unchanged);
            assert_eq!(outcome.sent.len(), 2);
        }
        let narrowed = |world: &mut World| {
            world.reload(|setup| setup.config.keys[0].classes = Claim::Only(vec![CODE]));
        };
        both(&[5, 6].map(asking), narrowed);
        let verified = Figure::Note(MetadataNote::RequestVerified);
        assert_eq!(fast.figure(verified), 4, "{flags:?}");
    }
}
