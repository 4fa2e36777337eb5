//! The result for people: tables in the terminal, and one page that holds everything.

use std::fmt::Write;

use super::chart;
use super::program::DISCLAIMER;
use super::report::{Report, Run};
use super::scenario::Scenario;
use super::sweep::Sweep;
use crate::svg::escaped;

const HOOKS: &str = "Measured on afrd-bench: afrd with bench hooks compiled in, which the ordinary afrd does not have. \
    reply-fresh: a report already seen counts as news to the worker, of a millisecond ago (a replayed one would be stale). swaps: the \
    control core changes made-up signatures by itself.";
const RECEIVED: &str = "The rate of the AFR is what it receives, for nothing leaves; that of testpmd is what it transmits.";
const COLUMNS: [&str; 7] = [
    "point",
    "program",
    "Mpps",
    "ratio to 5tswap",
    "target",
    "cycles/packet",
    "rounds",
];
/// Of the page.
const STYLE: &str = "body{font:15px/1.5 Helvetica,Arial,sans-serif;max-width:62em;margin:2em auto;padding:0 1em;color:#111}\
    table{border-collapse:collapse;margin:.6em 0}th,td{padding:.2em .8em;text-align:right;border-bottom:1px solid #ddd}\
    th:first-child,td:first-child{text-align:left}.afr td{font-weight:bold}.note{color:#555;font-size:13px}";

/// Tables for a terminal.
#[must_use]
pub fn terminal(report: &Report) -> String {
    let mut text = format!("{}\n", heading(report));
    for runs in sections(report) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "\n{}: {}", title(&runs[0]), about(&runs[0]));
        let rows = std::iter::once(COLUMNS.map(str::to_owned)).chain(runs.iter().map(cells));
        for [point, program, mpps, ratio, target, cycles, rounds] in rows {
            let point = if runs[0].sweep.is_some() {
                format!("{point:<10} ")
            } else {
                String::new()
            };
            let _ = writeln!(
                text,
                "  {point}{program:<16} {mpps:>8} {ratio:>16} {target:>8} {cycles:>14}  {rounds}"
            );
        }
        for note in notes(runs) {
            let _ = writeln!(text, "  {note}");
        }
    }
    for skipped in &report.skipped {
        let _ = writeln!(text, "\nleft out: {skipped}");
    }
    text
}

/// The pictures by name: one for each sweep measured.
#[must_use]
pub fn pictures(report: &Report) -> Vec<(&'static str, String)> {
    let sweeps = Sweep::ALL.into_iter().filter_map(|sweep| {
        let runs: Vec<_> = report
            .runs
            .iter()
            .filter(|run| run.sweep == Some(sweep.name()))
            .collect();
        let title = format!("Packets a second by {}", sweep.name());
        (!runs.is_empty()).then(|| (sweep.name(), chart::draw(&title, sweep.about(), &runs)))
    });
    sweeps.collect()
}

/// One page, nothing outside it.
#[must_use]
pub fn page(report: &Report) -> String {
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>AFR throughput</title>\
         <style>{STYLE}</style></head><body>\n<h1>Throughput of one AFR worker</h1>\n<p>{}</p>\n<p>{}</p>\n",
        escaped(&heading(report)),
        escaped(DISCLAIMER)
    );
    let pictures = pictures(report);
    let row = |cells: &[String], tag: &str| -> String {
        let cells = cells
            .iter()
            .map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell)));
        cells.collect()
    };
    for runs in sections(report) {
        let _ = writeln!(
            html,
            "<h2>{}</h2>\n<p>{}</p>",
            escaped(title(&runs[0])),
            escaped(&about(&runs[0]))
        );
        let picture = pictures
            .iter()
            .find(|(sweep, _)| runs[0].sweep == Some(sweep));
        html.push_str(picture.map_or("", |(_, svg)| svg));
        let skip = usize::from(runs[0].sweep.is_none());
        let head = COLUMNS.map(str::to_owned);
        let _ = writeln!(html, "<table>\n<tr>{}</tr>", row(&head[skip..], "th"));
        for run in runs {
            let _ = writeln!(
                html,
                "<tr class=\"{}\">{}</tr>",
                run.program,
                row(&cells(run)[skip..], "td")
            );
        }
        html.push_str("</table>\n");
        for note in notes(runs) {
            let _ = writeln!(html, "<p class=\"note\">{}</p>", escaped(&note));
        }
    }
    for skipped in &report.skipped {
        let _ = writeln!(html, "<p class=\"note\">Left out: {}</p>", escaped(skipped));
    }
    html.push_str("</body></html>\n");
    html
}

fn heading(report: &Report) -> String {
    format!(
        "{}; medians of slices of {:.0} ms, programs in turn, {} s of each in each of {} rounds, on the same core and frames \
         (net_pcap from memory, no NIC); packet buffers in {} pages.",
        report.machine,
        report.slice_s * 1e3,
        report.window_s,
        report.rounds,
        report.pages
    )
}

/// The runs by table: one for each scenario, one for each sweep.
fn sections(report: &Report) -> impl Iterator<Item = &[Run]> {
    report
        .runs
        .chunk_by(|one, next| one.sweep == next.sweep && title(one) == title(next))
}

