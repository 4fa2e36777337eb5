//! Measures one worker of `afrd` beside `dpdk-testpmd` on the same frames.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a command line's output

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use afr_perf::bench::frames::Frames;
use afr_perf::bench::place::Place;
use afr_perf::bench::program::{Program, Setup, find_testpmd, write_frames};
use afr_perf::bench::report::{Report, runs};
use afr_perf::lab::Interrupt;
use anyhow::{Context, ensure};
use clap::Parser;

/// Memory for packet buffers.
const HUGE_PAGES_MIB: u32 = 1_024;

/// Packets a second of one worker, beside dpdk-testpmd on the same frames, core and minutes.
///
/// The frames come from memory (net_pcap, infinite_rx), what leaves is counted and dropped. testpmd's 5tswap swaps
/// addresses and ports; it does no look-up, keeps no state and encapsulates nothing.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Example:\n  afr-bench --scenario established --scenario plain --rounds 3\n  afr-bench --flows 65536 --json"
)]
struct Arguments {
    /// What to measure: `established` (metadata verified before), `plain` (no metadata).
    #[arg(long = "scenario", default_values = ["established", "plain"], value_parser = ["established", "plain"])]
    scenarios: Vec<String>,
    /// Rounds; each runs every program once.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Flows, one frame each.
    #[arg(long, default_value_t = 4_096)]
    flows: usize,
    /// Bytes of a frame, without frame check sequence.
    #[arg(long, default_value_t = 134)]
    bytes: usize,
    /// Instances that share the flows.
    #[arg(long, default_value_t = 64)]
    instances: usize,
    /// Seconds that each rate is taken over, after one of warming up.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// CPU of the measured worker.
    #[arg(long, default_value_t = 1)]
    cpu: u32,
    /// CPU of everything else.
    #[arg(long, default_value_t = 0)]
    main_cpu: u32,
    /// Print the result as JSON; it is written to target/bench/throughput.json in any case.
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let own = std::env::current_exe()?;
    let afrd = own.with_file_name("afrd");
    ensure!(
        afrd.exists(),
        "{} is missing: cargo build --release --workspace --all-features",
        afrd.display()
    );
    let output = PathBuf::from("target/bench");
    fs::create_dir_all(&output)?;
    let interrupt = Interrupt::on_signals().context("signal handlers")?;
    let report = measure(&arguments, &afrd, &interrupt)?;
    let json = serde_json::to_string_pretty(&report)?;
    fs::write(output.join("throughput.json"), &json)?;
    if arguments.json {
        println!("{json}");
    } else {
        print_table(&report);
    }
    Ok(())
}

fn measure(
    arguments: &Arguments,
    afrd: &std::path::Path,
    interrupt: &Interrupt,
) -> anyhow::Result<Report> {
    let testpmd = find_testpmd()?;
    let mut place = Place::create()?;
    if let Err(error) = place.take_huge_pages(HUGE_PAGES_MIB) {
        eprintln!("no huge pages ({error:#}): measuring on ordinary memory");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let mut all = Vec::new();
    for scenario in &arguments.scenarios {
        let frames = Frames {
            flows: arguments.flows,
            bytes: arguments.bytes,
            metadata: scenario == "established",
            issued_at: u32::try_from(now)?,
        };
        let setup = Setup {
            place: &place,
            interrupt: interrupt.clone(),
            pcap: place.directory().join(format!("{scenario}.pcap")),
            worker_cpu: arguments.cpu,
            main_cpu: arguments.main_cpu,
            afrd: afrd.to_owned(),
            testpmd: testpmd.clone(),
            instances: arguments.instances,
            flow_capacity: (2 * arguments.flows).next_power_of_two().max(1 << 20),
            frames: arguments.flows,
            window: Duration::from_secs(arguments.seconds),
        };
        write_frames(&frames, &setup.pcap).context("cannot write the frames")?;
        let mut measured = Program::ALL.map(|program| (program, Vec::new()));
        for round in 0..arguments.rounds {
            for (program, pps) in &mut measured {
                let rate = setup.measure(*program, round)?;
                eprintln!(
                    "{scenario} round {}/{} {}: {:.2} Mpps",
                    round + 1,
                    arguments.rounds,
                    program.name(),
                    rate / 1e6
                );
                pps.push(rate);
            }
        }
        all.extend(runs(scenario, &measured, tsc_hz()));
    }
    Ok(Report {
        machine: processor(),
        runs: all,
    })
}

fn print_table(report: &Report) {
    println!("{}, one worker; medians", report.machine);
    println!(
        "{:<14} {:<16} {:>8} {:>16} {:>14}",
        "scenario", "program", "Mpps", "ratio to 5tswap", "cycles/packet"
    );
    for run in &report.runs {
        println!(
            "{:<14} {:<16} {:>8.2} {:>16.2} {:>14.0}",
            run.scenario, run.program, run.median, run.ratio_to_5tswap, run.cycles_per_packet
        );
    }
    println!("5tswap swaps addresses and ports: no look-up, no state, no encapsulation.");
}

fn cpuinfo(key: &str) -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split(':').nth(1)?.trim().to_owned())
}

fn processor() -> String {
    cpuinfo("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// The TSC's frequency, as near as the kernel tells without asking the hardware.
fn tsc_hz() -> f64 {
    let bogomips = cpuinfo("bogomips").and_then(|text| text.parse::<f64>().ok());
    bogomips.map_or(0.0, |mips| mips / 2.0 * 1e6)
}
