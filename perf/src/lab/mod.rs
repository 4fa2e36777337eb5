//! A lab on one machine: kernel hosts in network namespaces, `afrd` between them.
//!
//! ```text
//!   cli ──edge── rt (afrd) ──fabric── sw (bridge) ──┬── i1
//!                                                   ├── i2
//!                                                   └── …
//! ```
//!
//! `cli` holds the clients: one interface, several addresses in one /64. In `rt` the kernel has two interfaces and IPv6
//! switched off on both: whoever speaks there is `afrd`, by `net_af_packet`. Each `i…` is an instance host that
//! decapsulates by the kernel's `seg6local End.DT6` and tunnels back by `encap seg6`; nothing of ours is on its
//! receive path. Neighbours are static everywhere, so that the first packet of a test is its own and no solicitation.
//!
//! [`Lab`] owns what it makes: namespaces, temporary files, huge pages. All of it goes when it is dropped, also when a
//! test panics or a signal asks to stop ([`Interrupt`]); what a killed process leaves behind is recognised by the
//! process id in its name and removed by [`clean`]. Everything that waits, waits for an event (a line, a
//! socket, an exit), bounded by a patience after which it is an error that shows the log.

mod command;
mod interrupt;
mod namespace;
mod process;
mod topology;
mod kernel_router;
mod leftovers;
mod huge_pages;
mod config;
mod arguments;
mod afrd;
mod exposition;
mod peer;
mod sender;
mod reporter;
mod echo_cluster;
mod engines;
mod load;

pub use afrd::{Afrd, AfrdError, program};
pub use arguments::{flags, trust_arguments};
pub use command::{CommandError, run};
pub use config::{
    AfrConfig, Api, CLUSTER, Catalogue, Class, Dispatch, Eal, Flows, Instance, KEY, Key, Log,
    MetricsSection, Neighbour, Port, Route, Router, SALT, Service, Trust, Workers,
};
pub use echo_cluster::{EchoCluster, EchoError};
pub use engines::{report_arguments, start_engines};
pub use exposition::{Exposition, ExpositionError};
pub use huge_pages::HugePages;
pub(crate) use huge_pages::give_back as give_back_huge_pages;
pub use interrupt::Interrupt;
pub(crate) use leftovers::dead as dead_tags;
pub(crate) use leftovers::tag;
pub use leftovers::{Removed, clean};
pub use load::{LoadError, LoadProgress, Played, play as play_load};
pub use namespace::{Namespace, NamespaceError};
pub use peer::{Client, Dial, PeerError, Server};
pub use process::{Process, ProcessError};
pub use reporter::Heartbeat;
pub use sender::{Wish, key, label, master, sender};
pub use topology::{
    AFR_ADDRESS, AFR_SID, Host, Lab, LabError, LabSpec, SERVICE_PREFIX, client_address,
    service_address,
};
pub(crate) use topology::{Directory, EDGE_GATEWAY};
