//! Answers as tables for people.

mod instances;
mod packets;
mod program;

pub(super) use instances::{report_age, state_of};

use crate::api::Response;

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// What matters most of the time.
    Brief,
    /// All there is.
    All,
}

/// The answer as text, ending with a new line.
#[must_use]
pub fn render(response: &Response, detail: Detail) -> String {
    match response {
        Response::Version(version) => program::version(version),
        Response::Health(health) => program::health(health),
        Response::Ports(ports) => packets::ports(ports, detail),
        Response::Workers(workers) => packets::workers(workers),
        Response::Instances(instances) => instances::instances(instances, detail),
        Response::Flows(flows) => packets::flows(flows),
        Response::Classes(classes) => program::classes(classes),
        Response::Counters(counters) => packets::counters(counters, detail),
        Response::Aft(aft) => program::aft(aft),
        Response::Explanation(explanation) => instances::explanation(explanation),
        Response::Changed(change) => instances::change(change),
        Response::Reloaded(reload) => program::reload(reload),
    }
}
