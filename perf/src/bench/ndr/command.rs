//! `afr-bench ndr`: its arguments, and what it says.

use std::fmt::Write;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use super::{External, Found, Latency, Search, Tried, Virtual, latency_at};
use crate::lab::Interrupt;

/// Seconds of a trial unless told: what RFC 2544 §24 asks for, and what shows that a search works.
const RFC_SECONDS: f64 = 60.0;
const VIRTUAL_SECONDS: f64 = 5.0;
const VIRTUAL_MOST_PPS: f64 = 400_000.0;
const MEASURED: &str = "after RFC 2544 §26.1, as far as the generator and its wiring are";
const FUNCTIONAL: &str =
    "functional, not RFC 2544: kernel hosts in namespaces, net_af_packet, one machine for all";

/// The rate that is forwarded without loss (NDR) and with as good as none (PDR), by binary search.
#[derive(Debug, Clone, clap::Args)]
pub struct NdrArguments {
    /// Command that offers packets to a running afrd: `{pps}` and `{seconds}` in it are replaced, and the last line that
    /// it prints must be {"sent": N, "received": M}. docs/performance.md has examples for TRex, pktgen and testpmd.
    #[arg(
        long,
        value_name = "COMMAND",
        required_unless_present = "virtual_device"
    )]
    generator: Option<String>,
    /// Search on this machine's own kernel and virtual devices in place of a generator: functional, not RFC 2544.
    #[arg(long = "virtual", conflicts_with = "generator")]
    virtual_device: bool,
    /// Highest rate to try, packets a second. [default: 14880952, 10 GbE with 64-byte frames; virtual: 400000]
    #[arg(long)]
    max_pps: Option<f64>,
    /// Seconds of a trial. [default: 60, as RFC 2544 asks for; virtual: 5]
    #[arg(long)]
    trial_seconds: Option<f64>,
    /// Loss that PDR allows, in percent of what is sent.
    #[arg(long, default_value_t = 0.5)]
    loss_percent: f64,
    /// Width of the last interval, in percent of the highest rate.
    #[arg(long, default_value_t = 1.0)]
    resolution_percent: f64,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// What `afr-bench ndr` found.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// What kind of result it is.
    pub kind: &'static str,
    /// The search.
    #[serde(flatten)]
    pub found: Found,
    /// Latency through a worker by rate in percent of NDR, where it was measured.
    pub latency: Vec<(u8, f64, Latency)>,
}

impl NdrArguments {
    /// Searches, telling of each trial; on virtual devices also times packets at 50 and 90 % of NDR.
    ///
    /// # Errors
    ///
    /// Those of the generator, or of the lab.
    pub fn run(&self, interrupt: &Interrupt, tell: fn(&str)) -> anyhow::Result<Outcome> {
        let is_virtual = self.virtual_device;
        let choose = |told: Option<f64>, real, functional| {
            told.unwrap_or(if is_virtual { functional } else { real })
        };
        let seconds = choose(self.trial_seconds, RFC_SECONDS, VIRTUAL_SECONDS);
        let search = Search {
            most_pps: choose(self.max_pps, 14_880_952.0, VIRTUAL_MOST_PPS),
            resolution: self.resolution_percent / 100.0,
            duration: Duration::try_from_secs_f64(seconds).context("--trial-seconds")?,
            partial_loss: self.loss_percent / 100.0,
        };
        let told = |tried: &Tried| {
            tell(&format!(
                "{:.0} packets a second asked for, {:.0} offered for {seconds} s: {} of {} lost ({:.4} %)",
                tried.pps,
                tried.offered_pps,
                tried.counted.sent.saturating_sub(tried.counted.received),
                tried.counted.sent,
                tried.loss * 100.0
            ));
        };
        if let Some(template) = &self.generator {
            let mut generator = External {
                template: template.clone(),
                interrupt: interrupt.clone(),
            };
            return Ok(Outcome {
                kind: MEASURED,
                found: search.run(&mut generator, told)?,
                latency: Vec::new(),
            });
        }
        let found = search.run(&mut Virtual::start(interrupt, false)?, told)?;
        let mut latency = Vec::new();
        for percent in [50_u8, 90] {
            let pps = found.ndr_pps * f64::from(percent) / 100.0;
            if pps >= 1.0 {
                tell(&format!("timing packets at {percent} % of NDR"));
                latency.push((percent, pps, latency_at(pps, search.duration, interrupt)?));
            }
        }
        Ok(Outcome {
            kind: FUNCTIONAL,
            found,
            latency,
        })
    }
}

impl Outcome {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let found = &self.found;
        let mut text = format!(
            "{}\ntrials of {} s\nNDR (no loss)       {:>12.0} packets/s\nPDR (≤ {:.2} % lost) {:>12.0} packets/s\n",
            self.kind,
            found.trial_s,
            found.ndr_pps,
            found.pdr_loss * 100.0,
            found.pdr_pps
        );
        if let Some(limit) = found.generator_limit_pps {
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "the generator reached {limit:.0} packets/s and no more: the AFR may do better"
            );
        }
        for (percent, pps, latency) in &self.latency {
            let _ = writeln!(
                text,
                "latency through a worker (receive to transmit, TSC) at {percent} % of NDR, {pps:.0} packets/s: \
                 {}",
                latency.text()
            );
        }
        text
    }
}

impl Latency {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "p50 {:.2}, p90 {:.2}, p99 {:.2}, p99.9 {:.2}, most {:.2} µs over {} packets",
            self.p50_us, self.p90_us, self.p99_us, self.p999_us, self.most_us, self.packets
        )
    }
}
