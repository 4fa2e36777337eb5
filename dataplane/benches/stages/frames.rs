//! The frames of each scenario: [`ROUND`] different ones.

use std::net::Ipv6Addr;

use afr_dataplane::packet::parse::{self, Types};
use afr_wire::{
    EventOp, InstanceId, MacAlgorithm, MasterKey, OPTION_TYPE, Report, Request, RequestFlags, Role,
    SRH_TLV_TYPE, SenderKey,
};

use super::ROUND;
use super::site::{prefixes, task};
use crate::support::metadata::{dest_option, events, report, request, signed, signed_under, srh};
use crate::support::packet::{ACK, PSH, Packet};
use crate::support::setup::{
    CHAT, CLUSTER, REPORT_KEY, SID, WILD, instance_mac, ip, service, tunnel_source,
};
use crate::support::world::{data, datagram, reply, syn};

/// Code points of the metadata.
pub(crate) const TYPES: Types = Types {
    option: OPTION_TYPE,
    tlv: SRH_TLV_TYPE,
};

/// The first of the clients' ports.
const PORTS: usize = 20_000;
/// Instances that reply.
const REPLYING: usize = 64;

/// A frame for each number of a round.
fn round(packet: impl Fn(usize) -> Packet) -> Vec<Vec<u8>> {
    (0..ROUND).map(|n| packet(n).frame()).collect()
}

fn port(n: usize) -> u16 {
    (PORTS + n) as u16
}

fn instance(n: usize) -> u16 {
    (n % REPLYING) as u16 + 1
}

/// Clients' SYN, with or without a request.
pub(crate) fn opening(with_request: bool) -> Vec<Vec<u8>> {
    round(|n| {
        let packet = syn(port(n), service(CHAT));
        if with_request {
            packet.asking(&task(n))
        } else {
            packet
        }
    })
}

/// Clients' payload without metadata.
pub(crate) fn plain() -> Vec<Vec<u8>> {
    round(|n| data(port(n), service(CHAT), 7))
}

/// Clients' payload with the request of their flow, or with the request of so many tasks later.
pub(crate) fn asking(later: usize) -> Vec<Vec<u8>> {
    round(|n| data(port(n), service(CHAT), 7).asking(&task(n + later)))
}

/// Clients' payload with the request of their flow as a TLV of a Segment Routing Header.
pub(crate) fn asking_by_srh() -> Vec<Vec<u8>> {
    round(|n| {
        let packet = data(port(n), service(CHAT), 7);
        let object = signed(&task(n), &packet);
        packet.with(srh(0, &[service(CHAT)], &object))
    })
}

/// The same of requests with neither labels nor prefixes.
pub(crate) fn asking_briefly(later: usize) -> Vec<Vec<u8>> {
    round(|n| data(port(n), service(CHAT), 7).asking(&brief(n + later)))
}

/// A request with neither labels nor prefixes.
fn brief(n: usize) -> Request {
    Request {
        session: n as u64,
        ..request()
    }
}

/// SYN with a request that somebody else signed.
pub(crate) fn forged() -> Vec<Vec<u8>> {
    round(|n| by_another(syn(port(n), service(CHAT)), &task(n)))
}

/// The same of datagrams and requests with neither labels nor prefixes.
pub(crate) fn forged_briefly() -> Vec<Vec<u8>> {
    round(|n| by_another(datagram(port(n), service(CHAT)), &brief(n)))
}

fn by_another(packet: Packet, request: &Request) -> Packet {
    let object = signed_under(request, &packet, &MasterKey::new([0xEE; 16]));
    packet.with(dest_option(&object))
}

/// Datagrams, each a task of its own.
pub(crate) fn tasks() -> Vec<Vec<u8>> {
    anew(task)
}

/// The same of requests with neither labels nor prefixes.
pub(crate) fn brief_tasks() -> Vec<Vec<u8>> {
    anew(brief)
}

