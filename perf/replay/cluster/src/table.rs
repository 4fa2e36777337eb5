//! Results for people.

use std::fmt::Write as _;

use afr_replay::figures::{Run, Runs, mean_and_interval};

/// A table of means over seeds, with 95 % confidence intervals of the mean TTFT.
pub(crate) fn table(runs: &Runs) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "\n{}: {:.2} requests/s, load {:.2}, {} instances\n{:<15} {:>17} {:>7} {:>8} {:>8} {:>7} {:>9} {:>10} {:>7}",
        runs.title(),
        runs.rate_per_s,
        runs.load,
        runs.instances,
        "router",
        "TTFT mean ms",
        "p50",
        "p90",
        "p99",
        "saved %",
        "imbalance",
        "thrown out",
        "wall s",
    );
    let mut names: Vec<&str> = Vec::new();
    for run in &runs.runs {
        if !names.contains(&run.policy.as_str()) {
            names.push(&run.policy);
        }
    }
    for name in names {
        let of = |figure: &dyn Fn(&Run) -> f64| {
            let same = runs.runs.iter().filter(|run| run.policy == name);
            mean_and_interval(&same.map(figure).collect::<Vec<_>>())
        };
        let (mean, half) = of(&|run| run.ttft_ms.mean);
        let _ = write!(
            text,
            "{name:<15} {mean:>9.1} ±{half:>6.1} {:>7.0} {:>8.0} {:>8.0} {:>7.2} {:>9.3} {:>10.0} {:>7.1}",
            of(&|run| run.ttft_ms.p50).0,
            of(&|run| run.ttft_ms.p90).0,
            of(&|run| run.ttft_ms.p99).0,
            100.0 * of(&|run| run.prefill_saved).0,
            of(&|run| run.imbalance).0,
            of(&|run| run.counts.get("readmissions").copied().unwrap_or_default()).0,
            of(&|run| run.wall_s).0,
        );
        let rejected = of(&|run| run.rejected as f64).0;
        let others = [
            (rejected, "rejected"),
            (of(&|run| run.misdispatched as f64).0, "misdispatched"),
            (of(&|run| run.broken as f64).0, "broken"),
        ];
        for (count, what) in others {
            if count > 0.0 {
                let _ = write!(text, "  {what} {count:.1}");
            }
        }
        text.push('\n');
    }
    text
}
