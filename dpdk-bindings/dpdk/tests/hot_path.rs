//! The calls of the packet path allocate nothing. Needs the process's allocator, so it is a file of its own.

#![cfg(feature = "eal")]
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests fail like tests

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use arrayvec::ArrayVec;
use common::{open, pool};
use dpdk::{Mbuf, SocketId, free_burst, ring};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, counting what each thread asks of it.
struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn receiving_changing_and_sending_allocate_nothing() {
    let pool = pool("hot", 255, 2_048);
    let (_port, mut rx, mut tx) = open("net_null_hot", &pool);
    let (mut sender, mut receiver) = ring(common::eal(), "hot", 16, SocketId::ANY).unwrap();
    let mut burst = ArrayVec::<Mbuf, 32>::new();

    let before = ALLOCATIONS.get();
    for _ in 0..100 {
        assert_eq!(rx.receive(&mut burst), 32);
        Mbuf::prefetch_all(&burst);
        for mbuf in &mut burst {
            mbuf.prefetch_header();
            mbuf.prefetch_data();
            mbuf.prepend(40).unwrap().fill(1);
            mbuf.prepend_head::<60>(20).unwrap().fill(1);
            assert!(mbuf.adj(14) && mbuf.truncate(60));
            mbuf.append(8).unwrap().fill(2);
        }
        drop(burst.swap_pop(5));
        burst.push(pool.alloc().unwrap());
        assert_eq!(tx.transmit(&mut burst), 32);
        rx.receive(&mut burst);
        assert_eq!(sender.send(&mut burst), 16);
        assert_eq!(receiver.receive(&mut burst), 16);
        free_burst(&mut burst);
    }
    assert_eq!(ALLOCATIONS.get(), before);
    drop(Box::new(7));
    assert_eq!(ALLOCATIONS.get(), before + 2, "the counter counts");
}
