//! What may be given only once.

use std::hash::Hash;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::document::Section;
use super::problem::Fault;

/// Values seen, with the line of the first.
#[derive(Debug)]
pub(crate) struct Unique<K>(HashMap<K, usize>);

impl<K: Eq + Hash> Unique<K> {
    pub(crate) fn new() -> Self {
        Self(HashMap::new())
    }

    /// Takes note of the key's value, and blames it if it was there before.
    pub(crate) fn check(&mut self, section: &Section<'_>, key: &'static str, value: K) -> bool {
        let seen = self.enter(section, key, value);
        if let Some(line) = seen {
            section.blame(key, Fault::Duplicate { line });
        }
        seen.is_none()
    }

    /// The same for an item of a list.
    pub(crate) fn check_item(
        &mut self,
        section: &Section<'_>,
        key: &'static str,
        index: usize,
        value: K,
    ) -> bool {
        let seen = self.enter(section, key, value);
        if let Some(line) = seen {
            section.blame_item(key, index, Fault::Duplicate { line });
        }
        seen.is_none()
    }

    fn enter(&mut self, section: &Section<'_>, key: &'static str, value: K) -> Option<usize> {
        match self.0.entry(value) {
            Entry::Occupied(seen) => Some(*seen.get()),
            Entry::Vacant(place) => {
                place.insert(section.line(key));
                None
            }
        }
    }
}
