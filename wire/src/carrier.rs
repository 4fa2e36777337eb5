//! Building the carriers around an object, and walking the TLVs of an SRH.
//!
//! A Destination Options and a Hop-by-Hop Options header have the same bytes; which one it is
//! stands in the header before. Walking them is [`crate::option`].

use core::iter::FusedIterator;

use crate::EmitError;
use crate::option::{OptionError, PAD1, PADN, Unit, Walk};

/// Where the object begins in a header from [`emit_options_header`] and in TLVs from
/// [`emit_srh_tlv`]: two bytes of header or padding, type, length.
pub const OBJECT_AT: usize = 4;
/// SRH TLV type of two or more bytes of padding (RFC 8754 §2.1.1.2).
pub const SRH_PADN: u8 = 4;

/// Length of an options header whose only option has so many bytes of data: a multiple of 8.
#[inline]
pub const fn header_len(data_len: usize) -> usize {
    (OBJECT_AT + data_len).next_multiple_of(8)
}

/// Length of the TLVs that [`emit_srh_tlv`] writes for so many bytes of data: a multiple of 8.
#[inline]
pub const fn srh_tlv_len(data_len: usize) -> usize {
    (OBJECT_AT + data_len).next_multiple_of(8)
}

/// Writes a whole Destination Options or Hop-by-Hop Options header around one option, and says
/// how long it is (RFC 8200 §4.3, §4.6).
///
/// The option stands at 8n+2, so that its data are aligned to 4; zero-filled padding follows up
/// to a multiple of 8.
///
/// # Errors
///
/// [`EmitError::DataTooLong`] over 255 bytes of data, [`EmitError::NoRoom`] if `out` is shorter
/// than [`header_len`]. Nothing is written then.
pub fn emit_options_header(
    next_header: u8,
    option_type: u8,
    data: &[u8],
    out: &mut [u8],
) -> Result<usize, EmitError> {
    let length = header_len(data.len());
    // "Length of the header in 8-octet units, not including the first 8 octets."
    let front = [
        next_header,
        (length / 8 - 1) as u8,
        option_type,
        data.len() as u8,
    ];
    emit(front, data, PADN, length, out)
}

/// Writes the TLVs that carry one object at the end of an SRH, to be put at a multiple of 8 from
/// the SRH's start, and says how long they are (RFC 8754 §2.1).
///
/// The TLV is padded to 4n+2, so that its data are aligned to 4, and padding follows up to a
/// multiple of 8, because an SRH counts its length in units of 8.
///
/// # Errors
///
/// [`EmitError::DataTooLong`] over 255 bytes of data, [`EmitError::NoRoom`] if `out` is shorter
/// than [`srh_tlv_len`]. Nothing is written then.
pub fn emit_srh_tlv(tlv_type: u8, data: &[u8], out: &mut [u8]) -> Result<usize, EmitError> {
    let front = [SRH_PADN, 0, tlv_type, data.len() as u8];
    emit(front, data, SRH_PADN, srh_tlv_len(data.len()), out)
}

/// `front ‖ data ‖ padding`, `length` bytes in all.
fn emit(
    front: [u8; OBJECT_AT],
    data: &[u8],
    padn: u8,
    length: usize,
    out: &mut [u8],
) -> Result<usize, EmitError> {
    if data.len() > usize::from(u8::MAX) {
        return Err(EmitError::DataTooLong { found: data.len() });
    }
    let no_room = EmitError::NoRoom {
        needed: length,
        available: out.len(),
    };
    let out = out.get_mut(..length).ok_or(no_room)?;
    let (head, rest) = out.split_at_mut(OBJECT_AT);
    let (body, padding) = rest.split_at_mut(data.len());
    head.copy_from_slice(&front);
    body.copy_from_slice(data);
    padding.fill(0);
    match padding {
        [] => {}
        [only] => *only = PAD1,
        [kind, count, zeros @ ..] => {
            *kind = padn;
            *count = zeros.len() as u8;
        }
    }
    Ok(length)
}

