//! DPDK for tests: on virtual devices, without huge pages, one EAL a process whether the runner starts a process for
//! each test or for each file.

#![allow(dead_code)] // each test file uses its part

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use dpdk::{Eal, Mempool, MempoolConfig, Port, PortConfig, RxQueue, TxQueue};

/// The first processor this process may run on: all lcores of the tests share it.
fn first_allowed_cpu() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .unwrap();
    list.trim().split(['-', ',']).next().unwrap().to_owned()
}

/// EAL arguments: a main lcore 0 and a worker lcore 1.
pub(crate) fn eal_args() -> Vec<String> {
    let cpu = first_allowed_cpu();
    let mut args: Vec<String> = [
        "--no-huge",
        "--no-shconf",
        "--no-pci",
        "--no-telemetry",
        "-m",
        "256",
        "--log-level=*:critical",
    ]
    .map(str::to_owned)
    .into();
    args.push(format!("--lcores=0@{cpu},1@{cpu}"));
    args
}

/// The process's EAL.
pub(crate) fn eal() -> &'static Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    EAL.get_or_init(|| Eal::init(eal_args()).unwrap())
}

/// A pool whose buffers all come back to the common part at once, so that counting them is exact.
pub(crate) fn pool(name: &str, mbufs: u32, data_room: u16) -> Mempool {
    let config = MempoolConfig {
        mbufs,
        cache: 0,
        data_room,
        ..MempoolConfig::default()
    };
    Mempool::create(eal(), name, &config).unwrap()
}

/// Attaches a device and opens its port, with one queue each way.
pub(crate) fn open(devargs: &str, pool: &Mempool) -> (Port, RxQueue, TxQueue) {
    let names = Port::attach(eal(), devargs).unwrap();
    let (port, mut rx, mut tx) =
        Port::open(eal(), &names[0], &PortConfig::new(pool.clone())).unwrap();
    (port, rx.remove(0), tx.remove(0))
}

/// A file of this process in the temporary directory, removed when dropped.
pub(crate) struct TempFile(PathBuf);

impl TempFile {
    pub(crate) fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("dpdk-test-{}-{name}", std::process::id())))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Writes frames as a capture file (the classic pcap format, little-endian, Ethernet).
pub(crate) fn write_pcap(path: &Path, frames: &[Vec<u8>]) {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend(word.to_le_bytes());
    }
    for frame in frames {
        let len = frame.len() as u32;
        for word in [0, 0, len, len] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    fs::write(path, file).unwrap();
}

/// Reads the frames of a capture file of that format.
pub(crate) fn read_pcap(path: &Path) -> Vec<Vec<u8>> {
    let file = fs::read(path).unwrap();
    let mut rest = &file[24..];
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let len = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        frames.push(rest[16..16 + len].to_vec());
        rest = &rest[16 + len..];
    }
    frames
}
