//! `afr-replay`: a workload in virtual time, under each of several routers.

mod args;
mod dynamo;
mod engine;
mod policies;
mod runs;
mod simulate;
mod table;
mod workloads;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::Write as _;

use afr_replay::figures::Runs;
use afr_replay::page;
use anyhow::{Context, Result};
use clap::Parser;

use args::Args;

fn main() -> Result<()> {
    let args = Args::parse();
    let mut out = std::io::stdout().lock();
    fs::create_dir_all(&args.out)?;
    let create = |name: &str| {
        let path = args.out.join(name);
        File::create(&path).with_context(|| format!("results to {}", path.display()))
    };
    let (mut result, mut detail) = (create("result.json")?, create("detail.json")?);
    let mut all: Vec<Runs> = Vec::new();
    for kind in args.kinds()? {
        let mut capacity = None;
        for scenario in args.scenarios()? {
            writeln!(out, "{}", args.announce(kind, &scenario)?)?;
            let loads = args.loads(kind, &scenario, capacity)?;
            if let (Some(found), None) = (loads.capacity, capacity) {
                writeln!(out, "capacity, even: {found:.2} requests a second")?;
            }
            capacity = loads.capacity;
            for pace in &loads.paces {
                let runs = runs::all(&args, kind, &scenario, *pace, loads.capacity)?;
                writeln!(out, "{}", table::table(&runs))?;
                out.flush()?;
                serde_json::to_writer(&mut result, &runs.agreed())?;
                result.write_all(b"\n")?;
                serde_json::to_writer(&mut detail, &runs)?;
                detail.write_all(b"\n")?;
                all.push(runs);
            }
        }
    }
    let html = args.out.join("index.html");
    fs::write(&html, page::html(&all))?;
    writeln!(out, "\n{}", html.display())?;
    Ok(())
}
