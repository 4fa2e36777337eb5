//! Configurations for tests.

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::path::Path;

use crate::config::{self, Loaded};

/// Two classes (1 "chat", 2 "code"), and instances 1 to `count`: all serve chat, the even ones code too.
pub(crate) fn loaded(count: u32) -> Loaded {
    loaded_with(count, "")
}

/// The same, with `extra` sections.
pub(crate) fn loaded_with(count: u32, extra: &str) -> Loaded {
    loaded_of(1..=count, extra)
}

/// The same of instances of these numbers.
pub(crate) fn loaded_of(numbers: RangeInclusive<u32>, extra: &str) -> Loaded {
    let mut text = String::from(
        r#"
[router]
cluster = 1
address = "fd00:af::1"
maglev_seed = "000102030405060708090a0b0c0d0e0f"
[workers]
lcores = [1, 2]
[[port]]
name = "fabric"
device = "net_null0"
role = "inside"
[[neighbour]]
address = "fd00:1::100"
port = "fabric"
mac = "02:00:00:00:01:01"
[[catalogue]]
version = 1
salt = "6c61622d73616c74"
labels = ["a", "b"]
[[service]]
prefix = "fd00:a9::/96"
[[class]]
id = 1
name = "chat"
[[class]]
id = 2
name = "code"
[limits]
instances = 16
classes = 4
signatures = 1024
maglev = 251
"#,
    );
    text.push_str(extra);
    for n in numbers {
        let classes = if n % 2 == 0 {
            r#""chat", "code""#
        } else {
            r#""chat""#
        };
        let entry = format!(
            r#"
[[instance]]
id = {n}
name = "inst-{n}"
sid = "fd00:1::d:{n:x}"
via = "fd00:1::100"
tunnel_source = "fd00:1::{n:x}"
prefill_rate_tokens_s = 1000
classes = [{classes}]
"#
        );
        // Writing to a String cannot fail.
        let _ = text.write_str(&entry);
    }
    config::parse(&text, Path::new("test.toml"), 1).expect("a right file")
}
