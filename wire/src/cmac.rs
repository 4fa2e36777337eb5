//! AES-CMAC-128 (RFC 4493) with everything that depends on the key alone kept ready.
//!
//! The `cmac` crate computes the subkeys anew for every message and wipes a copied key schedule
//! after it. On the packet path that is one block cipher call in seven, so the mode is written
//! out here over the `aes` crate; the tests hold it against RFC 4493 and against that crate.

use aes::Aes128Enc;
use aes::cipher::{
    Array, BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser,
    KeyInit, consts::U16,
};
use zeroize::Zeroize;

use crate::MAC_LEN;

const BLOCK_LEN: usize = 16;
/// The field constant of GF(2^128), `const_Rb` in RFC 4493.
const FIELD: u128 = 0x87;

/// An expanded key: the cipher's schedule and both subkeys.
#[derive(Clone)]
pub(crate) struct AesCmac {
    cipher: Aes128Enc,
    /// K1 and K2 of RFC 4493: for a last block that is whole, and for one that is not.
    subkeys: [[u8; BLOCK_LEN]; 2],
}

impl AesCmac {
    pub(crate) fn new(key: &[u8; BLOCK_LEN]) -> Self {
        let cipher = Aes128Enc::new(&Array(*key));
        let mut zero = Array([0; BLOCK_LEN]);
        cipher.encrypt_block(&mut zero);
        let whole = double(u128::from_be_bytes(zero.0));
        let subkeys = [whole.to_be_bytes(), double(whole).to_be_bytes()];
        zero.zeroize();
        Self { cipher, subkeys }
    }

    /// The MAC of the concatenated `parts`. Parts that end on a block boundary are fastest.
    #[inline]
    pub(crate) fn tag(&self, parts: &[&[u8]]) -> [u8; MAC_LEN] {
        let mut tag = [0; MAC_LEN];
        let chain = Chain {
            subkeys: &self.subkeys,
            parts,
            tag: &mut tag,
        };
        self.cipher.encrypt_with_backend(chain);
        tag
    }
}

/// One message of several whose MACs are computed side by side.
pub(crate) struct Lane<'a> {
    key: &'a AesCmac,
    /// The message as the chain takes it: filled up to whole blocks, the subkey already in the last.
    blocks: &'a [[u8; BLOCK_LEN]],
    state: Array<u8, U16>,
}

impl<'a> Lane<'a> {
    /// For the message of `len` bytes (at least one) that `text` begins with, zeros behind it.
    pub(crate) fn new(key: &'a AesCmac, text: &'a mut [[u8; BLOCK_LEN]], len: usize) -> Self {
        let (count, filled) = (len.div_ceil(BLOCK_LEN).min(text.len()), len % BLOCK_LEN);
        if let Some(last) = text[..count].last_mut() {
            let [whole, padded] = &key.subkeys;
            if filled == 0 {
                xor_block(last, whole);
            } else {
                last[filled] ^= 0x80;
                xor_block(last, padded);
            }
        }
        Self {
            key,
            blocks: &text[..count],
            state: Array([0; BLOCK_LEN]),
        }
    }

    /// The tag, after [`chain`].
    pub(crate) const fn tag(&self) -> &[u8; MAC_LEN] {
        &self.state.0
    }
}

/// Computes the tag of each lane. One message is a chain in which each block waits for the one before; chains of several
/// messages do not wait for each other, so taking a block of each in turn keeps the processor's AES unit
/// busy.
pub(crate) fn chain(lanes: &mut [Option<Lane<'_>>]) {
    let lens = lanes.iter().flatten().map(|lane| lane.blocks.len());
    for at in 0..lens.max().unwrap_or(0) {
        for lane in lanes.iter_mut().flatten() {
            if let Some(block) = lane.blocks.get(at) {
                let state = &mut lane.state;
                lane.key.cipher.encrypt_with_backend(Link { block, state });
            }
        }
    }
}

/// One block of one chain.
struct Link<'a> {
    block: &'a [u8; BLOCK_LEN],
    state: &'a mut Array<u8, U16>,
}

impl BlockSizeUser for Link<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Link<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        // Byte by byte this becomes one vector operation; in two halves the cipher would wait for both to be stored.
        let mut mixed: Array<u8, U16> = Array(*self.block);
        for (byte, before) in mixed.iter_mut().zip(self.state.iter()) {
            *byte ^= before;
        }
        backend.encrypt_block((&mut mixed).into());
        *self.state = mixed;
    }
}

impl Drop for AesCmac {
    fn drop(&mut self) {
        // The cipher wipes its own schedule.
        self.subkeys.zeroize();
    }
}

