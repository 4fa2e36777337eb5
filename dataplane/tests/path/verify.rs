//! Who is believed: a request is acted on only if its tag, its key, its date, its claims and its words are right.

use afr_dataplane::config::Claim;
use afr_dataplane::verdict::{DispatchReason, DropReason, MetadataNote};
use afr_wire::{
    Bloom, CatalogueVersion, KeyId, LabelHash, Labels, List, MacAlgorithm, MasterKey, PolicyScope,
    Request,
};

use crate::support::metadata::{
    dest_option, prefix, request, signed, signed_under, srh, with_prefixes,
};
use crate::support::packet::{Ext, Packet, Upper};
use crate::support::setup::{
    CHAT, CHAT_IX, CODE, EDGE, KEY, NARROW_KEY, OLD_KEY, PREFIX_KEY, Setup, UNIX_S, ip, key, label,
    service,
};
use crate::support::world::{Outcome, World, ack, data, datagram, syn};

fn world() -> World {
    World::new(Setup::new(3))
}

fn to_chat() -> Packet {
    syn(1, service(CHAT))
}

/// The packet went on as one without metadata, for this reason and no other.
#[track_caller]
fn fell_back(world: &World, outcome: &Outcome, note: MetadataNote) {
    outcome.forwarded();
    assert_eq!(outcome.noted(note), 1, "{outcome:?}");
    assert_eq!(outcome.noted(MetadataNote::FlowCreated), 1);
    assert_eq!(acted_on(world), 0);
    assert_eq!(world.dispatches(CHAT_IX, DispatchReason::FallbackMaglev), 1);
    assert!(world.flows().iter().all(|flow| !flow.metadata_seen()));
}

fn acted_on(world: &World) -> u64 {
    let of = |why| world.dispatches(CHAT_IX, why);
    of(DispatchReason::Load) + of(DispatchReason::Affinity)
}

#[test]
fn a_right_request_is_acted_on() {
    let mut world = world();
    let outcome = world.send(EDGE, &to_chat().asking(&request()));
    outcome.forwarded();
    assert_eq!(outcome.noted(MetadataNote::RequestVerified), 1);
    assert_eq!(acted_on(&world), 1);
    assert!(world.flows()[0].metadata_seen());
}

#[test]
fn every_bit_is_covered() {
    let mut world = world();
    let object = signed(&with_prefixes(&[prefix(2, 1)]), &to_chat());
    for at in 0..object.len() * 8 {
        let mut object = object.clone();
        object[at / 8] ^= 1 << (at % 8);
        // The client's port is not covered: a flow for each.
        let packet = syn(at as u16, service(CHAT)).with(dest_option(&object));
        let outcome = world.send(EDGE, &packet);
        assert_eq!(outcome.noted(MetadataNote::RequestVerified), 0, "bit {at}");
        assert_eq!(acted_on(&world), 0, "bit {at}");
    }
    assert!(world.flows().iter().all(|flow| !flow.metadata_seen()));
}

#[test]
fn a_tag_is_for_one_way_only() {
    let mut world = world();
    let object = signed(&request(), &to_chat());
    let mut port = to_chat();
    if let Upper::Tcp { destination, .. } = &mut port.upper {
        *destination += 1;
    }
    let moved = [
        to_chat().from(ip("2001:db8:c::8")),
        syn(1, service(CODE)),
        port,
        datagram(1, service(CHAT)),
    ];
    for packet in moved {
        let outcome = world.send(EDGE, &packet.with(dest_option(&object)));
        outcome.dropped(DropReason::MacInvalid);
    }
    // The client's own port is not covered: it does not know it when it signs.
    let outcome = world.send(EDGE, &syn(9_999, service(CHAT)).with(dest_option(&object)));
    outcome.forwarded();
    assert_eq!(acted_on(&world), 1);
}

#[test]
fn a_routing_header_moves_no_tag() {
    let mut world = world();
    let elsewhere = syn(1, ip("2001:db8:5e::1:0:101"));
    let object = signed(&request(), &elsewhere);
    // The list names where the tag was made for, but the packet has arrived already.
    let packet = to_chat().with(srh(0, &[elsewhere.destination], &object));
    let outcome = world.send(EDGE, &packet);
    outcome.dropped(DropReason::MacInvalid);
}

#[test]
fn a_tag_is_for_the_final_destination() {
    let mut world = world();
    let last = ip("2001:db8:99::1");
    let list = vec![last, service(CHAT)];
    let packet = to_chat().with(Ext::Srh(1, list, vec![])).asking(&request());
    let outcome = world.send(EDGE, &packet);
    outcome.forwarded();
    assert_eq!(outcome.noted(MetadataNote::RequestVerified), 1);
}

