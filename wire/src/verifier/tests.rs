extern crate std;

use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::{
    InstanceId, MacAlgorithm, RequestContext, Role, SenderKey, masked_source, verify_requests,
};

const LENS: std::ops::RangeInclusive<usize> = REQUEST_FIXED_LEN + MAC_LEN..=MAX_REQUEST_LEN;

fn signers(master: u8, cluster: ClusterId) -> Signers {
    Signers::new(master, cluster, masked_source([0xFF; 16], 64))
}

fn addresses(source: [u8; 16], destination: [u8; 16]) -> [u8; 32] {
    let mut both = [0; 32];
    both[..16].copy_from_slice(&source);
    both[16..].copy_from_slice(&destination);
    both
}

fn verifiers() -> impl Iterator<Item = Verifier> {
    Engine::all().map(Verifier::on)
}

/// A request's bytes, what surrounds them, whose master, and which bit of object or MAC is turned over.
type Sent = (Vec<u8>, [u8; 16], [u8; 16], u8, u16, usize, Option<usize>);

fn sent() -> impl Strategy<Value = Sent> {
    (
        prop::collection::vec(any::<u8>(), LENS),
        any::<[u8; 16]>(),
        any::<[u8; 16]>(),
        any::<u8>(),
        any::<u16>(),
        0..3_usize,
        prop::option::of(0..LENS.end() * 8),
    )
}

proptest! {
    /// As one by one under keys that are kept.
    #[test]
    fn the_same_are_right_as_one_by_one(
        masters: [[u8; 16]; 3],
        cluster: u32,
        mut requests in prop::collection::vec(sent(), 1..=MAX_LANES),
        one_source: bool,
        one_master: bool,
    ) {
        if one_source {
            let (_, source, _, _, _, master, _) = requests[0];
            for request in &mut requests {
                request.1[..8].copy_from_slice(&source[..8]);
                if one_master {
                    request.5 = master;
                }
            }
        }
        let cluster = ClusterId(cluster);
        let masters = masters.map(MasterKey::new);
        for mut verifier in verifiers() {
            let expanded = masters.each_ref().map(|master| verifier.expand(master));
            let (mut expected, count) = (0, requests.len());
            let mut checks = verifier.begin();
            for (at, request) in requests.iter_mut().enumerate() {
                let (object, source, destination, protocol, destination_port, master, turned) = request;
                let context = RequestContext {
                    source: *source,
                    destination: *destination,
                    protocol: *protocol,
                    destination_port: *destination_port,
                };
                let sender = masked_source(*source, 64);
                let role = Role::Request;
                let key = SenderKey::derive(MacAlgorithm::AesCmac, &masters[*master], role, cluster, &sender);
                let tag = key.request_tag(&context, object);
                *object.last_chunk_mut().unwrap() = tag;
                if let Some(bit) = turned {
                    let bit = *bit % (object.len() * 8);
                    object[bit / 8] ^= 1 << (bit % 8);
                }
                let right = verify_requests(&[(&key, context, &object[..])]);
                prop_assert_eq!(right, u32::from(turned.is_none()));
                expected |= right << at;
                let addresses = addresses(*source, *destination);
                let upper = (*protocol, *destination_port);
                prop_assert!(checks.add(&signers(*master as u8, cluster), &addresses, upper, object));
            }
            prop_assert_eq!(checks.count(), count);
            prop_assert_eq!(checks.finish(&expanded), expected);
        }
    }
}

