//! Ahead of the stages, for the packets of a burst that will be dispatched or verified anew: what they will read is
//! brought nearer, and their MACs are computed side by side.
//!
//! Nothing is decided here. Metadata that is not verified yet says where to look, and a wrong hint costs a cache line. What a
//! MAC was found to be is handed to [`crate::request::verify`] with the packet ([`MacCheck`]).

use afr_wire::{
    CatalogueVersion, DomainId, KeyId, MAC_LEN, MAX_CHECKS, Prefix, REQUEST_FIXED_LEN,
    RequestFlags, Signature, verify_requests,
};
use arrayvec::ArrayVec;

use super::shape::{Kind, Quick, object};
use crate::aft::SigKey;
use crate::packet::PacketBuf;
use crate::packet::bytes::{address, array, be16};
use crate::packet::parse::ETHERNET_LEN;
use crate::path::{BURST, Fingerprint, Path};
use crate::request::verify::{KeyPlace, request_name, valid_key};

/// What is known of the MAC of a packet's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum MacCheck {
    /// Nothing yet.
    #[default]
    Unknown,
    /// It is right, under the key that is in force.
    Right,
    /// It is wrong.
    Wrong,
}

impl Path<'_> {
    /// Brings nearer what the dispatch of this packet will read, if it is one to be dispatched.
    #[inline(always)]
    pub(super) fn foresee(&self, frame: &[u8], quick: &Quick) {
        let object = object(frame, usize::from(quick.object_len));
        let Some(fixed) = object.first_chunk::<REQUEST_FIXED_LEN>() else {
            return;
        };
        let source = address(frame, ETHERNET_LEN + 8);
        self.own
            .replay
            .prefetch(source, u64::from_be_bytes(array(fixed, 16)));
        let bloom = RequestFlags(fixed[3]).contains(RequestFlags::BLOOM);
        let labels = if bloom {
            afr_wire::BLOOM_LEN
        } else {
            (usize::from(fixed[26]) * 2).next_multiple_of(4)
        };
        let prefixes = object.get(REQUEST_FIXED_LEN + labels..).unwrap_or(&[]);
        for prefix in prefixes.chunks_exact(6).take(usize::from(fixed[27].min(8))) {
            let prefix = Prefix {
                depth: be16(prefix, 0),
                signature: Signature(array(prefix, 2)),
            };
            let catalogue = CatalogueVersion(be16(fixed, 6));
            let key = SigKey::new(catalogue, DomainId(be16(fixed, 32)), prefix);
            self.aft.residency.prefetch(key);
            self.own.residency.prefetch(key);
        }
    }

    /// Whether the packet's request will be verified: it opens a flow, or is not the flow's last one.
    #[inline(always)]
    fn needs_mac(&self, frame: &[u8], quick: &Quick) -> bool {
        if quick.kind != Kind::Request || quick.object_len == 0 {
            return false;
        }
        let Some(flow) = quick.flow else {
            return true;
        };
        let entry = self.own.flows.entry(flow);
        let addresses = array(frame, ETHERNET_LEN + 8);
        !entry.is_of(&addresses, quick.ports, quick.protocol)
            || Fingerprint::read(entry.fingerprint).0 != quick.print
    }

    /// Computes the MACs of those of the burst that will be verified. Where something is amiss with a request or its
    /// key, its MAC stays unknown, and verification says what.
    #[inline(always)]
    pub(crate) fn check_macs<B: PacketBuf>(&mut self, packets: &[B], quick: &mut [Quick]) {
        let mut wanted = ArrayVec::<usize, BURST>::new();
        for (at, (packet, quick)) in packets.iter().zip(quick.iter()).enumerate() {
            if self.needs_mac(packet.data(), quick) {
                self.foresee(packet.data(), quick);
                let _ = wanted.try_push(at);
            }
        }
        if !wanted.is_empty() {
            self.check_wanted(packets, quick, &wanted);
        }
    }

    #[inline(never)]
    fn check_wanted<B: PacketBuf>(
        &mut self,
        packets: &[B],
        quick: &mut [Quick],
        wanted: &ArrayVec<usize, BURST>,
    ) {
        let mut keyed = ArrayVec::<(usize, KeyPlace), BURST>::new();
        for at in wanted {
            let (frame, quick) = (packets[*at].data(), &quick[*at]);
            let object = object(frame, usize::from(quick.object_len));
            let id = KeyId(be16(object, 4));
            if object.len() < REQUEST_FIXED_LEN + MAC_LEN || id == KeyId::NONE {
                continue;
            }
            let Ok(key) = valid_key(self.config, id, self.now.unix_s()) else {
                continue;
            };
            let name = request_name(self.config, key, &quick.origin(frame));
            let place = self.own.keys.place(self.config, key, name);
            let _ = keyed.try_push((*at, place));
        }
        for group in keyed.chunks(MAX_CHECKS) {
            let mut checks = ArrayVec::<_, MAX_CHECKS>::new();
            for (at, place) in group {
                // A key derived for a later packet may have taken this one's place.
                if let Some(key) = self.own.keys.at(place) {
                    let (frame, quick) = (packets[*at].data(), &quick[*at]);
                    let object = object(frame, usize::from(quick.object_len));
                    checks.push((key, quick.origin(frame).context, object));
                }
            }
            let right = verify_requests(&checks);
            let checked = group
                .iter()
                .filter(|(_, place)| self.own.keys.at(place).is_some());
            for (bit, (at, _)) in checked.enumerate() {
                quick[*at].mac = if right >> bit & 1 != 0 {
                    MacCheck::Right
                } else {
                    MacCheck::Wrong
                };
            }
        }
    }
}
