//! What steering between two workers costs: the hash, the ring's two ends, and a packet that another core has just written.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a command line's output

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use afr_dataplane::counters::{Figure, LocalCounters};
use afr_dataplane::handoff::Handoff;
use afr_dataplane::id::PortIx;
use afr_dataplane::path::{BURST, Burst};
use afr_dataplane::steer::Owners;
use afr_dataplane::verdict::DropReason;
use afr_perf::bench::place::Place;
use anyhow::{Context, ensure};
use clap::Parser;
use dpdk::tsc::rdtsc;
use dpdk::{Eal, Mbuf, Mempool, MempoolConfig, free_burst};
use serde::Serialize;

const SEED: u64 = 0x57EE;
/// Flows that are sent, all of them the other worker's.
const FLOWS: usize = 1_024;
/// Ethernet, IPv6, 56 bytes of Destination Options, UDP and payload: an established flow's packet with metadata.
const FRAME: usize = 134;
const HUGE_MIB: u32 = 64;

/// Cycles a packet that one worker hands to another, on two CPUs that do nothing else.
///
/// The sender makes a burst of packets, each of another flow of the other worker's, divides it, and goes on; the receiver takes
/// over what there is, reads the headers and frees the packets. "hash" is finding the owner of a frame in the cache.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// CPUs of the two workers.
    #[arg(long = "cpu", value_delimiter = ',', default_values_t = [0, 1])]
    cpus: Vec<u32>,
    /// Seconds to measure.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Packets that the ring holds.
    #[arg(long, default_value_t = 1_024)]
    ring: u32,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// TSC cycles a packet: the least of any burst, and the median of bursts.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Cycles {
    best: f64,
    median: f64,
}

impl Cycles {
    fn of(mut bursts: Vec<u64>) -> Self {
        bursts.sort_unstable();
        let a_packet = |at: usize| {
            bursts
                .get(at)
                .map_or(f64::NAN, |c| *c as f64 / BURST as f64)
        };
        Self {
            best: a_packet(0),
            median: a_packet(bursts.len() / 2),
        }
    }
}

#[derive(Debug, Serialize)]
struct Report {
    tsc_hz: u64,
    huge_pages: bool,
    ring: u32,
    handed_over: u64,
    refused: u64,
    /// Finding the owner.
    hash: Cycles,
    /// All that the sender does: owner, sorting out, enqueue.
    divide: Cycles,
    /// Dequeue of a whole burst, and starting to load the packets.
    take_over: Cycles,
    /// Reading the headers of a packet that the other core wrote.
    headers_there: Cycles,
    /// Reading them where they were written.
    headers_here: Cycles,
}

/// What the receiver found.
#[derive(Debug, Default)]
struct Received {
    take_over: Vec<u64>,
    headers: Vec<u64>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let [first, second] = arguments.cpus[..] else {
        anyhow::bail!("--cpu takes two CPUs, such as 0,1");
    };
    let window = Duration::try_from_secs_f64(arguments.seconds).context("--seconds")?;
    let mut place = Place::create()?;
    let mut args = vec![
        "--no-pci".to_owned(),
        "--no-telemetry".to_owned(),
        "--log-level=*:warning".to_owned(),
        format!("--lcores=0@{first},1@{second}"),
        format!("--file-prefix={}-steering", place.tag()),
    ];
    match place.take_huge_pages(HUGE_MIB).map(|()| place.huge_dir()) {
        Ok(Some(directory)) => {
            args.push(format!("--huge-dir={}", directory.display()));
            args.push("--huge-unlink=always".to_owned());
        }
        _ => args.extend(["--no-huge", "-m", "64"].map(str::to_owned)),
    }
    let eal = Eal::init(&args).with_context(|| format!("DPDK: {}", args.join(" ")))?;
    let pool = Mempool::create(&eal, "steering", &MempoolConfig::default())?;
    let mut sides = Handoff::mesh(&eal, 2, arguments.ring, SEED)?;
    let mut receiver = sides.pop().context("two sides")?;
    let sender = sides.pop().context("two sides")?;
    let lcore = *eal.worker_lcores().first().context("a second lcore")?;

    let stop = Arc::new(AtomicBool::new(false));
    let found = Arc::new(Mutex::new(Received::default()));
    let handle = eal.launch(lcore, {
        let (stop, found) = (Arc::clone(&stop), Arc::clone(&found));
        move || {
            let received = receive(&mut receiver, &stop);
            *found.lock().unwrap_or_else(PoisonError::into_inner) = received;
        }
    })?;
    eprintln!("{} s on CPUs {first} and {second}", arguments.seconds);
    let (mut report, sent) = send(sender, &pool, window);
    stop.store(true, Relaxed);
    handle.join()?;
    sent?;
    let received = std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner));
    ensure!(
        !received.take_over.is_empty(),
        "nothing came over in whole bursts"
    );
    report.take_over = Cycles::of(received.take_over);
    report.headers_there = Cycles::of(received.headers);
    report.tsc_hz = eal.tsc_hz();
    report.huge_pages = eal.has_hugepages();
    report.ring = arguments.ring;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(())
}

