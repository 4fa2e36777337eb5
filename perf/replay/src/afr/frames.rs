//! The frames that clients and instances send: Ethernet, IPv6, the metadata's real bytes, and an upper layer whose checksum
//! nobody on this way looks at.

use std::net::Ipv6Addr;

use afr_dataplane::packet::bytes::upper_layer_checksum;
use afr_endpoint::depth;
use afr_wire::{
    EmitError, List, MAX_REQUEST_LEN, OPTION_TYPE, RequestContext, Role, SenderKey, SignError,
    carrier, masked_source,
};

use super::config::{
    ADDRESS, ALGORITHM, CATALOGUE, CLASS, CLUSTER, DOMAIN, Depths, KEY, MACS, SALT, SERVICE, SID,
    client, master, tunnel_source,
};
use crate::router::Instance;
use crate::scenario::{self, Labels};
use crate::workload::{BLOCK_UNITS, Job};

const TCP: u8 = 6;
const UDP: u8 = 17;
const IPV6: u8 = 41;
const OPTIONS: u8 = 60;
/// The port of the service.
const SERVICE_PORT: u16 = 8_000;

/// TCP's flags of the segments there are.
pub(super) mod flag {
    pub(in crate::afr) const SYN: u8 = 0x02;
    pub(in crate::afr) const ACK: u8 = 0x10;
    pub(in crate::afr) const FIN_ACK: u8 = 0x11;
    pub(in crate::afr) const PSH_ACK: u8 = 0x18;
}

/// Clients there are at the most; a sender's key is derived once.
const CLIENTS: u16 = 1_024;

