//! Walking the options of a Destination or Hop-by-Hop Options header (RFC 8200 §4.2).
//!
//! The bounds are those of Linux's `ip6_parse_tlv`, so that no packet passes here that an
//! ordinary host behind us would drop: at most 8 options, at most 7 bytes of padding in a row,
//! padding of zeros. Every error carries the offset that an ICMPv6 Parameter Problem would point
//! to, relative to the bytes given.

use core::iter::FusedIterator;

use thiserror::Error;

/// Option type of one byte of padding, which has neither length nor data.
pub const PAD1: u8 = 0;
/// Option type of two or more bytes of padding.
pub const PADN: u8 = 1;
/// Most options of a header, padding not counted.
pub const MAX_OPTIONS: usize = 8;
/// Most bytes of padding in a row.
pub const MAX_PADDING: usize = 7;

/// One option that is not padding.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Option<'a> {
    /// Offset of the option's type byte in the bytes walked; its data begin two bytes on.
    pub offset: usize,
    /// Option type.
    pub kind: u8,
    /// Option data.
    pub data: &'a [u8],
}

impl Option<'_> {
    /// What a node does that does not know the option.
    #[inline]
    pub const fn action(&self) -> Action {
        Action::of(self.kind)
    }

    /// Whether the data may change on the way, so that an Authentication Header leaves them out.
    #[inline]
    pub const fn may_change(&self) -> bool {
        self.kind & 0x20 != 0
    }
}

/// The two highest bits of an option type: what a node does that does not know the option.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `00`: "skip over this option and continue processing the header."
    Skip,
    /// `01`: "discard the packet."
    Discard,
    /// `10`: discard, and send a Parameter Problem, Code 2, whatever the destination.
    DiscardAndReport,
    /// `11`: discard, and send a Parameter Problem, Code 2, unless the destination is multicast.
    DiscardAndReportUnicast,
}

impl Action {
    /// The action an option type asks for.
    #[inline]
    pub const fn of(kind: u8) -> Self {
        match kind >> 6 {
            0 => Self::Skip,
            1 => Self::Discard,
            2 => Self::DiscardAndReport,
            _ => Self::DiscardAndReportUnicast,
        }
    }
}

/// Why the options of a header cannot be walked further.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Error)]
#[error("option at byte {offset}: {fault}")]
pub struct OptionError {
    /// Offset of the byte at fault in the bytes walked.
    pub offset: usize,
    /// What is wrong there.
    pub fault: OptionFault,
}

/// What is wrong with an option.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Error)]
pub enum OptionFault {
    /// It reaches past the end of the header.
    #[error("past the end of the header")]
    Truncated,
    /// One more than [`MAX_OPTIONS`].
    #[error("more than {MAX_OPTIONS} options")]
    TooManyOptions,
    /// It makes more than [`MAX_PADDING`] bytes of padding in a row.
    #[error("more than {MAX_PADDING} bytes of padding in a row")]
    TooMuchPadding,
    /// A byte of padding is not zero.
    #[error("padding is not zero")]
    PaddingNotZero,
}

/// Iterator over the options of a header; padding is checked and passed over. Nothing follows
/// an error.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    walk: Walk<'a>,
}

impl<'a> Options<'a> {
    /// Walks `bytes`: the header after its next-header and length bytes, up to its end.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self {
            walk: Walk::new(bytes),
        }
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = Result<Option<'a>, OptionError>;

    #[inline]
    fn next(&mut self) -> core::option::Option<Self::Item> {
        let step = self.walk.next_unit::<PADN>(padding_is_zero)?;
        Some(step.map(|Unit { offset, kind, data }| Option { offset, kind, data }))
    }
}

impl FusedIterator for Options<'_> {}

/// RFC 4942 §2.1.9.5 recommends that receivers check padding.
#[inline]
fn padding_is_zero(data: &[u8]) -> core::option::Option<usize> {
    data.iter().position(|byte| *byte != 0)
}

/// The walk that options and TLVs share: type, length, data, and padding between.
#[derive(Clone, Debug)]
pub(crate) struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    padding: usize,
    found: usize,
}

/// What the walk finds: an option or a TLV.
pub(crate) struct Unit<'a> {
    pub(crate) offset: usize,
    pub(crate) kind: u8,
    pub(crate) data: &'a [u8],
}

