//! Instances: how they are, and which of them would get a request.

use std::net::Ipv6Addr;

use afr_dataplane::aft::live::LiveState;
use serde::{Deserialize, Serialize};

/// What may be sent to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateView {
    /// Everything.
    Up,
    /// The packets of its flows, no new flows.
    Draining,
    /// Nothing: it is believed dead.
    Down,
    /// Its slot is not in force yet, or no longer.
    Absent,
}

impl StateView {
    /// The state's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Draining => "draining",
            Self::Down => "down",
            Self::Absent => "absent",
        }
    }
}

impl From<LiveState> for StateView {
    fn from(state: LiveState) -> Self {
        match state {
            LiveState::Absent => Self::Absent,
            LiveState::Down => Self::Down,
            LiveState::Up => Self::Up,
            LiveState::Draining => Self::Draining,
        }
    }
}

/// What a state that is not simply "up" comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateCause {
    /// The configuration file drains it.
    DrainedByFile,
    /// An operator drains it.
    DrainedByOperator,
    /// An operator has it take new flows, whatever the file says.
    UndrainedByOperator,
    /// Its own report says that it drains.
    DrainedByReport,
    /// An operator declared it dead.
    DownByOperator,
    /// Its reports stopped.
    Silent,
}

impl StateCause {
    /// The cause for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DrainedByFile => "file",
            Self::DrainedByOperator => "operator",
            Self::UndrainedByOperator => "undrained",
            Self::DrainedByReport => "own report",
            Self::DownByOperator => "operator",
            Self::Silent => "silent",
        }
    }
}

/// How packets reach an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PathView {
    /// IPv6-in-IPv6.
    Encap {
        /// To this segment identifier.
        sid: Ipv6Addr,
        /// By this port.
        port: String,
        /// By the neighbour with this Ethernet address.
        mac: String,
    },
    /// Ethernet rewrite.
    L2 {
        /// By this port.
        port: String,
        /// To this Ethernet address.
        mac: String,
    },
}

/// What an instance told of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportView {
    /// Since its last report, in microseconds; `None` before the first.
    pub age_us: Option<u64>,
    /// Unix time of the agent's start, in seconds.
    pub boot_epoch_s: u32,
    /// Number of the last report.
    pub seq: u32,
    /// Reports received.
    pub received: u64,
    /// Reports missing in their numbering.
    pub lost: u64,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceView {
    /// Its identifier.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its place in the AFT.
    pub slot: u16,
    /// Which tenant of that place it is.
    pub incarnation: u16,
    /// What may be sent to it.
    pub state: StateView,
    /// Why, where that is not simply "up".
    pub causes: Vec<StateCause>,
    /// Neither draining nor refusing by its last report.
    pub available: bool,
    /// Classes it serves, by name.
    pub classes: Vec<String>,
    /// Classes it refuses at the moment, by name.
    pub refuses: Vec<String>,
    /// Labels it carries, by name.
    pub labels: Vec<String>,
    /// How packets reach it.
    pub path: PathView,
    /// Source of what it encapsulates.
    pub tunnel_source: Ipv6Addr,
    /// Largest packet its path carries, in bytes.
    pub mtu_bytes: u16,
    /// Weight under Maglev.
    pub weight: u16,
    /// Prefill rate, in tokens a second.
    pub prefill_rate_tokens_s: u64,
    /// Tokens reported as waiting.
    pub pending_tokens: u32,
    /// Tokens sent by this AFR that no report covers yet.
    pub in_flight_tokens: u32,
    /// Time that what waits takes, in microseconds.
    pub queue_us: u64,
    /// What a nearly full KV store or batch costs, in microseconds.
    pub pressure_us: u32,
    /// Requests waiting, as reported.
    pub waiting_requests: u16,
    /// Requests running, as reported.
    pub running_requests: u16,
    /// KV capacity in use, 0 to 1.
    pub kv_used_ratio: f64,
    /// Its own normalised score, 0 to 255.
    pub load_class: u8,
    /// Its reports.
    pub report: ReportView,
    /// Flows dispatched to it, of the classes there are now.
    pub dispatches: u64,
}

/// What an operator's command changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateChangeView {
    /// The instance's identifier.
    pub id: u32,
    /// Its name.
    pub instance: String,
    /// Its state before.
    pub before: StateView,
    /// Its state now.
    pub after: StateView,
    /// Why, where that is not simply "up".
    pub causes: Vec<StateCause>,
}

/// An instance of the class a request is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CandidateView {
    /// Its identifier.
    pub id: u32,
    /// Its name.
    pub instance: String,
    /// Why it cannot get the request; `None`: it could.
    pub why_not: Option<String>,
    /// Tokens reported as waiting.
    pub pending_tokens: u32,
    /// Tokens sent by this AFR that no report covers yet.
    pub in_flight_tokens: u32,
    /// Tokens of the prompt that it holds.
    pub reuse_tokens: u32,
    /// Time for what waits, in microseconds.
    pub queue_us: u64,
    /// Time for what is new of the prompt, in microseconds.
    pub prefill_us: u64,
    /// What a nearly full KV store or batch costs, in microseconds.
    pub pressure_us: u64,
    /// The sum of the three: estimated time to first token, in microseconds.
    pub total_us: u64,
    /// A share of what was sent to it lately (`dispatch.recent_per_mille`), in microseconds.
    pub recent_us: u64,
    /// The estimate with new tokens weighed, and that share: what policy "ttft" goes by, in microseconds.
    pub cost_us: u64,
}

/// Where a request would go, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplanationView {
    /// The class, by name.
    pub class: String,
    /// The class's policy.
    pub policy: String,
    /// Length of the prompt that was reckoned with, in tokens.
    pub prompt_tokens: u32,
    /// How much a new token of it counted in the choice, in thousandths; 1,000 where a candidate is idle.
    pub weight_per_mille: u64,
    /// The class's objective, in microseconds, if it has one.
    pub objective_us: Option<u32>,
    /// Every instance of the class, the cheapest candidate first, those that are out last.
    pub candidates: Vec<CandidateView>,
    /// Name of who would get it.
    pub winner: Option<String>,
    /// Why, in a sentence.
    pub reason: String,
}