#[test]
fn another_masters_key() {
    let mut world = world();
    let master = MasterKey::new([0xEE; 16]);
    let object = signed_under(&request(), &to_chat(), &master);
    let outcome = world.send(EDGE, &to_chat().with(dest_option(&object)));
    outcome.dropped(DropReason::MacInvalid);
}

#[test]
fn keys_that_are_not_in_force() {
    let under = |key_id| Request {
        key_id,
        ..request()
    };
    let mut strange = world();
    let outcome = strange.send(EDGE, &to_chat().asking(&under(KeyId(99))));
    fell_back(&strange, &outcome, MetadataNote::UnknownKey);
    let mut old = world();
    let outcome = old.send(EDGE, &to_chat().asking(&under(OLD_KEY)));
    fell_back(&old, &outcome, MetadataNote::KeyExpired);
    let mut new = World::new(Setup::new(3).config(|config| {
        let mut coming = key(KeyId(99), MacAlgorithm::AesCmac);
        coming.not_before_s = u64::from(UNIX_S) + 10;
        config.keys.push(coming);
    }));
    let outcome = new.send(EDGE, &to_chat().asking(&under(KeyId(99))));
    fell_back(&new, &outcome, MetadataNote::KeyExpired);
    new.skip(10_000);
    let outcome = new.send(EDGE, &syn(2, service(CHAT)).asking(&under(KeyId(99))));
    assert_eq!(outcome.noted(MetadataNote::RequestVerified), 1);
}

#[test]
fn unauthenticated() {
    let bare = Request {
        key_id: KeyId::NONE,
        ..request()
    };
    let mut strict = world();
    let outcome = strict.send(EDGE, &to_chat().asking(&bare));
    fell_back(&strict, &outcome, MetadataNote::Unauthenticated);
    let mut trusting = World::new(Setup::new(3).config(|c| c.accept_unauthenticated = true));
    trusting.send(EDGE, &to_chat().asking(&bare)).forwarded();
    assert_eq!(acted_on(&trusting), 1);
}

#[test]
fn freshness() {
    for (age_s, fresh) in [
        (0, true),
        (120, true),
        (-120, true),
        (121, false),
        (-121, false),
    ] {
        let mut world = world();
        let dated = Request {
            issued_at: UNIX_S.wrapping_add_signed(-age_s),
            ..request()
        };
        let outcome = world.send(EDGE, &to_chat().asking(&dated));
        if fresh {
            assert_eq!(acted_on(&world), 1, "{age_s}");
        } else {
            fell_back(&world, &outcome, MetadataNote::Stale);
        }
    }
}

#[test]
fn a_key_claims_what_it_may() {
    let mut world = world();
    let narrow = |class_id, policy| Request {
        key_id: NARROW_KEY,
        class_id,
        policy: PolicyScope(policy),
        ..request()
    };
    let outcome = world.send(EDGE, &syn(1, service(CODE)).asking(&narrow(CODE, 1)));
    outcome.dropped(DropReason::ClaimClass);
    for policy in [0, 2] {
        let outcome = world.send(EDGE, &to_chat().asking(&narrow(CHAT, policy)));
        outcome.dropped(DropReason::ClaimPolicy);
    }
    assert_eq!(acted_on(&world), 0);
    world
        .send(EDGE, &to_chat().asking(&narrow(CHAT, 1)))
        .forwarded();
    assert_eq!(acted_on(&world), 1);
}

#[test]
fn a_policy_scope_keeps_to_who_accepts_it() {
    let mut setup = Setup::new(3);
    setup.instance(1).policies = Claim::Only(vec![PolicyScope(1), PolicyScope(2)]);
    setup.instance(2).policies = Claim::Only(vec![PolicyScope(1)]);
    setup.instance(3).policies = Claim::Only(vec![]);
    let mut world = World::new(setup);
    for port in 1..40 {
        let scoped = Request {
            policy: PolicyScope(2),
            ..request()
        };
        let outcome = world.send(EDGE, &syn(port, service(CHAT)).asking(&scoped));
        assert_eq!(outcome.forwarded().instance(), 1);
    }
    let scoped = Request {
        policy: PolicyScope(3),
        ..request()
    };
    let outcome = world.send(EDGE, &syn(50, service(CHAT)).asking(&scoped));
    outcome.refused(DropReason::NoCandidate);
}

