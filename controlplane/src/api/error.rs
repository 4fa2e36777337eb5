//! Why a request was not answered.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Most names that a message lists of those there are.
const MOST_KNOWN: usize = 32;

/// Why a request was not answered. The message says what was wrong and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ApiError {
    /// The line is not a request.
    #[error(
        "not a request: {detail}; a request is one line such as {{\"v\":1,\"request\":{{\"command\":\"version\"}}}}"
    )]
    Malformed {
        /// What the parser says.
        detail: String,
    },
    /// The line is of another version.
    #[error("version {given} of the protocol is not spoken here; only {supported} is")]
    UnsupportedVersion {
        /// What came.
        given: u32,
        /// What is spoken.
        supported: u32,
    },
    /// The line is too long. The connection is closed.
    #[error("the line is longer than {most_bytes} bytes")]
    LineTooLong {
        /// What is allowed.
        most_bytes: usize,
    },
    /// There are too many connections. This one is closed.
    #[error("{most} connections are open already; close one, or try again")]
    TooManyConnections {
        /// What is allowed.
        most: usize,
    },
    /// Something that the request names does not exist.
    #[error("no {entity} is called {given:?}; {}", Known(.known, *.more))]
    Unknown {
        /// What sort of thing.
        entity: Entity,
        /// What the request calls it.
        given: String,
        /// What there is, or the first of it.
        known: Vec<String>,
        /// How many more there are.
        more: usize,
    },
    /// A field's value is not allowed.
    #[error("{field} = {given:?} is not allowed: {allowed}")]
    Invalid {
        /// Which field.
        field: String,
        /// What it was.
        given: String,
        /// What it may be.
        allowed: String,
    },
    /// The control core, or the configuration, refuses; nothing was changed.
    #[error("refused, and nothing was changed: {}", .reasons.join("; "))]
    Refused {
        /// Why, each by itself.
        reasons: Vec<String>,
    },
    /// The control core has too much to do already.
    #[error("the control core has {waiting} requests waiting; try again")]
    CoreBusy {
        /// How many.
        waiting: usize,
    },
    /// The control core did not answer.
    #[error("the control core did not answer within {after_ms} ms; does it still run?")]
    CoreSilent {
        /// Within this time, in milliseconds.
        after_ms: u64,
    },
    /// A worker did not answer.
    #[error(
        "worker {worker} did not answer within {after_ms} ms; is its CPU taken by something else?"
    )]
    WorkerSilent {
        /// Which one.
        worker: u16,
        /// Within this time, in milliseconds.
        after_ms: u64,
    },
    /// The request took too long as a whole.
    #[error("there was no answer within {after_ms} ms")]
    TimedOut {
        /// Within this time, in milliseconds.
        after_ms: u64,
    },
}

impl ApiError {
    /// There is no such thing among `known`.
    pub(crate) fn unknown(
        entity: Entity,
        given: impl Into<String>,
        known: impl Iterator<Item = String>,
    ) -> Self {
        let mut known: Vec<String> = known.collect();
        let more = known.len().saturating_sub(MOST_KNOWN);
        known.truncate(MOST_KNOWN);
        Self::Unknown {
            entity,
            given: given.into(),
            known,
            more,
        }
    }

    /// A field may not have that value.
    pub(crate) fn invalid(
        field: &str,
        given: impl fmt::Display,
        allowed: impl Into<String>,
    ) -> Self {
        Self::Invalid {
            field: field.to_owned(),
            given: given.to_string(),
            allowed: allowed.into(),
        }
    }
}

/// What a request can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entity {
    /// An instance.
    Instance,
    /// A class.
    Class,
    /// A label.
    Label,
    /// A version of the label catalogue.
    Catalogue,
    /// A worker.
    Worker,
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Instance => "instance",
            Self::Class => "class",
            Self::Label => "label",
            Self::Catalogue => "catalogue",
            Self::Worker => "worker",
        })
    }
}

/// Lists what there is.
struct Known<'a>(&'a [String], usize);

impl fmt::Display for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(known, more) = self;
        match (known.is_empty(), more) {
            (true, _) => f.write_str("there is none"),
            (false, 0) => write!(f, "there are: {}", known.join(", ")),
            (false, more) => write!(f, "there are: {}, and {more} more", known.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_there_is() {
        let names = |count: usize| (0..count).map(|n| format!("i{n}"));
        let message = |count| ApiError::unknown(Entity::Instance, "x", names(count)).to_string();
        assert_eq!(message(0), r#"no instance is called "x"; there is none"#);
        assert_eq!(
            message(2),
            r#"no instance is called "x"; there are: i0, i1"#
        );
        assert!(message(40).ends_with("i30, i31, and 8 more"));
    }
}
