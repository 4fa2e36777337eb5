//! The API of a running `afrd`: one JSON object a line over a UNIX socket.
//!
//! A client sends `{"v":1,"request":{"command":"show_instances"}}` and gets one line back, either
//! `{"v":1,"response":{"kind":"instances","data":[…]}}` or `{"v":1,"error":{"message":"…","kind":"…",…}}`. A connection may
//! carry any number of requests, one after the other.
//!
//! The way of a request:
//!
//! | step | module |
//! |---|---|
//! | bytes become a [`Request`], within bounds of length, number and time | [`server`], [`socket`], [`protocol`] |
//! | it is answered from what threads share and what the control core knows | [`backend`], with `show`, `flows` and `explain` |
//! | the control core is asked between two of its steps, so no worker waits | [`core`] |
//! | the answer goes back as a [`Response`] made of [`view`]s, or as an [`ApiError`] | [`protocol`], [`error`] |
//!
//! [`client`] is the other end.

pub mod protocol;
pub mod error;
pub mod view;
pub mod core;
pub mod platform;
pub mod backend;
mod resolve;
mod names;
pub(crate) mod facts;
mod show;
mod flows;
mod explain;
pub(crate) mod health;
pub(crate) mod tally;
pub(crate) mod balance;
pub mod socket;
pub mod server;
pub mod client;

pub use backend::{Backend, LocalBackend};
pub use client::{Client, ClientError};
pub use core::{CoreControl, CoreHandle, CoreInbox, CoreState};
pub use error::{ApiError, Entity};
pub use platform::{Platform, Site};
pub use protocol::{Request, Response};
pub use server::{Server, ServerLimits};
