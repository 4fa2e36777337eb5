//! The options of a Destination or Hop-by-Hop Options header.

#![no_main]

#[path = "../../wire/tests/invariants/mod.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|data: &[u8]| invariants::options(data));
