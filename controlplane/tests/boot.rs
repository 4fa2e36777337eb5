//! The hardware side, ended on the ways that have no time for ceremony.

#![cfg(feature = "eal")]

use std::path::Path;
use std::sync::Arc;

use afr_controlplane::boot::Hardware;
use afr_controlplane::config;
use afr_controlplane::control_core::ControlCore;
use afr_dataplane::message::Shared;

const CONFIG: &str = r#"
[eal]
huge_pages = "off"
memory_mb = 64
mbufs = 2047
mbuf_bytes = 2048
[router]
cluster = 1
address = "fd00:af::1"
maglev_seed = "000102030405060708090a0b0c0d0e0f"
[workers]
lcores = [0]
idle = "sleep"
[[port]]
name = "fabric"
device = "net_null0"
role = "inside"
[flows]
capacity = 1024
[limits]
instances = 16
signatures = 1024
"#;

#[test]
fn an_appliance_that_is_dropped_has_stopped_its_worker() {
    let mut loaded = config::parse(CONFIG, Path::new("afrd.toml"), 1).unwrap();
    let names = ["fabric".to_owned()];
    let hardware = Hardware::open(&loaded.process, &names, &[1_500]).unwrap();
    let directory = Path::new("/var/run/dpdk").join(format!("afrd-{}", std::process::id()));
    assert!(directory.exists());
    loaded.adopt(1, hardware.facts().iter().map(|port| port.mac));
    let shared = Arc::new(Shared::new(&loaded.plane.limits, 1));
    let clock = hardware.clock();
    let now = clock.at(dpdk::tsc::rdtsc());
    let (_core, readers) = ControlCore::new(loaded, Arc::clone(&shared), now);
    let appliance = hardware
        .launch(readers, &shared, &clock, [1, 2, 3, 4])
        .unwrap();
    assert!(!appliance.has_lost_a_worker());
    // This test, the core, and the worker, which returns its own when it ends.
    assert!(Arc::strong_count(&shared) > 2);
    drop(appliance);
    assert_eq!(Arc::strong_count(&shared), 2);
    assert!(!directory.exists());
}
