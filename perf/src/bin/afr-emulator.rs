//! `afr-emulator`: one emulated LLM inference instance.

use std::process::ExitCode;

use afr_perf::emulator::Emulator;
use afr_perf::emulator::args::EmulatorArgs;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

// One thread: the work is emulated, and several instances share a core.
#[tokio::main(flavor = "current_thread")]
#[allow(clippy::print_stderr)] // why it could not start
async fn main() -> ExitCode {
    match serve(&EmulatorArgs::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("afr-emulator: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(args: &EmulatorArgs) -> anyhow::Result<()> {
    // Before the ready line: whoever waits for it may stop the program at once.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let emulator = Emulator::bind(args)?;
    announce(args, &emulator);
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(emulator.run(stop).await?)
}

/// The one line on standard output, by which scripts know that the instance is up.
#[allow(clippy::print_stdout)]
fn announce(args: &EmulatorArgs, emulator: &Emulator) {
    let (id, address) = (args.instance_id, emulator.address());
    if args.json {
        let line = serde_json::json!({
            "ready": true, "instance": id, "listen": address, "pid": std::process::id(),
        });
        println!("{line}");
    } else {
        println!(
            "ready instance={id} listen={address} pid={}",
            std::process::id()
        );
    }
}
