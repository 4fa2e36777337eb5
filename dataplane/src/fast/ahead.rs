//! Ahead of the stages, for the packets of a burst that will be dispatched or charged anew: what they will read is brought
//! nearer.
//!
//! Nothing is decided here: a wrong hint costs a cache line. The fingerprint of the request's session, which it takes to find what to
//! bring nearer, is kept with the packet: it is charged by that.

use afr_wire::{CatalogueVersion, DomainId, Prefix, REQUEST_FIXED_LEN, RequestFlags, Signature};
use dpdk::vector::Level;

use super::macs::Signed;
use super::quick::Quick;
use crate::aft::SigKey;
use crate::packet::bytes::{array, be16};
use crate::path::Path;

/// Offset of a request's number of prefixes.
const N_PREFIXES: usize = 27;

impl Path<'_> {
    /// Brings nearer what the dispatch of this packet will read, if it is one to be dispatched.
    #[inline(always)]
    pub(super) fn foresee(&self, level: Level, signed: Signed<'_>, quick: &mut Quick) {
        self.foresee_session(level, signed, quick);
        if let Some(fixed) = signed.object.first_chunk::<REQUEST_FIXED_LEN>()
            && fixed[N_PREFIXES] != 0
        {
            self.foresee_prefixes(fixed, signed.object);
        }
    }

    /// The same of the session alone that a request is of.
    #[inline(always)]
    pub(super) fn foresee_session(&self, level: Level, signed: Signed<'_>, quick: &mut Quick) {
        let (Some(fixed), Some(source)) = (
            signed.object.first_chunk::<REQUEST_FIXED_LEN>(),
            signed.addresses.first_chunk(),
        ) else {
            return;
        };
        let session = u64::from_be_bytes(array(fixed, 16));
        quick.session = self.own.replay.fingerprint_of(level, source, session);
        self.own.replay.prefetch(quick.session);
    }

    /// The same of the prefixes that a request carries.
    #[inline(never)]
    fn foresee_prefixes(&self, fixed: &[u8; REQUEST_FIXED_LEN], object: &[u8]) {
        let bloom = RequestFlags(fixed[3]).contains(RequestFlags::BLOOM);
        let labels = if bloom {
            afr_wire::BLOOM_LEN
        } else {
            (usize::from(fixed[26]) * 2).next_multiple_of(4)
        };
        let prefixes = object.get(REQUEST_FIXED_LEN + labels..).unwrap_or(&[]);
        for prefix in prefixes
            .chunks_exact(6)
            .take(usize::from(fixed[N_PREFIXES].min(8)))
        {
            let prefix = Prefix {
                depth: be16(prefix, 0),
                signature: Signature(array(prefix, 2)),
            };
            let catalogue = CatalogueVersion(be16(fixed, 6));
            let key = SigKey::new(catalogue, DomainId(be16(fixed, 32)), prefix);
            let key = self.aft.residency.hashed(key);
            self.aft.residency.prefetch(key);
            self.own.residency.prefetch(key);
        }
    }
}
