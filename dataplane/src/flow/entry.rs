//! A flow and what is kept of it.

use dpdk::vector::Level;

use super::hash::{FlowSeeds, upper};
use crate::id::{ClassIx, Incarnation, Slot};

/// IANA protocol number of TCP.
pub(super) const TCP: u8 = 6;

/// What is kept of a flow that goes to no instance: an incarnation that none has, and that is never alive.
const NOBODY: (Slot, Incarnation) = (Slot(0), Incarnation(0));

/// What makes a flow: the packet's addresses, protocol and ports, as the client sent them.
///
/// Protocols without ports have both 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// The client's address.
    pub src: [u8; 16],
    /// The service's address.
    pub dst: [u8; 16],
    /// The client's port.
    pub sport: u16,
    /// The service's port.
    pub dport: u16,
    /// IANA protocol number.
    pub proto: u8,
}

impl FlowKey {
    /// Source and destination, as they follow each other in an IPv6 header.
    #[inline(always)]
    const fn addresses(&self) -> [u8; 32] {
        let mut both = [0; 32];
        let (src, dst) = both.split_at_mut(16);
        src.copy_from_slice(&self.src);
        dst.copy_from_slice(&self.dst);
        both
    }

    /// The key's hash under `seeds`. All 64 bits are usable.
    #[inline]
    #[must_use]
    pub fn hash(&self, seeds: &FlowSeeds) -> u64 {
        self.hash_at(Level::here(), seeds)
    }

    /// The same by what there is at this level.
    #[inline(always)]
    pub(super) fn hash_at(&self, level: Level, seeds: &FlowSeeds) -> u64 {
        let ports = wire_ports(self.sport, self.dport);
        seeds.of(level, &self.src, &self.dst, upper(ports, self.proto))
    }
}

/// Both ports as a header has them, the first byte lowest.
#[inline(always)]
const fn wire_ports(sport: u16, dport: u16) -> u32 {
    let ([a, b], [c, d]) = (sport.to_be_bytes(), dport.to_be_bytes());
    u32::from_le_bytes([a, b, c, d])
}

/// The two addresses as they follow each other in an IPv6 header.
#[inline(always)]
pub(super) const fn halves(addresses: &[u8; 32]) -> (&[u8; 16], &[u8; 16]) {
    match addresses.as_chunks().0 {
        [src, dst] => (src, dst),
        _ => (&[0; 16], &[0; 16]), // never
    }
}

/// How far a flow has come, as told by the client's packets alone: the server's pass elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FlowState {
    /// A TCP SYN was dispatched, no payload has followed yet.
    Opening = 0,
    /// Payload flows. Whatever is not TCP starts here.
    Established = 1,
    /// The client sent FIN.
    ClientClosing = 2,
    /// The client sent RST, or was sent one. The client's may be forged: what the client sends after it takes it back.
    Reset = 3,
}

impl FlowState {
    /// Whether the client is done: a SYN on such a flow opens a new one.
    #[inline]
    #[must_use]
    pub const fn is_closing(self) -> bool {
        matches!(self, Self::ClientClosing | Self::Reset)
    }
}

/// Where a flow's packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    /// To an instance, as long as the slot's tenant is this one.
    Instance(Slot, Incarnation),
    /// To the alternate cluster of the flow's class.
    Spill,
}

impl Pin {
    /// As an entry keeps it.
    const fn parts(self) -> (Slot, Incarnation) {
        match self {
            Self::Instance(slot, incarnation) => (slot, incarnation),
            Self::Spill => NOBODY,
        }
    }
}

/// One flow, in one cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct FlowEntry {
    /// Source and destination, as they follow each other in an IPv6 header.
    addresses: [u8; 32],
    /// Both, as [`wire_ports`] has them.
    ports: u32,
    proto: u8,
    /// [`FlowState`] in the low two bits, the flags below over it.
    mark: u8,
    slot: Slot,
    incarnation: Incarnation,
    /// The class it was dispatched under.
    pub class: ClassIx,
    last_seen_ms: u32,
    /// Keyed fingerprint of the option bytes verified last; 0: none were.
    pub fingerprint: u64,
    /// Acknowledgment number of the client's latest segment: the SEQ of a RST that the client will accept
    /// (RFC 9293 §3.10.7.4), should the instance die while the client only waits.
    pub last_ack: u32,
    /// With [`CHARGED`]: tokens charged to the instance's `opening`. With [`SENT`]: the sequence number that the client's
    /// next byte has. A charge ends with the first payload, which is what says how far the client is, so one place does.
    charge_or_next: u32,
}

const _: () = assert!(size_of::<FlowEntry>() == 64 && align_of::<FlowEntry>() == 64);