/// Why metadata could not be made.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The object could not be written.
    #[error(transparent)]
    Emit(#[from] EmitError),
    /// The object could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// The clients, who keep what they derive from their keys.
#[derive(Debug)]
pub(super) struct Clients {
    keys: Vec<SenderKey>,
    depths: Depths,
    /// By kind of request.
    needs: Vec<afr_wire::Labels>,
}

impl Clients {
    pub(super) fn new(depths: Depths, needs: &[Labels]) -> Self {
        let hashes = |needs: &Labels| {
            let names = scenario::names(*needs);
            List::take_from(names.map(|name| SALT.label(name).short()))
        };
        let needs = needs.iter().map(hashes);
        let key = |number| {
            let sender = masked_source(client(number).octets(), 128);
            SenderKey::derive(ALGORITHM, &master(), Role::Request, CLUSTER, &sender)
        };
        Self {
            keys: (0..CLIENTS).map(key).collect(),
            depths,
            needs: needs.map(afr_wire::Labels::Hashes).collect(),
        }
    }

    /// The header of Destination Options with the request's signed metadata, as every segment of its connection has it.
    pub(super) fn header(&self, job: &Job, unix_s: u32) -> Result<Vec<u8>, FrameError> {
        let number = (job.id % u32::from(CLIENTS)) as u16;
        let request = afr_wire::Request {
            key_id: KEY,
            catalogue: CATALOGUE,
            class_id: CLASS,
            issued_at: unix_s,
            session: u64::from(job.id),
            prompt_tokens: job.input_tokens,
            domain: DOMAIN,
            labels: self.needs.get(job.variant).cloned().unwrap_or_default(),
            prefixes: List::take_from(
                depths(self.depths, job)
                    .iter()
                    .filter_map(|depth| job.blocks.get(usize::from(depth / BLOCK_UNITS) - 1))
                    .map(|block| block.prefix),
            ),
            ..afr_wire::Request::default()
        };
        let mut object = [0; MAX_REQUEST_LEN];
        let len = request.emit(&mut object)?;
        let object = &mut object[..len];
        let context = RequestContext {
            source: client(number).octets(),
            destination: SERVICE.octets(),
            protocol: TCP,
            destination_port: SERVICE_PORT,
        };
        self.keys[usize::from(number)].sign_request(&context, object)?;
        let mut header = [0; 264];
        let len = carrier::emit_options_header(TCP, OPTION_TYPE, object, &mut header)?;
        Ok(header[..len].to_vec())
    }
}

fn depths(kind: Depths, job: &Job) -> depth::Depths {
    let units = u16::try_from(job.blocks.len()).unwrap_or(u16::MAX / BLOCK_UNITS) * BLOCK_UNITS;
    match kind {
        Depths::None => depth::Depths::new(),
        Depths::Endpoint => depth::choose(units, &job.boundaries, BLOCK_UNITS),
        Depths::Octaves => depth::choose(units, &[], BLOCK_UNITS),
    }
}

/// The client's port of a request's connection, another for each attempt.
const fn client_port(job: &Job) -> u16 {
    let number = job.id / CLIENTS as u32 + job.attempt * 10_000;
    1_024 + (number % 60_000) as u16
}

/// A segment of a request's connection.
pub(super) fn segment(job: &Job, header: &[u8], flags: u8, sequence: u32) -> Vec<u8> {
    let number = (job.id % u32::from(CLIENTS)) as u16;
    let port = client_port(job);
    let payload: &[u8] = if flags == flag::PSH_ACK {
        b"POST /v1/completions HTTP/1.1\r\n"
    } else {
        &[]
    };
    let mut tcp = Vec::with_capacity(64);
    tcp.extend(port.to_be_bytes());
    tcp.extend(SERVICE_PORT.to_be_bytes());
    tcp.extend(sequence.to_be_bytes());
    // What follows the request acknowledges the answer's beginning.
    let acknowledges: u32 = match flags {
        flag::SYN => 0,
        flag::PSH_ACK => 1,
        _ => 1 + ANSWER.len() as u32,
    };
    tcp.extend(acknowledges.to_be_bytes());
    tcp.extend([0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    tcp.extend(payload);
    let mut body = header.to_vec();
    body.extend(tcp);
    let packet = ipv6(client(number), SERVICE, OPTIONS, &body);
    ethernet(0, &packet)
}

/// What an answer begins with.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n";

/// What [`segment`] numbers begin with.
pub(super) const FIRST_SEQUENCE: u32 = 1_000;

/// A reply to a request in its instance's tunnel, with a report in a header of the outer packet.
pub(super) fn reply(job: &Job, instance: Instance, header: &[u8]) -> Vec<u8> {
    let number = (job.id % u32::from(CLIENTS)) as u16;
    let port = client_port(job);
    let mut tcp = Vec::with_capacity(32);
    tcp.extend(SERVICE_PORT.to_be_bytes());
    tcp.extend(port.to_be_bytes());
    tcp.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0x20, 0, 0, 0, 0, 0]);
    tcp.extend(ANSWER);
    let inner = ipv6(SERVICE, client(number), TCP, &tcp);
    let mut body = header.to_vec();
    // Whoever makes the header leaves the next one to the kernel.
    if let Some(next) = body.first_mut() {
        *next = IPV6;
    }
    body.extend(inner);
    let packet = ipv6(tunnel_source(instance), SID, OPTIONS, &body);
    ethernet(1, &packet)
}

/// A report datagram.
pub(super) fn datagram(instance: Instance, report: &[u8]) -> Vec<u8> {
    let source = tunnel_source(instance);
    let mut udp = Vec::with_capacity(8 + report.len());
    udp.extend(40_000_u16.to_be_bytes());
    udp.extend(afr_wire::UDP_PORT.to_be_bytes());
    udp.extend((8 + report.len() as u16).to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(report);
    let checksum = upper_layer_checksum(source.into(), ADDRESS.into(), UDP, &udp);
    udp[6..8].copy_from_slice(&checksum.to_be_bytes());
    ethernet(1, &ipv6(source, ADDRESS, UDP, &udp))
}

fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, next: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(40 + body.len());
    packet.extend([0x60, 0, 0, 0]);
    packet.extend((body.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(body);
    packet
}

fn ethernet(port: usize, packet: &[u8]) -> Vec<u8> {
    let mut frame = MACS[port].to_vec();
    frame.extend([2, 0, 0, 0, 0, 9, 0x86, 0xDD]);
    frame.extend(packet);
    frame
}
