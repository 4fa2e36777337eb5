//! The configuration of a replayed AFR: `afrd`'s own file, read by `afrd`'s own reader.

use std::fmt::Write as _;
use std::net::Ipv6Addr;
use std::path::Path;

use afr_controlplane::config::{self, Loaded, Problems};
use afr_wire::{
    CatalogueSalt, CatalogueVersion, ClassId, ClusterId, DomainId, InstanceId, KeyId, MacAlgorithm,
    MasterKey,
};

use crate::router::Instance;
use crate::scenario::{self, LABELS, Labels};

/// The one class.
pub(super) const CLASS: ClassId = ClassId(1);
/// The AFRs' cluster.
pub(super) const CLUSTER: ClusterId = ClusterId(1);
/// The catalogue.
pub(super) const CATALOGUE: CatalogueVersion = CatalogueVersion(1);
/// Its salt.
pub(super) const SALT: CatalogueSalt = CatalogueSalt::new(*b"lab-salt");
/// The signature domain.
pub(super) const DOMAIN: DomainId = DomainId(1);
/// The one key, of requests and of reports.
pub(super) const KEY: KeyId = KeyId(1);
/// How its tags are made.
pub(super) const ALGORITHM: MacAlgorithm = MacAlgorithm::AesCmac;
/// The AFR's address: an anycast address of all AFRs.
pub(super) const ADDRESS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xaf, 0, 0, 0, 0, 0, 1);
/// Its SID.
pub(super) const SID: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xaf, 0, 0, 0, 0, 5, 1);
/// The service address of [`CLASS`].
pub(super) const SERVICE: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xa9, 0, 0, 0, 0, 0, 1);
/// Ethernet addresses of the AFR's ports, clients' and fabric.
pub(super) const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0xAF, 1], [2, 0, 0, 0, 0xAF, 2]];

/// The key's master.
pub(super) fn master() -> MasterKey {
    MasterKey::new([0x5A; 16])
}

/// A client's address.
pub(super) const fn client(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0xc, 0, 0, 0, 0, 1, number)
}

/// What an instance encapsulates from.
pub(super) const fn tunnel_source(instance: Instance) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 1, instance as u16 + 1)
}

/// The number an instance reports under.
pub(super) const fn instance_id(instance: Instance) -> InstanceId {
    InstanceId(instance as u32 + 1)
}

const fn sid(instance: Instance) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0xd, instance as u16 + 1)
}

/// The instance whose SID this is.
pub(super) fn instance_of(address: Ipv6Addr) -> Option<Instance> {
    let instance = Instance::from(address.segments()[7]).checked_sub(1)?;
    (sid(instance) == address).then_some(instance)
}

/// Everything about the AFRs that a run may vary.
#[derive(Clone, Debug, PartialEq)]
pub struct AfrOptions {
    /// AFRs that share the cluster, each with its own state; flows come by any of them.
    pub afrs: usize,
    /// Workers of each.
    pub workers: usize,
    /// The class's policy, as in `afrd.toml`.
    pub policy: String,
    /// Shortest time between two generations of the AFT.
    pub publish_us: u64,
    /// Shortest and longest time between two report datagrams of an instance.
    pub report_interval_us: (u64, u64),
    /// From when an engine is sampled to when an AFR has the report.
    pub report_delay_us: u64,
    /// Share of reports that get lost, each way for itself.
    pub report_loss: f64,
    /// Whether replies carry reports, too.
    pub in_band: bool,
    /// From a client's SYN to its first payload at the AFR.
    pub round_trip_us: u64,
    /// Which depths requests carry.
    pub depths: Depths,
    /// Keys of `[dispatch]` that differ from their defaults, as lines of `afrd.toml`.
    pub dispatch: String,
    /// What each instance has; beyond the last, nothing.
    pub labels: Vec<Labels>,
    /// What each kind of request needs; beyond the last, nothing.
    pub needs: Vec<Labels>,
    /// Silence of an instance after which it is taken for dead; 0: never.
    pub dead_after_ms: u64,
    /// Latency objective beyond which requests are rejected; 0: none.
    pub objective_us: u32,
    /// Of the dice.
    pub seed: u64,
}

