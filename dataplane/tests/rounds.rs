//! How much a round of a worker's loop takes from each port, on real receive queues.

#![cfg(feature = "eal")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "failing is what a check is for"
)]

mod support;

use std::path::Path;
use std::sync::Arc;

use afr_dataplane::clock::Clock;
use afr_dataplane::counters::Figure;
use afr_dataplane::dpdk_io::{Idle, WorkerLoop, WorkerParts};
use afr_dataplane::handoff::Lanes;
use afr_dataplane::id::{PortIx, WorkerId};
use afr_dataplane::message::Shared;
use afr_dataplane::path::{BURST, BURSTS_A_ROUND};
use afr_dataplane::worker::Peers;
use dpdk::{Mempool, MempoolConfig, Port, PortConfig};

use support::control_core::ControlCore;
use support::device::eal;
use support::pcap::PcapWriter;
use support::setup::{EDGE, FABRIC, Setup};

/// A worker's loop over devices, the first of which is port 0.
struct Rounds {
    worker: WorkerLoop,
    _ports: Vec<Port>,
    _core: ControlCore,
}

impl Rounds {
    fn over(name: &str, devices: &[String]) -> Self {
        let config = MempoolConfig {
            mbufs: 511,
            cache: 0,
            ..MempoolConfig::default()
        };
        let pool = Mempool::create(eal(), name, &config).unwrap();
        let (mut ports, mut rx) = (Vec::new(), Vec::new());
        for (ix, device) in (0..).map(PortIx).zip(devices) {
            let names = Port::attach(eal(), device).unwrap();
            let config = PortConfig::new(pool.clone());
            let (port, mut queues, _) = Port::open(eal(), &names[0], &config).unwrap();
            ports.push(port);
            rx.push((ix, queues.remove(0)));
        }
        let config = Arc::new(Setup::new(1).config);
        let shared = Arc::new(Shared::new(&config.limits, 1));
        let (core, mut readers) = ControlCore::new(&config, Arc::clone(&shared), 1);
        let worker = WorkerLoop::new(WorkerParts {
            id: WorkerId(0),
            rx,
            tx: Vec::new(),
            handoff: None,
            lanes: Lanes::default(),
            pool,
            reader: readers.remove(0),
            shared,
            peers: Peers::new(1),
            idle: Idle::Spin,
            clock: Clock::new(0, 1_000_000),
            seeds: [1, 2, 3, 4],
        });
        Self {
            worker,
            _ports: ports,
            _core: core,
        }
    }

    /// Packets of one round.
    fn round(&mut self) -> usize {
        self.worker.round(1_000)
    }

    fn received(&self, port: PortIx) -> u64 {
        self.worker
            .worker()
            .counters()
            .figure(Figure::RxPackets(port))
    }
}

#[test]
fn a_port_that_never_runs_dry_leaves_the_others_their_turn() {
    let endless = |number| format!("net_null_endless{number},size=64");
    let mut rounds = Rounds::over("endless", &[endless(0), endless(1)]);
    for round in 1..=3 {
        assert_eq!(rounds.round(), 2 * BURSTS_A_ROUND * BURST);
        for port in [EDGE, FABRIC] {
            let taken = (round * BURSTS_A_ROUND * BURST) as u64;
            assert_eq!(rounds.received(port), taken, "{port:?}, round {round}");
        }
    }
}

#[test]
fn a_port_is_asked_again_while_its_bursts_come_full() {
    let file = |name: &str, frames: usize| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.pcap"));
        let mut pcap = PcapWriter::create(&path).unwrap();
        (0..frames).for_each(|_| pcap.frame(0, &[0xFF; 64]).unwrap());
        pcap.finish().unwrap();
        format!("net_pcap_{name},rx_pcap={}", path.display())
    };
    let most = BURSTS_A_ROUND * BURST;
    let devices = [
        file("rounds_some", 2 * BURST + 3),
        file("rounds_many", most + 5),
    ];
    let mut rounds = Rounds::over("files", &devices);
    assert_eq!(rounds.round(), 2 * BURST + 3 + most);
    assert_eq!(rounds.received(EDGE), 2 * BURST as u64 + 3);
    assert_eq!(rounds.round(), 5);
    assert_eq!(rounds.round(), 0);
    assert_eq!(rounds.received(FABRIC), most as u64 + 5);
}
