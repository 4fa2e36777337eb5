//! What the configuration accepts, and the exact words in which it refuses.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use afr_controlplane::config::{self, DeviceKind, Idle, Loaded, needs_restart};
use afr_dataplane::config::{BoundaryAction, Claim, Dispatch, Flows, PolicyKind, PortRole};
use afr_wire::{ClassId, KeyId};
use proptest::prelude::*;

const SAMPLE: &str = include_str!("../../configs/afrd.toml");

fn parse(text: &str) -> Result<Loaded, String> {
    config::parse(text, Path::new("t.toml"), 1).map_err(|problems| problems.to_string())
}

/// A small right file; line numbers of the tests count in it.
const SMALL: &str = r#"[router]
cluster = 1
address = "fd00:af::1"
maglev_seed = "000102030405060708090a0b0c0d0e0f"
[workers]
lcores = [1]
[[port]]
name = "fabric"
iface = "veth0"
role = "inside"
[[neighbour]]
address = "fd00:1::11"
port = "fabric"
mac = "02:00:00:00:01:01"
[[catalogue]]
version = 1
salt = "6c61622d73616c74"
labels = ["a", "b"]
[[key]]
id = 1
secret = "000102030405060708090a0b0c0d0e0f"
[[service]]
prefix = "fd00:a9::/96"
[[class]]
id = 1
name = "chat"
[[instance]]
id = 11
name = "inst-1"
sid = "fd00:1::d:11"
via = "fd00:1::11"
classes = ["chat"]
"#;

#[test]
fn the_shipped_file_is_right_and_its_comments_tell_the_defaults() {
    let sample = parse(SAMPLE).unwrap();
    assert_eq!(sample.plane.classes.len(), 2);
    assert_eq!(sample.instances.len(), 2);
    assert_eq!(sample.process.workers.lcores, [1]);
    assert_eq!(sample.process.workers.steering, None);
    assert_eq!(
        sample.process.workers.idle,
        Idle::Sleep {
            after_polls: 256,
            us: 50
        }
    );
    // A neighbour is a route to its own address, before the shorter prefixes.
    assert_eq!(sample.plane.routes.len(), 4);
    assert!(
        sample
            .plane
            .routes
            .is_sorted_by_key(|route| 128 - route.prefix.length())
    );

    // Every commented key, uncommented, is known, and gives what its absence gives.
    let all: Vec<String> = SAMPLE.lines().map(uncommented).collect();
    let all = parse(&all.join("\n")).unwrap();
    assert_eq!(
        format!("{:?}", all.plane.dispatch),
        format!("{:?}", Dispatch::default())
    );
    assert_eq!(
        format!("{:?}", all.plane.flows),
        format!("{:?}", Flows::default())
    );
    assert_eq!(all.plane.limits, sample.plane.limits);
    assert_eq!(
        format!("{:?}", all.plane.admit),
        format!("{:?}", sample.plane.admit)
    );
    assert_eq!(
        format!("{:?}", all.plane.keys),
        format!("{:?}", sample.plane.keys)
    );
    assert_eq!(
        format!("{:?}", all.instances),
        format!("{:?}", sample.instances)
    );
    assert_eq!(all.control, sample.control);
    assert_eq!(
        needs_restart(&sample, &all),
        ["[[port]]"],
        "only the VLAN is an example"
    );
}

/// The line without its `#`, if it is a commented key whose value is its default (or a harmless example).
fn uncommented(line: &str) -> String {
    let examples = [
        "#secret_file",
        "#successor",
        "#spill",
        "#objective_us",
        "#mss_clamp",
        "#punt_port",
    ];
    let is_key = line.starts_with('#') && !line.starts_with("# ") && line.len() > 1;
    if is_key && !examples.iter().any(|e| line.starts_with(e)) {
        line[1..].to_owned()
    } else {
        line.to_owned()
    }
}

