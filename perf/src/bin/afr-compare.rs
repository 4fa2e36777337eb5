//! The AFR against real routers: one workload, one machine, in turn.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a command line's output

use std::process::ExitCode;

use afr_perf::compare::{CompareArgs, compare, tables};
use afr_perf::demo::Narrator;
use afr_perf::lab::{Interrupt, clean};
use anyhow::Context;
use clap::Parser;

fn main() -> ExitCode {
    let args = CompareArgs::parse();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("afr-compare: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether every request was answered where no limit was sought.
fn run(args: &CompareArgs) -> anyhow::Result<bool> {
    if args.clean {
        println!("{}", clean());
        return Ok(true);
    }
    let interrupt = Interrupt::on_signals().context("signal handlers")?;
    let comparison = compare(args, &interrupt, &Narrator::on_standard_error())?;
    std::fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    let json = serde_json::to_string_pretty(&comparison)?;
    let result = args.out.join("result.json");
    std::fs::write(&result, &json).with_context(|| result.display().to_string())?;
    if args.json {
        println!("{json}");
    } else {
        println!("\n{}\nresult {}", tables(&comparison), result.display());
    }
    let broken = comparison.broken();
    if broken > 0 {
        eprintln!("afr-compare: {broken} requests broken");
    }
    Ok(broken == 0)
}
