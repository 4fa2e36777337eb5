//! Columns of text.

/// On which side of its column a cell stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Figures.
    Right,
}

use Align::{Left, Right};

/// A table: a line of headings, a line a row, columns as wide as their widest cell and two spaces apart.
#[derive(Debug, Clone)]
pub struct Table {
    headings: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows. Headings that begin with `>` are those of figures, which stand right.
    #[must_use]
    pub fn new(headings: &[&'static str]) -> Self {
        let heading = |text: &&'static str| match text.strip_prefix('>') {
            Some(text) => (text, Right),
            None => (*text, Left),
        };
        Self {
            headings: headings.iter().map(heading).collect(),
            rows: Vec::new(),
        }
    }

    /// Another row. Cells that are missing are empty.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The lines; of a table without rows `empty` alone.
    #[must_use]
    pub fn lines(&self, empty: &str) -> String {
        if self.rows.is_empty() {
            return format!("{empty}\n");
        }
        let width_of = |at: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(at));
            let cells = cells.map(|cell| cell.chars().count());
            cells.chain([self.headings[at].0.chars().count()]).max()
        };
        let widths: Vec<usize> = (0..self.headings.len())
            .map(|at| width_of(at).unwrap_or(0))
            .collect();
        let mut text = String::new();
        let headings = self.headings.iter().map(|(heading, _)| *heading);
        self.line(&mut text, &widths, headings);
        for row in &self.rows {
            self.line(&mut text, &widths, row.iter().map(String::as_str));
        }
        text
    }

    fn line<'a>(&self, text: &mut String, widths: &[usize], cells: impl Iterator<Item = &'a str>) {
        let mut line = String::new();
        for ((cell, width), (_, align)) in cells.zip(widths).zip(&self.headings) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            line.push_str(&match align {
                Left => format!("{cell:<width$}"),
                Right => format!("{cell:>width$}"),
            });
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

/// Names and values, one a line, the values below each other.
#[must_use]
pub fn list(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.chars().count()).max();
    let width = width.unwrap_or(0) + 2;
    let line = |(name, value): &(&str, String)| {
        let line = format!("{name:<width$}{value}");
        format!("{}\n", line.trim_end())
    };
    pairs.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let mut table = Table::new(&["NAME", ">COUNT", "NOTE"]);
        table.row(vec!["é".to_owned(), "1,000,000".to_owned(), "a".to_owned()]);
        table.row(vec!["longer".to_owned(), "2".to_owned()]);
        assert_eq!(
            table.lines("none"),
            "NAME        COUNT  NOTE\né       1,000,000  a\nlonger          2\n"
        );
    }

    #[test]
    fn an_empty_table_says_so() {
        assert_eq!(Table::new(&["A"]).lines("no flows"), "no flows\n");
    }

    #[test]
    fn lists_are_aligned() {
        let pairs = [("a", "1".to_owned()), ("long", String::new())];
        assert_eq!(list(&pairs), "a     1\nlong\n");
    }
}
