//! What a request must say to be believed as another was: requests that are charged one after the other mostly differ in session,
//! date and length of the prompt alone.
//!
//! Requests without labels and prefixes only. What such a one says was verified with the one before, under the same key and the
//! same configuration: that it is well-formed, that the key may claim class and scope, and that the catalogue is known.

use afr_wire::{
    Bloom, CatalogueVersion, ClassId, DomainId, KeyId, MAC_LEN, PolicyScope, REQUEST_FIXED_LEN,
    RequestFlags,
};
use arrayvec::ArrayVec;
use dpdk::vector::{Level, Masked, all_match};

use super::MacCheck;
use super::quick::{Kind, Quick, Shape, object_in};
use crate::config::{Class, PromptLengths};
use crate::counters::{Figure, LocalCounters};
use crate::id::ClassIx;
use crate::packet::bytes::{address, array, be16, be32};
use crate::packet::parse::ETHERNET_LEN;
use crate::path::{Path, is_client};
use crate::request::verify::Usable;
use crate::verdict::MetadataNote;

/// Where a request, as any object, names its key.
pub(super) const KEY: usize = 4;
/// Offsets in a request's fixed part.
const FLAGS: usize = 3;
const ISSUED_AT: usize = 12;
const SESSION: usize = 16;
const PROMPT_TOKENS: usize = 28;
/// Offset of a frame's hop limit.
const HOP_LIMIT: usize = ETHERNET_LEN + 7;
/// Bytes of a request that are the same in all.
type Fixed = [u8; REQUEST_FIXED_LEN];
/// Bytes of a signed request without labels and prefixes.
pub(super) const BRIEF: usize = REQUEST_FIXED_LEN + MAC_LEN;

/// What of a believed request is to be the same.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claims {
    said: Said,
    /// The key that it is signed under, or none.
    key: KeyId,
    ix: ClassIx,
    class: ClassId,
    prompts: PromptLengths,
    /// Of a task that is dispatched anew.
    task: Option<Task>,
}

/// What of a task is to be the same besides.
#[derive(Debug, Clone, Copy)]
struct Task {
    destination: u128,
    flags: RequestFlags,
    policy: PolicyScope,
}

/// Bytes of a request that are compared.
const SAID: usize = 32;

/// Of the first bytes what a request claims: neither date nor session nor length of the prompt.
#[derive(Debug, Clone, Copy)]
struct Said(Masked);

impl Claims {
    /// Those of a request that was believed to be of this class, if it has neither labels nor prefixes.
    #[inline]
    pub(super) fn of(request: &[u8], ix: ClassIx, class: &Class) -> Option<Self> {
        let fixed = request.first_chunk::<REQUEST_FIXED_LEN>()?;
        let claims = Self {
            said: Said::by(fixed),
            key: KeyId(be16(fixed, KEY)),
            ix,
            class: class.id,
            prompts: class.prompt_lengths(),
            task: None,
        };
        // So short only without: it is well-formed.
        (request.len() == claims.request_len()).then_some(claims)
    }

    /// Bytes of such a request, MAC included.
    #[inline(always)]
    fn request_len(&self) -> usize {
        if self.key == KeyId::NONE {
            REQUEST_FIXED_LEN
        } else {
            BRIEF
        }
    }

    /// Those of a task that is dispatched, sent to this address.
    #[inline]
    pub(crate) fn of_task(
        request: &[u8],
        ix: ClassIx,
        class: &Class,
        destination: u128,
        usable: &Usable,
    ) -> Option<Self> {
        let claims = Self::of(request, ix, class)?;
        let task = Task {
            destination,
            flags: usable.flags,
            policy: usable.policy,
        };
        Some(Self {
            task: Some(task),
            ..claims
        })
    }

    /// These from now on, if there are any. What was believed before stays true as long as the configuration does, so that one request
    /// that claims nothing of the kind does not cost those behind it.
    #[inline(always)]
    pub(crate) fn take_up(kept: &mut Option<Self>, claims: Option<Self>) {
        if claims.is_some() {
            *kept = claims;
        }
    }

    /// The key that such requests are signed under, if they are.
    #[inline(always)]
    pub(super) fn signed_under(&self) -> Option<KeyId> {
        (self.key != KeyId::NONE).then_some(self.key)
    }

    /// The fixed part of the request in `object`, whose MAC is right, or which needs none, if it claims the same at this time.
    #[inline(always)]
    fn made_by<'f>(
        &self,
        level: Level,
        object: &'f [u8],
        (now_s, skew_s): (u64, u32),
    ) -> Option<&'f Fixed> {
        if object.len() != self.request_len() {
            return None;
        }
        let fixed = object.first_chunk()?;
        let age_s = now_s.abs_diff(u64::from(be32(fixed, ISSUED_AT)));
        (self.said.is_said_by(level, fixed) && age_s <= u64::from(skew_s)).then_some(fixed)
    }

    /// Tokens of the prompt of a request that claims the same, on a flow of this class, once its MAC is right.
    #[inline(always)]
    pub(super) fn tokens(
        &self,
        level: Level,
        object: &[u8],
        time: (u64, u32),
        class: ClassIx,
    ) -> Option<u32> {
        let request = self.made_by(level, object, time)?;
        (self.ix == class).then(|| self.prompts.of(be32(request, PROMPT_TOKENS)))
    }
}