const STATE: u8 = 0b11;
const METADATA: u8 = 1 << 2;
const DEATH_TOLD: u8 = 1 << 3;
const CHARGED: u8 = 1 << 5;
const SENT: u8 = 1 << 6;
const WAITS: u8 = 1 << 7;

/// How far a sequence number may be from where the client is known to be. All its segments pass here, so it never jumps
/// but by what was lost before; who guesses hits once in four thousand.
const PLAUSIBLE: u32 = 1 << 20;

impl FlowEntry {
    /// What an unused place of the slab holds.
    pub(super) const VACANT: Self = Self {
        addresses: [0; 32],
        ports: 0,
        proto: 0,
        mark: 0,
        slot: Slot(0),
        incarnation: Incarnation(0),
        class: ClassIx(0),
        last_seen_ms: 0,
        fingerprint: 0,
        last_ack: 0,
        charge_or_next: 0,
    };

    /// A flow first seen at `now_ms`, without metadata and charging nothing. TCP starts [`FlowState::Opening`], all
    /// else [`FlowState::Established`].
    #[must_use]
    pub const fn new(key: &FlowKey, pin: Pin, class: ClassIx, now_ms: u32) -> Self {
        let state = if key.proto == TCP {
            FlowState::Opening
        } else {
            FlowState::Established
        };
        let (slot, incarnation) = pin.parts();
        Self {
            addresses: key.addresses(),
            ports: wire_ports(key.sport, key.dport),
            proto: key.proto,
            mark: state as u8,
            slot,
            incarnation,
            class,
            last_seen_ms: now_ms,
            ..Self::VACANT
        }
    }

    /// The flow's key.
    #[must_use]
    pub fn key(&self) -> FlowKey {
        let [a, b, c, d] = self.ports.to_le_bytes();
        let (src, dst) = halves(&self.addresses);
        FlowKey {
            src: *src,
            dst: *dst,
            sport: u16::from_be_bytes([a, b]),
            dport: u16::from_be_bytes([c, d]),
            proto: self.proto,
        }
    }

    /// IANA protocol number.
    #[inline]
    #[must_use]
    pub const fn proto(&self) -> u8 {
        self.proto
    }

    /// Whether this is the flow of `key`, all of it compared.
    #[inline]
    #[must_use]
    pub fn is(&self, key: &FlowKey) -> bool {
        // Without short cuts: every part is in the same line, and a mismatch behind a matching tag is rare.
        (self.addresses == key.addresses())
            & (self.ports == wire_ports(key.sport, key.dport))
            & (self.proto == key.proto)
    }

    /// The same for a key in its parts: the addresses as they follow each other in an IPv6 header, the ports as the upper
    /// layer's header has them, the first byte lowest.
    #[inline(always)]
    #[must_use]
    pub fn is_of(&self, addresses: &[u8; 32], ports: u32, proto: u8) -> bool {
        self.addresses == *addresses && (self.ports == ports) & (self.proto == proto)
    }

    /// How far the flow has come.
    #[inline]
    #[must_use]
    pub const fn state(&self) -> FlowState {
        match self.mark & STATE {
            0 => FlowState::Opening,
            1 => FlowState::Established,
            2 => FlowState::ClientClosing,
            _ => FlowState::Reset,
        }
    }

    /// Moves the flow on.
    #[inline]
    pub const fn set_state(&mut self, state: FlowState) {
        self.mark = self.mark & !STATE | state as u8;
    }

    /// Where the flow's packets go.
    #[inline]
    #[must_use]
    pub const fn pin(&self) -> Pin {
        if self.incarnation.0 == NOBODY.1.0 {
            Pin::Spill
        } else {
            Pin::Instance(self.slot, self.incarnation)
        }
    }

    /// Pins the flow elsewhere, its former instance being gone. Whether the client was told of that one's death no
    /// longer matters.
    pub const fn repin(&mut self, pin: Pin) {
        self.mark &= !DEATH_TOLD;
        (self.slot, self.incarnation) = pin.parts();
    }

    /// The instance that the flow's packets go to, or one that is never alive.
    #[inline(always)]
    pub(crate) const fn instance(&self) -> (Slot, Incarnation) {
        (self.slot, self.incarnation)
    }

    /// Whether verified metadata was seen on the flow.
    #[inline]
    #[must_use]
    pub const fn metadata_seen(&self) -> bool {
        self.mark & METADATA != 0
    }

    /// Notes that verified metadata was seen.
    #[inline]
    pub const fn note_metadata(&mut self) {
        self.mark |= METADATA;
    }

    /// Whether the client was already sent a RST because its instance died.
    #[inline]
    #[must_use]
    pub const fn death_told(&self) -> bool {
        self.mark & DEATH_TOLD != 0
    }

