//! Makes the bindings from the headers of the DPDK that is installed, compiles the shim, and links.
//!
//! Flags come from `pkg-config libdpdk` alone. Drivers (PMDs) are not linked: a distribution's shared DPDK
//! loads them from its plug-in directory when the EAL starts.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// DPDK's oldest release with every name used here (`RTE_ETH_*`, `RTE_MBUF_F_*`, opaque `rte_device`).
const OLDEST_DPDK: &str = "22.11";

/// Functions that Rust calls. Types and constants follow from their signatures and from `shim.h`.
const FUNCTIONS: &[&str] = &[
    "dpdk_sys_.*",
    // EAL and lcores
    "rte_eal_init",
    "rte_eal_cleanup",
    "rte_eal_has_hugepages",
    "rte_eal_remote_launch",
    "rte_eal_wait_lcore",
    "rte_get_main_lcore",
    "rte_get_next_lcore",
    "rte_lcore_to_socket_id",
    "rte_get_tsc_hz",
    "rte_version",
    // memory
    "rte_pktmbuf_pool_create",
    "rte_mempool_avail_count",
    // rings
    "rte_ring_create",
    "rte_ring_free",
    // devices
    "rte_dev_probe",
    "rte_dev_name",
    "rte_eal_hotplug_remove",
    // ports
    "rte_eth_find_next_owned_by",
    "rte_eth_dev_get_port_by_name",
    "rte_eth_dev_get_name_by_port",
    "rte_eth_dev_info_get",
    "rte_eth_dev_configure",
    "rte_eth_dev_adjust_nb_rx_tx_desc",
    "rte_eth_rx_queue_setup",
    "rte_eth_tx_queue_setup",
    "rte_eth_dev_start",
    "rte_eth_dev_stop",
    "rte_eth_dev_close",
    "rte_eth_dev_socket_id",
    "rte_eth_dev_get_mtu",
    "rte_eth_dev_set_mtu",
    "rte_eth_promiscuous_enable",
    "rte_eth_allmulticast_enable",
    "rte_eth_macaddr_get",
    "rte_eth_stats_get",
    "rte_eth_stats_reset",
    "rte_eth_xstats_get",
    "rte_eth_xstats_get_names",
    "rte_eth_xstats_reset",
];

/// The same behind the feature `hash`.
const HASH_FUNCTIONS: &[&str] = &[
    "rte_hash_create",
    "rte_hash_free",
    "rte_hash_reset",
    "rte_hash_count",
    "rte_hash_add_key_data",
    "rte_hash_add_key_with_hash_data",
    "rte_hash_lookup_bulk_data",
    "rte_hash_lookup_with_hash_bulk_data",
    "rte_malloc_get_socket_stats",
];

/// What makes the shim's header show `rte_hash`.
const WITH_HASH: &str = "-DDPDK_SYS_WITH_HASH";

/// Known by pointer only: their layout varies between releases, or uses what Rust cannot express (markers of
/// zero size, packed and aligned at once).
const OPAQUE: &[&str] = &[
    "rte_mbuf",
    "rte_mempool",
    "rte_device",
    "rte_ring",
    "rte_hash",
];

/// What to do about a missing libclang.
const INSTALL_LIBCLANG: &str = "Debian 12, Ubuntu 24.04: apt-get install libclang-dev clang; Fedora: dnf install clang-devel clang";

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            for line in message.lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    for path in ["build.rs", "shim/shim.h", "shim/shim.c"] {
        println!("cargo::rerun-if-changed={path}");
    }
    link_libdpdk()?;
    let with_hash = env::var_os("CARGO_FEATURE_HASH").is_some();
    let mut flags = compiler_flags()?;
    if with_hash {
        flags.push(WITH_HASH.to_owned());
    }
    compile_shim(&flags)?;
    generate_bindings(&flags, with_hash)
}

/// Finds libdpdk and tells Cargo what to link.
fn link_libdpdk() -> Result<(), String> {
    pkg_config::Config::new()
        .atleast_version(OLDEST_DPDK)
        .probe("libdpdk")
        .map(drop)
        .map_err(|error| {
            format!(
                "DPDK {OLDEST_DPDK} or later was not found by pkg-config.\n\
                 Debian 12, Ubuntu 24.04: apt-get install libdpdk-dev dpdk pkg-config\n\
                 Fedora: dnf install dpdk-devel dpdk pkgconf-pkg-config\n\
                 DPDK of your own: put the directory of its libdpdk.pc into PKG_CONFIG_PATH.\n\
                 {error}"
            )
        })
}

/// All of `pkg-config --cflags libdpdk`. The crate of that name keeps only `-I` and `-D`, but DPDK's headers do not
/// compile without its `-include rte_config.h` and `-march`.
fn compiler_flags() -> Result<Vec<String>, String> {
    let tool = env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into());
    let output = Command::new(&tool)
        .args(["--cflags", "libdpdk"])
        .output()
        .map_err(|error| format!("{} --cflags libdpdk: {error}", tool.display()))?;
    if !output.status.success() {
        return Err(format!(
            "{} --cflags libdpdk: {}",
            tool.display(),
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    let flags = String::from_utf8_lossy(&output.stdout);
    Ok(flags.split_whitespace().map(str::to_owned).collect())
}

fn compile_shim(flags: &[String]) -> Result<(), String> {
    let mut compiler = cc::Build::new();
    // The packet path crosses the shim once a burst, so it is optimised in every profile.
    compiler.file("shim/shim.c").opt_level(3).warnings(false);
    for flag in flags {
        compiler.flag(flag);
    }
    compiler.try_compile("dpdk_sys_shim").map_err(|error| {
        format!("the C shim around DPDK's inline functions did not compile:\n{error}")
    })
}

fn generate_bindings(flags: &[String], with_hash: bool) -> Result<(), String> {
    check_libclang()?;
    let mut builder = bindgen::Builder::default()
        .header("shim/shim.h")
        .clang_args(flags)
        .allowlist_var("DPDK_SYS_.*")
        // The parts of an opaque struct, which bindgen would write out all the same.
        .blocklist_type("rte_mbuf__.*")
        .use_core()
        .generate_comments(false)
        .prepend_enum_name(false)
        .layout_tests(true);
    let of_hash = HASH_FUNCTIONS.iter().filter(|_| with_hash);
    for function in FUNCTIONS.iter().chain(of_hash) {
        builder = builder.allowlist_function(function);
    }
    for name in OPAQUE {
        builder = builder.opaque_type(name);
    }
    let bindings = builder
        .generate()
        .map_err(|error| {
            format!(
                "bindgen could not read DPDK's headers: {error}\n\
                 If a header of the compiler's own is missing (stddef.h), so is the package clang: {INSTALL_LIBCLANG}"
            )
        })?;
    let out_dir = env::var_os("OUT_DIR")
        .map(PathBuf::from)
        .ok_or("OUT_DIR is not set")?;
    let path = out_dir.join("bindings.rs");
    bindings
        .write_to_file(&path)
        .map_err(|error| format!("{}: {error}", Path::display(&path)))
}

/// bindgen loads libclang at run time and panics without it; this turns the panic into advice.
fn check_libclang() -> Result<(), String> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let version = std::panic::catch_unwind(bindgen::clang_version);
    std::panic::set_hook(hook);
    version.map(drop).map_err(|_| {
        format!(
            "libclang, which bindgen reads DPDK's headers with, was not found.\n\
             {INSTALL_LIBCLANG}\n\
             A libclang elsewhere: put its directory into LIBCLANG_PATH."
        )
    })
}
