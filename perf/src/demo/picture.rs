//! The picture: how long the first token took under each policy, and the figures as bars. Hand-written SVG.
//!
//! Policies differ by dashes and direct labels as well as by colour, so that a black-and-white print is legible.

use super::outcome::{Outcome, Policy};
use crate::svg::Svg;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 470.0;
/// The curves' frame: left, top, width, height.
const FRAME: (f64, f64, f64, f64) = (70.0, 70.0, 430.0, 310.0);
/// The first bar chart's left edge, and the pitch of charts.
const BARS_LEFT: f64 = 560.0;
const BARS_PITCH: (f64, f64) = (200.0, 165.0);
const BARS_SIZE: (f64, f64) = (170.0, 95.0);
/// Points of a curve.
const POINTS: usize = 200;

/// Colour and dashes of a policy.
const fn style(policy: Policy) -> (&'static str, &'static str) {
    match policy {
        Policy::Maglev => ("#9a3412", "2 4"),
        Policy::LeastLoad => ("#1d4ed8", "9 4"),
        Policy::Afr => ("#047857", "none"),
    }
}

/// Bars of one figure.
struct Chart {
    title: &'static str,
    value: fn(&Outcome) -> f64,
    decimals: usize,
}

const CHARTS: [Chart; 4] = [
    Chart {
        title: "TTFT mean, ms",
        value: |outcome| outcome.ttft_ms.mean,
        decimals: 0,
    },
    Chart {
        title: "TTFT p99, ms",
        value: |outcome| outcome.ttft_ms.p99,
        decimals: 0,
    },
    Chart {
        title: "prefill tokens saved, %",
        value: |outcome| outcome.prefill_saved * 100.0,
        decimals: 1,
    },
    Chart {
        title: "load imbalance (1 is even)",
        value: |outcome| outcome.imbalance,
        decimals: 2,
    },
];

/// Draws the outcomes; `caption` says what they rest on.
#[must_use]
pub fn draw(outcomes: &[Outcome], caption: &str) -> String {
    let mut svg = Svg::new(WIDTH, HEIGHT);
    svg.text(
        (FRAME.0, 28.0),
        "start",
        17,
        "Time to first token by dispatch policy",
    );
    svg.text((FRAME.0, 48.0), "start", 12, caption);
    curves(&mut svg, outcomes);
    for (at, chart) in CHARTS.iter().enumerate() {
        let left = BARS_LEFT + BARS_PITCH.0 * (at % 2) as f64;
        let top = FRAME.1 + 12.0 + BARS_PITCH.1 * (at / 2) as f64;
        svg.text((left, top - 8.0), "start", 13, chart.title);
        bars(&mut svg, (left, top), outcomes, chart);
    }
    legend(&mut svg, outcomes);
    svg.finish()
}

/// Share of requests whose first token came within so many milliseconds, time on a logarithmic axis.
fn curves(svg: &mut Svg, outcomes: &[Outcome]) {
    let (left, top, width, height) = FRAME;
    let all = || {
        outcomes
            .iter()
            .flat_map(|outcome| &outcome.samples_ms)
            .copied()
    };
    let Some(most) = all().reduce(f64::max) else {
        return;
    };
    let least = all().fold(most, f64::min).max(1.0);
    // Whole decades, at least one.
    let low = least.log10().floor() as i32;
    let high = (most.max(1.0).log10().ceil() as i32).max(low + 1);
    let (low, high) = (f64::from(low), f64::from(high));
    let x = |ms: f64| left + width * (ms.max(1.0).log10() - low) / (high - low);
    let y = |share: f64| top + height * (1.0 - share);
    for step in 0..=4 {
        let share = f64::from(step) / 4.0;
        svg.rule((left, y(share)), (left + width, y(share)));
        svg.text(
            (left - 8.0, y(share) + 4.0),
            "end",
            12,
            &format!("{:.0} %", share * 100.0),
        );
    }
    let mut decade = low;
    while decade <= high {
        let ms = 10_f64.powf(decade);
        svg.rule((x(ms), top), (x(ms), top + height));
        let label = if ms < 1_000.0 {
            format!("{ms:.0} ms")
        } else {
            format!("{:.0} s", ms / 1_000.0)
        };
        svg.text((x(ms), top + height + 18.0), "middle", 12, &label);
        decade += 1.0;
    }
    svg.text(
        (left, top + height + 38.0),
        "start",
        12,
        "share of requests whose first token came within this time",
    );
    for outcome in outcomes {
        let mut sorted = outcome.samples_ms.clone();
        sorted.sort_by(f64::total_cmp);
        let Some(last) = sorted.len().checked_sub(1) else {
            continue;
        };
        let points: Vec<_> = (0..=POINTS)
            .map(|point| {
                let share = point as f64 / POINTS as f64;
                let sample = sorted[(share * last as f64).round() as usize];
                (x(sample), y(share))
            })
            .collect();
        svg.curve(&points, style(outcome.policy));
    }
}

fn bars(svg: &mut Svg, (left, top): (f64, f64), outcomes: &[Outcome], chart: &Chart) {
    let Chart {
        value, decimals, ..
    } = chart;
    let (width, height) = BARS_SIZE;
    let most = outcomes
        .iter()
        .map(*value)
        .fold(f64::MIN_POSITIVE, f64::max);
    let pitch = width / outcomes.len().max(1) as f64;
    for (at, outcome) in outcomes.iter().enumerate() {
        let (colour, _) = style(outcome.policy);
        let tall = (height - 16.0) * value(outcome) / most;
        let (x, y) = (left + pitch * at as f64, top + height - tall);
        let wide = pitch * 0.7;
        svg.bar((x, y), (wide, tall), colour);
        let middle = x + wide / 2.0;
        svg.text(
            (middle, y - 4.0),
            "middle",
            12,
            &format!("{:.*}", *decimals, value(outcome)),
        );
        svg.text(
            (middle, top + height + 15.0),
            "middle",
            11,
            outcome.policy.name(),
        );
    }
    svg.rule((left, top + height), (left + width, top + height));
}

fn legend(svg: &mut Svg, outcomes: &[Outcome]) {
    let y = HEIGHT - 22.0;
    for (at, outcome) in outcomes.iter().enumerate() {
        let x = FRAME.0 + 290.0 * at as f64;
        svg.sample((x, y), 36.0, style(outcome.policy));
        svg.text((x + 44.0, y + 4.0), "start", 13, outcome.policy.title());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::outcome::tests::outcome;

    #[test]
    fn every_policy_has_a_curve_bars_and_a_legend() {
        let outcomes = [
            outcome(Policy::Maglev),
            outcome(Policy::LeastLoad),
            outcome(Policy::Afr),
        ];
        let svg = draw(&outcomes, "3 × 600 requests, a < b & c");
        assert_eq!(svg.matches("<polyline").count(), 3);
        assert_eq!(svg.matches("<rect").count(), 1 + 4 * 3);
        assert!(svg.contains("a &lt; b &amp; c"));
        for policy in [Policy::Maglev, Policy::LeastLoad, Policy::Afr] {
            assert!(svg.contains(policy.title()), "{policy:?}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn a_run_without_answers_draws_nothing_wrong() {
        let mut silent = outcome(Policy::Afr);
        silent.samples_ms.clear();
        let svg = draw(&[silent], "");
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}
