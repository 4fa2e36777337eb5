//! The data of an option, a TLV or a datagram: `Object::parse` and everything behind it.

#![no_main]

#[path = "../../wire/tests/invariants/mod.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|data: &[u8]| invariants::object(data));
