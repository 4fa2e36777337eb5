//! AES-CMAC (RFC 4493) of many messages at once, each under a key of its own that is derived on the spot.
//!
//! A CMAC is a chain in which each block waits for the one before, so that one message alone leaves the processor's AES unit
//! idle for most of the time. Here the chains of up to [`LANES`] messages go on side by side, in registers, with VAES
//! two to a register. At that pace a key is derived and expanded in less time than an expanded one is fetched from
//! a table that does not fit the inner caches, so none are kept but the last, where all messages were under it: most come through
//! a few gateways.
//!
//! Only for processors with AES instructions ([`Engine::detect`]): whoever calls has another way for the others. No branch and
//! no address depends on a key or on a text, but for whether the master is the one of last time.

#![no_std]
#[cfg(test)]
extern crate std;

mod batch;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use batch::{Batch, Master};

/// Messages that are worked on at once.
pub const LANES: usize = 16;
/// A block of the cipher.
pub type Block = [u8; 16];
/// Round keys of AES-128.
const KEYS: usize = 11;

/// The processor's AES instructions: who has one may use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Engine(Width);

/// How wide they are. Holding one is the proof that the processor has them; [`detect`](Engine::detect) alone makes one. On other
/// processors than x86_64 there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    /// AES-NI: a block an instruction.
    #[cfg(target_arch = "x86_64")]
    One,
    /// VAES in 256 bits: two.
    #[cfg(target_arch = "x86_64")]
    Two,
}

impl Engine {
    /// The widest that this processor has, if it has any. Asks the processor, which takes long in a virtual machine: once,
    /// at the start.
    #[must_use]
    pub fn detect() -> Option<Self> {
        Self::all().next_back()
    }

    /// Everything that this processor has, the narrowest first: for tests.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let widths = x86::detect::widths();
        #[cfg(not(target_arch = "x86_64"))]
        let widths = [None, None];
        widths.into_iter().flatten().map(Self)
    }

    /// A master key, expanded.
    #[must_use]
    pub fn master(self, key: &Block) -> Master {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: every engine has AES-NI, SSSE3 and SSE4.1 at least, and one exists.
        return unsafe { x86::xmm::master(key) };
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = key;
            match self.0 {}
        }
    }

    /// Which of the first `count` lanes, as many as there are lanes at the most, have the tag that is expected of them: a bit each.
    /// `None` where a lane names a master that is not among `masters`: nothing was computed.
    #[inline]
    pub fn right<const BLOCKS: usize>(
        self,
        masters: &[Master],
        batch: &mut Batch<BLOCKS>,
        count: usize,
    ) -> Option<u32> {
        let count = self.tags(masters, batch, count)?.len();
        let right: u32 = match self.0 {
            #[cfg(target_arch = "x86_64")]
            Width::One => x86::equal(&batch.tags, &batch.expected),
            // SAFETY: an engine of this width is made only where there is AVX2.
            #[cfg(target_arch = "x86_64")]
            Width::Two => unsafe { x86::ymm::equal(&batch.tags, &batch.expected) },
        };
        Some(right & ((1 << count) - 1))
    }

    /// The tags of the first `count` lanes, likewise.
    #[inline]
    pub fn tags<'b, const BLOCKS: usize>(
        self,
        masters: &[Master],
        batch: &'b mut Batch<BLOCKS>,
        count: usize,
    ) -> Option<&'b [Block]> {
        let count = count.min(LANES);
        let first = masters.first()?;
        batch.bound(count)?;
        if batch.one_sender {
            let master = masters.get(usize::from(batch.masters[0]))?;
            match self.0 {
                // SAFETY: every engine has AES-NI, SSSE3 and SSE4.1 at least, and one exists.
                #[cfg(target_arch = "x86_64")]
                Width::One => unsafe { x86::xmm::tags_of_one(master, batch, count) },
                // SAFETY: an engine of this width is made only where there are VAES and AVX2 besides.
                #[cfg(target_arch = "x86_64")]
                Width::Two => unsafe { x86::ymm::tags_of_one(master, batch, count) },
            }
            return batch.tags.get(..count);
        }
        let mut of = [first; LANES];
        for (of, at) in of.iter_mut().zip(&batch.masters[..count]) {
            *of = masters.get(usize::from(*at))?;
        }
        match self.0 {
            // SAFETY: every engine has AES-NI, SSSE3 and SSE4.1 at least, and one exists.
            #[cfg(target_arch = "x86_64")]
            Width::One => unsafe { x86::xmm::tags(&of, batch, count) },
            // SAFETY: an engine of this width is made only where there are VAES and AVX2 besides.
            #[cfg(target_arch = "x86_64")]
            Width::Two => unsafe { x86::ymm::tags(&of, batch, count) },
        }
        batch.tags.get(..count)
    }
}
