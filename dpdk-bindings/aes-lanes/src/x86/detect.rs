//! What the processor has, asked of itself: `core` does not detect, and what detects for it asks VAES to be 512 bits wide.

use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

use crate::Width;

const SSSE3: u32 = 1 << 9;
const SSE4_1: u32 = 1 << 19;
const AES: u32 = 1 << 25;
const OSXSAVE: u32 = 1 << 27;
const AVX: u32 = 1 << 28;
const AVX2: u32 = 1 << 5;
const VAES: u32 = 1 << 9;
/// The operating system keeps xmm and ymm registers.
const YMM_KEPT: u64 = 0b110;

/// The widths that the processor and the operating system support, the narrowest first.
pub(crate) fn widths() -> [Option<Width>; 2] {
    let has = |register: u32, features: u32| register & features == features;
    let leaves = __cpuid(0).eax;
    let basic = __cpuid(1).ecx;
    let one = has(basic, SSSE3 | SSE4_1 | AES);
    let two = one && leaves >= 7 && has(basic, OSXSAVE | AVX) && {
        let extended = __cpuid_count(7, 0);
        // SAFETY: OSXSAVE was found set in the line above, and says that the instruction is there.
        let kept = unsafe { _xgetbv(0) };
        has(extended.ebx, AVX2) && has(extended.ecx, VAES) && kept & YMM_KEPT == YMM_KEPT
    };
    [one.then_some(Width::One), two.then_some(Width::Two)]
}
