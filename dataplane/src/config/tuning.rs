//! Knobs, with their defaults.

use crate::aft::inflight::ClockTrust;

/// All reports of an instance may be so late, in milliseconds: where they look later, its clock is wrong.
const LATEST_MS: u32 = 1_000;

/// Knobs of dispatch.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// Estimates within this of the smallest count as equal, in microseconds.
    pub near_tie_us: u32,
    /// How many times more a prompt's new tokens count in the choice for each second that the least loaded candidate's work
    /// takes; 0: a choice is by the estimate alone.
    pub thrift_per_s: u32,
    /// So many thousandths of the time that the tokens sent to an instance lately take count in the choice.
    pub recent_per_mille: u16,
    /// Added to an estimate at a full KV store, in microseconds; grows linearly from `pressure_from` on.
    pub pressure_full_us: u32,
    /// KV use (0–255) from which pressure counts.
    pub pressure_from: u8,
    /// Subtracted from a report's date when in-flight tokens are settled, in microseconds.
    pub guard_us: u64,
    /// Work of so many microseconds may wait for its first answers without being held against what an instance reports.
    pub unanswered_us: u32,
    /// How long an opened flow without payload is charged, in microseconds.
    pub opening_timeout_us: u64,
    /// Freshness of requests, in seconds either way.
    pub request_skew_s: u32,
    /// Freshness of reports, in milliseconds either way.
    pub report_skew_ms: u32,
    /// How far instances' calendars may differ from the AFR's, in milliseconds, without being wrong: where the freshest reports
    /// of an instance look older, they are taken to be so old, and where not, for fresh.
    pub clock_error_ms: u32,
    /// Charged dispatches of a (sender, session) in a skew window.
    pub replay_limit: u16,
    /// How long a refusal of a class by an instance holds, in microseconds.
    pub refusal_ttl_us: u64,
    /// How long a signature entered by an own dispatch counts without a report that confirms it, in seconds.
    pub provisional_ttl_s: u32,
    /// How long any signature counts, in seconds.
    pub residency_ttl_s: u32,
    /// Age of the last report from which load is no longer believed, in microseconds.
    pub stale_report_us: u64,
    /// Weights of queue, KV and prefix under [`PolicyKind::Weighted`](super::PolicyKind::Weighted).
    pub weights: [u16; 3],
}

impl Default for Dispatch {
    fn default() -> Self {
        Self {
            near_tie_us: 2_000,
            thrift_per_s: 100,
            recent_per_mille: 200,
            pressure_full_us: 50_000,
            pressure_from: 0,
            guard_us: 1_000,
            unanswered_us: 300_000,
            opening_timeout_us: 1_000_000,
            request_skew_s: 120,
            report_skew_ms: 5_000,
            clock_error_ms: 5,
            replay_limit: 64,
            refusal_ttl_us: 1_000_000,
            provisional_ttl_s: 30,
            residency_ttl_s: 600,
            stale_report_us: 250_000,
            weights: [2, 2, 3],
        }
    }
}

impl Dispatch {
    /// How far reports' dates are believed. For how long a report counts says nothing of how late all may be, but who believes
    /// reports for longer believes that they are as old.
    #[must_use]
    pub const fn clock_trust(&self) -> ClockTrust {
        let stale_ms = (self.stale_report_us / 1_000) as u32;
        ClockTrust {
            error_ms: self.clock_error_ms,
            oldest_ms: if stale_ms > LATEST_MS {
                stale_ms
            } else {
                LATEST_MS
            },
        }
    }
}

/// Flow table of one worker.
#[derive(Debug, Clone)]
pub struct Flows {
    /// Entries a worker.
    pub capacity: u32,
    /// Idle time after which an established TCP flow is forgotten, in milliseconds.
    pub tcp_idle_ms: u32,
    /// The same before the first payload.
    pub tcp_opening_ms: u32,
    /// The same after the client's FIN, or a RST.
    pub tcp_closing_ms: u32,
    /// The same for everything that is not TCP.
    pub other_idle_ms: u32,
}

impl Default for Flows {
    fn default() -> Self {
        Self {
            capacity: 1 << 20,
            tcp_idle_ms: 3_600_000,
            tcp_opening_ms: 30_000,
            tcp_closing_ms: 10_000,
            other_idle_ms: 60_000,
        }
    }
}

/// Rate control of new dispatches.
#[derive(Debug, Clone)]
pub struct Admit {
    /// Bits of a source address that share a bucket.
    pub source_prefix_len: u8,
    /// New dispatches a second and source prefix on one worker; 0: no limit.
    pub per_source_per_s: u32,
    /// Burst of the same, in dispatches.
    pub per_source_burst: u32,
    /// Source prefixes tracked by a worker.
    pub sources: u32,
    /// ICMPv6 errors and RST that a worker originates a second.
    pub errors_per_s: u32,
}

impl Default for Admit {
    fn default() -> Self {
        Self {
            source_prefix_len: 64,
            per_source_per_s: 0,
            per_source_burst: 64,
            sources: 65_536,
            errors_per_s: 1_000,
        }
    }
}

/// Bounds that size tables at start; a change takes a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Instance slots.
    pub instances: u16,
    /// Classes.
    pub classes: u16,
    /// Entries of the shared residency table.
    pub signatures: u32,
    /// Entries of a worker's own residency overlay.
    pub overlay_signatures: u32,
    /// Messages in the ring from a worker to the control core.
    pub ring: u32,
    /// Derived sender keys that a worker keeps.
    pub sender_keys: u32,
    /// (sender, session) pairs that a worker tracks.
    pub sessions: u32,
    /// Size of a class's Maglev table, a prime.
    pub maglev: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            instances: 4_096,
            classes: 256,
            signatures: 1 << 20,
            overlay_signatures: 8_192,
            ring: 16_384,
            sender_keys: 4_096,
            sessions: 65_536,
            maglev: 16_381,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_how_long_a_report_counts_does_not_make_calendars_wrong() {
        for (stale_us, oldest_ms) in [(250_000, 1_000), (0, 1_000), (5_000_000, 5_000)] {
            let dispatch = Dispatch {
                stale_report_us: stale_us,
                ..Dispatch::default()
            };
            assert_eq!(dispatch.clock_trust().oldest_ms, oldest_ms);
        }
    }
}
