//! What the stages of the packet path share: the forwarding state of one burst, and a worker's own state.

use afr_wire::Verifier;
use arrayvec::ArrayVec;
use std::net::Ipv6Addr;

use crate::aft::live::LiveWords;
use crate::aft::residency::Overlay;
use crate::aft::{Aft, PathEntry};
use crate::config::{Class, Config, Port, PortRole};
use crate::counters::{Figure, LocalCounters, WorkerCounters};
use crate::fast::{Claims, MacCheck, Plan, Way};
use crate::fingerprint::Fingerprint;
use crate::flow::{FlowKey, FlowTable, Timeouts};
use crate::id::{ClassIx, Now, PeerIx, PortIx, WorkerId};
use crate::message::{Shared, WorkerMsg};
use crate::packet::PacketBuf;
use crate::packet::encap::EthernetOut;
use crate::packet::parse::Parsed;
use crate::reply::overlay::LoadOverlay;
use crate::request::admit::{Admit, ErrorBudget};
use crate::request::charges::Charges;
use crate::request::replay_guard::ReplayGuard;
use crate::request::score::Scratch;
use crate::request::verify::SenderKeys;
use crate::verdict::MetadataNote;

/// Frames that a burst has at the most: with more, what is done once a burst costs less of each, and what is prefetched for all of
/// them leaves the first-level cache before it is used (docs/performance.md). A multiple of 16, as drivers take packets in fours
/// and eights.
pub const BURST: usize = 32;

/// Bursts that a round takes from one receive queue or ring before it goes on to the next, where each comes full: what a round costs
/// is shared by more packets where many wait. By then the others have waited for 192 packets; their rings hold 1,024, unless
/// configured otherwise.
pub const BURSTS_A_ROUND: usize = 6;

/// Whether an address is of the link only (RFC 4291 §2.5.6): packets from or to it are not forwarded.
#[inline]
pub(crate) const fn is_link_local(address: u128) -> bool {
    address >> 118 == 0xFE80 >> 6
}

/// Whether the address may be a client's: neither a group's nor unspecified, loopback, or of the link only.
#[inline(always)]
pub(crate) const fn is_client(address: u128) -> bool {
    address >> 120 != 0xFF && address > 1 && !is_link_local(address)
}

/// What a packet's destination is to the AFR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A service address of this class.
    Service(ClassIx),
    /// A cluster's generic address: the class is in the metadata.
    Generic,
    /// A service address of no class.
    UnknownClass,
    /// One of the AFR's SIDs.
    Sid,
    /// An address of the AFR itself.
    Own,
    /// A group.
    Group,
    /// Anything else.
    Elsewhere,
}

impl Target {
    /// What `destination` is under `config`.
    #[inline(always)]
    #[must_use]
    pub fn of(config: &Config, destination: u128) -> Self {
        if config.services.iter().any(|s| s.contains(destination)) {
            let id = afr_wire::ClassId(destination as u32);
            if id.0 == 0 {
                return Self::Generic;
            }
            return config.class(id).map_or(Self::UnknownClass, Self::Service);
        }
        let address = Ipv6Addr::from(destination);
        if let Some(class) = config.classes.of_address(&address) {
            return Self::Service(class);
        }
        let router = &config.router;
        if router.sids.contains(&address) {
            Self::Sid
        } else if router.address == address || router.own_addresses.contains(&address) {
            Self::Own
        } else if destination >> 120 == 0xFF {
            Self::Group
        } else {
            Self::Elsewhere
        }
    }

    /// Whether it is a service address.
    #[inline]
    #[must_use]
    pub const fn is_service(self) -> bool {
        matches!(self, Self::Service(_) | Self::Generic | Self::UnknownClass)
    }
}

/// What one worker owns.
#[derive(Debug)]
pub struct Own {
    /// Which worker this is.
    pub id: WorkerId,
    /// Its flows.
    pub flows: FlowTable,
    /// Signatures it dispatched or learned that its generation does not include yet.
    pub residency: Overlay,
    /// Loads it learned that its generation does not include yet.
    pub loads: LoadOverlay,
    /// Keys of senders, derived.
    pub keys: SenderKeys,
    /// Checks MACs under keys that are not kept, where the processor can; taken out while it does.
    pub verifier: Option<Box<Verifier>>,
    /// Rate control of new dispatches.
    pub admit: Admit,
    /// Rate control of originated errors.
    pub errors: ErrorBudget,
    /// Rate control of errors handed to other workers.
    pub handovers: ErrorBudget,
    /// Charged dispatches by (sender, session).
    pub replay: ReplayGuard,
    /// Memory that dispatch works in.
    pub scratch: Scratch,
    /// What it has charged in the burst in work.
    pub charges: Charges,
    /// Keyed fingerprint of verified option bytes.
    pub fingerprint: Fingerprint,
    /// Its counts.
    pub counters: LocalCounters,
    /// Messages it has pushed to the control core.
    pub pushed: u64,
    /// Flow ages, from the configuration in force.
    pub timeouts: Timeouts,
}

impl Own {
    /// The position in the ring that the next message will have. Where the ring is full then, what the worker's own overlay
    /// knows of it ages with the message that comes after.
    #[inline]
    pub(crate) const fn next_position(&self) -> u64 {
        self.pushed + 1
    }

    /// Hands news to the control core, and counts them where the ring is full. Says their position
    /// ([`Self::next_position`]).
    #[inline]
    pub(crate) fn tell(&mut self, shared: &Shared, message: WorkerMsg) -> u64 {
        let position = self.next_position();
        let ring = shared.rings.get(usize::from(self.id.0));
        if ring.is_some_and(|ring| ring.push(message).is_ok()) {
            self.pushed = position;
        } else {
            let lost = Figure::Note(MetadataNote::ReportRingFull);
            self.counters.count(lost);
        }
        position
    }

