//! What goes over the socket.

use serde::{Deserialize, Serialize};

use super::error::ApiError;
use super::view::{
    AftView, ClassView, CountersView, ExplanationView, FlowsView, HealthView, InstanceView,
    PortView, ReloadView, StateChangeView, VersionView, WorkerView,
};

/// Version of the protocol. A line of another version is refused.
pub const VERSION: u32 = 1;
/// Flows shown unless the request says otherwise.
pub const DEFAULT_FLOWS: u32 = 100;
/// Most flows that one request may ask for.
pub const MOST_FLOWS: u32 = 10_000;

/// A line from the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestLine {
    /// [`VERSION`].
    pub v: u32,
    /// What is wanted.
    pub request: Request,
}

impl RequestLine {
    /// The line of a request, under this version.
    #[must_use]
    pub const fn new(request: Request) -> Self {
        Self {
            v: VERSION,
            request,
        }
    }

    /// Reads a line, its end excluded.
    ///
    /// # Errors
    /// [`ApiError::UnsupportedVersion`], or [`ApiError::Malformed`].
    pub fn parse(line: &[u8]) -> Result<Self, ApiError> {
        /// Of a line of any version.
        #[derive(Deserialize)]
        struct AnyVersion {
            v: u32,
        }
        let malformed = |error: serde_json::Error| ApiError::Malformed {
            detail: error.to_string(),
        };
        let AnyVersion { v } = serde_json::from_slice(line).map_err(malformed)?;
        if v != VERSION {
            return Err(ApiError::UnsupportedVersion {
                given: v,
                supported: VERSION,
            });
        }
        serde_json::from_slice(line).map_err(malformed)
    }
}

/// What is asked of `afrd`. Instances and classes are given by name, or by id in decimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Request {
    /// Which program answers. Answered with [`Response::Version`].
    Version,
    /// Whether all is well. [`Response::Health`].
    Health,
    /// The ports. [`Response::Ports`].
    ShowPorts,
    /// The workers. [`Response::Workers`].
    ShowWorkers,
    /// The instances. [`Response::Instances`].
    ShowInstances,
    /// The flows, in no order. [`Response::Flows`].
    ShowFlows(FlowFilter),
    /// The classes. [`Response::Classes`].
    ShowClasses,
    /// What became of packets. [`Response::Counters`].
    ShowCounters(CounterFilter),
    /// The AFT as a whole. [`Response::Aft`].
    ShowAft,
    /// Where a request would go, and why. [`Response::Explanation`].
    Explain(ExplainRequest),
    /// An instance takes no new flows. [`Response::Changed`].
    Drain(InstanceName),
    /// It takes new flows again. [`Response::Changed`].
    Undrain(InstanceName),
    /// An instance is taken for dead, whatever it reports. [`Response::Changed`].
    Down(InstanceName),
    /// An instance is no longer taken for dead. [`Response::Changed`].
    Up(InstanceName),
    /// The configuration file is read again. [`Response::Reloaded`].
    Reload,
}

/// Names an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceName {
    /// Its name or id.
    pub instance: String,
}

/// Which flows are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowFilter {
    /// Of this class only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Pinned to this instance only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// So many at the most, 1 to [`MOST_FLOWS`]; [`DEFAULT_FLOWS`] if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Whose counters are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CounterFilter {
    /// This worker's only; all workers' together if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<u16>,
}

/// A request to explain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// The class, by name or id.
    pub class: String,
    /// Labels it needs, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Prefixes it carries, depths ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<PrefixText>,
    /// Catalogue of labels and signatures; the current one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalogue: Option<u16>,
    /// Signature domain of the prefixes.
    #[serde(default)]
    pub domain: u16,
    /// Policy scope; 0: none.
    #[serde(default)]
    pub policy: u16,
    /// Length of the prompt in tokens; 0: the class's default.
    #[serde(default)]
    pub prompt_tokens: u32,
    /// The flow's hash, which near-ties are spread by.
    #[serde(default)]
    pub flow_hash: u64,
}

/// A prefix of a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrefixText {
    /// Its length in units of 256 tokens, at least 1.
    pub depth: u16,
    /// Its signature, 8 hexadecimal digits.
    pub signature: String,
}

/// A line to the client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResponseLine {
    /// [`VERSION`].
    pub v: u32,
    /// How it went.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How a request went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was answered.
    Response(Response),
    /// It was not.
    Error(ErrorBody),
}

/// Why a request was not answered, for people and for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What was wrong, and what is allowed.
    pub message: String,
    /// The same in parts.
    #[serde(flatten)]
    pub error: ApiError,
}

impl From<ApiError> for ErrorBody {
    fn from(error: ApiError) -> Self {
        Self {
            message: error.to_string(),
            error,
        }
    }
}

impl ResponseLine {
    /// The line that tells `result`.
    #[must_use]
    pub fn new(result: Result<Response, ApiError>) -> Self {
        Self {
            v: VERSION,
            outcome: match result {
                Ok(response) => Outcome::Response(response),
                Err(error) => Outcome::Error(error.into()),
            },
        }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub enum Response {
    /// To [`Request::Version`].
    Version(VersionView),
    /// To [`Request::Health`].
    Health(HealthView),
    /// To [`Request::ShowPorts`], in the order of the configuration.
    Ports(Vec<PortView>),
    /// To [`Request::ShowWorkers`], in their order.
    Workers(Vec<WorkerView>),
    /// To [`Request::ShowInstances`], by ascending id.
    Instances(Vec<InstanceView>),
    /// To [`Request::ShowFlows`].
    Flows(FlowsView),
    /// To [`Request::ShowClasses`], in the order of the configuration.
    Classes(Vec<ClassView>),
    /// To [`Request::ShowCounters`].
    Counters(CountersView),
    /// To [`Request::ShowAft`].
    Aft(AftView),
    /// To [`Request::Explain`].
    Explanation(ExplanationView),
    /// To [`Request::Drain`], [`Request::Undrain`], [`Request::Down`] and [`Request::Up`].
    Changed(StateChangeView),
    /// To [`Request::Reload`].
    Reloaded(ReloadView),
}
