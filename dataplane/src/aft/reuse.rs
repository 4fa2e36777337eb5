//! How much of a prompt each instance already holds.

use afr_wire::{CatalogueVersion, DomainId, Prefix};

use crate::aft::SigKey;
use crate::aft::bitmap::iter_words;
use crate::aft::residency::{Overlay, Residency, Said};
use crate::id::Slot;
use crate::memory::room;

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

impl Known<'_> {
    /// The depth to which `slot` holds the prompt, in units of 256 tokens: what [`Reuse::depth`] says after
    /// [`Reuse::compute`], without asking for the others.
    #[must_use]
    pub fn depth_of(
        &self,
        slot: Slot,
        catalogue: CatalogueVersion,
        domain: DomainId,
        prefixes: &[Prefix],
    ) -> u16 {
        let mut depth = 0;
        for prefix in prefixes.iter().take(MAX_LEVELS) {
            if prefix.depth <= depth {
                break;
            }
            let key = self
                .residency
                .hashed(SigKey::new(catalogue, domain, *prefix));
            let mut held = self.residency.holders_of(key, self.now_s).contains(slot);
            for (of, said) in self.overlay.hits(key, self.consumed) {
                if of == slot {
                    held = said == Said::Stored;
                }
            }
            if !held {
                break;
            }
            depth = prefix.depth;
        }
        depth
    }
}

/// Prefixes of a request that are looked at.
pub const MAX_LEVELS: usize = 8;

/// For one request: of each instance the depth to which it holds the prompt. Made once and used for every request.
///
/// Kept as sets: of each prefix that somebody holds, who does so together with all shallower ones. Each set is part of the
/// one before, and an instance's depth is that of the last which it is in.
#[derive(Debug, Clone)]
pub struct Reuse {
    /// [`MAX_LEVELS`] sets of `words` words each, a bit a slot.
    sets: Vec<u64>,
    /// In units of 256 tokens, by level.
    depths: [u16; MAX_LEVELS],
    /// How many levels there are this time.
    levels: usize,
    words: usize,
    /// How many words of each set are looked at this time.
    width: usize,
    slots: usize,
}

impl Reuse {
    /// For `slots` slots.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        let words = slots.div_ceil(64);
        Self {
            sets: vec![0; words * MAX_LEVELS],
            depths: [0; MAX_LEVELS],
            levels: 0,
            words,
            width: words,
            slots,
        }
    }

    /// Memory held, in bytes; the same from [`Self::new`] on.
    #[must_use]
    pub(crate) fn memory_bytes(&self) -> usize {
        room(&self.sets)
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
            let key = known.residency.hashed(key);
            known.residency.prefetch(key);
            known.overlay.prefetch(key);
        }
    }

    /// Finds, for each instance, the deepest of `prefixes` that it holds together with all shallower ones.
    ///
    /// `prefixes` ascend strictly in depth, as those of a request do, and are at most [`MAX_LEVELS`]; what follows one that
    /// does not is left out.
    pub fn compute(
        &mut self,
        known: &Known<'_>,
        catalogue: CatalogueVersion,
        domain: DomainId,
        prefixes: &[Prefix],
    ) {
        self.compute_within(self.words, known, catalogue, domain, prefixes);
    }

    /// The same of the first `words` times 64 slots, as if there were no others.
    pub fn compute_within(
        &mut self,
        words: usize,
        known: &Known<'_>,
        catalogue: CatalogueVersion,
        domain: DomainId,
        prefixes: &[Prefix],
    ) {
        self.reset();
        self.width = words.min(self.words);
        let mut shallower = 0;
        for prefix in prefixes.iter().take(MAX_LEVELS) {
            if prefix.depth <= shallower {
                return;
            }
            let key = SigKey::new(catalogue, domain, *prefix);
            if !self.enter(known, key) {
                return;
            }
            shallower = prefix.depth;
        }
    }

    /// Adds the level of `key`. Says whether there is anybody in its set.
    #[inline]
    fn enter(&mut self, known: &Known<'_>, key: SigKey) -> bool {
        let level = self.levels;
        let (shallower, rest) = self.sets.split_at_mut(level * self.words);
        let Some(set) = rest.get_mut(..self.width) else {
            return false;
        };
        for word in &mut *set {
            *word = 0;
        }
        let hashed = known.residency.hashed(key);
        known.residency.add_holders(hashed, known.now_s, set);
        for (slot, said) in known.overlay.hits(hashed, known.consumed) {
            if let Some(word) = set.get_mut(slot.index() / 64) {
                let bit = 1 << (slot.0 % 64);
                match said {
                    Said::Stored => *word |= bit,
                    Said::Evicted => *word &= !bit,
                }
            }
        }
        let mut any = 0;
        if let Some(first) = shallower.len().checked_sub(self.words) {
            for (word, shallower) in set.iter_mut().zip(&shallower[first..]) {
                *word &= shallower;
                any |= *word;
            }
        } else {
            // There may be more slots in the table than there are here.
            if let (Some(last), left @ 1..64) = (
                set.last_mut(),
                self.slots.saturating_sub(self.width.saturating_sub(1) * 64),
            ) {
                *last &= (1 << left) - 1;
            }
            any = set.iter().fold(0, |any, word| any | word);
        }
        if any != 0 {
            self.depths[level] = key.depth;
            self.levels += 1;
        }
        any != 0
    }

    /// Forgets the last request.
    #[inline]
    pub const fn reset(&mut self) {
        self.levels = 0;
    }

    /// The depths that somebody holds the prompt to, ascending, in units of 256 tokens.
    #[inline]
    #[must_use]
    pub fn depths(&self) -> &[u16] {
        &self.depths[..self.levels]
    }

    /// Which of the 64 slots from 64·`word` on hold the prompt to the depth of this `level`, or deeper.
    #[inline]
    #[must_use]
    pub fn holders(&self, level: usize, word: usize) -> u64 {
        if level >= self.levels || word >= self.width {
            return 0;
        }
        self.sets[level * self.words + word]
    }

    /// The depth to which `slot` holds the prompt, in units of 256 tokens.
    #[inline]
    #[must_use]
    pub fn depth(&self, slot: Slot) -> u16 {
        let held = |level: &usize| self.holders(*level, slot.index() / 64) >> (slot.0 % 64) & 1;
        let levels = (0..self.levels).take_while(|level| held(level) != 0);
        levels.last().map_or(0, |level| self.depths[level])
    }

    /// The instances that hold some of the prompt, and how deep.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, u16)> {
        let anybody = if self.levels == 0 { 0 } else { self.width };
        iter_words(&self.sets[..anybody]).map(|slot| (slot, self.depth(slot)))
    }

    /// Whether no instance holds any of the prompt.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.levels == 0
    }
}

#[cfg(test)]
mod tests;