    /// Tells the control core of loads that it was not told of at once, some at a time.
    #[inline]
    pub(crate) fn tell_loads(&mut self, shared: &Shared, now_us: u64) {
        for _ in 0..BURST {
            let position = self.next_position();
            let Some((slot, learned)) = self.loads.take_untold(position, now_us) else {
                return;
            };
            let message = WorkerMsg::Load {
                slot,
                load: learned.load,
                cache_generation: learned.cache_generation,
                refusals: ArrayVec::new(),
            };
            self.tell(shared, message);
        }
    }
}

/// The forwarding state for one burst.
#[derive(Debug)]
pub struct Path<'a> {
    /// The generation in use.
    pub aft: &'a Aft,
    /// Its configuration.
    pub config: &'a Config,
    /// Its paths to instances, by slot.
    pub(crate) paths: &'a [PathEntry],
    /// What all threads share.
    pub shared: &'a Shared,
    /// Of that, which instances are alive.
    pub(crate) live: LiveWords<'a>,
    /// The worker's counters by instance.
    pub dispatches: &'a WorkerCounters,
    /// The burst's time.
    pub now: Now,
    /// The same in milliseconds, as flows have it.
    pub(crate) now_ms: u32,
    /// The same in seconds.
    pub(crate) mono_s: u64,
    /// Unix time in seconds.
    pub(crate) unix_s: u64,
    /// The configuration as the fast path compares it.
    pub(crate) plan: &'a Plan,
    /// The way to the last reply's client, under this configuration.
    pub(crate) way: Option<Way>,
    /// What the last request was believed to claim, under this configuration.
    pub(crate) claims: &'a mut Option<Claims>,
    /// [`FlowTable::changes`] when the burst's flows were looked for.
    pub(crate) found_at: u32,
    /// Whether the MACs of the burst's packets, from the one in work on, were checked.
    pub(crate) macs_checked: bool,
    /// Whether a report was applied in this burst.
    pub(crate) learned: bool,
    /// What is known already of the MAC of the packet in work.
    pub(crate) mac: MacCheck,
    /// The worker's own.
    pub own: &'a mut Own,
}

impl<'a> Path<'a> {
    /// Counts a note.
    #[inline]
    pub(crate) fn note(&mut self, note: MetadataNote) {
        self.own.counters.count(Figure::Note(note));
    }

    /// The configured port, if there is one of that number.
    #[inline(always)]
    pub(crate) fn port(&self, port: PortIx) -> Option<&'a Port> {
        self.config.ports.get(usize::from(port.0))
    }

    /// The class of that number.
    #[inline]
    pub(crate) fn class(&self, class: ClassIx) -> Option<&'a Class> {
        self.config.classes.get(class)
    }

    /// Whether the port lies inside the trust domain.
    #[inline]
    pub(crate) fn is_inside(&self, port: PortIx) -> bool {
        self.port(port).is_some_and(|p| p.role == PortRole::Inside)
    }

    /// The Ethernet header from `port` to `destination`.
    #[inline(always)]
    pub(crate) fn ethernet(&self, port: PortIx, destination: [u8; 6]) -> EthernetOut {
        let port = self.port(port);
        EthernetOut {
            destination,
            source: port.map_or([0; 6], |p| p.mac),
            vlan: port.and_then(|p| p.vlan),
        }
    }

    /// The AFR's own address.
    #[inline]
    pub(crate) fn own_address(&self) -> u128 {
        u128::from(self.config.router.address)
    }

    /// [`Own::tell`].
    #[inline]
    pub(crate) fn tell(&mut self, message: WorkerMsg) -> u64 {
        self.own.tell(self.shared, message)
    }
}

/// A packet between the stages: parsed, and told what it is for.
#[derive(Debug, Clone, Copy)]
pub struct Item {
    /// Its offsets.
    pub parsed: Parsed,
    /// What its final destination is.
    pub target: Target,
    /// The port it came by.
    pub port: PortIx,
    /// The peer that spilled it to this cluster, if one did.
    pub peer: Option<PeerIx>,
    /// Its flow, if it is for a service.
    pub key: FlowKey,
    /// The flow's hash.
    pub hash: u64,
}

impl Item {
    /// A place for a packet to be parsed into.
    pub const NOTHING: Self = Self {
        parsed: Parsed::NOTHING,
        target: Target::Elsewhere,
        port: PortIx(0),
        peer: None,
        key: FlowKey {
            src: [0; 16],
            dst: [0; 16],
            sport: 0,
            dport: 0,
            proto: 0,
        },
        hash: 0,
    };
}

/// Where packets leave.
pub trait Egress<B: PacketBuf> {
    /// Queues the packet for the port. Where there is no room and none can be made it is freed, and counted there.
    fn send(&mut self, port: PortIx, packet: B);

    /// The same of all packets of a burst, which is empty afterwards.
    #[inline]
    fn send_all(&mut self, port: PortIx, packets: &mut Burst<B>) {
        for packet in packets.drain(..) {
            self.send(port, packet);
        }
    }

    /// Parts with a packet that goes nowhere.
    #[inline]
    fn discard(&mut self, packet: B) {
        drop(packet);
    }

    /// The same with all packets of a burst, which is empty afterwards.
    #[inline]
    fn discard_all(&mut self, packets: &mut Burst<B>) {
        packets.clear();
    }
}

/// A burst of packets.
pub type Burst<B> = ArrayVec<B, BURST>;