#[test]
fn a_small_file_gets_the_defaults() {
    let small = parse(SMALL).unwrap();
    let port = &small.plane.ports[0];
    assert_eq!(
        (port.role, port.mtu, port.vlan),
        (PortRole::Inside, 1_500, None)
    );
    assert_eq!(port.boundary, BoundaryAction::Strip);
    let interface = DeviceKind::Interface {
        index: 0,
        interface: "veth0".to_owned(),
    };
    assert_eq!(small.process.devices[0].kind, interface);
    let class = small
        .plane
        .classes
        .get(afr_dataplane::id::ClassIx(0))
        .unwrap();
    assert_eq!((class.id, class.policy), (ClassId(1), PolicyKind::Ttft));
    assert_eq!(small.plane.keys[0].id, KeyId(1));
    assert_eq!(small.plane.keys[0].classes, Claim::Any);
    let instance = &small.instances[0].instance;
    assert_eq!(
        instance.tunnel_source,
        "fd00:1::11".parse::<std::net::Ipv6Addr>().unwrap()
    );
    assert_eq!(instance.mtu, 1_500);
    assert_eq!(small.process.metrics, None);
    assert_eq!(small.process.api_socket, PathBuf::from("/run/afrd.sock"));
}

/// What is wrong: the text to replace, by what, and the one message that must come of it.
const WRONG: &[(&str, &str, &str)] = &[
    (
        "cluster = 1",
        "cluster = = 1",
        "t.toml:2: extra `=`, expected nothing\nt.toml:2: unexpected key or value, expected newline, `#`",
    ),
    (
        "cluster = 1",
        "cluster = 1\nclutser = 1",
        "t.toml:3: router.clutser: no such key; there are \"address\", \"cluster\", \"hop_limit\", \"maglev_seed\", \
         \"mss_clamp\", \"option_type\", \"own_addresses\", \"punt_port\", \"report_port\", \"sids\", \"srh_tlv_type\", \
         \"transit\"",
    ),
    (
        "cluster = 1\n",
        "",
        "t.toml:1: router.cluster: missing: expected 1 to 4294967295",
    ),
    (
        "cluster = 1",
        "cluster = 0",
        "t.toml:2: router.cluster = 0: expected 1 to 4294967295",
    ),
    (
        "cluster = 1",
        "cluster = \"1\"",
        "t.toml:2: router.cluster = \"1\": expected 1 to 4294967295",
    ),
    (
        "\"fd00:af::1\"",
        "\"ff02::1\"",
        "t.toml:3: router.address = \"ff02::1\": expected a unicast IPv6 address",
    ),
    (
        "\"fd00:af::1\"",
        "\"fd00:a9::1\"",
        "t.toml:3: router.address = \"fd00:a9::1\": expected an address outside of the service prefixes",
    ),
    (
        "0d0e0f\"\n[workers]",
        "0d0e\"\n[workers]",
        "t.toml:4: router.maglev_seed: expected 16 bytes in hexadecimal (32 digits)",
    ),
    (
        "cluster = 1",
        "cluster = 1\nhop_limit = 0",
        "t.toml:3: router.hop_limit = 0: expected 1 to 255",
    ),
    (
        "cluster = 1",
        "cluster = 1\noption_type = 0x3E",
        "t.toml:3: router.option_type = 0x3E: expected 2 to 31",
    ),
    (
        "cluster = 1",
        "cluster = 1\nsids = [\"fd00:af::2\", \"fd00:af::2\"]",
        "t.toml:3: router.sids[1] = \"fd00:af::2\": given before, in line 3",
    ),
    (
        "cluster = 1",
        "cluster = 1\npunt_port = \"tap\"",
        "t.toml:3: router.punt_port = \"tap\": no such port; there are \"fabric\"",
    ),
    (
        "lcores = [1]",
        "lcores = []",
        "t.toml:6: workers.lcores = []: expected 1 to 64 CPUs",
    ),
    (
        "lcores = [1]",
        "lcores = [1, 1]",
        "t.toml:6: workers.lcores[1] = 1: given before, in line 6",
    ),
    (
        "lcores = [1]",
        "lcores = 1",
        "t.toml:6: workers.lcores = 1: expected a list, each item 0 to 1023",
    ),
    (
        "lcores = [1]",
        "lcores = [1]\nidle = \"nap\"",
        "t.toml:7: workers.idle = \"nap\": expected one of \"spin\", \"sleep\"",
    ),
    (
        "role = \"inside\"\n",
        "",
        "t.toml:7: port[0].role: missing: expected one of \"inside\", \"outside\"",
    ),
    (
        "role = \"inside\"",
        "role = \"inside\"\nmtu = 1300",
        "t.toml:11: port[0].mtu = 1300: expected 1320 to 9000 inside: the IPv6 minimum and the encapsulation\n\
         t.toml:32: instance[0].via = \"fd00:1::11\": expected a path by a port with an mtu of 1320 or more",
    ),
    (
        "role = \"inside\"",
        "role = \"inside\"\ndevice = \"net_null0\"",
        "t.toml:7: port[0]: expected exactly one of iface, device",
    ),
    (
        "iface = \"veth0\"",
        "device = \"eth0\"",
        "t.toml:9: port[0].device = \"eth0\": expected a PCI address such as \"0000:03:00.0\", or a virtual device such as \
         \"net_tap0,iface=tap0\"",
    ),
    (
        "[workers]",
        "[eal]\nmbuf_bytes = 2048\n[workers]",
        "t.toml:11: port[0].iface = \"veth0\": expected eal.mbuf_bytes of 4192 or more with a port of this kind",
    ),
    (
        "[[neighbour]]",
        "[[port]]\nname = \"fabric\"\niface = \"veth1\"\nrole = \"outside\"\n[[neighbour]]",
        "t.toml:12: port[1].name = \"fabric\": given before, in line 8",
    ),
    (
        "port = \"fabric\"",
        "port = \"fibre\"",
        "t.toml:13: neighbour[0].port = \"fibre\": no such port; there are \"fabric\"\n\
         t.toml:31: instance[0].via = \"fd00:1::11\": no such neighbour; there are none",
    ),
    (
        "mac = \"02:",
        "mac = \"03:",
        "t.toml:14: neighbour[0].mac = \"03:00:00:00:01:01\": expected a unicast Ethernet address, such as \
         \"02:00:00:00:00:01\"\n\
         t.toml:31: instance[0].via = \"fd00:1::11\": no such neighbour; there are none",
    ),
    (
        "[[catalogue]]",
        "[[route]]\nprefix = \"fd00:c::1/64\"\nvia = \"fd00:1::12\"\n[[catalogue]]",
        "t.toml:16: route[0].prefix = \"fd00:c::1/64\": expected an IPv6 prefix whose bits beyond its length are 0, such as \
         \"fd00::/64\"\n\
         t.toml:17: route[0].via = \"fd00:1::12\": no such neighbour; there are \"fd00:1::11\"",
    ),
    (
        "labels = [\"a\", \"b\"]",
        "labels = [\"a\", \"a\"]",
        "t.toml:18: catalogue[0].labels[1] = \"a\": given before, in line 18",
    ),
    (
        "labels = [\"a\", \"b\"]",
        "labels = [\"a\", \"\"]",
        "t.toml:18: catalogue[0].labels[1] = \"\": expected a label of 1 to 255 bytes",
    ),
    (
        "0d0e0f\"\n[[service]]",
        "0d0e0g\"\n[[service]]",
        "t.toml:21: key[0].secret: expected 16 bytes in hexadecimal (32 digits)",
    ),
    (
        "[[service]]",
        "secret_file = \"x\"\n[[service]]",
        "t.toml:19: key[0]: expected exactly one of secret, secret_file",
    ),
    (
        "id = 1\nsecret",
        "id = 0\nsecret",
        "t.toml:20: key[0].id = 0: expected 1 to 65535",
    ),
    (
        "[[service]]",
        "algorithm = \"hmac\"\n[[service]]",
        "t.toml:22: key[0].algorithm = \"hmac\": expected one of \"aes-cmac\", \"siphash\"",
    ),
    (
        "[[service]]",
        "not_after = 1970-01-01T00:00:00Z\n[[service]]",
        "t.toml:22: key[0].not_after = 1970-01-01T00:00:00Z: expected a moment after not_before",
    ),
    (
        "[[service]]",
        "not_before = \"next week\"\n[[service]]",
        "t.toml:22: key[0].not_before = \"next week\": expected a moment after 1970 (RFC 3339), such as \
         \"2026-07-01T00:00:00Z\"",
    ),
    (
        "[[service]]",
        "successor = 2\n[[service]]",
        "t.toml:22: key[0].successor = 2: no such key; there are \"1\"",
    ),
    (
        "[[service]]",
        "successor = 1\n[[service]]",
        "t.toml:22: key[0].successor = 1: expected another key than this one",
    ),
    (
        "[[service]]",
        "classes = [\"chat\", \"cat\"]\n[[service]]",
        "t.toml:22: key[0].classes[1] = \"cat\": no such class; there are \"chat\"",
    ),
    (
        "\"fd00:a9::/96\"",
        "\"fd00:a9::/64\"",
        "t.toml:23: service[0].prefix = \"fd00:a9::/64\": expected an IPv6 prefix of 96 bits, such as \"fd00:a9::/96\"",
    ),
    (
        "[[instance]]",
        "[[class]]\nid = 1\nname = \"code\"\n[[instance]]",
        "t.toml:28: class[1].id = 1: given before, in line 25",
    ),
    (
        "name = \"chat\"",
        "name = \"chat\"\npolicy = \"best\"",
        "t.toml:27: class[0].policy = \"best\": expected one of \"ttft\", \"weighted\", \"least-load\", \"two-choices\", \
         \"maglev\", \"round-robin\"",
    ),
    (
        "name = \"chat\"",
        "name = \"chat\"\nmax_prompt_tokens = 100",
        "t.toml:27: class[0].max_prompt_tokens = 100: expected at least default_prompt_tokens, 1024",
    ),
    (
        "name = \"chat\"",
        "name = \"chat\"\naddresses = [\"fd00:a9::7\"]",
        "t.toml:27: class[0].addresses[0] = \"fd00:a9::7\": expected an address outside of the service prefixes and not one \
         of the AFR's own",
    ),
    (
        "name = \"chat\"",
        "name = \"chat\"\nspill = { sid = \"fd00:b::1\" }",
        "t.toml:27: class[0].spill.via: missing: expected a unicast IPv6 address",
    ),
    (
        "classes = [\"chat\"]",
        "classes = [\"cat\"]",
        "t.toml:32: instance[0].classes[0] = \"cat\": no such class; there are \"chat\"",
    ),
    (
        "classes = [\"chat\"]",
        "classes = [\"chat\"]\nlabels = [\"c\"]",
        "t.toml:33: instance[0].labels[0] = \"c\": no such label; there are \"a\", \"b\"",
    ),
    (
        "classes = [\"chat\"]",
        "classes = [\"chat\"]\nreport_key = 2",
        "t.toml:33: instance[0].report_key = 2: no such key; there are \"1\"",
    ),
    (
        "classes = [\"chat\"]",
        "classes = [\"chat\"]\nmtu = 1501",
        "t.toml:33: instance[0].mtu = 1501: expected 1320 to 1500",
    ),
    (
        "classes = [\"chat\"]",
        "classes = [\"chat\"]\nweight = 0",
        "t.toml:33: instance[0].weight = 0: expected 1 to 65535",
    ),
    (
        "classes = [\"chat\"]",
        "classes = [\"chat\"]\npath = \"l2\"",
        "t.toml:30: instance[0].sid = \"fd00:1::d:11\": expected no sid with path = \"l2\"",
    ),
    (
        "sid = \"fd00:1::d:11\"\n",
        "",
        "t.toml:27: instance[0].sid: missing: expected a unicast IPv6 address",
    ),
    (
        "classes = [\"chat\"]",
        "classes = [\"chat\"]\n[[instance]]\nid = 11\nname = \"inst-1\"\nsid = \"fd00:1::d:11\"\nvia = \"fd00:1::11\"\nclasses = \
         []",
        "t.toml:34: instance[1].id = 11: given before, in line 28\n\
         t.toml:35: instance[1].name = \"inst-1\": given before, in line 29\n\
         t.toml:36: instance[1].sid = \"fd00:1::d:11\": given before, in line 30\n\
         t.toml:37: instance[1].via = \"fd00:1::11\": given before, in line 31",
    ),
    (
        "[workers]",
        "[limits]\nmaglev = 16384\n[workers]",
        "t.toml:6: limits.maglev = 16384: expected a prime from 2 to 16777213",
    ),
    (
        "[workers]",
        "[limits]\nclasses = 4096\n[workers]",
        "t.toml:6: limits.classes = 4096: expected at most 1024 with 4096 instances",
    ),
    (
        "[[class]]",
        "[[class]]\nid = 9\nname = \"code\"\n[limits]\nclasses = 1\n[[class]]",
        "t.toml:24: class: 2 entries; limits.classes is 1",
    ),
    (
        "[workers]",
        "[dispatch]\nweights = [1, 2]\n[workers]",
        "t.toml:6: dispatch.weights = [1, 2]: expected three numbers from 0 to 65535, not all 0",
    ),
    (
        "[workers]",
        "[dispatch]\ndead_after_ms = 10\n[workers]",
        "t.toml:6: dispatch.dead_after_ms = 10: expected 0, or at least stale_report_us (250 ms)",
    ),
    (
        "[workers]",
        "[metrics]\nlisten = \"9472\"\n[workers]",
        "t.toml:6: metrics.listen = \"9472\": expected an address and a port, such as \"127.0.0.1:9472\" or \"[::1]:9472\"",
    ),
    (
        "[workers]",
        "[metrisc]\n[workers]",
        "t.toml:5: metrisc: no such key; there are \"admit\", \"api\", \"catalogue\", \
         \"class\", \"dispatch\", \"eal\", \"flows\", \"instance\", \"key\", \"limits\", \"log\", \"metrics\", \"neighbour\", \
         \"peer\", \
         \"port\", \"publish\", \"route\", \"router\", \"service\", \"trust\", \"workers\"",
    ),
    (
        "[[class]]",
        "[class]",
        "t.toml:24: class: expected an array of tables, [[class]]\n\
         t.toml:32: instance[0].classes[0] = \"chat\": no such class; there are none",
    ),
];

