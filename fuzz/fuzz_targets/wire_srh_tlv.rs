//! The TLVs of a Segment Routing Header.

#![no_main]

#[path = "../../wire/tests/invariants/mod.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|data: &[u8]| invariants::srh_tlvs(data));
