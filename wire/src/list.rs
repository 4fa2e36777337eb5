//! An inline array and its count: the sections of owned objects.

use core::{fmt, ops};

/// Up to `N` values in place. Reads as a slice; the count can never exceed the capacity.
#[derive(Copy, Clone)]
pub struct List<T, const N: usize> {
    len: usize,
    slots: [T; N],
}

/// The list holds all it can.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room for more than {capacity}")]
pub struct Full {
    /// How many values the list can hold.
    pub capacity: usize,
}

impl<T: Copy + Default, const N: usize> List<T, N> {
    /// The empty list.
    pub fn new() -> Self {
        Self {
            len: 0,
            slots: [T::default(); N],
        }
    }

    /// Copies `values`.
    ///
    /// # Errors
    ///
    /// [`Full`] if there are more than `N`.
    pub fn from_slice(values: &[T]) -> Result<Self, Full> {
        let mut list = Self::new();
        list.slots
            .get_mut(..values.len())
            .ok_or(Full { capacity: N })?
            .copy_from_slice(values);
        list.len = values.len();
        Ok(list)
    }

    /// The first `N` of `values`; the rest stay unread.
    pub fn take_from(values: impl IntoIterator<Item = T>) -> Self {
        let mut list = Self::new();
        for (slot, value) in list.slots.iter_mut().zip(values) {
            *slot = value;
            list.len += 1;
        }
        list
    }

    /// Appends one value.
    ///
    /// # Errors
    ///
    /// [`Full`] if there are `N` already.
    pub fn push(&mut self, value: T) -> Result<(), Full> {
        *self.slots.get_mut(self.len).ok_or(Full { capacity: N })? = value;
        self.len += 1;
        Ok(())
    }

    /// Forgets every value.
    pub fn clear(&mut self) {
        self.len = 0;
    }
}

impl<T, const N: usize> ops::Deref for List<T, N> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // `len` never exceeds `N`, so the empty default is not reached.
        self.slots.get(..self.len).unwrap_or_default()
    }
}

impl<T: Copy + Default, const N: usize> Default for List<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: PartialEq, const N: usize> PartialEq for List<T, N> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq, const N: usize> Eq for List<T, N> {}

impl<T: fmt::Debug, const N: usize> fmt::Debug for List<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&**self).finish()
    }
}

impl<'a, T, const N: usize> IntoIterator for &'a List<T, N> {
    type Item = &'a T;
    type IntoIter = core::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_is_a_bound() {
        let mut list = List::<u8, 2>::new();
        assert_eq!(list.push(1), Ok(()));
        assert_eq!(list.push(2), Ok(()));
        assert_eq!(list.push(3), Err(Full { capacity: 2 }));
        assert_eq!(*list, [1, 2]);
        assert_eq!(
            List::<u8, 2>::from_slice(&[1, 2, 3]),
            Err(Full { capacity: 2 })
        );
        assert_eq!(*List::<u8, 2>::take_from([7, 8, 9]), [7, 8]);
    }

    #[test]
    fn equality_is_of_what_is_in_the_list() {
        let mut list = List::<u8, 2>::from_slice(&[1, 2]).unwrap();
        list.clear();
        assert_eq!(list, List::new());
    }
}
