//! How much of a prompt each instance already holds.

use afr_wire::{CatalogueVersion, DomainId, Prefix};

use crate::aft::SigKey;
use crate::aft::residency::{Overlay, Residency, Said};
use crate::id::Slot;

/// What one worker knows of residency: its generation's table, and what it has itself said since.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The generation's table.
    pub residency: &'a Residency,
    /// The generation's time, seconds of the monotonic clock.
    pub now_s: u32,
    /// The worker's own table.
    pub overlay: &'a Overlay,
    /// Messages of the worker that the generation includes.
    pub consumed: u64,
}

/// For one request: of each instance the depth to which it holds the prompt. Made once and used for every request.
#[derive(Debug, Clone)]
pub struct Reuse {
    /// By slot, in units of 256 tokens; 0 where nothing is held. Rounded up to whole words of 64 slots.
    depths: Vec<u16>,
    slots: usize,
    /// The words of 64 slots in which a depth is not 0, each once.
    touched: Vec<u16>,
    is_touched: Vec<bool>,
}

impl Reuse {
    /// For `slots` slots.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        let words = slots.div_ceil(64);
        Self {
            depths: vec![0; words * 64],
            slots,
            touched: Vec::with_capacity(words),
            is_touched: vec![false; words],
        }
    }

    /// Brings what [`Self::compute`] will read nearer.
    #[inline]
    pub fn prefetch(
        known: &Known<'_>,
        catalogue: CatalogueVersion,
        domain: DomainId,
        prefixes: &[Prefix],
    ) {
        for prefix in prefixes {
            let key = SigKey::new(catalogue, domain, *prefix);
            known.residency.prefetch(key);
            known.overlay.prefetch(key);
        }
    }

    /// Finds, for each instance, the deepest of `prefixes` that it holds together with all shallower ones.
    ///
    /// `prefixes` ascend strictly in depth, as those of a request do; what follows one that does not is left out.
    pub fn compute(
        &mut self,
        known: &Known<'_>,
        catalogue: CatalogueVersion,
        domain: DomainId,
        prefixes: &[Prefix],
    ) {
        self.reset();
        let mut shallower = 0;
        for prefix in prefixes {
            if prefix.depth <= shallower {
                return;
            }
            let key = SigKey::new(catalogue, domain, *prefix);
            let own = known.overlay.lookup(key, known.consumed);
            let mut any = false;
            let mut reach = |word, bits| any |= self.reach(word, bits, shallower, prefix.depth);
            known
                .residency
                .holders(key, known.now_s)
                .for_each_word(|word, bits| reach(word, bits & !own.word(word, Said::Evicted)));
            for (slot, said) in own.as_slice() {
                if *said == Said::Stored {
                    reach(slot.index() / 64, 1 << (slot.0 % 64));
                }
            }
            if !any {
                return;
            }
            shallower = prefix.depth;
        }
    }

    /// Forgets the last request.
    pub fn reset(&mut self) {
        for word in self.touched.drain(..) {
            let word = usize::from(word);
            self.is_touched[word] = false;
            self.depths[word * 64..(word + 1) * 64].fill(0);
        }
    }

    /// The depth to which `slot` holds the prompt, in units of 256 tokens.
    #[inline]
    #[must_use]
    pub fn depth(&self, slot: Slot) -> u16 {
        self.depths.get(slot.index()).copied().unwrap_or(0)
    }

    /// The depths of the 64 slots from 64·`word` on; `None` where nobody there holds any of the prompt.
    #[inline]
    #[must_use]
    pub fn word(&self, word: usize) -> Option<&[u16; 64]> {
        if *self.is_touched.get(word)? {
            self.depths.get(word * 64..)?.first_chunk()
        } else {
            None
        }
    }

    /// The instances that hold some of the prompt, and how deep.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, u16)> {
        self.touched.iter().flat_map(|word| {
            let first = usize::from(*word) * 64;
            let depths = self.depths[first..first + 64].iter().enumerate();
            depths
                .filter(|(_, depth)| **depth != 0)
                .map(move |(bit, depth)| (Slot((first + bit) as u16), *depth))
        })
    }

    /// Whether no instance holds any of the prompt.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.touched.is_empty()
    }

    /// Takes those of the slots `bits` of `word` that are at depth `from` to depth `to`. Says whether there were any.
    #[inline]
    fn reach(&mut self, word: usize, bits: u64, from: u16, to: u16) -> bool {
        let bits = bits & self.existing(word);
        let Some(depths) = self
            .depths
            .get_mut(word * 64..)
            .and_then(<[u16]>::first_chunk_mut::<64>)
        else {
            return false;
        };
        let any = if bits.count_ones() > SPARSE {
            reach_dense(depths, bits, from, to)
        } else {
            reach_sparse(depths, bits, from, to)
        };
        if any && !self.is_touched[word] {
            self.is_touched[word] = true;
            self.touched.push(word as u16);
        }
        any
    }

    /// A bit for each slot of `word` that there is.
    #[inline]
    const fn existing(&self, word: usize) -> u64 {
        match self.slots.saturating_sub(word * 64) {
            0 => 0,
            left @ 1..64 => (1 << left) - 1,
            _ => u64::MAX,
        }
    }
}

/// Up to so many bits of a word it is quicker to look at each.
const SPARSE: u32 = 6;

/// For each byte, its bits spread over eight lanes, all ones where the bit is set.
static LANES: [[u16; 8]; 256] = {
    let mut lanes = [[0; 8]; 256];
    let mut at = 0;
    while at < 256 * 8 {
        if (at / 8) >> (at % 8) & 1 != 0 {
            lanes[at / 8][at % 8] = u16::MAX;
        }
        at += 1;
    }
    lanes
};

/// Without a branch for each slot.
#[inline]
fn reach_dense(depths: &mut [u16; 64], bits: u64, from: u16, to: u16) -> bool {
    let mut any = [0_u16; 8];
    for (depths, byte) in depths
        .as_chunks_mut::<8>()
        .0
        .iter_mut()
        .zip(bits.to_le_bytes())
    {
        let lanes = &LANES[usize::from(byte)];
        let mut after = [0; 8];
        for at in 0..8 {
            let reached = lanes[at] & 0_u16.wrapping_sub(u16::from(depths[at] == from));
            any[at] |= reached;
            after[at] = depths[at] ^ (depths[at] ^ to) & reached;
        }
        *depths = after;
    }
    any != [0; 8]
}

#[inline]
fn reach_sparse(depths: &mut [u16; 64], mut bits: u64, from: u16, to: u16) -> bool {
    let mut any = false;
    while bits != 0 {
        let depth = &mut depths[bits.trailing_zeros() as usize];
        bits &= bits - 1;
        // At another depth, the shallower prefix is missing, or the overlay repeats what the table said.
        if *depth == from {
            *depth = to;
            any = true;
        }
    }
    any
}

#[cfg(test)]
mod tests;
