//! A second opinion on frames: a plain reader of headers and checksums that shares no code with the crate. It panics on
//! what no conforming sender would send.

use std::net::Ipv6Addr;

/// A frame, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ethernet {
    pub(crate) destination: [u8; 6],
    pub(crate) source: [u8; 6],
    pub(crate) vlan: Option<u16>,
    pub(crate) ip: Ip,
}

/// An IPv6 packet, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ip {
    pub(crate) traffic_class: u8,
    pub(crate) flow_label: u32,
    pub(crate) hop_limit: u8,
    pub(crate) source: Ipv6Addr,
    pub(crate) destination: Ipv6Addr,
    /// Extension headers: protocol number and bytes.
    pub(crate) headers: Vec<(u8, Vec<u8>)>,
    /// Protocol of the upper layer.
    pub(crate) protocol: u8,
    /// Its bytes.
    pub(crate) upper: Vec<u8>,
}

fn be16(bytes: &[u8]) -> u16 {
    u16::from_be_bytes(bytes[..2].try_into().unwrap())
}

fn be32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

impl Ethernet {
    /// Takes a frame apart that holds one IPv6 packet and nothing behind it.
    pub(crate) fn of(frame: &[u8]) -> Self {
        let (vlan, at) = match be16(&frame[12..]) {
            0x8100 => (Some(be16(&frame[14..])), 18),
            _ => (None, 14),
        };
        assert_eq!(be16(&frame[at - 2..]), 0x86DD, "not IPv6: {frame:02x?}");
        Self {
            destination: frame[..6].try_into().unwrap(),
            source: frame[6..12].try_into().unwrap(),
            vlan,
            ip: Ip::of(&frame[at..]),
        }
    }
}

impl Ip {
    /// Takes a packet apart that fills `bytes` exactly.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        assert_eq!(bytes[0] >> 4, 6);
        assert_eq!(be16(&bytes[4..]) as usize + 40, bytes.len(), "length");
        let first = be32(bytes);
        let mut protocol = bytes[6];
        let mut rest = &bytes[40..];
        let mut headers = Vec::new();
        loop {
            let len = match protocol {
                0 | 43 | 60 | 135 | 139 | 140 => 8 + 8 * rest[1] as usize,
                44 => 8,
                51 => 8 + 4 * rest[1] as usize,
                _ => break,
            };
            assert!(protocol != 0 || headers.is_empty(), "Hop-by-Hop not first");
            let (header, behind) = rest.split_at(len);
            headers.push((protocol, header.to_vec()));
            let stop = protocol == 44 && be16(&header[2..]) & 0xFFF9 != 0;
            protocol = header[0];
            rest = behind;
            if stop {
                break;
            }
        }
        Self {
            traffic_class: (first >> 20) as u8,
            flow_label: first & 0xF_FFFF,
            hop_limit: bytes[7],
            source: <[u8; 16]>::try_from(&bytes[8..24]).unwrap().into(),
            destination: <[u8; 16]>::try_from(&bytes[24..40]).unwrap().into(),
            headers,
            protocol,
            upper: rest.to_vec(),
        }
    }

    /// The packet inside.
    pub(crate) fn inner(&self) -> Self {
        assert_eq!(self.protocol, 41, "no tunnel: {self:?}");
        Self::of(&self.upper)
    }

    /// Protocol numbers of the extension headers.
    pub(crate) fn chain(&self) -> Vec<u8> {
        self.headers.iter().map(|(protocol, _)| *protocol).collect()
    }

    /// Where a routing header with segments left takes the packet, else the destination.
    pub(crate) fn final_destination(&self) -> Ipv6Addr {
        let srh = self.headers.iter().find(|(protocol, _)| *protocol == 43);
        match srh {
            Some((_, header)) if header[3] != 0 => {
                <[u8; 16]>::try_from(&header[8..24]).unwrap().into()
            }
            _ => self.destination,
        }
    }

    /// Whether the checksum of TCP, UDP or ICMPv6 is right.
    pub(crate) fn checksum_is_right(&self) -> bool {
        let mut bytes = self.source.octets().to_vec();
        bytes.extend(self.final_destination().octets());
        bytes.extend((self.upper.len() as u32).to_be_bytes());
        bytes.extend([0, 0, 0, self.protocol]);
        bytes.extend(&self.upper);
        internet_checksum(&bytes) == 0
    }

    pub(crate) fn tcp(&self) -> Tcp {
        assert_eq!(self.protocol, 6, "no TCP: {self:?}");
        assert!(self.checksum_is_right(), "TCP checksum");
        let header = (self.upper[12] >> 4) as usize * 4;
        Tcp {
            source: be16(&self.upper),
            destination: be16(&self.upper[2..]),
            seq: be32(&self.upper[4..]),
            ack: be32(&self.upper[8..]),
            flags: self.upper[13],
            options: self.upper[20..header].to_vec(),
            payload: self.upper[header..].to_vec(),
        }
    }

    pub(crate) fn icmp(&self) -> Icmp {
        assert_eq!(self.protocol, 58, "no ICMPv6: {self:?}");
        assert!(self.checksum_is_right(), "ICMPv6 checksum");
        Icmp {
            kind: self.upper[0],
            code: self.upper[1],
            parameter: be32(&self.upper[4..]),
            body: self.upper[8..].to_vec(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tcp {
    pub(crate) source: u16,
    pub(crate) destination: u16,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Icmp {
    pub(crate) kind: u8,
    pub(crate) code: u8,
    pub(crate) parameter: u32,
    pub(crate) body: Vec<u8>,
}

/// RFC 1071, word by word.
pub(crate) fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(pair[0]) << 8 | u32::from(low);
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !(sum as u16)
}
