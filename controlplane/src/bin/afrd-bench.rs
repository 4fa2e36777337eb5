//! `afrd` for the throughput harness: the same, with the bench hooks that the environment asks for.
//!
//! `AFR_BENCH_FRESH_REPORTS=1`: a report already seen counts as news of a millisecond ago. `AFR_BENCH_SWAPS=per_s=1000,signatures=1000000,
//! changes=500`: the control core changes made-up signatures by itself. `AFR_BENCH_LATENCY=FILE`: at the end, how many
//! packets took how many TSC cycles through a worker, as JSON.

#![expect(
    clippy::print_stderr,
    reason = "the errors of a start are for whoever started it"
)]

#[path = "afrd.rs"]
mod afrd;

use std::process::ExitCode;

use afr_dataplane::bench_hooks;

fn main() -> ExitCode {
    if std::env::var_os("AFR_BENCH_FRESH_REPORTS").is_some() {
        bench_hooks::take_seen_reports_for_news();
    }
    let latency = std::env::var_os("AFR_BENCH_LATENCY");
    if latency.is_some() {
        bench_hooks::time_rounds();
    }
    let ended = afrd::main();
    if let Some(file) = latency {
        let json = serde_json::json!({ "cycles": bench_hooks::histogram() });
        if let Err(error) = std::fs::write(&file, json.to_string()) {
            eprintln!("afrd-bench: {}: {error}", file.display());
            return ExitCode::FAILURE;
        }
    }
    ended
}
