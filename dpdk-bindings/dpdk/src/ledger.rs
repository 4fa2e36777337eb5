//! The account of mbufs the program holds: how many came in, how many went out.
//!
//! It answers one question, once: may the EAL unmap its memory, or does an [`Mbuf`](crate::Mbuf) still point into it?
//!
//! An mbuf comes in through `Mempool::alloc` or `RxQueue::receive`, and goes out when it is dropped or when a driver takes
//! it from `TxQueue::transmit`. Queues count for themselves, in a field that only their one owner touches, and enter
//! their sums here when they are dropped. Allocations and drops are entered at once, each lcore on a page of its own,
//! so that no two cores write to one cache line; threads that DPDK does not know share the last page.
//!
//! # Proof
//!
//! [`Ledger::is_settled`] is called when no holder of the EAL is left, that is (crate documentation, point 2) when no queue
//! and no pool handle exists.
//!
//! - Nothing enters any more, and everything that entered did so before the last count of the EAL was given up: the
//!   `Arc`'s own synchronisation makes every entry visible. So the sum of `entered` is final and exact.
//! - `left` only grows, and never passes `entered`. If the sum read equals `entered`, every departure has been read. Each
//!   was written with `Release` *after* DPDK had finished with the mbuf, and is read here with `Acquire`, so the last
//!   touch of every mbuf happens before whatever the caller does next.
//! - If a departure is missing or its write is not yet visible, the sums differ and the caller leaves the memory alone:
//!   the error is only ever on the safe side. `mem::forget` of an mbuf ends the same way.
//!
//! An lcore's page has one writer at a time (an lcore id belongs to one thread), so a plain load, add and store suffices
//! there and no locked instruction is on the path of a dropped packet.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

/// Lcores this DPDK was built for; their ids are below it.
const MAX_LCORES: usize = dpdk_sys::DPDK_SYS_MAX_LCORE as usize;

/// The process's account: there is one EAL a process.
pub(crate) static LEDGER: Ledger = Ledger::new();

/// Mbufs that came in and went out, by the lcore that did it.
pub(crate) struct Ledger {
    lcores: [CachePadded<Page>; MAX_LCORES],
    others: CachePadded<Page>,
}

struct Page {
    entered: AtomicU64,
    left: AtomicU64,
}

impl Page {
    const fn new() -> Self {
        Self {
            entered: AtomicU64::new(0),
            left: AtomicU64::new(0),
        }
    }
}

impl Ledger {
    const fn new() -> Self {
        Self {
            lcores: [const { CachePadded::new(Page::new()) }; MAX_LCORES],
            others: CachePadded::new(Page::new()),
        }
    }

    /// `count` mbufs came into the program's hands on the calling thread, whose lcore id is `lcore`.
    #[inline]
    pub(crate) fn enter(&self, lcore: u32, count: u64) {
        self.add(lcore, count, |page| &page.entered);
    }

    /// `count` mbufs left the program's hands on the calling thread, and DPDK has finished with them.
    #[inline]
    pub(crate) fn leave(&self, lcore: u32, count: u64) {
        self.add(lcore, count, |page| &page.left);
    }

    /// Enters a queue's whole account, from whatever thread drops it.
    pub(crate) fn close_queue(&self, entered: u64, left: u64) {
        self.others.entered.fetch_add(entered, Ordering::Release);
        self.others.left.fetch_add(left, Ordering::Release);
    }

    /// Whether every mbuf that came in has gone out. Exact only when nothing can come in any more; see the module.
    pub(crate) fn is_settled(&self) -> bool {
        self.sum(|page| &page.entered) == self.sum(|page| &page.left)
    }

    #[inline]
    fn add(&self, lcore: u32, count: u64, column: impl Fn(&Page) -> &AtomicU64) {
        match self.lcores.get(lcore as usize) {
            Some(page) => {
                let cell = column(page);
                // One writer: see the module.
                cell.store(
                    cell.load(Ordering::Relaxed).wrapping_add(count),
                    Ordering::Release,
                );
            }
            None => {
                column(&self.others).fetch_add(count, Ordering::Release);
            }
        }
    }

    fn sum(&self, column: impl Fn(&Page) -> &AtomicU64) -> u64 {
        let pages = self.lcores.iter().chain([&self.others]);
        pages.fold(0, |sum, page| {
            sum.wrapping_add(column(page).load(Ordering::Acquire))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lcore id of a thread DPDK does not know (`LCORE_ID_ANY`).
    const NO_LCORE: u32 = u32::MAX;

    #[test]
    fn settles_whoever_frees() {
        let ledger = Ledger::new();
        assert!(ledger.is_settled());
        ledger.enter(0, 3);
        assert!(!ledger.is_settled());
        ledger.leave(1, 2);
        assert!(!ledger.is_settled());
        ledger.leave(NO_LCORE, 1);
        assert!(ledger.is_settled());
    }

    #[test]
    fn queues_enter_their_sums() {
        let ledger = Ledger::new();
        ledger.close_queue(10, 0);
        ledger.close_queue(0, 9);
        assert!(!ledger.is_settled());
        ledger.leave(5, 1);
        assert!(ledger.is_settled());
    }

    #[test]
    fn threads_without_an_lcore_share_a_page_without_losing_counts() {
        let ledger = Ledger::new();
        ledger.enter(NO_LCORE, 4_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1_000).for_each(|_| ledger.leave(NO_LCORE, 1)));
            }
        });
        assert!(ledger.is_settled());
    }
}
