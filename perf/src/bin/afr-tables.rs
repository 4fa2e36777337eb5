//! Compares flow tables: ours, hashbrown, and DPDK's rte_hash.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a command line's output

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use afr_perf::bench::place::Place;
use afr_perf::lab::Interrupt;
use afr_perf::tables::contender::Which;
use afr_perf::tables::measure::measure;
use afr_perf::tables::report::Report;
use anyhow::{Context, ensure};
use clap::Parser;
use dpdk::Eal;

const OUTPUT: &str = "target/bench";
/// glibc's malloc asks for transparent huge pages when it is told at its start, so that what hashbrown allocates is on
/// pages like the others'.
const TUNABLES: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1");
/// MiB of the EAL beside the tables.
const OTHER_MIB: u64 = 64;
/// Bytes of rte_hash for each entry: 16 and the key rounded up, 8 of a bucket of twice as many, 4 of the free list.
const BYTES_PER_ENTRY: u64 = 112;

/// Look-up of bursts of 32 flow keys and insertion in ours, hashbrown and DPDK's rte_hash: same keys, same order.
///
/// A look-up ends at the flow's state. hashbrown has the same hash as ours; its interface has no prefetch. rte_hash
/// hashes by CRC-32C, or is given our hash. Tables are as large as the flows that are entered (2x: twice). Result: a table
/// on standard output, target/bench/tables.json.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Flows; again for more. [default: 4096, 65536, 1048576, 4194304]
    #[arg(long = "flows", value_parser = clap::value_parser!(u32).range(64..=1 << 23))]
    flows: Vec<u32>,
    /// What to measure; again for more. [default: all]
    #[arg(long = "table", value_name = "NAME", value_parser = which)]
    tables: Vec<Which>,
    /// Passes of each figure, after one that is not counted.
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    passes: u32,
    /// CPU to measure on.
    #[arg(long, default_value_t = 1)]
    cpu: u32,
    /// Do without huge pages of DPDK's.
    #[arg(long)]
    no_huge: bool,
    /// Print the result as JSON in place of the table.
    #[arg(long)]
    json: bool,
}

fn which(name: &str) -> Result<Which, String> {
    let mut all = Which::ALL.into_iter();
    all.find(|one| one.name() == name).ok_or_else(|| {
        let names: Vec<_> = Which::ALL.iter().map(|one| one.name()).collect();
        format!("none of {}", names.join(", "))
    })
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let (name, wanted) = TUNABLES;
    if env::var_os(name).is_none() {
        let failure = Command::new(env::current_exe()?)
            .args(env::args_os().skip(1))
            .env(name, wanted)
            .exec();
        return Err(failure).context("cannot start again with GLIBC_TUNABLES");
    }
    let flows = match arguments.flows.as_slice() {
        [] => vec![1 << 12, 1 << 16, 1 << 20, 1 << 22],
        given => given.to_vec(),
    };
    let tables = match arguments.tables.as_slice() {
        [] => Which::ALL.to_vec(),
        given => given.to_vec(),
    };
    let interrupt = Interrupt::on_signals().context("signal handlers")?;
    let mut place = Place::create()?;
    let most = flows.iter().copied().max().unwrap_or_default();
    let mib = OTHER_MIB + u64::from(most) * 2 * BYTES_PER_ENTRY / (1 << 20);
    let huge = !arguments.no_huge && take_huge_pages(&mut place, mib);
    let eal = start(&arguments, &place, huge, mib)?;

    let passes = arguments.passes as usize;
    let mut rows = Vec::new();
    let total = flows.len() * tables.len();
    for (at, (flows, table)) in flows
        .iter()
        .flat_map(|flows| tables.iter().map(move |table| (*flows, *table)))
        .enumerate()
    {
        ensure!(!interrupt.is_raised(), "interrupted");
        eprintln!("[{}/{total}] {flows} flows, {table}", at + 1);
        rows.push(measure(&eal, table, flows, passes)?);
    }
    let report = Report {
        machine: processor(),
        dpdk: eal.version(),
        tsc_hz: eal.tsc_hz(),
        dpdk_huge_pages: eal.has_hugepages(),
        passes,
        rows,
    };
    let json = serde_json::to_string_pretty(&report)?;
    fs::create_dir_all(OUTPUT).with_context(|| format!("cannot make {OUTPUT}"))?;
    fs::write(Path::new(OUTPUT).join("tables.json"), &json).context("target/bench/tables.json")?;
    if arguments.json {
        println!("{json}");
    } else {
        print!("{}", report.text());
    }
    Ok(())
}

fn take_huge_pages(place: &mut Place, mib: u64) -> bool {
    let taken = place.take_huge_pages(mib as u32);
    if let Err(error) = &taken {
        eprintln!("rte_hash will be on 4 KiB pages: {error:#}");
    }
    taken.is_ok()
}

fn start(arguments: &Arguments, place: &Place, huge: bool, mib: u64) -> anyhow::Result<Eal> {
    let mut args: Vec<String> = ["--no-pci", "--no-telemetry", "--log-level=*:warning"]
        .map(str::to_owned)
        .into();
    args.push(format!("--lcores=0@{}", arguments.cpu));
    args.push(format!("--file-prefix={}-tables", place.tag()));
    match place.huge_dir().filter(|_| huge) {
        Some(directory) => {
            args.push(format!("--huge-dir={}", directory.display()));
            args.push("--huge-unlink=always".to_owned());
        }
        None => args.extend(["--no-huge".to_owned(), "-m".to_owned(), mib.to_string()]),
    }
    Eal::init(&args).with_context(|| format!("DPDK does not start with {}", args.join(" ")))
}

fn processor() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut lines = cpus.lines();
    let model = lines.find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or_else(
        || env::consts::ARCH.to_owned(),
        |(_, name)| name.trim().to_owned(),
    )
}
