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

/// The key that all lanes of a batch had, and what it was derived from: the next batch's is often the same. Wiped when dropped.
#[derive(Clone, Default, ZeroizeOnDrop)]
#[repr(C, align(64))]
pub(crate) struct Sender {
    /// A master's key, and the derivation's blocks. All zeros before there was one: the derivation of a key is not.
    pub(crate) from: [Block; 3],
    pub(crate) rounds: [Block; KEYS],
    /// K1 and K2 of RFC 4493.
    pub(crate) whole: Block,
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
    /// By lane, for what is stored in pieces and loaded at once lies in the cache by the time that the last lane is filled.
    pub(crate) texts: [[Block; BLOCKS]; LANES],
    /// The tags that the messages came with.
    pub(crate) expected: Row,
    /// Blocks of each text, four times: a mask by comparison. Not kept where all lanes have one key and one length.
    pub(crate) ends: [[u32; 4]; LANES],
    /// All ones where the last block is whole, likewise.
    pub(crate) whole: [[u32; 4]; LANES],
    pub(crate) keys: [Row; KEYS],
    pub(crate) subkeys: Row,
    pub(crate) tags: Row,
    pub(crate) masters: [u8; LANES],
    /// Whether all lanes have the key of the first.
    pub(crate) one_sender: bool,
    pub(crate) sender: Sender,
    /// Bytes of each text.
    lens: [u32; LANES],
    /// Those of all texts, if they are as long as each other.
    pub(crate) one_len: Option<u32>,
    pub(crate) shortest: usize,
    pub(crate) longest: usize,
}

impl<const BLOCKS: usize> Default for Batch<BLOCKS> {
    fn default() -> Self {
        const EMPTY: Row = [[0; 16]; LANES];
        Self {
            derivations: [EMPTY; 2],
            both: [[u32::MAX; 4]; LANES],
            texts: [[[0; 16]; BLOCKS]; LANES],
            expected: EMPTY,
            ends: [[1; 4]; LANES],
            whole: [[0; 4]; LANES],
            keys: [EMPTY; KEYS],
            subkeys: EMPTY,
            tags: EMPTY,
            masters: [0; LANES],
            one_sender: false,
            sender: Sender::default(),
            lens: [0; LANES],
            one_len: None,
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
        self.one_sender = false;
        self.masters[lane] = master;
        self.derivations[0][lane] = first;
        self.derivations[1][lane] = second;
        self.both[lane] = [u32::MAX; 4];
    }

    /// The same by a message of one block, which is not whole.
    #[inline(always)]
    pub fn derive_short(&mut self, lane: usize, master: u8, only: Block) {
        let lane = lane % LANES;
        self.one_sender = false;
        self.masters[lane] = master;
        self.derivations[0][lane] = [0; 16];
        self.derivations[1][lane] = only;
        self.both[lane] = [0; 4];
    }

    /// All lanes have the key of the first, until one has another.
    #[inline(always)]
    pub fn all_as_first(&mut self) {
        self.one_sender = true;
    }

    /// What the key of the first lane is derived from, under this master.
    #[inline(always)]
    pub(crate) fn from(&self, master: &Master) -> [Block; 3] {
        [
            master.rounds[0],
            self.derivations[0][0],
            self.derivations[1][0],
        ]
    }

    /// The lane's message, to be written.
    #[inline(always)]
    pub fn text(&mut self, lane: usize) -> &mut [u8] {
        self.texts[lane % LANES].as_flattened_mut()
    }

    /// The tag that the lane's message came with.
    #[inline(always)]
    pub fn expect(&mut self, lane: usize, tag: Block) {
        self.expected[lane % LANES] = tag;
    }

    /// How long the lane's message is. If its last block is not whole, a one bit and zeros are behind it; if it is empty,
    /// in its first.
    #[inline(always)]
    pub fn end(&mut self, lane: usize, len: usize) {
        self.lens[lane % LANES] = len as u32;
    }

    /// Finds the shortest and the longest of the first `count` messages, and where each ends; `None` if one is too long.
    #[inline]
    pub(crate) fn bound(&mut self, count: usize) -> Option<()> {
        let lens = &self.lens[..count];
        let first = lens.first().copied().unwrap_or(0);
        let (mut shortest, mut longest) = (first, first);
        // They mostly are as long as each other.
        if lens.iter().fold(0, |differ, len| differ | len ^ first) != 0 {
            for len in lens {
                (shortest, longest) = (shortest.min(*len), longest.max(*len));
            }
        }
        if longest as usize > BLOCKS * 16 {
            return None;
        }
        let blocks = |len: u32| len.div_ceil(16).max(1);
        self.shortest = blocks(shortest) as usize;
        self.longest = blocks(longest) as usize;
        self.one_len = (shortest == longest).then_some(longest);
        if self.one_len.is_none() || !self.one_sender {
            for ((end, whole), len) in self.ends.iter_mut().zip(&mut self.whole).zip(self.lens) {
                *end = [blocks(len); 4];
                *whole = [if blocks(len) * 16 == len { u32::MAX } else { 0 }; 4];
            }
        }
        Some(())
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
