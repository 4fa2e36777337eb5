//! Requests on known flows that change from packet to packet, charged by what was believed before: each for itself, whatever lies
//! beside it in the burst.

use afr_dataplane::counters::Figure;
use afr_dataplane::flow::FlowKey;
use afr_dataplane::path::BURST;
use afr_dataplane::verdict::MetadataNote;
use afr_wire::{KeyId, Request};

use super::claims::{requests, send, worlds};
use super::refusal::forged;
use super::support::metadata::{labels, report, request};
use super::support::packet::Packet;
use super::support::setup::{
    CHAT, CLIENT, CODE, FABRIC, GENERIC, NARROW_KEY, OLD_KEY, UNIX_S, mac, service,
};
use super::support::world::{World, datagram, tunnelled_reply};
use super::{burst, flagged};

const REPLAYED: Figure = Figure::Note(MetadataNote::Replayed);
const VERIFIED: Figure = Figure::Note(MetadataNote::RequestVerified);
const INVALID: Figure = Figure::Note(MetadataNote::RequestChangedInvalid);

fn of_session(session: u64) -> Request {
    Request {
        session,
        ..request()
    }
}

/// Flows of as many ports, known, the last thing believed being a request of `CHAT`.
fn known(worlds: &mut [World; 2], flows: u16) {
    for ports in (0..flows).collect::<Vec<_>>().chunks(BURST) {
        let opening: Vec<_> = (ports.iter())
            .map(|port| datagram(*port, service(CHAT)).frame())
            .collect();
        send(worlds, &opening);
    }
    send(
        worlds,
        &[datagram(0, service(CHAT)).asking(&of_session(900)).frame()],
    );
    send(
        worlds,
        &[datagram(0, service(CHAT)).asking(&of_session(901)).frame()],
    );
}

/// How often something was counted while that went on.
fn counted<const N: usize>(
    worlds: &mut [World; 2],
    figures: [Figure; N],
    what: impl FnOnce(&mut [World; 2]),
) -> [u64; N] {
    let before = figures.map(|figure| worlds[0].figure(figure));
    what(worlds);
    std::array::from_fn(|at| worlds[0].figure(figures[at]) - before[at])
}

/// Where the request before set what is believed in a burst of its own, and the session may be charged seldom.
#[test]
fn a_request_is_charged_to_its_own_session_and_class() {
    let mut worlds = worlds(|_| {});
    let asking = |to, request: &Request, seq| {
        let again = Request {
            session: request.session ^ seq,
            ..*request
        };
        datagram(1, service(to)).asking(&again).frame()
    };
    send(
        &mut worlds,
        &[CHAT, CODE].map(|to| datagram(1, service(to)).frame()),
    );
    let requests = requests();
    for (led, other_led) in [(CHAT, CODE), (CODE, CHAT)] {
        for one in &requests {
            for other in &requests {
                send(&mut worlds, &[asking(led, one, 0)]);
                let frames = [
                    asking(led, other, 1),
                    asking(other_led, other, 0),
                    asking(led, one, 2),
                ];
                send(&mut worlds, &frames);
            }
        }
    }
    let [fast, _] = &worlds;
    assert!(fast.figure(REPLAYED) > 100 && fast.figure(VERIFIED) > 1_000);
}

/// Or it is unlike the others, or of a flow that the burst does not know, at any place of a full burst.
#[test]
fn one_forged_request_among_others_is_the_one_that_is_not_charged() {
    let mut worlds = worlds(|_| {});
    known(&mut worlds, BURST as u16);
    let mut session = 1_000;
    let mut asking = |port, labels| {
        session += 1;
        let request = Request {
            labels,
            ..of_session(session)
        };
        datagram(port, service(CHAT)).asking(&request)
    };
    let plain = || labels(&[]);
    for place in 0..BURST as u16 {
        for kind in 0..4 {
            let frames: Vec<_> = (0..BURST as u16)
                .map(|port| match kind {
                    _ if port != place => asking(port, plain()).frame(),
                    0 => forged(&asking(port, plain())),
                    1 => asking(port, labels(&["tool:search"])).frame(),
                    2 => forged(&asking(port, labels(&["tool:search"]))),
                    _ => datagram(port, service(CHAT)).frame(),
                })
                .collect();
            let figures = [VERIFIED, INVALID, Figure::FastPath];
            let all = BURST as u64;
            let expected = match kind {
                0 | 2 => [all - 1, 1, all - 1],
                1 => [all, 0, all],
                _ => [all - 1, 0, all],
            };
            let counted = counted(&mut worlds, figures, |worlds| send(worlds, &frames));
            assert_eq!(counted, expected, "{place} {kind}");
        }
    }
}

/// What was found out of a request by its flow does not count for the flow that has its place by then.
#[test]
fn what_a_request_is_charged_is_its_own_flows_affair() {
    let mut worlds = worlds(|setup| setup.config.flows.capacity = 1);
    let asking = |port, class_id, session| {
        let request = Request {
            class_id,
            ..of_session(session)
        };
        datagram(port, GENERIC).asking(&request).frame()
    };
    send(&mut worlds, &[asking(1, CHAT, 1)]);
    send(&mut worlds, &[asking(1, CHAT, 2)]);
    // Another flow takes the place, the flow comes back with another class, and then asks what it did before.
    let frames = [asking(2, CHAT, 3), asking(1, CODE, 4), asking(1, CHAT, 5)];
    let counted = counted(&mut worlds, [INVALID], |worlds| send(worlds, &frames));
    assert_eq!(counted, [1]);
}

