//! What a packet path runs under: checked types only. Parsing and the checks themselves are the control plane's;
//! once a [`Config`] exists, the workers take it as it is.

mod classes;

use std::net::Ipv6Addr;

use afr_wire::{
    CatalogueVersion, ClassId, ClusterId, InstanceId, KeyId, Label32, LabelHash, MacAlgorithm,
    MasterKey, PolicyScope,
};
use hashbrown::HashMap;

use crate::id::{ClassIx, Incarnation, PeerIx, PortIx};

pub use classes::Classes;

/// An IPv6 prefix. The host bits of `address` are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix6 {
    address: u128,
    mask: u128,
    length: u8,
}

impl Prefix6 {
    /// The prefix of `length` bits (0 to 128; more counts as 128) that holds `address`.
    #[must_use]
    pub fn new(address: Ipv6Addr, length: u8) -> Self {
        let length = length.min(128);
        let mask = match length {
            0 => 0,
            length => u128::MAX << (128 - length),
        };
        Self {
            address: u128::from(address) & mask,
            mask,
            length,
        }
    }

    /// Whether `address` lies in the prefix.
    #[inline]
    #[must_use]
    pub fn contains(&self, address: u128) -> bool {
        address & self.mask == self.address
    }

    /// The number of leading bits that matter.
    #[must_use]
    pub const fn length(&self) -> u8 {
        self.length
    }

    /// The prefix's first address.
    #[must_use]
    pub fn address(&self) -> Ipv6Addr {
        Ipv6Addr::from(self.address)
    }
}

/// Whether a port lies inside the trust domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortRole {
    /// Towards instances and other AFRs: reports are believed, decapsulation is allowed.
    Inside,
    /// Towards clients.
    Outside,
}

/// What happens to Agent-Aware Metadata that arrives from beyond the trust domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoundaryAction {
    /// The metadata is removed (never under AH), and the packet dispatched as one without.
    Strip,
    /// The metadata stays and is not acted on.
    Ignore,
    /// The packet is dropped.
    Drop,
    /// The port is a trusted edge: requests are verified and acted on.
    Accept,
}

/// One port.
#[derive(Debug, Clone)]
pub struct Port {
    /// The operator's name of the port.
    pub name: String,
    /// Which side it faces.
    pub role: PortRole,
    /// What happens to metadata of sources outside [`Config::trusted_prefixes`].
    pub boundary: BoundaryAction,
    /// The port's own Ethernet address.
    pub mac: [u8; 6],
    /// Largest IPv6 packet the link carries, in bytes.
    pub mtu: u16,
    /// 802.1Q VLAN the port sends in, if any; frames of another VLAN are dropped.
    pub vlan: Option<u16>,
}

/// Where a packet goes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextHop {
    /// The port it leaves by.
    pub port: PortIx,
    /// The neighbour's Ethernet address.
    pub mac: [u8; 6],
}

/// One static route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Destinations it is for.
    pub prefix: Prefix6,
    /// Where they go.
    pub next_hop: NextHop,
}

/// The AFR's own addresses and constants on the wire.
#[derive(Debug, Clone)]
pub struct Router {
    /// Source of encapsulated packets and ICMPv6 errors; destination of report datagrams.
    pub address: Ipv6Addr,
    /// Segment identifiers at which the AFR decapsulates (End.DT6-like, RFC 8986 §4.6).
    pub sids: Vec<Ipv6Addr>,
    /// Further addresses that the AFR answers Neighbor Solicitations and Echo Requests for.
    pub own_addresses: Vec<Ipv6Addr>,
    /// UDP port of report datagrams.
    pub report_port: u16,
    /// IPv6 option type of the metadata.
    pub option_type: u8,
    /// SRH TLV type of the metadata.
    pub srh_tlv_type: u8,
    /// Hop limit of encapsulated packets.
    pub hop_limit: u8,
    /// Read and strip reports that ride in replies which merely pass through (`transit`).
    pub transit: bool,
    /// Largest TCP MSS let through on SYN segments, in bytes; `None` leaves the option alone.
    pub mss_clamp: Option<u16>,
    /// Port to which packets for the AFR itself that it does not answer are handed (a tap, say).
    pub punt_port: Option<PortIx>,
}

