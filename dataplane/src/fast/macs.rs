//! The MACs of a burst, side by side, before the first packet goes its way.
//!
//! Nothing is decided here. What a MAC was found to be is handed to the stages with the packet ([`MacCheck`]). Where something is
//! amiss with an object or its key, its MAC stays unknown, and [`crate::request::verify`] or [`crate::reply::learn`] says what.
//!
//! On processors with AES instructions the senders' keys are derived anew with each MAC ([`super::given`]). Otherwise, and for keys
//! of another kind, derived keys are kept.

use afr_wire::{KeyId, MAC_LEN, MAX_CHECKS, REQUEST_FIXED_LEN, verify_requests};
use arrayvec::ArrayVec;
use dpdk::prefetch::prefetch_read;
use dpdk::vector::Level;

use super::claims::KEY;
use super::quick::{Kind, Quick, addresses, object, object_in};
use crate::fingerprint::Fingerprint;
use crate::flow::{FlowEntry, FlowRef};
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
    pub(super) const fn of(right: bool) -> Self {
        if right { Self::Right } else { Self::Wrong }
    }
}

/// Packets of a burst, by their place in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    places: [u8; BURST],
    count: usize,
}

impl Places {
    pub(super) const NONE: Self = Self {
        places: [0; BURST],
        count: 0,
    };

    #[inline(always)]
    pub(super) fn add(&mut self, place: usize) {
        if let Some(next) = self.places.get_mut(self.count) {
            *next = place as u8;
            self.count += 1;
        }
    }

    #[inline(always)]
    fn get(&self) -> &[u8] {
        &self.places[..self.count.min(BURST)]
    }
}

/// What a request's MAC covers of its packet, but for protocol and port; a report's covers the object alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signed<'f> {
    /// Source and destination.
    pub(super) addresses: &'f [u8; 32],
    /// The object, MAC included.
    pub(super) object: &'f [u8],
}

impl<'f> Signed<'f> {
    #[inline(always)]
    pub(super) fn of(frame: &'f [u8], quick: &Quick) -> Option<Self> {
        if quick.shape.object_len == 0 {
            return None;
        }
        Some(Self {
            addresses: addresses(frame)?,
            object: object_in(frame, &quick.shape)?,
        })
    }
}

impl Path<'_> {
    /// Computes the MACs of those of the burst that will be verified. Once a burst, when it shows that there is one.
    #[inline(never)]
    pub(crate) fn check_macs<B: PacketBuf>(&mut self, packets: &[B], quick: &mut [Quick]) {
        self.macs_checked = true;
        let count = packets.len().min(quick.len());
        let (packets, quick) = (&packets[..count], &mut quick[..count]);
        let others = match self.own.verifier.take() {
            Some(mut verifier) => {
                let others = self.check_derived(packets, quick, &mut verifier);
                self.own.verifier = Some(verifier);
                others
            }
            None => self.wanted(packets, quick),
        };
        if others.count != 0 {
            self.check_kept(packets, quick, &others);
        }
    }

    /// Which packets have a MAC that will be verified. A request that says it has none needs no more than that.
    #[inline(never)]
    fn wanted<B: PacketBuf>(&self, packets: &[B], quick: &mut [Quick]) -> Places {
        let mut wanted = Places::NONE;
        for (at, (packet, quick)) in packets.iter().zip(quick).enumerate() {
            let frame = packet.data();
            let signed = match quick.shape.kind {
                Kind::Request => self.signed_request(Level::here(), frame, quick),
                Kind::Reply => self.signed_report(frame, quick),
                Kind::Whole => None,
            };
            if signed.is_some() {
                wanted.add(at);
            }
        }
        wanted
    }

    /// The packet's flow, if it is of the one that it probably is of, and whether its request is another than the flow's last one.
    /// Takes the request's fingerprint, for it is needed again.
    #[inline(always)]
    pub(super) fn known(
        &self,
        level: Level,
        signed: Signed<'_>,
        quick: &mut Quick,
    ) -> Option<(&FlowEntry, bool)> {
        let entry = self.own.flows.get(quick.flow)?;
        if !entry.is_of(signed.addresses, quick.ports, quick.shape.protocol) {
            return None;
        }
        quick.known = true;
        quick.print = self.own.fingerprint.of(level, signed.object);
        let is_changed = Fingerprint::read(entry.fingerprint).0 != quick.print;
        if is_changed && let Some(path) = self.paths.get(entry.instance().0.index()) {
            prefetch_read(path);
        }
        Some((entry, is_changed))
    }

    /// What a reply's report is signed over, if its MAC will be verified: if it was not applied.
    #[inline(always)]
    pub(super) fn signed_report<'f>(
        &self,
        frame: &'f [u8],
        quick: &mut Quick,
    ) -> Option<Signed<'f>> {
        quick.reporter = None;
        let signed = Signed::of(frame, quick)?;
        let reporter = self.reporter(signed.object);
        quick.reporter = reporter.map(|(slot, _)| slot);
        quick.known = reporter.is_some_and(|(slot, order)| self.is_last(slot, order));
        (!quick.known).then_some(signed)
    }

    /// What a client's request is signed over, if its MAC will be verified: if it opens a flow, or is not the flow's last one.
    /// Where it is of a flow, takes the fingerprint of the request, for it is needed again. One that says it has no MAC needs no
    /// more than that.
    #[inline(always)]
    pub(super) fn signed_request<'f>(
        &self,
        level: Level,
        frame: &'f [u8],
        quick: &mut Quick,
    ) -> Option<Signed<'f>> {
        let signed = Signed::of(frame, quick)?;
        if let Some((entry, is_changed)) = self.known(level, signed, quick) {
            if !is_changed {
                return None;
            }
            let tokens = self.tokens_alike(level, signed.object, entry.class);
            quick.is_alike = tokens.is_some();
            quick.tokens = tokens.unwrap_or(0);
        } else if quick.flow.is_some() {
            quick.flow = FlowRef::UNSURE;
        }
        if !is_unsigned(signed.object) {
            return Some(signed);
        }
        quick.mac = MacCheck::Right;
        self.foresee(level, signed, quick);
        None
    }

    /// Checks the `wanted` under keys that are kept.
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
                let quick = &mut quick[*at];
                if quick.mac == MacCheck::Right
                    && let Some(signed) = Signed::of(packets[*at].data(), quick)
                {
                    self.foresee(Level::here(), signed, quick);
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