#[test]
fn each_fault_is_told_with_line_key_value_and_what_is_allowed() {
    let mut differing = Vec::new();
    for (right, wrong, message) in WRONG {
        assert_eq!(SMALL.matches(right).count(), 1, "{right:?} is not a place");
        match parse(&SMALL.replace(right, wrong)).map(drop) {
            Err(told) if &told == message => {}
            told => differing.push(format!(
                "{wrong:?}\n  gives    {told:?}\n  expected {message:?}"
            )),
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn several_faults_are_told_at_once() {
    let text = SMALL
        .replace("cluster = 1", "cluster = 0")
        .replace("id = 11", "id = -1");
    let told = parse(&text).map(drop).unwrap_err();
    assert_eq!(told.lines().count(), 2, "{told}");
}

#[test]
fn labels_that_collide_under_a_salt_are_refused() {
    // Among a thousand labels two share a 16-bit hash all but surely; under this salt they do.
    let labels: Vec<_> = (0..1_000).map(|n| format!("\"label-{n}\"")).collect();
    let text = SMALL.replace("[\"a\", \"b\"]", &format!("[{}]", labels.join(", ")));
    let told = parse(&text).map(drop).unwrap_err();
    let first = told.lines().next().unwrap();
    assert!(first.contains("has the 16-bit hash of \"label-"), "{first}");
    assert!(
        first.starts_with("t.toml:18: catalogue[0].labels["),
        "{first}"
    );
}

#[test]
fn secret_files_must_be_their_owners_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key.hex");
    let config = directory.path().join("afrd.toml");
    let secret = "secret = \"000102030405060708090a0b0c0d0e0f\"";
    fs::write(&config, SMALL.replace(secret, "secret_file = \"key.hex\"")).unwrap();
    let load = || {
        config::load(&config, 1)
            .map(drop)
            .map_err(|error| error.to_string())
    };
    let told = |rest: &str| {
        let place = format!(
            "{}:21: key[0].secret_file = \"key.hex\": ",
            config.display()
        );
        Err(place + rest)
    };

    assert_eq!(
        load(),
        told(&format!("{}: entity not found", file.display()))
    );
    fs::write(&file, "000102030405060708090a0b0c0d0e0f\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let exposed = "has mode 640; expected no access for group and others (chmod 600)";
    assert_eq!(load(), told(&format!("{} {exposed}", file.display())));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(load(), Ok(()));
    fs::write(&file, "00010203").unwrap();
    assert_eq!(
        load(),
        told("expected a file that holds 16 bytes in hexadecimal")
    );
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = config::load(Path::new("/nowhere/afrd.toml"), 1)
        .map(drop)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "/nowhere/afrd.toml: No such file or directory (os error 2)"
    );
}

#[test]
fn what_takes_a_restart_is_named() {
    let running = parse(SMALL).unwrap();
    let changed = |right: &str, wrong: &str| {
        let next = parse(&SMALL.replace(right, wrong)).unwrap();
        needs_restart(&running, &next)
    };
    assert_eq!(changed("lcores = [1]", "lcores = [2]"), ["[workers]"]);
    assert_eq!(changed("veth0", "veth1"), ["[[port]]"]);
    assert_eq!(
        changed("[workers]", "[flows]\ncapacity = 4096\n[workers]"),
        ["flows.capacity"]
    );
    assert_eq!(
        changed("[workers]", "[limits]\nring = 64\n[workers]"),
        ["[limits]"]
    );
    assert_eq!(changed("fd00:1::d:11", "fd00:1::d:12"), [""; 0]);
    assert_eq!(
        changed("inside\"", "inside\"\nboundary = \"drop\""),
        [""; 0]
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Whatever becomes of the sample, there is a configuration or there are messages; never a panic.
    #[test]
    fn mutations_of_the_sample_never_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), edit()), 1..6),
    ) {
        let mut text = SAMPLE.to_owned();
        for (at, edit) in &edits {
            apply(&mut text, at, edit);
        }
        if let Err(problems) = config::parse(&text, Path::new("t.toml"), 1) {
            prop_assert!(!problems.problems.is_empty());
        }
    }
}

