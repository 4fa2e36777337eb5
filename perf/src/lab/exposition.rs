//! What `afrd` says about itself over HTTP, in Prometheus' text format.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::namespace::{Namespace, NamespaceError};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no exposition.
#[derive(Debug, thiserror::Error)]
pub enum ExpositionError {
    /// The namespace cannot be entered.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// Nobody answers.
    #[error("metrics at {from}: {source}")]
    Io {
        /// Where they were asked for.
        from: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The answer is not one of success.
    #[error("metrics: the answer starts with {0:?}")]
    Status(String),
    /// A line that is no sample.
    #[error("metrics: not a sample: {0:?}")]
    Line(String),
}

/// One sample.
#[derive(Clone, Debug, PartialEq)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// All samples of one reading.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exposition {
    text: String,
    samples: Vec<Sample>,
}

impl Exposition {
    /// Asks the program that listens on `from` inside `namespace`.
    ///
    /// # Errors
    ///
    /// [`ExpositionError`].
    pub fn fetch(namespace: &Namespace, from: SocketAddr) -> Result<Self, ExpositionError> {
        Self::answered(from, namespace.inside(|| get(from))?)
    }

    /// The same in the namespace that this thread is in.
    ///
    /// # Errors
    ///
    /// [`ExpositionError`].
    pub fn fetch_here(from: SocketAddr) -> Result<Self, ExpositionError> {
        Self::answered(from, get(from))
    }

    fn answered(from: SocketAddr, answer: io::Result<String>) -> Result<Self, ExpositionError> {
        let answer = answer.map_err(|source| ExpositionError::Io { from, source })?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.lines().next().unwrap_or_default();
        if status.split(' ').nth(1) != Some("200") {
            return Err(ExpositionError::Status(status.to_owned()));
        }
        Self::parse(body)
    }

    /// Reads the text format.
    ///
    /// # Errors
    ///
    /// [`ExpositionError::Line`].
    pub fn parse(text: &str) -> Result<Self, ExpositionError> {
        let lines = text.lines().filter(|line| !line.is_empty());
        let samples = lines
            .filter(|line| !line.starts_with('#'))
            .map(|line| sample(line).ok_or_else(|| ExpositionError::Line(line.to_owned())));
        Ok(Self {
            text: text.to_owned(),
            samples: samples.collect::<Result<_, _>>()?,
        })
    }

    /// The text as it came.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether there is a sample of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.samples.iter().any(|sample| sample.name == name)
    }

    /// The sum over the samples of this name that carry all these labels.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|sample| sample.value).sum()
    }

    /// The samples of this name that are not 0, by the value of one label.
    #[must_use]
    pub fn by(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut found = BTreeMap::new();
        for sample in self.matching(name, &[]).filter(|s| s.value != 0.0) {
            let key = sample.labels.get(label).cloned().unwrap_or_default();
            *found.entry(key).or_default() += sample.value;
        }
        found
    }

    fn matching<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        let carries = |sample: &Sample| {
            let mut labels = labels.iter();
            labels.all(|(key, value)| sample.labels.get(*key).is_some_and(|v| v == value))
        };
        let named = self.samples.iter().filter(move |s| s.name == name);
        named.filter(move |sample| carries(sample))
    }
}

/// Over HTTP/1.0, which ends the answer by closing the connection.
fn get(from: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&from, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// `name{label="value",…} value [timestamp]`
fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (key, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.insert(key.to_owned(), value);
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = rest.strip_prefix('}')?;
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// The text up to the closing quotation mark, and what comes after that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    loop {
        let (at, character) = characters.next()?;
        match character {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read_summed_and_grouped() {
        let text = "# HELP afr_x_total what\n# TYPE afr_x_total counter\n\
                    afr_x_total{worker=\"0\",reason=\"a \\\"b\\\", {c}\"} 3\n\
                    afr_x_total{worker=\"1\",reason=\"d\"} 4\n\
                    afr_x_total{worker=\"1\",reason=\"e\"} 0\n\nafr_y 1.5e3 1700000000\n";
        let read = Exposition::parse(text).unwrap();
        assert_eq!(read.sum("afr_x_total", &[]), 7.0);
        assert_eq!(read.sum("afr_x_total", &[("worker", "1")]), 4.0);
        assert_eq!(read.sum("afr_y", &[]), 1500.0);
        assert!(!read.has("afr_z"));
        let by = read.by("afr_x_total", "reason");
        assert_eq!(by.len(), 2);
        assert_eq!(by["a \"b\", {c}"], 3.0);
    }

    #[test]
    fn what_is_no_sample_is_refused_with_its_line() {
        for text in ["afr_x{a=\"b\" 3", "afr_x{a=\"b\"} three", "afr_x"] {
            let error = Exposition::parse(text).unwrap_err().to_string();
            assert!(error.contains("not a sample"), "{error}");
        }
    }
}
