//! Big tables on big pages: a slice whose memory the kernel is asked to back with transparent huge pages.
//!
//! A table of tens of megabytes that is read at random costs a page walk, in a virtual machine a nested one, for nearly
//! every look-up on pages of 4 KiB; a prefetch does not hide it. The ordinary allocator gives no say in this, so these
//! slices are mapped by themselves. Where the kernel has no huge pages to give they are ordinary memory.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};

/// Transparent huge pages of x86_64 and of aarch64 with 4 KiB base pages.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// A slice of fixed length in a mapping of its own.
pub struct HugeSlice<T: Copy> {
    first: NonNull<T>,
    len: usize,
    /// Bytes mapped; 0 where nothing is, because the slice has no bytes.
    mapped: usize,
}

// SAFETY: the slice owns its memory as a Box<[T]> does.
unsafe impl<T: Copy + Send> Send for HugeSlice<T> {}
// SAFETY: shared access only reads, as with Box<[T]>.
unsafe impl<T: Copy + Sync> Sync for HugeSlice<T> {}

impl<T: Copy> HugeSlice<T> {
    /// `len` copies of `value`.
    ///
    /// Every page is written, so the memory is there, on the NUMA node of the calling thread, when this returns. Like the
    /// standard collections, it ends the process where there is no memory.
    #[must_use]
    pub fn filled(len: usize, value: T) -> Self {
        let bytes = size_of::<T>().checked_mul(len);
        let Some(bytes) = bytes.filter(|bytes| *bytes <= isize::MAX as usize - HUGE_PAGE_BYTES)
        else {
            std::alloc::handle_alloc_error(std::alloc::Layout::new::<T>());
        };
        if bytes == 0 {
            return Self {
                first: NonNull::dangling(),
                len,
                mapped: 0,
            };
        }
        let (first, mapped) = map(bytes);
        let first = first.cast::<T>();
        for at in 0..len {
            // SAFETY: `at < len`, and the mapping holds `len` values of T: it is at least `bytes` long, writable, and
            // aligned to a page, which no T's alignment exceeds (asserted below).
            unsafe { first.add(at).write(value) };
        }
        Self { first, len, mapped }
    }

    const ALIGNED: () = assert!(align_of::<T>() <= 4_096, "a page is aligned enough");
}

/// Maps `bytes` of zeroed memory, more than none, and asks for huge pages.
fn map(bytes: usize) -> (NonNull<u8>, usize) {
    let mapped = if bytes >= HUGE_PAGE_BYTES {
        bytes.next_multiple_of(HUGE_PAGE_BYTES)
    } else {
        bytes
    };
    // SAFETY: a fresh private anonymous mapping touches no memory that is in use.
    let address = unsafe {
        libc::mmap(
            ptr::null_mut(),
            mapped,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    let mapping = NonNull::new(address.cast::<u8>());
    let Some(first) = mapping.filter(|_| address != libc::MAP_FAILED) else {
        std::alloc::handle_alloc_error(std::alloc::Layout::new::<[u8; HUGE_PAGE_BYTES]>());
    };
    if mapped >= HUGE_PAGE_BYTES {
        // SAFETY: the range is the mapping just made. The advice changes no contents; a kernel without transparent huge
        // pages refuses it, which costs speed only.
        unsafe { libc::madvise(address, mapped, libc::MADV_HUGEPAGE) };
    }
    (first, mapped)
}

impl<T: Copy> Drop for HugeSlice<T> {
    fn drop(&mut self) {
        if self.mapped != 0 {
            // SAFETY: the mapping is this slice's own, whole, and nothing borrows from it any more. T is Copy: its values
            // need no drop.
            unsafe { libc::munmap(self.first.as_ptr().cast(), self.mapped) };
        }
    }
}

impl<T: Copy> Deref for HugeSlice<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        const { Self::ALIGNED };
        // SAFETY: `len` initialised values are at `first` (dangling but aligned where they have no bytes), owned by self.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl<T: Copy> DerefMut for HugeSlice<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in deref, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.len) }
    }
}

impl<T: Copy> Clone for HugeSlice<T> {
    fn clone(&self) -> Self {
        match self.first() {
            Some(value) => {
                let mut copy = Self::filled(self.len, *value);
                copy.copy_from_slice(self);
                copy
            }
            None => Self {
                first: NonNull::dangling(),
                len: 0,
                mapped: 0,
            },
        }
    }
}

impl<T: Copy + PartialEq> PartialEq for HugeSlice<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Copy + Eq> Eq for HugeSlice<T> {}

