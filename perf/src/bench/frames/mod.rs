//! Frames to measure with: deterministic from their parameters.
//!
//! Client *n* speaks from a port of its own to the service address; instance *i* tunnels back. Everything is signed as
//! the AFR expects it, or wrongly where that is the point. All addresses are documentation's (RFC 3849).

mod build;
mod pcap;
mod reply;
mod request;

use std::net::Ipv6Addr;

use afr_wire::{CatalogueVersion, ClassId, ClusterId, KeyId, MacAlgorithm};

pub(crate) use pcap::write_sample;
pub use pcap::{read_pcap, write_pcap};

/// Class of every request.
pub const CLASS: ClassId = ClassId(1);
/// Catalogue of every request.
pub const CATALOGUE: CatalogueVersion = CatalogueVersion(1);
/// Its salt.
pub const SALT: [u8; 8] = *b"benchafs";
/// Its labels, which every instance carries.
pub const LABELS: [&str; 8] = [
    "model:a", "model:b", "tool:c", "tool:d", "ctx:e", "lang:f", "gpu:g", "zone:h",
];
/// Cluster whose keys sign.
pub const CLUSTER: ClusterId = ClusterId(1);
/// Key that signs.
pub const KEY: KeyId = KeyId(1);
/// Its master, in the clear: the frames go nowhere.
pub const MASTER: [u8; 16] = *b"benchmark master";
/// Upper 96 bits of the service address.
pub const SERVICE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xaa, 0, 0, 0, 0, 0);
/// Where the AFR decapsulates.
pub const AFR_SID: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 5);
/// Source of what the AFR encapsulates.
pub const AFR_ADDRESS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 1);
/// Ethernet address that DPDK gives the first `net_pcap` device.
pub const PORT_MAC: [u8; 6] = [0x02, 0x70, 0x63, 0x61, 0x70, 0x00];
/// Ethernet address of the neighbour behind which the instances are.
pub const FABRIC_MAC: [u8; 6] = [0x02, 0, 0, 0, 0x05, 0x01];
/// Ethernet address of the neighbour behind which the clients are.
pub const CLIENTS_MAC: [u8; 6] = [0x02, 0, 0, 0, 0x07, 0x01];

/// Clients' ports of one source address.
const PORTS_PER_SOURCE: usize = 32_768;

/// The SID of instance `id`, counted from 1.
#[must_use]
pub const fn instance_sid(id: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 5, 1, 0, 0, 0, id)
}

/// The source of what instance `id` tunnels back.
#[must_use]
pub const fn tunnel_source(id: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 6, 0, 0, 0, 0, id)
}

/// The service address of [`CLASS`].
#[must_use]
pub const fn service_address() -> Ipv6Addr {
    let mut octets = SERVICE.octets();
    let class = CLASS.0.to_be_bytes();
    let mut at = 0;
    while at < 4 {
        octets[12 + at] = class[at];
        at += 1;
    }
    Ipv6Addr::from_octets(octets)
}

/// What the frames are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Datagrams of clients, each flow with one request, the same every time (none without a carrier).
    Requests,
    /// The same, two requests a flow in turn, both valid: no packet brings what its flow brought last.
    Alternating,
    /// The same, every datagram a task of its own (NEW_TASK).
    NewTasks,
    /// Requests, each from a source address of its own.
    OneSourceEach,
    /// Requests on TCP segments with SYN alone, one a flow.
    Syns,
    /// Replies that instances tunnel to the AFR, a report in a Destination Options header of the outer packet.
    Replies,
    /// Replies that pass the AFR, the report in a Destination Options header of their own.
    Transit,
}

/// What carries the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// Nothing: no metadata.
    None,
    /// A Destination Option.
    DestOption,
    /// A Hop-by-Hop option.
    HopByHop,
    /// A TLV of a Segment Routing Header with no segments left.
    SrhTlv,
}

/// How requests are authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mac {
    /// Not at all.
    None,
    /// SipHash-2-4.
    SipHash,
    /// AES-CMAC.
    AesCmac,
}

impl Mac {
    /// The algorithm; that of the reports where requests have none.
    #[must_use]
    pub const fn algorithm(self) -> MacAlgorithm {
        match self {
            Self::SipHash => MacAlgorithm::SipHash24,
            Self::None | Self::AesCmac => MacAlgorithm::AesCmac,
        }
    }
}

/// How requests name the labels they need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelEncoding {
    /// So many hashes, at most eight.
    Hashes(usize),
    /// A Bloom-256 of all eight.
    Bloom,
}

/// Length of frames in bytes, without frame check sequence; raised to the least that the headers need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// All the same.
    Bytes(usize),
    /// Of twelve, seven of 64, four of 594 and one of 1,518.
    Imix,
}