impl<'a> Walk<'a> {
    #[inline]
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            padding: 0,
            found: 0,
        }
    }

    /// The next unit that is not padding. `PADN` is the type of padding
    /// with a length; `bad_padding` finds the byte at fault in its data.
    #[inline(always)]
    pub(crate) fn next_unit<const PADN: u8>(
        &mut self,
        bad_padding: impl Fn(&[u8]) -> core::option::Option<usize>,
    ) -> core::option::Option<Result<Unit<'a>, OptionError>> {
        while let Some((&kind, rest)) = self.bytes.get(self.at..)?.split_first() {
            let offset = self.at;
            if kind == PAD1 {
                self.at += 1;
                self.padding += 1;
            } else {
                let Some((&length, rest)) = rest.split_first() else {
                    return self.stop(offset, OptionFault::Truncated);
                };
                let Some(data) = rest.get(..usize::from(length)) else {
                    return self.stop(offset + 1, OptionFault::Truncated);
                };
                self.at += 2 + data.len();
                if kind != PADN {
                    self.padding = 0;
                    self.found += 1;
                    if self.found > MAX_OPTIONS {
                        return self.stop(offset, OptionFault::TooManyOptions);
                    }
                    return Some(Ok(Unit { offset, kind, data }));
                }
                self.padding += 2 + data.len();
                if let Some(index) = bad_padding(data) {
                    return self.stop(offset + 2 + index, OptionFault::PaddingNotZero);
                }
            }
            if self.padding > MAX_PADDING {
                return self.stop(offset, OptionFault::TooMuchPadding);
            }
        }
        None
    }

    #[cold]
    fn stop<T>(
        &mut self,
        offset: usize,
        fault: OptionFault,
    ) -> core::option::Option<Result<T, OptionError>> {
        self.bytes = &[];
        self.at = 0;
        Some(Err(OptionError { offset, fault }))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    type Walked<'a> = Result<Vec<Option<'a>>, OptionError>;

    fn walk(bytes: &[u8]) -> Walked<'_> {
        Options::new(bytes).collect()
    }

    fn fault(offset: usize, fault: OptionFault) -> OptionError {
        OptionError { offset, fault }
    }

    #[test]
    fn padding_is_passed_over() {
        let bytes = [0, 0x1e, 2, 7, 8, 1, 0, 0x3e, 0, 1, 1, 0];
        let first = Option {
            offset: 1,
            kind: 0x1e,
            data: &[7, 8],
        };
        let second = Option {
            offset: 7,
            kind: 0x3e,
            data: &[],
        };
        assert_eq!(walk(&bytes), Ok(std::vec![first, second]));
        assert_eq!(walk(&[]), Ok(std::vec![]));
    }

    #[test]
    fn nothing_reaches_past_the_end() {
        assert_eq!(walk(&[0x1e]), Err(fault(0, OptionFault::Truncated)));
        assert_eq!(
            walk(&[0, 0x1e, 2, 0]),
            Err(fault(2, OptionFault::Truncated))
        );
        assert_eq!(walk(&[1, 1]), Err(fault(1, OptionFault::Truncated)));
    }

    #[test]
    fn seven_bytes_of_padding_and_no_more() {
        assert!(walk(&[0; 7]).is_ok());
        assert_eq!(walk(&[0; 8]), Err(fault(7, OptionFault::TooMuchPadding)));
        assert!(walk(&[1, 5, 0, 0, 0, 0, 0]).is_ok());
        assert_eq!(
            walk(&[1, 6, 0, 0, 0, 0, 0, 0]),
            Err(fault(0, OptionFault::TooMuchPadding))
        );
        let in_two = [1, 2, 0, 0, 1, 2, 0, 0];
        assert_eq!(walk(&in_two), Err(fault(4, OptionFault::TooMuchPadding)));
        let with_option_between = [1, 2, 0, 0, 0x1e, 0, 1, 2, 0, 0];
        assert!(walk(&with_option_between).is_ok());
    }

    #[test]
    fn padding_holds_nothing() {
        assert_eq!(
            walk(&[1, 2, 0, 9]),
            Err(fault(3, OptionFault::PaddingNotZero))
        );
    }

    #[test]
    fn eight_options_and_no_more() {
        let bytes = [0x1e, 0].repeat(9);
        assert_eq!(walk(&bytes[..16]).map(|found| found.len()), Ok(8));
        assert_eq!(walk(&bytes), Err(fault(16, OptionFault::TooManyOptions)));
    }

    #[test]
    fn nothing_follows_an_error() {
        let bytes = [1, 1, 9, 0x1e, 0];
        let mut options = Options::new(&bytes);
        assert!(options.next().is_some_and(|option| option.is_err()));
        assert_eq!(options.next(), None);
    }

    #[test]
    fn high_bits_say_what_a_stranger_does() {
        assert_eq!(Action::of(0x1e), Action::Skip);
        assert_eq!(Action::of(0x5e), Action::Discard);
        assert_eq!(Action::of(0x9e), Action::DiscardAndReport);
        assert_eq!(Action::of(0xc2), Action::DiscardAndReportUnicast);
        let option = |kind| Option {
            offset: 0,
            kind,
            data: &[],
        };
        assert!(!option(0x1e).may_change());
        assert!(option(0x3e).may_change());
    }
}
