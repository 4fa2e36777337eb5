//! Whose metadata is acted on, by port and by source; what becomes of other people's.

use afr_dataplane::config::BoundaryAction;
use afr_dataplane::verdict::{DispatchReason, DropReason, MetadataNote};
use afr_wire::Request;

use crate::support::metadata::{
    dest_option, hop_option, report, request, signed, srh, told, with_prefixes,
};
use crate::support::packet::{Ext, Packet};
use crate::support::setup::{CHAT, CHAT_IX, FRIEND, SID, Setup, WILD, ip, service};
use crate::support::world::{World, data, report_datagram, syn};

fn world(action: BoundaryAction) -> World {
    World::new(Setup::new(3).config(|config| config.ports[2].boundary = action))
}

fn wild(packet: Packet) -> Packet {
    packet.by(WILD)
}

fn asking() -> Packet {
    wild(syn(1, service(CHAT))).asking(&request())
}

/// How many dispatches rested on metadata, and how many on none.
fn acted_on(world: &World) -> (u64, u64) {
    let of = |why| world.dispatches(CHAT_IX, why);
    let acted = of(DispatchReason::Load) + of(DispatchReason::Affinity);
    (acted, of(DispatchReason::FallbackMaglev))
}

#[test]
fn a_trusted_edge_acts() {
    let mut world = world(BoundaryAction::Accept);
    let outcome = world.send(WILD, &asking());
    assert_eq!(outcome.forwarded().ip().inner().chain(), [60]);
    assert_eq!(outcome.noted(MetadataNote::RequestVerified), 1);
    assert_eq!(acted_on(&world), (1, 0));
}

#[test]
fn stripping() {
    let mut world = world(BoundaryAction::Strip);
    let packet = asking();
    let outcome = world.send(WILD, &packet);
    assert_eq!(outcome.noted(MetadataNote::Stripped), 1);
    assert_eq!(outcome.noted(MetadataNote::RequestVerified), 0);
    assert_eq!(acted_on(&world), (0, 1));
    let mut plain = wild(syn(1, service(CHAT)));
    plain.hop_limit -= 1;
    let inner = outcome.forwarded().ip();
    assert_eq!(
        inner.upper,
        plain.ip_bytes(),
        "as if it had never been there"
    );
    // So are all later segments.
    let later = wild(data(1, service(CHAT), 5)).asking(&request());
    let outcome = world.send(WILD, &later);
    let inner = outcome.forwarded().ip().inner();
    assert!(inner.chain().is_empty() && inner.checksum_is_right());
}

#[test]
fn ignoring() {
    let mut world = world(BoundaryAction::Ignore);
    let packet = asking();
    let outcome = world.send(WILD, &packet);
    assert_eq!(outcome.noted(MetadataNote::Ignored), 1);
    assert_eq!(acted_on(&world), (0, 1));
    let mut same = packet;
    same.hop_limit -= 1;
    assert_eq!(outcome.forwarded().ip().upper, same.ip_bytes());
}

#[test]
fn dropping() {
    let mut world = world(BoundaryAction::Drop);
    let outcome = world.send(WILD, &asking());
    outcome.dropped(DropReason::MetadataOutside);
    world.send(WILD, &wild(syn(1, service(CHAT)))).forwarded();
    assert_eq!(acted_on(&world), (0, 1));
}

#[test]
fn a_trusted_prefix_acts_whatever_the_port_does() {
    for action in [
        BoundaryAction::Strip,
        BoundaryAction::Ignore,
        BoundaryAction::Drop,
    ] {
        let mut world = world(action);
        let packet = wild(syn(1, service(CHAT)).from(FRIEND)).asking(&request());
        let outcome = world.send(WILD, &packet);
        assert_eq!(outcome.forwarded().ip().inner().chain(), [60]);
        assert_eq!(acted_on(&world), (1, 0));
        let stranger = ip("2001:db8:8::9");
        let packet = wild(syn(1, service(CHAT)).from(stranger)).asking(&request());
        world.send(WILD, &packet);
        assert_eq!(acted_on(&world).0, 1);
    }
}

#[test]
fn nothing_changes_under_ah() {
    for action in [BoundaryAction::Strip, BoundaryAction::Ignore] {
        let mut world = world(action);
        let packet = asking().with(Ext::Ah);
        let outcome = world.send(WILD, &packet);
        let mut same = packet;
        same.hop_limit -= 1;
        assert_eq!(outcome.forwarded().ip().upper, same.ip_bytes());
        assert_eq!(outcome.noted(MetadataNote::Stripped), 0);
        assert_eq!(acted_on(&world), (0, 1), "and is not acted on either");
    }
    let mut world = world(BoundaryAction::Drop);
    let outcome = world.send(WILD, &asking().with(Ext::Ah));
    outcome.dropped(DropReason::MetadataOutside);
}

