//! Tokens in flight: from the SYN to the report that shows the work.

use afr_dataplane::flow::{FlowEntry, Pin};
use afr_dataplane::id::Slot;
use afr_dataplane::verdict::{DropReason, MetadataNote};
use afr_wire::Request;

use crate::support::metadata::{prefix, report, request, told, with_prefixes};
use crate::support::packet::{ACK, FIN, RST, SYN};
use crate::support::setup::{CHAT, EDGE, FABRIC, Setup, UNIX_S, service};
use crate::support::world::{World, ack, data, datagram, report_datagram, syn};

fn world() -> World {
    World::new(Setup::new(1))
}

/// The instance reports as of `age_ms` ago, and the next generation has it.
fn report_as_of(world: &mut World, seq: u32, age_ms: u64) {
    let mut report = report(1, seq);
    report.sampled_at_ms = (world.now.unix_ms - age_ms) as u32;
    let outcome = world.send(FABRIC, &report_datagram(1, &told(&report)));
    assert_eq!(outcome.noted(MetadataNote::ReportApplied), 1, "{outcome:?}");
    world.settle();
}

/// Time passes, and the control core samples what is committed.
fn wait(world: &mut World, ms: u64) {
    for _ in 0..ms / 10 {
        world.skip(10);
        world.settle();
    }
}

#[test]
fn a_syn_opens_payload_commits_a_report_covers() {
    let mut world = world();
    let inflight = std::sync::Arc::clone(&world.shared.inflight);
    let slot = afr_dataplane::id::Slot(0);
    let charge = || (inflight.opening(slot), inflight.committed(slot));
    // The first report teaches how the clocks differ.
    report_as_of(&mut world, 1, 0);
    world.send(EDGE, &syn(1, service(CHAT)).asking(&request()));
    assert_eq!(charge(), (4_096, 0));
    world.send(EDGE, &syn(1, service(CHAT)).asking(&request()));
    assert_eq!(charge(), (4_096, 0), "a retransmission is not charged");
    world.send(EDGE, &ack(1, service(CHAT), 7));
    assert_eq!(charge(), (4_096, 0));
    world.send(EDGE, &data(1, service(CHAT), 7));
    assert_eq!(charge(), (0, 4_096));
    world.send(EDGE, &data(1, service(CHAT), 7));
    assert_eq!(charge(), (0, 4_096), "once");
    assert_eq!(world.in_flight(1), 4_096);
    wait(&mut world, 100);
    // A sample from before the work was sent does not show it.
    report_as_of(&mut world, 2, 150);
    assert_eq!(world.in_flight(1), 4_096);
    report_as_of(&mut world, 3, 20);
    assert_eq!(world.in_flight(1), 0);
    assert_eq!(charge(), (0, 4_096), "nothing is ever cleared");
}

#[test]
fn only_what_is_new_is_charged() {
    let mut world = world();
    let first = [prefix(4, 1), prefix(8, 1)];
    world.send(EDGE, &syn(1, service(CHAT)).asking(&with_prefixes(&first)));
    assert_eq!(world.in_flight(1), 4_096);
    world.send(EDGE, &syn(2, service(CHAT)).asking(&with_prefixes(&first)));
    assert_eq!(world.in_flight(1), 4_096 + (4_096 - 8 * 256));
    // All of it held: the last token is computed all the same.
    let short = Request {
        prompt_tokens: 4 * 256,
        ..with_prefixes(&first[..1])
    };
    world.send(EDGE, &syn(3, service(CHAT)).asking(&short));
    assert_eq!(world.in_flight(1), 4_096 + (4_096 - 8 * 256) + 1);
}

#[test]
fn lengths_are_believed_within_bounds() {
    for (told, charged) in [(0, 1_000), (5, 5), (u32::MAX, 100_000)] {
        let mut world = world();
        let asking = Request {
            prompt_tokens: told,
            ..request()
        };
        world.send(EDGE, &syn(1, service(CHAT)).asking(&asking));
        assert_eq!(world.in_flight(1), charged);
    }
}

#[test]
fn a_reset_gives_back() {
    let mut world = world();
    world.send(EDGE, &syn(1, service(CHAT)).asking(&request()));
    let reset = ack(1, service(CHAT), 7).tcp(|tcp| *tcp.flags = RST);
    world.send(EDGE, &reset);
    assert_eq!(world.in_flight(1), 0);
    world.send(EDGE, &data(1, service(CHAT), 7));
    assert_eq!(world.in_flight(1), 0, "what comes late is not charged");
}

