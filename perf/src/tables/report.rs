//! The result, as a table and as JSON.

use std::fmt::Write;

use serde::Serialize;

use super::contender::Which;

/// What one key took, over the passes.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Figure {
    /// TSC cycles in the best pass.
    pub best_cycles: f64,
    /// TSC cycles in the median pass.
    pub median_cycles: f64,
    /// Nanoseconds in the best pass.
    pub best_ns: f64,
    /// Nanoseconds in the median pass.
    pub median_ns: f64,
}

impl Figure {
    /// From the passes' cycles a key; `hz` ticks a second.
    #[must_use]
    pub fn of(passes: &[f64], hz: u64) -> Self {
        let mut sorted = passes.to_vec();
        sorted.sort_by(f64::total_cmp);
        let best = sorted.first().copied().unwrap_or(f64::NAN);
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN);
        let ns = |cycles: f64| cycles * 1e9 / hz as f64;
        Self {
            best_cycles: best,
            median_cycles: median,
            best_ns: ns(best),
            median_ns: ns(median),
        }
    }
}

/// One table with one number of flows.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Which.
    pub table: &'static str,
    /// Flows in it.
    pub flows: u32,
    /// An insertion into a table that fills up.
    pub insert: Figure,
    /// A look-up, all keys having a flow.
    pub hit: Figure,
    /// A look-up, every tenth key having none.
    pub miss: Figure,
    /// Bytes of memory, the flow's state included.
    pub bytes_per_flow: f64,
    /// Bytes that came on huge pages, of DPDK or transparent, when the table was made and filled; more than above where a
    /// page is not used up.
    pub huge_bytes_per_flow: f64,
}

/// All that was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The processor.
    pub machine: String,
    /// DPDK's release.
    pub dpdk: String,
    /// TSC ticks a second.
    pub tsc_hz: u64,
    /// Whether `rte_hash` has huge pages of DPDK's own.
    pub dpdk_huge_pages: bool,
    /// Passes of each figure.
    pub passes: usize,
    /// The tables.
    pub rows: Vec<Row>,
}

impl Report {
    /// A table for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!(
            "{}, {}, TSC {:.2} GHz; rte_hash {}; a key: best (median) of {} passes\n\n",
            self.machine,
            self.dpdk,
            self.tsc_hz as f64 / 1e9,
            if self.dpdk_huge_pages {
                "on huge pages"
            } else {
                "on 4 KiB pages: no huge pages were to be had"
            },
            self.passes,
        );
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{:>8}  {:<17} {:>20} {:>15} {:>20} {:>15} {:>13} {:>7} {:>6}",
            "flows",
            "table",
            "hit, cycles",
            "ns",
            "10 % miss, cycles",
            "ns",
            "insert, ns",
            "B/flow",
            "huge"
        );
        for row in &self.rows {
            let cycles = |f: &Figure| format!("{:.0} ({:.0})", f.best_cycles, f.median_cycles);
            let ns = |f: &Figure| format!("{:.1} ({:.1})", f.best_ns, f.median_ns);
            let share = (row.huge_bytes_per_flow / row.bytes_per_flow).min(1.0);
            let _ = writeln!(
                text,
                "{:>8}  {:<17} {:>20} {:>15} {:>20} {:>15} {:>13} {:>7.0} {:>5.0}%",
                row.flows,
                row.table,
                cycles(&row.hit),
                ns(&row.hit),
                cycles(&row.miss),
                ns(&row.miss),
                format!("{:.0} ({:.0})", row.insert.best_ns, row.insert.median_ns),
                row.bytes_per_flow,
                100.0 * share,
            );
        }
        text.push('\n');
        for which in Which::ALL {
            let _ = writeln!(text, "{:<17} {}", which.name(), which.about());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_best_and_the_median_in_both_units() {
        let figure = Figure::of(&[50.0, 20.0, 90.0], 2_000_000_000);
        assert_eq!((figure.best_cycles, figure.median_cycles), (20.0, 50.0));
        assert_eq!((figure.best_ns, figure.median_ns), (10.0, 25.0));
    }
}
