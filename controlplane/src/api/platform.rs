//! What the process runs on, as the API and the metrics show it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use afr_dataplane::id::PortIx;
use afr_dataplane::message::Shared;
use tokio::sync::Mutex;

use super::balance::Balance;
use super::core::CoreHandle;
use super::error::ApiError;
use super::flows::Scanner;
use super::view::{DeviceCounters, ReloadView};
use crate::config;

/// What does not change while the process runs.
pub struct Platform {
    /// When the process was started, in Unix seconds.
    pub started_unix_s: u64,
    /// CPUs of the workers, in their order.
    pub lcores: Vec<u16>,
    /// What the ports are, in their order.
    pub ports: Vec<PortHardware>,
    /// Tells how a port's device is. Called on a management thread.
    pub probe: Probe,
}

/// Tells how a port's device is; `None`: it does not say.
pub type Probe = Box<dyn Fn(PortIx) -> Option<PortStatus> + Send + Sync>;

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Platform")
            .field("lcores", &self.lcores)
            .field("ports", &self.ports)
            .finish_non_exhaustive()
    }
}

/// What a port is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortHardware {
    /// The device.
    pub device: String,
    /// Its driver.
    pub driver: String,
    /// Receive queues.
    pub queues: u16,
}

/// How a port's device is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortStatus {
    /// Whether the link is up.
    pub link_up: Option<bool>,
    /// The link's speed in Mbit/s.
    pub link_speed_mbps: Option<u32>,
    /// What the device counts.
    pub counters: Option<DeviceCounters>,
}

/// All that the API and the metrics are made from. To be kept until the workers have ended: what they answer into is kept
/// by it, so that none of them frees anything.
#[derive(Debug)]
pub struct Site {
    /// The control core.
    pub core: CoreHandle,
    /// What workers and the core share.
    pub shared: Arc<Shared>,
    /// What the process runs on.
    pub platform: Platform,
    /// Asks workers for their flows. Here, because it must outlive them.
    pub(super) scanner: Scanner,
    /// How evenly workers are loaded.
    pub(crate) balance: Balance,
    config_path: PathBuf,
    /// One reload at a time.
    reloading: Mutex<()>,
    reloads_applied: AtomicU64,
    reloads_refused: AtomicU64,
}

impl Site {
    /// A site whose configuration came from the file at `config_path`.
    #[must_use]
    pub fn new(
        core: CoreHandle,
        shared: Arc<Shared>,
        platform: Platform,
        config_path: PathBuf,
    ) -> Self {
        Self {
            core,
            scanner: Scanner::new(shared.commands.len()),
            balance: Balance::default(),
            shared,
            platform,
            config_path,
            reloading: Mutex::new(()),
            reloads_applied: AtomicU64::new(0),
            reloads_refused: AtomicU64::new(0),
        }
    }

    /// Notes what the workers have counted, for figures of the last seconds. To be called once a second.
    pub fn second(&self) {
        self.balance.note(&self.shared);
    }

    /// Reads the configuration file again and puts it in force. For the API and SIGHUP alike.
    ///
    /// # Errors
    /// [`ApiError::Refused`] with everything that is wrong, and what stands in [`CoreHandle::act`]; the running
    /// configuration stays in force.
    pub async fn reload(&self) -> Result<ReloadView, ApiError> {
        let _turn = self.reloading.lock().await;
        let result = self.load_and_apply().await;
        let count = match result {
            Ok(_) => &self.reloads_applied,
            Err(_) => &self.reloads_refused,
        };
        count.fetch_add(1, Relaxed);
        result
    }

    async fn load_and_apply(&self) -> Result<ReloadView, ApiError> {
        let path = self.config_path.clone();
        // The core numbers what it puts in force.
        let loading = tokio::task::spawn_blocking(move || config::load(&path, 0));
        let refused = |reasons| ApiError::Refused { reasons };
        let loaded = match loading.await {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(wrong)) => {
                return Err(refused(
                    wrong.to_string().lines().map(str::to_owned).collect(),
                ));
            }
            Err(_) => return Err(refused(vec!["reading the file was cut short".to_owned()])),
        };
        Ok(self.core.act(move |core| core.apply(loaded)).await??)
    }

    /// Reloads since the start: put in force, and refused.
    #[must_use]
    pub fn reloads(&self) -> (u64, u64) {
        (
            self.reloads_applied.load(Relaxed),
            self.reloads_refused.load(Relaxed),
        )
    }
}