/// Which depths of its prompt a request carries.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Depths {
    /// None: requests without prefixes.
    None,
    /// Those that the client knows to recur, the deepest, then octaves: what `afr-endpoint` does.
    Endpoint,
    /// The deepest and octaves: a client that knows nothing of its conversation.
    Octaves,
}

impl Default for AfrOptions {
    fn default() -> Self {
        Self {
            afrs: 1,
            workers: 1,
            policy: "ttft".to_owned(),
            publish_us: 1_000,
            report_interval_us: (10_000, 200_000),
            report_delay_us: 200,
            report_loss: 0.0,
            in_band: true,
            round_trip_us: 200,
            depths: Depths::Endpoint,
            dispatch: String::new(),
            labels: Vec::new(),
            needs: Vec::new(),
            dead_after_ms: 0,
            objective_us: 0,
            seed: 1,
        }
    }
}

/// The file, read. `rate_tokens_s` is what is configured of every instance until it reports.
///
/// # Errors
///
/// [`Problems`] of `options.dispatch` or `options.policy`; the rest is right.
pub(super) fn loaded(
    options: &AfrOptions,
    instances: usize,
    rate_tokens_s: u32,
) -> Result<Loaded, Problems> {
    let AfrOptions {
        policy,
        publish_us,
        dispatch,
        dead_after_ms,
        ..
    } = options;
    let objective = match options.objective_us {
        0 => String::new(),
        objective_us => format!("objective_us = {objective_us}\nsaturation = \"reject\""),
    };
    let has_labels = options.labels.iter().any(|labels| *labels != 0);
    let catalogue: &[&str] = if has_labels { &LABELS } else { &[] };
    let lcores: Vec<usize> = (1..=options.workers).collect();
    let slots = instances.max(16);
    let maglev = if instances <= 160 { 16_381 } else { 131_071 };
    let mut text = format!(
        r#"
[router]
cluster = 1
address = "{ADDRESS}"
sids = ["{SID}"]
maglev_seed = "000102030405060708090a0b0c0d0e0f"
[workers]
lcores = {lcores:?}
[[port]]
name = "clients"
device = "net_null0"
role = "outside"
[[port]]
name = "fabric"
device = "net_null1"
role = "inside"
[[neighbour]]
address = "fd00:c::100"
port = "clients"
mac = "02:00:00:00:0c:01"
[[neighbour]]
address = "fd00:1::100"
port = "fabric"
mac = "02:00:00:00:01:01"
[[route]]
prefix = "fd00:c::/64"
via = "fd00:c::100"
[trust]
trusted_prefixes = ["fd00:c::/64"]
[[catalogue]]
version = 1
salt = "6c61622d73616c74"
labels = {catalogue:?}
[[key]]
id = 1
secret = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"
[[service]]
prefix = "fd00:a9::/96"
[[class]]
id = 1
name = "chat"
policy = "{policy}"
max_prompt_tokens = 1048576
{objective}
[flows]
capacity = 65536
[limits]
instances = {slots}
classes = 1
signatures = 262144
maglev = {maglev}
[publish]
interval_us = {publish_us}
[dispatch]
dead_after_ms = {dead_after_ms}
{dispatch}
"#
    );
    for instance in 0..instances {
        let (id, sid) = (instance_id(instance).0, sid(instance));
        let tunnel_source = tunnel_source(instance);
        let labels = options.labels.get(instance).copied().unwrap_or_default();
        let labels: Vec<&str> = scenario::names(labels).collect();
        let entry = format!(
            r#"
[[instance]]
id = {id}
name = "inst-{id}"
sid = "{sid}"
via = "fd00:1::100"
tunnel_source = "{tunnel_source}"
classes = ["chat"]
labels = {labels:?}
prefill_rate_tokens_s = {rate_tokens_s}
report_key = 1
"#
        );
        // Writing to a String cannot fail.
        let _ = text.write_str(&entry);
    }
    let mut loaded = config::parse(&text, Path::new("replay.toml"), 1)?;
    loaded.adopt(1, MACS);
    Ok(loaded)
}