impl Said {
    fn by(request: &Fixed) -> Self {
        let mut mask = [0xFF; SAID];
        mask[FLAGS] = RequestFlags::BLOOM.0;
        mask[ISSUED_AT..SESSION + 8].fill(0);
        mask[PROMPT_TOKENS..].fill(0);
        Self(Masked::new(*Self::compared(request), mask))
    }

    #[inline(always)]
    fn compared(request: &Fixed) -> &[u8; SAID] {
        request.first_chunk().unwrap_or(&[0; SAID])
    }

    /// Whether a request says the same.
    #[inline(always)]
    fn is_said_by(&self, level: Level, request: &Fixed) -> bool {
        all_match(
            level,
            std::array::from_ref(&self.0),
            [Self::compared(request)],
        )
    }
}

impl Shape {
    /// Whether a request of this length, without labels and prefixes, has a MAC.
    #[inline(always)]
    pub(super) fn is_signed(&self) -> bool {
        usize::from(self.object_len) != REQUEST_FIXED_LEN
    }
}

impl Path<'_> {
    /// The time, and by how many seconds a request's may differ from it.
    #[inline(always)]
    pub(super) fn time(&self) -> (u64, u32) {
        (self.unix_s, self.config.dispatch.request_skew_s)
    }

    /// What a request on a flow of this class is charged, if it claims what the last one that was believed did and its MAC is
    /// right.
    #[inline(always)]
    pub(super) fn tokens_alike(&self, level: Level, object: &[u8], class: ClassIx) -> Option<u32> {
        let claims = self.claims.as_ref()?;
        claims.tokens(level, object, self.time(), class)
    }

    /// The same out of line: for one that was not alike when the burst's MACs were checked, or whose flow may have changed since.
    #[inline(never)]
    pub(super) fn tokens_by_now(
        claims: &Option<Claims>,
        object: &[u8],
        time: (u64, u32),
        class: ClassIx,
    ) -> Option<u32> {
        (claims.as_ref()?).tokens(Level::here(), object, time, class)
    }

    /// What the packet asks for, and of which class, if it is a task that claims what the last one did.
    #[inline(always)]
    pub(super) fn claimed_alike(&self, frame: &[u8], quick: &Quick) -> Option<(ClassIx, Usable)> {
        let is_new = quick.shape.kind == Kind::Request && !quick.is_sought;
        if !is_new || quick.mac != MacCheck::Right {
            return None;
        }
        let claims = self.claims.as_ref()?;
        let object = object_in(frame, &quick.shape)?;
        let request = claims.made_by(Level::here(), object, self.time())?;
        let task = claims.task.as_ref()?;
        let same = RequestFlags(request[FLAGS]) == task.flags
            && address(frame, ETHERNET_LEN + 24) == task.destination;
        let passes = frame[HOP_LIMIT] > 1 && is_client(address(frame, ETHERNET_LEN + 8));
        if !same || !passes {
            return None;
        }
        let usable = Usable {
            class: claims.class,
            policy: task.policy,
            flags: task.flags,
            prompt_tokens: be32(request, PROMPT_TOKENS),
            session: u64::from_be_bytes(array(request, SESSION)),
            // Of labels and prefixes, and there are none.
            catalogue: CatalogueVersion(0),
            domain: DomainId(0),
            labels: ArrayVec::new(),
            bloom: Bloom::new(),
            bloom_in_band: false,
            prefixes: ArrayVec::new(),
        };
        Some((claims.ix, usable))
    }

    /// Counts a request of this shape that is believed as the last one: there was a MAC to verify, or there was none.
    #[inline(always)]
    pub(super) fn note_believed(counters: &mut LocalCounters, shape: &Shape) {
        let verified = u64::from(shape.is_signed());
        counters.add(Figure::Note(MetadataNote::RequestVerified), verified);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_session_date_prompt_domain_and_flags_may_differ() {
        let request: Fixed = std::array::from_fn(|at| (at * 37) as u8);
        let said = Said::by(&request);
        for bit in 0..request.len() * 8 {
            let mut other = request;
            other[bit / 8] ^= 1 << (bit % 8);
            let may = match bit / 8 {
                3 => bit % 8 != 2,
                12..=23 | 28.. => true,
                _ => false,
            };
            assert_eq!(said.is_said_by(Level::here(), &other), may, "bit {bit}");
        }
    }
}