fn print(report: &Report) {
    println!(
        "{} packets handed over, {} refused; cycles a packet: best (median) of bursts of {BURST}",
        report.handed_over, report.refused
    );
    for (name, cycles) in [
        ("owner's hash", report.hash),
        ("sender: hash, sort out, enqueue", report.divide),
        ("receiver: dequeue", report.take_over),
        ("headers, written by the other core", report.headers_there),
        ("headers, written here", report.headers_here),
    ] {
        println!("  {name:<36} {:>6.1} ({:.1})", cycles.best, cycles.median);
    }
}

/// Sends for so long.
fn send(mut side: Handoff, pool: &Mempool, window: Duration) -> (Report, anyhow::Result<()>) {
    let frames = frames();
    let owners = Owners::new(2, SEED);
    let mut counters = LocalCounters::default();
    let (mut hash, mut divide, mut headers) = (Vec::new(), Vec::new(), Vec::new());
    let (start, mut next, mut dry) = (Instant::now(), 0, 0_u64);
    while start.elapsed() < window {
        let mut burst = Burst::<Mbuf>::new();
        while !burst.is_full()
            && let Some(mut mbuf) = pool.alloc()
        {
            let frame = &frames[next % frames.len()];
            if let Some(bytes) = mbuf.append(FRAME) {
                bytes.copy_from_slice(frame);
            }
            next += 1;
            burst.push(mbuf);
        }
        if !burst.is_full() {
            dry += 1;
            continue;
        }
        let before = rdtsc();
        read(&burst);
        let read = rdtsc();
        for mbuf in &burst {
            black_box(owners.of(mbuf.data()));
        }
        let hashed = rdtsc();
        side.divide(PortIx(0), &mut burst, &mut counters);
        let divided = rdtsc();
        headers.push(read.wrapping_sub(before));
        hash.push(hashed.wrapping_sub(read));
        divide.push(divided.wrapping_sub(hashed));
        free_burst(&mut burst);
    }
    let report = Report {
        tsc_hz: 0,
        huge_pages: false,
        ring: 0,
        handed_over: counters.figure(Figure::SteeredOut),
        refused: counters.figure(Figure::Drop(DropReason::SteeringFull)),
        hash: Cycles::of(hash),
        divide: Cycles::of(divide),
        take_over: Cycles::default(),
        headers_there: Cycles::default(),
        headers_here: Cycles::of(headers),
    };
    let enough = if report.handed_over == 0 {
        Err(anyhow::anyhow!(
            "nothing was handed over; the pool was dry {dry} times"
        ))
    } else {
        Ok(())
    };
    (report, enough)
}

/// Takes over until told to stop and nothing is left.
fn receive(side: &mut Handoff, stop: &AtomicBool) -> Received {
    let mut received = Received::default();
    loop {
        let stopping = stop.load(Relaxed);
        let before = rdtsc();
        let mut done = before;
        let mut headers = None;
        let taken = side.take_over(|_, burst| {
            let taken = rdtsc();
            read(burst);
            done = taken;
            headers = Some((burst.len(), rdtsc().wrapping_sub(taken)));
            free_burst(burst);
        });
        if let Some((BURST, cycles)) = headers {
            received.take_over.push(done.wrapping_sub(before));
            received.headers.push(cycles);
        }
        if taken == 0 && stopping {
            return received;
        }
    }
}

/// Reads what the packet path reads of every packet first.
fn read(burst: &Burst<Mbuf>) {
    for mbuf in burst {
        let sum: u32 = mbuf.data()[..FRAME]
            .iter()
            .map(|byte| u32::from(*byte))
            .sum();
        black_box(sum);
    }
}

/// Frames of flows that are worker 1's.
fn frames() -> Vec<[u8; FRAME]> {
    let owners = Owners::new(2, SEED);
    let frame = |port: u16| {
        let mut frame = [0; FRAME];
        frame[12..14].copy_from_slice(&[0x86, 0xDD]);
        frame[14] = 0x60;
        frame[18..22].copy_from_slice(&[0, (FRAME - 54) as u8, 60, 64]);
        frame[22..38].fill(0x20);
        frame[38..54].fill(0xFD);
        // UDP behind a Destination Options header of 56 bytes.
        frame[54..56].copy_from_slice(&[17, 6]);
        frame[110..112].copy_from_slice(&port.to_be_bytes());
        frame[112..114].copy_from_slice(&8_000_u16.to_be_bytes());
        frame
    };
    let its = |frame: &[u8; FRAME]| owners.of(frame).is_some_and(|worker| worker.0 == 1);
    (1_024..u16::MAX)
        .map(frame)
        .filter(its)
        .take(FLOWS)
        .collect()
}
