//! The request's way: from a client to an instance.
//!
//! [`boundary`] ─ flow hit? [`established`] : [`admit`] ─ [`verify`] ─ [`matching`] ─ [`score`] ─ [`dispatch`] (pin) ─
//! [`forward`] (encap)

mod assoc;
pub mod boundary;
pub mod verify;
pub mod established;
pub mod admit;
pub mod replay_guard;
pub mod matching;
pub mod score;
pub mod policy;
pub mod dispatch;
pub mod forward;
