//! What it takes to send a packet of an established flow on its way: one cache line an instance.

use crate::config::{EcnMode, Instance, Path};
use crate::id::{Incarnation, PortIx};

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
    /// The instance's segment identifier, as on the wire; zero unless [`PathKind::Encap`].
    pub sid: [u8; 16],
    /// Ethernet address of the next hop.
    pub destination_mac: [u8; 6],
    /// Largest packet the path carries, in bytes, outer header included.
    pub mtu: u16,
    /// Whose path this is: a flow pinned to another incarnation must not take it. 0, which no instance has, if nobody's.
    pub incarnation: Incarnation,
    /// The port it leaves by.
    pub port: PortIx,
    /// Encapsulation or rewrite.
    pub kind: PathKind,
    /// ECN of the outer header.
    pub ecn: EcnMode,
}

const _: () = assert!(size_of::<PathEntry>() == 64, "a path is one cache line");

impl PathEntry {
    /// The path to nobody.
    pub const NONE: Self = Self {
        sid: [0; 16],
        destination_mac: [0; 6],
        mtu: 0,
        incarnation: Incarnation(0),
        port: PortIx(0),
        kind: PathKind::None,
        ecn: EcnMode::Compatibility,
    };

    /// The path to `instance`.
    #[must_use]
    pub fn to(instance: &Instance) -> Self {
        let (kind, sid) = match instance.path {
            Path::Encap { sid, .. } => (PathKind::Encap, sid.octets()),
            Path::L2 { .. } => (PathKind::L2, [0; 16]),
        };
        let next_hop = instance.path.next_hop();
        Self {
            sid,
            destination_mac: next_hop.mac,
            mtu: instance.mtu,
            incarnation: instance.incarnation,
            port: next_hop.port,
            kind,
            ecn: instance.ecn,
        }
    }
}
