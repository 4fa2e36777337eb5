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
    loaded_classes(&[(1, "chat"), (2, "code")], numbers, extra)
}

/// The same with other classes, in this order; an instance serves what there is of its own.
pub(crate) fn loaded_classes(
    classes: &[(u32, &str)],
    numbers: impl IntoIterator<Item = u32>,
    extra: &str,
) -> Loaded {
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
[limits]
instances = 16
classes = 4
signatures = 1024
maglev = 251
"#,
    );
    text.push_str(extra);
    for (id, name) in classes {
        let entry = format!("[[class]]\nid = {id}\nname = \"{name}\"\n");
        text.push_str(&entry);
    }
    for n in numbers {
        let own: &[&str] = if n % 2 == 0 {
            &["chat", "code"]
        } else {
            &["chat"]
        };
        let is_own = |(_, name): &&(u32, &str)| own.contains(name);
        let own = classes.iter().filter(is_own);
        let classes: Vec<_> = own.map(|(_, name)| format!("{name:?}")).collect();
        let classes = classes.join(", ");
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
