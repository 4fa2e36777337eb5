//! Steering on real threads: a flow's packets come to its worker in order, none is lost uncounted, nothing is allocated.

#![cfg(feature = "eal")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "failing is what a check is for"
)]

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use afr_dataplane::counters::{Figure, LocalCounters};
use afr_dataplane::handoff::{Handoff, Lanes};
use afr_dataplane::id::PortIx;
use afr_dataplane::path::{BURST, BURSTS_A_ROUND, Burst};
use afr_dataplane::steer::Owners;
use afr_dataplane::verdict::DropReason;
use dpdk::{Eal, Mbuf, Mempool, MempoolConfig};

const FLOWS: u16 = 64;
const PACKETS_A_FLOW: u32 = 2_000;
const SEED: u64 = 77;

fn eal() -> &'static Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    EAL.get_or_init(|| {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let mut lines = status.lines();
        let cpus = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let cpu = cpus.unwrap().trim().split(['-', ',']).next().unwrap();
        Eal::init([
            "--no-huge",
            "--no-shconf",
            "--no-pci",
            "--no-telemetry",
            "-m",
            "64",
            "--log-level=*:critical",
            &format!("--lcores=0@{cpu}"),
        ])
        .unwrap()
    })
}

/// Rings have names, the same in each test.
static RINGS: Mutex<()> = Mutex::new(());

fn pool(name: &str) -> Mempool {
    let config = MempoolConfig {
        mbufs: 2_047,
        cache: 0,
        data_room: 256,
        ..MempoolConfig::default()
    };
    Mempool::create(eal(), name, &config).unwrap()
}

/// Packet `number` of a flow, from the client or from the service.
fn packet(pool: &Mempool, flow: u16, number: u32, reply: bool) -> Option<Mbuf> {
    let (client, service) = ([0x20; 16], [0xFD; 16]);
    let (ends, ports) = if reply {
        ([service, client], [8_000, flow])
    } else {
        ([client, service], [flow, 8_000])
    };
    let mut mbuf = pool.alloc()?;
    let bytes = mbuf.append(14 + 40 + 8 + 4).unwrap();
    bytes.fill(0);
    bytes[12..14].copy_from_slice(&[0x86, 0xDD]);
    bytes[14] = 0x60;
    bytes[18..22].copy_from_slice(&[0, 12, 17, 64]);
    bytes[22..38].copy_from_slice(&ends[0]);
    bytes[38..54].copy_from_slice(&ends[1]);
    bytes[54..56].copy_from_slice(&ports[0].to_be_bytes());
    bytes[56..58].copy_from_slice(&ports[1].to_be_bytes());
    bytes[62..].copy_from_slice(&number.to_be_bytes());
    Some(mbuf)
}

fn flow_of(mbuf: &Mbuf) -> u16 {
    let ports = [54, 56].map(|at| u16::from_be_bytes([mbuf.data()[at], mbuf.data()[at + 1]]));
    ports[usize::from(ports[0] == 8_000)]
}

/// A flow that is this worker's, of so many.
fn flow_of_worker(pool: &Mempool, workers: u16, worker: u16) -> u16 {
    let owners = Owners::new(workers, SEED);
    let is_its = |flow: &u16| {
        let mbuf = packet(pool, *flow, 0, false).unwrap();
        owners.of(mbuf.data()).map(|owner| owner.0) == Some(worker)
    };
    (0..FLOWS).find(is_its).unwrap()
}

fn number_of(mbuf: &Mbuf) -> u32 {
    u32::from_be_bytes(*mbuf.data().last_chunk().unwrap())
}

/// What one worker saw.
#[derive(Debug, Default)]
struct Seen {
    /// By port and flow: the number of the last packet, and how many there were.
    flows: [Vec<(Option<u32>, u32)>; 2],
    out: u64,
    taken: u64,
    refused: u64,
}