    /// Notes that the client was sent a RST because its instance died.
    #[inline]
    pub const fn note_death_told(&mut self) {
        self.mark |= DEATH_TOLD;
    }

    /// Notes a packet of the client.
    ///
    /// While a charge is open its age counts from the charge, not from the last bare ACK or retransmitted SYN;
    /// so the entry needs one time only.
    #[inline]
    pub const fn touch(&mut self, now_ms: u32) {
        if self.mark & CHARGED == 0 {
            self.last_seen_ms = now_ms;
        }
    }

    /// The client's last packet, in milliseconds of the caller's clock; while [`Self::opening_tokens`] is not 0, the
    /// time of the charge.
    #[inline]
    #[must_use]
    pub const fn last_seen_ms(&self) -> u32 {
        self.last_seen_ms
    }

    /// Milliseconds since [`Self::last_seen_ms`].
    #[inline]
    #[must_use]
    pub const fn age_ms(&self, now_ms: u32) -> u32 {
        now_ms.wrapping_sub(self.last_seen_ms)
    }

    /// Tokens charged to the instance's `opening` and neither committed nor released yet.
    #[inline]
    #[must_use]
    pub const fn opening_tokens(&self) -> u32 {
        if self.mark & CHARGED == 0 {
            0
        } else {
            self.charge_or_next
        }
    }

    /// Charges `tokens` from now on. Returns what was charged before, which is the caller's to release.
    #[must_use = "a former charge stays on the instance until it is released"]
    pub const fn charge_opening(&mut self, tokens: u32, now_ms: u32) -> u32 {
        let former = self.opening_tokens();
        self.last_seen_ms = now_ms;
        self.charge_or_next = tokens;
        self.mark &= !(CHARGED | SENT);
        if tokens != 0 {
            self.mark |= CHARGED;
        }
        former
    }

    /// Ends the charge, because it is committed or released. Returns its tokens, 0 if there was none.
    #[inline]
    #[must_use = "the charge stays on the instance until it is committed or released"]
    pub const fn take_opening(&mut self) -> u32 {
        let tokens = self.opening_tokens();
        self.mark &= !CHARGED;
        tokens
    }

    /// Whether the client waits for the first answer to what it was charged for.
    #[inline]
    #[must_use]
    pub const fn waits(&self) -> bool {
        self.mark & WAITS != 0
    }

    /// The client has sent its request and waits from now on.
    #[inline]
    pub const fn begin_waiting(&mut self) {
        self.mark |= WAITS;
    }

    /// The client waits no longer. Returns whether it did.
    #[inline]
    #[must_use = "its instance counts it as waiting until that is told"]
    pub const fn end_waiting(&mut self) -> bool {
        let waited = self.waits();
        self.mark &= !WAITS;
        waited
    }

    /// Whether an acknowledgment by the client tells of the first answer: nothing that the instance had sent was
    /// acknowledged since the request.
    #[inline]
    #[must_use]
    pub const fn is_answered_by(&self, acknowledges: u32) -> bool {
        self.waits() && acknowledges != self.last_ack
    }

    /// Notes that the client has sent bytes up to the sequence number `next`. Not while a charge is open, nor where that
    /// is nowhere near to where the client was: somebody else may have sent those.
    #[inline]
    pub const fn note_sent(&mut self, next: u32) {
        let ahead = next.wrapping_sub(self.charge_or_next);
        if self.mark & CHARGED == 0 && (self.mark & SENT == 0 || ahead < PLAUSIBLE) {
            self.charge_or_next = next;
            self.mark |= SENT;
        }
    }

    /// Whether a segment with the sequence number `seq` may be the client's, as far as is known.
    #[inline]
    #[must_use]
    pub const fn is_plausible(&self, seq: u32) -> bool {
        let ahead = seq.wrapping_sub(self.charge_or_next);
        self.mark & SENT == 0 || ahead.wrapping_add(PLAUSIBLE) < 2 * PLAUSIBLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_spills_is_of_no_instance() {
        let key = FlowKey {
            src: [1; 16],
            dst: [2; 16],
            sport: 3,
            dport: 4,
            proto: 17,
        };
        let instance = (Slot(5), Incarnation(6));
        let mut entry = FlowEntry::new(&key, Pin::Instance(instance.0, instance.1), ClassIx(0), 0);
        assert_eq!(entry.instance(), instance);
        entry.repin(Pin::Spill);
        assert_eq!((entry.pin(), entry.instance()), (Pin::Spill, NOBODY));
        assert_eq!(
            FlowEntry::new(&key, Pin::Spill, ClassIx(0), 0).instance(),
            NOBODY
        );
    }
}
