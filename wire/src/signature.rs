//! Prefix signatures: a keyed hash chain over a prompt in whole units of 256 tokens.

use core::fmt;

use blake2::Blake2sMac;
use blake2::digest::typenum::{IsLessOrEqual, True};
use blake2::digest::{
    KeyInit, Mac,
    array::ArraySize,
    consts::{U8, U32},
};
use zeroize::ZeroizeOnDrop;

use crate::{Prefix, Signature, UNIT_BYTES, UNIT_TOKENS};

/// Key of a signature domain: the tenant's own, so that an observer cannot test a guessed prompt.
/// Wiped when dropped; never printed.
#[derive(Clone, ZeroizeOnDrop)]
pub struct DomainKey([u8; 16]);

impl DomainKey {
    /// Takes the key. The caller's copy is the caller's to wipe.
    pub const fn new(key: [u8; 16]) -> Self {
        Self(key)
    }
}

impl From<[u8; 16]> for DomainKey {
    fn from(key: [u8; 16]) -> Self {
        Self::new(key)
    }
}

impl fmt::Debug for DomainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DomainKey(..)")
    }
}

/// The chain: h(0) is 8 zero bytes, h(j) = BLAKE2s(domain key, digest of 8 bytes,
/// h(j−1) ‖ unit j); the signature at depth j is the first 4 bytes of h(j).
///
/// A domain is either of tokens or of bytes, so one chain is fed by one of the two pushes.
#[derive(Clone)]
pub struct SignatureChain {
    /// The hash under the domain key with nothing hashed yet.
    keyed: Blake2sMac<U8>,
    hash: [u8; 8],
    depth: u16,
}

impl SignatureChain {
    /// The chain at depth 0.
    pub fn new(key: &DomainKey) -> Self {
        Self {
            keyed: keyed(&key.0),
            hash: [0; 8],
            depth: 0,
        }
    }

    /// Hashes the next 256 token ids, each as a 32-bit little-endian integer.
    pub fn push_tokens(&mut self, unit: &[u32; UNIT_TOKENS]) -> Signature {
        let mut bytes = [0; UNIT_BYTES];
        for (bytes, token) in bytes.as_chunks_mut().0.iter_mut().zip(unit) {
            *bytes = token.to_le_bytes();
        }
        self.push_bytes(&bytes)
    }

    /// Hashes the next 1,024 bytes of the UTF-8 prompt, which stand for 256 tokens.
    pub fn push_bytes(&mut self, unit: &[u8; UNIT_BYTES]) -> Signature {
        let mac = self
            .keyed
            .clone()
            .chain_update(self.hash)
            .chain_update(unit);
        self.hash = mac.finalize().into_bytes().into();
        self.depth = self.depth.saturating_add(1);
        let [s0, s1, s2, s3, ..] = self.hash;
        Signature([s0, s1, s2, s3])
    }

    /// Units hashed so far; stays at 65,535 (16,776,960 tokens), the deepest the wire can name.
    pub const fn depth(&self) -> u16 {
        self.depth
    }

    /// Every prefix of a tokenised prompt, from shallow to deep. What does not fill a unit at the
    /// end has no signature.
    pub fn over_tokens<'a>(
        key: &DomainKey,
        prompt: &'a [u32],
    ) -> impl Iterator<Item = Prefix> + use<'a> {
        let mut chain = Self::new(key);
        prompt
            .as_chunks()
            .0
            .iter()
            .take(usize::from(u16::MAX))
            .map(move |unit| {
                let signature = chain.push_tokens(unit);
                Prefix {
                    depth: chain.depth,
                    signature,
                }
            })
    }

    /// Every prefix of a prompt in UTF-8, from shallow to deep. What does not fill a unit at the
    /// end has no signature.
    pub fn over_bytes<'a>(
        key: &DomainKey,
        prompt: &'a [u8],
    ) -> impl Iterator<Item = Prefix> + use<'a> {
        let mut chain = Self::new(key);
        prompt
            .as_chunks()
            .0
            .iter()
            .take(usize::from(u16::MAX))
            .map(move |unit| {
                let signature = chain.push_bytes(unit);
                Prefix {
                    depth: chain.depth,
                    signature,
                }
            })
    }
}

impl fmt::Debug for SignatureChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignatureChain")
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}

/// BLAKE2s under a key of `K` bytes. The key's own length goes into the hash, so a key padded to
/// 32 bytes, which [`KeyInit::new`] would want, gives another result.
pub(crate) fn keyed<const K: usize, Digest>(key: &[u8; K]) -> Blake2sMac<Digest>
where
    Digest: ArraySize + IsLessOrEqual<U32, Output = True>,
{
    const { assert!(K >= 1 && K <= 32, "key lengths of BLAKE2s") };
    match Blake2sMac::new_from_slice(key) {
        Ok(mac) => mac,
        Err(_) => unreachable!("the length is checked at compile time"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BLAKE2s-256 with a key of 32 bytes, the first lines of the reference's `blake2s-kat.txt`.
    #[test]
    fn keyed_is_blake2s_with_a_key() {
        use blake2::digest::consts::U32;
        let key: [u8; 32] = core::array::from_fn(|i| i as u8);
        let digest = |input: &[u8]| -> [u8; 32] {
            keyed::<32, U32>(&key)
                .chain_update(input)
                .finalize()
                .into_bytes()
                .into()
        };
        assert_eq!(
            digest(&[])[..8],
            [0x48, 0xa8, 0x99, 0x7d, 0xa4, 0x07, 0x87, 0x6b]
        );
        assert_eq!(
            digest(&[0])[..8],
            [0x40, 0xd1, 0x5f, 0xee, 0x7c, 0x32, 0x88, 0x30]
        );
    }

    #[test]
    fn only_whole_units_count() {
        let key = DomainKey::new([1; 16]);
        assert_eq!(SignatureChain::over_tokens(&key, &[0; 255]).count(), 0);
        assert_eq!(SignatureChain::over_tokens(&key, &[0; 513]).count(), 2);
        assert_eq!(SignatureChain::over_bytes(&key, &[0; 2047]).count(), 1);
    }

    #[test]
    fn a_token_unit_is_its_little_endian_bytes() {
        let key = DomainKey::new([1; 16]);
        let tokens: [u32; 256] = core::array::from_fn(|i| i as u32 * 0x0101_0101);
        let bytes = tokens.map(u32::to_le_bytes);
        let by_token = SignatureChain::over_tokens(&key, &tokens);
        assert!(by_token.eq(SignatureChain::over_bytes(&key, bytes.as_flattened())));
    }

    #[test]
    fn a_signature_depends_on_what_came_before() {
        let key = DomainKey::new([1; 16]);
        let mut one = SignatureChain::new(&key);
        let mut other = SignatureChain::new(&key);
        assert_ne!(one.push_bytes(&[0; 1024]), other.push_bytes(&[1; 1024]));
        assert_ne!(one.push_bytes(&[2; 1024]), other.push_bytes(&[2; 1024]));
    }
}
