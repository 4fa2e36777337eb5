//! Chains of extension headers at random: what was built is what is found, and what is stripped leaves a packet that an
//! independent reader agrees with.

use afr_dataplane::packet::parse::{self, Carrier, MAX_EXTENSION_BYTES, MAX_EXTENSIONS, Types};
use afr_dataplane::packet::strip::{Stripped, strip};
use afr_dataplane::packet::{PacketBuf, VecBuf};
use afr_wire::option::PAD1;
use afr_wire::{EXID, OPTION_TYPE, SRH_TLV_TYPE};
use proptest::prelude::*;

use crate::support::packet::{Ext, Packet, Upper};
use crate::support::setup::{CHAT, ip, service};
use crate::support::walker::{Ethernet, Ip};
use crate::support::world::{datagram, syn};

const TYPES: Types = Types {
    option: OPTION_TYPE,
    tlv: SRH_TLV_TYPE,
};

/// An object whose head says that it is a request; what follows is anything.
fn object() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 4..40).prop_map(|rest| {
        let mut object = EXID.to_be_bytes().to_vec();
        object.extend([0x11, 0]);
        object.extend(rest);
        object
    })
}

/// Options of other types, and padding.
fn options() -> impl Strategy<Value = Vec<u8>> {
    let option = prop_oneof![
        Just(vec![PAD1]),
        (0_usize..4).prop_map(|n| [&[1, n as u8][..], &vec![0; n]].concat()),
        (0_usize..9).prop_map(|n| [&[0x1D, n as u8][..], &vec![7; n]].concat()),
    ];
    proptest::collection::vec(option, 0..4).prop_filter_map("too much padding in a row", |all| {
        let mut run = 0;
        for option in &all {
            run = if option[0] > 1 { 0 } else { run + option.len() };
            if run > 7 {
                return None;
            }
        }
        // The header is padded behind them.
        (run == 0).then(|| all.concat())
    })
}

fn header() -> impl Strategy<Value = Ext> {
    let segments = proptest::collection::vec(any::<u128>(), 1..4);
    prop_oneof![
        4 => options().prop_map(|options| Ext::destination(&options)),
        1 => (segments, any::<bool>()).prop_map(|(list, left)| {
            let list: Vec<_> = list.into_iter().map(Into::into).collect();
            Ext::Srh(if left { list.len() as u8 } else { 0 }, list, vec![])
        }),
        1 => Just(Ext::Fragment(0, false)),
        1 => Just(Ext::Ah),
        1 => proptest::collection::vec(any::<u8>(), 6).prop_map(|rest| {
            Ext::Raw(135, [vec![0], rest].concat())
        }),
    ]
}

fn upper() -> impl Strategy<Value = Upper> {
    let chat = service(CHAT);
    prop_oneof![
        any::<u16>().prop_map(move |port| syn(port, chat).upper),
        any::<u16>().prop_map(move |port| datagram(port, chat).upper),
        Just(Upper::Raw(50, vec![9; 24])),
        Just(Upper::Raw(59, vec![])),
        Just(Upper::Ip(Box::new(syn(1, chat)))),
    ]
}

fn packet() -> impl Strategy<Value = Packet> {
    let hop = proptest::option::of(options().prop_map(|options| Ext::hop_by_hop(&options)));
    let headers = proptest::collection::vec(header(), 0..9);
    (hop, headers, upper()).prop_map(|(hop, headers, upper)| Packet {
        headers: hop.into_iter().chain(headers).collect(),
        upper,
        ..syn(0, service(CHAT))
    })
}