fn anew(request: fn(usize) -> Request) -> Vec<Vec<u8>> {
    round(|n| {
        let request = Request {
            flags: RequestFlags::NEW_TASK,
            ..request(n)
        };
        datagram(port(n), service(CHAT)).asking(&request)
    })
}

/// Clients' payload with a request, from where requests are not believed.
pub(crate) fn untrusted() -> Vec<Vec<u8>> {
    round(|n| {
        let packet = data(port(n), service(CHAT), 7).by(WILD);
        packet.asking(&task(n))
    })
}

/// Tunnelled replies, each with its instance's report of this number, or without.
pub(crate) fn replies(seq: Option<u32>) -> Vec<Vec<u8>> {
    round(|n| {
        let packet = tunnelled(n, service(CHAT));
        match seq {
            Some(seq) => packet.reporting(&news(instance(n), seq)),
            None => packet,
        }
    })
}

/// The same with an inner source that is no service, so that they end when they are decapsulated; with a report or without.
pub(crate) fn foreign_replies(seq: Option<u32>) -> Vec<Vec<u8>> {
    round(|n| {
        let packet = tunnelled(n, ip("2001:db8:bad::1"));
        match seq {
            Some(seq) => packet.reporting(&news(instance(n), seq)),
            None => packet,
        }
    })
}

/// Replies of a service that merely pass through, with a report or without.
pub(crate) fn passing(seq: Option<u32>) -> Vec<Vec<u8>> {
    round(|n| {
        let packet = answer(n, service(CHAT));
        match seq {
            Some(seq) => packet.reporting(&news(instance(n), seq)),
            None => packet,
        }
    })
}

/// The service's payload.
fn answer(n: usize, source: Ipv6Addr) -> Packet {
    reply(port(n), source).tcp(|tcp| {
        *tcp.flags = PSH | ACK;
        tcp.options.clear();
        *tcp.payload = b"data: {\"choices\":[{\"text\":\" the\"}]}".to_vec();
    })
}

/// The same in the tunnel of its instance.
fn tunnelled(n: usize, source: Ipv6Addr) -> Packet {
    let mut packet = answer(n, source).tunnelled(tunnel_source(instance(n)), SID);
    packet.from_mac = instance_mac(instance(n));
    packet
}

/// The report of instance `n`: its load, and two prefixes that it holds now.
fn news(n: u16, seq: u32) -> Report {
    let [shallow, deep, _] = prefixes(n);
    Report {
        pending_prefill_tokens: 1_000,
        events: events(&[(EventOp::Stored, shallow), (EventOp::Stored, deep)]),
        ..report(n, seq)
    }
}

/// Makes the reports in [`replies`] or [`foreign_replies`] the next ones of their instances, as often as one likes.
pub(crate) struct Renewal {
    keys: Vec<SenderKey>,
    /// Where the report lies in each frame.
    at: std::ops::Range<usize>,
    seq: u32,
}

impl Renewal {
    pub(crate) fn of(frames: &[Vec<u8>]) -> Self {
        let master = MasterKey::new([REPORT_KEY.0 as u8; 16]);
        let key = |n: usize| {
            let sender = InstanceId(u32::from(instance(n))).0.to_be_bytes();
            SenderKey::derive(
                MacAlgorithm::AesCmac,
                &master,
                Role::Report,
                CLUSTER,
                &sender,
            )
        };
        let found = parse::ipv6(&frames[0], 14, TYPES).unwrap().report.unwrap();
        let at = usize::from(found.at);
        Self {
            keys: (0..REPLYING).map(key).collect(),
            at: at..at + usize::from(found.len),
            seq: 1_000,
        }
    }

    /// Numbers and signs all of them.
    pub(crate) fn next(&mut self, frames: &mut [Vec<u8>]) {
        for (n, frame) in frames.iter_mut().enumerate() {
            if n % REPLYING == 0 {
                self.seq += 1;
            }
            let object = &mut frame[self.at.clone()];
            object[16..20].copy_from_slice(&self.seq.to_be_bytes());
            self.keys[n % REPLYING].sign_report(object).unwrap();
        }
    }
}