impl Seen {
    fn note(&mut self, port: PortIx, mbuf: &Mbuf) {
        let (last, count) = &mut self.flows[usize::from(port.0)][usize::from(flow_of(mbuf))];
        let number = number_of(mbuf);
        assert!(last.is_none_or(|last| last < number), "out of order");
        (*last, *count) = (Some(number), *count + 1);
    }
}

/// Whoever fails lets the other end.
struct Gone<'a>(&'a AtomicUsize);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fetch_add(2, Ordering::AcqRel);
        }
    }
}

/// A worker that receives all requests by port 0, if it is the first, or all replies by port 1, and takes over the rest.
fn work(mut side: Handoff, pool: &Mempool, reply: bool, done: &AtomicUsize) -> Seen {
    let port = PortIx(reply.into());
    let nothing = || vec![(None, 0); usize::from(FLOWS)];
    let mut seen = Seen {
        flows: [nothing(), nothing()],
        ..Seen::default()
    };
    let _gone = Gone(done);
    let (mut counters, mut next) = (LocalCounters::default(), 0);
    let total = u32::from(FLOWS) * PACKETS_A_FLOW;
    loop {
        let mut burst = Burst::<Mbuf>::new();
        while next < total
            && !burst.is_full()
            && let Some(mbuf) = packet(pool, (next % u32::from(FLOWS)) as u16, next, reply)
        {
            burst.push(mbuf);
            next += 1;
        }
        if next == total && burst.is_empty() {
            done.fetch_add(1, Ordering::AcqRel);
            next += 1;
        }
        // Asked before: whoever is done has sent its last.
        let all_done = done.load(Ordering::Acquire) >= 2;
        let mut own = Vec::with_capacity(BURST);
        let mut others = Vec::with_capacity(BURSTS_A_ROUND * BURST);
        let info = allocation_counter::measure(|| {
            side.divide(port, &mut burst, &mut counters);
            own.extend(burst.drain(..).map(|mbuf| (port, mbuf)));
            seen.taken += side.take_over(|port, burst| {
                others.extend(burst.drain(..).map(|mbuf| (port, mbuf)));
            }) as u64;
        });
        assert_eq!((info.count_total, info.count_current), (0, 0), "{info:?}");
        let idle = own.is_empty() && others.is_empty();
        for (port, mbuf) in own.iter().chain(&others) {
            seen.note(*port, mbuf);
        }
        if idle && all_done {
            break;
        }
        // The threads may have one CPU between them.
        thread::yield_now();
    }
    seen.out = counters.figure(Figure::SteeredOut);
    seen.refused = counters.figure(Figure::Drop(DropReason::SteeringFull));
    seen
}

