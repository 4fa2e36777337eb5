//! `afrd` on PCI network cards: a guest of QEMU is the AFR, kernel hosts on this machine are its peers.
//!
//! ```text
//!   cli ──┐                    ┌───────────── QEMU ─────────────┐                    ┌── i1
//!         ├── clients (bridge) ┤ PCI card ─ vfio-pci ─ afrd ─   ├ fabric (bridge) ───┤
//!         ┘                    │             IOMMU    PCI card  │                    └── i2
//!                              └── management: metrics ─────────┘
//! ```
//!
//! The guest runs a distribution's kernel with an IOMMU, huge pages and `vfio-pci`, and starts `afrd` from the shipped
//! configuration (`scripts/nic-init`, put together by `scripts/nic-guest`). Its two cards' frames come out of tap
//! interfaces here, in a network namespace with the bridges; clients and instance hosts are namespaces as in the
//! [lab](crate::lab), at the addresses that the shipped configuration has. They find the AFR by Neighbor Discovery, as
//! hosts on a wire do.
//!
//! The processor is emulated, so that nothing but QEMU is needed. Nothing here says how fast `afrd` is.

mod args;
mod model;
mod hosts;
mod guest;
mod rss;
mod traffic;
mod checks;
mod run;

pub use args::NicArgs;
pub use checks::Check;
pub use model::Model;
pub use run::{NicError, run};