#[test]
fn every_object_in_every_carrier_goes() {
    let mut world = world(BoundaryAction::Strip);
    let plain = wild(syn(1, service(CHAT)));
    let object = signed(&request(), &plain);
    let news = told(&report(1, 1));
    let future = [&[0xAF, 0x52, 0x21, 0][..], &[9; 16]].concat();
    let unheard = [&[0xAF, 0x52, 0x1F, 0][..], &[9; 16]].concat();
    let cases = [
        (vec![dest_option(&object)], vec![]),
        (vec![hop_option(&object)], vec![]),
        (vec![hop_option(&news), dest_option(&object)], vec![]),
        (vec![dest_option(&future)], vec![]),
        (vec![dest_option(&unheard), dest_option(&object)], vec![]),
        (vec![srh(1, &[SID], &object)], vec![43]),
        (vec![dest_option(&news), srh(0, &[SID], &object)], vec![43]),
    ];
    for (n, (headers, left)) in (10..).zip(cases) {
        let mut packet = wild(syn(n, service(CHAT)));
        packet.headers = headers;
        let outcome = world.send(WILD, &packet);
        let inner = outcome.forwarded().ip().inner();
        assert_eq!(inner.chain(), left, "{:?}", packet.headers);
        assert!(inner.checksum_is_right());
        let bytes = inner.headers.concat_bytes();
        let marks = bytes.windows(2).filter(|pair| *pair == [0xAF, 0x52]);
        assert_eq!(marks.count(), 0);
    }
    assert_eq!(acted_on(&world).0, 0);
    assert!(world.flows().iter().all(|flow| !flow.metadata_seen()));
}

trait Concat {
    fn concat_bytes(&self) -> Vec<u8>;
}

impl Concat for Vec<(u8, Vec<u8>)> {
    fn concat_bytes(&self) -> Vec<u8> {
        self.iter().flat_map(|(_, bytes)| bytes.clone()).collect()
    }
}

#[test]
fn an_object_among_other_options_is_overwritten() {
    let mut world = world(BoundaryAction::Strip);
    let plain = wild(syn(1, service(CHAT)));
    let object = signed(&request(), &plain);
    let mut options = vec![0x1E, object.len() as u8];
    options.extend(&object);
    options.extend([0x1D, 2, 7, 7]);
    let outcome = world.send(WILD, &plain.with(Ext::destination(&options)));
    let inner = outcome.forwarded().ip().inner();
    assert!(inner.checksum_is_right());
    options[2..2 + object.len()].fill(0);
    let want = Ext::destination(&options).bytes(6);
    assert_eq!(inner.headers, [(60, want)]);
}

#[test]
fn another_experiment_is_left_alone() {
    for action in [BoundaryAction::Strip, BoundaryAction::Drop] {
        let mut world = world(action);
        let header = Ext::destination(&[0x1E, 4, 0xBE, 0xEF, 1, 2]);
        let packet = wild(syn(1, service(CHAT))).with(header);
        let outcome = world.send(WILD, &packet);
        let mut same = packet;
        same.hop_limit -= 1;
        assert_eq!(outcome.forwarded().ip().upper, same.ip_bytes());
        assert_eq!(outcome.noted(MetadataNote::NotOurs), 1);
    }
}

#[test]
fn what_is_outside_teaches_nothing() {
    let mut world = world(BoundaryAction::Ignore);
    let load = |world: &World| world.aft().order[0];
    let before = load(&world);
    let datagram = wild(report_datagram(1, &told(&report(1, 1))));
    let outcome = world.send(WILD, &datagram);
    outcome.dropped(DropReason::MetadataOutside);
    assert_eq!(outcome.noted(MetadataNote::ReportOutside), 1);
    let riding = wild(syn(1, service(CHAT))).reporting(&report(1, 1));
    world.send(WILD, &riding).forwarded();
    // Not even residency is learned from a request that is not acted on.
    let prefix = crate::support::metadata::prefix(4, 1);
    let asking: Request = with_prefixes(&[prefix]);
    let packet = wild(syn(2, service(CHAT))).asking(&asking);
    world.send(WILD, &packet).forwarded();
    world.settle();
    assert_eq!(load(&world), before);
    assert!(world.aft().residency.is_empty());
}

#[test]
fn an_outside_port_passes_nothing_through() {
    let mut world = world(BoundaryAction::Strip);
    let packet = wild(syn(1, ip("2001:db8:9::1")));
    let outcome = world.send(WILD, &packet);
    outcome.dropped(DropReason::TransitOutside);
}