#[test]
fn words_that_are_not_known() {
    let mut catalogue = world();
    let other = Request {
        catalogue: CatalogueVersion(4),
        ..request()
    };
    let outcome = catalogue.send(EDGE, &to_chat().asking(&other));
    fell_back(&catalogue, &outcome, MetadataNote::UnknownCatalogue);
    let mut word = world();
    let other = Request {
        labels: Labels::Hashes(List::take_from([
            label("tool:search").short(),
            LabelHash(0x1111),
        ])),
        ..request()
    };
    let outcome = word.send(EDGE, &to_chat().asking(&other));
    fell_back(&word, &outcome, MetadataNote::UnknownLabel);
    for (head, note) in [
        (0x21, MetadataNote::UnknownVersion),
        (0x13, MetadataNote::UnknownKind),
    ] {
        let mut world = world();
        let mut object = signed(&request(), &to_chat());
        object[2] = head;
        let outcome = world.send(EDGE, &to_chat().with(dest_option(&object)));
        fell_back(&world, &outcome, note);
    }
}

#[test]
fn malformed_and_twofold() {
    let mut world = world();
    let object = signed(&request(), &to_chat());
    let changes: [fn(&mut Vec<u8>); 3] = [|o| o[27] = 1, |o| o[26] = 9, |o| o.truncate(40)];
    for change in changes {
        let mut object = object.clone();
        change(&mut object);
        let outcome = world.send(EDGE, &to_chat().with(dest_option(&object)));
        outcome.dropped(DropReason::MetadataMalformed);
    }
    let stub = dest_option(&object[..7]);
    let outcome = world.send(EDGE, &to_chat().with(stub));
    outcome.dropped(DropReason::MetadataMalformed);
    let twice = to_chat()
        .with(dest_option(&object))
        .with(dest_option(&object));
    let outcome = world.send(EDGE, &twice);
    outcome.dropped(DropReason::MetadataDuplicate);
}

#[test]
fn a_filter_in_band() {
    let mut filter = Bloom::<4>::new();
    filter.insert(label("tool:search"));
    let asking = Request {
        labels: Labels::Bloom(filter.to_bytes()),
        ..request()
    };
    let mut strict = world();
    let outcome = strict.send(EDGE, &to_chat().asking(&asking));
    fell_back(&strict, &outcome, MetadataNote::BloomRefused);
    let mut setup = Setup::new(3);
    setup.class(CHAT).allow_bloom = true;
    setup.instance(1).labels.clear();
    setup.instance(3).labels.clear();
    let mut world = World::new(setup);
    for port in 1..20 {
        let outcome = world.send(EDGE, &syn(port, service(CHAT)).asking(&asking));
        assert_eq!(outcome.forwarded().instance(), 2);
    }
}

#[test]
fn senders_of_a_prefix_share_a_key_but_not_a_tag() {
    let mut world = world();
    let asking = Request {
        key_id: PREFIX_KEY,
        ..request()
    };
    let sibling = ip("2001:db8:c::8888");
    let packet = to_chat().from(sibling).asking(&asking);
    world.send(EDGE, &packet).forwarded();
    assert_eq!(acted_on(&world), 1);
    let object = signed(&asking, &to_chat());
    let outcome = world.send(EDGE, &to_chat().from(sibling).with(dest_option(&object)));
    assert_eq!(outcome.noted(MetadataNote::RequestVerified), 0);
    assert_eq!(acted_on(&world), 1);
}

#[test]
fn keys_rotate() {
    let mut world = world();
    let under = |port, key_id| {
        let asking = Request {
            key_id,
            ..request()
        };
        syn(port, service(CHAT)).asking(&asking)
    };
    let verified = |outcome: &Outcome| outcome.noted(MetadataNote::RequestVerified) == 1;
    assert!(verified(&world.send(EDGE, &under(1, KEY))));
    // The next key comes, both are good.
    let next = KeyId(30);
    world.reload(|setup| setup.config.keys.push(key(next, MacAlgorithm::AesCmac)));
    assert!(verified(&world.send(EDGE, &under(2, KEY))));
    assert!(verified(&world.send(EDGE, &under(3, next))));
    // The previous goes. Its flows stay, its requests are no longer acted on.
    world.reload(|setup| {
        setup.config.keys.retain(|key| key.id != KEY);
        setup.config.keys.push(key(next, MacAlgorithm::AesCmac));
    });
    let outcome = world.send(EDGE, &under(4, KEY));
    assert_eq!(outcome.noted(MetadataNote::UnknownKey), 1);
    assert!(verified(&world.send(EDGE, &under(5, next))));
    let later = data(1, service(CHAT), 7).with(under(1, KEY).headers[0].clone());
    let outcome = world.send(EDGE, &later);
    outcome.forwarded();
    assert_eq!(outcome.noted(MetadataNote::RequestUnchanged), 1);
    // The same identifier may come to mean another key: nothing derived from the former is left.
    world.reload(|setup| {
        setup.config.keys.retain(|key| key.id != KEY);
        let mut other = key(KEY, MacAlgorithm::AesCmac);
        other.master = MasterKey::new([0xCC; 16]);
        setup.config.keys.push(other);
    });
    let outcome = world.send(EDGE, &under(6, KEY));
    outcome.dropped(DropReason::MacInvalid);
}

