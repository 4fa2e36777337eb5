//! Who is believed: catalogues of labels and the key ring.

use afr_wire::{
    CatalogueVersion, ClassId, KeyId, Label32, LabelHash, MacAlgorithm, MasterKey, PolicyScope,
};
use hashbrown::HashMap;

/// A version of the label catalogue.
#[derive(Debug, Clone)]
pub struct Catalogue {
    /// The version that requests name.
    pub version: CatalogueVersion,
    /// Each label's name and 32-bit hash. The low halves differ from each other.
    pub labels: Vec<(String, Label32)>,
    /// From the hash on the wire to the position in `labels`.
    pub by_hash: HashMap<LabelHash, u16>,
}

/// A set of identifiers that a key may claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim<T> {
    /// Anything.
    Any,
    /// These, sorted.
    Only(Vec<T>),
}

impl<T: Ord> Claim<T> {
    /// Whether `item` may be claimed.
    #[inline]
    #[must_use]
    pub fn allows(&self, item: &T) -> bool {
        match self {
            Self::Any => true,
            Self::Only(items) => items.binary_search(item).is_ok(),
        }
    }
}

/// One entry of the key ring.
#[derive(Debug)]
pub struct Key {
    /// The identifier on the wire, not 0.
    pub id: KeyId,
    /// How its tags are computed.
    pub algorithm: MacAlgorithm,
    /// The master that senders' keys are derived from.
    pub master: MasterKey,
    /// Classes that a request under this key may name.
    pub classes: Claim<ClassId>,
    /// Policy scopes that a request under this key may name.
    pub policies: Claim<PolicyScope>,
    /// Unix seconds before which the key is not accepted.
    pub not_before_s: u64,
    /// Unix seconds from which the key is no longer accepted.
    pub not_after_s: u64,
    /// Bits of a sender's address that its derived key depends on.
    pub source_prefix_len: u8,
    /// The key that takes over from this one: an instance whose reports must be under this one is believed under that
    /// one too, while it is in force.
    pub successor: Option<KeyId>,
}
