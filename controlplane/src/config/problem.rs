//! What can be wrong with a configuration, and how it is told.

use std::fmt;
use std::path::PathBuf;

/// Why a value is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The file is not TOML.
    #[error("{message}")]
    Syntax {
        /// What the parser says.
        message: String,
    },
    /// The key means nothing here.
    #[error("no such key; there are {allowed}")]
    UnknownKey {
        /// The keys that do.
        allowed: String,
    },
    /// A key without default is missing.
    #[error("missing: expected {expected}")]
    Missing {
        /// What it takes.
        expected: String,
    },
    /// The value is of another kind, or out of its range.
    #[error("expected {expected}")]
    Expected {
        /// What the key takes.
        expected: String,
    },
    /// The value names something that is not in the file.
    #[error("no such {what}; there are {known}")]
    UnknownName {
        /// What kind of thing.
        what: &'static str,
        /// Those there are.
        known: String,
    },
    /// What must be given once is given twice.
    #[error("given before, in line {line}")]
    Duplicate {
        /// Where it is first.
        line: usize,
    },
    /// Two keys that exclude each other, or neither of two of which one must be given.
    #[error("expected exactly one of {keys}")]
    ExactlyOne {
        /// The keys.
        keys: &'static str,
    },
    /// More entries than there is room for.
    #[error("{count} entries; {limit} is {most}")]
    TooMany {
        /// How many there are.
        count: usize,
        /// The key that bounds them.
        limit: &'static str,
        /// Its value.
        most: usize,
    },
    /// Two labels of a catalogue have the same 16-bit hash, so that a request could not tell them apart.
    #[error(
        "has the 16-bit hash of {other:?} under this salt; expected a salt under which all differ"
    )]
    LabelCollision {
        /// The other label.
        other: String,
    },
    /// A file named in the configuration cannot be read.
    #[error("{path}: {reason}", path = path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: std::io::ErrorKind,
    },
    /// A file that holds a secret may be read by others than its owner.
    #[error("{path} has mode {mode:03o}; expected no access for group and others (chmod 600)", path = path.display())]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line of the file, from 1.
    pub line: usize,
    /// Path of the key, such as `instance[1].classes[0]`; empty for the file as a whole.
    pub key: String,
    /// The value as it is written, if there is one and it is no secret.
    pub value: Option<String>,
    /// What is wrong with it.
    pub fault: Fault,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.line)?;
        match (self.key.as_str(), &self.value) {
            ("", _) => write!(f, "{}", self.fault),
            (key, None) => write!(f, "{key}: {}", self.fault),
            (key, Some(value)) => write!(f, "{key} = {value}: {}", self.fault),
        }
    }
}

/// Everything that was found wrong with a file, in its order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.lines())]
pub struct Problems {
    /// The file's name, for the messages.
    pub file: PathBuf,
    /// At least one.
    pub problems: Vec<Problem>,
}

impl Problems {
    fn lines(&self) -> String {
        let lines = self.problems.iter();
        let lines = lines.map(|problem| format!("{}:{problem}", self.file.display()));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// `"a", "b", "c"`, or `none`: the names a message lists, bounded.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const MOST: usize = 24;
    let mut names: Vec<_> = names.into_iter().map(|name| format!("{name:?}")).collect();
    if names.is_empty() {
        return "none".to_owned();
    }
    if names.len() > MOST {
        names.truncate(MOST);
        names.push("…".to_owned());
    }
    names.join(", ")
}
