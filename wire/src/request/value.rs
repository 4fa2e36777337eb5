//! A request as a plain value, and the writing of it.

use super::{at, check_depths};
use crate::error::EmitError;
use crate::object::{Kind, emit_head, mac_len, padded};
use crate::{
    BLOOM_LEN, CatalogueVersion, ClassId, DomainId, KeyId, LabelHash, List, MAX_LABELS,
    MAX_PREFIXES, PolicyScope, Prefix, REQUEST_FIXED_LEN, RequestFlags, RequestView,
};

/// How a request names the labels it needs.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Labels {
    /// By their hashes: the AFR checks them exactly.
    Hashes(List<LabelHash, MAX_LABELS>),
    /// By a Bloom-256 filter, from which they cannot be recovered: accepted only where the class
    /// allows it.
    Bloom([u8; BLOOM_LEN]),
}

impl Labels {
    /// Bytes the section takes, padding included.
    fn wire_len(&self) -> usize {
        match self {
            Self::Hashes(hashes) => padded(2 * hashes.len()),
            Self::Bloom(filter) => filter.len(),
        }
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::Hashes(List::new())
    }
}

/// A request as a value.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Flags. [`RequestFlags::BLOOM`] follows from `labels` and is not looked at.
    pub flags: RequestFlags,
    /// Entry of the key ring to sign with; [`KeyId::NONE`] for an unauthenticated request.
    pub key_id: KeyId,
    /// Version of the label catalogue.
    pub catalogue: CatalogueVersion,
    /// Exact capability class.
    pub class_id: ClassId,
    /// Unix seconds.
    pub issued_at: u32,
    /// Opaque session.
    pub session: u64,
    /// Policy scope.
    pub policy: PolicyScope,
    /// Length of the input in tokens; 0 if unknown.
    pub prompt_tokens: u32,
    /// Signature domain of the prefixes.
    pub domain: DomainId,
    /// Labels an instance must have.
    pub labels: Labels,
    /// Prefixes of the prompt, their depths strictly ascending from 1.
    pub prefixes: List<Prefix, MAX_PREFIXES>,
}

impl Request {
    /// The value of a view, without its MAC. [`RequestFlags::BLOOM`] is taken out of the flags.
    pub fn from_view(view: &RequestView<'_>) -> Self {
        Self {
            flags: view.flags().without(RequestFlags::BLOOM),
            key_id: view.key_id(),
            catalogue: view.catalogue(),
            class_id: view.class_id(),
            issued_at: view.issued_at(),
            session: view.session(),
            policy: view.policy(),
            prompt_tokens: view.prompt_tokens(),
            domain: view.domain(),
            labels: match view.bloom() {
                Some(filter) => Labels::Bloom(*filter),
                None => Labels::Hashes(List::take_from(view.labels())),
            },
            prefixes: List::take_from(view.prefixes()),
        }
    }

    /// Bytes [`Request::emit`] writes.
    pub fn buffer_len(&self) -> usize {
        REQUEST_FIXED_LEN
            + self.labels.wire_len()
            + padded(Prefix::LEN * self.prefixes.len())
            + mac_len(self.key_id)
    }

    /// Writes the object to the front of `out` and says how long it is. The MAC, where there is
    /// one, is zero until [`crate::SenderKey::sign_request`].
    ///
    /// # Errors
    ///
    /// [`EmitError::NoRoom`], or a depth that no receiver would accept. Nothing is written then.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, EmitError> {
        check_depths(self.prefixes.iter().copied()).map_err(|fault| match fault.previous {
            None => EmitError::DepthZero,
            Some(previous) => EmitError::DepthNotAscending {
                previous,
                found: fault.found,
            },
        })?;
        let needed = self.buffer_len();
        let available = out.len();
        let no_room = EmitError::NoRoom { needed, available };
        let object = out.get_mut(..needed).ok_or(no_room)?;
        object.fill(0);
        let (fixed, rest) = object.split_first_chunk_mut().ok_or(no_room)?;
        *fixed = self.emit_fixed();

        let (labels, rest) = rest.split_at_mut(self.labels.wire_len());
        match &self.labels {
            Labels::Hashes(hashes) => {
                for (slot, hash) in labels.as_chunks_mut().0.iter_mut().zip(hashes) {
                    *slot = hash.0.to_be_bytes();
                }
            }
            Labels::Bloom(filter) => labels.copy_from_slice(filter),
        }
        for (slot, prefix) in rest.as_chunks_mut().0.iter_mut().zip(&self.prefixes) {
            *slot = prefix.to_wire();
        }
        Ok(needed)
    }

    fn emit_fixed(&self) -> [u8; REQUEST_FIXED_LEN] {
        let (bloom, n_labels) = match &self.labels {
            Labels::Hashes(hashes) => (RequestFlags::NONE, hashes.len()),
            Labels::Bloom(_) => (RequestFlags::BLOOM, 0),
        };
        let flags = self.flags.without(RequestFlags::BLOOM) | bloom;
        let mut fixed = [0; REQUEST_FIXED_LEN];
        fixed[..at::CLASS_ID].copy_from_slice(&emit_head(
            Kind::Request,
            flags.0,
            self.key_id,
            self.catalogue,
        ));
        fixed[at::CLASS_ID..at::ISSUED_AT].copy_from_slice(&self.class_id.0.to_be_bytes());
        fixed[at::ISSUED_AT..at::SESSION].copy_from_slice(&self.issued_at.to_be_bytes());
        fixed[at::SESSION..at::POLICY].copy_from_slice(&self.session.to_be_bytes());
        fixed[at::POLICY..at::N_LABELS].copy_from_slice(&self.policy.0.to_be_bytes());
        fixed[at::N_LABELS] = n_labels as u8;
        fixed[at::N_PREFIX] = self.prefixes.len() as u8;
        fixed[at::PROMPT_TOKENS..at::DOMAIN].copy_from_slice(&self.prompt_tokens.to_be_bytes());
        fixed[at::DOMAIN..at::RESERVED].copy_from_slice(&self.domain.0.to_be_bytes());
        fixed
    }
}
