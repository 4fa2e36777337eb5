//! Command lines of the programs in the lab.

use super::config::{CLUSTER, KEY, SALT};

/// The key of the tenant's signature domain, in hexadecimal.
const DOMAIN_KEY: &str = "746865206c61622773206f776e206b65";

/// What engines and clients share with the AFR.
#[must_use]
pub fn trust_arguments() -> Vec<String> {
    flags(&[
        ("--key-id", KEY.0.to_string()),
        ("--master-key", KEY.1.to_owned()),
        ("--cluster", CLUSTER.to_string()),
        ("--catalogue", SALT.0.to_string()),
        ("--salt", SALT.1.to_owned()),
        ("--domain-key", DOMAIN_KEY.to_owned()),
    ])
}

/// Flags and their values as words.
#[must_use]
pub fn flags(pairs: &[(&str, String)]) -> Vec<String> {
    let words = pairs
        .iter()
        .flat_map(|(flag, value)| [(*flag).to_owned(), value.clone()]);
    words.collect()
}