#[test]
fn what_was_verified_is_not_verified_again() {
    let mut world = world();
    let asking = to_chat().asking(&request());
    let header = asking.headers[0].clone();
    let outcome = world.send(EDGE, &asking);
    assert_eq!(outcome.noted(MetadataNote::RequestVerified), 1);
    let later = [
        asking,
        ack(1, service(CHAT), 7).with(header.clone()),
        data(1, service(CHAT), 7).with(header.clone()),
    ];
    for packet in later {
        let outcome = world.send(EDGE, &packet);
        outcome.forwarded();
        assert_eq!(
            outcome.notes,
            [(MetadataNote::RequestUnchanged, 1)],
            "{packet:?}"
        );
    }
    // However late: freshness is for dispatch.
    world.skip(3_000_000);
    let outcome = world.send(EDGE, &data(1, service(CHAT), 7).with(header));
    assert_eq!(outcome.notes, [(MetadataNote::RequestUnchanged, 1)]);
}

#[test]
fn what_was_refused_is_not_looked_at_again() {
    let mut world = world();
    let stale = Request {
        issued_at: UNIX_S - 1_000,
        ..request()
    };
    let asking = to_chat().asking(&stale);
    let header = asking.headers[0].clone();
    let outcome = world.send(EDGE, &asking);
    fell_back(&world, &outcome, MetadataNote::Stale);
    let outcome = world.send(EDGE, &data(1, service(CHAT), 7).with(header));
    outcome.forwarded();
    assert_eq!(outcome.notes, []);
    assert_eq!(
        world.in_flight(1) + world.in_flight(2) + world.in_flight(3),
        0
    );
}

#[test]
fn other_bytes_on_an_established_flow() {
    let mut world = world();
    let first = world.send(EDGE, &to_chat().asking(&request()));
    let instance = first.forwarded().instance();
    world.send(EDGE, &data(1, service(CHAT), 7)).forwarded();
    let before = world.in_flight(instance);
    assert_eq!(before, 4_096);
    // A wrong tag: counted once, forwarded, not acted on.
    let mut object = signed(&request(), &to_chat());
    *object.last_mut().unwrap() ^= 1;
    let wrong = data(1, service(CHAT), 7).with(dest_option(&object));
    let outcome = world.send(EDGE, &wrong);
    assert_eq!(outcome.forwarded().instance(), instance);
    assert_eq!(outcome.notes, [(MetadataNote::RequestChangedInvalid, 1)]);
    let outcome = world.send(EDGE, &wrong);
    outcome.forwarded();
    assert_eq!(outcome.notes, []);
    // Another class than the flow's, though its key may claim it.
    let code = Request {
        class_id: CODE,
        ..request()
    };
    let outcome = world.send(EDGE, &data(1, service(CHAT), 7).asking(&code));
    assert_eq!(outcome.forwarded().instance(), instance);
    assert_eq!(outcome.noted(MetadataNote::RequestChangedInvalid), 1);
    assert_eq!(world.in_flight(instance), before);
    // A right one: its work is charged, at once and as far as it is believed.
    let more = Request {
        session: 2,
        prompt_tokens: u32::MAX,
        ..request()
    };
    let outcome = world.send(EDGE, &data(1, service(CHAT), 7).asking(&more));
    assert_eq!(outcome.forwarded().instance(), instance);
    assert_eq!(outcome.noted(MetadataNote::RequestVerified), 1);
    assert_eq!(world.in_flight(instance), before + 100_000);
    let unknown = Request {
        session: 3,
        prompt_tokens: 0,
        ..request()
    };
    world.send(EDGE, &data(1, service(CHAT), 7).asking(&unknown));
    assert_eq!(world.in_flight(instance), before + 100_000 + 1_000);
    // What is malformed goes nowhere.
    object[27] = 1;
    let outcome = world.send(EDGE, &data(1, service(CHAT), 7).with(dest_option(&object)));
    outcome.dropped(DropReason::MetadataMalformed);
}

#[test]
fn a_segment_without_a_flow_is_not_evaluated() {
    let mut world = world();
    let lost = data(1, service(CHAT), 7).asking(&request());
    let outcome = world.send(EDGE, &lost);
    fell_back(&world, &outcome, MetadataNote::NotAtSyn);
    let outcome = world.send(EDGE, &lost);
    outcome.forwarded();
    assert_eq!(outcome.notes, [], "nor are its like");
}