#[test]
fn a_second_without_payload_gives_back() {
    let mut world = world();
    world.send(EDGE, &syn(1, service(CHAT)).asking(&request()));
    world.pass(900);
    world.send(EDGE, &ack(1, service(CHAT), 7));
    assert_eq!(world.in_flight(1), 4_096);
    world.pass(1_200);
    assert_eq!(world.in_flight(1), 0);
    assert_eq!(world.flows().len(), 1, "the flow itself lives");
}

#[test]
fn an_expired_or_reopened_flow_gives_back() {
    let setup = Setup::new(1).config(|config| {
        config.flows.tcp_opening_ms = 500;
        config.dispatch.opening_timeout_us = 60_000_000;
    });
    let mut world = World::new(setup);
    world.send(EDGE, &syn(1, service(CHAT)).asking(&request()));
    world.skip(600);
    let again = world.send(EDGE, &syn(1, service(CHAT)).asking(&request()));
    assert_eq!(again.noted(MetadataNote::FlowCreated), 1);
    assert_eq!(world.in_flight(1), 4_096, "once, not twice");
    world.pass(2_000);
    assert!(world.flows().is_empty());
    assert_eq!(world.in_flight(1), 0);
}

/// Of two equal instances, who gets a request now, told by where the flow of `port` went.
fn chosen(world: &mut World, port: u16) -> u16 {
    world.send(EDGE, &syn(port, service(CHAT)).asking(&request()));
    let of_port = |flow: &FlowEntry| flow.key().sport == port;
    let flow = world.flows().into_iter().find(of_port).unwrap();
    let Pin::Instance(slot, _) = flow.pin() else {
        panic!("{flow:?}");
    };
    // What it was charged is taken back: the next choice does not rest on this one.
    let reset = ack(port, service(CHAT), 7).tcp(|tcp| *tcp.flags = RST);
    world.send(EDGE, &reset);
    slot.0 + 1
}

/// The first of two instances has `requests` requests that nobody has answered, and both say that they have nothing to do.
/// The second has to do for 100 ms: less than the first's requests take, more than nothing.
fn first_says_it_is_idle(requests: u16) -> World {
    let mut world = World::new(Setup::new(2));
    for port in 1..=requests {
        let mut other = report(2, u32::from(port));
        other.pending_prefill_tokens = 10_000_000;
        world.send(FABRIC, &report_datagram(2, &told(&other)));
        world.settle();
        world.send(EDGE, &syn(port, service(CHAT)).asking(&request()));
        world.send(EDGE, &ack(port, service(CHAT), 7));
        world.send(EDGE, &data(port, service(CHAT), 7));
    }
    wait(&mut world, 100);
    for instance in [1, 2] {
        let mut report = report(instance, 100);
        report.sampled_at_ms = world.now.unix_ms as u32;
        report.pending_prefill_tokens = [0, 1_000][usize::from(instance == 2)];
        world.send(FABRIC, &report_datagram(instance, &told(&report)));
    }
    world.settle();
    assert_eq!(world.in_flight(1), 0, "by its report");
    world
}

#[test]
fn who_says_it_is_idle_is_held_to_what_it_has_not_answered() {
    let mut world = first_says_it_is_idle(3);
    assert_eq!(world.shared.inflight.unanswered(Slot(0)), 2 * 4_096);
    assert_eq!(chosen(&mut world, 90), 2);
    // Each is answered by what its client acknowledges; more of the same says nothing new.
    for port in [1, 2] {
        world.send(EDGE, &data(port, service(CHAT), 7));
        assert_eq!(chosen(&mut world, 90 + port), 2, "the same again");
        world.send(EDGE, &ack(port, service(CHAT), 507));
        world.send(EDGE, &ack(port, service(CHAT), 1_007));
        let left = 2 - u32::from(port);
        assert_eq!(world.shared.inflight.unanswered(Slot(0)), left * 4_096);
    }
    // One is left, and may be nearly done.
    assert_eq!(chosen(&mut world, 99), 1);
}

#[test]
fn an_engine_may_have_some_work_in_hand() {
    // 8,192 tokens are 820 ms of these instances.
    let mut world = first_says_it_is_idle(3);
    assert_eq!(chosen(&mut world, 90), 2);
    world.reload(|setup| setup.config.dispatch.unanswered_us = 900_000);
    assert_eq!(chosen(&mut world, 91), 1);
}

