//! Results for people.

use super::outcome::{Comparison, Measured};
use super::reading::{Cpu, Reading};
use crate::columns::align;

/// All tables, each under what it says.
#[must_use]
pub fn tables(comparison: &Comparison) -> String {
    let whole = |one: &Measured| one.latency.as_ref().map(|latency| latency.whole.clone());
    let tables = [
        (
            format!(
                "First token where engines answer at once, {} requests a second, in ms (signatures included; + over the \
                 kernel alone on the same wires)",
                comparison.latency_rate
            ),
            latency(comparison),
        ),
        (
            format!(
                "Processor seconds of a thousand requests, at {} requests a second",
                comparison.latency_rate
            ),
            cpu(comparison, whole),
        ),
        (
            format!(
                "Highest rate held where engines answer at once: 99 % have their first token within {} ms of their arrival",
                comparison.within_ms
            ),
            rate(comparison),
        ),
        (
            "Processor seconds of a thousand requests, at the highest rate held".to_owned(),
            cpu(comparison, |one| {
                Some(one.rate.as_ref()?.highest()?.reading.clone())
            }),
        ),
        (
            format!(
                "Replay where engines take their time ({})",
                comparison.replay
            ),
            replay(comparison),
        ),
        (
            "Processor seconds of a thousand requests, in the replay".to_owned(),
            cpu(comparison, |one| one.ttft.clone()),
        ),
    ];
    let filled = tables.into_iter().filter(|(_, rows)| rows.len() > 1);
    let shown: Vec<String> = filled
        .map(|(title, rows)| format!("{title}\n\n{}\n", align(&rows)))
        .collect();
    shown.join("\n")
}

type Row = Vec<String>;

fn row<const N: usize>(cells: [&str; N]) -> Row {
    cells.map(str::to_owned).to_vec()
}

fn latency(comparison: &Comparison) -> Vec<Row> {
    let header = [
        "in the middle",
        "short p50",
        "short p99",
        "whole p50",
        "whole p99",
        "signatures us",
    ];
    let mut rows = vec![row(header)];
    for one in &comparison.contenders {
        let Some(latency) = &one.latency else {
            continue;
        };
        let base = Some(one.contender.baseline()).filter(|base| *base != one.contender);
        let base = base.and_then(|base| comparison.of(base)?.latency.as_ref());
        let cell = |of: fn(&Reading) -> f64, reading: &Reading, base: Option<&Reading>| {
            let own = of(reading);
            base.map_or_else(
                || format!("{own:.2}"),
                |base| format!("{own:.2} ({:+.2})", own - of(base)),
            )
        };
        let p50 = |reading: &Reading| reading.first_token_ms.p50;
        let p99 = |reading: &Reading| reading.first_token_ms.p99;
        let (short, whole) = (base.map(|base| &base.short), base.map(|base| &base.whole));
        let signatures = latency.whole.signatures_us;
        rows.push(row([
            &one.contender.title(),
            &cell(p50, &latency.short, short),
            &cell(p99, &latency.short, short),
            &cell(p50, &latency.whole, whole),
            &cell(p99, &latency.whole, whole),
            &signatures.map_or_else(|| "-".to_owned(), |us| format!("{:.0}", us.p50)),
        ]));
    }
    rows
}

fn cpu(comparison: &Comparison, of: impl Fn(&Measured) -> Option<Reading>) -> Vec<Row> {
    let header = [
        "in the middle",
        "it",
        "of it busy",
        "signatures",
        "engines",
        "client",
        "all",
    ];
    let mut rows = vec![row(header)];
    for one in &comparison.contenders {
        let Some(reading) = of(one) else {
            continue;
        };
        let Cpu {
            middle_s,
            engines_s,
            client_s,
        } = reading.cpu;
        let base = Some(one.contender.baseline()).filter(|base| *base != one.contender);
        let base = base.and_then(|base| of(comparison.of(base)?));
        let all = reading.cpu.all_s();
        let more = base.map(|base| format!(" ({:+.3})", all - base.cpu.all_s()));
        let or_none = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), seconds);
        let own = (!one.contender.is_direct()).then_some(middle_s);
        let busy = reading.afr.and_then(|afr| afr.busy_s);
        // The median, for others' time on the same processor is in the mean.
        let signatures = reading.signatures_us.map(|us| us.p50 / 1_000.0);
        rows.push(row([
            &one.contender.title(),
            &or_none(own),
            &or_none(busy),
            &or_none(signatures),
            &seconds(engines_s),
            &seconds(client_s),
            &format!("{}{}", seconds(all), more.unwrap_or_default()),
        ]));
    }
    rows
}

