//! Kind 1: what a client asks for.
//!
//! 36 fixed bytes, label hashes (or a Bloom filter), prefix signatures, MAC.

mod value;

use crate::error::{Malformation, ParseError, Section};
use crate::object::{
    Kind, Object, be16, be32, be64, head, kind, mac_len, padded, truncated, wrong_length,
};
use crate::{
    BLOOM_LEN, CatalogueVersion, ClassId, DomainId, KeyId, LabelHash, MAC_LEN, MAX_LABELS,
    MAX_PREFIXES, PolicyScope, Prefix, REQUEST_FIXED_LEN, RequestFlags,
};

pub use value::{Labels, Request};

/// Offsets in the fixed part, after the common head.
mod at {
    pub(super) const CLASS_ID: usize = 8;
    pub(super) const ISSUED_AT: usize = 12;
    pub(super) const SESSION: usize = 16;
    pub(super) const POLICY: usize = 24;
    pub(super) const N_LABELS: usize = 26;
    pub(super) const N_PREFIX: usize = 27;
    pub(super) const PROMPT_TOKENS: usize = 28;
    pub(super) const DOMAIN: usize = 32;
    pub(super) const RESERVED: usize = 34;
}

/// A request checked in place. The accessors read; they cannot fail.
#[derive(Copy, Clone, Debug)]
pub struct RequestView<'a> {
    bytes: &'a [u8],
    fixed: &'a [u8; REQUEST_FIXED_LEN],
    labels: &'a [[u8; 2]],
    bloom: Option<&'a [u8; BLOOM_LEN]>,
    prefixes: &'a [[u8; Prefix::LEN]],
    mac: Option<&'a [u8; MAC_LEN]>,
}

impl<'a> RequestView<'a> {
    /// The request that `data` are, if they are a well-formed one: as [`Object::parse`] with [`Place::InBand`](crate::Place), for who does
    /// not ask why not. Inlined, for what is not used of the answer is not computed then.
    #[inline(always)]
    pub fn of(data: &'a [u8]) -> Option<Self> {
        match kind(data) {
            Ok(Kind::Request) => Self::parse(data).ok(),
            _ => None,
        }
    }

    /// Splits `bytes`, whose exid, version and kind are known to be ours, into its sections.
    #[inline(always)]
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let Some((fixed, rest)) = bytes.split_first_chunk() else {
            return Err(truncated(bytes, REQUEST_FIXED_LEN));
        };
        let with_bloom = RequestFlags(fixed[head::FLAGS]).contains(RequestFlags::BLOOM);
        let n_labels = usize::from(fixed[at::N_LABELS]);
        let n_prefixes = usize::from(fixed[at::N_PREFIX]);
        if n_labels > if with_bloom { 0 } else { MAX_LABELS } {
            return Err(labels_at_fault(with_bloom, fixed[at::N_LABELS]));
        }
        if n_prefixes > MAX_PREFIXES {
            return Err(prefixes_at_fault(fixed[at::N_PREFIX]));
        }

        let labels_len = 2 * n_labels;
        let prefixes_len = Prefix::LEN * n_prefixes;
        let prefixes_at = if with_bloom {
            BLOOM_LEN
        } else {
            padded(labels_len)
        };
        let mac_at = prefixes_at + padded(prefixes_len);
        let mac_len = mac_len(KeyId(be16(fixed, head::KEY_ID)));
        if rest.len() != mac_at + mac_len {
            return Err(wrong_length(bytes, REQUEST_FIXED_LEN + mac_at + mac_len));
        }

