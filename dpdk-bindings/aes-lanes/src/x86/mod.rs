//! On x86_64.

pub(crate) mod detect;
#[macro_use]
mod kernel;
pub(crate) mod xmm;
pub(crate) mod ymm;
#[cfg(test)]
mod tests;

use core::arch::x86_64::{_mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8};

use crate::Block;
use crate::batch::Row;

/// Which of the blocks are equal, a bit each. It takes the same time wherever they differ.
#[inline]
pub(crate) fn equal(these: &Row, those: &Row) -> u32 {
    const ALL: i32 = 0xFFFF;
    let equal = |a: &Block, b: &Block| {
        // SAFETY: every x86_64 has SSE2; a block is 16 readable bytes, and the loads ask for no alignment.
        unsafe {
            let (a, b) = (a.as_ptr().cast(), b.as_ptr().cast());
            _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_loadu_si128(a), _mm_loadu_si128(b)))
        }
    };
    let pairs = these.iter().zip(those).enumerate();
    pairs.fold(0, |right, (lane, (a, b))| {
        right | u32::from(equal(a, b) == ALL) << lane
    })
}
