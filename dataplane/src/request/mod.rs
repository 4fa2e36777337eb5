//! The request's way: from a client to an instance.
//!
//! [`boundary`] ─ flow hit? [`established`] : [`verify`] ─ [`admit`] ─ [`matching`] ─ [`score`] ─ [`policy`] ─ `choose` ─
//! [`dispatch`], `pin` ─ [`forward`] (encap)

mod assoc;
pub mod boundary;
pub mod verify;
pub mod established;
pub mod admit;
pub mod replay_guard;
pub mod matching;
pub mod capable;
pub mod standing;
pub mod charges;
pub mod score;
pub(crate) mod least;
pub mod policy;
mod choose;
pub mod dispatch;
mod pin;
pub mod forward;
