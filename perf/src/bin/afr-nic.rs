//! `afrd` on PCI network cards of a QEMU guest: real frames, checked.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a command line's output

use std::process::ExitCode;

use afr_perf::lab::Interrupt;
use afr_perf::nic::{NicArgs, run};
use anyhow::Context;
use clap::Parser;

fn main() -> ExitCode {
    match test(&NicArgs::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("afr-nic: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether every check holds.
fn test(args: &NicArgs) -> anyhow::Result<bool> {
    let interrupt = Interrupt::on_signals().context("signal handlers")?;
    let results = run(args, &interrupt, &|line| eprintln!("{line}"))?;
    let mut all = true;
    for (model, checks) in results {
        println!("\n{model}");
        for check in checks {
            println!("{check}");
            all &= check.ok;
        }
    }
    Ok(all)
}
