//! Requests and reports, signed and put into packets.

use std::net::Ipv6Addr;

use afr_wire::carrier;
use afr_wire::{
    ClassId, Event, EventOp, InstanceId, KeyId, LabelHash, Labels, List, MAX_REPORT_LEN,
    MAX_REQUEST_LEN, MacAlgorithm, MasterKey, OPTION_TYPE, Prefix, Report, Request, RequestContext,
    Role, SRH_TLV_TYPE, SenderKey, Signature, masked_source,
};

use super::packet::{Ext, Packet, Upper};
use super::setup::{
    CATALOGUE, CHAT, CLUSTER, KEY, NARROW_KEY, PREFIX_KEY, REPORT_KEY, UNIX_S, label,
};

/// A request for `CHAT` under [`KEY`] without labels and prefixes, issued when the tests begin.
pub(crate) fn request() -> Request {
    Request {
        key_id: KEY,
        catalogue: CATALOGUE,
        class_id: CHAT,
        issued_at: UNIX_S,
        session: 0x5E55,
        prompt_tokens: 4_096,
        ..Request::default()
    }
}

/// Label hashes, by name.
pub(crate) fn labels(names: &[&str]) -> Labels {
    Labels::Hashes(List::take_from(names.iter().map(|name| hash(name))))
}

fn hash(name: &str) -> LabelHash {
    label(name).short()
}

/// A prefix whose signature is made of `seed` and its depth.
pub(crate) const fn prefix(depth: u16, seed: u16) -> Prefix {
    let [a, b] = seed.to_be_bytes();
    let [c, d] = depth.to_be_bytes();
    Prefix {
        depth,
        signature: Signature([a, b, c, d]),
    }
}

/// A request that carries these prefixes.
pub(crate) fn with_prefixes(prefixes: &[Prefix]) -> Request {
    Request {
        prefixes: List::from_slice(prefixes).unwrap(),
        ..request()
    }
}

fn algorithm(key: KeyId) -> MacAlgorithm {
    if key == NARROW_KEY {
        MacAlgorithm::SipHash24
    } else {
        MacAlgorithm::AesCmac
    }
}

/// The object of a request, its tag made for `packet`'s way.
pub(crate) fn signed(request: &Request, packet: &Packet) -> Vec<u8> {
    let master = MasterKey::new([request.key_id.0 as u8; 16]);
    signed_under(request, packet, &master)
}

/// The same under another master key.
pub(crate) fn signed_under(request: &Request, packet: &Packet, master: &MasterKey) -> Vec<u8> {
    let mut object = [0; MAX_REQUEST_LEN];
    let len = request.emit(&mut object).unwrap();
    let mut object = object[..len].to_vec();
    if request.key_id == KeyId::NONE {
        return object;
    }
    let bits = if request.key_id == PREFIX_KEY {
        64
    } else {
        128
    };
    let source = packet.source.octets();
    let sender = masked_source(source, bits);
    let algorithm = algorithm(request.key_id);
    let key = SenderKey::derive(algorithm, master, Role::Request, CLUSTER, &sender);
    let destination_port = match &packet.upper {
        Upper::Tcp { destination, .. } | Upper::Udp { destination, .. } => *destination,
        _ => 0,
    };
    let context = RequestContext {
        source,
        destination: packet.final_destination().octets(),
        protocol: packet.upper.protocol(),
        destination_port,
    };
    key.sign_request(&context, &mut object).unwrap();
    object
}

/// A Destination Options header around an object.
pub(crate) fn dest_option(object: &[u8]) -> Ext {
    Ext::Raw(60, options_header(object))
}

/// A Hop-by-Hop Options header around an object.
pub(crate) fn hop_option(object: &[u8]) -> Ext {
    Ext::Raw(0, options_header(object))
}

fn options_header(object: &[u8]) -> Vec<u8> {
    let mut header = [0; 264];
    let len = carrier::emit_options_header(0, OPTION_TYPE, object, &mut header).unwrap();
    header[1..len].to_vec()
}

/// An SRH whose last TLV is an object.
pub(crate) fn srh(left: u8, segments: &[Ipv6Addr], object: &[u8]) -> Ext {
    let mut tlvs = [0; 264];
    let len = carrier::emit_srh_tlv(SRH_TLV_TYPE, object, &mut tlvs).unwrap();
    Ext::Srh(left, segments.to_vec(), tlvs[..len].to_vec())
}

impl Packet {
    /// The packet with a signed request in a Destination Options header.
    pub(crate) fn asking(self, request: &Request) -> Self {
        let object = signed(request, &self);
        self.with(dest_option(&object))
    }

    /// The packet with a signed report in a Destination Options header.
    pub(crate) fn reporting(self, report: &Report) -> Self {
        self.with(dest_option(&told(report)))
    }
}

/// A report of instance `n` under [`REPORT_KEY`]: idle, `seq` seconds after the tests begin.
pub(crate) fn report(n: u16, seq: u32) -> Report {
    Report {
        key_id: REPORT_KEY,
        catalogue: CATALOGUE,
        instance_id: InstanceId(u32::from(n)),
        boot_epoch: UNIX_S - 100,
        seq,
        sampled_at_ms: sampled_at(0),
        ..Report::default()
    }
}

/// The wire's date of so many milliseconds after the tests begin.
pub(crate) const fn sampled_at(after_ms: u64) -> u32 {
    (UNIX_S as u64 * 1_000 + after_ms) as u32
}

/// A report's events, by operation and prefix.
pub(crate) fn events(events: &[(EventOp, Prefix)]) -> List<Event, 176> {
    let event = |(op, prefix): &(EventOp, Prefix)| Event {
        op: *op,
        prefix: *prefix,
    };
    List::take_from(events.iter().map(event))
}

/// A report that refuses a class.
pub(crate) fn refusing(n: u16, seq: u32, class: ClassId) -> Report {
    Report {
        refusals: List::take_from([class]),
        ..report(n, seq)
    }
}

/// The object of a report, signed under the key it names.
pub(crate) fn told(report: &Report) -> Vec<u8> {
    told_as(report, report.instance_id)
}

/// The same by another sender.
pub(crate) fn told_as(report: &Report, sender: InstanceId) -> Vec<u8> {
    let mut object = [0; MAX_REPORT_LEN];
    let len = report.emit(&mut object).unwrap();
    let mut object = object[..len].to_vec();
    if report.key_id == KeyId::NONE {
        return object;
    }
    let master = MasterKey::new([report.key_id.0 as u8; 16]);
    let sender = sender.0.to_be_bytes();
    let algorithm = algorithm(report.key_id);
    let key = SenderKey::derive(algorithm, &master, Role::Report, CLUSTER, &sender);
    key.sign_report(&mut object).unwrap();
    object
}
