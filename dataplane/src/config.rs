//! What a packet path runs under: checked types only. Parsing and the checks themselves are the control plane's;
//! once a [`Config`] exists, the workers take it as it is.

mod class;
mod classes;
mod instance;
mod net;
mod trust;
mod tuning;

use std::net::Ipv6Addr;

use afr_wire::{CatalogueVersion, ClassId, ClusterId, KeyId};

use crate::id::{ClassIx, PeerIx};

pub(crate) use class::PromptLengths;
pub use class::{Class, OnDeath, PlainDispatch, PolicyKind, Saturation, Spill};
pub use classes::Classes;
pub use instance::{EcnMode, Instance, Path, Peer};
pub use net::{BoundaryAction, NextHop, Port, PortRole, Prefix6, Route, Router};
pub use trust::{Catalogue, Claim, Key};
pub use tuning::{Admit, Dispatch, Flows, Limits};

/// Everything but the instances, which live in the AFT.
#[derive(Debug)]
pub struct Config {
    /// Counts reloads.
    pub revision: u64,
    /// The cluster this AFR stands before.
    pub cluster: ClusterId,
    /// Own addresses.
    pub router: Router,
    /// Ports, by [`PortIx`](crate::id::PortIx).
    pub ports: Vec<Port>,
    /// Sources whose metadata is verified and acted on whatever the port's boundary action.
    pub trusted_prefixes: Vec<Prefix6>,
    /// Static routes, longest prefix first.
    pub routes: Vec<Route>,
    /// AFRs of other clusters, by [`PeerIx`].
    pub peers: Vec<Peer>,
    /// Catalogues accepted, the current one first.
    pub catalogues: Vec<Catalogue>,
    /// The key ring.
    pub keys: Vec<Key>,
    /// Act on requests with key id 0.
    pub accept_unauthenticated: bool,
    /// Classes.
    pub classes: Classes,
    /// Service prefixes of 96 bits: the class id is the address's last 32 bits, 0 the generic address.
    pub services: Vec<Prefix6>,
    /// Dispatch knobs.
    pub dispatch: Dispatch,
    /// Flow table.
    pub flows: Flows,
    /// Rate control.
    pub admit: Admit,
    /// Sizes.
    pub limits: Limits,
    /// Seed shared by every AFR of the cluster: they agree on Maglev.
    pub maglev_seed: [u8; 16],
}

impl Config {
    /// The index of the class called `id`.
    #[inline]
    #[must_use]
    pub fn class(&self, id: ClassId) -> Option<ClassIx> {
        self.classes.index_of(id)
    }

    /// The peer that encapsulates from `source`.
    #[must_use]
    pub fn peer_at(&self, source: Ipv6Addr) -> Option<PeerIx> {
        let at = self.peers.iter().position(|peer| peer.address == source)?;
        u8::try_from(at).ok().map(PeerIx)
    }

    /// The longest route to `destination`.
    #[must_use]
    pub fn route(&self, destination: u128) -> Option<&Route> {
        self.routes
            .iter()
            .find(|route| route.prefix.contains(destination))
    }

    /// The catalogue called `version`, if it is accepted.
    #[inline]
    #[must_use]
    pub fn catalogue(&self, version: CatalogueVersion) -> Option<&Catalogue> {
        self.catalogues.iter().find(|c| c.version == version)
    }

    /// The key called `id`.
    #[inline]
    #[must_use]
    pub fn key(&self, id: KeyId) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }
}