proptest! {
    /// Reports, in lanes beside requests.
    #[test]
    fn reports_are_right_as_one_by_one(
        masters: [[u8; 16]; 2],
        cluster: u32,
        sent in prop::collection::vec((any::<bool>(), any::<u32>(), 0..=12_usize, 0..=4_usize, any::<[u8; 64]>(),
            prop::option::of(any::<u16>())), 1..=MAX_LANES),
        one_master: bool,
        one_instance: bool,
    ) {
        let cluster = ClusterId(cluster);
        let masters = masters.map(MasterKey::new);
        for mut verifier in verifiers() {
            let expanded = masters.each_ref().map(|master| verifier.expand(master));
            let mut expected = 0;
            let mut checks = verifier.begin();
            for (at, (request, instance, events, refusals, noise, turned)) in sent.iter().enumerate() {
                let of = if one_master { 0 } else { at % 2 };
                let instance = if one_instance { &sent[0].1 } else { instance };
                if *request {
                    // A source that reads as an instance of the others.
                    let mut source = [0; 16];
                    source[..4].copy_from_slice(&sent[0].1.to_be_bytes());
                    let context = RequestContext { source, destination: [2; 16], protocol: 6, destination_port: 3 };
                    let key = SenderKey::derive(MacAlgorithm::AesCmac, &masters[of], Role::Request, cluster, &source);
                    let mut object = *noise;
                    *object.last_chunk_mut().unwrap() = key.request_tag(&context, noise);
                    expected |= 1 << at;
                    let addresses = addresses(source, context.destination);
                    prop_assert!(checks.add(&signers(of as u8, cluster), &addresses, (6, 3), &object));
                    continue;
                }
                let report = crate::Report {
                    key_id: crate::KeyId(7),
                    instance_id: InstanceId(*instance),
                    pending_prefill_tokens: u32::from(noise[0]),
                    cache_generation: u32::from(noise[1]),
                    events: crate::List::take_from((0..*events).map(|n| crate::Event {
                        prefix: crate::Prefix { depth: n as u16 + 1, signature: crate::Signature([noise[n]; 4]) },
                        ..crate::Event::default()
                    })),
                    refusals: crate::List::take_from((0..*refusals as u32).map(crate::ClassId)),
                    ..crate::Report::default()
                };
                let mut object = [0; crate::MAX_REPORT_LEN];
                let len = report.emit(&mut object).unwrap();
                let object = &mut object[..len];
                let sender = instance.to_be_bytes();
                let key = SenderKey::derive(MacAlgorithm::AesCmac, &masters[of], Role::Report, cluster, &sender);
                key.sign_report(object).unwrap();
                if let Some(bit) = turned {
                    let bit = usize::from(*bit) % (len * 8);
                    object[bit / 8] ^= 1 << (bit % 8);
                }
                expected |= u32::from(turned.is_none()) << at;
                prop_assert!(checks.add_report(&signers(of as u8, cluster), object));
            }
            prop_assert_eq!(checks.finish(&expanded), expected);
        }
    }
}

#[test]
fn what_cannot_be_a_report_is_not_taken() {
    for mut verifier in verifiers() {
        let mut checks = verifier.begin();
        let mut add = |len| checks.add_report(&signers(0, ClusterId(1)), &[0; 400][..len]);
        assert!(!add(0));
        assert!(!add(REPORT_FIXED_LEN + MAC_LEN - 1));
        assert!(!add(MAX_REPORT_LEN_IN_BAND + 1));
        assert!((0..MAX_LANES).all(|_| add(MAX_REPORT_LEN_IN_BAND)));
        assert!(!add(MAX_REPORT_LEN_IN_BAND), "no room");
    }
}

#[test]
fn what_cannot_be_a_request_is_not_taken() {
    for mut verifier in verifiers() {
        let signers = signers(0, ClusterId(1));
        let mut checks = verifier.begin();
        let mut add = |len| checks.add(&signers, &[1; 32], (6, 3), &[0; 200][..len]);
        assert!(!add(0));
        assert!(!add(LENS.start() - 1));
        assert!(!add(LENS.end() + 1));
        assert!((0..MAX_LANES).all(|_| add(*LENS.start())));
        assert!(!add(*LENS.start()), "no room");
        assert_eq!(checks.finish(&[]), 0, "no master, nobody's");
        let master = verifier.expand(&MasterKey::new([7; 16]));
        assert_eq!(
            verifier.begin().finish(&[master]),
            0,
            "none was taken since"
        );
    }
}