#[test]
fn flows_keep_their_worker_and_their_order_and_losses_are_counted() {
    let _alone = RINGS.lock().unwrap_or_else(PoisonError::into_inner);
    let pool = pool("steering");
    // A ring small enough to be full now and then.
    let sides = Handoff::mesh(eal(), 2, 96, SEED).unwrap();
    let done = AtomicUsize::new(0);
    let seen: Vec<Seen> = thread::scope(|scope| {
        let threads: Vec<_> = sides
            .into_iter()
            .zip([false, true])
            .map(|(side, reply)| {
                let (pool, done) = (&pool, &done);
                scope.spawn(move || work(side, pool, reply, done))
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let [a, b] = &seen[..] else { panic!() };
    for port in 0..2 {
        let mut arrived = 0;
        for flow in 0..usize::from(FLOWS) {
            let counts = [a, b].map(|seen| seen.flows[port][flow].1);
            assert!(counts.contains(&0), "flow {flow} is at both: {counts:?}");
            // Requests and replies at the same worker.
            let owner = usize::from(counts[1] != 0);
            assert_ne!([a, b][owner].flows[1 - port][flow].1, 0, "flow {flow}");
            arrived += u64::from(counts[0] + counts[1]);
        }
        let refused = seen[port].refused;
        let total = u64::from(FLOWS) * u64::from(PACKETS_A_FLOW);
        assert_eq!(arrived + refused, total, "port {port}");
    }
    assert_eq!((a.out, b.out), (b.taken, a.taken));
    assert!(a.out > 1_000 && b.out > 1_000, "{} {}", a.out, b.out);
    assert_eq!(pool.available(), pool.size());
}

#[test]
fn what_a_full_ring_refuses_is_freed_and_counted() {
    let _alone = RINGS.lock().unwrap_or_else(PoisonError::into_inner);
    let pool = pool("refusal");
    let mut sides = Handoff::mesh(eal(), 3, 40, SEED).unwrap();
    let mut counters = LocalCounters::default();
    let flow = flow_of_worker(&pool, 3, 2);
    for round in 0..2 {
        let packets = (0..32).map(|n| packet(&pool, flow, round * 32 + n, false).unwrap());
        let mut burst: Burst<Mbuf> = packets.collect();
        sides[0].divide(PortIx(5), &mut burst, &mut counters);
        assert!(burst.is_empty());
    }
    assert_eq!(counters.figure(Figure::SteeredOut), 40);
    let full = Figure::Drop(DropReason::SteeringFull);
    assert_eq!(counters.figure(full), 24);
    assert_eq!(pool.available(), pool.size() - 40);
    let mut numbers = Vec::new();
    while sides[2].take_over(|port, burst| {
        assert_eq!(port, PortIx(5));
        numbers.extend(burst.drain(..).map(|mbuf| number_of(&mbuf)));
    }) != 0
    {}
    assert_eq!(numbers, Vec::from_iter(0..40), "the first ones, in order");
    assert_eq!(pool.available(), pool.size());
    drop(sides);

    // Three workers, a port with two queues: the third sends through the first.
    let mut lanes = Lanes::of(eal(), 3, &[3, 2], 40).unwrap();
    let ways: Vec<_> = lanes
        .iter()
        .map(|lane| lane.to.iter().map(Option::is_some).collect::<Vec<_>>())
        .collect();
    assert_eq!(ways, [[false, false], [false, false], [false, true]]);
    let mut burst: Burst<Mbuf> = packet(&pool, 1, 9, false).into_iter().collect();
    assert_eq!(lanes[2].to[1].as_mut().unwrap().send(&mut burst), 1);
    let mut relayed = Vec::new();
    lanes[0].relay(|port, mbuf| relayed.push((port, number_of(&mbuf))));
    assert_eq!(relayed, [(PortIx(1), 9)]);
}

/// A round takes up to six bursts from a port; were it one from a ring, what workers hand over would soon be refused.
#[test]
fn a_round_takes_as_much_from_a_ring_as_from_a_port() {
    let _alone = RINGS.lock().unwrap_or_else(PoisonError::into_inner);
    let pool = pool("rounds");
    let most = BURSTS_A_ROUND * BURST;
    let mut lanes = Lanes::of(eal(), 2, &[1], 1_024).unwrap();
    let mut sides = Handoff::mesh(eal(), 2, 1_024, SEED).unwrap();
    let mut counters = LocalCounters::default();
    let flow = flow_of_worker(&pool, 2, 1);
    let mut burst = Burst::<Mbuf>::new();
    for _ in 0..=BURSTS_A_ROUND {
        burst.extend((0..BURST).map(|_| packet(&pool, flow, 0, false).unwrap()));
        sides[0].divide(PortIx(0), &mut burst, &mut counters);
        burst.extend((0..BURST).map(|_| packet(&pool, flow, 0, false).unwrap()));
        assert_eq!(lanes[1].to[0].as_mut().unwrap().send(&mut burst), BURST);
    }
    for expected in [most, BURST, 0] {
        assert_eq!(sides[1].take_over(|_, burst| burst.clear()), expected);
        let mut relayed = 0;
        lanes[0].relay(|_, _| relayed += 1);
        assert_eq!(relayed, expected);
    }
    assert_eq!(counters.figure(Figure::SteeredOut), (most + BURST) as u64);
    assert_eq!(pool.available(), pool.size());
}
