//! What a request must say to be believed as another was: requests that are charged one after the other mostly differ in session,
//! date and length of the prompt alone.
//!
//! Requests without labels and prefixes only. What such a one says was verified with the one before, under the same key, in the
//! same burst: that it is well-formed, that the key may claim class and scope, and that the catalogue is known.

use afr_wire::{MAC_LEN, REQUEST_FIXED_LEN, RequestFlags};
use dpdk::vector::{Masked, all_match};

use super::shape::{Quick, object};
use crate::config::Class;
use crate::fingerprint::Fingerprint;
use crate::flow::FlowRef;
use crate::id::{ClassIx, Incarnation, Slot};
use crate::packet::bytes::be32;
use crate::path::Path;
use crate::verdict::MetadataNote;

/// Offsets in a request's fixed part.
const FLAGS: usize = 3;
const ISSUED_AT: usize = 12;
const PROMPT_TOKENS: usize = 28;
/// Length of a request with a MAC and nothing between.
const LEN: usize = REQUEST_FIXED_LEN + MAC_LEN;

/// What of a believed request is to be the same, and what its class makes of the rest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claims {
    /// Of the first 32 bytes.
    parts: [Masked; 2],
    class: ClassIx,
    default_prompt_tokens: u32,
    max_prompt_tokens: u32,
}

impl Claims {
    /// Those of a request that was believed to be of a flow's class, if it has neither labels nor prefixes.
    pub(super) fn of(request: &[u8], ix: ClassIx, class: &Class) -> Option<Self> {
        let prompt = (class.default_prompt_tokens, class.max_prompt_tokens);
        Self::with(request, ix, prompt)
    }

    /// The same of a class by which a prompt is so long by default, and at the most.
    fn with(request: &[u8], class: ClassIx, prompt_tokens: (u32, u32)) -> Option<Self> {
        // So short only without: it is well-formed.
        let request: &[u8; LEN] = request.try_into().ok()?;
        let mut first = [0xFF; 16];
        first[FLAGS] = RequestFlags::BLOOM.0;
        first[ISSUED_AT..].fill(0);
        // Scope and counts; neither session nor length of the prompt.
        let mut second = [0; 16];
        second[8..12].fill(0xFF);
        let [one, two] = Self::compared(request)?;
        Some(Self {
            parts: [Masked::new(*one, first), Masked::new(*two, second)],
            class,
            default_prompt_tokens: prompt_tokens.0,
            max_prompt_tokens: prompt_tokens.1,
        })
    }

    #[inline(always)]
    fn compared(request: &[u8; LEN]) -> Option<[&[u8; 16]; 2]> {
        let (parts, _) = request.as_chunks::<16>();
        parts.first_chunk::<2>()?.each_ref().into()
    }

    /// Whether a request is like that one.
    #[inline(always)]
    fn are_of(&self, request: &[u8; LEN], class: ClassIx) -> bool {
        Self::compared(request).is_some_and(|parts| all_match(&self.parts, parts))
            && self.class == class
    }
}

impl Path<'_> {
    /// Charges the flow, which is `pin`'s, for a request whose MAC is right and which is to be believed as the last one. `false`: it is
    /// not, and nothing was changed.
    #[inline(always)]
    pub(super) fn charge_alike(
        &mut self,
        quick: &Quick,
        frame: &[u8],
        flow: FlowRef,
        pin: (Slot, Incarnation),
        print: u64,
    ) -> bool {
        let Some(claims) = &self.claims else {
            return false;
        };
        let Ok(request) = object(frame, quick.shape.object_len).try_into() else {
            return false;
        };
        let request: &[u8; LEN] = request;
        let entry = self.own.flows.entry_mut(flow);
        let age_s = self
            .now
            .unix_s()
            .abs_diff(u64::from(be32(request, ISSUED_AT)));
        if !claims.are_of(request, entry.class)
            || age_s > u64::from(self.config.dispatch.request_skew_s)
        {
            return false;
        }
        let tokens = match be32(request, PROMPT_TOKENS) {
            0 => claims.default_prompt_tokens,
            told => told.min(claims.max_prompt_tokens),
        };
        entry.fingerprint = Fingerprint::mark(print, true);
        entry.note_metadata();
        self.note(MetadataNote::RequestVerified);
        let (slot, incarnation) = pin;
        if self.may_charge(quick.session) && self.aft.incarnation(slot) == incarnation {
            let change = self.shared.inflight.commit_direct(slot, tokens);
            self.charged(change);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_session_date_prompt_domain_tag_and_flags_may_differ() {
        let request: [u8; LEN] = std::array::from_fn(|at| (at * 37) as u8);
        let claims = Claims::with(&request, ClassIx(3), (1, 2)).unwrap();
        for bit in 0..LEN * 8 {
            let mut other = request;
            other[bit / 8] ^= 1 << (bit % 8);
            let may = match bit / 8 {
                3 => bit % 8 != 2,
                12..=23 | 28.. => true,
                _ => false,
            };
            assert_eq!(claims.are_of(&other, ClassIx(3)), may, "bit {bit}");
        }
        assert!(!claims.are_of(&request, ClassIx(2)));
        assert!(Claims::with(&request[1..], ClassIx(3), (1, 2)).is_none());
        assert!(Claims::with(&[0; LEN + 4], ClassIx(3), (1, 2)).is_none());
    }
}
