//! Routers side by side at one load: median, mean and 99th percentile on one logarithmic scale.

use afr_perf::svg::Svg;

use super::Row;
use super::scale::{Scale, time};

const WIDTH: f64 = 720.0;
const LEFT: f64 = 120.0;
const RIGHT: f64 = 640.0;
const TOP: f64 = 56.0;
const STEP: f64 = 22.0;
/// The AFR's colour, and everybody else's: told apart on paper by the bar behind the AFR.
const COLOURS: (&str, &str) = ("#047857", "#374151");

pub(super) fn draw(rows: &[Row]) -> String {
    let height = TOP + STEP * rows.len() as f64 + 30.0;
    let mut svg = Svg::new(WIDTH, height);
    let values = rows
        .iter()
        .flat_map(|row| [row.p50_ms, row.mean_ms(), row.p99_ms]);
    let scale = Scale::over(values, LEFT, RIGHT);
    svg.text(
        (LEFT, 16.0),
        "start",
        12,
        "TTFT: small mark median, dot mean, bar 99th percentile",
    );
    let bottom = TOP + STEP * rows.len() as f64;
    for mark in scale.marks() {
        svg.rule((scale.at(mark), TOP - 8.0), (scale.at(mark), bottom));
        svg.text((scale.at(mark), TOP - 14.0), "middle", 11, &time(mark));
    }
    for (at, row) in rows.iter().enumerate() {
        let y = TOP + STEP * (at as f64 + 0.5);
        let colour = if row.is_own() { COLOURS.0 } else { COLOURS.1 };
        if row.is_own() {
            svg.bar((0.0, y - STEP / 2.0), (WIDTH, STEP), "#e8f3ee");
        }
        svg.text((LEFT - 10.0, y + 4.0), "end", 12, &row.name);
        let [median, mean, most] = [row.p50_ms, row.mean_ms(), row.p99_ms].map(|ms| scale.at(ms));
        svg.bar((median, y - 0.5), ((most - median).max(0.0), 1.0), colour);
        svg.bar((median - 1.5, y - 1.5), (3.0, 3.0), colour);
        svg.bar((most - 1.0, y - 6.0), (2.0, 12.0), colour);
        svg.dot((mean, y), colour);
        svg.text((RIGHT + 8.0, y + 4.0), "start", 11, &time(row.mean_ms()));
    }
    svg.finish()
}

#[cfg(test)]
mod tests {
    use super::super::{rows, tests::runs};
    use super::*;

    #[test]
    fn every_router_has_a_row_and_a_dot() {
        let rows = rows(&runs(
            1.0,
            &[("afr", 50.0), ("preble", 90.0), ("maglev", 900.0)],
        ));
        let svg = draw(&rows);
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(svg.contains(">maglev<") && svg.contains(">900 ms<"));
    }
}
