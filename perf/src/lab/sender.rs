//! The metadata of the lab's clients.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::time::{SystemTime, UNIX_EPOCH};

use afr_endpoint::sender::{Ask, Domain, KeyEntry, RequestHeader, SendError, Sender};
use afr_wire::{
    CatalogueSalt, CatalogueVersion, ClassId, ClusterId, DomainId, DomainKey, KeyId, Label32,
    MacAlgorithm, MasterKey, PolicyScope, RequestFlags,
};

use super::config::{CLUSTER, KEY, SALT};

/// TCP, as the metadata's MAC covers it.
const TCP: u8 = 6;

/// The lab's master key.
#[must_use]
pub fn master() -> MasterKey {
    MasterKey::new(
        u128::from_str_radix(KEY.1, 16)
            .unwrap_or_default()
            .to_be_bytes(),
    )
}

/// The lab's key as its clients hold it.
#[must_use]
pub fn key() -> KeyEntry {
    KeyEntry {
        id: KeyId(KEY.0),
        algorithm: MacAlgorithm::AesCmac,
        master: master(),
        cluster: ClusterId(CLUSTER),
        source_prefix_len: 128,
    }
}

/// A sender under the lab's key, catalogue and signature domain.
#[must_use]
pub fn sender() -> Sender {
    Sender {
        key: Some(key()),
        domain: Some(Domain {
            id: DomainId(1),
            key: DomainKey::new(*b"domain of a lab!"),
            grid_units: 2,
        }),
        ..Sender::new(CatalogueVersion(SALT.0))
    }
}

/// The hash of a label under the lab's catalogue.
#[must_use]
pub fn label(name: &str) -> Label32 {
    let salt = u64::from_str_radix(SALT.1, 16).unwrap_or_default();
    CatalogueSalt::new(salt.to_be_bytes()).label(name)
}

/// What a client asks for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The address it binds.
    pub from: Ipv6Addr,
    /// Where it connects.
    pub to: SocketAddrV6,
    /// The class.
    pub class: u32,
    /// Labels the instance must carry.
    pub labels: Vec<Label32>,
    /// Its session.
    pub session: u64,
    /// The date, in Unix seconds.
    pub issued_at: u32,
}

impl Wish {
    /// Of a class, now, without labels.
    #[must_use]
    pub fn of(class: u32, from: Ipv6Addr, to: SocketAddrV6) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            from,
            to,
            class,
            labels: Vec::new(),
            session: 1,
            issued_at: now.unwrap_or_default().as_secs() as u32,
        }
    }

    /// The header for it as `sender` makes it.
    ///
    /// # Errors
    ///
    /// [`SendError`]: too many labels.
    pub fn header(&self, sender: &Sender) -> Result<RequestHeader, SendError> {
        sender.header(&Ask {
            source: self.from,
            destination: self.to,
            protocol: TCP,
            class: ClassId(self.class),
            labels: &self.labels,
            bloom: false,
            policy: PolicyScope(0),
            session: self.session,
            flags: RequestFlags::default(),
            prompt: None,
            prompt_tokens: 0,
            boundaries: &[],
            issued_at: self.issued_at,
        })
    }
}