#[test]
fn who_goes_waits_no_longer() {
    let end = |flags| move |port| ack(port, service(CHAT), 7).tcp(|tcp| *tcp.flags = flags);
    for flags in [RST, ACK | FIN] {
        let mut world = first_says_it_is_idle(3);
        for port in [1, 2, 3] {
            world.send(EDGE, &end(flags)(port));
            world.send(EDGE, &end(flags)(port));
        }
        let inflight = std::sync::Arc::clone(&world.shared.inflight);
        assert_eq!(inflight.unanswered(Slot(0)), 0);
        inflight.waits(Slot(0), 500);
        inflight.waits(Slot(0), 500);
        assert_eq!(
            inflight.unanswered(Slot(0)),
            500,
            "each was taken back once"
        );
    }
}

#[test]
fn who_waits_for_ever_or_is_forgotten_counts_no_longer() {
    for idle_ms in [3_600_000, 30_000] {
        let mut world = first_says_it_is_idle(3);
        world.reload(|setup| setup.config.flows.tcp_idle_ms = idle_ms);
        world.pass(62_000);
        assert_eq!(world.flows().is_empty(), idle_ms < 60_000);
        assert_eq!(world.shared.inflight.unanswered(Slot(0)), 0);
    }
}

#[test]
fn what_comes_with_the_syn_is_committed() {
    let mut world = world();
    let early = syn(1, service(CHAT)).tcp(|tcp| *tcp.payload = b"GET /".to_vec());
    world.send(EDGE, &early.asking(&request()));
    let slot = afr_dataplane::id::Slot(0);
    assert_eq!(world.shared.inflight.opening(slot), 0);
    assert_eq!(world.shared.inflight.committed(slot), 4_096);
    world.send(EDGE, &datagram(2, service(CHAT)).asking(&request()));
    assert_eq!(world.shared.inflight.committed(slot), 2 * 4_096);
}

#[test]
fn a_request_that_has_no_room_to_leave_is_looked_at_once() {
    let mut world = world();
    let asks = |session| {
        let request = Request {
            session,
            ..request()
        };
        datagram(1, service(CHAT)).asking(&request)
    };
    world.send(EDGE, &asks(1)).forwarded();
    let outcome = world.cramped(EDGE, &asks(2), 39);
    outcome.dropped(DropReason::NoHeadroom);
    assert_eq!(outcome.noted(MetadataNote::RequestVerified), 1);
    assert_eq!(outcome.noted(MetadataNote::RequestUnchanged), 0);
    assert_eq!(world.shared.inflight.committed(Slot(0)), 2 * 4_096);
}

#[test]
fn plain_clients_by_maglev_are_not_charged() {
    let mut world = world();
    world.send(EDGE, &syn(1, service(CHAT)));
    let odd = syn(2, service(CHAT)).tcp(|tcp| *tcp.flags = SYN | ACK);
    world.send(EDGE, &odd.asking(&request()));
    let stale = Request {
        issued_at: UNIX_S - 1_000,
        ..request()
    };
    world.send(EDGE, &syn(3, service(CHAT)).asking(&stale));
    assert_eq!(world.in_flight(1), 0);
}

#[test]
fn what_was_done_while_a_report_was_on_its_way_waits_no_longer() {
    let tells = |world: &mut World, seq, pending_prefill_tokens| {
        let mut report = report(1, seq);
        report.sampled_at_ms = (world.now.unix_ms - 150) as u32;
        report.pending_prefill_tokens = pending_prefill_tokens;
        report.prefill_rate_tokens_s = 10_000;
        world.send(FABRIC, &report_datagram(1, &told(&report)));
        world.settle();
    };
    let work = |world: &mut World| {
        world.send(EDGE, &syn(1, service(CHAT)).asking(&request()));
        world.send(EDGE, &data(1, service(CHAT), 7));
    };
    // The work was sent in the first half of the 150 ms. They are enough for 1,500 tokens.
    let mut world = world();
    wait(&mut world, 200);
    work(&mut world);
    wait(&mut world, 100);
    tells(&mut world, 1, 2_000);
    assert_eq!(world.aft().pending_tokens[0], 500);
    assert_eq!(world.in_flight(1), 4_096);
    tells(&mut world, 2, 600);
    assert_eq!(world.aft().pending_tokens[0], 0);
    assert_eq!(world.in_flight(1), 4_096 - 900);
    // In the second half.
    let mut world = self::world();
    wait(&mut world, 200);
    work(&mut world);
    wait(&mut world, 50);
    tells(&mut world, 1, 600);
    assert_eq!(world.in_flight(1), 4_096);
}
