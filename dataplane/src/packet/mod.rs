//! Packets: the buffer the path is generic over, and what is read from and written to the bytes in it.

pub mod bytes;
pub mod parse;
mod parsed;
pub mod protocol;
pub mod strip;
pub mod icmp6;
pub mod tcp;
pub mod encap;
mod vec_buf;

pub use vec_buf::{VecBuf, VecPool};

/// Bytes kept free before a received frame, for the outer header.
pub const HEADROOM: usize = 128;

/// One frame, from its Ethernet header on, in one piece.
pub trait PacketBuf {
    /// The frame.
    fn data(&self) -> &[u8];

    /// The frame, to be changed.
    fn data_mut(&mut self) -> &mut [u8];

    /// Makes the frame `n` bytes longer at its front and returns the whole; `None`, and nothing changed, where there
    /// is no room. The new bytes hold anything.
    fn prepend(&mut self, n: usize) -> Option<&mut [u8]>;

    /// The same, and returns the frame's first `N` bytes instead; `None`, and nothing changed, also where it would have fewer.
    #[inline(always)]
    fn prepend_head<const N: usize>(&mut self, n: u16) -> Option<&mut [u8; N]>
    where
        Self: Sized,
    {
        let n = usize::from(n);
        if self.data().len() + n < N {
            return None;
        }
        self.prepend(n)?.first_chunk_mut()
    }

    /// Whether [`Self::prepend`] has room for `n` bytes.
    fn has_headroom(&self, n: usize) -> bool;

    /// Takes `n` bytes off the front; `false`, and nothing changed, where the frame is shorter.
    fn adj(&mut self, n: usize) -> bool;

    /// The same, and returns the frame's first `N` bytes; `None`, and nothing changed, also where it would have fewer.
    #[inline(always)]
    fn adj_head<const N: usize>(&mut self, n: u16) -> Option<&mut [u8; N]>
    where
        Self: Sized,
    {
        let n = usize::from(n);
        if self.data().len() < n + N || !self.adj(n) {
            return None;
        }
        self.data_mut().first_chunk_mut()
    }

    /// Makes the frame `n` bytes longer at its end and returns the whole; `None` where there is no room.
    fn append(&mut self, n: usize) -> Option<&mut [u8]>;

    /// Cuts the frame to `len` bytes; `false`, and nothing changed, where it is shorter.
    fn truncate(&mut self, len: usize) -> bool;

    /// Whether the frame lies in one buffer.
    fn is_contiguous(&self) -> bool;
}

/// Where packets that the AFR makes itself come from.
pub trait PacketPool {
    /// The buffers it hands out.
    type Buf: PacketBuf;

    /// An empty frame with [`HEADROOM`] before it, or `None` where the pool is exhausted.
    fn alloc(&mut self) -> Option<Self::Buf>;
}
