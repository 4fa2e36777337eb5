//! From option bytes to a request that may be acted on: MAC, key, claims, freshness, catalogue, labels.
//!
//! Exits: [`Usable`]; *no usable metadata*, by a note of its own (the packet is dispatched as one without); or a drop
//! ([`DropReason::MetadataMalformed`], [`DropReason::MacInvalid`], [`DropReason::ClaimClass`],
//! [`DropReason::ClaimPolicy`]).

use afr_wire::{
    Bloom, CatalogueVersion, ClassId, ClusterId, DomainId, KeyId, Label32, PolicyScope, Prefix,
    RequestContext, RequestFlags, RequestView, Role, SenderKey, masked_source,
};
use arrayvec::ArrayVec;

use crate::config::{Config, Key};
use crate::fast::MacCheck;
use crate::id::PeerIx;
use crate::memory::room;
use crate::packet::parse::Upper;
use crate::path::{Item, Path};
use crate::verdict::{DropReason, MetadataNote};

/// A request that is believed.
#[derive(Debug, Clone)]
pub struct Usable {
    /// The class it names.
    pub class: ClassId,
    /// Its policy scope.
    pub policy: PolicyScope,
    /// Its flags.
    pub flags: RequestFlags,
    /// Prompt length in tokens, 0 unknown.
    pub prompt_tokens: u32,
    /// Session, opaque.
    pub session: u64,
    /// Catalogue of its labels and signatures.
    pub catalogue: CatalogueVersion,
    /// Domain of its signatures.
    pub domain: DomainId,
    /// Labels it needs, exactly. Empty under an in-band Bloom filter.
    pub labels: ArrayVec<Label32, 8>,
    /// The same as a filter.
    pub bloom: Bloom<4>,
    /// The filter came in band: no labels to check exactly.
    pub bloom_in_band: bool,
    /// Prefixes it carries, depth ascending.
    pub prefixes: ArrayVec<Prefix, 8>,
}

/// Why a request is not acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unbelieved {
    /// For this reason; the packet is as one without.
    Unusable(MetadataNote),
    /// For this one, and the packet is to be dropped.
    Refused(DropReason),
}

use Unbelieved::{Refused, Unusable};

impl Usable {
    /// A place for one to be read into: it is too large to be handed on.
    pub(crate) const NOTHING: Self = Self {
        class: ClassId(0),
        policy: PolicyScope(0),
        flags: RequestFlags(0),
        prompt_tokens: 0,
        session: 0,
        catalogue: CatalogueVersion(0),
        domain: DomainId(0),
        labels: ArrayVec::new_const(),
        bloom: Bloom::new(),
        bloom_in_band: false,
        prefixes: ArrayVec::new_const(),
    };
}

impl Path<'_> {
    /// Verifies the request object in `bytes` of the packet from this origin, and reads it into `usable`.
    ///
    /// # Errors
    ///
    /// Why it is not to be acted on; `usable` holds anything then.
    pub(crate) fn verify(
        &mut self,
        origin: &Origin,
        bytes: &[u8],
        usable: &mut Usable,
    ) -> Result<(), Unbelieved> {
        let view = RequestView::of(bytes).ok_or(Refused(DropReason::MetadataMalformed))?;
        self.believe(origin, &view, usable)
    }

    /// The same for one that is well-formed.
    ///
    /// # Errors
    ///
    /// Why it is not to be acted on; never that it is malformed.
    #[inline(always)]
    pub(crate) fn believe(
        &mut self,
        origin: &Origin,
        view: &RequestView<'_>,
        usable: &mut Usable,
    ) -> Result<(), Unbelieved> {
        self.authenticate(origin, view)?;
        let age_s = self.unix_s.abs_diff(u64::from(view.issued_at()));
        if age_s > u64::from(self.config.dispatch.request_skew_s) {
            return Err(Unusable(MetadataNote::Stale));
        }
        read(self.config, view, usable)?;
        if origin.peer.is_some() {
            // What was spilled to this cluster stays here: two that are full would send it to and fro.
            usable.flags.0 &= !RequestFlags::SPILL_OK.0;
        }
        Ok(())
    }

    /// Whether the request is its sender's, and the sender may say what it says.
    #[inline]
    fn authenticate(&mut self, origin: &Origin, view: &RequestView<'_>) -> Result<(), Unbelieved> {
        if view.key_id() == KeyId::NONE {
            return if self.config.accept_unauthenticated {
                Ok(())
            } else {
                Err(Unusable(MetadataNote::Unauthenticated))
            };
        }
        let key = valid_key(self.config, view.key_id(), self.unix_s).map_err(Unusable)?;
        let right = match self.mac {
            MacCheck::Right => true,
            MacCheck::Wrong => false,
            MacCheck::Unknown => {
                let name = request_name(self.config, key, origin);
                let keys = &mut self.own.keys;
                keys.derived(self.config, key, name)
                    .is_some_and(|key| key.verify_request(&origin.context, view))
            }
        };
        if !right {
            return Err(Refused(DropReason::MacInvalid));
        }
        if !key.classes.allows(&view.class_id()) {
            return Err(Refused(DropReason::ClaimClass));
        }
        if !key.policies.allows(&view.policy()) {
            return Err(Refused(DropReason::ClaimPolicy));
        }
        self.note(MetadataNote::RequestVerified);
        Ok(())
    }
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    /// What its MAC covers of its packet.
    pub(crate) context: RequestContext,
    /// The peer that spilled it to this cluster, if one did.
    pub(crate) peer: Option<PeerIx>,
}