        // The length is the sum of the sections, so none of these splits can fall short; the
        // compiler folds their checks into the comparison above.
        let (sections, mac) = rest.split_at(mac_at);
        let (labels, prefixes) = sections.split_at(prefixes_at);
        let bloom = if with_bloom {
            labels.first_chunk()
        } else {
            None
        };
        let (labels, _) = labels[..labels_len].as_chunks();
        let (prefixes, _) = prefixes[..prefixes_len].as_chunks();
        check_depths(prefixes.iter().copied().map(Prefix::from_wire)).map_err(|fault| {
            let offset = REQUEST_FIXED_LEN + prefixes_at + Prefix::LEN * fault.index;
            let what = match fault.previous {
                None => Malformation::DepthZero,
                Some(previous) => Malformation::DepthNotAscending {
                    previous,
                    found: fault.found,
                },
            };
            ParseError::Malformed { offset, what }
        })?;
        Ok(Self {
            bytes,
            fixed,
            labels,
            bloom,
            prefixes,
            mac: mac.first_chunk(),
        })
    }

    /// Flags, unknown ones included.
    #[inline]
    pub const fn flags(&self) -> RequestFlags {
        RequestFlags(self.fixed[head::FLAGS])
    }

    /// Entry of the key ring; [`KeyId::NONE`] if the request is unauthenticated.
    #[inline]
    pub const fn key_id(&self) -> KeyId {
        KeyId(be16(self.fixed, head::KEY_ID))
    }

    /// Version of the label catalogue.
    #[inline]
    pub const fn catalogue(&self) -> CatalogueVersion {
        CatalogueVersion(be16(self.fixed, head::CATALOGUE))
    }

    /// Exact capability class, the authority on what is asked for (the draft's `CapabilityHint`).
    #[inline]
    pub const fn class_id(&self) -> ClassId {
        ClassId(be32(self.fixed, at::CLASS_ID))
    }

    /// When the request was made, in Unix seconds.
    #[inline]
    pub const fn issued_at(&self) -> u32 {
        be32(self.fixed, at::ISSUED_AT)
    }

    /// Opaque session, rotated by the sender (the draft's `CorrelationHint`).
    #[inline]
    pub const fn session(&self) -> u64 {
        be64(self.fixed, at::SESSION)
    }

    /// Policy scope (the draft's `PolicyHint`).
    #[inline]
    pub const fn policy(&self) -> PolicyScope {
        PolicyScope(be16(self.fixed, at::POLICY))
    }

    /// Length of the input in tokens; 0 if unknown. Whatever the sender claims: clamp it to the
    /// class's maximum.
    #[inline]
    pub const fn prompt_tokens(&self) -> u32 {
        be32(self.fixed, at::PROMPT_TOKENS)
    }

    /// Signature domain of the prefixes.
    #[inline]
    pub const fn domain(&self) -> DomainId {
        DomainId(be16(self.fixed, at::DOMAIN))
    }

    /// How many label hashes there are, 0–8.
    #[inline]
    pub const fn n_labels(&self) -> usize {
        self.labels.len()
    }

    /// Hashes of the labels an instance must have, in the sender's order.
    #[inline]
    pub fn labels(&self) -> impl ExactSizeIterator<Item = LabelHash> + Clone + use<'a> {
        self.labels
            .iter()
            .map(|&hash| LabelHash(u16::from_be_bytes(hash)))
    }

    /// The Bloom-256 filter that stands in for the labels, if there is one.
    #[inline]
    pub const fn bloom(&self) -> Option<&'a [u8; BLOOM_LEN]> {
        self.bloom
    }

    /// How many prefixes there are, 0–8.
    #[inline]
    pub const fn n_prefixes(&self) -> usize {
        self.prefixes.len()
    }

    /// Prefixes of the prompt, from shallow to deep; every depth is at least 1 (the draft's
    /// `StateHint` and `ContextAffinity`).
    #[inline]
    pub fn prefixes(
        &self,
    ) -> impl ExactSizeIterator<Item = Prefix> + DoubleEndedIterator + Clone + use<'a> {
        self.prefixes.iter().copied().map(Prefix::from_wire)
    }

    /// The MAC, present exactly when the key id is not 0.
    #[inline]
    pub const fn mac(&self) -> Option<&'a [u8; MAC_LEN]> {
        self.mac
    }

    /// The whole object.
    #[inline]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> TryFrom<Object<'a>> for RequestView<'a> {
    type Error = Object<'a>;

    fn try_from(object: Object<'a>) -> Result<Self, Object<'a>> {
        match object {
            Object::Request(view) => Ok(view),
            Object::Report(_) => Err(object),
        }
    }
}

