//! Slots by a name of their instances: the id, the address that replies are tunnelled from.
//!
//! A hash map knows them all. Every reply asks twice, so a table of guesses lies before it: the name's spread bits say a slot, and
//! that slot's name says whether it is the one; if it is not, the guess beside it is tried. Where three names share two guesses,
//! the map is asked for one of them. The table grows with the names, so that few lie in few lines.

use std::hash::Hash;

use hashbrown::HashMap;

use crate::id::Slot;

/// A guess at nobody: no table has so many slots.
const NOBODY: Slot = Slot(u16::MAX);
/// Guesses at the least for each name, and for none.
const ROOM: usize = 4;
const LEAST: usize = 32;

/// What names a slot.
pub(super) trait Name: Copy + Eq + Hash + Default {
    /// The name in 64 bits, which may be any others' too.
    fn folded(self) -> u64;
}

impl Name for afr_wire::InstanceId {
    #[inline(always)]
    fn folded(self) -> u64 {
        u64::from(self.0)
    }
}

/// An address.
impl Name for u128 {
    #[inline(always)]
    fn folded(self) -> u64 {
        (self >> 64) as u64 ^ self as u64
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Names<K: Name> {
    all: HashMap<K, Slot>,
    /// A power of two of them, two at the least. One that says a slot whose name spreads to it or to the one beside it is right.
    guesses: Vec<Slot>,
    /// By slot, the name entered last.
    names: Vec<K>,
}

impl<K: Name> Names<K> {
    pub(super) fn new(slots: usize) -> Self {
        Self {
            all: HashMap::with_capacity(slots),
            guesses: vec![NOBODY; LEAST],
            names: vec![K::default(); slots],
        }
    }

    #[inline(always)]
    fn spread(&self, name: K) -> usize {
        // Fibonacci hashing, of which the upper half is the better one.
        let spread = name.folded().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        spread as usize & (self.guesses.len() - 1)
    }

    /// The slot of that name, of two the one entered last.
    #[inline(always)]
    pub(super) fn get(&self, name: K) -> Option<Slot> {
        let at = self.spread(name);
        let is_it = |guess: &Slot| self.names.get(guess.index()) == Some(&name);
        for at in [at, at ^ 1] {
            if let Some(guess) = self.guesses.get(at).copied().filter(is_it) {
                return Some(guess);
            }
        }
        self.ask(name)
    }

    /// The same where `likely`, a slot that has a name, probably has this one, and no other has.
    #[inline(always)]
    pub(super) fn get_near(&self, likely: Slot, name: K) -> Option<Slot> {
        match self.names.get(likely.index()) {
            Some(known) if *known == name => Some(likely),
            _ => self.ask(name),
        }
    }

    #[inline(never)]
    fn ask(&self, name: K) -> Option<Slot> {
        self.all.get(&name).copied()
    }

    /// From now on the name is that of `slot`, which is one of those that there are.
    pub(super) fn insert(&mut self, name: K, slot: Slot) {
        if let Some(former) = self.all.insert(name, slot) {
            self.forget(name, former);
        }
        self.names[slot.index()] = name;
        if self.all.len() * ROOM > self.guesses.len() {
            self.grow();
        } else {
            self.guess(name, slot);
        }
    }

    /// Guesses at all names that there are anew, by twice as much room.
    fn grow(&mut self) {
        self.guesses = vec![NOBODY; 2 * self.guesses.len()];
        for slot in (0..self.names.len()).map(|slot| Slot(slot as u16)) {
            let name = self.names[slot.index()];
            if self.all.get(&name) == Some(&slot) {
                self.guess(name, slot);
            }
        }
    }

    /// Where one of the name's two guesses is at nobody, it is at `slot` from now on; otherwise the first is.
    fn guess(&mut self, name: K, slot: Slot) {
        let at = self.spread(name);
        let free = [at, at ^ 1]
            .into_iter()
            .find(|at| self.guesses[*at] == NOBODY);
        self.guesses[free.unwrap_or(at)] = slot;
    }

    /// Guesses no more that the name is that of `slot`.
    fn forget(&mut self, name: K, slot: Slot) {
        let at = self.spread(name);
        for at in [at, at ^ 1] {
            if self.guesses[at] == slot {
                self.guesses[at] = NOBODY;
            }
        }
    }

    /// Forgets the name, if it is that of `slot`.
    pub(super) fn remove(&mut self, name: K, slot: Slot) {
        if self.all.get(&name) == Some(&slot) {
            self.all.remove(&name);
            self.forget(name, slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_what_the_map_says(
            ops in prop::collection::vec((any::<bool>(), 0..24_u128, 0..6_u16), 0..200),
            shared in any::<bool>(),
        ) {
            let mut names = Names::new(6);
            let mut model = HashMap::new();
            // Many share their folded bits: the default name is among them.
            let name = |n: u128| if shared { (n << 64) | (n % 3) } else { n };
            for (insert, n, slot) in ops {
                let (known, slot) = (name(n), Slot(slot));
                if insert {
                    names.insert(known, slot);
                    model.insert(known, slot);
                } else {
                    names.remove(known, slot);
                    if model.get(&known) == Some(&slot) {
                        model.remove(&known);
                    }
                }
                for n in 0..24 {
                    let other = name(n);
                    prop_assert_eq!(names.get(other), model.get(&other).copied());
                }
            }
        }
    }
}
