//! Reading and writing fields at offsets, and the Internet checksum. A read beyond the end is zero and a write there
//! is nothing: callers have checked lengths, and a mistake of theirs must not become a panic on a worker.

/// The `N` bytes at `at`, zeros where the slice is shorter.
#[inline]
#[must_use]
pub fn array<const N: usize>(data: &[u8], at: usize) -> [u8; N] {
    data.get(at..)
        .and_then(|rest| rest.first_chunk::<N>())
        .copied()
        .unwrap_or([0; N])
}

/// The big-endian 16-bit field at `at`.
#[inline]
#[must_use]
pub fn be16(data: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(array(data, at))
}

/// The big-endian 32-bit field at `at`.
#[inline]
#[must_use]
pub fn be32(data: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array(data, at))
}

/// The address at `at`.
#[inline]
#[must_use]
pub fn address(data: &[u8], at: usize) -> u128 {
    u128::from_be_bytes(array(data, at))
}

/// The byte at `at`.
#[inline]
#[must_use]
pub fn byte(data: &[u8], at: usize) -> u8 {
    data.get(at).copied().unwrap_or(0)
}

/// Writes `field` at `at`.
#[inline]
pub fn put(data: &mut [u8], at: usize, field: &[u8]) {
    if let Some(place) = data.get_mut(at..at + field.len()) {
        place.copy_from_slice(field);
    }
}

/// The one's-complement sum of `data` taken as big-endian 16-bit words, on top of `sum` (RFC 1071).
#[must_use]
pub fn sum(data: &[u8], mut sum: u64) -> u64 {
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        sum += u64::from(u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
    }
    let mut rest = [0_u8; 4];
    for (to, from) in rest.iter_mut().zip(words.remainder()) {
        *to = *from;
    }
    sum + u64::from(u32::from_be_bytes(rest))
}

/// Folds a sum to the checksum field's value.
#[must_use]
pub fn fold(mut sum: u64) -> u16 {
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !(sum as u16)
}

/// The upper-layer checksum under the IPv6 pseudo-header (RFC 8200 §8.1); its own field in `payload` counts as it is.
#[must_use]
pub fn upper_layer_checksum(source: u128, destination: u128, protocol: u8, payload: &[u8]) -> u16 {
    let mut total = sum(&source.to_be_bytes(), 0);
    total = sum(&destination.to_be_bytes(), total);
    total += payload.len() as u64 + u64::from(protocol);
    fold(sum(payload, total))
}

/// A checksum field after one 16-bit word under it changed (RFC 1624, equation 3).
#[must_use]
pub fn checksum_update(field: u16, old: u16, new: u16) -> u16 {
    let mut total = u32::from(!field) + u32::from(!old) + u32::from(new);
    while total > 0xFFFF {
        total = (total & 0xFFFF) + (total >> 16);
    }
    !(total as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc1071_example() {
        assert_eq!(
            fold(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7], 0)),
            !0xddf2
        );
    }

    #[test]
    fn odd_tail_is_padded_with_zero() {
        assert_eq!(fold(sum(&[1, 2, 3], 0)), fold(sum(&[1, 2, 3, 0], 0)));
        assert_eq!(
            fold(sum(&[1, 2, 3, 4, 5], 0)),
            fold(sum(&[1, 2, 3, 4, 5, 0], 0))
        );
    }

    #[test]
    fn update_equals_recomputation() {
        let mut data = [0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc];
        let before = fold(sum(&data, 0));
        let old = be16(&data, 2);
        put(&mut data, 2, &0xFEED_u16.to_be_bytes());
        assert_eq!(checksum_update(before, old, 0xFEED), fold(sum(&data, 0)));
    }

    #[test]
    fn out_of_bounds_is_harmless() {
        assert_eq!(be32(&[1, 2], 1), 0);
        let mut data = [0; 2];
        put(&mut data, 1, &[1, 2]);
        assert_eq!(data, [0; 2]);
    }
}