/// Where the request in a packet comes from.
pub(crate) fn origin_of(item: &Item) -> Origin {
    let parsed = &item.parsed;
    let context = RequestContext {
        source: parsed.source.to_be_bytes(),
        destination: parsed.final_destination.to_be_bytes(),
        protocol: parsed.protocol,
        destination_port: match parsed.upper {
            Upper::Tcp { destination, .. } | Upper::Udp { destination, .. } => destination,
            _ => 0,
        },
    };
    Origin {
        context,
        peer: item.peer,
    }
}

/// Whose key has signed a request from there.
pub(crate) fn request_name(config: &Config, key: &Key, origin: &Origin) -> Name {
    // A peer's clients have signed for the peer's cluster.
    let peer = origin
        .peer
        .and_then(|at| config.peers.get(usize::from(at.0)));
    let sender = masked_source(origin.context.source, key.source_prefix_len);
    Name {
        role: Role::Request,
        cluster: peer.map_or(config.cluster, |peer| peer.cluster),
        sender: u128::from_be_bytes(sender),
    }
}

/// The key called `id`, if it is in force at `now_s`.
pub(crate) fn valid_key(config: &Config, id: KeyId, now_s: u64) -> Result<&Key, MetadataNote> {
    let key = config.key(id).ok_or(MetadataNote::UnknownKey)?;
    if (key.not_before_s..key.not_after_s).contains(&now_s) {
        Ok(key)
    } else {
        Err(MetadataNote::KeyExpired)
    }
}

/// Reads what the request asks for, once it is believed.
#[inline(always)]
fn read(config: &Config, view: &RequestView<'_>, usable: &mut Usable) -> Result<(), Unbelieved> {
    let Some(catalogue) = config.catalogue(view.catalogue()) else {
        return Err(Unusable(MetadataNote::UnknownCatalogue));
    };
    usable.labels.clear();
    usable.prefixes.clear();
    usable.bloom = Bloom::new();
    for hash in view.labels() {
        let label = catalogue
            .by_hash
            .get(&hash)
            .and_then(|at| catalogue.labels.get(usize::from(*at)));
        let Some((_, label)) = label else {
            return Err(Unusable(MetadataNote::UnknownLabel));
        };
        usable.bloom.insert(*label);
        let _ = usable.labels.try_push(*label);
    }
    if let Some(bytes) = view.bloom() {
        let allowed = config
            .class(view.class_id())
            .and_then(|ix| config.classes.get(ix))
            .is_some_and(|class| class.allow_bloom);
        if !allowed {
            return Err(Unusable(MetadataNote::BloomRefused));
        }
        usable.bloom = Bloom::from_bytes(bytes);
    }
    for prefix in view.prefixes() {
        let _ = usable.prefixes.try_push(prefix);
    }
    usable.class = view.class_id();
    usable.policy = view.policy();
    usable.flags = view.flags();
    usable.prompt_tokens = view.prompt_tokens();
    usable.session = view.session();
    usable.catalogue = view.catalogue();
    usable.domain = view.domain();
    usable.bloom_in_band = view.bloom().is_some();
    Ok(())
}

/// Ways of a set in the table of derived keys.
const WAYS: usize = 4;

