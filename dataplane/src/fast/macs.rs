//! The MACs of a burst, side by side, before the first packet goes its way.
//!
//! Nothing is decided here. What a MAC was found to be is handed to the stages with the packet ([`MacCheck`]). Where something is
//! amiss with an object or its key, its MAC stays unknown, and [`crate::request::verify`] or [`crate::reply::learn`] says what.
//!
//! On processors with AES instructions the senders' keys are derived anew with each MAC, but for that of the sender who alone has
//! made all that are checked together ([`Verifier`]): a flood of made-up senders displaces nothing. Otherwise, and for keys of
//! another kind, derived keys are kept.

use afr_wire::{
    KeyId, MAC_LEN, MAX_CHECKS, MAX_LANES, REQUEST_FIXED_LEN, Signers, Verifier, verify_requests,
};
use arrayvec::ArrayVec;
use dpdk::prefetch::prefetch_read;
use dpdk::vector::{Level, wide};

use super::claims::KEY;
use super::quick::{Kind, Quick, addresses, object, object_in};
use crate::fingerprint::Fingerprint;
use crate::flow::FlowRef;
use crate::packet::PacketBuf;
use crate::packet::bytes::be16;
use crate::path::{BURST, Path};
use crate::request::verify::{KeyPlace, request_name, valid_key};

/// What is known of the MAC of a packet's request or report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum MacCheck {
    /// Nothing yet.
    #[default]
    Unknown,
    /// It is right, under the key that is in force; or a request has none, and is believed or not for that.
    Right,
    /// It is wrong.
    Wrong,
}

impl MacCheck {
    const fn of(right: bool) -> Self {
        if right { Self::Right } else { Self::Wrong }
    }
}

/// Packets of a burst, by their place in it.
#[derive(Debug, Clone, Copy)]
struct Places {
    places: [u8; BURST],
    count: usize,
}

impl Places {
    const NONE: Self = Self {
        places: [0; BURST],
        count: 0,
    };

    /// Adds the place if it counts.
    #[inline(always)]
    fn add(&mut self, place: usize, counts: bool) {
        if let Some(next) = self.places.get_mut(self.count) {
            *next = place as u8;
            self.count += usize::from(counts);
        }
    }

    #[inline(always)]
    fn get(&self) -> &[u8] {
        &self.places[..self.count.min(BURST)]
    }
}

/// Who signs under the key that was asked for last.
type LastSigners<'a> = Option<(KeyId, &'a Signers)>;

