extern crate std;

use std::vec::Vec;

use aes::Aes128;
use cmac::{Cmac, KeyInit as _, Mac as _};
use proptest::prelude::*;

use super::{xmm, ymm};
use crate::{Batch, Block, Engine, LANES, Width};

const BLOCKS: usize = 11;

fn oracle(key: &Block, message: &[u8]) -> Block {
    let mut oracle = Cmac::<Aes128>::new(&(*key).into());
    oracle.update(message);
    oracle.finalize().into_bytes().into()
}

/// `message` as blocks, a one bit and zeros behind it.
fn put(batch: &mut Batch<BLOCKS>, lane: usize, message: &[u8]) {
    let mut padded = message.to_vec();
    if message.is_empty() || !message.len().is_multiple_of(16) {
        padded.push(0x80);
        padded.resize(padded.len().next_multiple_of(16), 0);
    }
    batch.text(lane)[..padded.len()].copy_from_slice(&padded);
    batch.end(lane, message.len());
}

#[test]
fn this_machine_has_one() {
    assert!(Engine::detect().is_some());
    assert!(
        !std::arch::is_x86_feature_detected!("vaes") || Engine::all().count() == 2,
        "std has found what we have not"
    );
}

/// RFC 4493 §4, examples 1 to 4, in lanes beside each other.
#[test]
fn rfc_4493_examples() {
    let key: Block = 0x2b7e1516_28aed2a6_abf71588_09cf4f3c_u128.to_be_bytes();
    let message: [u128; 4] = [
        0x6bc1bee2_2e409f96_e93d7e11_7393172a,
        0xae2d8a57_1e03ac9c_9eb76fac_45af8e51,
        0x30c81c46_a35ce411_e5fbc119_1a0a52ef,
        0xf69f2445_df4f9b17_ad2b417b_e66c3710,
    ];
    let message = message.map(u128::to_be_bytes);
    let tags: [(usize, u128); 4] = [
        (0, 0xbb1d6929_e9593728_7fa37d12_9b756746),
        (16, 0x070a16b4_6b4d4144_f79bdd9d_d04a287c),
        (40, 0xdfa66747_de9ae630_30ca3261_1497c827),
        (64, 0x51f0bebf_7e3b9d92_fc497417_79363cfe),
    ];
    for engine in Engine::all() {
        let mut batch = Batch::<BLOCKS>::default();
        for lane in 0..8 {
            put(
                &mut batch,
                lane,
                &message.as_flattened()[..tags[lane % 4].0],
            );
        }
        batch.bound(8).unwrap();
        // SAFETY: the engine says that the processor has the instructions.
        unsafe {
            match engine.0 {
                Width::One => xmm::under(&key, &mut batch),
                Width::Two => ymm::under(&key, &mut batch),
            }
        }
        for lane in 0..8 {
            let (len, tag) = tags[lane % 4];
            assert_eq!(u128::from_be_bytes(batch.tags[lane]), tag, "{len} bytes");
        }
    }
}

proptest! {
    #[test]
    fn agrees_with_the_cmac_crate(
        masters: [Block; 3],
        senders: [(usize, [u8; 27], bool); LANES],
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..=BLOCKS * 16), 1..=LANES),
        one_sender: [bool; 4],
        one_len: [bool; 4],
        wrong: [Option<prop::sample::Index>; LANES],
    ) {
        for engine in Engine::all() {
            let expanded = masters.map(|master| engine.master(&master));
            let mut batch = Batch::<BLOCKS>::default();
            // Several times: nothing of the time before is left over, but the key of one sender alone.
            for (turn, one_sender) in one_sender.into_iter().enumerate() {
                let messages = &messages[turn.min(messages.len() - 1)..];
                let mut expected = Vec::new();
                let mut right = 0;
                for (lane, message) in messages.iter().enumerate() {
                    let mut message = message.clone();
                    if one_len[turn] {
                        message.resize(messages[0].len(), 7);
                    }
                    let (master, mut sender, short) = senders[if one_sender { 0 } else { (lane + turn) % LANES }];
                    let master = if one_sender { turn / 2 } else { master };
                    // One bit makes another sender.
                    sender[turn] ^= u8::from(lane == 7 && turn == 1);
                    let sender = if short { &sender[..15] } else { &sender[..] };
                    let mut padded = [0; 32];
                    padded[..sender.len()].copy_from_slice(sender);
                    padded[sender.len()] = 0x80;
                    let [first, second] = [*padded.first_chunk().unwrap(), *padded.last_chunk().unwrap()];
                    let of = (master % 3) as u8;
                    if short {
                        batch.derive_short(lane, of, first);
                    } else {
                        batch.derive(lane, of, [first, second]);
                    }
                    put(&mut batch, lane, &message);
                    let mut tag = oracle(&oracle(&masters[master % 3], sender), &message);
                    expected.push(tag);
                    match wrong[lane] {
                        Some(bit) => tag[bit.index(128) / 8] ^= 1 << (bit.index(128) % 8),
                        None => right |= 1 << lane,
                    }
                    batch.expect(lane, tag);
                }
                if one_sender && (messages.len() <= 7 || turn != 1) {
                    batch.all_as_first();
                }
                let tags = engine.tags(&expanded, &mut batch, messages.len()).unwrap();
                prop_assert_eq!(tags, &expected[..]);
                prop_assert_eq!(engine.right(&expanded, &mut batch, messages.len()), Some(right));
            }
        }
    }
}

#[test]
fn what_is_not_there_is_refused() {
    for engine in Engine::all() {
        let masters = [engine.master(&[1; 16])];
        let mut batch = Batch::<2>::default();
        batch.derive(0, 1, [[0; 16]; 2]);
        assert_eq!(engine.tags(&masters, &mut batch, 1), None, "no such master");
        batch.derive(0, 0, [[0; 16]; 2]);
        assert!(engine.tags(&masters, &mut batch, 1).is_some());
        batch.end(0, 33);
        assert_eq!(engine.tags(&masters, &mut batch, 1), None, "three blocks");
        assert_eq!(engine.tags(&[], &mut batch, 1), None, "no master");
    }
}
