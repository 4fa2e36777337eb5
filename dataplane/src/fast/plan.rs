//! What the fast path needs of the configuration, in the form in which it is compared with packets.

use arrayvec::ArrayVec;

use crate::config::{BoundaryAction, Config, PortRole};
use crate::counters::MAX_PORTS;
use crate::id::PortIx;

/// Service prefixes, and exact service addresses, that are compared in line; packets to further ones take the whole path.
const SERVICES: usize = 4;
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

/// The configuration as the fast path compares it.
#[derive(Debug)]
pub(crate) struct Plan {
    ports: [PlanPort; MAX_PORTS],
    services: ArrayVec<[u8; 12], SERVICES>,
    exact_services: ArrayVec<[u8; 16], SERVICES>,
    /// The AFR's first SID.
    pub(super) sid: [u8; 16],
    /// Option type of the metadata.
    pub(super) option_type: u8,
}

impl Plan {
    /// The plan for `config`. Does not allocate.
    #[must_use]
    pub(crate) fn new(config: &Config) -> Self {
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
        Self {
            ports,
            services,
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
        }
    }

    #[inline(always)]
    pub(crate) fn port(&self, port: PortIx) -> &PlanPort {
        &self.ports[usize::from(port.0) % MAX_PORTS]
    }

    /// Whether the address is one of a service, of those compared in line.
    #[inline(always)]
    pub(super) fn is_service(&self, address: &[u8; 16]) -> bool {
        let upper = address.first_chunk::<12>();
        self.services.iter().any(|prefix| Some(prefix) == upper)
            || self.exact_services.contains(address)
    }
}
