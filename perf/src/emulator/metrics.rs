//! Prometheus exposition under the names that vLLM uses, so that what scrapes vLLM can scrape this.

use afr_endpoint::udp::Sent;
use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, Opts, Registry, TextEncoder};

use crate::engine::Load;

/// vLLM's buckets of the time to first token, in seconds.
const TTFT_BUCKETS_S: [f64; 19] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0,
];

/// Everything that is counted. Times are emulated.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    running: Gauge,
    waiting: Gauge,
    kv_used: Gauge,
    cache_queries: IntCounter,
    cache_hits: IntCounter,
    prompt_tokens: IntCounter,
    generation_tokens: IntCounter,
    successes: IntCounter,
    first_token: Histogram,
    reports_sent: IntCounter,
    reports_failed: IntCounter,
    reply_reports_sent: IntCounter,
    reply_reports_failed: IntCounter,
}

impl Metrics {
    /// All at zero.
    ///
    /// # Errors
    ///
    /// A name that Prometheus does not accept.
    pub fn new(model: &str) -> prometheus::Result<Self> {
        let labels = [("model_name".to_owned(), model.to_owned())].into();
        let registry = Registry::new_custom(None, Some(labels))?;
        let gauge = |name, help| -> prometheus::Result<Gauge> {
            let gauge = Gauge::with_opts(Opts::new(name, help))?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let counter = |name, help| -> prometheus::Result<IntCounter> {
            let counter = IntCounter::with_opts(Opts::new(name, help))?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let first_token = Histogram::with_opts(
            HistogramOpts::new(
                "vllm:time_to_first_token_seconds",
                "Time to first token in seconds.",
            )
            .buckets(TTFT_BUCKETS_S.to_vec()),
        )?;
        registry.register(Box::new(first_token.clone()))?;
        Ok(Self {
            running: gauge("vllm:num_requests_running", "Requests in the batch.")?,
            waiting: gauge("vllm:num_requests_waiting", "Requests waiting.")?,
            kv_used: gauge(
                "vllm:kv_cache_usage_perc",
                "Use of the KV store; 1 is all of it.",
            )?,
            cache_queries: counter(
                "vllm:prefix_cache_queries_total",
                "Prompt tokens looked up in the prefix cache.",
            )?,
            cache_hits: counter(
                "vllm:prefix_cache_hits_total",
                "Prompt tokens found in the prefix cache.",
            )?,
            prompt_tokens: counter(
                "vllm:prompt_tokens_total",
                "Prompt tokens of finished requests.",
            )?,
            generation_tokens: counter(
                "vllm:generation_tokens_total",
                "Tokens generated for finished requests.",
            )?,
            successes: counter("vllm:request_success_total", "Requests finished.")?,
            reports_sent: counter("afr:reports_sent_total", "State reports sent as datagrams.")?,
            reports_failed: counter(
                "afr:reports_failed_total",
                "State reports that could not be sent as datagrams.",
            )?,
            reply_reports_sent: counter(
                "afr:reply_reports_sent_total",
                "State reports put into replies.",
            )?,
            reply_reports_failed: counter(
                "afr:reply_reports_failed_total",
                "State reports that could not be put into replies.",
            )?,
            first_token,
            registry,
        })
    }

    /// A request entered the batch.
    pub fn admitted(&self, prompt_tokens: u32, cached_tokens: u32) {
        self.cache_queries.inc_by(prompt_tokens.into());
        self.cache_hits.inc_by(cached_tokens.into());
    }

    /// A request has its first token, so many emulated microseconds after it came.
    pub fn first_token(&self, after_us: u64) {
        self.first_token.observe(after_us as f64 / 1e6);
    }

    /// A request has all its tokens.
    pub fn finished(&self, prompt_tokens: u32, output_tokens: u32) {
        self.prompt_tokens.inc_by(prompt_tokens.into());
        self.generation_tokens.inc_by(output_tokens.into());
        self.successes.inc();
    }

    /// A report was sent, or not, to each AFR.
    pub fn reported(&self, outcome: Sent) {
        self.reports_sent.inc_by(outcome.sent as u64);
        self.reports_failed.inc_by(outcome.failed as u64);
    }

    /// A report was put into a reply, or not.
    pub fn reported_in_reply(&self, succeeded: bool) {
        let counter = if succeeded {
            &self.reply_reports_sent
        } else {
            &self.reply_reports_failed
        };
        counter.inc();
    }

    /// The text format, with the engine as it is now.
    ///
    /// # Errors
    ///
    /// None that is known: the encoder's signature has one.
    pub fn exposition(&self, load: &Load) -> prometheus::Result<String> {
        self.running.set(load.running as f64);
        self.waiting.set(load.waiting as f64);
        self.kv_used.set(load.kv_used);
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}