impl Path<'_> {
    /// Computes the MACs of those of the burst that will be verified. Once a burst, when it shows that there is one.
    #[inline(never)]
    pub(crate) fn check_macs<B: PacketBuf>(&mut self, packets: &[B], quick: &mut [Quick]) {
        self.macs_checked = true;
        let mut verifier = self.own.verifier.take();
        let wanted = self.wanted(packets, quick);
        let others = match &mut verifier {
            Some(verifier) => self.check_derived(packets, quick, &wanted, verifier),
            None => wanted,
        };
        self.own.verifier = verifier;
        if others.count != 0 {
            self.check_kept(packets, quick, &others);
        }
    }

    /// Which packets have a MAC that will be verified. A request that says it has none needs no more than that.
    #[inline(never)]
    fn wanted<B: PacketBuf>(&self, packets: &[B], quick: &mut [Quick]) -> Places {
        wide(
            #[inline(always)]
            |level| {
                let mut wanted = Places::NONE;
                for (at, (packet, quick)) in packets.iter().zip(quick).enumerate() {
                    let is_wanted = self.needs_mac(level, packet.data(), quick);
                    wanted.add(at, is_wanted);
                }
                wanted
            },
        )
    }

    /// Has the verifier say of the `wanted` which are their senders'. Returns those that it has nothing to say of.
    #[inline(never)]
    fn check_derived<B: PacketBuf>(
        &self,
        packets: &[B],
        quick: &mut [Quick],
        wanted: &Places,
        verifier: &mut Verifier,
    ) -> Places {
        wide(
            #[inline(always)]
            |_| {
                let mut others = Places::NONE;
                let mut signers = None;
                let mut lanes = [0; MAX_LANES];
                for place in wanted.get() {
                    let at = usize::from(*place);
                    let (Some(packet), Some(one)) = (packets.get(at), quick.get(at)) else {
                        continue;
                    };
                    let lane = verifier.count();
                    if !self.add(verifier, packet.data(), one, &mut signers) {
                        others.add(at, true);
                        continue;
                    }
                    lanes[lane % MAX_LANES] = *place;
                    if lane + 1 == MAX_LANES {
                        self.finish(verifier, packets, quick, &lanes);
                    }
                }
                if verifier.count() != 0 {
                    self.finish(verifier, packets, quick, &lanes);
                }
                others
            },
        )
    }

    /// Whether the packet's MAC will be verified: a report's that was not applied; a request's that opens a flow, or is not
    /// the flow's last one. Where it is of a flow, takes the fingerprint of the request, for it is needed again.
    #[inline(always)]
    fn needs_mac(&self, level: Level, frame: &[u8], quick: &mut Quick) -> bool {
        if !quick.has_object() {
            return false;
        }
        if quick.shape.kind == Kind::Reply {
            let reporter = self.reporter(object(frame, &quick.shape));
            quick.reporter = reporter.map(|(slot, _)| slot);
            quick.known = reporter.is_some_and(|(slot, order)| self.is_last(slot, order));
            return !quick.known;
        }
        let Some(object) = object_in(frame, &quick.shape) else {
            return false;
        };
        let Some(entry) = self.own.flows.get(quick.flow) else {
            return self.has_mac(level, frame, object, quick);
        };
        let is_of = |addresses| entry.is_of(addresses, quick.ports, quick.shape.protocol);
        if !addresses(frame).is_some_and(is_of) {
            quick.flow = FlowRef::UNSURE;
            return self.has_mac(level, frame, object, quick);
        }
        quick.known = true;
        quick.print = self.own.fingerprint.of(level, object);
        let is_changed = Fingerprint::read(entry.fingerprint).0 != quick.print;
        if is_changed && let Some(path) = self.paths.get(entry.instance().0.index()) {
            prefetch_read(path);
        }
        is_changed && self.has_mac(level, frame, object, quick)
    }

    /// Whether the request in the packet has a MAC.
    #[inline(always)]
    fn has_mac(&self, level: Level, frame: &[u8], request: &[u8], quick: &mut Quick) -> bool {
        if !is_unsigned(request) {
            return true;
        }
        quick.mac = MacCheck::Right;
        self.foresee(level, frame, quick);
        false
    }

    /// Gives the packet's request or report to the verifier, if its key is one of those laid out for it.
    #[inline(always)]
    fn add<'b>(
        &'b self,
        verifier: &mut Verifier,
        frame: &[u8],
        quick: &Quick,
        last: &mut LastSigners<'b>,
    ) -> bool {
        let (Some(object), Some(addresses)) = (object_in(frame, &quick.shape), addresses(frame))
        else {
            return false;
        };
        let Some(head) = object.first_chunk::<8>() else {
            return false;
        };
        let id = KeyId(be16(head, KEY));
        let signers = match *last {
            Some((of, signers)) if of == id => signers,
            _ => {
                let Some(signers) = self.plan.signers(id, self.unix_s) else {
                    return false;
                };
                *last = Some((id, signers));
                signers
            }
        };
        if quick.shape.kind == Kind::Reply {
            verifier.add_report(signers, object)
        } else {
            let upper = (quick.shape.protocol, quick.destination_port());
            verifier.add(signers, addresses, upper, object)
        }
    }

    /// Has the verifier say which of those that it was given are their senders'. They are the packets at `lanes`.
    #[inline(never)]
    fn finish<B: PacketBuf>(
        &self,
        verifier: &mut Verifier,
        packets: &[B],
        quick: &mut [Quick],
        lanes: &[u8; MAX_LANES],
    ) {
        let count = verifier.count();
        let right = verifier.finish(&self.plan.masters);
        wide(
            #[inline(always)]
            |level| {
                for (bit, at) in lanes.iter().take(count).enumerate() {
                    let at = usize::from(*at);
                    if let (Some(packet), Some(quick)) = (packets.get(at), quick.get_mut(at)) {
                        quick.mac = MacCheck::of(right >> bit & 1 != 0);
                        if quick.mac == MacCheck::Right && quick.shape.kind == Kind::Request {
                            self.foresee(level, packet.data(), quick);
                        }
                    }
                }
            },
        );
    }

    /// The same under keys that are kept.
    #[inline(never)]
    fn check_kept<B: PacketBuf>(&mut self, packets: &[B], quick: &mut [Quick], wanted: &Places) {
        let mut keyed = ArrayVec::<(usize, KeyPlace), BURST>::new();
        for at in wanted.get() {
            let at = usize::from(*at);
            let (frame, quick) = (packets[at].data(), &quick[at]);
            let object = object(frame, &quick.shape);
            let is_request = quick.shape.kind == Kind::Request;
            if !is_request || object.len() < REQUEST_FIXED_LEN + MAC_LEN {
                continue;
            }
            let id = KeyId(be16(object, KEY));
            if id == KeyId::NONE {
                continue;
            }
            let Ok(key) = valid_key(self.config, id, self.unix_s) else {
                continue;
            };
            let name = request_name(self.config, key, &quick.origin(frame));
            let place = self.own.keys.place(self.config, key, name);
            let _ = keyed.try_push((at, place));
        }
        for group in keyed.chunks(MAX_CHECKS) {
            let mut checks = ArrayVec::<_, MAX_CHECKS>::new();
            for (at, place) in group {
                // A key derived for a later packet may have taken this one's place.
                if let Some(key) = self.own.keys.at(place) {
                    let (frame, quick) = (packets[*at].data(), &quick[*at]);
                    let object = object(frame, &quick.shape);
                    checks.push((key, quick.origin(frame).context, object));
                }
            }
            let right = verify_requests(&checks);
            let checked = group
                .iter()
                .filter(|(_, place)| self.own.keys.at(place).is_some());
            for (bit, (at, _)) in checked.enumerate() {
                quick[*at].mac = MacCheck::of(right >> bit & 1 != 0);
                if quick[*at].mac == MacCheck::Right {
                    self.foresee(Level::here(), packets[*at].data(), &mut quick[*at]);
                }
            }
        }
    }
}

/// Whether a request says that it has no MAC.
#[inline(always)]
fn is_unsigned(request: &[u8]) -> bool {
    let fixed = request.first_chunk::<REQUEST_FIXED_LEN>();
    fixed.is_some_and(|fixed| KeyId(be16(fixed, KEY)) == KeyId::NONE)
}