/// A version of the label catalogue.
#[derive(Debug, Clone)]
pub struct Catalogue {
    /// The version that requests name.
    pub version: CatalogueVersion,
    /// Each label's name and 32-bit hash. The low halves differ from each other.
    pub labels: Vec<(String, Label32)>,
    /// From the hash on the wire to the position in `labels`.
    pub by_hash: HashMap<LabelHash, u16>,
}

/// A set of identifiers that a key may claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim<T> {
    /// Anything.
    Any,
    /// These, sorted.
    Only(Vec<T>),
}

impl<T: Ord> Claim<T> {
    /// Whether `item` may be claimed.
    #[inline]
    #[must_use]
    pub fn allows(&self, item: &T) -> bool {
        match self {
            Self::Any => true,
            Self::Only(items) => items.binary_search(item).is_ok(),
        }
    }
}

/// One entry of the key ring.
#[derive(Debug)]
pub struct Key {
    /// The identifier on the wire, not 0.
    pub id: KeyId,
    /// How its tags are computed.
    pub algorithm: MacAlgorithm,
    /// The master that senders' keys are derived from.
    pub master: MasterKey,
    /// Classes that a request under this key may name.
    pub classes: Claim<ClassId>,
    /// Policy scopes that a request under this key may name.
    pub policies: Claim<PolicyScope>,
    /// Unix seconds before which the key is not accepted.
    pub not_before_s: u64,
    /// Unix seconds from which the key is no longer accepted.
    pub not_after_s: u64,
    /// Bits of a sender's address that its derived key depends on.
    pub source_prefix_len: u8,
    /// The key that takes over from this one: an instance whose reports must be under this one is believed under that
    /// one too, while it is in force.
    pub successor: Option<KeyId>,
}

/// How an instance is chosen for a new flow of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PolicyKind {
    /// Smallest estimated time to first token.
    Ttft,
    /// Normalised queue, KV and prefix scores with weights, as Gateway API's endpoint picker.
    Weighted,
    /// Smallest number of tokens waiting.
    LeastLoad,
    /// The less loaded of two at random.
    TwoChoices,
    /// Consistent hashing.
    Maglev,
    /// In turn.
    RoundRobin,
}

/// What plain clients of a class (no usable metadata) get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainDispatch {
    /// Maglev over the registered instances: the same choice on every AFR.
    Maglev,
    /// The class's own policy without affinity.
    Load,
}

/// What is done with a new flow when every candidate is over the class's objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saturation {
    /// The smallest estimate gets it all the same.
    LeastBad,
    /// The sender is told (TCP RST or ICMPv6).
    Reject,
}

/// What established flows get when their instance dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDeath {
    /// TCP RST to the client at once.
    Reset,
    /// Another instance from the next packet on.
    Rehash,
    /// Dropped until the flow ages out.
    Drop,
}

/// A capability class.
#[derive(Debug, Clone)]
pub struct Class {
    /// The identifier in metadata and in the last 32 bits of service addresses.
    pub id: ClassId,
    /// The operator's name.
    pub name: String,
    /// How new flows with metadata are dispatched.
    pub policy: PolicyKind,
    /// How new flows without are.
    pub plain: PlainDispatch,
    /// Latency objective in microseconds of estimated time to first token; `None`: no objective.
    pub objective_us: Option<u32>,
    /// What happens beyond it.
    pub saturation: Saturation,
    /// Where flows that allow it (SPILL_OK) go beyond the objective: another cluster's SID and way.
    pub spill: Option<Spill>,
    /// What happens to flows of a dead instance.
    pub on_death: OnDeath,
    /// Prompt length taken where a request does not tell, in tokens.
    pub default_prompt_tokens: u32,
    /// Prompt lengths are clamped to this, in tokens.
    pub max_prompt_tokens: u32,
    /// Accept an in-band Bloom-256, from which labels cannot be checked exactly.
    pub allow_bloom: bool,
    /// Exact addresses of the class besides the one under each service prefix.
    pub addresses: Vec<Ipv6Addr>,
    /// New dispatches a second that all sources together may cause on one worker; 0: no limit.
    pub admit_per_s: u32,
    /// Burst of the same, in dispatches.
    pub admit_burst: u32,
}

