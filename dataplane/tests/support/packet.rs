//! Packets by hand: plain values, turned into frames with the right lengths, next headers and checksums.

use std::net::Ipv6Addr;

use super::walker::internet_checksum;

/// TCP flag bits.
pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const PSH: u8 = 8;
pub(crate) const ACK: u8 = 16;

/// An extension header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ext {
    /// Protocol number and everything behind the next-header byte.
    Raw(u8, Vec<u8>),
    /// Offset in units of 8 bytes and the M flag.
    Fragment(u16, bool),
    /// Segments left, the list as in the header (the last segment first), TLVs.
    Srh(u8, Vec<Ipv6Addr>, Vec<u8>),
    /// An Authentication Header with an integrity check value of 12 bytes.
    Ah,
}

impl Ext {
    /// A Destination Options header of these option bytes, padded with PadN at the end.
    pub(crate) fn destination(options: &[u8]) -> Self {
        Self::Raw(60, padded(options))
    }

    /// A Hop-by-Hop Options header of these option bytes, padded with PadN at the end.
    pub(crate) fn hop_by_hop(options: &[u8]) -> Self {
        Self::Raw(0, padded(options))
    }

    pub(crate) const fn protocol(&self) -> u8 {
        match self {
            Self::Raw(protocol, _) => *protocol,
            Self::Fragment(..) => 44,
            Self::Srh(..) => 43,
            Self::Ah => 51,
        }
    }

    /// The header, announcing `next`.
    pub(crate) fn bytes(&self, next: u8) -> Vec<u8> {
        let mut bytes = vec![next];
        match self {
            Self::Raw(_, rest) => bytes.extend(rest),
            Self::Fragment(offset, more) => {
                bytes.push(0);
                bytes.extend((offset << 3 | u16::from(*more)).to_be_bytes());
                bytes.extend(0x1234_5678_u32.to_be_bytes());
            }
            Self::Srh(left, segments, tlvs) => {
                assert!(tlvs.len().is_multiple_of(8));
                let units = 2 * segments.len() + tlvs.len() / 8;
                bytes.extend([units as u8, 4, *left]);
                bytes.extend([segments.len() as u8 - 1, 0, 0, 0]);
                for segment in segments {
                    bytes.extend(segment.octets());
                }
                bytes.extend(tlvs);
            }
            Self::Ah => {
                bytes.extend([4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 9, 7]);
                bytes.extend([0xA5; 11]);
            }
        }
        bytes
    }
}

/// Length byte and options, padded to a multiple of 8 with the next-header byte before.
fn padded(options: &[u8]) -> Vec<u8> {
    let len = (2 + options.len()).next_multiple_of(8);
    let mut bytes = vec![(len / 8 - 1) as u8];
    bytes.extend(options);
    match len - 2 - options.len() {
        0 => {}
        1 => bytes.push(0),
        n => {
            bytes.extend([1, n as u8 - 2]);
            bytes.extend(vec![0; n - 2]);
        }
    }
    bytes
}

/// The upper layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Upper {
    Tcp {
        source: u16,
        destination: u16,
        seq: u32,
        ack: u32,
        flags: u8,
        /// A multiple of 4 bytes.
        options: Vec<u8>,
        payload: Vec<u8>,
    },
    Udp {
        source: u16,
        destination: u16,
        payload: Vec<u8>,
    },
    /// Type, code, and what follows the checksum.
    Icmp(u8, u8, Vec<u8>),
    /// A packet inside.
    Ip(Box<Packet>),
    /// Protocol and bytes.
    Raw(u8, Vec<u8>),
}

impl Upper {
    pub(crate) const fn protocol(&self) -> u8 {
        match self {
            Self::Tcp { .. } => 6,
            Self::Udp { .. } => 17,
            Self::Icmp(..) => 58,
            Self::Ip(_) => 41,
            Self::Raw(protocol, _) => *protocol,
        }
    }

