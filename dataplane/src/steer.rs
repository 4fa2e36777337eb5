//! Which worker a packet belongs to, told from its bytes alone: for steering between workers, where receive queues do not
//! see to that (`[workers] steering`).
//!
//! The owner follows from addresses, protocol and ports of the packet that a client and a service exchange, whichever of
//! the two sent it and whatever it travels in: of a tunnelled packet the inner one counts, of an ICMPv6 error the one that
//! it quotes. So a flow's requests, its replies and the errors about both meet at one worker.
//!
//! The hash is our own, not the device's. RSS hashes the outer header, which for replies is a tunnel's, and a device
//! without RSS has none; Toeplitz under a published symmetric key can be computed by anybody, who could then aim all flows
//! at one worker. It is keyed apart from the flow tables', so that what one worker owns spreads over its whole table.
//!
//! Who has no flow stays where it was received: what is no IPv6, is for a group, is Neighbor Discovery or an Echo, or cannot
//! be read. Nothing is checked here: what a wrong packet comes to is for the stages to say, at whichever worker.

use std::hash::Hasher as _;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

use crate::id::WorkerId;
use crate::packet::bytes::{address, be16, byte};
use crate::packet::parse::{ETHERNET_LEN, IPV6_LEN, MAX_EXTENSIONS, protocol};

/// IPv6 headers that are looked at: an error that quotes a tunnelled packet has three.
const MAX_HEADERS: usize = 3;
/// The ICMPv6 header in front of what an error quotes (RFC 4443 §2.4).
const ICMP6_LEN: usize = 8;
const SRH: u8 = 4;

/// Finds the owners of packets.
#[derive(Clone)]
pub struct Owners {
    workers: u64,
    per_hasher: u64,
    shared: SharedSeed,
}

impl std::fmt::Debug for Owners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Owners(secret, {} workers)", self.workers)
    }
}

/// Two ends that speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ends {
    source: (u128, u16),
    destination: (u128, u16),
    proto: u8,
}

impl Owners {
    /// Owners among so many workers, at least 1. `seed` is random per process, and the same on all workers.
    #[must_use]
    pub const fn new(workers: u16, seed: u64) -> Self {
        Self {
            workers: if workers == 0 { 1 } else { workers as u64 },
            per_hasher: seed.rotate_left(17),
            shared: SharedSeed::from_u64(!seed),
        }
    }

    /// The worker that the frame belongs to; `None`: whichever has it.
    #[inline]
    #[must_use]
    pub fn of(&self, frame: &[u8]) -> Option<WorkerId> {
        let ends = ends(frame)?;
        let (a, b) = (ends.source, ends.destination);
        let ((low, low_port), (high, high_port)) = if a <= b { (a, b) } else { (b, a) };
        let mut hasher = FoldHasher::with_seed(self.per_hasher, &self.shared);
        hasher.write_u128(low);
        hasher.write_u128(high);
        hasher.write_u64(
            u64::from(low_port) << 32 | u64::from(high_port) << 8 | u64::from(ends.proto),
        );
        let owner = ((hasher.finish() >> 32) * self.workers) >> 32;
        Some(WorkerId(owner as u16))
    }
}

/// The ends of the innermost packet that is looked at.
#[inline]
fn ends(frame: &[u8]) -> Option<Ends> {
    // To a group.
    if byte(frame, 0) & 1 != 0 {
        return None;
    }
    let l3 = match be16(frame, 12) {
        0x86DD => ETHERNET_LEN,
        0x8100 if be16(frame, 16) == 0x86DD => ETHERNET_LEN + 4,
        _ => return None,
    };
    let mut packet = frame.get(l3..)?;
    for _ in 0..MAX_HEADERS {
        match header(packet)? {
            Layer::Flow(ends) => return Some(ends),
            Layer::Inner(at) => packet = packet.get(at..)?,
        }
    }
    None
}

/// What an IPv6 header and its extensions lead to.
enum Layer {
    /// A flow's own packet.
    Flow(Ends),
    /// Another IPv6 header, at this offset from the first.
    Inner(usize),
}

#[inline]
fn header(packet: &[u8]) -> Option<Layer> {
    if packet.len() < IPV6_LEN || packet[0] >> 4 != 6 {
        return None;
    }
    let (source, mut destination) = (address(packet, 8), address(packet, 24));
    if destination >> 120 == 0xFF {
        return None;
    }
    let (mut next, mut at) = (packet[6], IPV6_LEN);
    for _ in 0..=MAX_EXTENSIONS {
        let mut len = 8 + 8 * usize::from(byte(packet, at + 1));
        match next {
            protocol::HOP_BY_HOP | protocol::DEST_OPTIONS => {}
            protocol::ROUTING => {
                // The last segment, which comes first, is where the packet is going (RFC 8754 §2).
                if byte(packet, at + 2) == SRH && byte(packet, at + 3) != 0 && len >= 24 {
                    destination = address(packet, at + 8);
                }
            }
            protocol::AH => len = 8 + 4 * usize::from(byte(packet, at + 1)),
            protocol::FRAGMENT => {
                // Offset and M; a packet in one fragment is whole (RFC 6946).
                if be16(packet, at + 2) & !0b110 != 0 {
                    return Some(flow(source, destination, (0, 0), next));
                }
                len = 8;
            }
            protocol::IPV6 => return Some(Layer::Inner(at)),
            protocol::ICMP6 => {
                // Errors have types below 128. What is no error has no flow.
                let is_error = packet.len() > at && packet[at] < 128;
                return is_error.then_some(Layer::Inner(at + ICMP6_LEN));
            }
            protocol::TCP | protocol::UDP => {
                let ports = (be16(packet, at), be16(packet, at + 2));
                return Some(flow(source, destination, ports, next));
            }
            _ => return Some(flow(source, destination, (0, 0), next)),
        }
        next = byte(packet, at);
        at += len;
        if at >= packet.len() {
            return None;
        }
    }
    None
}