/// Doubling in GF(2^128), without a branch on the secret.
const fn double(value: u128) -> u128 {
    (value << 1) ^ ((value >> 127) * FIELD)
}

/// The whole chain as one call into the cipher, so that the choice of its implementation and the
/// loading of its schedule happen once a message.
struct Chain<'a> {
    subkeys: &'a [[u8; BLOCK_LEN]; 2],
    parts: &'a [&'a [u8]],
    tag: &'a mut [u8; MAC_LEN],
}

impl BlockSizeUser for Chain<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Chain<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let mut state = Array([0; BLOCK_LEN]);
        // Bytes of the current block already in the state. A full block is encrypted only when
        // another byte follows, because the last one is treated differently.
        let mut filled = 0;
        for part in self.parts {
            let mut rest = *part;
            while !rest.is_empty() {
                if filled == BLOCK_LEN {
                    backend.encrypt_block((&mut state).into());
                    filled = 0;
                }
                if let (0, Some((block, after))) = (filled, rest.split_first_chunk()) {
                    xor_block(&mut state.0, block);
                    filled = BLOCK_LEN;
                    rest = after;
                } else {
                    let (now, after) = rest.split_at(rest.len().min(BLOCK_LEN - filled));
                    for (byte, input) in state.0[filled..].iter_mut().zip(now) {
                        *byte ^= input;
                    }
                    filled += now.len();
                    rest = after;
                }
            }
        }
        let [whole, padded] = self.subkeys;
        if filled == BLOCK_LEN {
            xor_block(&mut state.0, whole);
        } else {
            state.0[filled] ^= 0x80;
            xor_block(&mut state.0, padded);
        }
        backend.encrypt_block((&mut state).into());
        *self.tag = state.0;
    }
}

#[inline(always)]
fn xor_block(state: &mut [u8; BLOCK_LEN], block: &[u8; BLOCK_LEN]) {
    *state = (u128::from_ne_bytes(*state) ^ u128::from_ne_bytes(*block)).to_ne_bytes();
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::cmac::{Cmac, Mac};
    use aes::Aes128;
    use proptest::prelude::*;

    const KEY: [u8; 16] = 0x2b7e1516_28aed2a6_abf71588_09cf4f3c_u128.to_be_bytes();

    /// RFC 4493 §4.
    #[test]
    fn rfc_4493_subkeys() {
        let [k1, k2] = AesCmac::new(&KEY).subkeys;
        assert_eq!(
            u128::from_be_bytes(k1),
            0xfbeed618_35713366_7c85e08f_7236a8de
        );
        assert_eq!(
            u128::from_be_bytes(k2),
            0xf7ddac30_6ae266cc_f90bc11e_e46d513b
        );
    }

    /// RFC 4493 §4, examples 1 to 4.
    #[test]
    fn rfc_4493_examples() {
        let message: [u128; 4] = [
            0x6bc1bee2_2e409f96_e93d7e11_7393172a,
            0xae2d8a57_1e03ac9c_9eb76fac_45af8e51,
            0x30c81c46_a35ce411_e5fbc119_1a0a52ef,
            0xf69f2445_df4f9b17_ad2b417b_e66c3710,
        ];
        let message = message.map(u128::to_be_bytes);
        let message = message.as_flattened();
        let key = AesCmac::new(&KEY);
        for (length, tag) in [
            (0, 0xbb1d6929_e9593728_7fa37d12_9b756746),
            (16, 0x070a16b4_6b4d4144_f79bdd9d_d04a287c),
            (40, 0xdfa66747_de9ae630_30ca3261_1497c827),
            (64, 0x51f0bebf_7e3b9d92_fc497417_79363cfe_u128),
        ] {
            assert_eq!(
                u128::from_be_bytes(key.tag(&[&message[..length]])),
                tag,
                "{length} bytes"
            );
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_cmac_crate_however_the_message_is_cut(
            key: [u8; 16],
            message in prop::collection::vec(any::<u8>(), 0..100),
            cuts: [prop::sample::Index; 2],
        ) {
            let mut cuts = cuts.map(|cut| cut.index(message.len() + 1));
            cuts.sort_unstable();
            let (front, back) = message.split_at(cuts[1]);
            let (first, second) = front.split_at(cuts[0]);
            let mut oracle = Cmac::<Aes128>::new(&key.into());
            oracle.update(&message);
            let tag = AesCmac::new(&key).tag(&[first, second, back]);
            prop_assert_eq!(tag, <[u8; 16]>::from(oracle.finalize().into_bytes()));
        }
    }
}
