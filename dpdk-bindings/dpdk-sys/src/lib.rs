//! Raw bindings to DPDK, made at build time from the installed headers.
//!
//! Three layers, and nothing safe in any of them; the crate `dpdk` is what programs use.
//!
//! - what bindgen writes for the functions on the allow-list of `build.rs`, and for the types those mention;
//! - `dpdk_sys_*`, the C shim: a symbol for each `static inline` call, constants for what only C can spell;
//! - [`mbuf`]: the fields of `struct rte_mbuf`, read and written in line.
//!
//! Works with DPDK 22.11 and later. `struct rte_mbuf`, `struct rte_mempool` and `struct rte_device` are opaque: their
//! insides differ between releases.

pub mod mbuf;

/// bindgen's output, alone in its module so that nothing else is exempt from the lints.
mod generated {
    #![allow(
        missing_docs,
        non_camel_case_types,
        non_snake_case,
        non_upper_case_globals,
        unreachable_pub,
        unsafe_op_in_unsafe_fn,
        dead_code,
        clippy::all,
        clippy::pedantic,
        clippy::undocumented_unsafe_blocks
    )]
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

pub use generated::*;
