//! Code compiled twice: for every processor of its kind, and for those of the last ten years.
//!
//! The compiler uses only the instructions that every x86_64 has, which is what a program that is to run on all of them may use: a
//! plain loop is vectorised with SSE2 only. [`wide`] runs the very same code compiled for x86-64-v3 (AVX2, BMI, MOVBE), AES-NI and
//! PCLMULQDQ where the processor has them; the source is one, so the scalar twin is the code itself. What the
//! compiler does badly is written out in AVX2, each with a plain loop as its twin, and a test holds one against the other.

#[cfg(target_arch = "x86_64")]
mod avx2;

#[cfg(target_arch = "x86_64")]
use std::sync::atomic::{AtomicU8, Ordering};

/// What the code in hand may use, as [`wide`] tells it: known where it is compiled, so that nothing is asked at run time.
#[derive(Debug, Clone, Copy)]
pub struct Level {
    /// Only ever where the processor has been asked for every feature that `v3` needs.
    wide: bool,
}

impl Level {
    /// What every processor has.
    pub const LEAST: Self = Self { wide: false };

    /// Whether it has what [`wide`] says.
    #[inline(always)]
    pub(crate) const fn is_wide(self) -> bool {
        self.wide
    }

    /// The processor's, asked for.
    #[inline(always)]
    #[must_use]
    pub fn here() -> Self {
        Self {
            #[cfg(target_arch = "x86_64")]
            wide: is_wide(),
            #[cfg(not(target_arch = "x86_64"))]
            wide: false,
        }
    }
}

/// Runs `work`, with the instructions of x86-64-v3 where there are, and tells it which it is. Meant for closures that are
/// `#[inline(always)]` inside and hold the whole loop: what is not inlined into them is compiled for every processor.
#[inline(always)]
pub fn wide<R>(work: impl FnOnce(Level) -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    if is_wide() {
        // SAFETY: the processor has been asked for every feature that `v3` needs.
        return unsafe { v3(work) };
    }
    work(Level::LEAST)
}

/// Whether the processor has every feature that `v3` enables.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn is_wide() -> bool {
    const YES: u8 = 1;
    const NO: u8 = 2;
    static KNOWN: AtomicU8 = AtomicU8::new(0);
    /// Once: the standard library's own answer is asked for feature by feature.
    #[cold]
    fn ask() -> bool {
        use std::arch::is_x86_feature_detected as has;
        let all = has!("aes")
            && has!("avx2")
            && has!("bmi1")
            && has!("bmi2")
            && has!("lzcnt")
            && has!("movbe")
            && has!("pclmulqdq")
            && has!("popcnt");
        KNOWN.store(if all { YES } else { NO }, Ordering::Relaxed);
        all
    }
    match KNOWN.load(Ordering::Relaxed) {
        YES => true,
        NO => false,
        _ => ask(),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "aes,avx2,bmi1,bmi2,lzcnt,movbe,pclmulqdq,popcnt")]
#[inline]
fn v3<R>(work: impl FnOnce(Level) -> R) -> R {
    work(Level { wide: true })
}

/// The bits of `byte` spread over eight lanes: all ones where the bit is set. Loops over the lanes become vector instructions.
#[inline(always)]
#[must_use]
fn lanes(byte: u8) -> [u32; 8] {
    std::array::from_fn(|lane| 0_u32.wrapping_sub(u32::from(byte) >> lane & 1))
}

/// Sets the figures in `which`, a bit each, to `value`.
#[inline(always)]
pub fn replace(figures: &mut [u32; 64], which: u64, value: u32) {
    #[cfg(target_arch = "x86_64")]
    if is_wide() {
        // SAFETY: the processor has been asked in the line above for all that x86-64-v3 has, AVX2 among it.
        return unsafe { avx2::replace(figures, which, value) };
    }
    each_replaced(figures, which, value);
}

/// Makes of each figure of `base` its sum with (`factors` + `more`)·`by` ≫ 16. Each factor with `more` is to be below 2³², each
/// product below 2⁴⁸, and each sum below 2³².
#[inline(always)]
pub fn add_products(
    sums: &mut [u32; 64],
    base: &[u32; 64],
    (factors, more): (&[u32; 64], u32),
    by: &[u32; 64],
) {
    #[cfg(target_arch = "x86_64")]
    if is_wide() {
        // SAFETY: the processor has been asked in the line above for all that x86-64-v3 has, AVX2 among it.
        return unsafe { avx2::add_products(sums, base, (factors, more), by) };
    }
    each_sum(sums, base, (factors, more), by);
}

