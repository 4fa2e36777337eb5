//! The operations that wait for the next generation, bounded.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// What the log may do with an operation when there are too many.
pub trait Op {
    /// Says which operations may make an earlier one unnecessary: only those with equal keys.
    type Key: Eq + Hash;

    /// Whether the table is merely less well informed without the operation.
    fn droppable(&self) -> bool {
        false
    }

    /// The key under which this operation coalesces; `None`: with nothing.
    fn coalescing_key(&self) -> Option<Self::Key> {
        None
    }

    /// Whether `earlier`, an operation of the same key, can be left out because this one follows it, whatever stands between
    /// them.
    fn coalesces_with(&self, earlier: &Self) -> bool {
        let _ = earlier;
        false
    }
}

/// What became of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It will be in the next generation.
    Logged,
    /// The log was full and the operation droppable: it is counted and gone.
    Dropped,
    /// The log was full to twice its bound: the operation is counted and gone, and whoever asked for it should be told.
    Refused,
}

#[derive(Debug)]
pub(super) struct Log<O> {
    ops: Vec<O>,
    bound: usize,
    /// Pushes until compaction is worth trying again.
    until_compaction: usize,
    dropped: u64,
}

impl<O: Op> Log<O> {
    pub(super) fn new(bound: usize) -> Self {
        Self {
            ops: Vec::new(),
            bound: bound.max(1),
            until_compaction: 0,
            dropped: 0,
        }
    }

    pub(super) fn push(&mut self, op: O) -> Pushed {
        let droppable = op.droppable();
        let limit = if droppable {
            self.bound
        } else {
            2 * self.bound
        };
        if self.ops.len() >= self.bound {
            self.compact();
        }
        if self.ops.len() >= limit {
            self.dropped += 1;
            return if droppable {
                Pushed::Dropped
            } else {
                Pushed::Refused
            };
        }
        self.ops.push(op);
        Pushed::Logged
    }

    /// Leaves out what later operations make unnecessary. Costs a pass, and so is done once in a quarter of the bound.
    fn compact(&mut self) {
        if self.until_compaction > 0 {
            self.until_compaction -= 1;
            return;
        }
        self.until_compaction = self.bound / 4;
        let mut last = HashMap::new();
        let mut unnecessary = HashSet::new();
        for (index, op) in self.ops.iter().enumerate() {
            let Some(key) = op.coalescing_key() else {
                continue;
            };
            if let Some(earlier) = last.insert(key, index)
                && op.coalesces_with(&self.ops[earlier])
            {
                unnecessary.insert(earlier);
            }
        }
        let mut index = 0;
        self.ops.retain(|_| {
            index += 1;
            !unnecessary.contains(&(index - 1))
        });
    }

    /// Empties the log into `batch`, which is empty, and takes over its memory.
    pub(super) fn swap_into(&mut self, batch: &mut Vec<O>) {
        std::mem::swap(&mut self.ops, batch);
        self.until_compaction = 0;
    }

    pub(super) fn ops(&self) -> &[O] {
        &self.ops
    }

    pub(super) const fn len(&self) -> usize {
        self.ops.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }
}
