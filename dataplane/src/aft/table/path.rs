//! What it takes to send a packet of an established flow on its way: one cache line an instance, with the headers ready to
//! be written before the packet.

use crate::config::{Config, EcnMode, Instance, Path};
use crate::id::{Incarnation, PortIx};
use crate::packet::encap::HeaderTemplate;
use crate::packet::parse::IPV6_LEN;

/// How packets reach an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    /// Not at all: the slot is free.
    None,
    /// IPv6-in-IPv6 to [`PathEntry::sid`].
    Encap,
    /// Ethernet rewrite.
    L2,
}

/// The way to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(align(64))]
pub struct PathEntry {
    /// The headers before the packet; of [`PathKind::L2`] the Ethernet header alone counts.
    pub header: HeaderTemplate,
    /// The port it leaves by.
    pub port: PortIx,
    /// Encapsulation or rewrite.
    pub kind: PathKind,
    /// ECN of the outer header.
    pub ecn: EcnMode,
    /// Largest packet the path carries, in bytes, outer header included.
    pub mtu: u16,
    /// Largest packet that it carries behind [`Self::header`], as a client sent it; 0 where none may be sent so.
    room: u16,
    /// Whose path this is: a flow pinned to another incarnation must not take it. 0, which no instance has, if nobody's.
    pub incarnation: Incarnation,
}

const _: () = assert!(size_of::<PathEntry>() == 64, "a path is one cache line");

impl PathEntry {
    /// The path to nobody.
    pub const NONE: Self = Self {
        header: HeaderTemplate::NONE,
        port: PortIx(0),
        kind: PathKind::None,
        ecn: EcnMode::Compatibility,
        mtu: 0,
        room: 0,
        incarnation: Incarnation(0),
    };

    /// The path to `instance` under `config`.
    #[must_use]
    pub fn to(instance: &Instance, config: &Config) -> Self {
        let (kind, sid) = match instance.path {
            Path::Encap { sid, .. } => (PathKind::Encap, sid.octets()),
            Path::L2 { .. } => (PathKind::L2, [0; 16]),
        };
        let next_hop = instance.path.next_hop();
        let port = config.ports.get(usize::from(next_hop.port.0));
        let router = &config.router;
        // A tag has no place in the header.
        let tagged = port.is_none_or(|port| port.vlan.is_some());
        let outer = if kind == PathKind::Encap { IPV6_LEN } else { 0 };
        let room = usize::from(instance.mtu).saturating_sub(outer) as u16;
        Self {
            header: HeaderTemplate::new(
                next_hop.mac,
                port.map_or([0; 6], |port| port.mac),
                router.address.octets(),
                sid,
                router.hop_limit,
            ),
            port: next_hop.port,
            kind,
            ecn: instance.ecn,
            mtu: instance.mtu,
            room: if tagged { 0 } else { room },
            incarnation: instance.incarnation,
        }
    }

    /// Whether a packet of `ip_len` bytes of a flow pinned to this incarnation can leave as it is, behind [`Self::header`].
    #[inline(always)]
    pub(crate) fn takes(&self, incarnation: Incarnation, ip_len: u16) -> bool {
        self.incarnation == incarnation && ip_len <= self.room
    }

    /// The instance's segment identifier, as on the wire; zero unless [`PathKind::Encap`].
    #[inline]
    #[must_use]
    pub fn sid(&self) -> [u8; 16] {
        self.header.destination()
    }

    /// Ethernet address of the next hop.
    #[inline]
    #[must_use]
    pub fn destination_mac(&self) -> [u8; 6] {
        self.header.destination_mac()
    }
}
