//! What runs on clients and instances: metadata on ordinary sockets, state reports.
//!
//! A client needs nothing but a socket option: [`sender`] makes the Destination Options header of one request, and
//! [`sockopt`] puts it on the socket before `connect()`, so that the SYN carries it. An instance makes state reports
//! with [`report`], as datagrams and, where configured, in its replies. [`depth`] and [`events`] decide what little of
//! what is known about prefixes is worth its bytes.
//!
//! Time comes in as an argument everywhere; only [`sockopt`], [`sender::source_towards`] and [`udp`] make system calls.

pub mod sockopt;
pub mod depth;
pub mod sender;
pub mod events;
pub mod report;
pub mod udp;
