//! A packet buffer in ordinary memory, for everything that runs without EAL.

use super::{HEADROOM, PacketBuf, PacketPool};

/// A frame in a vector with headroom before it, behaving as an mbuf does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VecBuf {
    storage: Vec<u8>,
    start: usize,
    capacity: usize,
}

impl VecBuf {
    /// A buffer that holds `frame`, with [`HEADROOM`] before it and room to 2,048 bytes after.
    #[must_use]
    pub fn new(frame: &[u8]) -> Self {
        let capacity = HEADROOM + frame.len().max(2_048);
        let mut storage = Vec::with_capacity(capacity);
        storage.resize(HEADROOM, 0);
        storage.extend_from_slice(frame);
        Self {
            storage,
            start: HEADROOM,
            capacity,
        }
    }

    /// Puts another frame into the buffer, as a receive does, without allocating where it fits.
    pub fn refill(&mut self, frame: &[u8]) {
        self.start = HEADROOM;
        self.storage.truncate(HEADROOM);
        self.storage.resize(HEADROOM, 0);
        self.storage.extend_from_slice(frame);
    }
}

impl PacketBuf for VecBuf {
    #[inline]
    fn data(&self) -> &[u8] {
        &self.storage[self.start..]
    }

    #[inline]
    fn data_mut(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..]
    }

    #[inline]
    fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        self.start = self.start.checked_sub(n)?;
        Some(self.data_mut())
    }

    #[inline]
    fn has_headroom(&self, n: usize) -> bool {
        self.start >= n
    }

    #[inline]
    fn adj(&mut self, n: usize) -> bool {
        let fits = self.storage.len() - self.start >= n;
        if fits {
            self.start += n;
        }
        fits
    }

    #[inline]
    fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        let len = self.storage.len() + n;
        if len > self.capacity {
            return None;
        }
        self.storage.resize(len, 0);
        Some(self.data_mut())
    }

    #[inline]
    fn truncate(&mut self, len: usize) -> bool {
        let fits = self.storage.len() - self.start >= len;
        if fits {
            self.storage.truncate(self.start + len);
        }
        fits
    }

    fn is_contiguous(&self) -> bool {
        true
    }
}

/// Hands out up to a number of [`VecBuf`]s.
#[derive(Debug)]
pub struct VecPool {
    left: usize,
}

impl VecPool {
    /// A pool of `buffers`.
    #[must_use]
    pub const fn new(buffers: usize) -> Self {
        Self { left: buffers }
    }
}

impl PacketPool for VecPool {
    type Buf = VecBuf;

    fn alloc(&mut self) -> Option<VecBuf> {
        self.left = self.left.checked_sub(1)?;
        Some(VecBuf::new(&[]))
    }
}