fn title(run: &Run) -> &str {
    run.sweep.unwrap_or(&run.scenario)
}

fn about(run: &Run) -> String {
    if let Some(sweep) = run.sweep {
        return Sweep::named(sweep).map_or("", Sweep::about).to_owned();
    }
    format!(
        "{} ({} bytes, at least what the headers need; {} flows, {} instances)",
        Scenario::named(&run.scenario).map_or("", Scenario::about),
        run.bytes,
        run.flows,
        run.instances
    )
}

fn cells(run: &Run) -> [String; 7] {
    let rounds: Vec<_> = run.mpps.iter().map(|mpps| format!("{mpps:.2}")).collect();
    [
        run.point.clone().unwrap_or_default(),
        run.program.to_owned(),
        format!("{:.2}", run.median),
        if run.ratio_to_5tswap > 0.0 {
            format!("{:.2}", run.ratio_to_5tswap)
        } else {
            "–".to_owned()
        },
        run.target
            .map_or(String::new(), |target| format!("≥ {target:.2}")),
        format!("{:.0}", run.cycles_per_packet),
        rounds.join(" "),
    ]
}

fn notes(runs: &[Run]) -> Vec<String> {
    let mut notes = vec![DISCLAIMER.to_owned()];
    if runs.iter().any(|run| run.counts == "received") {
        notes.push(RECEIVED.to_owned());
    }
    if runs.iter().any(|run| run.bench_hooks) {
        notes.push(HOOKS.to_owned());
    }
    for run in runs.iter().filter(|run| run.target.is_some()) {
        if run.ratio_undisturbed > 0.0 {
            notes.push(format!(
                "In the quarter of slices in which 5tswap was fastest, and the machine least disturbed, the ratio was {:.2}.",
                run.ratio_undisturbed
            ));
        }
    }
    let swaps: Vec<_> = runs
        .iter()
        .filter_map(|run| Some(format!("{:.0}", run.swaps_per_s?)))
        .collect();
    if !swaps.is_empty() {
        notes.push(format!(
            "Swaps a second that there were, in order: {}.",
            swaps.join(", ")
        ));
    }
    if let [run] = runs
        .iter()
        .filter(|run| run.memory.is_some())
        .collect::<Vec<_>>()[..]
        && let Some(memory) = run.memory
    {
        let mib = |kib: u64| kib as f64 / 1_024.0;
        notes.push(format!(
            "Memory of the AFR: {:.1} MiB resident, {:.1} MiB after {:.0} million packets; packet buffers of {:.0} MiB in huge pages apart. \
             A worker's own tables: {:.1} MB; the rest is both copies of the AFT, what workers share, and the program.",
            mib(memory.before_kib),
            mib(memory.after_kib),
            memory.packets as f64 / 1e6,
            mib(memory.huge_kib),
            memory.worker_kib as f64 * 1_024.0 / 1e6,
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::measure::{Growth, Measured};
    use crate::bench::program::Program;
    use crate::bench::report::runs;
    use crate::bench::scenario::Case;

    fn report() -> Report {
        let measured = |pps| {
            vec![Measured {
                pps: vec![pps],
                swaps_per_s: Some(998.6),
                memory: Some(Growth {
                    packets: 1_000_900_000,
                    before_kib: 145_408,
                    after_kib: 145_920,
                    huge_kib: 65_536,
                    worker_kib: 100_000,
                }),
            }]
        };
        let of = [
            (Program::Afr, measured(5e6)),
            (Program::FiveTupleSwap, measured(10e6)),
        ];
        let mut all = Vec::new();
        for scenario in [Scenario::Plain, Scenario::BadMac, Scenario::ReplyFresh] {
            all.extend(runs(&Case::of(scenario), &of, 2e9));
        }
        for case in Sweep::Mac.cases(false) {
            all.extend(runs(&case, &of, 2e9));
        }
        Report {
            machine: "a <machine>".to_owned(),
            runs: all,
            skipped: vec!["two workers: no core".to_owned()],
            window_s: 1.0,
            slice_s: 0.05,
            rounds: 1,
            pages: "huge",
            reference: DISCLAIMER,
        }
    }

    #[test]
    fn every_table_says_what_5tswap_does_not_do_and_what_was_bent() {
        let text = terminal(&report());
        assert_eq!(text.matches("5tswap swaps").count(), 4);
        assert_eq!(text.matches(RECEIVED).count(), 1);
        assert!(text.matches(HOOKS).count() >= 1);
        assert!(text.contains("≥ 0.65") && text.contains("no core"));
        let memory =
            "142.0 MiB resident, 142.5 MiB after 1001 million packets; packet buffers of 64 MiB";
        assert!(text.contains(memory), "{text}");
        assert!(text.contains("own tables: 102.4 MB"), "{text}");
    }

    #[test]
    fn the_page_holds_tables_and_pictures_and_needs_nothing_else() {
        let html = page(&report());
        assert_eq!(html.matches("<table>").count(), 4);
        assert_eq!(html.matches("<svg").count(), 1);
        assert!(html.contains("a &lt;machine>"));
        let outside = html.matches("http").count() - html.matches("http://www.w3.org").count();
        assert_eq!(outside, 0);
    }
}
