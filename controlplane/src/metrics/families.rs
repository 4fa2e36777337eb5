//! From figures to metric families.

use prometheus::TextEncoder;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

/// Families of one exposition, in the order in which they were begun.
#[derive(Debug, Default)]
pub(super) struct Families {
    families: Vec<MetricFamily>,
}

/// A family that is being filled.
pub(super) struct Family<'a> {
    family: &'a mut MetricFamily,
    kind: MetricType,
}

impl Families {
    /// A family of figures that only grow. `name` ends in `_total`.
    pub(super) fn counter(&mut self, name: &str, help: &str) -> Family<'_> {
        self.begin(name, help, MetricType::COUNTER)
    }

    /// A family of figures that go up and down.
    pub(super) fn gauge(&mut self, name: &str, help: &str) -> Family<'_> {
        self.begin(name, help, MetricType::GAUGE)
    }

    fn begin(&mut self, name: &str, help: &str, kind: MetricType) -> Family<'_> {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        self.families.push(family);
        let at = self.families.len() - 1;
        Family {
            family: &mut self.families[at],
            kind,
        }
    }

    /// The text exposition. Families without a figure are left out.
    pub(super) fn encode(mut self) -> Result<String, prometheus::Error> {
        self.families
            .retain(|family| !family.get_metric().is_empty());
        TextEncoder::new().encode_to_string(&self.families)
    }
}

impl Family<'_> {
    /// A figure under these labels.
    pub(super) fn at(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Self {
        let pair = |(name, value): &(&str, &str)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        };
        let mut metric = Metric::from_label(labels.iter().map(pair).collect());
        match self.kind {
            MetricType::COUNTER => {
                let mut counter = Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            _ => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
        }
        self.family.mut_metric().push(metric);
        self
    }

    /// The family's only figure.
    pub(super) fn only(&mut self, value: f64) {
        self.at(&[], value);
    }

    /// A figure of each, under one label.
    pub(super) fn each<L: AsRef<str>>(
        &mut self,
        label: &str,
        figures: impl IntoIterator<Item = (L, f64)>,
    ) {
        for (value, figure) in figures {
            self.at(&[(label, value.as_ref())], figure);
        }
    }
}

/// Microseconds as seconds.
pub(super) fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// 1 or 0.
pub(super) fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}
