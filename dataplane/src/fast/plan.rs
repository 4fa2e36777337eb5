//! What the fast path needs of the configuration, in the form in which it is compared with packets.

use afr_wire::{ExpandedMaster, KeyId, MacAlgorithm, Signers, Verifier, masked_source};
use arrayvec::ArrayVec;

use crate::config::{BoundaryAction, Config, Key, PortRole, Prefix6};
use crate::counters::MAX_PORTS;
use crate::id::PortIx;

/// Service prefixes, and exact service addresses, that are compared in line; packets to further ones take the whole path.
const SERVICES: usize = 4;
/// Upper halves of addresses that packets are looked at more closely for; with more, all are.
const HALVES: usize = 8;
/// Keys whose masters are laid out for the verifier; senders under further ones have theirs derived and kept.
const KEYS: usize = 8;
/// Equals no Ethernet address, which has 48 bits.
const NO_MAC: u64 = u64::MAX;

/// One port's side of the plan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlanPort {
    /// The port's address as a frame's first six bytes, little-endian; [`NO_MAC`] where frames are tagged or the port is
    /// not there.
    pub(super) mac: u64,
    /// Requests that arrive here are believed, whatever their source.
    pub(super) trusts_requests: bool,
    /// Decapsulation is allowed here.
    pub(super) inside: bool,
}

/// A key whose master is laid out for the verifier.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlanKey {
    id: KeyId,
    not_before_s: u64,
    not_after_s: u64,
    /// Whose requests and reports it signs.
    pub(super) signers: Signers,
}

/// The configuration as the fast path compares it.
#[derive(Debug)]
pub(crate) struct Plan {
    ports: [PlanPort; MAX_PORTS],
    services: ArrayVec<[u8; 12], SERVICES>,
    exact_services: ArrayVec<[u8; 16], SERVICES>,
    /// Upper halves of all addresses that are no others' ([`Target::Elsewhere`](crate::path::Target)), but for groups; `None`
    /// where they do not fit, or a service's prefix is shorter.
    own_halves: Option<ArrayVec<u64, HALVES>>,
    keys: ArrayVec<PlanKey, KEYS>,
    /// Their masters, at the same places.
    pub(super) masters: ArrayVec<ExpandedMaster, KEYS>,
    /// The AFR's first SID.
    pub(super) sid: [u8; 16],
    /// Option type of the metadata.
    pub(super) option_type: u8,
    /// SRH TLV type of the metadata.
    pub(super) tlv_type: u8,
}

impl Plan {
    /// The plan for `config`, whose MACs `verifier` checks, if there is one. Does not allocate.
    #[must_use]
    pub(crate) fn new(config: &Config, verifier: Option<&Verifier>) -> Self {
        let mut ports = [PlanPort {
            mac: NO_MAC,
            trusts_requests: false,
            inside: false,
        }; MAX_PORTS];
        for (place, port) in ports.iter_mut().zip(&config.ports) {
            let mut mac = [0; 8];
            mac[..6].copy_from_slice(&port.mac);
            let inside = port.role == PortRole::Inside;
            *place = PlanPort {
                mac: if port.vlan.is_none() {
                    u64::from_le_bytes(mac)
                } else {
                    NO_MAC
                },
                trusts_requests: inside || port.boundary == BoundaryAction::Accept,
                inside,
            };
        }
        let mut services = ArrayVec::new();
        for service in config.services.iter().filter(|s| s.length() == 96) {
            if let Some(prefix) = service.address().octets().first_chunk::<12>() {
                let _ = services.try_push(*prefix);
            }
        }
        let mut keys = ArrayVec::new();
        let mut masters = ArrayVec::new();
        if let Some(verifier) = verifier {
            // Of two with one identifier the first counts.
            let fits = |key: &&Key| {
                key.algorithm == MacAlgorithm::AesCmac
                    && key.id != KeyId::NONE
                    && config
                        .key(key.id)
                        .is_some_and(|first| std::ptr::eq(first, *key))
            };
            for key in config.keys.iter().filter(fits).take(KEYS) {
                keys.push(PlanKey {
                    id: key.id,
                    not_before_s: key.not_before_s,
                    not_after_s: key.not_after_s,
                    signers: Signers::new(
                        keys.len() as u8,
                        config.cluster,
                        masked_source([0xFF; 16], key.source_prefix_len),
                    ),
                });
                masters.push(verifier.expand(&key.master));
            }
        }
        Self {
            ports,
            services,
            own_halves: own_halves(config),
            keys,
            masters,
            exact_services: config
                .classes
                .iter()
                .flat_map(|(_, class)| &class.addresses)
                .map(|address| address.octets())
                .take(SERVICES)
                .collect(),
            sid: config
                .router
                .sids
                .first()
                .map_or([0; 16], |sid| sid.octets()),
            option_type: config.router.option_type,
            tlv_type: config.router.srh_tlv_type,
        }
    }

    /// Whether the address may be anything but others' or a group's: `false` is certain.
    #[inline(always)]
    pub(super) fn may_be_own(&self, address: u128) -> bool {
        let half = (address >> 64) as u64;
        self.own_halves
            .as_ref()
            .is_none_or(|halves| halves.contains(&half))
    }

    #[inline(always)]
    pub(crate) fn port(&self, port: PortIx) -> &PlanPort {
        &self.ports[usize::from(port.0) % MAX_PORTS]
    }

    /// Who signs under the key called `id`, if it is laid out and in force at `now_s`.
    #[inline(always)]
    pub(super) fn signers(&self, id: KeyId, now_s: u64) -> Option<&Signers> {
        let key = self.keys.iter().find(|key| key.id == id)?;
        (key.not_before_s..key.not_after_s)
            .contains(&now_s)
            .then_some(&key.signers)
    }

    /// Whether the address is one of a service, of those compared in line.
    #[inline(always)]
    pub(super) fn is_service(&self, address: &[u8; 16]) -> bool {
        let upper = address.first_chunk::<12>();
        self.services.iter().any(|prefix| Some(prefix) == upper)
            || self.exact_services.contains(address)
    }
}

/// Upper halves of services, of classes' further addresses, and of what is the AFR's.
fn own_halves(config: &Config) -> Option<ArrayVec<u64, HALVES>> {
    let router = &config.router;
    let mut halves = ArrayVec::new();
    if config.services.iter().any(|service| service.length() < 64) {
        return None;
    }
    let classes = config
        .classes
        .iter()
        .flat_map(|(_, class)| &class.addresses);
    let own = router.sids.iter().chain(&router.own_addresses);
    let addresses = (classes.chain(own).chain([&router.address]).copied())
        .chain(config.services.iter().map(Prefix6::address));
    for address in addresses {
        let half = (u128::from(address) >> 64) as u64;
        if !halves.contains(&half) {
            halves.try_push(half).ok()?;
        }
    }
    Some(halves)
}
