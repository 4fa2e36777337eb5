//! From a claimed port to a started one, in DPDK's order: configure, queues, MTU, start, receive filters.

use std::ffi::{c_int, c_uint};

use dpdk_sys::{rte_eth_conf, rte_eth_dev_info};

use crate::errno::Errno;
use crate::port::claim::Claim;
use crate::port::config::{Applied, Offloads, PortConfig, RssTypes, Setting};
use crate::port::error::{Direction, PortError, check};

/// Starts the port. On an error it is left stopped, and can be tried again.
pub(crate) fn bring_up(
    port: &Claim,
    info: &rte_eth_dev_info,
    wanted: &PortConfig,
) -> Result<Applied, PortError> {
    // Drivers share state between the ports of one device, so only one port is set up at a time.
    let _control = port.eal.control.lock();
    for (direction, asked, limit) in [
        (Direction::Receive, wanted.rx_queues, info.max_rx_queues),
        (Direction::Transmit, wanted.tx_queues, info.max_tx_queues),
    ] {
        if asked > limit {
            return Err(PortError::TooManyQueues {
                device: port.name.clone(),
                direction,
                asked,
                limit,
            });
        }
    }
    let offloads = Offloads {
        rx: wanted.offloads.rx.masked(info.rx_offload_capa),
        tx: wanted.offloads.tx.masked(info.tx_offload_capa),
    };
    let rss = choose_rss(info, wanted);
    let configured_mtu = configure(port, wanted, offloads, rss)?;
    let (rx_descriptors, tx_descriptors) = set_up_queues(port, info, wanted, offloads)?;
    let mtu = set_mtu(port, wanted.mtu, configured_mtu);
    // SAFETY: the port is configured and claimed.
    check(&port.name, "rte_eth_dev_start", unsafe {
        dpdk_sys::rte_eth_dev_start(port.id)
    })?;
    let filter = |wanted: bool, enable: unsafe extern "C" fn(u16) -> c_int| {
        if !wanted {
            return Setting::NotAsked;
        }
        // SAFETY: both functions given take any port; this one is started and claimed.
        match Errno::check(unsafe { enable(port.id) }) {
            Ok(_) => Setting::Applied(()),
            Err(errno) => Setting::Refused { errno },
        }
    };
    let promiscuous = filter(wanted.promiscuous, dpdk_sys::rte_eth_promiscuous_enable);
    let all_multicast = filter(wanted.all_multicast, dpdk_sys::rte_eth_allmulticast_enable);
    Ok(Applied {
        rx_descriptors,
        tx_descriptors,
        offloads,
        rss,
        mtu,
        promiscuous,
        all_multicast,
    })
}

/// What the device can hash of what is wanted.
fn choose_rss(info: &rte_eth_dev_info, wanted: &PortConfig) -> Setting<RssTypes> {
    let Some(rss) = &wanted.rss else {
        return Setting::NotAsked;
    };
    let types = rss.hash_types.masked(info.flow_type_rss_offloads);
    if types.is_empty() {
        return Setting::Refused {
            errno: Errno::NOT_SUPPORTED,
        };
    }
    match &rss.key {
        Some(key) if key.len() != rss_key_bytes(info) => Setting::Refused {
            errno: Errno::INVALID,
        },
        _ => Setting::Applied(types),
    }
}

/// The length of the device's RSS key. Drivers that do not say (0) take DPDK's usual 40 bytes, and some of them copy that
/// many whatever length they are told.
pub(crate) fn rss_key_bytes(info: &rte_eth_dev_info) -> usize {
    const USUAL_BYTES: usize = 40;
    match info.hash_key_size {
        0 => USUAL_BYTES,
        bytes => bytes.into(),
    }
}

