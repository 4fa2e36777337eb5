//! An instance's agent: knows the engine it stands beside, and makes the reports about it with `afr-endpoint`'s own
//! reporter.

use afr_endpoint::events::EventFeed;
use afr_endpoint::report::{BootPoint, Identity, ReportError, Reporter, Sample};
use afr_wire::{Event, EventOp};

use super::config::{ALGORITHM, CATALOGUE, CLUSTER, DOMAIN, KEY, instance_id, master};
use crate::router::{EngineLoad, Instance};
use crate::workload::Block;

/// The agent.
#[derive(Debug)]
pub(super) struct Agent {
    reporter: Reporter,
    feed: EventFeed,
    load: EngineLoad,
    /// At the model's speed.
    nominal_tokens_s: u32,
    rate_tokens_s: u32,
    cache_generation: u32,
    reported: Sample,
}

impl Agent {
    /// Of an instance whose cache was lost so many times before.
    pub(super) fn new(
        instance: Instance,
        unix_ms: u64,
        rate_tokens_s: u32,
        cache_generation: u32,
    ) -> Self {
        let identity = Identity::new(instance_id(instance), CATALOGUE, DOMAIN);
        let identity = identity.with_key(KEY, ALGORITHM, &master(), CLUSTER);
        Self {
            reporter: Reporter::new(identity, BootPoint::at(unix_ms, 0)),
            feed: EventFeed::new(),
            load: EngineLoad::default(),
            nominal_tokens_s: rate_tokens_s,
            rate_tokens_s,
            cache_generation,
            reported: Sample::default(),
        }
    }

    pub(super) fn loaded(&mut self, load: &EngineLoad) {
        self.load = *load;
    }

    /// The engine computes so many times as fast as the model.
    pub(super) fn paced(&mut self, speed: f64) {
        self.rate_tokens_s = (f64::from(self.nominal_tokens_s) * speed) as u32;
    }

    pub(super) fn cached(&mut self, op: EventOp, blocks: &[Block]) {
        for block in blocks {
            let prefix = block.prefix;
            self.feed.push(Event { op, prefix });
        }
    }

    fn sample(&self, unix_ms: u64) -> Sample {
        let count = |requests: u32| u16::try_from(requests).unwrap_or(u16::MAX);
        Sample {
            sampled_at_ms: unix_ms as u32,
            queue_depth: count(self.load.waiting),
            running: count(self.load.running),
            pending_prefill_tokens: self.load.pending_tokens,
            prefill_rate_tokens_s: self.rate_tokens_s,
            cache_generation: self.cache_generation,
            kv_used: (self.load.kv_used.clamp(0.0, 1.0) * 255.0) as u8,
            ..Sample::default()
        }
    }

    /// Whether something changed since the last datagram.
    pub(super) fn has_news(&self) -> bool {
        !self.sample(0).says_the_same(&self.reported) || self.reporter.has_news(&self.feed)
    }

    /// The next report datagram's payload.
    pub(super) fn datagram(&mut self, unix_ms: u64) -> Result<Vec<u8>, ReportError> {
        let sample = self.sample(unix_ms);
        self.reported = sample;
        let report = self.reporter.datagram(&sample, &self.feed)?;
        Ok(report.to_vec())
    }

    /// The header of the next reply.
    pub(super) fn header(&mut self, unix_ms: u64) -> Result<Vec<u8>, ReportError> {
        let sample = self.sample(unix_ms);
        Ok(self.reporter.header(&sample, &self.feed)?.to_vec())
    }
}
