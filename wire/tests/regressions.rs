//! The fuzz targets' seeds, and every input that ever failed one, on the stable toolchain.
//!
//! A crash is kept by adding its input to `fuzz/seeds/<target>/` under a name that says what it
//! was.

#![allow(
    clippy::unwrap_used,
    reason = "a seed that cannot be read is a failed test"
)]
#![allow(
    clippy::print_stdout,
    reason = "shown by the harness where a test fails"
)]

mod common;
mod invariants;

use std::fs;
use std::path::Path;

use common::{hex, vectors};

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/seeds")
        .join(target);
    let mut seeds: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "no seeds in {}", folder.display());
    seeds
}

fn run(target: &str, check: fn(&[u8])) {
    for (name, bytes) in seeds(target) {
        println!("{target}/{name}");
        check(&bytes);
    }
}

#[test]
fn wire_object() {
    run("wire_object", invariants::object);
}

#[test]
fn wire_options() {
    run("wire_options", invariants::options);
}

#[test]
fn wire_srh_tlv() {
    run("wire_srh_tlv", invariants::srh_tlvs);
}

#[test]
fn every_vector_is_a_seed() {
    let seeds = seeds("wire_object");
    for object in vectors()["objects"].as_array().unwrap() {
        let data = hex(&object["data"]);
        assert!(
            seeds.iter().any(|(_, seed)| *seed == data),
            "{}",
            object["name"]
        );
    }
}
