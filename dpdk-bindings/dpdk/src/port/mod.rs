//! Ethernet ports: finding, opening, reading and closing them.

mod claim;
mod config;
mod bring_up;
mod stats;
mod error;

use std::fmt;
use std::sync::Arc;

use dpdk_sys::rte_eth_dev_info;
use parking_lot::Mutex;

use crate::eal::Eal;
use crate::lcore::SocketId;
use crate::mempool::Mempool;
use crate::queue::{RxQueue, TxQueue};

use self::claim::Claim;
use self::error::check;

pub use self::config::{
    Applied, Offloads, PortConfig, RssConfig, RssTypes, RxOffloads, Setting, TxOffloads,
};
pub use self::error::{Direction, PortError};
pub use self::stats::{Link, Stats};

/// An Ethernet port, open and started.
///
/// It is stopped and closed when this and all its queues are dropped; the port is then gone from DPDK's list, and comes
/// back when its device is detached and attached anew.
pub struct Port {
    inner: Arc<PortInner>,
    applied: Applied,
}

/// A started port. Its last owner, be it the handle or a queue, stops and closes it.
pub(crate) struct PortInner {
    claim: Claim,
    driver: String,
    supported_rss: RssTypes,
    rss_key_bytes: usize,
    /// DPDK wants a port's control calls one at a time.
    serial: Mutex<()>,
    /// The receive queues' buffers come from here.
    _pool: Mempool,
}

impl Port {
    /// The names of all ports there are, open or not.
    ///
    /// # Errors
    /// [`PortError::Call`] if a driver does not describe its port.
    pub fn by_names(eal: &Eal) -> Result<Vec<String>, PortError> {
        let ports = claim::list(&eal.inner.control.lock())?;
        Ok(ports.into_iter().map(|port| port.name).collect())
    }

    /// The NUMA socket of the port of this name, or of the first port of the device of this name, before it is opened.
    ///
    /// # Errors
    /// [`PortError::NotFound`], [`PortError::AlreadyOpen`].
    pub fn socket_by_name(eal: &Eal, name: &str) -> Result<SocketId, PortError> {
        let claim = Claim::new(eal, name)?;
        // SAFETY: the port exists while it is claimed.
        Ok(SocketId::new(unsafe {
            dpdk_sys::rte_eth_dev_socket_id(claim.id)
        }))
    }

    /// Attaches a device to the running EAL, described as for its `--vdev` or `-a` option
    /// (`net_af_packet0,iface=eth1`). Returns the names of its ports.
    ///
    /// # Errors
    /// [`PortError`], naming the description.
    pub fn attach(eal: &Eal, devargs: &str) -> Result<Vec<String>, PortError> {
        let c_devargs = claim::c_string(devargs)?;
        let control = eal.inner.control.lock();
        let before: Vec<_> = claim::list(&control)?.iter().map(|port| port.id).collect();
        // SAFETY: the EAL is up, and the lock keeps other probes away. DPDK copies the string.
        check(devargs, "rte_dev_probe", unsafe {
            dpdk_sys::rte_dev_probe(c_devargs.as_ptr())
        })?;
        // DPDK answers with success when the device is there already.
        let mut ports = claim::list(&control)?;
        ports.retain(|port| !before.contains(&port.id));
        if ports.is_empty() {
            return Err(PortError::NoNewPort {
                device: devargs.to_owned(),
            });
        }
        Ok(ports.into_iter().map(|port| port.name).collect())
    }

    /// Detaches a device (`net_null0`, `0000:03:00.0`) from its bus (`vdev`, `pci`). None of its ports may be open.
    ///
    /// # Errors
    /// [`PortError::AlreadyOpen`], or [`PortError::Call`].
    pub fn detach(eal: &Eal, bus: &str, device: &str) -> Result<(), PortError> {
        let (c_bus, c_device) = (claim::c_string(bus)?, claim::c_string(device)?);
        let control = eal.inner.control.lock();
        if control.open_ports.values().any(|open| open == device) {
            return Err(PortError::AlreadyOpen {
                device: device.to_owned(),
            });
        }
        // SAFETY: the EAL is up, the lock keeps other probes away, and no owner of one of its ports exists.
        let returned =
            unsafe { dpdk_sys::rte_eal_hotplug_remove(c_bus.as_ptr(), c_device.as_ptr()) };
        check(device, "rte_eal_hotplug_remove", returned).map(drop)
    }

    /// Configures and starts the port of this name, or the first port of the device of this name, and returns it with its
    /// queues in order. What of `config` a device may lack is in [`Port::applied`].
    ///
    /// # Errors
    /// [`PortError`]. The port is left stopped and can be opened again.
    pub fn open(
        eal: &Eal,
        name: &str,
        config: &PortConfig,
    ) -> Result<(Self, Vec<RxQueue>, Vec<TxQueue>), PortError> {
        let claim = Claim::new(eal, name)?;
        let info = claim::device_info(claim.id, &claim.name)?;
        let applied = bring_up::bring_up(&claim, &info, config)?;
        let inner = Arc::new(PortInner::new(claim, &info, config));
        let multi_segment = applied.offloads.tx.contains(TxOffloads::MULTI_SEGMENT);
        let rx_queues = (0..config.rx_queues)
            .map(|queue| RxQueue::new(&inner, queue))
            .collect();
        let tx_queues = (0..config.tx_queues)
            .map(|queue| TxQueue::new(&inner, queue, multi_segment))
            .collect();
        Ok((Self { inner, applied }, rx_queues, tx_queues))
    }

