//! Headers in front of each other.

use std::net::Ipv6Addr;

use super::PORT_MAC;

pub(super) const ETHERNET_LEN: usize = 14;
pub(super) const IPV6_LEN: usize = 40;
pub(super) const UDP_LEN: usize = 8;
pub(super) const TCP_LEN: usize = 20;

pub(super) const HOP_BY_HOP: u8 = 0;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const IPV6: u8 = 41;
pub(super) const ROUTING: u8 = 43;
pub(super) const DEST_OPTIONS: u8 = 60;

const HOP_LIMIT: u8 = 64;
/// Who the frames come from.
const PEER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];

/// An Ethernet frame to the AFR's port around an IPv6 packet.
pub(super) fn ethernet(packet: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(ETHERNET_LEN + packet.len());
    frame.extend(PORT_MAC);
    frame.extend(PEER_MAC);
    frame.extend([0x86, 0xDD]);
    frame.extend(packet);
    frame
}

/// An IPv6 packet around what follows its header.
pub(super) fn ipv6(next: u8, source: Ipv6Addr, destination: Ipv6Addr, rest: &[&[u8]]) -> Vec<u8> {
    let len: usize = rest.iter().map(|part| part.len()).sum();
    let mut packet = Vec::with_capacity(IPV6_LEN + len);
    packet.extend([0x60, 0, 0, 0]);
    packet.extend((len as u16).to_be_bytes());
    packet.extend([next, HOP_LIMIT]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    rest.iter().for_each(|part| packet.extend(*part));
    packet
}

/// A UDP datagram with so many bytes of payload.
pub(super) fn udp(source: u16, destination: u16, payload: usize) -> Vec<u8> {
    let len = UDP_LEN + payload;
    let mut datagram = Vec::with_capacity(len);
    datagram.extend(source.to_be_bytes());
    datagram.extend(destination.to_be_bytes());
    datagram.extend((len as u16).to_be_bytes());
    // No one here checks it; 0 is not allowed (RFC 8200 §8.1).
    datagram.extend([0xFF, 0xFF]);
    datagram.resize(len, 0);
    datagram
}

/// A TCP segment with SYN alone and so many bytes of payload.
pub(super) fn syn(source: u16, destination: u16, payload: usize) -> Vec<u8> {
    const SYN: u8 = 0x02;
    let mut segment = Vec::with_capacity(TCP_LEN + payload);
    segment.extend(source.to_be_bytes());
    segment.extend(destination.to_be_bytes());
    // Sequence and acknowledgment numbers; a header of five words; a window; no one here checks the checksum.
    segment.extend([0; 8]);
    segment.extend([((TCP_LEN / 4) << 4) as u8, SYN, 0xFF, 0xFF, 0, 0, 0, 0]);
    segment.resize(TCP_LEN + payload, 0);
    segment
}

/// A Segment Routing Header with no segments left whose one segment is `segment`, and TLVs (RFC 8754 §2).
pub(super) fn srh(next: u8, segment: Ipv6Addr, tlvs: &[u8]) -> Vec<u8> {
    let units = (16 + tlvs.len()) / 8;
    let mut header = vec![next, units as u8, 4, 0, 0, 0, 0, 0];
    header.extend(segment.octets());
    header.extend(tlvs);
    header
}
