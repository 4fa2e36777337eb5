//! VAES in 256 bits: two lanes a register.

use core::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm_set_epi8, _mm256_aesenc_epi128, _mm256_aesenclast_epi128,
    _mm256_and_si256, _mm256_blendv_epi8, _mm256_broadcastsi128_si256, _mm256_castsi256_pd,
    _mm256_cmpeq_epi32, _mm256_cmpeq_epi64, _mm256_loadu_si256, _mm256_movemask_epi8,
    _mm256_movemask_pd, _mm256_or_si256, _mm256_set_m128i, _mm256_set1_epi32, _mm256_setr_epi64x,
    _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_epi64, _mm256_slli_si256,
    _mm256_srli_epi64, _mm256_srli_si256, _mm256_storeu_si256, _mm256_sub_epi64, _mm256_xor_si256,
};

use crate::batch::{Batch, Master, Row};
use crate::{Block, KEYS, LANES};

type V = __m256i;
/// Lanes in a register.
const PER: usize = 2;
const _: () = assert!(
    LANES * 2 == u32::BITS as usize,
    "`equal` has two bits a lane"
);

kernel!("aes,vaes,avx2");

/// The tags of the first `count` lanes.
#[target_feature(enable = "aes,vaes,avx2")]
pub(crate) fn tags<const BLOCKS: usize>(
    masters: &[&Master; LANES],
    batch: &mut Batch<BLOCKS>,
    count: usize,
) {
    match count {
        0..=2 => run::<1, 0, BLOCKS>(masters, batch),
        3..=4 => run::<2, 0, BLOCKS>(masters, batch),
        5..=8 => run::<4, 0, BLOCKS>(masters, batch),
        _ => run::<8, 0, BLOCKS>(masters, batch),
    }
}

/// The same, where all lanes have the key of the first, from this master.
#[target_feature(enable = "aes,vaes,avx2")]
pub(crate) fn tags_of_one<const BLOCKS: usize>(
    master: &Master,
    batch: &mut Batch<BLOCKS>,
    count: usize,
) {
    settle(master, batch);
    match count {
        0..=2 => run_one::<1, 0, BLOCKS>(batch),
        3..=4 => run_one::<2, 0, BLOCKS>(batch),
        5..=8 => run_one::<4, 0, BLOCKS>(batch),
        _ => run_one::<8, 0, BLOCKS>(batch),
    }
}

/// Which of the blocks are equal, a bit each. It takes the same time wherever they differ, and less where all are equal.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn equal(these: &Row, those: &Row) -> u32 {
    let same = |lane| _mm256_cmpeq_epi64(load(these, lane), load(those, lane));
    let mut all = same(0);
    for lane in (PER..LANES).step_by(PER) {
        all = _mm256_and_si256(all, same(lane));
    }
    if _mm256_movemask_epi8(all) == -1 {
        return (1 << LANES) - 1;
    }
    // Two bits a lane, one a half.
    let mut halves = 0;
    for lane in (0..LANES).step_by(PER) {
        halves |= (_mm256_movemask_pd(_mm256_castsi256_pd(same(lane))) as u32) << (2 * lane);
    }
    // Those of which both are, moved together.
    let mut both = halves & halves >> 1 & 0x5555_5555;
    both = (both | both >> 1) & 0x3333_3333;
    both = (both | both >> 2) & 0x0F0F_0F0F;
    both = (both | both >> 4) & 0x00FF_00FF;
    (both | both >> 8) & 0xFFFF
}

/// Two blocks.
#[inline]
#[target_feature(enable = "avx2")]
fn pair(low: &Block, high: &Block) -> V {
    // SAFETY: a block is 16 readable bytes, and the load asks for no alignment.
    let (low, high) = unsafe {
        (
            _mm_loadu_si128(low.as_ptr().cast()),
            _mm_loadu_si128(high.as_ptr().cast()),
        )
    };
    _mm256_set_m128i(high, low)
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(row: &Row, lane: usize) -> V {
    let two = &row[lane..lane + 2];
    // SAFETY: two blocks in a row are 32 readable bytes, and the load asks for no alignment.
    unsafe { _mm256_loadu_si256(two.as_ptr().cast()) }
}

/// Block `at` of the lanes' messages.
#[inline]
#[target_feature(enable = "avx2")]
fn text<const BLOCKS: usize>(texts: &[[Block; BLOCKS]; LANES], lane: usize, at: usize) -> V {
    pair(&texts[lane][at], &texts[lane + 1][at])
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_mask(row: &[[u32; 4]; LANES], lane: usize) -> V {
    let two = &row[lane..lane + 2];
    // SAFETY: twice four words in a row are 32 readable bytes, and the load asks for no alignment.
    unsafe { _mm256_loadu_si256(two.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(row: &mut Row, lane: usize, value: V) {
    let two = &mut row[lane..lane + 2];
    // SAFETY: two blocks in a row are 32 writable bytes, and the store asks for no alignment.
    unsafe { _mm256_storeu_si256(two.as_mut_ptr().cast(), value) }
}

/// The block in every lane.
#[inline]
#[target_feature(enable = "avx2")]
fn same_in_all(block: &Block) -> V {
    // SAFETY: a block is 16 readable bytes, and the load asks for no alignment.
    let one = unsafe { _mm_loadu_si128(block.as_ptr().cast()) };
    _mm256_broadcastsi128_si256(one)
}

#[inline]
#[target_feature(enable = "avx2")]
fn master_key(masters: &[&Master; LANES], lane: usize, round: usize) -> V {
    pair(
        &masters[lane].rounds[round],
        &masters[lane + 1].rounds[round],
    )
}

#[inline]
#[target_feature(enable = "avx2")]
fn master_padded(masters: &[&Master; LANES], lane: usize) -> V {
    pair(&masters[lane].padded, &masters[lane + 1].padded)
}

operations! { "aes,vaes,avx2"
    fn zero() = _mm256_setzero_si256();
    fn xor(a: V, b: V) = _mm256_xor_si256(a, b);
    fn and(a: V, b: V) = _mm256_and_si256(a, b);
    fn same_words(a: V, b: V) = _mm256_cmpeq_epi32(a, b);
    fn words(value: i32) = _mm256_set1_epi32(value);
    fn choose(no: V, yes: V, mask: V) = _mm256_blendv_epi8(no, yes, mask);
    fn round(state: V, key: V) = _mm256_aesenc_epi128(state, key);
    fn last_round(state: V, key: V) = _mm256_aesenclast_epi128(state, key);
    fn left_word(value: V) = _mm256_slli_si256::<4>(value);
    fn left_half(value: V) = _mm256_slli_si256::<8>(value);
    fn rotated_last(key: V) = _mm256_shuffle_epi8(key, _mm256_broadcastsi128_si256(_mm_set_epi8(12, 15, 14, 13, 12, 15, 14, 13, 12, 15, 14, 13, 12, 15, 14, 13)));
    fn reversed(value: V) = _mm256_shuffle_epi8(value, _mm256_broadcastsi128_si256(_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)));
    fn shifted_halves(value: V) = _mm256_slli_epi64::<1>(value);
    fn carries(value: V) = _mm256_srli_epi64::<63>(value);
    fn high_half(value: V) = _mm256_srli_si256::<8>(value);
    fn minus(value: V) = _mm256_sub_epi64(_mm256_setzero_si256(), value);
    fn field() = _mm256_setr_epi64x(0x87, 0, 0x87, 0);
    fn or(a: V, b: V) = _mm256_or_si256(a, b);
}