impl Size {
    /// The length of frame `n`.
    #[must_use]
    pub const fn of(self, n: usize) -> usize {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Imix => match n % 12 {
                2 | 5 | 7 | 10 => 594,
                11 => 1_518,
                _ => 64,
            },
        }
    }
}

/// What the frames are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frames {
    /// What they are.
    pub traffic: Traffic,
    /// Flows.
    pub flows: usize,
    /// Instances that replies come from.
    pub instances: usize,
    /// Length.
    pub size: Size,
    /// What carries requests.
    pub carrier: Carrier,
    /// How they are authenticated.
    pub mac: Mac,
    /// How they name labels.
    pub labels: LabelEncoding,
    /// Of a thousand requests, how many carry a wrong MAC.
    pub bad_macs_in_1000: usize,
    /// What sessions are made from.
    pub seed: u64,
    /// Their date, Unix milliseconds.
    pub unix_ms: u64,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            traffic: Traffic::Requests,
            flows: 4_096,
            instances: 64,
            size: Size::Bytes(134),
            carrier: Carrier::DestOption,
            mac: Mac::AesCmac,
            labels: LabelEncoding::Hashes(0),
            bad_macs_in_1000: 0,
            seed: 1,
            unix_ms: 0,
        }
    }
}

impl Frames {
    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        match self.traffic {
            Traffic::Alternating => 2 * self.flows,
            _ => self.flows,
        }
    }

    /// Whether they come from instances.
    #[must_use]
    pub const fn are_replies(&self) -> bool {
        matches!(self.traffic, Traffic::Replies | Traffic::Transit)
    }

    /// Calls `each` with every frame in turn.
    ///
    /// # Errors
    ///
    /// Those of `each`, and what the codec refuses: nothing that this type can hold.
    pub fn for_each(
        &self,
        mut each: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut keys = request::Keys::new(self.mac.algorithm());
        (0..self.count()).try_for_each(|n| each(&self.frame(n, &mut keys)?))
    }

    fn frame(&self, n: usize, keys: &mut request::Keys) -> anyhow::Result<Vec<u8>> {
        match self.traffic {
            Traffic::Replies => self.reply(n, keys),
            Traffic::Transit => self.transit(n, keys),
            _ => self.request(n, keys),
        }
    }

    /// Source address and port of flow `n`.
    fn client(&self, flow: usize) -> (Ipv6Addr, u16) {
        let (host, port) = match self.traffic {
            Traffic::OneSourceEach => (flow, 0),
            _ => (flow / PORTS_PER_SOURCE, flow % PORTS_PER_SOURCE),
        };
        let address = Ipv6Addr::new(
            0x2001,
            0xdb8,
            1,
            0,
            0,
            0,
            (host >> 16) as u16,
            host as u16 + 1,
        );
        (address, 1_024 + port as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn all(frames: &Frames) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        frames
            .for_each(|frame| {
                all.push(frame.to_vec());
                Ok(())
            })
            .unwrap();
        all
    }

    #[test]
    fn frames_are_as_long_as_asked_differ_by_flow_and_are_deterministic() {
        let frames = Frames {
            flows: 3,
            ..Frames::default()
        };
        let first = all(&frames);
        assert_eq!(first.len(), 3);
        assert!(first.iter().all(|frame| frame.len() == 134));
        assert!(first[0] != first[1] && first[1] != first[2]);
        assert_eq!(first, all(&frames));
        let other = Frames { seed: 2, ..frames };
        assert_ne!(first, all(&other), "the seed counts");
    }

    #[test]
    fn headers_need_what_they_need() {
        let least = |carrier, labels| {
            let frames = Frames {
                flows: 1,
                size: Size::Bytes(0),
                carrier,
                labels,
                ..Frames::default()
            };
            all(&frames)[0].len()
        };
        let none = LabelEncoding::Hashes(0);
        assert_eq!(least(Carrier::None, none), 62);
        assert_eq!(least(Carrier::DestOption, none), 62 + 56);
        assert_eq!(least(Carrier::HopByHop, none), 62 + 56);
        assert_eq!(least(Carrier::SrhTlv, none), 62 + 24 + 56);
        let eight = LabelEncoding::Hashes(8);
        assert_eq!(least(Carrier::DestOption, eight), 62 + 72);
        assert_eq!(least(Carrier::DestOption, LabelEncoding::Bloom), 62 + 88);
    }

    #[test]
    fn imix_is_seven_to_four_to_one() {
        let sizes: Vec<_> = (0..12).map(|n| Size::Imix.of(n)).collect();
        let count = |bytes| sizes.iter().filter(|size| **size == bytes).count();
        assert_eq!((count(64), count(594), count(1_518)), (7, 4, 1));
    }

    #[test]
    fn a_million_flows_are_a_million_clients() {
        let frames = Frames::default();
        let clients: std::collections::HashSet<_> =
            (0..1_000_000).map(|flow| frames.client(flow)).collect();
        assert_eq!(clients.len(), 1_000_000);
    }
}