#[inline(always)]
fn flow(source: u128, destination: u128, ports: (u16, u16), proto: u8) -> Layer {
    Layer::Flow(Ends {
        source: (source, ports.0),
        destination: (destination, ports.1),
        proto,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: u128 = 0x2001_0db8_000c_0000_0000_0000_0000_0007;
    const SERVICE: u128 = 0xfd00_00a9_0000_0000_0000_0000_0000_0001;
    const SID: u128 = 0xfd00_00af_0000_0000_0000_0000_0005_0001;
    const INSTANCE: u128 = 0xfd00_0001_0000_0000_0000_0000_0000_0011;

    fn ipv6(next: u8, source: u128, destination: u128, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend((payload.len() as u16).to_be_bytes());
        packet.extend([next, 64]);
        packet.extend(source.to_be_bytes());
        packet.extend(destination.to_be_bytes());
        packet.extend(payload);
        packet
    }

    fn frame(packet: &[u8]) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xDD];
        frame.extend(packet);
        frame
    }

    fn tcp(source: u16, destination: u16) -> Vec<u8> {
        let mut tcp = [source.to_be_bytes(), destination.to_be_bytes()].concat();
        tcp.resize(20, 0);
        tcp
    }

    fn options(next: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![next, 1, 1, 12];
        bytes.resize(16, 0);
        bytes.extend(rest);
        bytes
    }

    fn error(about: &[u8]) -> Vec<u8> {
        let mut bytes = vec![1, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend(about);
        bytes
    }

    fn owners() -> Owners {
        Owners::new(8, 0x1234_5678)
    }

    /// A request, the reply in every form that it takes, and errors about both are one worker's.
    #[test]
    fn everything_of_a_flow_has_one_owner() {
        let owners = owners();
        for port in 1_024..1_224 {
            let there = ipv6(6, CLIENT, SERVICE, &tcp(port, 8_000));
            let back = ipv6(6, SERVICE, CLIENT, &tcp(8_000, port));
            let owner = owners.of(&frame(&there));
            assert!(owner.is_some());
            let mut srh = vec![6, 4, 4, 1, 1, 0, 0, 0];
            srh.extend(CLIENT.to_be_bytes());
            srh.extend(SID.to_be_bytes());
            srh.extend(tcp(8_000, port));
            let mut atomic = vec![6, 0, 0, 0b110, 0, 0, 0, 1];
            atomic.extend(tcp(port, 8_000));
            let mut tagged = frame(&there);
            tagged.splice(12..12, [0x81, 0, 0, 100]);
            let same = [
                frame(&back),
                // With metadata; tunnelled, with a report outside; by an SRH of which one segment is left.
                frame(&ipv6(60, CLIENT, SERVICE, &options(6, &tcp(port, 8_000)))),
                frame(&ipv6(41, INSTANCE, SID, &back)),
                frame(&ipv6(60, INSTANCE, SID, &options(41, &back))),
                frame(&ipv6(43, SERVICE, SID, &srh)),
                frame(&ipv6(44, CLIENT, SERVICE, &atomic)),
                tagged,
                // About the reply, from the client; about the tunnelled request, from the fabric.
                frame(&ipv6(58, CLIENT, SERVICE, &error(&back))),
                frame(&ipv6(
                    58,
                    INSTANCE,
                    SID,
                    &error(&ipv6(41, SID, INSTANCE, &there)),
                )),
            ];
            for (at, other) in same.iter().enumerate() {
                assert_eq!(owners.of(other), owner, "form {at}, port {port}");
            }
        }
    }

    #[test]
    fn flows_spread_evenly_and_by_the_seed() {
        let mut count = [[0_u32; 8]; 2];
        let mut moved = 0;
        for port in 0..8_000 {
            let frame = frame(&ipv6(17, CLIENT, SERVICE, &tcp(port, 8_000)));
            let [one, other] =
                [1, 2].map(|seed| usize::from(Owners::new(8, seed).of(&frame).unwrap().0));
            count[0][one] += 1;
            count[1][other] += 1;
            moved += u32::from(one != other);
        }
        assert!(moved > 6_000, "{moved} of 8000");
        for worker in count.as_flattened() {
            assert!((800..1_200).contains(worker), "{count:?}");
        }
    }

    #[test]
    fn what_has_no_flow_has_no_owner_and_nothing_panics() {
        let owners = owners();
        let solicitation = ipv6(58, CLIENT, SERVICE, &[135, 0, 0, 0, 0, 0, 0, 0]);
        let group = ipv6(17, CLIENT, 0xFF02 << 112 | 1, &tcp(1, 2));
        let mut arp = frame(&group);
        arp[13] = 6;
        for none in [frame(&solicitation), frame(&group), arp, Vec::new()] {
            assert_eq!(owners.of(&none), None, "{none:x?}");
        }
        let deep = ipv6(
            58,
            INSTANCE,
            SID,
            &error(&ipv6(41, SID, INSTANCE, &options(6, &tcp(1, 2)))),
        );
        let chain = (0..12).fold(tcp(1, 2), |rest, _| options(60, &rest));
        for whole in [frame(&deep), frame(&ipv6(60, CLIENT, SERVICE, &chain))] {
            for len in 0..whole.len() {
                let _ = owners.of(&whole[..len]);
            }
        }
    }
}
