//! What `afrd` counted in a run, from its metrics.

use crate::lab::Exposition;

/// Frames and dispatches, over all workers, ports and reasons.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Accounts {
    /// Frames received.
    pub(super) received: u64,
    /// Of these, forwarded towards instances or clients.
    pub(super) forwarded: u64,
    /// Of these, for the AFR itself: reports taken, solicitations and echoes answered.
    pub(super) punted: u64,
    /// Of these, dropped for a reason.
    pub(super) dropped: u64,
    /// New flows dispatched.
    pub(super) dispatched: u64,
}

impl Accounts {
    /// Reads them.
    #[must_use]
    pub(super) fn read(metrics: &Exposition) -> Self {
        let sum = |name: &str| metrics.sum(name, &[]) as u64;
        Self {
            received: sum("afr_received_packets_total"),
            forwarded: sum("afr_forwarded_packets_total"),
            punted: sum("afr_punted_packets_total"),
            dropped: sum("afr_dropped_packets_total"),
            dispatched: sum("afr_dispatches_total"),
        }
    }

    /// Whether every frame received is accounted for.
    #[must_use]
    pub(super) fn balance(&self) -> bool {
        self.received > 0 && self.received == self.forwarded + self.punted + self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_more_or_less_is_noticed() {
        let accounts = Accounts {
            received: 10,
            forwarded: 7,
            punted: 1,
            dropped: 2,
            dispatched: 1,
        };
        assert!(accounts.balance());
        for off in [9, 11] {
            let accounts = Accounts {
                received: off,
                ..accounts
            };
            assert!(!accounts.balance());
        }
        assert!(
            !Accounts::default().balance(),
            "no frame at all is no balance"
        );
    }
}
