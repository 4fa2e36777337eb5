//! Packets: where they come in, who handles them, what becomes of them.

use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};

/// A figure that has a name of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedCount {
    /// The name.
    pub name: String,
    /// The figure.
    pub count: u64,
}

/// What a device itself counts, since it was started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceCounters {
    /// Packets lost because no receive queue had room.
    pub receive_missed_packets: u64,
    /// Packets received in error.
    pub receive_error_packets: u64,
    /// Packets that failed to be transmitted.
    pub transmit_error_packets: u64,
    /// Times a receive buffer was wanted and the pool was empty.
    pub receive_no_buffer: u64,
    /// The driver's extended statistics.
    pub extended: Vec<NamedCount>,
}

/// A port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortView {
    /// Its place in the configuration.
    pub index: u8,
    /// Its name.
    pub name: String,
    /// "inside" or "outside".
    pub role: String,
    /// What happens to metadata from beyond the trust domain.
    pub boundary: String,
    /// The device behind it.
    pub device: String,
    /// The device's driver.
    pub driver: String,
    /// Receive queues.
    pub queues: u16,
    /// Its Ethernet address.
    pub mac: String,
    /// Largest IPv6 packet, in bytes.
    pub mtu_bytes: u16,
    /// 802.1Q VLAN.
    pub vlan: Option<u16>,
    /// Whether the link is up; `None`: the driver does not say.
    pub link_up: Option<bool>,
    /// The link's speed in Mbit/s; `None`: the driver does not say.
    pub link_speed_mbps: Option<u32>,
    /// Packets received.
    pub receive_packets: u64,
    /// Bytes received.
    pub receive_bytes: u64,
    /// Packets handed to the driver.
    pub transmit_packets: u64,
    /// Bytes handed to the driver.
    pub transmit_bytes: u64,
    /// Packets that the driver had no room for.
    pub transmit_full_packets: u64,
    /// What the device itself counts; `None`: it does not.
    pub device_counters: Option<DeviceCounters>,
}

/// A worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerView {
    /// Its number.
    pub worker: u16,
    /// Its CPU; `None`: not known.
    pub lcore: Option<u16>,
    /// The generation it uses.
    pub epoch: u64,
    /// How many generations that is behind the newest.
    pub epochs_behind: u64,
    /// Packets taken in, from ports and from other workers, without those steered to others.
    pub received_packets: u64,
    /// Packets forwarded towards instances.
    pub forwarded_request_packets: u64,
    /// Packets forwarded from instances, or passing through.
    pub forwarded_reply_packets: u64,
    /// Packets taken by the AFR itself.
    pub punted_packets: u64,
    /// Packets dropped.
    pub dropped_packets: u64,
    /// Packets the AFR made itself.
    pub originated_packets: u64,
    /// Packets handed over by other workers.
    pub handed_packets: u64,
    /// Packets received for flows of other workers, and steered to those (`workers.steering`).
    pub steered_out_packets: u64,
    /// Packets of its flows that other workers received.
    pub steered_in_packets: u64,
    /// Flows in its table.
    pub flows: u64,
    /// Size of its table.
    pub flows_capacity: u64,
    /// TSC cycles spent on bursts that were not empty.
    pub busy_cycles: u64,
    /// Bursts that were not empty.
    pub busy_bursts: u64,
    /// Polls that found nothing.
    pub idle_polls: u64,
    /// TSC cycles a packet since the start; `None` before the first.
    pub cycles_per_packet: Option<f64>,
    /// Messages in its ring to the control core.
    pub ring_messages: usize,
    /// Room in that ring, in messages.
    pub ring_capacity: usize,
    /// Messages put into it.
    pub ring_pushed: u64,
    /// News that found it full.
    pub ring_full: u64,
}

/// How often something happened for a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonCount {
    /// The reason's name.
    pub name: String,
    /// What it means.
    pub help: String,
    /// How often.
    pub count: u64,
}

/// How often a class was dispatched for a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassReasonCount {
    /// The class, by name.
    pub class: String,
    /// The reason's name.
    pub reason: String,
    /// How often.
    pub count: u64,
}

/// What became of packets. `received = forwarded + punted + dropped`, once workers are idle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountersView {
    /// Whose; `None`: all workers' together.
    pub worker: Option<u16>,
    /// Packets taken in, from ports and from other workers.
    pub received_packets: u64,
    /// Packets forwarded towards instances.
    pub forwarded_request_packets: u64,
    /// Packets forwarded from instances, or passing through.
    pub forwarded_reply_packets: u64,
    /// Packets the AFR made itself.
    pub originated_packets: u64,
    /// Prompt tokens of dispatched requests.
    pub prompt_tokens: u64,
    /// Of these, tokens that the chosen instance is believed to hold.
    pub affinity_tokens: u64,
    /// Packets dropped, every reason.
    pub drops: Vec<ReasonCount>,
    /// Packets taken by the AFR itself, every reason.
    pub punts: Vec<ReasonCount>,
    /// What was found about metadata, flows and originated packets, all there is.
    pub notes: Vec<ReasonCount>,
    /// Dispatches, every class and reason.
    pub dispatches: Vec<ClassReasonCount>,
}

/// A flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowView {
    /// The worker that has it.
    pub worker: u16,
    /// The client's address.
    pub source: Ipv6Addr,
    /// The client's port.
    pub source_port: u16,
    /// The service's address.
    pub destination: Ipv6Addr,
    /// The service's port.
    pub destination_port: u16,
    /// IANA protocol number.
    pub protocol: u8,
    /// Its class, by name.
    pub class: String,
    /// The instance it is pinned to, by name; `None`: that one is gone, or the flow was spilled.
    pub instance: Option<String>,
    /// It goes to the alternate cluster.
    pub spilled: bool,
    /// How far it has come: "opening", "established", "closing" or "reset".
    pub state: String,
    /// Verified metadata was seen on it.
    pub metadata: bool,
    /// Tokens charged until its first payload.
    pub opening_tokens: u32,
    /// Since the client's last packet, in milliseconds.
    pub age_ms: u32,
}

/// Some flows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowsView {
    /// The flows.
    pub flows: Vec<FlowView>,
    /// Flows looked at to find them.
    pub scanned: u64,
    /// Whether these are all that match.
    pub complete: bool,
}
