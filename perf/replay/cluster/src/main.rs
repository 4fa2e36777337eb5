//! `afr-replay`: a workload in virtual time, under each of several routers.

mod args;
mod dynamo;
mod policies;
mod simulate;
mod table;

use std::fs::{self, File};
use std::io::{BufReader, Write as _};
use std::time::Instant;

use afr_perf::trace::sessions::Sessions;
use afr_perf::trace::{Slice, mooncake};
use afr_replay::figures::{Run, Runs};
use afr_replay::workload::Workload;
use anyhow::{Context, Result};
use clap::Parser;

use args::Args;
use simulate::ClusterSize;

/// What is asked of a cluster to find out what it can serve: far more.
const FLOOD: f64 = 1_000.0;

/// Steps to the speed that makes a wanted rate, at the most, and how near is near enough.
const APPROACHES: usize = 6;
const NEAR: f64 = 1e-3;

impl Args {
    fn cluster(&self) -> ClusterSize {
        ClusterSize {
            instances: self.instances,
            kv_blocks: self.kv_blocks,
        }
    }

    /// The workload, arriving so many times as fast as by itself. Made-up sessions begin as much more often, and pause
    /// between their turns as long as ever.
    fn workload(&self, seed: u64, speed: f64) -> Result<Workload> {
        let (requests, name, own_block) = match &self.trace {
            Some(path) => {
                let file = File::open(path).with_context(|| format!("trace {}", path.display()))?;
                let file = BufReader::new(file);
                let requests = if self.as_is {
                    mooncake::read_as_is(file)?
                } else {
                    mooncake::read(file, seed)?
                };
                let name = path.file_stem().unwrap_or(path.as_os_str());
                // The first block of every conversation is the same.
                (requests, name.to_string_lossy().into_owned(), 1)
            }
            None => {
                let own = &self.sessions;
                let sessions = Sessions {
                    per_second: own.per_second * speed,
                    kinds: own.kinds.max(1),
                    system_tokens: own.system_tokens,
                    opening_tokens: own.opening_tokens,
                    growth_tokens: own.growth_tokens,
                    turns: own.turns,
                    ..Sessions::default()
                };
                let requests = sessions.generate(own.requests.min(self.take), seed);
                (requests, "sessions".to_owned(), sessions.own_block())
            }
        };
        let slice = Slice {
            skip: 0,
            take: self.take,
            rate: 1.0,
            max_input_tokens: u32::MAX,
            max_output_tokens: u32::MAX,
        };
        let workload = Workload::new(&name, &slice.of(requests), own_block);
        Ok(match self.trace {
            Some(_) => workload.sped_up(speed),
            None => workload,
        })
    }

    /// The speed at which so many requests arrive a second. Of sessions the first requests are few, because their later turns
    /// are still to come: it takes more sessions than it seems.
    fn speed_for(&self, rate_per_s: f64, own_rate: f64) -> Result<f64> {
        let mut speed = rate_per_s / own_rate;
        for _ in 0..APPROACHES {
            let off = rate_per_s / self.workload(1, speed)?.rate_per_s();
            if (off - 1.0).abs() < NEAR {
                break;
            }
            speed *= off;
        }
        Ok(speed)
    }

    fn policies(&self) -> Vec<&str> {
        if self.policies.iter().any(|name| name == "all") {
            policies::ALL.to_vec()
        } else {
            self.policies.iter().map(String::as_str).collect()
        }
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut out = std::io::stdout().lock();
    let first = args.workload(*args.seeds.first().context("no seed")?, 1.0)?;
    let own_rate = first.rate_per_s();
    if args.trace.is_none() {
        writeln!(out, "no trace is given: sessions are made up")?;
    }
    writeln!(
        out,
        "{}: {} requests, {own_rate:.3} a second at speed 1",
        first.name,
        first.jobs.len()
    )?;
    let (speeds, capacity) = if args.load.is_empty() {
        (args.speedup.clone(), None)
    } else {
        let capacity = capacity(&first, &args)?;
        writeln!(out, "capacity: {capacity:.2} requests a second")?;
        let speed = |load: &f64| args.speed_for(load * capacity, own_rate);
        let speeds = args.load.iter().map(speed).collect::<Result<_>>()?;
        (speeds, Some(capacity))
    };
    if let Some(directory) = args.json.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut json =
        File::create(&args.json).with_context(|| format!("results to {}", args.json.display()))?;
    for speed in speeds {
        let mut runs = Runs {
            workload: first.name.clone(),
            load: 0.0,
            rate_per_s: 0.0,
            instances: args.instances,
            runs: Vec::new(),
        };
        for seed in &args.seeds {
            let workload = args.workload(*seed, speed)?;
            runs.rate_per_s = workload.rate_per_s();
            runs.load = capacity.map_or(0.0, |capacity| runs.rate_per_s / capacity);
            for name in args.policies() {
                runs.runs.push(run(name, &workload, &args, *seed)?);
            }
        }
        writeln!(out, "{}", table::table(&runs))?;
        out.flush()?;
        serde_json::to_writer(&mut json, &runs)?;
        json.write_all(b"\n")?;
    }
    Ok(())
}

fn run(name: &str, workload: &Workload, args: &Args, seed: u64) -> Result<Run> {
    let begin = Instant::now();
    let (served, counts) = policies::run(name, workload, args, seed)
        .with_context(|| format!("router {name}, seed {seed}"))?;
    let mut run = Run::new(name, seed, workload.jobs.len(), &served, args.instances);
    run.wall_s = begin.elapsed().as_secs_f64();
    run.counts = counts.into_iter().collect();
    Ok(run)
}

/// What the cluster serves a second of this workload, all of which is there at once, under the oracle that saves most.
fn capacity(workload: &Workload, args: &Args) -> Result<f64> {
    let flood = workload.sped_up(FLOOD);
    let (served, _) = policies::run("oracle:4", &flood, args, 1)?;
    let ends = served
        .iter()
        .map(|served| served.arrival_ms + served.ttft_ms);
    let last_ms = ends.fold(1.0, f64::max);
    Ok(served.len() as f64 * 1_000.0 / last_ms)
}
