//! Where traffic goes: instances and other AFRs.

use std::net::Ipv6Addr;

use afr_wire::{ClassId, ClusterId, InstanceId, KeyId, Label32, PolicyScope};

use crate::id::Incarnation;

use super::{Claim, NextHop};

/// Another cluster's AFR, which may spill requests to this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The operator's name.
    pub name: String,
    /// Source of what it encapsulates.
    pub address: Ipv6Addr,
    /// The cluster under whose number its clients' keys are derived.
    pub cluster: ClusterId,
}

/// How packets reach an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// IPv6-in-IPv6 to the instance's SID.
    Encap {
        /// The SID.
        sid: Ipv6Addr,
        /// Where it is.
        next_hop: NextHop,
    },
    /// Ethernet rewrite: the instance stands on the port's segment and owns the service address.
    L2 {
        /// The instance's Ethernet address and port.
        next_hop: NextHop,
    },
}

impl Path {
    /// The next hop of either way.
    #[must_use]
    pub const fn next_hop(&self) -> NextHop {
        match self {
            Self::Encap { next_hop, .. } | Self::L2 { next_hop } => *next_hop,
        }
    }
}

/// How ECN is carried over the encapsulation (RFC 6040 §4.1). Its number is what of the inner header's first two bytes, the first
/// one lowest, the outer ones have: the traffic class, or all of it but ECN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum EcnMode {
    /// Outer Not-ECT: right where the far end does not follow RFC 6040 (Linux End.DT6).
    Compatibility = 0xC00F,
    /// The inner codepoint is copied.
    Normal = 0xF00F,
}

/// An AgentInstance.
#[derive(Debug, Clone)]
pub struct Instance {
    /// The identifier in reports.
    pub id: InstanceId,
    /// The operator's name.
    pub name: String,
    /// Set by the registry, see [`Incarnation`].
    pub incarnation: Incarnation,
    /// How packets reach it.
    pub path: Path,
    /// Largest packet its path carries, in bytes, outer header included.
    pub mtu: u16,
    /// ECN on the way there.
    pub ecn: EcnMode,
    /// Source of what it encapsulates.
    pub tunnel_source: Ipv6Addr,
    /// Classes it serves.
    pub classes: Vec<ClassId>,
    /// Labels it carries.
    pub labels: Vec<Label32>,
    /// Policy scopes it accepts.
    pub policies: Claim<PolicyScope>,
    /// Relative weight under Maglev, at least 1.
    pub weight: u16,
    /// Prefill rate taken until a report tells, in tokens a second, at least 1.
    pub prefill_rate_tokens_s: u32,
    /// Sequences it runs at once; beyond, new ones wait.
    pub max_running: u16,
    /// Key that its reports must be under, or under that one's [`Key::successor`](super::Key::successor); `None`:
    /// unauthenticated reports are believed (from inside ports only).
    pub report_key: Option<KeyId>,
}
