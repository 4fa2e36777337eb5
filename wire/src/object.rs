//! The head that both kinds share, and the choice between them.

use crate::{
    CatalogueVersion, EXID, HEAD_LEN, KeyId, MAC_LEN, MAX_EVENTS_DATAGRAM, MAX_EVENTS_IN_BAND,
    Malformation, ParseError, ReportView, RequestView, VERSION,
};

/// What the data of an option, a TLV or a datagram are.
#[derive(Copy, Clone, Debug)]
pub enum Object<'a> {
    /// What a client asks for.
    Request(RequestView<'a>),
    /// How an instance is.
    Report(ReportView<'a>),
}

/// Where an object was found: it decides how many events a report may hold.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In an extension header.
    InBand,
    /// The payload of a datagram.
    Datagram,
}

impl Place {
    /// Most events of a report in this place.
    #[inline]
    pub const fn max_events(self) -> usize {
        match self {
            Self::InBand => MAX_EVENTS_IN_BAND,
            Self::Datagram => MAX_EVENTS_DATAGRAM,
        }
    }
}

impl<'a> Object<'a> {
    /// Checks everything there is to check in `data`, once: the accessors of the view cannot fail.
    ///
    /// Bytes that pad a section, reserved bytes and unknown flags are not checked.
    ///
    /// # Errors
    ///
    /// [`ParseError::NotOurs`], [`ParseError::UnknownVersion`] and [`ParseError::UnknownKind`] are
    /// told from as few bytes as each needs, so that a later version with another layout is named
    /// as such; everything else is [`ParseError::Malformed`] with the offset of the field.
    #[inline]
    pub fn parse(data: &'a [u8], place: Place) -> Result<Self, ParseError> {
        match kind(data)? {
            Kind::Request => RequestView::parse(data).map(Self::Request),
            Kind::Report => ReportView::parse(data, place).map(Self::Report),
        }
    }

    /// The whole object, as it was given to [`Object::parse`].
    #[inline]
    pub const fn as_bytes(&self) -> &'a [u8] {
        match self {
            Self::Request(view) => view.as_bytes(),
            Self::Report(view) => view.as_bytes(),
        }
    }

    /// Entry of the key ring that the object claims to be signed with.
    #[inline]
    pub const fn key_id(&self) -> KeyId {
        match self {
            Self::Request(view) => view.key_id(),
            Self::Report(view) => view.key_id(),
        }
    }

    /// Version of the label catalogue that the object was made for.
    #[inline]
    pub const fn catalogue(&self) -> CatalogueVersion {
        match self {
            Self::Request(view) => view.catalogue(),
            Self::Report(view) => view.catalogue(),
        }
    }
}

/// The kinds of version 1, by their number on the wire.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request = 1,
    Report = 2,
}

/// Offsets in the common head.
pub(crate) mod head {
    pub(crate) const FLAGS: usize = 3;
    pub(crate) const KEY_ID: usize = 4;
    pub(crate) const CATALOGUE: usize = 6;
}

#[inline]
pub(crate) fn kind(data: &[u8]) -> Result<Kind, ParseError> {
    let Some((exid, rest)) = data.split_first_chunk() else {
        return Err(ParseError::NotOurs { found: None });
    };
    let exid = u16::from_be_bytes(*exid);
    if exid != EXID {
        return Err(ParseError::NotOurs { found: Some(exid) });
    }
    let Some(&version_kind) = rest.first() else {
        return Err(truncated(data, HEAD_LEN));
    };
    if version_kind >> 4 != VERSION {
        return Err(ParseError::UnknownVersion {
            found: version_kind >> 4,
        });
    }
    match version_kind & 0x0f {
        1 => Ok(Kind::Request),
        2 => Ok(Kind::Report),
        found => Err(ParseError::UnknownKind { found }),
    }
}

/// The head of an object about to be written.
pub(crate) fn emit_head(
    kind: Kind,
    flags: u8,
    key_id: KeyId,
    catalogue: CatalogueVersion,
) -> [u8; HEAD_LEN] {
    let [exid_high, exid_low] = EXID.to_be_bytes();
    let [key_high, key_low] = key_id.0.to_be_bytes();
    let [catalogue_high, catalogue_low] = catalogue.0.to_be_bytes();
    let version_kind = VERSION << 4 | kind as u8;
    [
        exid_high,
        exid_low,
        version_kind,
        flags,
        key_high,
        key_low,
        catalogue_high,
        catalogue_low,
    ]
}

/// Length of the MAC that an object with this key id ends in.
#[inline]
pub(crate) const fn mac_len(key_id: KeyId) -> usize {
    if key_id.has_mac() { MAC_LEN } else { 0 }
}

/// A section of `length` bytes padded to the next multiple of 4.
#[inline]
pub(crate) const fn padded(length: usize) -> usize {
    length.next_multiple_of(4)
}

#[cold]
pub(crate) fn truncated(data: &[u8], needed: usize) -> ParseError {
    ParseError::Malformed {
        offset: data.len(),
        what: Malformation::Truncated { needed },
    }
}

#[cold]
pub(crate) fn wrong_length(data: &[u8], expected: usize) -> ParseError {
    let found = data.len();
    ParseError::Malformed {
        offset: found.min(expected),
        what: Malformation::Length { expected, found },
    }
}

/// Reads two bytes at a constant offset of a fixed part.
#[inline(always)]
pub(crate) const fn be16<const N: usize>(fixed: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([fixed[at], fixed[at + 1]])
}

/// Reads four bytes at a constant offset of a fixed part.
#[inline(always)]
pub(crate) const fn be32<const N: usize>(fixed: &[u8; N], at: usize) -> u32 {
    u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]])
}

/// Reads eight bytes at a constant offset of a fixed part.
#[inline(always)]
pub(crate) const fn be64<const N: usize>(fixed: &[u8; N], at: usize) -> u64 {
    (be32(fixed, at) as u64) << 32 | be32(fixed, at + 4) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_short_to_be_anybodys() {
        for data in [&[][..], &[0xaf]] {
            let error = Object::parse(data, Place::InBand).unwrap_err();
            assert_eq!(error, ParseError::NotOurs { found: None });
        }
    }

    #[test]
    fn another_experiment_is_left_alone() {
        let error = Object::parse(&[0xaf, 0x53, 0x11, 0], Place::InBand).unwrap_err();
        assert_eq!(
            error,
            ParseError::NotOurs {
                found: Some(0xaf53)
            }
        );
    }

    #[test]
    fn version_and_kind_are_named_before_any_length_is_judged() {
        let error = Object::parse(&[0xaf, 0x52, 0x21], Place::InBand).unwrap_err();
        assert_eq!(error, ParseError::UnknownVersion { found: 2 });
        let error = Object::parse(&[0xaf, 0x52, 0x13], Place::InBand).unwrap_err();
        assert_eq!(error, ParseError::UnknownKind { found: 3 });
        let error = Object::parse(&[0xaf, 0x52], Place::InBand).unwrap_err();
        let what = Malformation::Truncated { needed: 8 };
        assert_eq!(error, ParseError::Malformed { offset: 2, what });
    }
}