/// What says how a request without prefixes is divided: of two of one form both are well-formed, or neither is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct RequestForm {
    /// Experiment, version, kind, flags.
    head: [u8; 4],
    key_id: [u8; 2],
    n_labels: u8,
    len: usize,
}

impl RequestForm {
    /// The form of the request that `data` are, if they are one; `None` where it has prefixes, whose depths must ascend
    /// besides.
    #[inline(always)]
    pub fn of(data: &[u8]) -> Option<Self> {
        let fixed = data.first_chunk::<REQUEST_FIXED_LEN>()?;
        (fixed[at::N_PREFIX] == 0).then_some(Self {
            head: [fixed[0], fixed[1], fixed[2], fixed[head::FLAGS]],
            key_id: [fixed[head::KEY_ID], fixed[head::KEY_ID + 1]],
            n_labels: fixed[at::N_LABELS],
            len: data.len(),
        })
    }
}

/// The first prefix whose depth is out of order.
struct DepthFault {
    index: usize,
    /// Depth before it, `None` if the depth at fault is 0 in first place.
    previous: Option<u16>,
    found: u16,
}

#[inline]
fn check_depths(prefixes: impl Iterator<Item = Prefix>) -> Result<(), DepthFault> {
    let mut previous = 0;
    for (index, Prefix { depth: found, .. }) in prefixes.enumerate() {
        if found <= previous {
            let previous = (index > 0).then_some(previous);
            return Err(DepthFault {
                index,
                previous,
                found,
            });
        }
        previous = found;
    }
    Ok(())
}

#[cold]
fn labels_at_fault(with_bloom: bool, found: u8) -> ParseError {
    let what = if with_bloom {
        Malformation::LabelsBesideBloom { found }
    } else {
        Malformation::TooMany {
            section: Section::Labels,
            found,
            limit: MAX_LABELS as u8,
        }
    };
    ParseError::Malformed {
        offset: at::N_LABELS,
        what,
    }
}

