//! What can be wrong, grouped by who is at fault: the sender's bytes, or our caller.

use thiserror::Error;

/// Why bytes are not an object. The first three are *no usable metadata*; the last is a drop.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseError {
    /// Somebody else's experiment under a shared code point: to be left alone.
    #[error("not agent-aware metadata (experiment identifier {found:04x?})")]
    NotOurs {
        /// The experiment identifier, `None` where there was no room for one.
        found: Option<u16>,
    },
    /// A version this crate does not know.
    #[error("unknown version {found}")]
    UnknownVersion {
        /// The version, 0–15.
        found: u8,
    },
    /// A kind this crate does not know.
    #[error("unknown kind {found}")]
    UnknownKind {
        /// The kind, 0–15.
        found: u8,
    },
    /// Ours, and broken.
    #[error("malformed at byte {offset}: {what}")]
    Malformed {
        /// Offset into the object of the field at fault.
        offset: usize,
        /// What is wrong there.
        what: Malformation,
    },
}

/// What is wrong with a malformed object.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Error)]
pub enum Malformation {
    /// The object ends before its fixed part does.
    #[error("{needed} bytes needed")]
    Truncated {
        /// Least length of an object of this kind.
        needed: usize,
    },
    /// The length is not the one that follows from the counts.
    #[error("length {found} where the counts ask for {expected}")]
    Length {
        /// Length computed from the counts.
        expected: usize,
        /// Length of the data.
        found: usize,
    },
    /// A count is over its limit.
    #[error("{found} {section} where at most {limit} may be")]
    TooMany {
        /// Which section.
        section: Section,
        /// The count.
        found: u8,
        /// The most there may be in this place.
        limit: u8,
    },
    /// Labels listed although the labels are a Bloom filter.
    #[error("{found} listed labels beside a Bloom filter")]
    LabelsBesideBloom {
        /// The count of labels.
        found: u8,
    },
    /// A signature of no prefix at all.
    #[error("prefix of depth 0")]
    DepthZero,
    /// The depths of a request's prefixes do not ascend strictly.
    #[error("depth {found} after depth {previous}")]
    DepthNotAscending {
        /// Depth of the prefix before.
        previous: u16,
        /// Depth at fault.
        found: u16,
    },
}

/// A section of variable length.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Error)]
pub enum Section {
    /// Label hashes of a request.
    #[error("labels")]
    Labels,
    /// Prefix signatures of a request.
    #[error("prefixes")]
    Prefixes,
    /// KV events of a report.
    #[error("events")]
    Events,
    /// Refused classes of a report.
    #[error("refusals")]
    Refusals,
}

/// Why a value could not be written.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Error)]
pub enum EmitError {
    /// The buffer is too short.
    #[error("{needed} bytes needed, room for {available}")]
    NoRoom {
        /// Bytes the value takes.
        needed: usize,
        /// Bytes the buffer has.
        available: usize,
    },
    /// A prefix of depth 0: no receiver would accept it.
    #[error("prefix of depth 0")]
    DepthZero,
    /// The depths of a request's prefixes do not ascend strictly: no receiver would accept them.
    #[error("depth {found} after depth {previous}")]
    DepthNotAscending {
        /// Depth of the prefix before.
        previous: u16,
        /// Depth at fault.
        found: u16,
    },
    /// An option or TLV counts its data in one byte.
    #[error("{found} bytes of data where an option holds at most 255")]
    DataTooLong {
        /// Length of the data.
        found: usize,
    },
}

/// Why an object could not be signed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Error)]
pub enum SignError {
    /// The bytes are not an object.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// A report where a request was to be signed, or the reverse.
    #[error("object of the other kind")]
    WrongKind,
    /// The object names no key, so it has no room for a MAC.
    #[error("key id 0 leaves no room for a MAC")]
    NoKeyId,
}