#[derive(Debug, Clone)]
enum Edit {
    DeleteLine,
    UncommentLine,
    RepeatLine,
    Value(&'static str),
    Insert(char),
    Cut,
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        Just(Edit::DeleteLine),
        Just(Edit::UncommentLine),
        Just(Edit::RepeatLine),
        prop::sample::select(
            &[
                "0",
                "-1",
                "99999999999999999999",
                "\"\"",
                "[]",
                "{}",
                "[[1]]",
                "true",
                "1e9",
                "\"ä\"",
                "nan"
            ][..]
        )
        .prop_map(Edit::Value),
        any::<char>().prop_map(Edit::Insert),
        Just(Edit::Cut),
    ]
}

fn apply(text: &mut String, at: &prop::sample::Index, edit: &Edit) {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if lines.is_empty() {
        return;
    }
    let index = at.index(lines.len());
    match edit {
        Edit::DeleteLine => drop(lines.remove(index)),
        Edit::UncommentLine => lines[index] = lines[index].trim_start_matches('#').to_owned(),
        Edit::RepeatLine => lines.insert(index, lines[index].clone()),
        Edit::Value(value) => {
            if let Some((key, _)) = lines[index].clone().split_once('=') {
                lines[index] = format!("{key}= {value}");
            }
        }
        Edit::Insert(character) => lines[index].push(*character),
        Edit::Cut => lines.truncate(index),
    }
    *text = lines.join("\n");
}