/// One TLV of an SRH that is not padding.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Tlv<'a> {
    /// Offset of the TLV's type byte in the bytes walked; its data begin two bytes on.
    pub offset: usize,
    /// TLV type.
    pub kind: u8,
    /// TLV data.
    pub data: &'a [u8],
}

impl Tlv<'_> {
    /// Whether the data may change on the way (RFC 8754 §2.1: the highest bit of the type).
    #[inline]
    pub const fn may_change(&self) -> bool {
        self.kind & 0x80 != 0
    }
}

/// Iterator over the TLVs of an SRH (RFC 8754 §2.1), with the same bounds as options have.
/// Padding is passed over; what it holds is "ignored on reception". Nothing follows an error.
#[derive(Clone, Debug)]
pub struct Tlvs<'a> {
    walk: Walk<'a>,
}

impl<'a> Tlvs<'a> {
    /// Walks `bytes`: the SRH after its segment list, up to its end.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self {
            walk: Walk::new(bytes),
        }
    }
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = Result<Tlv<'a>, OptionError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let step = self.walk.next_unit::<SRH_PADN>(|_| None)?;
        Some(step.map(|Unit { offset, kind, data }| Tlv { offset, kind, data }))
    }
}

impl FusedIterator for Tlvs<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::option::{OptionFault, Options};
    use crate::{OPTION_TYPE, SRH_TLV_TYPE};

    #[test]
    fn every_length_of_data_comes_back() {
        let data = [0xa5; 255];
        let mut out = [0xff; 264];
        for data in (0..=255).map(|length| &data[..length]) {
            let length = emit_options_header(6, OPTION_TYPE, data, &mut out).unwrap();
            assert_eq!((usize::from(out[1]) + 1) * 8, length);
            let mut options = Options::new(&out[2..length]);
            let option = options.next().unwrap().unwrap();
            assert_eq!(
                (option.offset, option.kind, option.data),
                (0, OPTION_TYPE, data)
            );
            assert_eq!(options.next(), None);

            let length = emit_srh_tlv(SRH_TLV_TYPE, data, &mut out).unwrap();
            assert!(length.is_multiple_of(8));
            let mut tlvs = Tlvs::new(&out[..length]);
            let tlv = tlvs.next().unwrap().unwrap();
            assert_eq!((tlv.offset, tlv.kind, tlv.data), (2, SRH_TLV_TYPE, data));
            assert_eq!(tlvs.next(), None);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut out = [0; 512];
        let too_long = Err(EmitError::DataTooLong { found: 256 });
        assert_eq!(
            emit_options_header(6, OPTION_TYPE, &[0; 256], &mut out),
            too_long
        );
        assert_eq!(emit_srh_tlv(SRH_TLV_TYPE, &[0; 256], &mut out), too_long);
        let no_room = Err(EmitError::NoRoom {
            needed: 16,
            available: 15,
        });
        assert_eq!(
            emit_options_header(6, OPTION_TYPE, &[0; 8], &mut out[..15]),
            no_room
        );
        assert_eq!(emit_srh_tlv(SRH_TLV_TYPE, &[0; 8], &mut out[..15]), no_room);
    }

    #[test]
    fn padding_of_an_srh_may_hold_anything_but_is_bounded() {
        assert_eq!(Tlvs::new(&[SRH_PADN, 2, 9, 9]).next(), None);
        let error = Tlvs::new(&[SRH_PADN, 6, 0, 0, 0, 0, 0, 0]).next();
        let fault = OptionFault::TooMuchPadding;
        assert_eq!(error, Some(Err(OptionError { offset: 0, fault })));
        let error = Tlvs::new(&[SRH_TLV_TYPE, 3, 0, 0]).next();
        let fault = OptionFault::Truncated;
        assert_eq!(error, Some(Err(OptionError { offset: 1, fault })));
    }

    #[test]
    fn an_option_padding_type_is_an_ordinary_tlv() {
        let tlv = Tlvs::new(&[PADN, 1, 5]).next();
        assert_eq!(
            tlv,
            Some(Ok(Tlv {
                offset: 0,
                kind: PADN,
                data: &[5]
            }))
        );
    }
}