fn seconds(seconds: f64) -> String {
    format!("{seconds:.3}")
}

fn rate(comparison: &Comparison) -> Vec<Row> {
    let held = |contender| comparison.of(contender)?.rate.as_ref()?.held_per_s;
    let mut rows = vec![row([
        "in the middle",
        "requests/s",
        "of kernel alone",
        "p50 ms",
        "p99 ms",
        "and beyond",
    ])];
    for one in &comparison.contenders {
        let Some(rate) = &one.rate else {
            continue;
        };
        let base = held(one.contender.baseline());
        let held = rate.held_per_s.unwrap_or_default();
        let share = base.map(|base| format!("{:.0} %", held / base * 100.0));
        let at = rate.highest().map(|step| step.reading.from_arrival_ms);
        let ms = |ms: Option<f64>| ms.map_or_else(String::new, |ms| format!("{ms:.1}"));
        let beyond = rate.steps.iter().filter(|step| step.per_s > held);
        let beyond = beyond.filter_map(|step| Some((step.per_s, step.not_held.clone()?)));
        let beyond = beyond.min_by(|a, b| a.0.total_cmp(&b.0));
        let beyond = beyond.map(|(per_s, why)| format!("{per_s:.0}/s: {why}"));
        rows.push(row([
            &one.contender.title(),
            &format!("{held:.0}"),
            &share.unwrap_or_default(),
            &ms(at.map(|at| at.p50)),
            &ms(at.map(|at| at.p99)),
            &beyond.unwrap_or_default(),
        ]));
    }
    rows
}

fn replay(comparison: &Comparison) -> Vec<Row> {
    let header = [
        "in the middle",
        "TTFT mean ms",
        "p50 ms",
        "p99 ms",
        "prefill saved",
        "imbalance",
        "broken",
    ];
    let mut rows = vec![row(header)];
    for one in &comparison.contenders {
        let Some(reading) = &one.ttft else {
            continue;
        };
        let ms = reading.first_token_ms;
        rows.push(row([
            &one.contender.title(),
            &format!("{:.0}", ms.mean),
            &format!("{:.0}", ms.p50),
            &format!("{:.0}", ms.p99),
            &format!("{:.1} %", reading.prefill_saved * 100.0),
            &format!("{:.2}", reading.imbalance),
            &reading.broken.to_string(),
        ]));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Contender;
    use crate::compare::outcome::tests::reading;
    use crate::compare::outcome::{Latency, Machine, Rate, Step};

    fn measured(contender: Contender, ms: f64) -> Measured {
        let step = |per_s: f64, not_held: Option<&str>| Step {
            per_s,
            not_held: not_held.map(str::to_owned),
            reading: reading(ms),
        };
        Measured {
            contender,
            version: None,
            latency: Some(Latency {
                short: reading(ms),
                whole: reading(2.0 * ms),
            }),
            rate: Some(Rate {
                held_per_s: Some(100.0 * ms),
                steps: vec![
                    step(100.0 * ms, None),
                    step(1_600.0, Some("far")),
                    step(800.0, Some("near")),
                ],
            }),
            ttft: (contender != Contender::DirectBare).then(|| reading(ms)),
        }
    }

    #[test]
    fn everybody_is_held_against_the_kernel_on_the_same_wires() {
        let comparison = Comparison {
            machine: Machine {
                cpus: 2,
                model: None,
            },
            seed: 1,
            instances: 5,
            latency_rate: 50.0,
            within_ms: 50.0,
            replay: "a trace".to_owned(),
            contenders: vec![
                measured(Contender::Direct, 1.0),
                measured(Contender::DirectBare, 2.0),
                measured(Contender::Afr, 3.0),
                measured(Contender::Smg, 4.0),
            ],
        };
        let shown = tables(&comparison);
        let lines = |title: &str| shown.lines().filter(|line| line.starts_with(title)).count();
        assert_eq!(
            (lines("AFR"), lines("direct, no offloads")),
            (6, 4),
            "{shown}"
        );
        for (who, expected) in [
            (
                "AFR",
                ["3.00 (+1.00)", "6.00 (+2.00)", "150 %", "800/s: near"],
            ),
            (
                "smg",
                ["4.00 (+3.00)", "8.00 (+6.00)", "400 %", "800/s: near"],
            ),
        ] {
            let own: Vec<_> = shown.lines().filter(|line| line.starts_with(who)).collect();
            for cell in expected {
                assert!(
                    own.iter().any(|line| line.contains(cell)),
                    "{cell}: {own:?}"
                );
            }
        }
        assert!(!shown.contains("NaN"));
    }
}