/// Configures the port, with the wanted MTU if DPDK takes it, without otherwise. The result says which.
fn configure(
    port: &Claim,
    wanted: &PortConfig,
    offloads: Offloads,
    rss: Setting<RssTypes>,
) -> Result<Result<(), Errno>, PortError> {
    // SAFETY: integers, enums with a zero and nullable pointers, for all of which zero is a value.
    let mut conf: rte_eth_conf = unsafe { std::mem::zeroed() };
    conf.rxmode.mq_mode = dpdk_sys::DPDK_SYS_RX_MODE_NONE;
    conf.rxmode.offloads = offloads.rx.bits();
    conf.txmode.offloads = offloads.tx.bits();
    // DPDK declares the key mutable, and drivers copy it.
    let mut key = wanted.rss.as_ref().and_then(|rss| rss.key.clone());
    if let Setting::Applied(types) = rss {
        conf.rxmode.mq_mode = dpdk_sys::DPDK_SYS_RX_MODE_RSS;
        conf.rx_adv_conf.rss_conf.rss_hf = types.bits();
        if let Some(key) = &mut key {
            conf.rx_adv_conf.rss_conf.rss_key = key.as_mut_ptr();
            conf.rx_adv_conf.rss_conf.rss_key_len = key.len() as u8;
        }
    }
    let call = |conf: &rte_eth_conf| {
        // SAFETY: the port is claimed and stopped, and `conf` and the key it points to live during the call.
        unsafe {
            dpdk_sys::rte_eth_dev_configure(port.id, wanted.rx_queues, wanted.tx_queues, conf)
        }
    };

    let mut refused = Ok(());
    if let Some(mtu) = wanted.mtu {
        conf.rxmode.mtu = mtu.into();
        refused = Errno::check(call(&conf)).map(drop);
        if refused.is_ok() {
            return Ok(refused);
        }
        // DPDK's own default.
        conf.rxmode.mtu = 0;
    }
    check(&port.name, "rte_eth_dev_configure", call(&conf))?;
    Ok(refused)
}

/// Sets up every queue; returns the numbers of descriptors the device made of those wanted.
fn set_up_queues(
    port: &Claim,
    info: &rte_eth_dev_info,
    wanted: &PortConfig,
    offloads: Offloads,
) -> Result<(u16, u16), PortError> {
    let (mut rx_descriptors, mut tx_descriptors) = (wanted.rx_descriptors, wanted.tx_descriptors);
    // SAFETY: the port exists; DPDK reads and writes the two integers.
    let returned = unsafe {
        dpdk_sys::rte_eth_dev_adjust_nb_rx_tx_desc(
            port.id,
            &raw mut rx_descriptors,
            &raw mut tx_descriptors,
        )
    };
    check(&port.name, "rte_eth_dev_adjust_nb_rx_tx_desc", returned)?;

    // SAFETY: the port exists. -1, no socket in particular, becomes SOCKET_ID_ANY by the cast.
    let socket = unsafe { dpdk_sys::rte_eth_dev_socket_id(port.id) } as c_uint;
    let mut rx_conf = info.default_rxconf;
    rx_conf.offloads = offloads.rx.bits();
    for queue in 0..wanted.rx_queues {
        // SAFETY: the port is configured with more than `queue` receive queues; the pool lives as long as the EAL.
        let returned = unsafe {
            let pool = wanted.pool.as_ptr();
            dpdk_sys::rte_eth_rx_queue_setup(
                port.id,
                queue,
                rx_descriptors,
                socket,
                &raw const rx_conf,
                pool,
            )
        };
        check(&port.name, "rte_eth_rx_queue_setup", returned)?;
    }
    let mut tx_conf = info.default_txconf;
    tx_conf.offloads = offloads.tx.bits();
    for queue in 0..wanted.tx_queues {
        // SAFETY: the port is configured with more than `queue` transmit queues.
        let returned = unsafe {
            dpdk_sys::rte_eth_tx_queue_setup(
                port.id,
                queue,
                tx_descriptors,
                socket,
                &raw const tx_conf,
            )
        };
        check(&port.name, "rte_eth_tx_queue_setup", returned)?;
    }
    Ok((rx_descriptors, tx_descriptors))
}

/// Tells the driver the MTU that `rte_eth_dev_configure` took (or refused). Drivers that have no call of their own for it
/// read it from the configuration.
fn set_mtu(port: &Claim, wanted: Option<u16>, configured: Result<(), Errno>) -> Setting<u16> {
    let Some(mtu) = wanted else {
        return Setting::NotAsked;
    };
    let told = configured.and_then(|()| {
        // SAFETY: the port is configured, claimed and stopped.
        match Errno::check(unsafe { dpdk_sys::rte_eth_dev_set_mtu(port.id, mtu) }) {
            Err(Errno::NOT_SUPPORTED) => Ok(()),
            returned => returned.map(drop),
        }
    });
    match told {
        Ok(()) => Setting::Applied(mtu),
        Err(errno) => Setting::Refused { errno },
    }
}
