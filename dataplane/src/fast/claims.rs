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

/// What of a believed request is to be the same.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claims<'a> {
    said: Said,
    ix: ClassIx,
    class: &'a Class,
}

/// Of the first 32 bytes what a request claims.
#[derive(Debug, Clone, Copy)]
struct Said([Masked; 2]);

impl<'a> Claims<'a> {
    /// Those of a request that was believed to be of a flow's class, if it has neither labels nor prefixes.
    pub(super) fn of(request: &[u8], ix: ClassIx, class: &'a Class) -> Option<Self> {
        // So short only without: it is well-formed.
        let request = request.try_into().ok()?;
        Some(Self {
            said: Said::by(request),
            ix,
            class,
        })
    }
}

impl Said {
    fn by(request: &[u8; LEN]) -> Self {
        let mut first = [0xFF; 16];
        first[FLAGS] = RequestFlags::BLOOM.0;
        first[ISSUED_AT..].fill(0);
        // Scope and counts; neither session nor length of the prompt.
        let mut second = [0; 16];
        second[8..12].fill(0xFF);
        let [one, two] = Self::compared(request);
        Self([Masked::new(*one, first), Masked::new(*two, second)])
    }

    #[inline(always)]
    fn compared(request: &[u8; LEN]) -> [&[u8; 16]; 2] {
        [0, 16].map(|at| request[at..].first_chunk().unwrap_or(&[0; 16]))
    }

    /// Whether a request says the same.
    #[inline(always)]
    fn is_said_by(&self, request: &[u8; LEN]) -> bool {
        all_match(&self.0, Self::compared(request))
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
        if !claims.said.is_said_by(request)
            || claims.ix != entry.class
            || age_s > u64::from(self.config.dispatch.request_skew_s)
        {
            return false;
        }
        let tokens = claims.class.prompt_tokens(be32(request, PROMPT_TOKENS));
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
        let said = Said::by(&request);
        for bit in 0..LEN * 8 {
            let mut other = request;
            other[bit / 8] ^= 1 << (bit % 8);
            let may = match bit / 8 {
                3 => bit % 8 != 2,
                12..=23 | 28.. => true,
                _ => false,
            };
            assert_eq!(said.is_said_by(&other), may, "bit {bit}");
        }
    }
}
