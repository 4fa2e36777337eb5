//! The types that [`epoch`](super::epoch) synchronises by: the real ones, or loom's under `--cfg loom`.

#[cfg(not(loom))]
pub(crate) use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

#[cfg(loom)]
pub(crate) use loom::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// Room for one message from one thread to one other.
#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) struct Letterbox<M>(crossbeam_queue::ArrayQueue<M>);

#[cfg(not(loom))]
impl<M> Letterbox<M> {
    pub(crate) fn new() -> Self {
        Self(crossbeam_queue::ArrayQueue::new(1))
    }

    /// Puts a message in, and returns the one that was not taken, if any.
    pub(crate) fn put(&self, message: M) -> Option<M> {
        self.0.force_push(message)
    }

    /// Takes the message out. Does not wait, nor repeat anything, unless the other side is inside [`Self::put`].
    pub(crate) fn take(&self) -> Option<M> {
        self.0.pop()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The same for loom, which cannot look into the queue: a cell behind a lock.
#[cfg(loom)]
#[derive(Debug)]
pub(crate) struct Letterbox<M>(loom::sync::Mutex<Option<M>>);

#[cfg(loom)]
impl<M> Letterbox<M> {
    pub(crate) fn new() -> Self {
        Self(loom::sync::Mutex::new(None))
    }

    pub(crate) fn put(&self, message: M) -> Option<M> {
        self.cell().replace(message)
    }

    pub(crate) fn take(&self) -> Option<M> {
        self.cell().take()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.cell().is_none()
    }

    fn cell(&self) -> loom::sync::MutexGuard<'_, Option<M>> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
