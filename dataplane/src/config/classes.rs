//! The classes of a configuration, each at its index.

use std::net::Ipv6Addr;

use afr_wire::ClassId;
use hashbrown::HashMap;

use super::Class;
use crate::id::ClassIx;

/// Classes by [`ClassIx`].
///
/// Flows and counters know a class by its index alone. So a class keeps its index over every configuration that has it,
/// and there are indexes that no class of this one has.
#[derive(Debug, Clone, Default)]
pub struct Classes {
    places: Vec<Option<Class>>,
    by_id: HashMap<ClassId, ClassIx>,
    by_address: HashMap<Ipv6Addr, ClassIx>,
}

impl Classes {
    /// Classes at these indexes. Ids, addresses and indexes that come twice are the last one's.
    #[must_use]
    pub fn at(classes: impl IntoIterator<Item = (ClassIx, Class)>) -> Self {
        let mut all = Self::default();
        for (at, class) in classes {
            let index = usize::from(at.0);
            if all.places.len() <= index {
                all.places.resize_with(index + 1, || None);
            }
            all.by_id.insert(class.id, at);
            let addresses = class.addresses.iter();
            all.by_address
                .extend(addresses.map(|address| (*address, at)));
            all.places[index] = Some(class);
        }
        all
    }

    /// The same classes, each at the index that `index_of` says, without those of which it knows none.
    #[must_use]
    pub fn reindexed(self, index_of: impl Fn(ClassId) -> Option<ClassIx>) -> Self {
        let classes = self.places.into_iter().flatten();
        Self::at(classes.filter_map(|class| Some((index_of(class.id)?, class))))
    }

    /// The class at an index, if there is one.
    #[inline]
    #[must_use]
    pub fn get(&self, at: ClassIx) -> Option<&Class> {
        self.places.get(usize::from(at.0))?.as_ref()
    }

    /// The index of the class called `id`.
    #[inline]
    #[must_use]
    pub fn index_of(&self, id: ClassId) -> Option<ClassIx> {
        self.by_id.get(&id).copied()
    }

    /// The index of the class that has the exact service address.
    #[inline]
    #[must_use]
    pub fn of_address(&self, address: &Ipv6Addr) -> Option<ClassIx> {
        self.by_address.get(address).copied()
    }

    /// The classes with their indexes, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (ClassIx, &Class)> {
        let places = self.places.iter().enumerate();
        places.filter_map(|(at, class)| Some((ClassIx(at as u16), class.as_ref()?)))
    }

    /// The classes, to be changed in anything but id and addresses, which are known by them already.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Class> {
        self.places.iter_mut().flatten()
    }

    /// How many classes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// One more than the largest index.
    #[must_use]
    pub fn indexes(&self) -> usize {
        self.places.len()
    }
}

/// From index 0 on, in order.
impl FromIterator<Class> for Classes {
    fn from_iter<I: IntoIterator<Item = Class>>(classes: I) -> Self {
        Self::at((0..).map(ClassIx).zip(classes))
    }
}