/// A packet, and the header of it that has an object among other options or alone.
fn packet_with_object() -> impl Strategy<Value = (Packet, usize, Vec<u8>)> {
    let place = (
        any::<prop::sample::Index>(),
        options(),
        options(),
        any::<bool>(),
    );
    (packet(), object(), place).prop_map(|(mut packet, object, place)| {
        let (at, before, behind, hop) = place;
        packet.headers.retain(|header| *header != Ext::Ah);
        packet.headers.truncate(6);
        let option = [&[OPTION_TYPE, object.len() as u8][..], &object].concat();
        let options = [before, option, behind].concat();
        let first_is_hop = matches!(packet.headers.first(), Some(Ext::Raw(0, _)));
        let at = if hop {
            if first_is_hop {
                packet.headers.remove(0);
            }
            packet.headers.insert(0, Ext::hop_by_hop(&options));
            0
        } else {
            let least = usize::from(first_is_hop);
            let at = least + at.index(packet.headers.len() + 1 - least);
            packet.headers.insert(at, Ext::destination(&options));
            at
        };
        (packet, at, object)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_built_is_found(packet in packet(), tagged: bool) {
        let mut packet = packet;
        packet.vlan = tagged.then_some(0);
        let frame = packet.frame();
        let l3 = if tagged { 18 } else { 14 };
        let lens: Vec<_> = packet.headers.iter().map(|h| h.bytes(0).len()).collect();
        let total: usize = lens.iter().sum();
        let parsed = parse::ipv6(&frame, l3, TYPES);
        if packet.headers.len() > MAX_EXTENSIONS || total > MAX_EXTENSION_BYTES {
            prop_assert!(parsed.is_err());
            return Ok(());
        }
        let parsed = parsed.unwrap();
        let ip = Ip::of(&frame[l3..]);
        prop_assert_eq!(parsed.l3 as usize, l3);
        prop_assert_eq!(parsed.l4 as usize, l3 + 40 + total);
        prop_assert_eq!(parsed.ip_len as usize, frame.len() - l3);
        prop_assert_eq!(parsed.protocol, packet.upper.protocol());
        prop_assert_eq!(frame[parsed.announced_at as usize], parsed.protocol);
        prop_assert_eq!(parsed.authenticated, packet.headers.contains(&Ext::Ah));
        prop_assert_eq!(parsed.source, u128::from(packet.source));
        let last_srh = packet.headers.iter().rev().find_map(|header| match header {
            Ext::Srh(left, list, _) if *left != 0 => Some(list[0]),
            _ => None,
        });
        let final_destination = last_srh.unwrap_or(packet.destination);
        prop_assert_eq!(parsed.final_destination, u128::from(final_destination));
        match &packet.upper {
            Upper::Tcp { source, destination, flags, payload, .. } => {
                let want = parse::Upper::Tcp {
                    source: *source,
                    destination: *destination,
                    flags: *flags,
                    payload: payload.len() as u16,
                };
                prop_assert_eq!(parsed.upper, want);
            }
            Upper::Udp { source, destination, .. } => {
                let (source, destination) = (*source, *destination);
                prop_assert_eq!(parsed.upper, parse::Upper::Udp { source, destination });
            }
            Upper::Ip(_) => prop_assert_eq!(parsed.upper, parse::Upper::Ipv6),
            _ => prop_assert_eq!(parsed.upper, parse::Upper::Other),
        }
        prop_assert!(parsed.request.is_none() && parsed.report.is_none());
        prop_assert_eq!(ip.upper.len(), frame.len() - parsed.l4 as usize);
    }

    /// The common shapes are parsed in a straight line; an empty Hop-by-Hop header in front makes of each one that is
    /// walked.
    #[test]
    fn short_cuts_agree_with_the_walk(
        upper in upper(),
        data in proptest::option::of(proptest::collection::vec(any::<u8>(), 4..68)),
        head in prop::sample::select(vec![0xAF52_1100_u32, 0xAF52_1200, 0xAF52_2100, 0xAF52_1F00, 0xBEEF_1100]),
        kind in prop::sample::select(vec![OPTION_TYPE, OPTION_TYPE, OPTION_TYPE, 0x1D, 1]),
        cut in 0_usize..30,
    ) {
        let mut headers = Vec::new();
        if let Some(mut data) = data {
            // So long that the option fills its header.
            data.truncate(data.len() / 8 * 8 + 4);
            data.resize(data.len().next_multiple_of(8) + 4, 0);
            data[..4].copy_from_slice(&head.to_be_bytes());
            let option = [&[kind, data.len() as u8][..], &data].concat();
            headers.push(Ext::destination(&option));
        }
        let short = Packet { headers: headers.clone(), upper, ..syn(0, service(CHAT)) };
        let walked = Packet {
            headers: [vec![Ext::hop_by_hop(&[])], headers].concat(),
            ..short.clone()
        };
        let cut = cut.min(short.frame().len() - 54);
        let parsed = [&short, &walked].map(|packet| {
            let mut frame = packet.frame();
            frame.truncate(frame.len() - cut);
            let payload = (frame.len() - 54) as u16;
            frame[18..20].copy_from_slice(&payload.to_be_bytes());
            parse::ipv6(&frame, 14, TYPES)
        });
        match parsed {
            [Ok(one), Ok(other)] => {
                prop_assert_eq!(one.upper, other.upper);
                prop_assert_eq!(one.protocol, other.protocol);
                prop_assert_eq!(one.l4 + 8, other.l4);
                prop_assert_eq!(one.foreign, other.foreign);
                for (one, other) in [
                    (one.request, other.request),
                    (one.report, other.report),
                    (one.unknown, other.unknown),
                ] {
                    let place = |found: parse::Found, on| {
                        (found.at + on, found.header + on, found.len, found.carrier)
                    };
                    prop_assert_eq!(one.map(|f| place(f, 8)), other.map(|f| place(f, 0)));
                }
            }
            [Err(one), Err(other)] => {
                prop_assert_eq!(one.reason, other.reason);
                prop_assert_eq!(one.offset + 8, other.offset);
            }
            [one, other] => prop_assert!(false, "{:?} but {:?}", one, other),
        }
    }

    #[test]
    fn stripping_leaves_a_packet((packet, at, object) in packet_with_object()) {
        let frame = packet.frame();
        let parsed = parse::ipv6(&frame, 14, TYPES).unwrap();
        let found = parsed.request.unwrap();
        prop_assert_eq!(found.of(&frame), &object[..]);
        let hop = packet.headers[at].protocol() == 0;
        prop_assert_eq!(found.carrier == Carrier::HopByHop, hop);
        let mut buf = VecBuf::new(&frame);
        let stripped = strip(&mut buf, &parsed, &found);

        let before = Ethernet::of(&frame);
        let after = Ethernet::of(buf.data());
        prop_assert_eq!((after.destination, after.source), (before.destination, before.source));
        prop_assert_eq!(&after.ip.upper, &before.ip.upper);
        let mut want = before.ip.headers.clone();
        match stripped {
            Stripped::Header(len) => {
                prop_assert_eq!(len, want[at].1.len());
                prop_assert_eq!(frame.len() - len, buf.data().len());
                let (_, gone) = want.remove(at);
                // Whoever announced it announces what it announced.
                if at > 0 {
                    want[at - 1].1[0] = gone[0];
                }
            }
            Stripped::Blanked => {
                let bytes = &mut want[at].1;
                let start = bytes.windows(object.len()).position(|w| w == object).unwrap();
                bytes[start..start + object.len()].fill(0);
            }
            Stripped::Authenticated => prop_assert!(false, "no AH"),
        }
        prop_assert_eq!(&after.ip.headers, &want);
        let transport = matches!(packet.upper, Upper::Tcp { .. } | Upper::Udp { .. });
        // A checksum over another routing header's destination is not what this is about.
        if transport && packet.headers.iter().filter(|h| matches!(h, Ext::Srh(..))).count() <= 1 {
            prop_assert!(after.ip.checksum_is_right());
        }
        let again = parse::ipv6(buf.data(), 14, TYPES).unwrap();
        prop_assert!(again.request.is_none());
        prop_assert_eq!(again.upper, parsed.upper);
    }

    #[test]
    fn nothing_changes_under_ah((packet, _, _) in packet_with_object(), at: prop::sample::Index) {
        let mut packet = packet;
        let first_is_hop = matches!(packet.headers.first(), Some(Ext::Raw(0, _)));
        let least = usize::from(first_is_hop);
        packet.headers.insert(least + at.index(packet.headers.len() + 1 - least), Ext::Ah);
        let frame = packet.frame();
        let parsed = parse::ipv6(&frame, 14, TYPES).unwrap();
        let mut buf = VecBuf::new(&frame);
        let found = parsed.request.unwrap();
        prop_assert_eq!(strip(&mut buf, &parsed, &found), Stripped::Authenticated);
        prop_assert_eq!(buf.data(), &frame[..]);
    }
}

#[test]
fn an_srh_tlv_is_blanked() {
    let object = [&EXID.to_be_bytes()[..], &[0x12, 0, 1, 2, 3, 4]].concat();
    let packet = syn(1, service(CHAT)).with(crate::support::metadata::srh(
        1,
        &[ip("2001:db8::1")],
        &object,
    ));
    let frame = packet.frame();
    let parsed = parse::ipv6(&frame, 14, TYPES).unwrap();
    let found = parsed.report.unwrap();
    assert_eq!(
        (found.carrier, found.of(&frame)),
        (Carrier::SrhTlv, &object[..])
    );
    let mut buf = VecBuf::new(&frame);
    assert_eq!(strip(&mut buf, &parsed, &found), Stripped::Blanked);
    let after = Ethernet::of(buf.data()).ip;
    assert!(after.checksum_is_right());
    assert_eq!(after.chain(), [43]);
    let again = parse::ipv6(buf.data(), 14, TYPES).unwrap();
    assert_eq!((again.report, again.unknown), (None, None));
}
