//! Virtual-time replay of a workload: the product's own dispatch, and other routers' algorithms, behind one trait.
//!
//! | module | is |
//! |---|---|
//! | [`workload`] | which requests arrive when, their blocks and signatures |
//! | [`agents`] | made-up sessions of agents |
//! | [`scenario`] | what a cluster is like and what happens to it |
//! | [`router`] | what a router is asked and told, at virtual times |
//! | [`afr`] | the AFR: its workers, its control core, its instances' agents, real bytes between them |
//! | [`peers`] | the others' published algorithms, and an oracle |
//! | [`engines`] | what can be told of an engine from outside: held blocks, tokens to prefill |
//! | [`cluster`] | the loop: engines, clients and failures in virtual time |
//! | [`figures`] | what a run is judged by |
//! | [`page`] | results as an HTML page |
//!
//! The engines are in `cluster/`, a workspace of its own: they need two hundred crates that nothing else does. Everything
//! here is built and tested with the rest.

pub mod workload;
pub mod agents;
pub mod scenario;
pub mod router;
pub mod engines;
pub mod peers;
pub mod afr;
pub mod cluster;
pub mod figures;
pub mod page;
