//! A logarithmic scale of milliseconds.

/// From the least to the greatest value, with room.
#[derive(Copy, Clone, Debug)]
pub(super) struct Scale {
    least: f64,
    greatest: f64,
    from: f64,
    to: f64,
}

/// Below this nothing is told apart.
const LEAST_MS: f64 = 0.1;

impl Scale {
    /// One on which these values are, from one place to another.
    pub(super) fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut least, mut greatest) = (f64::INFINITY, LEAST_MS);
        for value in values {
            least = least.min(value.max(LEAST_MS));
            greatest = greatest.max(value);
        }
        let least = if least.is_finite() { least } else { LEAST_MS };
        Self {
            least: least / 1.2,
            greatest: greatest.max(2.0 * least) * 1.2,
            from,
            to,
        }
    }

    /// Where a value is.
    pub(super) fn at(&self, value: f64) -> f64 {
        let share = (value.max(LEAST_MS) / self.least).ln() / (self.greatest / self.least).ln();
        self.from + share * (self.to - self.from)
    }

    /// Values to mark: 1, 2 and 5 of each power of ten.
    pub(super) fn marks(&self) -> impl Iterator<Item = f64> + use<> {
        let (least, greatest) = (self.least, self.greatest);
        let powers = (-1..8).map(|power| 10.0_f64.powi(power));
        let marks = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * power));
        marks.filter(move |mark| (least..=greatest).contains(mark))
    }
}

/// A time for people.
pub(super) fn time(ms: f64) -> String {
    if ms >= 10_000.0 {
        format!("{:.0} s", ms / 1_000.0)
    } else if ms >= 1_000.0 {
        format!("{:.1} s", ms / 1_000.0)
    } else if ms >= 10.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{ms:.1} ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_inside_and_order_is_kept() {
        let scale = Scale::over([20.0, 4_000.0].into_iter(), 100.0, 500.0);
        assert!(scale.at(20.0) > 100.0 && scale.at(4_000.0) < 500.0);
        assert!(scale.at(200.0) < scale.at(201.0));
        let marks: Vec<f64> = scale.marks().collect();
        assert_eq!(marks, [20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0]);
        assert_eq!(
            [time(8.0), time(83.4), time(1_250.0)],
            ["8.0 ms", "83 ms", "1.2 s"]
        );
        let none = Scale::over(std::iter::empty(), 0.0, 1.0);
        assert!(none.at(1.0).is_finite());
    }
}