/// A way to the alternate cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spill {
    /// Its AFR's SID.
    pub sid: Ipv6Addr,
    /// Where that is.
    pub next_hop: NextHop,
}

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

/// How ECN is carried over the encapsulation (RFC 6040 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EcnMode {
    /// Outer Not-ECT: right where the far end does not follow RFC 6040 (Linux End.DT6).
    Compatibility,
    /// The inner codepoint is copied.
    Normal,
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
    /// Key that its reports must be under, or under that one's [`Key::successor`]; `None`: unauthenticated reports are
    /// believed (from inside ports only).
    pub report_key: Option<KeyId>,
}

/// Knobs of dispatch.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// Estimates within this of the smallest count as equal, in microseconds.
    pub near_tie_us: u32,
    /// Added to an estimate at a full KV store, in microseconds; grows linearly from `pressure_from` on.
    pub pressure_full_us: u32,
    /// KV use (0–255) from which pressure counts.
    pub pressure_from: u8,
    /// Subtracted from a report's date when in-flight tokens are settled, in microseconds.
    pub guard_us: u64,
    /// How long an opened flow without payload is charged, in microseconds.
    pub opening_timeout_us: u64,
    /// Freshness of requests, in seconds either way.
    pub request_skew_s: u32,
    /// Freshness of reports, in milliseconds either way.
    pub report_skew_ms: u32,
    /// Charged dispatches of a (sender, session) in a skew window.
    pub replay_limit: u16,
    /// How long a refusal of a class by an instance holds, in microseconds.
    pub refusal_ttl_us: u64,
    /// How long a signature entered by an own dispatch counts without a report that confirms it, in seconds.
    pub provisional_ttl_s: u32,
    /// How long any signature counts, in seconds.
    pub residency_ttl_s: u32,
    /// Age of the last report from which load is no longer believed, in microseconds.
    pub stale_report_us: u64,
    /// Weights of queue, KV and prefix under [`PolicyKind::Weighted`].
    pub weights: [u16; 3],
}

impl Default for Dispatch {
    fn default() -> Self {
        Self {
            near_tie_us: 2_000,
            pressure_full_us: 200_000,
            pressure_from: 230,
            guard_us: 5_000,
            opening_timeout_us: 1_000_000,
            request_skew_s: 120,
            report_skew_ms: 5_000,
            replay_limit: 64,
            refusal_ttl_us: 1_000_000,
            provisional_ttl_s: 30,
            residency_ttl_s: 600,
            stale_report_us: 1_000_000,
            weights: [2, 2, 3],
        }
    }
}

/// Flow table of one worker.
#[derive(Debug, Clone)]
pub struct Flows {
    /// Entries a worker.
    pub capacity: u32,
    /// Idle time after which an established TCP flow is forgotten, in milliseconds.
    pub tcp_idle_ms: u32,
    /// The same before the first payload.
    pub tcp_opening_ms: u32,
    /// The same after the client's FIN, or a RST.
    pub tcp_closing_ms: u32,
    /// The same for everything that is not TCP.
    pub other_idle_ms: u32,
}

impl Default for Flows {
    fn default() -> Self {
        Self {
            capacity: 1 << 20,
            tcp_idle_ms: 3_600_000,
            tcp_opening_ms: 30_000,
            tcp_closing_ms: 10_000,
            other_idle_ms: 60_000,
        }
    }
}

