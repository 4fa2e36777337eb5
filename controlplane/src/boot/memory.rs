//! Huge pages where there are any, ordinary memory where not.

use std::fs;

use crate::config::{HugePages, Process};

/// Bytes that a packet buffer takes besides its data: mbuf header, headroom, pool header and alignment.
const MBUF_OVERHEAD: u64 = 512;
/// Memory besides packet buffers that drivers and the EAL take, in MiB.
const OTHER_MB: u64 = 64;
/// Ordinary memory taken where nothing else is said, in MiB.
const ORDINARY_MB: u64 = 512;
const HUGE_PAGES: &str = "/sys/kernel/mm/hugepages";
const NUMA_NODES: &str = "/sys/devices/system/node";

/// Why there is no memory.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// Huge pages are required.
    #[error(
        "eal.huge_pages is \"require\": {needed_mb} MiB are needed and {free_mb} MiB are free; \
         echo {pages} > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
    )]
    TooFew {
        /// What is needed.
        needed_mb: u64,
        /// What is free.
        free_mb: u64,
        /// Pages of 2 MiB that would do.
        pages: u64,
    },
}

/// The memory that packet buffers are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Huge pages, through a mounted hugetlbfs or anonymously.
    Huge {
        /// Whether hugetlbfs is mounted.
        mounted: bool,
        /// Memory to take at once in MiB; 0: as needed.
        take_mb: u32,
    },
    /// Ordinary pages.
    Ordinary {
        /// How much, in MiB.
        take_mb: u64,
        /// Huge pages free, in MiB: too few.
        free_huge_mb: u64,
    },
}

impl Memory {
    /// Chooses by the configuration and what is free.
    ///
    /// # Errors
    ///
    /// [`MemoryError::TooFew`].
    pub fn choose(process: &Process) -> Result<Self, MemoryError> {
        let needed_mb = needed_mb(process, numa_nodes_with_cpus());
        let free_mb = free_huge_mb();
        let take_mb = process.eal.memory_mb;
        let ordinary = Self::Ordinary {
            take_mb: match take_mb {
                0 => needed_mb.max(ORDINARY_MB),
                told => u64::from(told),
            },
            free_huge_mb: free_mb,
        };
        match process.eal.huge_pages {
            HugePages::Off => Ok(ordinary),
            _ if free_mb >= needed_mb => Ok(Self::Huge {
                mounted: hugetlbfs_is_mounted(),
                take_mb,
            }),
            HugePages::Auto => Ok(ordinary),
            HugePages::Require => Err(MemoryError::TooFew {
                needed_mb,
                free_mb,
                pages: needed_mb.div_ceil(2),
            }),
        }
    }

    pub(super) fn eal_args(&self) -> Vec<String> {
        match self {
            Self::Huge { mounted, take_mb } => {
                let mut args = Vec::new();
                if !mounted {
                    args.push("--in-memory".to_owned());
                }
                if *take_mb != 0 {
                    args.extend(["-m".to_owned(), take_mb.to_string()]);
                }
                args
            }
            Self::Ordinary { take_mb, .. } => {
                vec!["--no-huge".to_owned(), "-m".to_owned(), take_mb.to_string()]
            }
        }
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Huge { mounted: true, .. } => f.write_str("huge pages"),
            Self::Huge { mounted: false, .. } => f.write_str("huge pages (no hugetlbfs mounted)"),
            Self::Ordinary {
                take_mb,
                free_huge_mb,
            } => write!(
                f,
                "{take_mb} MiB of ordinary memory ({free_huge_mb} MiB of huge pages are free)"
            ),
        }
    }
}

/// What is needed where there is a pool of packet buffers on each of `sockets`, in MiB.
fn needed_mb(process: &Process, sockets: u64) -> u64 {
    let buffers = u64::from(process.mbufs_per_socket()) * sockets;
    let each = u64::from(process.mbufs.bytes) + MBUF_OVERHEAD;
    (buffers * each).div_ceil(1 << 20) + OTHER_MB
}

/// NUMA nodes that have a CPU, at least 1: the sockets that the EAL counts.
fn numa_nodes_with_cpus() -> u64 {
    let nodes = fs::read_dir(NUMA_NODES).into_iter().flatten().flatten();
    let cpus = nodes.filter_map(|node| fs::read_to_string(node.path().join("cpulist")).ok());
    let with_cpus = cpus.filter(|list| !list.trim().is_empty());
    (with_cpus.count() as u64).max(1)
}

/// Free huge pages of every size, in MiB.
fn free_huge_mb() -> u64 {
    let Ok(sizes) = fs::read_dir(HUGE_PAGES) else {
        return 0;
    };
    sizes
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let kb: u64 = name
                .strip_prefix("hugepages-")?
                .strip_suffix("kB")?
                .parse()
                .ok()?;
            let free: u64 = fs::read_to_string(entry.path().join("free_hugepages"))
                .ok()?
                .trim()
                .parse()
                .ok()?;
            Some(kb * free / 1_024)
        })
        .sum()
}

fn hugetlbfs_is_mounted() -> bool {
    fs::read_to_string("/proc/mounts").is_ok_and(|mounts| {
        mounts
            .lines()
            .any(|line| line.split(' ').nth(2) == Some("hugetlbfs"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One worker, or more, on two ports of 1,024 descriptors; `eal` is put into `[eal]`.
    fn process(workers: usize, eal: &str) -> Process {
        let lcores: Vec<_> = (0..workers).collect();
        let text = include_str!("../../../configs/afrd.toml")
            .replace("lcores = [1]", &format!("lcores = {lcores:?}"))
            .replace("[eal]", &format!("[eal]\n{eal}"));
        let path = std::path::Path::new("configs/afrd.toml");
        crate::config::parse(&text, path, 1).unwrap().process
    }

    #[test]
    fn buffers_are_enough_for_the_queues_of_all_workers() {
        assert_eq!(process(1, "").mbufs_per_socket(), 16_383);
        let four = process(4, "");
        assert!(four.mbufs_at_most_held() > 16_383);
        assert_eq!(four.mbufs_per_socket(), 32_767);
        assert_eq!(process(4, "mbufs = 5000").mbufs_per_socket(), 5_000);
    }

    #[test]
    fn memory_is_counted_for_every_socket() {
        let process = process(1, "mbufs = 16383\nmbuf_bytes = 4224");
        assert_eq!(needed_mb(&process, 1), 74 + OTHER_MB);
        assert_eq!(needed_mb(&process, 2), 148 + OTHER_MB);
        assert!(numa_nodes_with_cpus() >= 1);
    }
}
