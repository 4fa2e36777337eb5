//! Virtual-time replay of a workload: the product's own dispatch, and other routers' algorithms, behind one trait.
//!
//! | module | is |
//! |---|---|
//! | [`workload`] | which requests arrive when, their blocks and signatures |
//! | [`router`] | what a router is asked and told, at virtual times |
//! | [`afr`] | the AFR: its workers, its control core, its instances' agents, real bytes between them |
//! | [`peers`] | the others' published algorithms, and an oracle |
//! | [`engines`] | what can be told of an engine from outside: held blocks, tokens to prefill |
//! | [`figures`] | what a run is judged by |
//!
//! The cluster itself, with its clock and engines, is in `cluster/`, a workspace of its own: it needs two hundred crates
//! that nothing else does. Everything here is built and tested with the rest.

pub mod workload;
pub mod router;
pub mod engines;
pub mod peers;
pub mod afr;
pub mod figures;
