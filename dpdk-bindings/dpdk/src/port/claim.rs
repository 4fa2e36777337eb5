//! Finding ports by name, and the right to one.

use std::ffi::{CStr, CString, c_char};
use std::sync::Arc;

use crate::eal::{Control, Eal, EalInner};
use crate::port::error::{PortError, check};

/// The only right in this process to configure, start and close one DPDK port.
///
/// The port exists as long as the claim: ports vanish when they are closed or their device is detached, and both need
/// the claim, or its absence.
pub(crate) struct Claim {
    pub(crate) eal: Arc<EalInner>,
    /// DPDK's number of the port.
    pub(crate) id: u16,
    /// The port's own name, which errors quote.
    pub(crate) name: String,
    /// Whether the right has been given up before the drop.
    released: bool,
}

impl Claim {
    /// Claims the port called `wanted`, or else the first port of the device called so.
    pub(crate) fn new(eal: &Eal, wanted: &str) -> Result<Self, PortError> {
        let mut control = eal.inner.control.lock();
        let ports = list(&control)?;
        let found = ports.iter().find(|port| port.name == wanted);
        let found = found.or_else(|| ports.iter().find(|port| port.device == wanted));
        let Some(Listed { id, name, device }) = found.cloned() else {
            let available = ports.into_iter().map(|port| port.name).collect();
            return Err(PortError::NotFound {
                device: wanted.to_owned(),
                available,
            });
        };
        if control.open_ports.contains_key(&id) {
            return Err(PortError::AlreadyOpen { device: name });
        }
        control.open_ports.insert(id, device);
        Ok(Self {
            eal: Arc::clone(&eal.inner),
            id,
            name,
            released: false,
        })
    }

    /// Runs `close`, which closes the port, and gives the right up, before anybody else may list, attach or open ports: DPDK
    /// gives the number of a closed port to the next one attached, and that one must not meet its predecessor's claim.
    pub(crate) fn release(&mut self, close: impl FnOnce(u16)) {
        let mut control = self.eal.control.lock();
        close(self.id);
        control.open_ports.remove(&self.id);
        self.released = true;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.released {
            self.eal.control.lock().open_ports.remove(&self.id);
        }
    }
}

/// A port that exists.
#[derive(Clone)]
pub(crate) struct Listed {
    pub(crate) id: u16,
    /// The port's name.
    pub(crate) name: String,
    /// The name of the device it is on; the same, but where a device has several ports.
    pub(crate) device: String,
}

/// The ports there are, but for those that belong to another port (a bond's members, say). Whoever lists holds the
/// lock, so that no port comes or goes meanwhile.
pub(crate) fn list(control: &Control) -> Result<Vec<Listed>, PortError> {
    let mut ports = Vec::new();
    let mut next = 0_u16;
    loop {
        // SAFETY: the EAL is up, as there is a `Control`. Owner 0 is RTE_ETH_DEV_NO_OWNER.
        let found = unsafe { dpdk_sys::rte_eth_find_next_owned_by(next, 0) };
        let Some(id) = u16::try_from(found)
            .ok()
            .filter(|&id| u32::from(id) < dpdk_sys::DPDK_SYS_MAX_ETHPORTS)
        else {
            return Ok(ports);
        };
        ports.push(describe(id, control.open_ports.get(&id))?);
        next = id + 1;
    }
}

/// `open_device` is the device of a port that is open. Its owner may be in a control call of it, and DPDK wants those one at
/// a time, so the driver is asked only about ports that are not.
fn describe(id: u16, open_device: Option<&String>) -> Result<Listed, PortError> {
    let mut buffer = [0 as c_char; dpdk_sys::DPDK_SYS_ETH_NAME_SIZE];
    // SAFETY: DPDK writes a C string of at most RTE_ETH_NAME_MAX_LEN bytes, its NUL included.
    let returned = unsafe { dpdk_sys::rte_eth_dev_get_name_by_port(id, buffer.as_mut_ptr()) };
    check(&format!("{id}"), "rte_eth_dev_get_name_by_port", returned)?;
    // SAFETY: that string; the array outlives the borrow.
    let name = unsafe { owned(buffer.as_ptr()) };

    let device = match open_device {
        Some(device) => device.clone(),
        None => {
            let device = device_info(id, &name)?.device;
            if device.is_null() {
                name.clone()
            } else {
                // SAFETY: the port exists, so its device does, and DPDK's name of it is a C string.
                unsafe { owned(dpdk_sys::rte_dev_name(device)) }
            }
        }
    };
    Ok(Listed { id, name, device })
}

/// DPDK's description of a port that exists. `name` is for the error.
pub(crate) fn device_info(id: u16, name: &str) -> Result<dpdk_sys::rte_eth_dev_info, PortError> {
    // SAFETY: integers and nullable pointers, for all of which zero is a value.
    let mut info: dpdk_sys::rte_eth_dev_info = unsafe { std::mem::zeroed() };
    // SAFETY: DPDK fills the struct it is given.
    let returned = unsafe { dpdk_sys::rte_eth_dev_info_get(id, &raw mut info) };
    check(name, "rte_eth_dev_info_get", returned)?;
    Ok(info)
}

/// A copy of a C string as text; null is empty.
///
/// # Safety
/// `text` is null, or a C string that lives during the call.
pub(crate) unsafe fn owned(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}

/// `text` for C.
pub(crate) fn c_string(text: &str) -> Result<CString, PortError> {
    CString::new(text).map_err(|_| PortError::NulInName {
        device: text.to_owned(),
    })
}
