//! The `afrd.toml` of a case.

use std::fmt::Write as _;
use std::path::Path;

use super::frames::{
    self, AFR_ADDRESS, AFR_SID, CLIENTS_MAC, FABRIC_MAC, LABELS, LabelEncoding, Mac, instance_sid,
    tunnel_source,
};
use super::scenario::Case;

/// What a configuration depends on besides the case.
#[derive(Debug, Clone)]
pub(super) struct Surroundings<'a> {
    /// EAL arguments.
    pub eal: &'a [String],
    /// Whether packet buffers are in huge pages.
    pub huge_pages: bool,
    /// Packet buffers.
    pub mbufs: usize,
    /// CPUs of the workers.
    pub worker_cpus: &'a [u32],
    /// CPU of everything else.
    pub main_cpu: u32,
    /// The device that the frames come from.
    pub device: &'a str,
    /// The device by which replies leave.
    pub clients_device: &'a str,
    /// Directory for the API's socket.
    pub directory: &'a Path,
}

/// Writes the configuration. Nothing in it limits what a scenario is about: no rates, no latency objective, and as many
/// charged dispatches as a session can have.
#[must_use]
pub(super) fn configuration(case: &Case, around: &Surroundings<'_>) -> String {
    let frames = &case.frames;
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        r#"[eal]
args = {eal:?}
huge_pages = "{huge_pages}"
mbufs = {mbufs}
mbuf_bytes = 2048

[router]
cluster = {cluster}
address = "{AFR_ADDRESS}"
sids = ["{AFR_SID}"]
transit = true
maglev_seed = "62656e63686d61726b2062656e636821"

[workers]
lcores = {workers:?}
main_lcore = {main}
idle = "spin"

[trust]
accept_unauthenticated = {unauthenticated}
request_skew_s = 3600
report_skew_ms = 8000
replay_limit = 65535

[[catalogue]]
version = {catalogue}
salt = "{salt}"
labels = {LABELS:?}

[[key]]
id = {key}
algorithm = "{algorithm}"
secret = "{secret}"

[[service]]
prefix = "{service}/96"

[[class]]
id = {class}
name = "bench"
allow_bloom = {bloom}

[flows]
capacity = {flows}

[limits]
sessions = {sessions}
maglev = {maglev}
signatures = {signatures}

[metrics]
listen = "127.0.0.1:0"

[api]
socket = "{directory}/afrd.sock"

[log]
level = "warn"
"#,
        eal = around.eal,
        huge_pages = if around.huge_pages { "require" } else { "off" },
        mbufs = around.mbufs,
        cluster = frames::CLUSTER.0,
        workers = around.worker_cpus,
        main = around.main_cpu,
        unauthenticated = frames.mac == Mac::None,
        catalogue = frames::CATALOGUE.0,
        salt = hex(&frames::SALT),
        key = frames::KEY.0,
        algorithm = if frames.mac == Mac::SipHash {
            "siphash"
        } else {
            "aes-cmac"
        },
        secret = hex(&frames::MASTER),
        service = frames::SERVICE,
        class = frames::CLASS.0,
        bloom = frames.labels == LabelEncoding::Bloom,
        flows = frames.flows.next_power_of_two().max(1 << 20),
        sessions = frames.count().next_power_of_two().clamp(65_536, 1 << 22),
        maglev = if frames.instances > 160 {
            409_609
        } else {
            16_381
        },
        // Twice as many as there are: sets are full before the table is.
        signatures = case
            .swaps
            .map_or(1 << 20, |swaps| 2 * swaps.signatures.next_power_of_two()),
        directory = around.directory.display(),
    );
    if let Some(swaps) = case.swaps {
        // A little shorter than asked for: what drives the changes keeps the time.
        let interval_us = 900_000 / swaps.per_s.clamp(900, 9_000);
        let _ = write!(
            text,
            "\n[publish]\ninterval_us = {interval_us}\nlog = 4194304\n"
        );
    }
    ports(&mut text, case, around);
    instances(&mut text, case);
    text
}

fn ports(text: &mut String, case: &Case, around: &Surroundings<'_>) {
    let replies = case.frames.are_replies();
    let (role, boundary) = if replies {
        ("inside", "strip")
    } else {
        ("outside", "accept")
    };
    let _ = write!(
        text,
        r#"
[[port]]
name = "replay"
device = "{}"
role = "{role}"
boundary = "{boundary}"
mtu = 1600

[[neighbour]]
address = "2001:db8:5::1"
port = "replay"
mac = "{}"
"#,
        around.device,
        mac(FABRIC_MAC)
    );
    if replies {
        let _ = write!(
            text,
            r#"
[[port]]
name = "clients"
device = "{}"
role = "outside"

[[neighbour]]
address = "2001:db8:7::1"
port = "clients"
mac = "{}"

[[route]]
prefix = "2001:db8:1::/48"
via = "2001:db8:7::1"
"#,
            around.clients_device,
            mac(CLIENTS_MAC)
        );
    }
}

fn instances(text: &mut String, case: &Case) {
    for id in 1..=case.frames.instances as u16 {
        let _ = write!(
            text,
            r#"
[[instance]]
id = {id}
name = "instance-{id}"
sid = "{}"
via = "2001:db8:5::1"
tunnel_source = "{}"
classes = ["bench"]
labels = {LABELS:?}
report_key = {}
"#,
            instance_sid(id),
            tunnel_source(id),
            frames::KEY.0
        );
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mac(mac: [u8; 6]) -> String {
    let bytes: Vec<_> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::scenario::Scenario;

    #[test]
    fn every_scenario_has_a_file_that_parses_with_its_instances() {
        for scenario in Scenario::ALL {
            let case = Case::of(scenario);
            let eal = ["--no-pci".to_owned(), "--file-prefix=x".to_owned()];
            let text = configuration(
                &case,
                &Surroundings {
                    eal: &eal,
                    huge_pages: true,
                    mbufs: 8_191,
                    worker_cpus: &[1],
                    main_cpu: 0,
                    device: "net_pcap0,rx_pcap=/a,infinite_rx=1",
                    clients_device: "net_null0,no-rx=1",
                    directory: Path::new("/tmp"),
                },
            );
            let value: toml::Table = toml::from_str(&text).unwrap();
            let instances = value["instance"].as_array().unwrap().len();
            assert_eq!(instances, case.frames.instances, "{}", scenario.name());
            let ports = value["port"].as_array().unwrap().len();
            assert_eq!(ports, if case.frames.are_replies() { 2 } else { 1 });
        }
    }
}
