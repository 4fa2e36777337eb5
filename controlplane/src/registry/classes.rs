//! Which class has which index: the same for as long as the process runs.
//!
//! Flows and counters know a class by its index. Flows of a class that a reload removes may live on as long as they are
//! used, and no count of workers can be taken back; so an index is never given to another class, and a class that comes
//! back has the one it had. `limits.classes` therefore bounds the classes that a process has ever had.

use afr_dataplane::config::Classes;
use afr_dataplane::id::ClassIx;
use afr_wire::ClassId;
use hashbrown::HashMap;

/// Every class there was, and its index.
#[derive(Debug)]
pub struct ClassIndexes {
    by_id: HashMap<ClassId, ClassIx>,
    limit: u16,
}

/// Why classes have no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{new} new classes find no room: of limits.classes, {limit}, {used} are those that this afrd has or has had; a class \
     that it had may come back, and a restart forgets those that are gone"
)]
pub struct ClassesExhausted {
    /// Classes that there have not been before.
    pub new: usize,
    /// Indexes given away.
    pub used: usize,
    /// Indexes there are.
    pub limit: u16,
}

impl ClassIndexes {
    /// The classes of a first configuration, at the indexes they have in it. `limit` indexes at the most.
    #[must_use]
    pub fn new(classes: &Classes, limit: u16) -> Self {
        Self {
            by_id: classes.iter().map(|(at, class)| (class.id, at)).collect(),
            limit,
        }
    }

    /// Gives every class of another configuration an index: the one it had, or one that none had.
    ///
    /// # Errors
    ///
    /// [`ClassesExhausted`]: there are too few; nothing is changed.
    pub fn enter(&mut self, classes: &Classes) -> Result<(), ClassesExhausted> {
        let is_new = |id: &ClassId| !self.by_id.contains_key(id);
        let ids = classes.iter().map(|(_, class)| class.id);
        let new: Vec<_> = ids.filter(is_new).collect();
        let used = self.by_id.len();
        if used + new.len() > usize::from(self.limit) {
            return Err(ClassesExhausted {
                new: new.len(),
                used,
                limit: self.limit,
            });
        }
        let indexes = (used as u16..).map(ClassIx);
        self.by_id.extend(new.into_iter().zip(indexes));
        Ok(())
    }

    /// Every index given away.
    pub fn all(&self) -> impl Iterator<Item = ClassIx> {
        (0..self.by_id.len() as u16).map(ClassIx)
    }

    /// The index of a class that was entered.
    #[must_use]
    pub fn of(&self, id: ClassId) -> Option<ClassIx> {
        self.by_id.get(&id).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    /// Classes 1 "chat" and 2 "code", and others of these numbers, in this order.
    fn classes(order: &[u32]) -> Classes {
        let template = testing::loaded(1).plane;
        let template = template.classes.get(ClassIx(0)).cloned().unwrap();
        let class = |id: &u32| afr_dataplane::config::Class {
            id: ClassId(*id),
            ..template.clone()
        };
        order.iter().map(class).collect()
    }

    fn indexes(of: &ClassIndexes, ids: &[u32]) -> Vec<Option<u16>> {
        let at = |id: &u32| of.of(ClassId(*id)).map(|at| at.0);
        ids.iter().map(at).collect()
    }

    #[test]
    fn a_class_keeps_its_index_and_nobody_else_ever_gets_it() {
        let mut held = ClassIndexes::new(&classes(&[1, 2]), 4);
        held.enter(&classes(&[3, 2])).unwrap();
        assert_eq!(indexes(&held, &[1, 2, 3]), [Some(0), Some(1), Some(2)]);
        // The first comes back, another is new.
        held.enter(&classes(&[4, 1, 2])).unwrap();
        assert_eq!(indexes(&held, &[1, 2, 4]), [Some(0), Some(1), Some(3)]);
    }

    #[test]
    fn when_all_indexes_were_given_away_known_classes_alone_may_come() {
        let mut held = ClassIndexes::new(&classes(&[1, 2]), 3);
        held.enter(&classes(&[3])).unwrap();
        let refused = held.enter(&classes(&[1, 4, 5])).unwrap_err();
        assert_eq!((refused.new, refused.used, refused.limit), (2, 3, 3));
        assert_eq!(indexes(&held, &[4, 5]), [None, None], "nothing was changed");
        held.enter(&classes(&[3, 2, 1])).unwrap();
    }
}
