//! Classes: what they need and how they are dispatched.

use std::net::Ipv6Addr;

use afr_wire::ClassId;

use super::NextHop;

/// How an instance is chosen for a new flow of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PolicyKind {
    /// Smallest estimated time to first token.
    Ttft,
    /// Normalised queue, KV and prefix scores with weights, as Gateway API's endpoint picker.
    Weighted,
    /// Smallest number of tokens waiting.
    LeastLoad,
    /// The less loaded of two at random.
    TwoChoices,
    /// Consistent hashing.
    Maglev,
    /// In turn.
    RoundRobin,
}

/// What plain clients of a class (no usable metadata) get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainDispatch {
    /// Maglev over the registered instances: the same choice on every AFR.
    Maglev,
    /// The class's own policy without affinity.
    Load,
}

/// What is done with a new flow when every candidate is over the class's objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saturation {
    /// The smallest estimate gets it all the same.
    LeastBad,
    /// The sender is told (TCP RST or ICMPv6).
    Reject,
}

/// What established flows get when their instance dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDeath {
    /// TCP RST to the client at once.
    Reset,
    /// Another instance from the next packet on.
    Rehash,
    /// Dropped until the flow ages out.
    Drop,
}

/// A capability class.
#[derive(Debug, Clone)]
pub struct Class {
    /// The identifier in metadata and in the last 32 bits of service addresses.
    pub id: ClassId,
    /// The operator's name.
    pub name: String,
    /// How new flows with metadata are dispatched.
    pub policy: PolicyKind,
    /// How new flows without are.
    pub plain: PlainDispatch,
    /// Latency objective in microseconds of estimated time to first token; `None`: no objective.
    pub objective_us: Option<u32>,
    /// What happens beyond it.
    pub saturation: Saturation,
    /// Where flows that allow it (SPILL_OK) go beyond the objective: another cluster's SID and way.
    pub spill: Option<Spill>,
    /// What happens to flows of a dead instance.
    pub on_death: OnDeath,
    /// Prompt length taken where a request does not tell, in tokens.
    pub default_prompt_tokens: u32,
    /// Prompt lengths are clamped to this, in tokens.
    pub max_prompt_tokens: u32,
    /// Accept an in-band Bloom-256, from which labels cannot be checked exactly.
    pub allow_bloom: bool,
    /// Exact addresses of the class besides the one under each service prefix.
    pub addresses: Vec<Ipv6Addr>,
    /// New dispatches a second that all sources together may cause on one worker; 0: no limit.
    pub admit_per_s: u32,
    /// Burst of the same, in dispatches.
    pub admit_burst: u32,
}

impl Class {
    /// Length of a prompt that is `told` to be so long: the default where it is not told (0), and at most the maximum.
    #[inline]
    #[must_use]
    pub fn prompt_tokens(&self, told: u32) -> u32 {
        self.prompt_lengths().of(told)
    }

    /// What it takes to tell that.
    #[inline]
    pub(crate) const fn prompt_lengths(&self) -> PromptLengths {
        PromptLengths {
            default: self.default_prompt_tokens,
            max: self.max_prompt_tokens,
        }
    }
}

/// Lengths of a class's prompts, in tokens: where they are not told, and at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PromptLengths {
    default: u32,
    max: u32,
}

impl PromptLengths {
    /// [`Class::prompt_tokens`].
    #[inline(always)]
    pub(crate) fn of(self, told: u32) -> u32 {
        match told {
            0 => self.default,
            told => told.min(self.max),
        }
    }
}

/// A way to the alternate cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spill {
    /// Its AFR's SID.
    pub sid: Ipv6Addr,
    /// Where that is.
    pub next_hop: NextHop,
}
