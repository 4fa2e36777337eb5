//! Prometheus metrics of a running `afrd`, over HTTP.
//!
//! Everything is read when it is asked for: workers' counters from memory they copy them to, the rest from the control
//! core between two of its steps. Names follow Prometheus' conventions: `afr_` first, base units, `_total` for
//! what only grows.
//!
//! | module | is |
//! |---|---|
//! | [`exporter`] | one exposition: asks the core, calls the modules below |
//! | `packets` | ports and workers |
//! | `dispatch` | classes and instances |
//! | `publishing` | the AFT, its generations, limits and configuration |
//! | `families` | from figures to families of the `prometheus` crate |
//! | [`http`] | `/metrics` and `/healthz` |

mod families;
mod packets;
mod dispatch;
mod publishing;
pub mod exporter;
mod bounded;
pub mod http;

pub use exporter::{Exporter, MetricsError};
pub use http::{HttpError, MetricsServer};
