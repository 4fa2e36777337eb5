//! The main job on real packets: one workload under three dispatch policies, one table, one picture.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a command line's output

use std::process::ExitCode;

use afr_perf::demo::{DemoArgs, Narrator, draw, play};
use afr_perf::lab::{Interrupt, clean};
use anyhow::Context;
use clap::Parser;

fn main() -> ExitCode {
    let args = DemoArgs::parse();
    match demo(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("afr-demo: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether every check holds.
fn demo(args: &DemoArgs) -> anyhow::Result<bool> {
    if args.clean {
        println!("{}", clean());
        return Ok(true);
    }
    let interrupt = Interrupt::on_signals().context("signal handlers")?;
    let narrator = Narrator::on_standard_error();
    let (results, caption) = play(args, &interrupt, &narrator)?;

    std::fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    let json = serde_json::to_string_pretty(&results)?;
    let (result, picture) = (args.out.join("result.json"), args.out.join("ttft.svg"));
    std::fs::write(&result, &json).with_context(|| result.display().to_string())?;
    std::fs::write(&picture, draw(&results.runs, &caption))
        .with_context(|| picture.display().to_string())?;

    if args.json {
        println!("{json}");
    } else {
        println!("\n{caption}\n\n{}\n", results.table());
        for check in &results.checks {
            println!(
                "{} {}",
                if check.ok { "ok    " } else { "FAILED" },
                check.name
            );
        }
        println!(
            "\npicture {}\nresult  {}",
            picture.display(),
            result.display()
        );
    }
    for check in results.checks.iter().filter(|check| !check.ok) {
        eprintln!("afr-demo: check failed: {}", check.name);
    }
    Ok(results.all_hold())
}
