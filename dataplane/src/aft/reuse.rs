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
    /// By slot, in units of 256 tokens; 0 where nothing is held.
    depths: Vec<u16>,
    /// The slots whose depth is not 0.
    touched: Vec<Slot>,
}

impl Reuse {
    /// For `slots` slots.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self {
            depths: vec![0; slots],
            touched: Vec::with_capacity(slots),
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
            let mut reach = |slot: Slot| any |= self.reach(slot, shallower, prefix.depth);
            known.residency.holders(key, known.now_s).for_each(|slot| {
                if own.said(slot) != Some(Said::Evicted) {
                    reach(slot);
                }
            });
            for (slot, said) in own.as_slice() {
                if *said == Said::Stored {
                    reach(*slot);
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
        for slot in self.touched.drain(..) {
            self.depths[slot.index()] = 0;
        }
    }

    /// The depth to which `slot` holds the prompt, in units of 256 tokens.
    #[inline]
    #[must_use]
    pub fn depth(&self, slot: Slot) -> u16 {
        self.depths.get(slot.index()).copied().unwrap_or(0)
    }

    /// The depths by slot, for loops over many instances at once.
    #[inline]
    #[must_use]
    pub fn depths(&self) -> &[u16] {
        &self.depths
    }

    /// The instances that hold some of the prompt, and how deep.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, u16)> {
        self.touched
            .iter()
            .map(|slot| (*slot, self.depths[slot.index()]))
    }

    /// Whether no instance holds any of the prompt.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.touched.is_empty()
    }

    /// Takes `slot` from depth `from` to depth `to`, if it got that far.
    #[inline]
    fn reach(&mut self, slot: Slot, from: u16, to: u16) -> bool {
        let Some(depth) = self.depths.get_mut(slot.index()) else {
            return false;
        };
        if *depth != from {
            // The shallower prefix is missing, or the overlay repeats what the table said.
            return false;
        }
        if from == 0 {
            self.touched.push(slot);
        }
        *depth = to;
        true
    }
}

#[cfg(test)]
mod tests;
