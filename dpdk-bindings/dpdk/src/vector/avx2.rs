//! Loops that the compiler does badly, in AVX2; what each does is said at its caller, beside its twin.

use std::arch::x86_64::{
    __m256i, _mm_cvtsi128_si32, _mm_min_epu32, _mm_shuffle_epi32, _mm256_add_epi32,
    _mm256_and_si256, _mm256_blend_epi32, _mm256_blendv_epi8, _mm256_castsi256_ps,
    _mm256_castsi256_si128, _mm256_cmpeq_epi8, _mm256_cmpeq_epi32, _mm256_cmpgt_epi32,
    _mm256_cmpgt_epi64, _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_min_epu32,
    _mm256_movemask_epi8, _mm256_movemask_ps, _mm256_mul_epu32, _mm256_set1_epi8,
    _mm256_set1_epi32, _mm256_set1_epi64x, _mm256_setr_epi32, _mm256_slli_epi64, _mm256_srli_epi64,
    _mm256_storeu_si256,
};

use super::Masked;

#[target_feature(enable = "avx2")]
#[inline]
fn load(eight: &[u32; 8]) -> __m256i {
    // SAFETY: the load is of the whole array, 32 bytes, and needs no alignment.
    unsafe { _mm256_loadu_si256(eight.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn store(eight: &mut [u32; 8], lanes: __m256i) {
    // SAFETY: the store is of the whole array, 32 bytes, and needs no alignment.
    unsafe { _mm256_storeu_si256(eight.as_mut_ptr().cast(), lanes) }
}

#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn all_match<const N: usize>(wanted: &[Masked; N], texts: [&[u8; 32]; N]) -> bool {
    let load = |bytes: &[u8; 32]| {
        // SAFETY: the load is of the whole array, and needs no alignment.
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    };
    let mut all = _mm256_set1_epi8(-1);
    for (wanted, text) in wanted.iter().zip(texts) {
        let masked = _mm256_and_si256(load(text), load(&wanted.mask));
        all = _mm256_and_si256(all, _mm256_cmpeq_epi8(masked, load(&wanted.bytes)));
    }
    _mm256_movemask_epi8(all) == -1
}

/// All ones in the lanes whose bit is set.
#[target_feature(enable = "avx2")]
#[inline]
fn lanes(byte: u8) -> __m256i {
    let bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    let all = _mm256_set1_epi32(i32::from(byte));
    _mm256_cmpeq_epi32(_mm256_and_si256(all, bits), bits)
}

#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn replace(figures: &mut [u32; 64], which: u64, value: u32) {
    let value = _mm256_set1_epi32(value as i32);
    let eights = figures.as_chunks_mut::<8>().0.iter_mut();
    for (eight, which) in eights.zip(which.to_le_bytes()) {
        let now = load(eight);
        store(eight, _mm256_blendv_epi8(now, value, lanes(which)));
    }
}

#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn add_products(
    sums: &mut [u32; 64],
    base: &[u32; 64],
    (factors, more): (&[u32; 64], u32),
    by: &[u32; 64],
) {
    let more = _mm256_set1_epi32(more.cast_signed());
    let sums = sums.as_chunks_mut::<8>().0.iter_mut();
    let base = base.as_chunks::<8>().0;
    let factors = factors.as_chunks::<8>().0.iter().zip(by.as_chunks::<8>().0);
    for ((sum, base), (factors, by)) in sums.zip(base).zip(factors) {
        let (factors, by) = (_mm256_add_epi32(load(factors), more), load(by));
        // Of the even lanes, the odd lanes: a product takes two.
        let even = _mm256_mul_epu32(factors, by);
        let odd = _mm256_mul_epu32(
            _mm256_srli_epi64::<32>(factors),
            _mm256_srli_epi64::<32>(by),
        );
        let shifted =
            _mm256_blend_epi32::<0xAA>(_mm256_srli_epi64::<16>(even), _mm256_slli_epi64::<16>(odd));
        store(sum, _mm256_add_epi32(load(base), shifted));
    }
}

#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn add_capped_products(
    sums: &mut [u32; 64],
    base: &[u32; 64],
    (factors, more): (&[u32; 64], u32),
    by: &[u32; 64],
    cap: u32,
) {
    let cap = _mm256_set1_epi64x(i64::from(cap));
    let capped = |product| {
        // Below 2⁴⁸: as signed as unsigned.
        let product = _mm256_srli_epi64::<16>(product);
        _mm256_blendv_epi8(product, cap, _mm256_cmpgt_epi64(product, cap))
    };
    let (more, room) = (more.cast_signed(), (!more).cast_signed());
    let (more, room) = (_mm256_set1_epi32(more), _mm256_set1_epi32(room));
    let sums = sums.as_chunks_mut::<8>().0.iter_mut();
    let base = base.as_chunks::<8>().0;
    let factors = factors.as_chunks::<8>().0.iter().zip(by.as_chunks::<8>().0);
    for ((sum, base), (factors, by)) in sums.zip(base).zip(factors) {
        let factors = _mm256_add_epi32(_mm256_min_epu32(load(factors), room), more);
        let by = load(by);
        let even = capped(_mm256_mul_epu32(factors, by));
        let odd = capped(_mm256_mul_epu32(
            _mm256_srli_epi64::<32>(factors),
            _mm256_srli_epi64::<32>(by),
        ));
        let products = _mm256_blend_epi32::<0xAA>(even, _mm256_slli_epi64::<32>(odd));
        store(sum, _mm256_add_epi32(load(base), products));
    }
}

#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn at_most(figures: &[u32; 64], limit: u32) -> u64 {
    let limit = _mm256_set1_epi32(limit as i32);
    let eights = figures.as_chunks::<8>().0.iter().enumerate();
    let over = eights.fold(0, |over, (at, eight)| {
        let lanes = _mm256_cmpgt_epi32(load(eight), limit);
        let bits = _mm256_movemask_ps(_mm256_castsi256_ps(lanes)) as u8;
        over | u64::from(bits) << (8 * at)
    });
    !over
}

#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn least(figures: &[u32; 64], which: u64, limit: u32) -> u32 {
    let limit = _mm256_set1_epi32(limit as i32);
    let mut least = limit;
    let eights = figures.as_chunks::<8>().0.iter();
    if which == u64::MAX {
        for eight in eights {
            least = _mm256_min_epu32(least, load(eight));
        }
    } else {
        for (eight, which) in eights.zip(which.to_le_bytes()) {
            let those = _mm256_blendv_epi8(limit, load(eight), lanes(which));
            least = _mm256_min_epu32(least, those);
        }
    }
    let high = _mm256_extracti128_si256::<1>(least);
    let four = _mm_min_epu32(_mm256_castsi256_si128(least), high);
    let two = _mm_min_epu32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
    let one = _mm_min_epu32(two, _mm_shuffle_epi32::<0b00_00_00_01>(two));
    _mm_cvtsi128_si32(one) as u32
}