/// As [`add_products`] for any figures: where a factor with `more` is no 32 bits it is 2³² − 1, and a product counts as `cap` at
/// the most. Each sum is to be below 2³².
#[inline(always)]
pub fn add_capped_products(
    sums: &mut [u32; 64],
    base: &[u32; 64],
    (factors, more): (&[u32; 64], u32),
    by: &[u32; 64],
    cap: u32,
) {
    #[cfg(target_arch = "x86_64")]
    if is_wide() {
        // SAFETY: the processor has been asked in the line above for all that x86-64-v3 has, AVX2 among it.
        return unsafe { avx2::add_capped_products(sums, base, (factors, more), by, cap) };
    }
    each_capped_sum(sums, base, (factors, more), by, cap);
}

/// The smallest of the figures, all of which are at most `limit`, in `which`, a bit each; `limit` where there is none.
#[inline(always)]
#[must_use]
pub fn least(figures: &[u32; 64], which: u64, limit: u32) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if is_wide() {
        // SAFETY: the processor has been asked in the line above for all that x86-64-v3 has, AVX2 among it.
        return unsafe { avx2::least(figures, which, limit) };
    }
    each_least(figures, which, limit)
}

/// As [`replace`], one by one.
#[inline(always)]
fn each_replaced(figures: &mut [u32; 64], which: u64, value: u32) {
    let eights = figures.as_chunks_mut::<8>().0.iter_mut();
    for (figures, which) in eights.zip(which.to_le_bytes()) {
        for (figure, lane) in figures.iter_mut().zip(lanes(which)) {
            *figure ^= (*figure ^ value) & lane;
        }
    }
}

/// As [`add_products`], one by one.
#[inline(always)]
fn each_sum(
    sums: &mut [u32; 64],
    base: &[u32; 64],
    (factors, more): (&[u32; 64], u32),
    by: &[u32; 64],
) {
    let factors = factors.iter().zip(by);
    for ((sum, base), (factor, by)) in sums.iter_mut().zip(base).zip(factors) {
        *sum = base + ((u64::from(*factor + more) * u64::from(*by)) >> 16) as u32;
    }
}

/// As [`add_capped_products`], one by one.
#[inline(always)]
fn each_capped_sum(
    sums: &mut [u32; 64],
    base: &[u32; 64],
    (factors, more): (&[u32; 64], u32),
    by: &[u32; 64],
    cap: u32,
) {
    let factors = factors.iter().zip(by);
    for ((sum, base), (factor, by)) in sums.iter_mut().zip(base).zip(factors) {
        let product = u64::from(factor.saturating_add(more)) * u64::from(*by);
        *sum = base + (product >> 16).min(u64::from(cap)) as u32;
    }
}

/// As [`least`], one by one.
#[inline(always)]
fn each_least(figures: &[u32; 64], which: u64, limit: u32) -> u32 {
    let mut least = [limit; 8];
    let eights = figures.as_chunks::<8>().0.iter();
    for (figures, which) in eights.zip(which.to_le_bytes()) {
        let each = least.iter_mut().zip(figures).zip(lanes(which));
        for ((least, figure), lane) in each {
            *least = (*least).min(*figure & lane | limit & !lane);
        }
    }
    least.iter().fold(limit, |least, figure| least.min(*figure))
}

/// A bit for each figure that is at most `limit`. All of them are below 2³¹.
#[inline(always)]
#[must_use]
pub fn at_most(figures: &[u32; 64], limit: u32) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if is_wide() {
        // SAFETY: the processor has been asked in the line above for all that x86-64-v3 has, AVX2 among it.
        return unsafe { avx2::at_most(figures, limit) };
    }
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{
            __m128i, _mm_cmpgt_epi32, _mm_loadu_si128, _mm_movemask_epi8, _mm_packs_epi16,
            _mm_packs_epi32, _mm_set1_epi32,
        };
        let mut bits = 0;
        for (at, sixteen) in figures.as_chunks::<16>().0.iter().enumerate() {
            let [a, b, c, d] = sixteen.as_chunks::<4>().0 else {
                continue;
            };
            // SAFETY: every x86_64 has SSE2, which is all that these need; a load is of four figures, 16 bytes, and needs no
            // alignment.
            let over = unsafe {
                let limit = _mm_set1_epi32(limit as i32);
                let over = |four: &[u32; 4]| {
                    _mm_cmpgt_epi32(_mm_loadu_si128(four.as_ptr().cast::<__m128i>()), limit)
                };
                let low = _mm_packs_epi32(over(a), over(b));
                let high = _mm_packs_epi32(over(c), over(d));
                _mm_movemask_epi8(_mm_packs_epi16(low, high))
            };
            bits |= u64::from(over as u16) << (16 * at);
        }
        !bits
    }
    #[cfg(not(target_arch = "x86_64"))]
    each_at_most(figures, limit)
}

