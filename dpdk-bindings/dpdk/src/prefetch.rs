//! Hints to bring memory into the cache before it is read. A hint never faults and never changes a result.

/// Bytes fetched by one hint.
const CACHE_LINE_BYTES: usize = 64;

/// Asks for the cache line in which `value` begins.
#[inline(always)]
pub fn prefetch_read<T>(value: &T) {
    line(core::ptr::from_ref(value).cast());
}

/// Asks for the cache line in which the value at `at` of `values` begins, or would begin if there were so many.
#[inline(always)]
pub fn prefetch_at<T>(values: &[T], at: usize) {
    line(values.as_ptr().wrapping_add(at).cast());
}

/// Asks for every cache line of `bytes`; narrow the slice to what will be read soon.
#[inline(always)]
pub fn prefetch_slice(bytes: &[u8]) {
    for chunk in bytes.chunks(CACHE_LINE_BYTES) {
        line(chunk.as_ptr());
    }
}

/// Asks for the line at `address`, for reading, into all levels.
#[inline(always)]
pub(crate) fn line(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: PREFETCHT0 is part of SSE, which every x86_64 has, and faults at no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(target_arch = "aarch64")]
    {
        // SAFETY: PRFM faults at no address, and writes neither memory nor registers.
        unsafe {
            core::arch::asm!("prfm pldl1keep, [{0}]", in(reg) address, options(nostack, readonly, preserves_flags));
        }
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hint is only a hint: it must not fault, not even at the null page.
    #[test]
    fn no_address_faults() {
        prefetch_read(&7_u64);
        prefetch_at(&[7_u64], 0);
        prefetch_at(&[7_u64], usize::MAX / 8);
        prefetch_slice(&[]);
        prefetch_slice(&[1; 300]);
        line(core::ptr::null());
        line(core::ptr::without_provenance(usize::MAX));
    }
}
