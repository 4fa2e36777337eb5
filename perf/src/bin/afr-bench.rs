//! Measures one worker of `afrd` beside `dpdk-testpmd` on the same frames.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a command line's output

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use afr_perf::bench::frames::Size;
use afr_perf::bench::measure::{Bench, write_for_others};
use afr_perf::bench::ndr::{NdrArguments, percentiles};
use afr_perf::bench::place::Place;
use afr_perf::bench::program::{Cpus, Files, Program};
use afr_perf::bench::report::Report;
use afr_perf::bench::run::{Plan, estimate, measure};
use afr_perf::bench::scenario::{Case, Scenario};
use afr_perf::bench::sweep::Sweep;
use afr_perf::bench::table;
use afr_perf::lab::Interrupt;
use anyhow::{Context, ensure};
use clap::{Parser, Subcommand};

const OUTPUT: &str = "target/bench";

/// Packets a second of one worker, beside dpdk-testpmd on the same frames, core and minutes.
///
/// The frames come from memory (net_pcap, infinite_rx), what leaves is counted and dropped. All programs are started, and all
/// but one are halted at any time: they take turns of 50 ms, so that what else goes on in the machine meets all alike. testpmd's 5tswap swaps
/// addresses and ports; it does no look-up, keeps no state and encapsulates nothing. A sample of each case's frames is
/// checked byte by byte first, and the AFR's counters must say that the packets took the way the name says.
///
/// Results: tables on standard output, target/bench/throughput.json, target/bench/*.svg, target/bench/index.html.
#[derive(Debug, Parser)]
#[command(version, after_help = after_help(), args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Special>,
    /// What to measure; again for more. Without --scenario and --sweep: everything.
    #[arg(long = "scenario", value_name = "NAME", value_parser = scenario)]
    scenarios: Vec<Scenario>,
    /// What to vary; again for more.
    #[arg(long = "sweep", value_name = "NAME", value_parser = sweep)]
    sweeps: Vec<Sweep>,
    /// The nine scenarios that have a target and a small sweep, one round each: under three minutes.
    #[arg(long)]
    quick: bool,
    /// What to run; again for more. Without testpmd-5tswap there are no ratios. [default: all four]
    #[arg(long = "program", value_name = "NAME", value_parser = program)]
    programs: Vec<Program>,
    /// Rounds; each starts every program, and then they take turns. [default: 3, quick: 1]
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of a round that each program is looked at, after warming up. [default: 2, quick: 1]
    #[arg(long)]
    seconds: Option<f64>,
    /// Flows, in place of the scenarios' own.
    #[arg(long)]
    flows: Option<usize>,
    /// Bytes of a frame without frame check sequence, likewise.
    #[arg(long)]
    bytes: Option<usize>,
    /// Instances, likewise.
    #[arg(long)]
    instances: Option<usize>,
    /// What sessions are made from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// CPUs of the measured workers, the first for one worker. [default: the first two besides --main-cpu]
    #[arg(long = "cpu", value_name = "CPUS", value_delimiter = ',')]
    cpus: Vec<u32>,
    /// CPU of everything else.
    #[arg(long, default_value_t = 0)]
    main_cpu: u32,
    /// Measure two workers even where no CPU is to spare for the second: it shares one with the main thread.
    #[arg(long)]
    force: bool,
    /// Print the result as JSON in place of tables.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Special {
    /// The rate without loss (NDR) and with as good as none (PDR), with a generator of yours.
    Ndr(NdrArguments),
    /// Writes a scenario's frames as a capture file, and beside it (.toml) the configuration of the AFR that they are for:
    /// for a generator of yours. Requests are fresh for an hour.
    Frames {
        /// The scenario.
        #[arg(value_parser = scenario)]
        scenario: Scenario,
        /// The capture file.
        file: PathBuf,
        /// Flows, in place of the scenario's own.
        #[arg(long)]
        flows: Option<usize>,
    },
    /// Percentiles of the time packets took through a worker: AFR_BENCH_LATENCY=FILE afrd-bench afrd.toml writes FILE
    /// at its end.
    Latency {
        /// The file.
        file: PathBuf,
    },
}

fn after_help() -> String {
    let mut text = "Scenarios:\n".to_owned();
    for one in Scenario::ALL {
        text += &format!("  {:<22} {}\n", one.name(), one.about());
    }
    text += "\nSweeps:\n";
    for one in Sweep::ALL {
        text += &format!("  {:<22} {}\n", one.name(), one.about());
    }
    text += "\nExamples:\n  afr-bench --quick\n  afr-bench --scenario established --scenario plain --rounds 5\n  \
             afr-bench --sweep flows --seconds 4\n  afr-bench --scenario established --flows 65536 --json";
    text
}

fn scenario(name: &str) -> Result<Scenario, String> {
    Scenario::named(name).ok_or_else(|| {
        let names: Vec<_> = Scenario::ALL.iter().map(|one| one.name()).collect();
        format!("none of {}", names.join(", "))
    })
}

fn program(name: &str) -> Result<Program, String> {
    let mut all = Program::ALL.into_iter();
    all.find(|one| one.name() == name).ok_or_else(|| {
        let names: Vec<_> = Program::ALL.iter().map(|one| one.name()).collect();
        format!("none of {}", names.join(", "))
    })
}

