//! Results as one HTML page, tables and plots, with nothing to load: legible on paper, in black and white too.
//!
//! | module | is |
//! |---|---|
//! | [`dots`] | routers side by side at one load |
//! | [`lines`] | routers over the load |
//! | [`scale`] | the logarithmic scale of both |

mod dots;
mod lines;
mod scale;

use std::fmt::Write as _;

use afr_perf::svg::escaped;

use crate::figures::{Run, Runs, mean_and_interval};

const STYLE: &str = "body{font-family:Helvetica,Arial,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#111}\
table{border-collapse:collapse;font-size:90%}td,th{padding:.2em .6em;text-align:right;border-bottom:1px solid #bbb}\
td:first-child,th:first-child{text-align:left}tr.own{font-weight:bold}svg{max-width:100%;height:auto}\
section{break-inside:avoid}@media print{body{margin:0;max-width:none}h2{break-before:page}}";

const ABOUT: &str = "Times to the first token in virtual time: the AFR's own dispatch and other routers' algorithms in the \
same simulated cluster. TTFT is from a request's arrival, retries included. Saved is the share of prompt tokens found in the \
engine's cache; imbalance the busiest instance's work over the mean, in windows of ten seconds. Rejected requests were never \
answered and are in no other figure; broken connections were asked again.";

/// A router's figures over its seeds.
pub(crate) struct Row {
    pub(crate) name: String,
    mean_ms: (f64, f64),
    pub(crate) p50_ms: f64,
    p90_ms: f64,
    pub(crate) p99_ms: f64,
    saved: f64,
    imbalance: f64,
    rejected: f64,
    misdispatched: f64,
    broken: f64,
}

impl Row {
    pub(crate) fn mean_ms(&self) -> f64 {
        self.mean_ms.0
    }

    /// Whether it is the AFR, of any policy.
    pub(crate) fn is_own(&self) -> bool {
        self.name.starts_with("afr")
    }
}

/// By router, in the order in which they ran.
pub(crate) fn rows(runs: &Runs) -> Vec<Row> {
    let mut names: Vec<&str> = Vec::new();
    for run in &runs.runs {
        if !names.contains(&run.policy.as_str()) {
            names.push(&run.policy);
        }
    }
    let row = |name: &str| {
        let of = |figure: &dyn Fn(&Run) -> f64| {
            let same = runs.runs.iter().filter(|run| run.policy == name);
            mean_and_interval(&same.map(figure).collect::<Vec<_>>())
        };
        Row {
            name: name.to_owned(),
            mean_ms: of(&|run| run.ttft_ms.mean),
            p50_ms: of(&|run| run.ttft_ms.p50).0,
            p90_ms: of(&|run| run.ttft_ms.p90).0,
            p99_ms: of(&|run| run.ttft_ms.p99).0,
            saved: of(&|run| run.prefill_saved).0,
            imbalance: of(&|run| run.imbalance).0,
            rejected: of(&|run| run.rejected as f64).0,
            misdispatched: of(&|run| run.misdispatched as f64).0,
            broken: of(&|run| run.broken as f64).0,
        }
    };
    names.into_iter().map(row).collect()
}

/// The page.
#[must_use]
pub fn html(all: &[Runs]) -> String {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Replay</title><style>{STYLE}</style>\n\
         <h1>Replay: which instance gets the request</h1>\n<p>{ABOUT}</p>\n"
    );
    let mut titles: Vec<String> = Vec::new();
    for runs in all {
        if !titles.contains(&runs.title()) {
            titles.push(runs.title());
        }
    }
    // Writing to a String cannot fail.
    for title in titles {
        let of: Vec<&Runs> = all.iter().filter(|runs| runs.title() == title).collect();
        let _ = writeln!(page, "<h2>{}</h2>", escaped(&title));
        if of.len() > 1 {
            let _ = writeln!(page, "<section>{}</section>", lines::draw(&of));
        }
        for runs in of {
            section(&mut page, runs);
        }
    }
    page.push_str("</html>\n");
    page
}

fn section(page: &mut String, runs: &Runs) {
    let rows = rows(runs);
    let load = if runs.load > 0.0 {
        format!("load {:.2}, ", runs.load)
    } else {
        String::new()
    };
    let seeds = runs.runs.len() / rows.len().max(1);
    let _ = writeln!(
        page,
        "<section><h3>{load}{:.1} requests a second, {} instances, {seeds} seed{}</h3>\n{}\n<table><tr><th>router<th>TTFT \
         mean, ms<th>p50<th>p90<th>p99<th>saved<th>imbalance<th>rejected<th>misdispatched<th>broken",
        runs.rate_per_s,
        runs.instances,
        if seeds == 1 { "" } else { "s" },
        dots::draw(&rows),
    );
    for row in &rows {
        let interval = if row.mean_ms.1 > 0.0 {
            format!(" ± {:.1}", row.mean_ms.1)
        } else {
            String::new()
        };
        let _ = writeln!(
            page,
            "<tr{}><td>{}<td>{:.1}{interval}<td>{:.0}<td>{:.0}<td>{:.0}<td>{:.1} %<td>{:.2}<td>{:.1}<td>{:.1}<td>{:.1}",
            if row.is_own() { " class=\"own\"" } else { "" },
            escaped(&row.name),
            row.mean_ms.0,
            row.p50_ms,
            row.p90_ms,
            row.p99_ms,
            100.0 * row.saved,
            row.imbalance,
            row.rejected,
            row.misdispatched,
            row.broken,
        );
    }
    page.push_str("</table></section>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Ttft;

    pub(super) fn runs(load: f64, means: &[(&str, f64)]) -> Runs {
        let run = |(policy, mean): &(&str, f64)| Run {
            policy: (*policy).to_owned(),
            ttft_ms: Ttft {
                mean: *mean,
                p50: mean / 2.0,
                p90: mean * 2.0,
                p99: mean * 8.0,
            },
            ..Run::default()
        };
        Runs {
            workload: "agents".to_owned(),
            scenario: "a < b".to_owned(),
            load,
            instances: 8,
            runs: means.iter().map(run).collect(),
            ..Runs::default()
        }
    }

    #[test]
    fn a_page_has_everything_once() {
        let all = [
            runs(
                0.5,
                &[
                    ("afr", 100.0),
                    ("afr", 120.0),
                    ("preble", 90.0),
                    ("preble", 95.0),
                ],
            ),
            runs(
                0.9,
                &[
                    ("afr", 200.0),
                    ("afr", 220.0),
                    ("preble", 250.0),
                    ("preble", 240.0),
                ],
            ),
        ];
        let page = html(&all);
        assert_eq!(page.matches("<h2>agents/a &lt; b</h2>").count(), 1);
        assert_eq!(
            page.matches("<svg").count(),
            3,
            "one over the load, one a load"
        );
        assert_eq!(page.matches("<table>").count(), 2);
        assert!(page.contains("load 0.90") && page.contains("2 seeds"));
        assert!(page.contains("<tr class=\"own\"><td>afr<td>110.0 ±"));
        assert!(!page.contains("NaN") && !page.contains("inf"));
        assert!(!html(&[runs(0.0, &[("afr", 0.0)])]).contains("NaN"));
        assert!(!html(&[]).contains("<h2>"));
    }
}
