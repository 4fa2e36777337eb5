//! A sweep as a picture: packets a second of each program over the points.
//!
//! Programs differ by dashes as well as by colour, so that a black-and-white print is legible.

use super::program::Program;
use super::report::Run;
use crate::svg::Svg;

const SIZE: (f64, f64) = (720.0, 360.0);
/// Left, top, width, height of the curves' frame.
const FRAME: (f64, f64, f64, f64) = (60.0, 56.0, 620.0, 220.0);
const STEPS: u32 = 4;

const fn style(program: Program) -> (&'static str, &'static str) {
    match program {
        Program::Afr => ("#047857", "none"),
        Program::Io => ("#6b7280", "2 4"),
        Program::MacSwap => ("#9a3412", "6 3 2 3"),
        Program::FiveTupleSwap => ("#1d4ed8", "9 4"),
    }
}

/// Draws the runs of one sweep.
#[must_use]
pub(super) fn draw(title: &str, about: &str, runs: &[&Run]) -> String {
    let mut svg = Svg::new(SIZE.0, SIZE.1);
    let (left, top, width, height) = FRAME;
    svg.text((left, 22.0), "start", 16, title);
    svg.text((left, 40.0), "start", 11, about);
    let mut points: Vec<&str> = Vec::new();
    for point in runs.iter().filter_map(|run| run.point.as_deref()) {
        if !points.contains(&point) {
            points.push(point);
        }
    }
    let most = runs.iter().map(|run| run.median).fold(1.0, f64::max);
    let gaps = points.len().saturating_sub(1).max(1) as f64;
    let x = |at: usize| left + 20.0 + (width - 40.0) * at as f64 / gaps;
    let y = |mpps: f64| top + height * (1.0 - mpps / most);
    for step in 0..=STEPS {
        let mpps = most * f64::from(step) / f64::from(STEPS);
        svg.rule((left, y(mpps)), (left + width, y(mpps)));
        svg.text(
            (left - 6.0, y(mpps) + 4.0),
            "end",
            11,
            &format!("{mpps:.1}"),
        );
    }
    svg.text((left - 6.0, top - 6.0), "end", 11, "Mpps");
    for (at, point) in points.iter().enumerate() {
        svg.text((x(at), top + height + 18.0), "middle", 11, point);
    }
    for (n, program) in Program::ALL.into_iter().enumerate() {
        let of = |at: usize| {
            runs.iter()
                .find(|run| {
                    run.program == program.name() && run.point.as_deref() == Some(points[at])
                })
                .map(|run| (x(at), y(run.median)))
        };
        let curve: Vec<_> = (0..points.len()).filter_map(of).collect();
        if curve.is_empty() {
            continue;
        }
        svg.curve(&curve, style(program));
        curve.iter().for_each(|dot| svg.dot(*dot, style(program).0));
        let legend = (left + 155.0 * n as f64, SIZE.1 - 24.0);
        svg.sample(legend, 30.0, style(program));
        svg.text(
            (legend.0 + 36.0, legend.1 + 4.0),
            "start",
            12,
            program.name(),
        );
    }
    svg.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::measure::Measured;
    use crate::bench::report::runs;
    use crate::bench::sweep::Sweep;

    #[test]
    fn every_program_has_a_curve_and_every_point_a_name() {
        let measured = |pps| {
            vec![Measured {
                pps: vec![pps],
                swaps_per_s: None,
                memory: None,
            }]
        };
        let of = [(Program::Afr, measured(5e6)), (Program::Io, measured(9e6))];
        let all: Vec<_> = Sweep::Mac
            .cases(false)
            .iter()
            .flat_map(|case| runs(case, &of, 2e9))
            .collect();
        let svg = draw("mac", "a < b", &all.iter().collect::<Vec<_>>());
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert_eq!(svg.matches("<circle").count(), 6);
        assert!(svg.contains("SipHash") && svg.contains("a &lt; b"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        assert!(!draw("", "", &[]).contains("NaN"));
    }
}