    fn bytes(&self, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
        let (mut bytes, at) = match self {
            Self::Tcp {
                source,
                destination,
                seq,
                ack,
                flags,
                options,
                payload,
            } => {
                assert!(options.len().is_multiple_of(4));
                let mut bytes = source.to_be_bytes().to_vec();
                bytes.extend(destination.to_be_bytes());
                bytes.extend(seq.to_be_bytes());
                bytes.extend(ack.to_be_bytes());
                bytes.extend([(5 + options.len() as u8 / 4) << 4, *flags]);
                bytes.extend([0x20, 0, 0, 0, 0, 0]);
                bytes.extend(options);
                bytes.extend(payload);
                (bytes, 16)
            }
            Self::Udp {
                source,
                destination,
                payload,
            } => {
                let mut bytes = source.to_be_bytes().to_vec();
                bytes.extend(destination.to_be_bytes());
                bytes.extend((8 + payload.len() as u16).to_be_bytes());
                bytes.extend([0, 0]);
                bytes.extend(payload);
                (bytes, 6)
            }
            Self::Icmp(kind, code, rest) => {
                let mut bytes = vec![*kind, *code, 0, 0];
                bytes.extend(rest);
                (bytes, 2)
            }
            Self::Ip(packet) => return packet.ip_bytes(),
            Self::Raw(_, bytes) => return bytes.clone(),
        };
        let mut pseudo = source.octets().to_vec();
        pseudo.extend(destination.octets());
        pseudo.extend((bytes.len() as u32).to_be_bytes());
        pseudo.extend([0, 0, 0, self.protocol()]);
        pseudo.extend(&bytes);
        let sum = match internet_checksum(&pseudo) {
            0 => 0xFFFF,
            sum => sum,
        };
        bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        bytes
    }
}

/// A packet, and the frame around it where it is the outermost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) to_mac: [u8; 6],
    pub(crate) from_mac: [u8; 6],
    pub(crate) vlan: Option<u16>,
    pub(crate) traffic_class: u8,
    pub(crate) flow_label: u32,
    pub(crate) hop_limit: u8,
    pub(crate) source: Ipv6Addr,
    pub(crate) destination: Ipv6Addr,
    pub(crate) headers: Vec<Ext>,
    pub(crate) upper: Upper,
}

impl Packet {
    /// Where the packet ends up: the first entry of an SRH's list, if segments are left.
    pub(crate) fn final_destination(&self) -> Ipv6Addr {
        let list = self.headers.iter().find_map(|header| match header {
            Ext::Srh(left, segments, _) if *left != 0 => Some(segments[0]),
            _ => None,
        });
        list.unwrap_or(self.destination)
    }

    /// The packet from its IPv6 header on.
    pub(crate) fn ip_bytes(&self) -> Vec<u8> {
        let mut next = self.upper.protocol();
        let mut rest = self.upper.bytes(self.source, self.final_destination());
        for header in self.headers.iter().rev() {
            let mut bytes = header.bytes(next);
            next = header.protocol();
            bytes.extend(rest);
            rest = bytes;
        }
        let first = 6 << 28 | u32::from(self.traffic_class) << 20 | self.flow_label;
        let mut bytes = first.to_be_bytes().to_vec();
        bytes.extend((rest.len() as u16).to_be_bytes());
        bytes.extend([next, self.hop_limit]);
        bytes.extend(self.source.octets());
        bytes.extend(self.destination.octets());
        bytes.extend(rest);
        bytes
    }

    /// The whole frame.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut bytes = self.to_mac.to_vec();
        bytes.extend(self.from_mac);
        if let Some(vlan) = self.vlan {
            bytes.extend([0x81, 0]);
            bytes.extend(vlan.to_be_bytes());
        }
        bytes.extend([0x86, 0xDD]);
        bytes.extend(self.ip_bytes());
        bytes
    }

    pub(crate) fn with(mut self, header: Ext) -> Self {
        self.headers.push(header);
        self
    }

    pub(crate) fn hops(mut self, hop_limit: u8) -> Self {
        self.hop_limit = hop_limit;
        self
    }

    pub(crate) fn class(mut self, traffic_class: u8) -> Self {
        self.traffic_class = traffic_class;
        self
    }

    /// The packet in a tunnel.
    pub(crate) fn tunnelled(self, source: Ipv6Addr, destination: Ipv6Addr) -> Self {
        Self {
            to_mac: self.to_mac,
            from_mac: self.from_mac,
            vlan: self.vlan,
            traffic_class: 0,
            flow_label: 0x777,
            hop_limit: 61,
            source,
            destination,
            headers: Vec::new(),
            upper: Upper::Ip(Box::new(self)),
        }
    }

    /// Changes TCP's fields.
    pub(crate) fn tcp(mut self, change: impl FnOnce(TcpFields<'_>)) -> Self {
        let Upper::Tcp {
            seq,
            ack,
            flags,
            options,
            payload,
            ..
        } = &mut self.upper
        else {
            panic!("no TCP: {self:?}");
        };
        change(TcpFields {
            seq,
            ack,
            flags,
            options,
            payload,
        });
        self
    }
}

/// TCP's fields, to be changed.
pub(crate) struct TcpFields<'a> {
    pub(crate) seq: &'a mut u32,
    pub(crate) ack: &'a mut u32,
    pub(crate) flags: &'a mut u8,
    pub(crate) options: &'a mut Vec<u8>,
    pub(crate) payload: &'a mut Vec<u8>,
}
