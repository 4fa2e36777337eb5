//! How evenly packets are spread over the workers: the busiest one's share over the mean's, of the last seconds.
//!
//! With RSS the workers' loads are as even as the flows' hashes are. 1 is even; with *n* workers *n* says that one has
//! everything. Counters since the start would hide what is uneven now, and the rates that Prometheus makes of them depend on
//! how it asks, so the seconds are kept here.

use std::collections::VecDeque;

use afr_dataplane::counters::WorkerCounters;
use afr_dataplane::message::Shared;
use parking_lot::Mutex;

/// Seconds that are looked back.
const WINDOW_S: usize = 10;
/// Packets a worker, in the window, below which shares are chance.
const LEAST_PACKETS: u64 = 100;

/// Which packets of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// Those that its receive queues gave it: what RSS does.
    Received,
    /// Those that it took through the stages: the same, unless workers hand each other packets.
    Handled,
}

/// What the workers had counted, second by second.
#[derive(Debug, Default)]
pub(crate) struct Balance {
    /// Oldest first: of each worker, received and handled.
    seconds: Mutex<VecDeque<Vec<[u64; 2]>>>,
}

impl Balance {
    /// Notes what the workers have counted. To be called once a second.
    pub(crate) fn note(&self, shared: &Shared) {
        let counts = |worker: &WorkerCounters| {
            let counters = worker.snapshot();
            [counters.from_ports(), counters.received()]
        };
        let now = shared
            .counters
            .iter()
            .map(|worker| counts(worker))
            .collect();
        let mut seconds = self.seconds.lock();
        seconds.push_back(now);
        while seconds.len() > WINDOW_S + 1 {
            seconds.pop_front();
        }
    }

    /// The busiest worker's packets over the mean of all, in the window; `None`: there are too few to tell.
    pub(crate) fn imbalance(&self, share: Share) -> Option<f64> {
        let seconds = self.seconds.lock();
        let (first, last) = (seconds.front()?, seconds.back()?);
        let column = match share {
            Share::Received => 0,
            Share::Handled => 1,
        };
        let packets = first
            .iter()
            .zip(last)
            .map(|(before, now)| now[column].saturating_sub(before[column]));
        let (mut sum, mut most) = (0, 0);
        for packets in packets {
            sum += packets;
            most = most.max(packets);
        }
        let workers = first.len() as u64;
        (sum >= LEAST_PACKETS * workers.max(1)).then(|| most as f64 * workers as f64 / sum as f64)
    }
}

#[cfg(test)]
mod tests {
    use afr_dataplane::config::Limits;
    use afr_dataplane::counters::{Figure, LocalCounters};
    use afr_dataplane::id::PortIx;

    use super::*;

    /// Workers that have received so many packets in all, the first having handed some of its to the second.
    fn counted(shared: &Shared, received: [u64; 2], steered: u64) {
        for (at, packets) in received.into_iter().enumerate() {
            let mut local = LocalCounters::default();
            local.add(Figure::RxPackets(PortIx(at as u8)), packets);
            let figure = [Figure::SteeredOut, Figure::SteeredIn][at];
            local.add(figure, steered);
            local.copy_to(&shared.counters[at]);
        }
    }

    #[test]
    fn the_busiest_is_set_against_the_mean_of_the_window() {
        let shared = Shared::new(&Limits::default(), 2);
        let balance = Balance::default();
        assert_eq!(balance.imbalance(Share::Received), None);
        // Long even, and nothing of that counts any more.
        counted(&shared, [1_000_000, 1_000_000], 0);
        balance.note(&shared);
        assert_eq!(balance.imbalance(Share::Received), None, "nothing yet");
        counted(&shared, [1_003_000, 1_001_000], 0);
        balance.note(&shared);
        assert_eq!(balance.imbalance(Share::Received), Some(1.5));
        assert_eq!(balance.imbalance(Share::Handled), Some(1.5));

        // All on one queue, and dealt out.
        let before = [1_003_000, 1_001_000];
        for second in 1..=WINDOW_S as u64 {
            counted(
                &shared,
                [before[0] + second * 1_000, before[1]],
                second * 500,
            );
            balance.note(&shared);
        }
        assert_eq!(balance.imbalance(Share::Received), Some(2.0));
        assert_eq!(balance.imbalance(Share::Handled), Some(1.0));

        // A handful says nothing, once the last second with more is out of the window.
        let before = before[0] + WINDOW_S as u64 * 1_000;
        for second in 1..=WINDOW_S as u64 {
            assert_eq!(balance.imbalance(Share::Received), Some(2.0), "{second}");
            counted(&shared, [before + second, 1_001_000], 5_000);
            balance.note(&shared);
        }
        assert_eq!(balance.imbalance(Share::Received), None);
    }
}
