//! Sets of slots of a size fixed at creation.

use crate::id::Slot;

/// A set of slots: one bit each, in words of 64, least significant first. Slots beyond the size are in no set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bitmap {
    words: Vec<u64>,
    slots: usize,
}

impl Bitmap {
    /// The empty set over `slots` slots.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self {
            words: vec![0; slots.div_ceil(64)],
            slots,
        }
    }

    /// How many slots there are, in the set or not.
    #[inline]
    #[must_use]
    pub const fn slots(&self) -> usize {
        self.slots
    }

    /// Adds `slot`. Says whether that changed the set.
    #[inline]
    pub fn set(&mut self, slot: Slot) -> bool {
        let index = slot.index();
        if index >= self.slots {
            return false;
        }
        let word = &mut self.words[index / 64];
        let before = *word;
        *word |= 1 << (index % 64);
        *word != before
    }

    /// Removes `slot`. Says whether that changed the set.
    #[inline]
    pub fn clear(&mut self, slot: Slot) -> bool {
        let index = slot.index();
        let Some(word) = self.words.get_mut(index / 64) else {
            return false;
        };
        let before = *word;
        *word &= !(1 << (index % 64));
        *word != before
    }

    /// Adds or removes `slot`.
    #[inline]
    pub fn assign(&mut self, slot: Slot, member: bool) {
        if member {
            self.set(slot);
        } else {
            self.clear(slot);
        }
    }

    /// Removes every slot.
    pub fn clear_all(&mut self) {
        self.words.fill(0);
    }

    /// Whether `slot` is in the set.
    #[inline]
    #[must_use]
    pub fn test(&self, slot: Slot) -> bool {
        let index = slot.index();
        self.words
            .get(index / 64)
            .is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// How many slots are in the set.
    #[inline]
    #[must_use]
    pub fn count(&self) -> usize {
        self.words
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    /// Whether no slot is in the set.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// The first slot of the set from number `from` on.
    #[must_use]
    pub fn first_from(&self, from: usize) -> Option<Slot> {
        let mut kept = u64::MAX << (from % 64);
        for (at, word) in self.words.iter().enumerate().skip(from / 64) {
            let left = word & kept;
            if left != 0 {
                return Some(Slot((at * 64) as u16 + left.trailing_zeros() as u16));
            }
            kept = u64::MAX;
        }
        None
    }

    /// The slots of the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Slot> {
        iter_words(&self.words)
    }

    /// `out` becomes the intersection with `other`. Words that one of the three lacks count as empty.
    pub fn and_into(&self, other: &Self, out: &mut Self) {
        let both = self
            .words
            .iter()
            .zip(&other.words)
            .map(|(mine, theirs)| mine & theirs)
            .chain(std::iter::repeat(0));
        for (out, word) in out.words.iter_mut().zip(both) {
            *out = word;
        }
        out.mask_tail();
    }

    /// Keeps only what is also in `other`.
    pub fn and_assign(&mut self, other: &Self) {
        let theirs = other.words.iter().copied().chain(std::iter::repeat(0));
        for (word, theirs) in self.words.iter_mut().zip(theirs) {
            *word &= theirs;
        }
    }

    /// Becomes a copy of `other`, as far as the sizes allow.
    pub fn copy_from(&mut self, other: &Self) {
        let theirs = other.words.iter().copied().chain(std::iter::repeat(0));
        for (word, theirs) in self.words.iter_mut().zip(theirs) {
            *word = theirs;
        }
        self.mask_tail();
    }

    /// The words, for loops over many instances at once. Bits beyond the size are 0.
    #[inline]
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Replaces the word at `index` (slots `64 * index` and up); out of range, nothing happens.
    #[inline]
    pub fn set_word(&mut self, index: usize, word: u64) {
        if let Some(place) = self.words.get_mut(index) {
            *place = word;
            if index + 1 == self.words.len() {
                self.mask_tail();
            }
        }
    }

    fn mask_tail(&mut self) {
        let used = self.slots % 64;
        if used != 0
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << used) - 1;
        }
    }
}

/// The slots whose bit is set in `words`, ascending.
pub(crate) fn iter_words(words: &[u64]) -> impl Iterator<Item = Slot> {
    let words = words.iter().enumerate();
    words.flat_map(|(index, word)| iter_word(index, *word))
}

/// The slots of word `index` whose bits are set, ascending.
pub(crate) fn iter_word(index: usize, word: u64) -> impl Iterator<Item = Slot> {
    std::iter::successors((word != 0).then_some(word), |rest| {
        let rest = rest & (rest - 1);
        (rest != 0).then_some(rest)
    })
    .map(move |rest| Slot((index * 64 + rest.trailing_zeros() as usize) as u16))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn of(slots: usize, members: &BTreeSet<u16>) -> Bitmap {
        let mut bitmap = Bitmap::new(slots);
        for &member in members {
            bitmap.set(Slot(member));
        }
        bitmap
    }

    #[test]
    fn slots_beyond_the_size_are_never_members() {
        let mut bitmap = Bitmap::new(70);
        assert!(!bitmap.set(Slot(70)));
        assert!(!bitmap.set(Slot(u16::MAX)));
        assert!(!bitmap.clear(Slot(u16::MAX)));
        bitmap.set_word(1, u64::MAX);
        assert!(bitmap.test(Slot(69)));
        assert!(!bitmap.test(Slot(70)));
        assert_eq!(bitmap.count(), 6);
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(
            slots in 1usize..300,
            a in prop::collection::btree_set(0u16..300, 0..100),
            b in prop::collection::btree_set(0u16..300, 0..100),
        ) {
            let a: BTreeSet<u16> = a.into_iter().filter(|&s| usize::from(s) < slots).collect();
            let (left, right) = (of(slots, &a), of(300, &b));
            prop_assert_eq!(left.iter().map(|s| s.0).collect::<Vec<_>>(), a.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(left.count(), a.len());
            prop_assert_eq!(left.is_empty(), a.is_empty());
            let both: BTreeSet<u16> = a.intersection(&b).copied().collect();
            let mut out = of(slots, &(0..slots as u16).collect());
            left.and_into(&right, &mut out);
            prop_assert_eq!(&out, &of(slots, &both));
            let mut mine = left.clone();
            mine.and_assign(&right);
            prop_assert_eq!(&mine, &out);
            let mut copy = Bitmap::new(slots);
            copy.copy_from(&right);
            for slot in (0..300).map(Slot) {
                prop_assert_eq!(copy.test(slot), b.contains(&slot.0) && slot.index() < slots);
                prop_assert_eq!(left.test(slot), a.contains(&slot.0));
                let first = left.first_from(slot.index()).map(|slot| slot.0);
                prop_assert_eq!(first, a.range(slot.0..).next().copied());
            }
        }
    }
}