/// A bit for each of twelve figures that is `wanted`.
#[inline(always)]
#[must_use]
pub fn equal(figures: &[u16; 12], wanted: u16) -> u32 {
    #[cfg(target_arch = "x86_64")]
    // Behind the twelve the second vector has zeros.
    return sixteen_equal(figures, wanted) & 0xFFF;
    #[cfg(not(target_arch = "x86_64"))]
    each_equal(figures, wanted)
}

/// The place of the first of twelve figures that is `wanted`; where none is, anything from twelve up.
#[inline(always)]
#[must_use]
pub fn first_equal(figures: &[u16; 12], wanted: u16) -> usize {
    #[cfg(target_arch = "x86_64")]
    let found = sixteen_equal(figures, wanted);
    #[cfg(not(target_arch = "x86_64"))]
    let found = each_equal(figures, wanted);
    // In the width of a place, for which it needs no other instruction.
    u64::from(found).trailing_zeros() as usize
}

/// A bit for each of twelve figures, and four zeros behind them, that is `wanted`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn sixteen_equal(figures: &[u16; 12], wanted: u16) -> u32 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi16, _mm_loadl_epi64, _mm_loadu_si128, _mm_movemask_epi8,
        _mm_packs_epi16, _mm_set1_epi16,
    };
    // SAFETY: every x86_64 has SSE2, which is all that these need; the loads are of the first eight figures and of the last
    // four, and need no alignment.
    unsafe {
        let wanted = _mm_set1_epi16(wanted as i16);
        let first = figures.as_ptr();
        let low = _mm_loadu_si128(first.cast::<__m128i>());
        let high = _mm_loadl_epi64(first.add(8).cast::<__m128i>());
        _mm_movemask_epi8(_mm_packs_epi16(
            _mm_cmpeq_epi16(low, wanted),
            _mm_cmpeq_epi16(high, wanted),
        )) as u32
    }
}

/// Thirty-two bytes that others are compared with, in the bits of a mask.
#[derive(Debug, Clone, Copy)]
pub struct Masked {
    bytes: [u8; 32],
    mask: [u8; 32],
}

impl Masked {
    /// What nothing matches.
    pub const NOTHING: Self = Self {
        bytes: [0xFF; 32],
        mask: [0; 32],
    };

    /// What matches `bytes`, and all that differs from them outside `mask` only.
    #[must_use]
    pub fn new(mut bytes: [u8; 32], mask: [u8; 32]) -> Self {
        for (byte, mask) in bytes.iter_mut().zip(mask) {
            *byte &= mask;
        }
        Self { bytes, mask }
    }

    // Not in line, where it would keep what it shares with what is around it in registers.
    #[inline(never)]
    fn matches(&self, text: &[u8; 32]) -> bool {
        Self::new(*text, self.mask).bytes == self.bytes
    }
}

/// Whether each of the texts matches.
#[inline(always)]
#[must_use]
pub fn all_match<const N: usize>(
    level: Level,
    wanted: &[Masked; N],
    texts: [&[u8; 32]; N],
) -> bool {
    #[cfg(target_arch = "x86_64")]
    if level.wide {
        // SAFETY: there is such a level only where the processor has been asked for all that x86-64-v3 has, AVX2 among it.
        return unsafe { avx2::all_match(wanted, texts) };
    }
    each_matches(wanted, texts)
}

/// As [`all_match`], one by one.
#[inline(always)]
fn each_matches<const N: usize>(wanted: &[Masked; N], texts: [&[u8; 32]; N]) -> bool {
    wanted
        .iter()
        .zip(texts)
        .all(|(one, text)| one.matches(text))
}

/// As [`equal`], one by one.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn each_equal(figures: &[u16; 12], wanted: u16) -> u32 {
    let bits = figures.iter().enumerate();
    bits.fold(0, |bits, (at, figure)| {
        bits | u32::from(*figure == wanted) << at
    })
}

/// As [`at_most`], one by one.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn each_at_most(figures: &[u32; 64], limit: u32) -> u64 {
    let bits = figures.iter().enumerate();
    bits.fold(0, |bits, (at, figure)| {
        bits | u64::from(*figure <= limit) << at
    })
}

#[cfg(test)]
mod tests;
