//! AES-NI: one lane a register.

use core::arch::x86_64::{
    __m128i, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_and_si128, _mm_blendv_epi8,
    _mm_cmpeq_epi32, _mm_loadu_si128, _mm_or_si128, _mm_set_epi8, _mm_set_epi64x, _mm_set1_epi32,
    _mm_setzero_si128, _mm_shuffle_epi8, _mm_slli_epi64, _mm_slli_si128, _mm_srli_epi64,
    _mm_srli_si128, _mm_storeu_si128, _mm_sub_epi64, _mm_xor_si128,
};

use crate::batch::{Batch, Master, Row};
use crate::{Block, KEYS, LANES};

type V = __m128i;
/// Lanes in a register.
const PER: usize = 1;

kernel!("aes,ssse3,sse4.1");

/// The tags of the first `count` lanes.
#[target_feature(enable = "aes,ssse3,sse4.1")]
pub(crate) fn tags<const BLOCKS: usize>(
    masters: &[&Master; LANES],
    batch: &mut Batch<BLOCKS>,
    count: usize,
) {
    match count {
        0..=2 => run::<2, 0, BLOCKS>(masters, batch),
        3..=4 => run::<4, 0, BLOCKS>(masters, batch),
        _ => run::<8, 0, BLOCKS>(masters, batch),
    }
    match count {
        0..=8 => {}
        9..=10 => run::<2, 8, BLOCKS>(masters, batch),
        11..=12 => run::<4, 8, BLOCKS>(masters, batch),
        _ => run::<8, 8, BLOCKS>(masters, batch),
    }
}

/// The same, where all lanes have the key of the first, from this master.
#[target_feature(enable = "aes,ssse3,sse4.1")]
pub(crate) fn tags_of_one<const BLOCKS: usize>(
    master: &Master,
    batch: &mut Batch<BLOCKS>,
    count: usize,
) {
    settle(master, batch);
    match count {
        0..=2 => run_one::<2, 0, BLOCKS>(batch),
        3..=4 => run_one::<4, 0, BLOCKS>(batch),
        _ => run_one::<8, 0, BLOCKS>(batch),
    }
    match count {
        0..=8 => {}
        9..=10 => run_one::<2, 8, BLOCKS>(batch),
        11..=12 => run_one::<4, 8, BLOCKS>(batch),
        _ => run_one::<8, 8, BLOCKS>(batch),
    }
}

/// A master key, expanded.
#[target_feature(enable = "aes,ssse3,sse4.1")]
pub(crate) fn master(key: &Block) -> Master {
    let mut rows = [[[0; 16]; LANES]; KEYS];
    rows[0][0] = *key;
    let keys = [load(&rows[0], 0)];
    expand::<1, 0>(keys, &mut rows);
    let mut zero = [zero()];
    encrypt!(1, zero, |_, key| load(&rows[key], 0));
    let mut padded = [[0; 16]; LANES];
    store(&mut padded, 0, double(double(zero[0])));
    let mut rounds = [[0; 16]; KEYS];
    for (round, row) in rounds.iter_mut().zip(&mut rows) {
        *round = row[0];
        zeroize::Zeroize::zeroize(&mut row[0]);
    }
    Master {
        rounds,
        padded: padded[0],
    }
}

#[inline]
#[target_feature(enable = "sse2")]
fn load_block(block: &Block) -> V {
    // SAFETY: a block is 16 readable bytes, and the load asks for no alignment.
    unsafe { _mm_loadu_si128(block.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "sse2")]
fn load(row: &Row, lane: usize) -> V {
    load_block(&row[lane])
}

/// Block `at` of the lane's message.
#[inline]
#[target_feature(enable = "sse2")]
fn text<const BLOCKS: usize>(texts: &[[Block; BLOCKS]; LANES], lane: usize, at: usize) -> V {
    load_block(&texts[lane][at])
}

#[inline]
#[target_feature(enable = "sse2")]
fn load_mask(row: &[[u32; 4]; LANES], lane: usize) -> V {
    // SAFETY: four words are 16 readable bytes, and the load asks for no alignment.
    unsafe { _mm_loadu_si128(row[lane].as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "sse2")]
fn store(row: &mut Row, lane: usize, value: V) {
    // SAFETY: a block is 16 writable bytes, and the store asks for no alignment.
    unsafe { _mm_storeu_si128(row[lane].as_mut_ptr().cast(), value) }
}

/// The block in every lane.
#[inline]
#[target_feature(enable = "sse2")]
fn same_in_all(block: &Block) -> V {
    load_block(block)
}

#[inline]
#[target_feature(enable = "sse2")]
fn master_key(masters: &[&Master; LANES], lane: usize, round: usize) -> V {
    load_block(&masters[lane].rounds[round])
}

#[inline]
#[target_feature(enable = "sse2")]
fn master_padded(masters: &[&Master; LANES], lane: usize) -> V {
    load_block(&masters[lane].padded)
}

operations! { "aes,ssse3,sse4.1"
    fn zero() = _mm_setzero_si128();
    fn xor(a: V, b: V) = _mm_xor_si128(a, b);
    fn and(a: V, b: V) = _mm_and_si128(a, b);
    fn same_words(a: V, b: V) = _mm_cmpeq_epi32(a, b);
    fn words(value: i32) = _mm_set1_epi32(value);
    fn choose(no: V, yes: V, mask: V) = _mm_blendv_epi8(no, yes, mask);
    fn round(state: V, key: V) = _mm_aesenc_si128(state, key);
    fn last_round(state: V, key: V) = _mm_aesenclast_si128(state, key);
    fn left_word(value: V) = _mm_slli_si128::<4>(value);
    fn left_half(value: V) = _mm_slli_si128::<8>(value);
    fn rotated_last(key: V) = _mm_shuffle_epi8(key, _mm_set_epi8(12, 15, 14, 13, 12, 15, 14, 13, 12, 15, 14, 13, 12, 15, 14, 13));
    fn reversed(value: V) = _mm_shuffle_epi8(value, _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    fn shifted_halves(value: V) = _mm_slli_epi64::<1>(value);
    fn carries(value: V) = _mm_srli_epi64::<63>(value);
    fn high_half(value: V) = _mm_srli_si128::<8>(value);
    fn minus(value: V) = _mm_sub_epi64(_mm_setzero_si128(), value);
    fn field() = _mm_set_epi64x(0, 0x87);
    fn or(a: V, b: V) = _mm_or_si128(a, b);
}