    /// What of the configuration the device granted.
    #[must_use]
    pub fn applied(&self) -> &Applied {
        &self.applied
    }

    /// DPDK's number of the port, which is [`Mbuf::port`](crate::Mbuf::port) of what it receives.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.inner.id()
    }

    /// The port's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.inner.name()
    }

    /// The driver's name, such as `net_af_packet`.
    #[must_use]
    pub fn driver(&self) -> &str {
        &self.inner.driver
    }

    /// The NUMA socket the device is on.
    #[must_use]
    pub fn socket(&self) -> SocketId {
        // SAFETY: the port exists while it is claimed.
        SocketId::new(unsafe { dpdk_sys::rte_eth_dev_socket_id(self.id()) })
    }

    /// What the device's RSS can hash. May hold bits without a name in [`RssTypes`].
    #[must_use]
    pub fn supported_rss(&self) -> RssTypes {
        self.inner.supported_rss
    }

    /// The length of the device's RSS key.
    #[must_use]
    pub fn rss_key_bytes(&self) -> usize {
        self.inner.rss_key_bytes
    }

    /// The device's MAC address.
    ///
    /// # Errors
    /// [`PortError::Call`].
    pub fn mac(&self) -> Result<[u8; 6], PortError> {
        let mut address = dpdk_sys::rte_ether_addr { addr_bytes: [0; 6] };
        let _serial = self.inner.serial.lock();
        // SAFETY: the port exists; DPDK fills the struct it is given.
        let returned = unsafe { dpdk_sys::rte_eth_macaddr_get(self.id(), &raw mut address) };
        check(self.name(), "rte_eth_macaddr_get", returned)?;
        Ok(address.addr_bytes)
    }

    /// The MTU in force, in bytes.
    ///
    /// # Errors
    /// [`PortError::Call`].
    pub fn mtu(&self) -> Result<u16, PortError> {
        let mut mtu = 0;
        let _serial = self.inner.serial.lock();
        // SAFETY: the port exists; DPDK fills the integer it is given.
        check(self.name(), "rte_eth_dev_get_mtu", unsafe {
            dpdk_sys::rte_eth_dev_get_mtu(self.id(), &raw mut mtu)
        })?;
        Ok(mtu)
    }

    /// The link's state now.
    ///
    /// # Errors
    /// [`PortError::Call`].
    pub fn link(&self) -> Result<Link, PortError> {
        let _serial = self.inner.serial.lock();
        stats::read_link(self.id(), self.name())
    }

    /// The device's counters.
    ///
    /// # Errors
    /// [`PortError::Call`].
    pub fn stats(&self) -> Result<Stats, PortError> {
        let _serial = self.inner.serial.lock();
        stats::read(self.id(), self.name())
    }

    /// All counters the driver has, by name.
    ///
    /// # Errors
    /// [`PortError::Call`].
    pub fn xstats(&self) -> Result<Vec<(String, u64)>, PortError> {
        let _serial = self.inner.serial.lock();
        stats::read_extended(self.id(), self.name())
    }

    /// Sets the counters to zero, the extended ones too.
    ///
    /// # Errors
    /// [`PortError::Call`].
    pub fn reset_stats(&self) -> Result<(), PortError> {
        let _serial = self.inner.serial.lock();
        // SAFETY: the port exists.
        check(self.name(), "rte_eth_stats_reset", unsafe {
            dpdk_sys::rte_eth_stats_reset(self.id())
        })?;
        // SAFETY: the port exists.
        check(self.name(), "rte_eth_xstats_reset", unsafe {
            dpdk_sys::rte_eth_xstats_reset(self.id())
        })?;
        Ok(())
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port")
            .field("name", &self.name())
            .field("driver", &self.driver())
            .field("applied", &self.applied)
            .finish_non_exhaustive()
    }
}

impl PortInner {
    /// The owner of a port that has been started.
    fn new(claim: Claim, info: &rte_eth_dev_info, config: &PortConfig) -> Self {
        Self {
            claim,
            // SAFETY: null, or the driver's name, a constant in its library.
            driver: unsafe { claim::owned(info.driver_name) },
            supported_rss: RssTypes::from_bits(info.flow_type_rss_offloads),
            rss_key_bytes: bring_up::rss_key_bytes(info),
            serial: Mutex::new(()),
            _pool: config.pool.clone(),
        }
    }

    pub(crate) fn id(&self) -> u16 {
        self.claim.id
    }

    pub(crate) fn name(&self) -> &str {
        &self.claim.name
    }
}

impl Drop for PortInner {
    fn drop(&mut self) {
        self.claim.release(|id| {
            // SAFETY: the port is started and claimed, and this was its last owner: no queue of it exists, so no thread is
            // in a burst call. If stopping fails, closing does so too and leaves the port as it is; there is nobody to
            // tell.
            unsafe {
                dpdk_sys::rte_eth_dev_stop(id);
                dpdk_sys::rte_eth_dev_close(id);
            }
        });
    }
}