impl<T: Copy + fmt::Debug> fmt::Debug for HugeSlice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HugeSlice")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// A power of two of places that hashes fall into.
pub struct HashedSlice<T: Copy> {
    /// Never empty, its length a power of two.
    places: HugeSlice<T>,
    /// One less than that.
    mask: usize,
}

impl<T: Copy> HashedSlice<T> {
    /// `len` copies of `value`, or as many as the next power of two; see [`HugeSlice::filled`].
    #[must_use]
    pub fn filled(len: usize, value: T) -> Self {
        let len = len.next_power_of_two();
        Self {
            places: HugeSlice::filled(len, value),
            mask: len - 1,
        }
    }

    /// What makes of a hash the number of its place.
    #[inline(always)]
    #[must_use]
    pub fn mask(&self) -> usize {
        self.mask
    }

    /// The place that the lowest bits of `hash` name.
    #[inline(always)]
    #[must_use]
    pub fn at(&self, hash: usize) -> &T {
        // SAFETY: `mask` is one less than the length, which is at least one, and what is masked by it is at most that.
        unsafe { self.places.get_unchecked(hash & self.mask) }
    }

    /// The same, to change.
    #[inline(always)]
    #[must_use]
    pub fn at_mut(&mut self, hash: usize) -> &mut T {
        let at = hash & self.mask;
        // SAFETY: as in `at`.
        unsafe { self.places.get_unchecked_mut(at) }
    }

    /// To look at it in a loop: what it takes to find a place is in hand, whatever is written meanwhile.
    #[inline(always)]
    #[must_use]
    pub fn view(&self) -> HashedView<'_, T> {
        HashedView {
            places: &self.places,
            offsets: self.mask * size_of::<T>(),
        }
    }
}

/// A [`HashedSlice`] for who looks at many of its places.
#[derive(Clone, Copy)]
pub struct HashedView<'a, T> {
    places: &'a [T],
    /// Each bit that a place's offset in bytes may have.
    offsets: usize,
}

impl<'a, T> HashedView<'a, T> {
    /// The place that `hash` names by the bits above the lowest log₂ of `T`'s size, which is to be a power of two: so they need not
    /// be moved to be an offset.
    #[inline(always)]
    #[must_use]
    pub fn at_offset(self, hash: usize) -> &'a T {
        const { assert!(size_of::<T>().is_power_of_two()) };
        let first = self.places.as_ptr();
        // SAFETY: `offsets` is one less than the length, which is a power of two, times the size of T, which is another: what is
        // masked by it is the offset of a place.
        unsafe { &*first.byte_add(hash & self.offsets) }
    }
}

impl<T: Copy> Deref for HashedSlice<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        &self.places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_fall_into_places() {
        for (asked, made) in [(0, 1), (1, 1), (3, 4), (4, 4), (5, 8)] {
            let mut places = HashedSlice::filled(asked, usize::MAX);
            assert_eq!((places.len(), places.mask()), (made, made - 1));
            for at in 0..made {
                *places.at_mut(at | (made * 5)) = at;
            }
            for hash in [0, 1, made - 1, made, 3 * made + 1, usize::MAX] {
                assert_eq!(*places.at(hash), hash % made);
                assert_eq!(
                    *places.view().at_offset(hash),
                    hash / size_of::<usize>() % made
                );
            }
        }
    }

    #[test]
    fn holds_what_it_was_filled_with_and_what_was_written() {
        for len in [
            1,
            1_000,
            HUGE_PAGE_BYTES / 8 - 1,
            HUGE_PAGE_BYTES / 8 * 3 + 5,
        ] {
            let mut slice = HugeSlice::filled(len, 7_u64);
            assert_eq!(slice.len(), len);
            assert!(slice.iter().all(|value| *value == 7));
            slice[len - 1] = 9;
            let copy = slice.clone();
            assert_eq!(copy[len - 1], 9);
            assert_eq!(copy, slice);
        }
    }

    #[test]
    fn keeps_the_alignment_of_its_type() {
        #[derive(Clone, Copy)]
        #[repr(align(64))]
        struct Line([u8; 64]);
        let slice = HugeSlice::filled(3, Line([1; 64]));
        assert_eq!(slice.as_ptr().addr() % 64, 0);
        assert_eq!(slice[2].0[63], 1);
    }

    #[test]
    fn may_be_empty_or_of_nothing() {
        assert!(HugeSlice::filled(0, 1_u8).is_empty());
        assert!(HugeSlice::filled(0, 1_u8).clone().is_empty());
        assert_eq!(HugeSlice::filled(5, ()).len(), 5);
    }
}
