//! Loops over many instances at once, compiled twice: for every processor, and for those with AVX2.
//!
//! The compiler vectorises a plain loop as far as the instructions it may use reach, and a program that is to run on every
//! x86_64 may use SSE2 only. [`wide`] runs the very same code compiled for AVX2 where the processor has it; the source is
//! one, so the scalar twin is the code itself.

/// Runs `work`, with AVX2 where there is AVX2. Meant for closures that are `#[inline(always)]` inside and hold the whole
/// loop: what is not inlined into them is compiled for every processor.
#[inline(always)]
pub fn wide<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has been asked for AVX2 in the line above, which is all that `avx2` needs.
        return unsafe { avx2(work) };
    }
    work()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
fn avx2<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_is_done_once_and_its_result_returned() {
        let (mut runs, lanes) = (0, [3_u32; 100]);
        let sum = wide(|| {
            runs += 1;
            lanes
                .iter()
                .zip(1_u32..)
                .map(|(lane, n)| lane * n)
                .sum::<u32>()
        });
        assert_eq!((runs, sum), (1, 3 * 5_050));
    }
}
