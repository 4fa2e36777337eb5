//! On x86_64.

pub(crate) mod detect;
#[macro_use]
mod kernel;
pub(crate) mod xmm;
pub(crate) mod ymm;
#[cfg(test)]
mod tests;