#[cold]
fn prefixes_at_fault(found: u8) -> ParseError {
    let limit = MAX_PREFIXES as u8;
    let what = Malformation::TooMany {
        section: Section::Prefixes,
        found,
        limit,
    };
    ParseError::Malformed {
        offset: at::N_PREFIX,
        what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EmitError, List, Place};

    /// Smallest unauthenticated request, with one byte changed and extra bytes behind.
    fn parse_with(change: (usize, u8), extra: usize) -> Result<(), ParseError> {
        let mut data = [0; 128];
        let length = Request::default().emit(&mut data).unwrap();
        data[change.0] = change.1;
        Object::parse(&data[..length + extra], Place::InBand).map(|_| ())
    }

    fn malformed(offset: usize, what: Malformation) -> Result<(), ParseError> {
        Err(ParseError::Malformed { offset, what })
    }

    #[test]
    fn of_one_form_all_or_none_are_well_formed() {
        let mut well_formed = 0;
        let changes = || {
            let others = [
                [0, 0xA5],
                [1, 0xFF],
                [2, 0x22],
                [3, 4],
                [3, 0xFB],
                [4, 1],
                [5, 1],
                [27, 1],
            ];
            others.into_iter().chain((0..10).map(|labels| [26, labels]))
        };
        let sound = {
            let mut data = [0; 128];
            Request::default().emit(&mut data).unwrap();
            data
        };
        for [one, other] in changes().flat_map(|one| changes().map(move |other| [one, other])) {
            for len in 0..80 {
                let mut data = sound;
                for [at, value] in [one, other] {
                    data[usize::from(at)] = value;
                }
                let form = RequestForm::of(&data[..len]);
                let is_request = RequestView::of(&data[..len]).is_some();
                let has_form = len >= REQUEST_FIXED_LEN && data[27] == 0;
                assert_eq!(form.is_some(), has_form);
                // All that has no say in it.
                for at in (6..26).chain(28..128) {
                    data[at] ^= 0xFF;
                }
                if let Some(form) = form {
                    well_formed += u32::from(is_request);
                    assert_eq!(RequestForm::of(&data[..len]), Some(form));
                    assert_eq!(RequestView::of(&data[..len]).is_some(), is_request);
                    assert_ne!(RequestForm::of(&data[..len + 1]), Some(form));
                }
                for at in [0, 1, 2, 3, 4, 5, 26] {
                    data[at] ^= 1;
                    assert!(
                        form.is_none() || RequestForm::of(&data[..len]) != form,
                        "{at}"
                    );
                    data[at] ^= 1;
                }
            }
        }
        assert!(well_formed > 50, "{well_formed}");
    }

    #[test]
    fn counts_are_bounded_where_they_stand() {
        let what = Malformation::TooMany {
            section: Section::Labels,
            found: 9,
            limit: 8,
        };
        assert_eq!(parse_with((26, 9), 20), malformed(26, what));
        let what = Malformation::TooMany {
            section: Section::Prefixes,
            found: 9,
            limit: 8,
        };
        assert_eq!(parse_with((27, 9), 56), malformed(27, what));
    }

    #[test]
    fn the_length_must_follow_from_the_counts() {
        assert_eq!(parse_with((26, 1), 4), Ok(()));
        let what = Malformation::Length {
            expected: 40,
            found: 38,
        };
        assert_eq!(parse_with((26, 1), 2), malformed(38, what));
        let what = Malformation::Length {
            expected: 36,
            found: 40,
        };
        assert_eq!(parse_with((26, 0), 4), malformed(36, what));
        let what = Malformation::Length {
            expected: 52,
            found: 36,
        };
        assert_eq!(parse_with((head::KEY_ID, 1), 0), malformed(36, what));
    }

    #[test]
    fn bloom_and_listed_labels_exclude_each_other() {
        let mut data = [0; 68];
        let request = Request {
            labels: Labels::Bloom([1; BLOOM_LEN]),
            ..Request::default()
        };
        assert_eq!(request.emit(&mut data), Ok(68));
        data[at::N_LABELS] = 1;
        let error = Object::parse(&data, Place::InBand).unwrap_err();
        let what = Malformation::LabelsBesideBloom { found: 1 };
        assert_eq!(error, ParseError::Malformed { offset: 26, what });
    }

    #[test]
    fn depths_start_at_one_and_ascend() {
        let prefix = |depth| Prefix {
            depth,
            ..Prefix::default()
        };
        let with = |depths: &[u16]| Request {
            prefixes: List::take_from(depths.iter().copied().map(prefix)),
            ..Request::default()
        };
        let mut data = [0; 128];
        assert_eq!(with(&[0]).emit(&mut data), Err(EmitError::DepthZero));
        let not_ascending = EmitError::DepthNotAscending {
            previous: 3,
            found: 3,
        };
        assert_eq!(with(&[1, 3, 3]).emit(&mut data), Err(not_ascending));

        let length = with(&[1, 2, 4]).emit(&mut data).unwrap();
        data[REQUEST_FIXED_LEN + 13] = 1;
        let error = Object::parse(&data[..length], Place::InBand).unwrap_err();
        let what = Malformation::DepthNotAscending {
            previous: 2,
            found: 1,
        };
        assert_eq!(error, ParseError::Malformed { offset: 48, what });
        data[REQUEST_FIXED_LEN + 1] = 0;
        let error = Object::parse(&data[..length], Place::InBand).unwrap_err();
        assert_eq!(
            error,
            ParseError::Malformed {
                offset: 36,
                what: Malformation::DepthZero
            }
        );
    }

    #[test]
    fn padding_reserved_bytes_and_unknown_flags_are_not_checked() {
        assert_eq!(parse_with((head::FLAGS, 0xf8), 0), Ok(()));
        assert_eq!(parse_with((at::RESERVED, 0xff), 0), Ok(()));
        let hashes = List::take_from([LabelHash(1)]);
        let request = Request {
            labels: Labels::Hashes(hashes),
            ..Request::default()
        };
        let mut data = [0; 40];
        assert_eq!(request.emit(&mut data), Ok(40));
        data[39] = 0xff;
        assert!(Object::parse(&data, Place::InBand).is_ok());
    }
}
