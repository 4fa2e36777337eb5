//! What the process is set up with once: `[eal]`, `[workers]`, `[metrics]`, `[api]`, `[log]`, and the devices of the ports.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::document::Section;
use super::kind::{int, one_of, socket_address, text};
use super::problem::Fault;
use super::unique::Unique;

/// Most CPUs that the EAL counts.
const MOST_CPUS: u16 = 1_023;
/// Most workers: queues that one port has in common drivers.
const MOST_WORKERS: usize = 64;
/// Most workers between which packets are steered: a ring from each to each is a memory zone, of which DPDK has 2,560.
const MOST_STEERED: usize = 32;

/// Packet buffers where few queues would do with fewer.
const FEWEST_MBUFS: u32 = 16_383;
/// Packet buffers that a worker has in hand, or in its part of the pool, at most.
const MBUFS_HELD: u32 = 1_024;

/// What takes a restart to change, besides sizes of tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// DPDK.
    pub eal: Eal,
    /// Packet buffers.
    pub mbufs: Mbufs,
    /// Workers.
    pub workers: Workers,
    /// The devices of the ports, in their order.
    pub devices: Vec<Device>,
    /// Where metrics are served.
    pub metrics: Option<SocketAddr>,
    /// The socket of the API.
    pub api_socket: PathBuf,
    /// What is logged, as a filter of `tracing`.
    pub log: String,
}

impl Process {
    /// Packet buffers on each NUMA socket: those that the file asks for, else enough for all queues.
    #[must_use]
    pub fn mbufs_per_socket(&self) -> u32 {
        let enough = || self.mbufs_at_most_held().max(FEWEST_MBUFS);
        // One less than a power of two fits DPDK's rings.
        let fitting = || enough().saturating_add(1).next_power_of_two() - 1;
        self.mbufs.count.unwrap_or_else(fitting)
    }

    /// Packet buffers that all queues, full both ways, and all workers can hold together.
    #[must_use]
    pub fn mbufs_at_most_held(&self) -> u32 {
        let workers = self.workers.lcores.len() as u32;
        let descriptors = self.devices.iter().map(|device| device.descriptors);
        let queues: u32 = descriptors.map(|each| 2 * u32::from(each)).sum();
        workers * (queues + MBUFS_HELD)
    }
}

/// The environment abstraction layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eal {
    /// Arguments from the file.
    pub args: Vec<String>,
    /// Whether huge pages are used.
    pub huge_pages: HugePages,
    /// Memory to take in MiB; 0: what is needed.
    pub memory_mb: u32,
}

/// Use of huge pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HugePages {
    /// Where there are any.
    Auto,
    /// No start without.
    Require,
    /// Never.
    Off,
}

/// Packet buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mbufs {
    /// Buffers on each NUMA socket, if the file says so: see [`Process::mbufs_per_socket`].
    pub count: Option<u32>,
    /// Bytes of packet one takes.
    pub bytes: u16,
}

/// The threads that forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workers {
    /// CPUs, one worker each.
    pub lcores: Vec<u16>,
    /// CPU of everything else.
    pub main_lcore: u16,
    /// What a worker does without packets.
    pub idle: Idle,
    /// Packets that each ring between two workers holds, where they hand each other what is of the other's flows; `None`:
    /// what a worker receives is its own.
    pub steering: Option<u32>,
}

/// What a worker does when nothing arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// It polls on.
    Spin,
    /// It sleeps now and then.
    Sleep {
        /// After this many empty polls.
        after_polls: u32,
        /// For so long, in microseconds.
        us: u32,
    },
}

/// The device behind a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Which.
    pub kind: DeviceKind,
    /// Receive frames for every Ethernet address.
    pub promiscuous: bool,
    /// Descriptors a queue.
    pub descriptors: u16,
    /// Receive and transmit queues, at most one a worker.
    pub queues: u16,
}

/// Kinds of devices.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// A PCI device by its address.
    Pci(String),
    /// A virtual device with its arguments.
    Virtual(String),
    /// A kernel interface, through `net_af_packet`.
    Interface {
        /// Number of the port.
        index: usize,
        /// Name of the interface.
        interface: String,
    },
}

impl DeviceKind {
    /// The EAL's arguments that bring the device up with so many queues.
    #[must_use]
    pub fn eal_args(&self, queues: u16) -> [String; 2] {
        match self {
            Self::Pci(address) => ["-a".to_owned(), address.clone()],
            Self::Virtual(arguments) => ["--vdev".to_owned(), arguments.clone()],
            Self::Interface { interface, .. } => {
                let name = self.name();
                let shape = "framesz=4096,blocksz=8192";
                let arguments = format!("{name},iface={interface},qpairs={queues},{shape}");
                ["--vdev".to_owned(), arguments]
            }
        }
    }