/// Rate control of new dispatches.
#[derive(Debug, Clone)]
pub struct Admit {
    /// Bits of a source address that share a bucket.
    pub source_prefix_len: u8,
    /// New dispatches a second and source prefix on one worker; 0: no limit.
    pub per_source_per_s: u32,
    /// Burst of the same, in dispatches.
    pub per_source_burst: u32,
    /// Source prefixes tracked by a worker.
    pub sources: u32,
    /// ICMPv6 errors and RST that a worker originates a second.
    pub errors_per_s: u32,
}

impl Default for Admit {
    fn default() -> Self {
        Self {
            source_prefix_len: 64,
            per_source_per_s: 0,
            per_source_burst: 64,
            sources: 65_536,
            errors_per_s: 1_000,
        }
    }
}

/// Bounds that size tables at start; a change takes a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Instance slots.
    pub instances: u16,
    /// Classes.
    pub classes: u16,
    /// Entries of the shared residency table.
    pub signatures: u32,
    /// Entries of a worker's own residency overlay.
    pub overlay_signatures: u32,
    /// Messages in the ring from a worker to the control core.
    pub ring: u32,
    /// Derived sender keys that a worker keeps.
    pub sender_keys: u32,
    /// (sender, session) pairs that a worker tracks.
    pub sessions: u32,
    /// Size of a class's Maglev table, a prime.
    pub maglev: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            instances: 4_096,
            classes: 256,
            signatures: 1 << 20,
            overlay_signatures: 8_192,
            ring: 16_384,
            sender_keys: 4_096,
            sessions: 65_536,
            maglev: 16_381,
        }
    }
}

/// Everything but the instances, which live in the AFT.
#[derive(Debug)]
pub struct Config {
    /// Counts reloads.
    pub revision: u64,
    /// The cluster this AFR stands before.
    pub cluster: ClusterId,
    /// Own addresses.
    pub router: Router,
    /// Ports, by [`PortIx`].
    pub ports: Vec<Port>,
    /// Sources whose metadata is verified and acted on whatever the port's boundary action.
    pub trusted_prefixes: Vec<Prefix6>,
    /// Static routes, longest prefix first.
    pub routes: Vec<Route>,
    /// AFRs of other clusters, by [`PeerIx`].
    pub peers: Vec<Peer>,
    /// Catalogues accepted, the current one first.
    pub catalogues: Vec<Catalogue>,
    /// The key ring.
    pub keys: Vec<Key>,
    /// Act on requests with key id 0.
    pub accept_unauthenticated: bool,
    /// Classes.
    pub classes: Classes,
    /// Service prefixes of 96 bits: the class id is the address's last 32 bits, 0 the generic address.
    pub services: Vec<Prefix6>,
    /// Dispatch knobs.
    pub dispatch: Dispatch,
    /// Flow table.
    pub flows: Flows,
    /// Rate control.
    pub admit: Admit,
    /// Sizes.
    pub limits: Limits,
    /// Seed shared by every AFR of the cluster: they agree on Maglev.
    pub maglev_seed: [u8; 16],
}

impl Config {
    /// The index of the class called `id`.
    #[inline]
    #[must_use]
    pub fn class(&self, id: ClassId) -> Option<ClassIx> {
        self.classes.index_of(id)
    }

    /// The peer that encapsulates from `source`.
    #[must_use]
    pub fn peer_at(&self, source: Ipv6Addr) -> Option<PeerIx> {
        let at = self.peers.iter().position(|peer| peer.address == source)?;
        u8::try_from(at).ok().map(PeerIx)
    }

    /// The longest route to `destination`.
    #[must_use]
    pub fn route(&self, destination: u128) -> Option<&Route> {
        self.routes
            .iter()
            .find(|route| route.prefix.contains(destination))
    }

    /// The catalogue called `version`, if it is accepted.
    #[inline]
    #[must_use]
    pub fn catalogue(&self, version: CatalogueVersion) -> Option<&Catalogue> {
        self.catalogues.iter().find(|c| c.version == version)
    }

    /// The key called `id`.
    #[inline]
    #[must_use]
    pub fn key(&self, id: KeyId) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }
}
