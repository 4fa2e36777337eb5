//! Whom a worker hands what is another's.

use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use crate::id::PortIx;

/// Rings by which workers hand each other ICMPv6 errors about flows that are not theirs.
#[derive(Debug)]
pub struct Peers<B> {
    /// By worker.
    pub inboxes: Vec<Arc<ArrayQueue<(PortIx, B)>>>,
}

impl<B> Clone for Peers<B> {
    fn clone(&self) -> Self {
        Self {
            inboxes: self.inboxes.clone(),
        }
    }
}

impl<B> Peers<B> {
    /// Inboxes for so many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            inboxes: (0..workers)
                .map(|_| Arc::new(ArrayQueue::new(64)))
                .collect(),
        }
    }
}
