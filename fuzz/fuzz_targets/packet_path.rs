//! The whole packet path of two workers, on frames of any bytes by any port.

#![no_main]

#[path = "../../dataplane/tests/support/mod.rs"]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::hostile::run(data));