    /// The kernel interface whose packets `net_af_packet` reads, if that is the device's driver.
    #[must_use]
    pub fn packet_interface(&self) -> Option<&str> {
        match self {
            Self::Pci(_) => None,
            Self::Virtual(arguments) => {
                let mut arguments = arguments.strip_prefix("net_af_packet")?.split(',');
                arguments.find_map(|argument| argument.strip_prefix("iface="))
            }
            Self::Interface { interface, .. } => Some(interface),
        }
    }

    /// DPDK's name of the device.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Pci(address) => address.clone(),
            Self::Virtual(arguments) => {
                let end = arguments.find(',').unwrap_or(arguments.len());
                arguments[..end].to_owned()
            }
            Self::Interface { index, .. } => format!("net_af_packet{index}"),
        }
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci(address) => f.write_str(address),
            Self::Virtual(_) => f.write_str(&self.name()),
            Self::Interface { interface, .. } => f.write_str(interface),
        }
    }
}

/// Reads everything but the devices.
pub(crate) fn read(root: &Section<'_>) -> Process {
    let eal = root.section("eal");
    let (workers, metrics) = (root.section("workers"), root.section("metrics"));
    let (api, log) = (root.section("api"), root.section("log"));
    let socket = api.optional("socket", &text());
    let level = log.optional("level", &text());
    Process {
        mbufs: Mbufs {
            count: eal.optional("mbufs", &int(1_023..=8_388_607)),
            bytes: eal.or("mbuf_bytes", &int(2_048..=9_216), 4_224),
        },
        eal: read_eal(&eal),
        workers: read_workers(&workers),
        devices: Vec::new(),
        metrics: metrics.optional("listen", &socket_address()),
        api_socket: socket.map_or_else(|| PathBuf::from("/run/afrd.sock"), PathBuf::from),
        log: level.unwrap_or_else(|| "info".to_owned()),
    }
}

fn read_eal(section: &Section<'_>) -> Eal {
    let huge_pages = one_of(&[
        ("auto", HugePages::Auto),
        ("require", HugePages::Require),
        ("off", HugePages::Off),
    ]);
    let args = section.list("args", &text());
    Eal {
        args: args.into_iter().map(|(_, argument)| argument).collect(),
        huge_pages: section.or("huge_pages", &huge_pages, HugePages::Auto),
        memory_mb: section.or("memory_mb", &int(0..=1 << 20), 0),
    }
}

fn read_workers(section: &Section<'_>) -> Workers {
    let cpu = int(0..=MOST_CPUS);
    let main_lcore = section.or("main_lcore", &cpu, 0);
    if !section.has("lcores") {
        let expected = format!("a list of CPUs, each {}", cpu.expected());
        section.blame("lcores", Fault::Missing { expected });
    }
    let given = section.list("lcores", &cpu);
    let mut cpus = Unique::new();
    for (index, lcore) in &given {
        cpus.check_item(section, "lcores", *index, *lcore);
    }
    if section.is_list("lcores") && !(1..=MOST_WORKERS).contains(&given.len()) {
        let expected = format!("1 to {MOST_WORKERS} CPUs");
        section.blame("lcores", Fault::Expected { expected });
    }
    let steers = one_of(&[("off", false), ("flow", true)]);
    let steers = section.or("steering", &steers, false);
    let ring = section.or("steering_ring", &int(64..=65_536), 1_024);
    if steers && given.len() > MOST_STEERED {
        let expected = format!("\"off\" with more than {MOST_STEERED} workers");
        section.blame("steering", Fault::Expected { expected });
    }
    let us = section.or("idle_us", &int(1..=10_000), 50);
    let after_polls = section.or("idle_polls", &int(1..=1_000_000), 256);
    let sleeps = one_of(&[("spin", false), ("sleep", true)]);
    Workers {
        lcores: given.into_iter().map(|(_, lcore)| lcore).collect(),
        main_lcore,
        idle: if section.or("idle", &sleeps, false) {
            Idle::Sleep { after_polls, us }
        } else {
            Idle::Spin
        },
        steering: steers.then_some(ring),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_become_arguments_of_the_eal() {
        let interface = DeviceKind::Interface {
            index: 1,
            interface: "veth0".to_owned(),
        };
        assert_eq!(
            interface.eal_args(2),
            [
                "--vdev",
                "net_af_packet1,iface=veth0,qpairs=2,framesz=4096,blocksz=8192"
            ]
        );
        assert_eq!(interface.name(), "net_af_packet1");
        assert_eq!(interface.packet_interface(), Some("veth0"));
        let pcap = DeviceKind::Virtual("net_pcap0,rx_pcap=in.pcap".to_owned());
        assert_eq!(pcap.eal_args(1)[1], "net_pcap0,rx_pcap=in.pcap");
        assert_eq!(pcap.name(), "net_pcap0");
        assert_eq!(pcap.packet_interface(), None);
        let whole = DeviceKind::Virtual("net_af_packet7,iface=veth7,qpairs=1".to_owned());
        assert_eq!(whole.packet_interface(), Some("veth7"));
        let pci = DeviceKind::Pci("0000:03:00.0".to_owned());
        assert_eq!(pci.eal_args(4), ["-a", "0000:03:00.0"]);
    }
}
