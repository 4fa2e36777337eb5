//! What answers are made of: figures with their units in their names, everything by name that has one.

mod instance;
mod packets;
mod table;

pub use instance::{
    CandidateView, ExplanationView, InstanceView, PathView, ReportView, StateCause,
    StateChangeView, StateView,
};
pub use packets::{
    ClassReasonCount, CountersView, DeviceCounters, FlowView, FlowsView, NamedCount, PortView,
    ReasonCount, WorkerView,
};
pub use table::{AftView, ClassView, HealthCheck, HealthView, ReloadView, VersionView};
