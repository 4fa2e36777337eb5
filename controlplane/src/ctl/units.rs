//! Figures that are easy to read.

/// A count, thousands apart.
#[must_use]
pub fn count(figure: u64) -> String {
    let digits = figure.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time, with three digits or so.
#[must_use]
pub fn time(us: u64) -> String {
    let seconds = us as f64 / 1e6;
    match us {
        0..1_000 => format!("{us} us"),
        1_000..10_000 => format!("{:.2} ms", seconds * 1e3),
        10_000..100_000 => format!("{:.1} ms", seconds * 1e3),
        100_000..1_000_000 => format!("{:.0} ms", seconds * 1e3),
        1_000_000..60_000_000 => format!("{seconds:.1} s"),
        60_000_000..3_600_000_000 => {
            let seconds = us / 1_000_000;
            format!("{}m{:02}s", seconds / 60, seconds % 60)
        }
        _ => {
            let minutes = us / 60_000_000;
            format!("{}h{:02}m", minutes / 60, minutes % 60)
        }
    }
}

/// A rate or size by powers of a thousand, with three digits or so.
#[must_use]
pub fn scaled(figure: f64) -> String {
    const STEPS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let step = STEPS.iter().find(|(step, _)| figure >= *step);
    match step {
        None => format!("{figure:.0}"),
        Some((step, letter)) => {
            let digits = figure / step;
            let decimals = usize::from(digits < 100.0) + usize::from(digits < 10.0);
            format!("{digits:.decimals$} {letter}")
        }
    }
}

/// A share in percent.
#[must_use]
pub fn percent(ratio: f64) -> String {
    format!("{:.0}%", ratio * 100.0)
}

/// What there is of something, or a dash.
#[must_use]
pub fn or_dash(text: Option<String>) -> String {
    text.filter(|text| !text.is_empty())
        .unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_their_thousands_apart() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ];
        for (figure, text) in cases {
            assert_eq!(count(figure), text);
        }
    }

    #[test]
    fn times_take_their_unit() {
        let cases = [
            (0, "0 us"),
            (1_234, "1.23 ms"),
            (12_345, "12.3 ms"),
            (123_456, "123 ms"),
            (1_234_567, "1.2 s"),
            (61_000_000, "1m01s"),
            (7_260_000_000, "2h01m"),
        ];
        for (us, text) in cases {
            assert_eq!(time(us), text);
        }
    }

    #[test]
    fn rates_take_their_letter() {
        let cases = [
            (0.0, "0"),
            (999.0, "999"),
            (1_234.0, "1.23 k"),
            (12_345.0, "12.3 k"),
            (123_456.0, "123 k"),
            (2.5e9, "2.50 G"),
        ];
        for (figure, text) in cases {
            assert_eq!(scaled(figure), text);
        }
    }
}