#[test]
fn fewer_queues_than_workers_take_steering() {
    let with = |workers: &str, port: &str| {
        let text = SMALL.replace("lcores = [1]", workers);
        parse(&text.replace("role = \"inside\"", &format!("role = \"inside\"\n{port}")))
    };
    let shape = |loaded: &Loaded| {
        let process = &loaded.process;
        (process.workers.steering, process.devices[0].queues)
    };
    let off = with("lcores = [1, 2]", "").unwrap();
    assert_eq!(shape(&off), (None, 2));
    let steered = with("lcores = [1, 2]\nsteering = \"flow\"", "queues = 1").unwrap();
    assert_eq!(shape(&steered), (Some(1_024), 1));
    assert_eq!(needs_restart(&off, &steered), ["[workers]", "[[port]]"]);
    let sized = with("lcores = [1]\nsteering = \"flow\"\nsteering_ring = 64", "").unwrap();
    assert_eq!(shape(&sized), (Some(64), 1));

    let many = format!("lcores = {:?}\nsteering = \"flow\"", Vec::from_iter(1..34));
    for (workers, port, refusal) in [
        (
            "lcores = [1, 2]",
            "queues = 1",
            "t.toml:11: port[0].queues = 1: expected 2, one for each of workers.lcores, or workers.steering = \"flow\" with fewer",
        ),
        (
            "lcores = [1, 2]",
            "queues = 3",
            "t.toml:11: port[0].queues = 3: expected at most 2, one for each of workers.lcores",
        ),
        (
            "lcores = [1]",
            "queues = 0",
            "t.toml:11: port[0].queues = 0: expected 1 to 64",
        ),
        (
            "lcores = [1]\nsteering = \"rss\"",
            "",
            "t.toml:7: workers.steering = \"rss\": expected one of \"off\", \"flow\"",
        ),
        (
            "lcores = [1]\nsteering_ring = 63",
            "",
            "t.toml:7: workers.steering_ring = 63: expected 64 to 65536",
        ),
        (
            &many,
            "",
            "t.toml:7: workers.steering = \"flow\": expected \"off\" with more than 32 workers",
        ),
    ] {
        assert_eq!(with(workers, port).unwrap_err(), refusal);
    }
}
