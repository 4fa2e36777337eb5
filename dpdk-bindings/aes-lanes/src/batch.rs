//! What is worked on: rows of blocks, a block of each lane.

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{Block, KEYS, LANES};

/// A block of each lane.
pub(crate) type Row = [Block; LANES];

/// A key that others are derived from, expanded. Wiped when dropped; never printed.
#[derive(Clone, ZeroizeOnDrop)]
#[repr(C, align(64))]
pub struct Master {
    pub(crate) rounds: [Block; KEYS],
    /// K2 of RFC 4493, for a message whose last block is not whole.
    pub(crate) padded: Block,
}

/// Messages side by side, of `BLOCKS` blocks at the most, and what is computed from them.
///
/// It holds keys afterwards, as a table of derived keys would, and is wiped when dropped. Reuse it: it is large.
#[derive(Clone)]
#[repr(C, align(64))]
pub struct Batch<const BLOCKS: usize> {
    pub(crate) derivations: [Row; 2],
    /// All ones where a key's derivation has both blocks.
    pub(crate) both: [[u32; 4]; LANES],
    pub(crate) texts: [Row; BLOCKS],
    /// Blocks of each text, four times: a mask by comparison.
    pub(crate) ends: [[u32; 4]; LANES],
    /// All ones where the last block is whole.
    pub(crate) whole: [[u32; 4]; LANES],
    pub(crate) keys: [Row; KEYS],
    pub(crate) subkeys: Row,
    pub(crate) tags: Row,
    pub(crate) masters: [u8; LANES],
    pub(crate) shortest: usize,
    pub(crate) longest: usize,
}

impl<const BLOCKS: usize> Default for Batch<BLOCKS> {
    fn default() -> Self {
        const EMPTY: Row = [[0; 16]; LANES];
        Self {
            derivations: [EMPTY; 2],
            both: [[u32::MAX; 4]; LANES],
            texts: [EMPTY; BLOCKS],
            ends: [[1; 4]; LANES],
            whole: [[0; 4]; LANES],
            keys: [EMPTY; KEYS],
            subkeys: EMPTY,
            tags: EMPTY,
            masters: [0; LANES],
            shortest: 1,
            longest: 1,
        }
    }
}

impl<const BLOCKS: usize> Batch<BLOCKS> {
    /// From which master the lane's key is derived, by its place among them, and by which message: one whose last block
    /// is the second and is not whole, a one bit and zeros behind it.
    #[inline(always)]
    pub fn derive(&mut self, lane: usize, master: u8, [first, second]: [Block; 2]) {
        let lane = lane % LANES;
        self.masters[lane] = master;
        self.derivations[0][lane] = first;
        self.derivations[1][lane] = second;
        self.both[lane] = [u32::MAX; 4];
    }

    /// The same by a message of one block, which is not whole.
    #[inline(always)]
    pub fn derive_short(&mut self, lane: usize, master: u8, only: Block) {
        let lane = lane % LANES;
        self.masters[lane] = master;
        self.derivations[1][lane] = only;
        self.both[lane] = [0; 4];
    }

    /// Block `at` of the lane's message.
    #[inline(always)]
    pub fn put(&mut self, lane: usize, at: usize, block: Block) {
        if let Some(row) = self.texts.get_mut(at) {
            row[lane % LANES] = block;
        }
    }

    /// How long the lane's message is. If its last block is not whole, a one bit and zeros are behind it; if it is empty,
    /// in its first.
    #[inline(always)]
    pub fn end(&mut self, lane: usize, len: usize) {
        let lane = lane % LANES;
        let blocks = len.div_ceil(16).max(1);
        self.ends[lane] = [blocks as u32; 4];
        self.whole[lane] = [if blocks * 16 == len { u32::MAX } else { 0 }; 4];
    }

    /// Finds the shortest and the longest of the first `count` messages; `None` if one is too long.
    #[inline]
    pub(crate) fn bound(&mut self, count: usize) -> Option<()> {
        let ends = self.ends[..count].iter().map(|end| end[0]);
        let (shortest, longest) = ends.fold((u32::MAX, 1), |(low, high), end| {
            (low.min(end), high.max(end))
        });
        self.shortest = shortest as usize;
        self.longest = longest as usize;
        (self.longest <= BLOCKS).then_some(())
    }
}

impl<const BLOCKS: usize> Drop for Batch<BLOCKS> {
    fn drop(&mut self) {
        self.keys.zeroize();
        self.subkeys.zeroize();
        self.tags.zeroize();
    }
}

impl core::fmt::Debug for Master {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Master(..)")
    }
}

impl<const BLOCKS: usize> core::fmt::Debug for Batch<BLOCKS> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Batch(..)")
    }
}
