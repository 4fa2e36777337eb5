//! The clock around the tables.

use std::fs;
use std::hint::black_box;

use afr_dataplane::flow::FlowKey;
use anyhow::{Context, ensure};
use dpdk::Eal;
use dpdk::tsc::rdtsc;

use super::BURST;
use super::contender::{Afr, Contender, Hashbrown, Rte, Which, expected};
use super::keys::{Asked, entered, looked_up};
use super::report::{Figure, Row};

/// Measures one table with `flows` flows: insertion, look-ups that all hit, look-ups of which a tenth misses, each
/// `passes` times.
///
/// # Errors
///
/// No memory, or a table that gave a wrong answer.
pub fn measure(eal: &Eal, which: Which, flows: u32, passes: usize) -> anyhow::Result<Row> {
    let row = match which {
        Which::Afr => run::<Afr>(eal, flows, passes),
        Which::Hashbrown => run::<Hashbrown>(eal, flows, passes),
        Which::RteFull => run::<Rte<1, false>>(eal, flows, passes),
        Which::RteRoomy => run::<Rte<2, false>>(eal, flows, passes),
        Which::RteHashed => run::<Rte<2, true>>(eal, flows, passes),
    };
    let measured = row.with_context(|| format!("{which} with {flows} flows"))?;
    let hz = eal.tsc_hz();
    Ok(Row {
        table: which.name(),
        flows,
        insert: Figure::of(&measured.insert, hz),
        hit: Figure::of(&measured.hit, hz),
        miss: Figure::of(&measured.miss, hz),
        bytes_per_flow: measured.bytes as f64 / f64::from(flows),
        huge_bytes_per_flow: measured.huge_bytes as f64 / f64::from(flows),
    })
}

/// Cycles a key of each pass.
struct Measured {
    insert: Vec<f64>,
    hit: Vec<f64>,
    miss: Vec<f64>,
    bytes: usize,
    huge_bytes: u64,
}

fn run<T: Contender>(eal: &Eal, flows: u32, passes: usize) -> anyhow::Result<Measured> {
    let keys = entered(flows);
    let own: Vec<_> = keys.iter().map(T::key).collect();
    let before = transparent_bytes();
    let mut table = T::empty(eal, flows)?;
    let mut insert = Vec::with_capacity(passes);
    // The first pass writes memory for the first time, and is not counted.
    for pass in 0..=passes {
        table.clear();
        let start = rdtsc();
        for (key, number) in own.iter().zip(0..) {
            table.insert(key, number)?;
        }
        let cycles = rdtsc().wrapping_sub(start);
        ensure!(
            table.flows() == own.len(),
            "{} flows are there",
            table.flows()
        );
        if pass != 0 {
            insert.push(cycles as f64 / f64::from(flows));
        }
    }
    let mut huge_bytes = transparent_bytes().saturating_sub(before);
    if eal.has_hugepages() {
        huge_bytes += table.eal_bytes() as u64;
    }
    drop(own);
    Ok(Measured {
        insert,
        hit: look_up(&table, &keys, false, passes)?,
        miss: look_up(&table, &keys, true, passes)?,
        bytes: table.memory_bytes(),
        huge_bytes,
    })
}

fn look_up<T: Contender>(
    table: &T,
    keys: &[FlowKey],
    misses: bool,
    passes: usize,
) -> anyhow::Result<Vec<f64>> {
    let asked = looked_up(keys, misses);
    let own: Vec<_> = asked.iter().map(|one: &Asked| T::key(&one.key)).collect();
    let right = expected(&asked);
    drop(asked);
    let mut cycles = Vec::with_capacity(passes);
    for pass in 0..=passes {
        let (bursts, _) = own.as_chunks::<BURST>();
        let (mut sum, mut found) = (0, 0);
        let start = rdtsc();
        for burst in bursts {
            let (numbers, hits) = table.look_up(black_box(burst));
            sum += numbers;
            found += u64::from(hits);
        }
        let took = rdtsc().wrapping_sub(start);
        ensure!(
            (sum, found) == right,
            "{found} of {} keys were found, or with the wrong state",
            right.1
        );
        if pass != 0 {
            cycles.push(took as f64 / own.len() as f64);
        }
    }
    Ok(cycles)
}

/// Bytes of this process on transparent huge pages.
fn transparent_bytes() -> u64 {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let mut lines = rollup.lines();
    let kib = lines.find_map(|line| {
        line.strip_prefix("AnonHugePages:")?
            .trim()
            .strip_suffix("kB")
    });
    let kib = kib.and_then(|kib| kib.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1_024
}
