//! Routers over the load: the mean time to the first token, each curve named at its end and dashed in its own way.

use afr_perf::svg::Svg;

use super::scale::{Scale, time};
use super::{Row, rows};
use crate::figures::Runs;

const SIZE: (f64, f64) = (720.0, 420.0);
/// Left, top, right, bottom of the curves' frame.
const FRAME: (f64, f64, f64, f64) = (70.0, 40.0, 560.0, 370.0);
/// Least distance between two names.
const APART: f64 = 14.0;
const DASHES: [&str; 7] = [
    "7 3",
    "2 3",
    "10 3 2 3",
    "5 5",
    "1 4",
    "12 4",
    "8 2 2 2 2 2",
];
const GREYS: [&str; 3] = ["#1f2937", "#6b7280", "#9a3412"];

pub(super) fn draw(of: &[&Runs]) -> String {
    let (left, top, right, bottom) = FRAME;
    let mut svg = Svg::new(SIZE.0, SIZE.1);
    svg.text((left, 18.0), "start", 13, "Mean TTFT over the load");
    let columns: Vec<(f64, Vec<Row>)> = of.iter().map(|runs| (x_value(runs), rows(runs))).collect();
    let values = columns
        .iter()
        .flat_map(|(_, rows)| rows.iter().map(Row::mean_ms));
    let scale = Scale::over(values, bottom, top);
    for mark in scale.marks() {
        svg.rule((left, scale.at(mark)), (right, scale.at(mark)));
        svg.text((left - 6.0, scale.at(mark) + 4.0), "end", 11, &time(mark));
    }
    let loads = || columns.iter().map(|(load, _)| *load);
    let (least, most) = (
        loads().fold(f64::INFINITY, f64::min),
        loads().fold(0.0, f64::max),
    );
    let x =
        |load: f64| left + 15.0 + (load - least) / (most - least).max(1e-9) * (right - left - 30.0);
    for load in loads() {
        svg.text(
            (x(load), bottom + 18.0),
            "middle",
            11,
            &format!("{load:.2}"),
        );
    }
    let mut names: Vec<&str> = Vec::new();
    for row in columns.iter().flat_map(|(_, rows)| rows) {
        if !names.contains(&row.name.as_str()) {
            names.push(&row.name);
        }
    }
    let mut ends: Vec<(f64, &str)> = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let point = |(load, rows): &(f64, Vec<Row>)| {
            let row = rows.iter().find(|row| row.name == *name)?;
            Some((x(*load), scale.at(row.mean_ms())))
        };
        let mut curve: Vec<(f64, f64)> = columns.iter().filter_map(point).collect();
        curve.sort_by(|a, b| a.0.total_cmp(&b.0));
        let style = style(name, at);
        svg.curve(&curve, style);
        curve.iter().for_each(|dot| svg.dot(*dot, style.0));
        if let Some(end) = curve.last() {
            ends.push((end.1, name));
        }
    }
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    for ((y, name), label_y) in ends.iter().zip(apart(&ends)) {
        svg.rule((right - 10.0, *y), (right + 12.0, label_y));
        svg.text((right + 16.0, label_y + 4.0), "start", 12, name);
    }
    svg.finish()
}

/// Where names go, from above: beside their curves' ends, or as near as leaves room for all.
fn apart(ends: &[(f64, &str)]) -> Vec<f64> {
    let mut places: Vec<f64> = ends.iter().map(|(y, _)| *y).collect();
    for at in 1..places.len() {
        places[at] = places[at].max(places[at - 1] + APART);
    }
    let mut lowest = SIZE.1 - 8.0;
    for place in places.iter_mut().rev() {
        *place = place.min(lowest);
        lowest = *place - APART;
    }
    places
}

/// The load, or requests a second where it is not known.
fn x_value(runs: &Runs) -> f64 {
    if runs.load > 0.0 {
        runs.load
    } else {
        runs.rate_per_s
    }
}

fn style(name: &str, at: usize) -> (&'static str, &'static str) {
    match name {
        "afr" => ("#047857", "none"),
        "oracle" => ("#1d4ed8", "none"),
        _ => (GREYS[at % GREYS.len()], DASHES[at % DASHES.len()]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::runs;
    use super::*;

    #[test]
    fn every_router_has_a_curve_and_names_do_not_touch() {
        let means = |mean| {
            [
                ("afr", mean),
                ("preble", mean + 0.1),
                ("oracle", mean + 0.2),
            ]
        };
        let (low, high) = (runs(0.3, &means(50.0)), runs(0.9, &means(200.0)));
        let svg = draw(&[&low, &high]);
        assert_eq!(svg.matches("<polyline").count(), 3);
        let place = |name: &str| -> f64 {
            let line = svg
                .lines()
                .find(|line| line.contains(&format!(">{name}<")))
                .unwrap();
            let (_, y) = line.split_once(" y=\"").unwrap();
            y.split_once('"').unwrap().0.parse().unwrap()
        };
        let mut places = ["afr", "preble", "oracle"].map(place);
        places.sort_by(f64::total_cmp);
        assert!(
            places
                .windows(2)
                .all(|pair| pair[1] - pair[0] >= APART - 0.11)
        );
    }
}
