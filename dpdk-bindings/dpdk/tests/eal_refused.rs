//! An EAL that does not start. Needs a process of its own, so it is one test.

#![cfg(feature = "eal")]
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests fail like tests

mod common;

use dpdk::{Eal, EalError};

#[test]
fn a_stray_argument_is_named_and_the_attempt_counts() {
    let mut args = common::eal_args();
    args.push("stray".to_owned());
    let error = Eal::init(args).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"EAL argument "stray" is not an option"#
    );
    assert!(matches!(
        Eal::init(common::eal_args()),
        Err(EalError::AlreadyInitialised)
    ));
}