/// A flow that there is none of yet, but that the table guesses to be one that there is.
#[test]
fn a_guess_is_not_a_flow() {
    const FLOWS: u16 = 64;
    // So that there are many in each bucket.
    let mut worlds = worlds(|setup| setup.config.flows.capacity = 2 * u32::from(FLOWS));
    known(&mut worlds, FLOWS);
    let flows = worlds[0].workers[0].flows();
    let is_mistaken = |port: &u16| {
        let key = FlowKey {
            src: CLIENT.octets(),
            dst: service(CHAT).octets(),
            sport: *port,
            dport: 8_000,
            proto: 17,
        };
        let hash = flows.hash(&key);
        flows.ahead().prefetch_guess(hash).is_some() && flows.lookup(hash, &key).is_none()
    };
    let mistaken: Vec<_> = (FLOWS..=u16::MAX).filter(is_mistaken).collect();
    assert!(!mistaken.is_empty(), "tags are short");
    let asking = |port, session| {
        let request = of_session(2_000 + session);
        datagram(port, service(CHAT)).asking(&request).frame()
    };
    for (port, session) in mistaken.into_iter().take(16).zip((0_u64..).step_by(3)) {
        let before = worlds[0].flows().len();
        let frames = [
            asking(3, session),
            asking(port, session + 1),
            asking(4, session + 2),
        ];
        send(&mut worlds, &frames);
        assert_eq!(worlds[0].flows().len(), before + 1, "{port}");
    }
}

/// Under a key that is in force no more nothing is believed, whatever was believed under it.
#[test]
fn nothing_is_believed_under_a_key_of_yesterday() {
    let mut worlds = worlds(|setup| {
        for key in &mut setup.config.keys {
            key.not_after_s = u64::from(UNIX_S) + 5;
        }
    });
    known(&mut worlds, 8);
    let asking = |port, session| {
        datagram(port, service(CHAT))
            .asking(&of_session(session))
            .frame()
    };
    let of_all = |session| (0..8).map(|port| asking(port, session)).collect::<Vec<_>>();
    let verified = counted(&mut worlds, [VERIFIED], |worlds| send(worlds, &of_all(1)));
    assert_eq!(verified, [8]);
    for world in &mut worlds {
        world.now.unix_ms += 6_000;
    }
    let verified = counted(&mut worlds, [VERIFIED, INVALID], |worlds| {
        send(worlds, &of_all(2));
    });
    assert_eq!(verified, [0, 8]);
}

/// Requests and reports are checked together, right ones and wrong, with others between them, in every order.
#[test]
fn requests_and_replies_lie_side_by_side() {
    const FLOWS: u16 = 12;
    let mut worlds = worlds(|_| {});
    known(&mut worlds, FLOWS);
    let to_fabric = |packet: &Packet| {
        let mut frame = packet.frame();
        frame[..6].copy_from_slice(&mac(FABRIC));
        frame
    };
    let reply = |n: u32, seq| {
        let reply = tunnelled_reply(n as u16 % 4 + 1, n as u16, service(CHAT));
        reply.reporting(&report(n as u16 % 4 + 1, seq))
    };
    let mut sent = 0;
    for turned in 0..BURST as u32 {
        let frames: Vec<_> = (0..BURST as u32)
            .map(|at| {
                let n = (at + turned) % 32;
                let session = 5_000 + u64::from(turned * 32 + at);
                let port = (n as u16) % FLOWS;
                let asking = datagram(port, service(CHAT)).asking(&of_session(session));
                match n % 8 {
                    0 | 1 => to_fabric(&asking),
                    2 => flagged(&reply(n, turned + 1), 0x10),
                    3 => {
                        let mut frame = to_fabric(&asking);
                        let end = 58 + usize::from(frame[57]);
                        frame[end - 1] ^= 1;
                        frame
                    }
                    4 => {
                        let mut frame = flagged(&reply(n, turned + 900), 0x10);
                        let end = 58 + usize::from(frame[57]);
                        frame[end - 1] ^= 1;
                        frame
                    }
                    5 => {
                        let plain = tunnelled_reply(n as u16 % 4 + 1, 1, service(CHAT));
                        flagged(&plain, 0x10)
                    }
                    6 => to_fabric(&datagram(port, service(CHAT))),
                    _ => {
                        let mut frame = to_fabric(&asking);
                        frame.resize(frame.len() + 4, 0);
                        frame
                    }
                }
            })
            .collect();
        let [fast, whole] = &mut worlds;
        let one = burst(fast, FABRIC, &frames);
        assert_eq!(one, burst(whole, FABRIC, &frames), "{turned}");
        sent += one.sent.len();
    }
    let [fast, _] = &worlds;
    let applied = fast.figure(Figure::Note(MetadataNote::ReportApplied));
    assert!(sent > 600 && applied > 30, "{sent} {applied}");
    assert!(fast.figure(VERIFIED) > 200 && fast.figure(INVALID) > 60);
}

/// What is not laid out for the verifier is verified all the same: requests under other algorithms' keys, and with none.
#[test]
fn requests_that_the_verifier_does_not_take_are_verified_all_the_same() {
    let mut worlds = worlds(|_| {});
    known(&mut worlds, 4);
    let asking = |port, key_id, session| {
        let request = Request {
            key_id,
            ..of_session(session)
        };
        datagram(port, service(CHAT)).asking(&request).frame()
    };
    // SipHash's, one that is known to nobody, and none.
    let keys = [NARROW_KEY, OLD_KEY, KeyId(77), KeyId::NONE];
    for (session, key) in (3_000..).step_by(10).zip(keys) {
        let frames = [
            asking(0, request().key_id, session),
            asking(1, key, session + 1),
            asking(2, request().key_id, session + 2),
            asking(1, key, session + 3),
        ];
        send(&mut worlds, &frames);
    }
}
