//! Right answers made by hand, then broken one at a time.

use super::*;
use crate::bench::frames::{Carrier, Frames};
use crate::bench::scenario::Scenario;

fn sent(case: &Case) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let keep = |frame: &[u8]| {
        all.push(frame.to_vec());
        Ok(())
    };
    case.frames.for_each(keep).unwrap();
    all
}

fn case(scenario: Scenario) -> Case {
    let mut case = Case::of(scenario);
    case.frames = Frames {
        flows: 8,
        instances: 4,
        ..case.frames
    };
    case
}

fn ethernet(to: [u8; 6], packet: &[u8]) -> Vec<u8> {
    let mut frame = to.to_vec();
    frame.extend(DEVICE_MAC);
    frame.extend([0, 0x86, 0xDD]);
    frame.extend(packet);
    frame
}

/// What a right AFR makes of a request, sent to instance `id`.
fn encapsulated(frame: &[u8], id: u16) -> Vec<u8> {
    let mut inner = frame[ETHERNET..].to_vec();
    inner[7] -= 1;
    let mut outer = vec![0x60, 1, 2, 3];
    outer.extend((inner.len() as u16).to_be_bytes());
    outer.extend([TUNNELLED, 64]);
    outer.extend(AFR_ADDRESS.octets());
    outer.extend(instance_sid(id).octets());
    outer.extend(inner);
    ethernet(FABRIC_MAC, &outer)
}

fn right(sent: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let answers = sent.iter().zip((1..=4).cycle());
    answers.map(|(frame, id)| encapsulated(frame, id)).collect()
}

#[test]
fn right_answers_to_requests_pass_in_any_order() {
    for scenario in [Scenario::Established, Scenario::Plain, Scenario::NewFlow64] {
        let case = case(scenario);
        let sent = sent(&case);
        let mut left = right(&sent);
        left.reverse();
        check(&case, &sent, &left, &[]).unwrap();
    }
    for carrier in [Carrier::HopByHop, Carrier::SrhTlv] {
        let mut case = case(Scenario::Established);
        case.frames.carrier = carrier;
        let sent = sent(&case);
        check(&case, &sent, &right(&sent), &[]).unwrap();
    }
}

#[test]
fn every_byte_of_an_answer_counts_but_the_flow_label() {
    let case = case(Scenario::Established);
    let sent = sent(&case);
    let left = right(&sent);
    for at in 0..left[3].len() {
        let mut wrong = left.clone();
        wrong[3][at] ^= 1;
        let passes = check(&case, &sent, &wrong, &[]).is_ok();
        // The last byte of a port's address is its number; traffic class and flow label are the AFR's choice; another
        // registered instance may be chosen as well as the one.
        let is_free = at == 11 || (15..18).contains(&at);
        assert_eq!(passes, is_free, "byte {at}");
    }
}

#[test]
fn a_missing_a_doubled_and_a_stray_packet_are_told() {
    let case = case(Scenario::Plain);
    let sent = sent(&case);
    let left = right(&sent);
    assert!(check(&case, &sent, &left[1..], &[]).is_err());
    let doubled: Vec<_> = left.iter().chain(&left[..1]).cloned().collect();
    assert!(check(&case, &sent, &doubled, &[]).is_err());
    assert!(check(&case, &sent, &left, &left[..1]).is_err());
    let mut no_sid = left.clone();
    no_sid[0] = encapsulated(&sent[0], 5);
    assert!(check(&case, &sent, &no_sid, &[]).is_err());
}

#[test]
fn a_flow_stays_with_its_instance() {
    let case = case(Scenario::VerifyEvery);
    let sent = sent(&case);
    check(&case, &sent, &right(&sent), &[]).unwrap();
    let mut astray = right(&sent);
    astray[0] = encapsulated(&sent[0], 2);
    let error = check(&case, &sent, &astray, &[]).unwrap_err();
    assert!(error.root_cause().to_string().contains("two instances"));
}

#[test]
fn nothing_may_leave_where_all_is_refused() {
    let case = case(Scenario::BadMac);
    let sent = sent(&case);
    check(&case, &sent, &[], &[]).unwrap();
    assert!(check(&case, &sent, &right(&sent)[..1], &[]).is_err());
}

#[test]
fn replies_lose_their_tunnel_and_their_report() {
    for scenario in [Scenario::ReplySame, Scenario::TransitStrip] {
        let case = case(scenario);
        let sent = sent(&case);
        let bare = |frame: &Vec<u8>| {
            let mut packet = match scenario {
                Scenario::ReplySame => frame[ETHERNET + IPV6 + 64..].to_vec(),
                _ => without_options(&frame[ETHERNET..]).unwrap(),
            };
            packet[7] -= 1;
            ethernet(CLIENTS_MAC, &packet)
        };
        let left: Vec<_> = sent.iter().map(bare).collect();
        check(&case, &sent, &[], &left).unwrap();
        assert!(
            check(&case, &sent, &left, &[]).is_err(),
            "by the wrong port"
        );
        let mut broken = left.clone();
        *broken[2].last_mut().unwrap() ^= 1;
        assert!(check(&case, &sent, &[], &broken).is_err(), "payload");
        let mut kept = left.clone();
        kept[1] = ethernet(CLIENTS_MAC, &sent[1][ETHERNET..]);
        let error = check(&case, &sent, &[], &kept).unwrap_err();
        assert!(
            error.root_cause().to_string().contains("leaves the domain"),
            "{error:#}"
        );
    }
}
