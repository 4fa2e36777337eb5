//! The control core's thread: steps in time, with commands in between, and what it notices on the log.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use afr_dataplane::aft::epoch::Publish;
use afr_dataplane::id::Now;

use super::{ControlCore, Notice};
use crate::api::CoreInbox;

/// Longest wait between two steps, in microseconds: the rings must not fill, and in-flight history wants samples.
const MAX_WAIT_US: u64 = 2_000;
/// Wait where a worker has to pass a quiescent point first, in microseconds.
const RETRY_US: u64 = 100;
/// Requests of the API served between two steps at the most.
const SERVED: usize = 4;

/// Runs the control core until `stop`. `clock` reads the time.
pub fn run(
    core: &mut ControlCore,
    inbox: &mut CoreInbox,
    stop: &AtomicBool,
    clock: impl Fn() -> Now,
) {
    #[cfg(feature = "bench-hooks")]
    let mut driver = super::driver::Driver::from_environment();
    while !stop.load(Ordering::Relaxed) {
        #[cfg(feature = "bench-hooks")]
        if let Some(driver) = &mut driver {
            driver.drive(core, clock());
        }
        let step = core.step(clock());
        step.notices.iter().for_each(log);
        inbox.serve(core, SERVED);
        #[cfg(feature = "bench-hooks")]
        if let Some(driver) = &driver {
            driver.pause(|| clock().mono_us);
            continue;
        }
        let interval_us = core.running().control.publish_interval_us;
        let wait_us = match step.publish {
            Publish::Waiting => RETRY_US,
            _ => interval_us.min(MAX_WAIT_US),
        };
        thread::sleep(Duration::from_micros(wait_us));
    }
}

fn log(notice: &Notice) {
    match notice {
        Notice::Silent { .. } | Notice::Stuck { .. } => tracing::warn!("{notice}"),
        _ => tracing::info!("{notice}"),
    }
}