fn sweep(name: &str) -> Result<Sweep, String> {
    Sweep::named(name).ok_or_else(|| {
        let names: Vec<_> = Sweep::ALL.iter().map(|one| one.name()).collect();
        format!("none of {}", names.join(", "))
    })
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match &arguments.command {
        None => throughput(&arguments),
        Some(Special::Ndr(ndr)) => search(ndr),
        Some(Special::Frames {
            scenario,
            file,
            flows,
        }) => {
            let mut case = Case::of(*scenario);
            case.frames.flows = flows.unwrap_or(case.frames.flows);
            let written = write_for_others(&case, file)?;
            println!("{}, {}", file.display(), written.display());
            Ok(())
        }
        Some(Special::Latency { file }) => {
            println!("{}", percentiles(file)?.text());
            Ok(())
        }
    }
}

fn search(ndr: &NdrArguments) -> anyhow::Result<()> {
    let interrupt = Interrupt::on_signals().context("signal handlers")?;
    let outcome = ndr.run(&interrupt, |line| eprintln!("{line}"))?;
    let json = serde_json::to_string_pretty(&outcome)?;
    fs::create_dir_all(OUTPUT).with_context(|| format!("cannot make {OUTPUT}"))?;
    fs::write(Path::new(OUTPUT).join("ndr.json"), &json).context("target/bench/ndr.json")?;
    if ndr.json {
        println!("{json}");
    } else {
        print!("{}", outcome.text());
    }
    Ok(())
}

fn throughput(arguments: &Arguments) -> anyhow::Result<()> {
    let plan = plan(arguments);
    let default_window = if arguments.quick { 1.0 } else { 2.0 };
    let seconds = arguments.seconds.unwrap_or(default_window);
    let window = Duration::try_from_secs_f64(seconds).context("--seconds")?;
    let output = Path::new(OUTPUT);
    fs::create_dir_all(output).with_context(|| format!("cannot make {OUTPUT}"))?;
    let interrupt = Interrupt::on_signals().context("signal handlers")?;
    let files = Files::find()?;
    let mut place = Place::create()?;
    let mut bench = Bench {
        place: &mut place,
        interrupt,
        files,
        cpus: Cpus::choose(&arguments.cpus, arguments.main_cpu, arguments.force)?,
        window,
        no_huge_pages: false,
        tell: |line| eprintln!("{line}"),
    };
    eprintln!(
        "{} cases, {} rounds of {seconds} s: about {} minutes",
        plan.cases.len(),
        plan.rounds,
        estimate(&plan, window).as_secs().div_ceil(60)
    );
    let keep = |report: &Report| {
        if let Err(error) = write(report, output) {
            eprintln!("{error:#}");
        }
    };
    let (report, failed) = measure(&plan, &mut bench, keep)?;
    write(&report, output)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", table::terminal(&report));
        println!("\n{OUTPUT}/throughput.json, {OUTPUT}/index.html");
    }
    ensure!(
        failed.is_empty(),
        "{} of {} cases failed:\n{}",
        failed.len(),
        plan.cases.len(),
        failed
            .iter()
            .map(|error| format!("  {error:#}\n"))
            .collect::<String>()
    );
    Ok(())
}

fn plan(arguments: &Arguments) -> Plan {
    let quick = arguments.quick;
    let everything = arguments.scenarios.is_empty() && arguments.sweeps.is_empty();
    let (scenarios, sweeps): (&[_], &[_]) = match (everything, quick) {
        (false, _) => (&arguments.scenarios, &arguments.sweeps),
        (true, true) => (&Scenario::QUICK, &[Sweep::Size]),
        (true, false) => (&Scenario::ALL, &Sweep::ALL),
    };
    let mut cases: Vec<_> = scenarios.iter().map(|one| Case::of(*one)).collect();
    for sweep in sweeps {
        cases.extend(sweep.cases(quick));
    }
    for case in &mut cases {
        let frames = &mut case.frames;
        frames.seed = arguments.seed;
        if case.point.is_none() {
            frames.flows = arguments.flows.unwrap_or(frames.flows);
            frames.instances = arguments.instances.unwrap_or(frames.instances);
            if let Some(bytes) = arguments.bytes {
                frames.size = Size::Bytes(bytes);
            }
        }
    }
    Plan {
        cases,
        rounds: arguments.rounds.unwrap_or(if quick { 1 } else { 3 }).max(1),
        programs: if arguments.programs.is_empty() {
            Program::ALL.to_vec()
        } else {
            arguments.programs.clone()
        },
        forced: arguments.force,
    }
}

/// Writes what there is so far.
fn write(report: &Report, output: &Path) -> anyhow::Result<()> {
    let put = |name: &str, text: &str| {
        fs::write(output.join(name), text).with_context(|| format!("cannot write {OUTPUT}/{name}"))
    };
    put("throughput.json", &serde_json::to_string_pretty(report)?)?;
    for (name, svg) in table::pictures(report) {
        put(&format!("{name}.svg"), &svg)?;
    }
    put("index.html", &table::page(report))
}
