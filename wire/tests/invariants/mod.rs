//! What must hold of every parser for any bytes. The fuzz targets and the regression tests run
//! these same functions, so a crash found by the one is kept by the other.

#![allow(dead_code, reason = "each program uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "failing is what a check is for"
)]

use afr_wire::carrier::{SRH_PADN, Tlvs};
use afr_wire::option::{MAX_OPTIONS, MAX_PADDING, OptionFault, Options, PAD1, PADN};
use afr_wire::*;

/// An object: whatever is accepted has accessors that agree, comes back from its value, is
/// nothing any more when cut, and verifies once signed.
pub(crate) fn object(data: &[u8]) {
    let in_band = Object::parse(data, Place::InBand);
    let datagram = Object::parse(data, Place::Datagram);
    assert!(
        datagram.is_ok() || in_band.is_err(),
        "a datagram may hold whatever a header may"
    );
    let object = match datagram {
        Ok(object) => object,
        Err(ParseError::Malformed { offset, .. }) => return assert!(offset <= data.len()),
        Err(_) => return,
    };
    assert_eq!(object.as_bytes(), data);
    for length in 0..data.len() {
        assert!(
            Object::parse(&data[..length], Place::Datagram).is_err(),
            "cut at {length}"
        );
    }
    match object {
        Object::Request(view) => request(&view),
        Object::Report(view) => {
            assert_eq!(in_band.is_ok(), view.n_events() <= MAX_EVENTS_IN_BAND);
            report(&view);
        }
    }
}

fn request(view: &RequestView<'_>) {
    assert_eq!(view.mac().is_some(), view.key_id().has_mac());
    assert_eq!(view.labels().len(), view.n_labels());
    assert_eq!(view.prefixes().len(), view.n_prefixes());
    assert!(view.n_labels() <= MAX_LABELS && view.n_prefixes() <= MAX_PREFIXES);
    assert_eq!(
        view.bloom().is_some(),
        view.flags().contains(RequestFlags::BLOOM)
    );
    assert!(view.prefixes().all(|prefix| prefix.depth > 0));
    assert!(
        view.prefixes()
            .is_sorted_by(|one, next| one.depth < next.depth)
    );

    let value = Request::from_view(view);
    let mut out = [0xff; MAX_REQUEST_LEN];
    let length = value.emit(&mut out).unwrap();
    assert_eq!(
        (length, value.buffer_len()),
        (view.as_bytes().len(), view.as_bytes().len())
    );
    let out = &mut out[..length];
    let context = RequestContext {
        source: [1; 16],
        destination: [2; 16],
        protocol: 6,
        destination_port: 443,
    };
    let key = key(Role::Request);
    assert_eq!(
        key.sign_request(&context, out).is_ok(),
        view.key_id().has_mac()
    );
    let Ok(Object::Request(again)) = Object::parse(out, Place::InBand) else {
        panic!("a request was written");
    };
    assert_eq!(Request::from_view(&again), value);
    assert_eq!(
        key.verify_request(&context, &again),
        view.key_id().has_mac()
    );
}

fn report(view: &ReportView<'_>) {
    assert_eq!(view.mac().is_some(), view.key_id().has_mac());
    assert_eq!(view.events().count(), view.n_events());
    assert_eq!(view.refusals().len(), view.n_refusals());
    assert!(view.n_events() <= MAX_EVENTS_DATAGRAM && view.n_refusals() <= MAX_REFUSALS);
    assert!(view.events().all(|event| event.prefix.depth > 0));

    let value = Report::from_view(view);
    let mut out = [0xff; MAX_REPORT_LEN];
    let length = value.emit(&mut out).unwrap();
    assert_eq!(
        (length, value.buffer_len()),
        (view.as_bytes().len(), view.as_bytes().len())
    );
    let out = &mut out[..length];
    let key = key(Role::Report);
    assert_eq!(key.sign_report(out).is_ok(), view.key_id().has_mac());
    let Ok(Object::Report(again)) = Object::parse(out, Place::Datagram) else {
        panic!("a report was written");
    };
    assert_eq!(Report::from_view(&again), value);
    assert_eq!(key.verify_report(&again), view.key_id().has_mac());
}

fn key(role: Role) -> SenderKey {
    SenderKey::derive(
        MacAlgorithm::AesCmac,
        &MasterKey::new([3; 16]),
        role,
        ClusterId(1),
        &[4; 16],
    )
}

/// The options of a header: those found lie where they say, and the header is accepted exactly
/// when Linux accepts it.
pub(crate) fn options(bytes: &[u8]) {
    let mut end = 0;
    let mut found = 0;
    let mut accepted = true;
    let mut walk = Options::new(bytes);
    for option in walk.by_ref() {
        match option {
            Ok(option) => {
                assert!(option.offset >= end && option.kind != PAD1 && option.kind != PADN);
                end = option.offset + 2 + option.data.len();
                assert_eq!(&bytes[option.offset + 2..end], option.data);
                assert_eq!(bytes[option.offset], option.kind);
                found += 1;
                if option.kind == OPTION_TYPE {
                    object(option.data);
                }
            }
            Err(error) => {
                assert!((end..bytes.len()).contains(&error.offset));
                accepted = false;
            }
        }
    }
    assert!(found <= MAX_OPTIONS);
    assert_eq!(walk.next(), None);
    assert_eq!(accepted, linux_accepts(bytes));
}

/// Linux's `ip6_parse_tlv` (net/ipv6/exthdrs.c) with its default limit, written after its
/// structure and not after ours.
fn linux_accepts(bytes: &[u8]) -> bool {
    let (mut off, mut len) = (0, bytes.len());
    let (mut padlen, mut tlv_count) = (0, 0);
    while len > 0 {
        if bytes[off] == 0 {
            padlen += 1;
            if padlen > 7 {
                return false;
            }
            off += 1;
            len -= 1;
            continue;
        }
        if len < 2 {
            return false;
        }
        let optlen = usize::from(bytes[off + 1]) + 2;
        if optlen > len {
            return false;
        }
        if bytes[off] == 1 {
            padlen += optlen;
            if padlen > 7 {
                return false;
            }
            if bytes[off + 2..off + optlen].iter().any(|byte| *byte != 0) {
                return false;
            }
        } else {
            tlv_count += 1;
            if tlv_count > 8 {
                return false;
            }
            padlen = 0;
        }
        off += optlen;
        len -= optlen;
    }
    true
}

/// The TLVs of an SRH: those found lie where they say, between them is nothing but padding within
/// its bound, and padding is never judged by what it holds.
pub(crate) fn srh_tlvs(bytes: &[u8]) {
    let mut end = 0;
    let mut found = 0;
    let mut error = None;
    let mut walk = Tlvs::new(bytes);
    for tlv in walk.by_ref() {
        match tlv {
            Ok(tlv) => {
                assert!(tlv.kind != PAD1 && tlv.kind != SRH_PADN);
                assert!((end..=end + MAX_PADDING).contains(&tlv.offset));
                end = tlv.offset + 2 + tlv.data.len();
                assert_eq!(&bytes[tlv.offset + 2..end], tlv.data);
                found += 1;
                if tlv.kind == SRH_TLV_TYPE {
                    object(tlv.data);
                }
            }
            Err(fault) => error = Some(fault),
        }
    }
    assert!(found <= MAX_OPTIONS);
    assert_eq!(walk.next(), None);
    match error {
        None => assert!(bytes.len() - end <= MAX_PADDING),
        Some(error) => {
            assert!((end..bytes.len()).contains(&error.offset));
            assert_ne!(error.fault, OptionFault::PaddingNotZero);
        }
    }
}