/// Derived keys by (key id, name), a bounded set-associative table. The oldest of a set gives way.
pub struct SenderKeys {
    /// Whose key each way has; a set is two cache lines.
    tags: Vec<[Tag; WAYS]>,
    keys: Vec<Option<SenderKey>>,
    revision: u64,
    clock: u32,
}

/// Whose key is derived from an entry of the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    /// What it signs.
    pub role: Role,
    /// The cluster that it signs for.
    pub cluster: ClusterId,
    /// Who signs: a masked address, or the instance id of a report.
    pub sender: u128,
}

/// Whose key it is, as the table has it: a set of four is two cache lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
struct Tag {
    sender: [u8; 16],
    cluster: ClusterId,
    id: KeyId,
    role: u8,
    used: u32,
}

impl Tag {
    /// Nobody's: no key has identifier 0.
    const VACANT: Self = Self {
        sender: [0; 16],
        cluster: ClusterId(0),
        id: KeyId::NONE,
        role: 0,
        used: 0,
    };

    fn is(&self, name: &Name, id: KeyId) -> bool {
        (self.sender == name.sender.to_ne_bytes())
            & (self.cluster == name.cluster)
            & (self.id == id)
            & (self.role == name.role as u8)
    }
}

/// Where a key was found or put. It is that key's place until another needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyPlace {
    at: usize,
    name: Name,
    id: KeyId,
}

impl SenderKeys {
    /// A table for about `capacity` keys.
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        let sets = (capacity as usize).div_ceil(WAYS).next_power_of_two();
        Self {
            tags: vec![[Tag::VACANT; WAYS]; sets],
            keys: (0..sets * WAYS).map(|_| None).collect(),
            revision: 0,
            clock: 0,
        }
    }

    /// Memory held, in bytes; the same from [`Self::new`] on.
    #[must_use]
    pub(crate) fn memory_bytes(&self) -> usize {
        room(&self.tags) + room(&self.keys)
    }

    /// The key of `name` under `key`, derived now unless it was before.
    pub fn derived(&mut self, config: &Config, key: &Key, name: Name) -> Option<&SenderKey> {
        let place = self.place(config, key, name);
        self.at(&place)
    }

    /// The key at `place`, unless another has taken it.
    #[inline]
    pub(crate) fn at(&self, place: &KeyPlace) -> Option<&SenderKey> {
        let tag = self.tags.get(place.at / WAYS)?.get(place.at % WAYS)?;
        if tag.is(&place.name, place.id) {
            self.keys.get(place.at)?.as_ref()
        } else {
            None
        }
    }

    /// The place of the key of `name` under `key`, which is derived now unless it was before.
    pub(crate) fn place(&mut self, config: &Config, key: &Key, name: Name) -> KeyPlace {
        let sender = name.sender;
        if self.revision != config.revision {
            // A key id may mean another master now.
            self.tags.fill([Tag::VACANT; WAYS]);
            self.keys.fill_with(|| None);
            self.revision = config.revision;
        }
        self.clock = self.clock.wrapping_add(1);
        let clock = self.clock;
        let mixed = (sender as u64 ^ (sender >> 64) as u64 ^ u64::from(key.id.0) << 48)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let set = (mixed >> 40) as usize & (self.tags.len() - 1);
        let tags = &mut self.tags[set];
        let hit = tags.iter().position(|tag| tag.is(&name, key.id));
        let way = hit.unwrap_or_else(|| {
            let age = |tag: &Tag| match tag.id {
                KeyId::NONE => u32::MAX,
                _ => clock.wrapping_sub(tag.used),
            };
            (0..WAYS).max_by_key(|at| age(&tags[*at])).unwrap_or(0)
        });
        let at = set * WAYS + way;
        if hit.is_none() {
            tags[way] = Tag {
                sender: sender.to_ne_bytes(),
                cluster: name.cluster,
                id: key.id,
                role: name.role as u8,
                used: clock,
            };
            self.keys[at] = Some(derive(key, name));
        }
        tags[way].used = clock;
        KeyPlace {
            at,
            name,
            id: key.id,
        }
    }
}

#[inline(never)]
fn derive(key: &Key, name: Name) -> SenderKey {
    let Name {
        role,
        cluster,
        sender,
    } = name;
    let bytes = sender.to_be_bytes();
    let bytes: &[u8] = match role {
        Role::Request => &bytes,
        Role::Report => &bytes[12..],
    };
    SenderKey::derive(key.algorithm, &key.master, role, cluster, bytes)
}

impl std::fmt::Debug for SenderKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SenderKeys").finish_non_exhaustive()
    }
}
