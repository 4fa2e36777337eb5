//! Bench hook: changes of residency at a steady rate, made up here, so that the cost of publishing can be measured
//! beside traffic. Runs only where the environment asks for it; see `afrd-bench`.

use std::time::Duration;

use afr_dataplane::aft::{Op, SigKey};
use afr_dataplane::id::{Now, Slot};
use afr_wire::{CatalogueVersion, DomainId, Prefix, Signature};

use super::{ControlCore, seconds};

/// Signatures entered in a step until the table is full.
const FILL: u32 = 50_000;
/// Longest pause, in microseconds: rings must not fill.
const MAX_PAUSE_US: u64 = 1_000;
/// What a sleeping thread oversleeps, in microseconds: the rest of a pause is spun away.
const OVERSLEEP_US: u64 = 100;
const CATALOGUE: CatalogueVersion = CatalogueVersion(1);
const DOMAIN: DomainId = DomainId(65_535);

/// Changes the AFT so many times a second.
#[derive(Debug)]
pub(super) struct Driver {
    interval_us: Option<u64>,
    signatures: u32,
    changes: u32,
    entered: u32,
    oldest: u32,
    due_us: u64,
}

impl Driver {
    /// By `AFR_BENCH_SWAPS`, if it is set.
    pub(super) fn from_environment() -> Option<Self> {
        let text = std::env::var("AFR_BENCH_SWAPS").ok()?;
        let field = |name: &str| {
            let mut fields = text.split(',').filter_map(|field| field.split_once('='));
            fields
                .find(|(key, _)| *key == name)
                .and_then(|(_, value)| value.parse::<u32>().ok())
        };
        let per_s = field("per_s")?;
        Some(Self {
            interval_us: 1_000_000_u64.checked_div(u64::from(per_s)),
            signatures: field("signatures")?,
            changes: field("changes")?,
            entered: 0,
            oldest: 0,
            due_us: 0,
        })
    }

    /// What is due at `now`: first the table is filled, then so many signatures make room for others.
    pub(super) fn drive(&mut self, core: &mut ControlCore, now: Now) {
        let slots: Vec<_> = core.registry.tenants().map(|(slot, _)| slot).collect();
        if slots.is_empty() {
            return;
        }
        if self.entered < self.signatures {
            let end = (self.entered + FILL).min(self.signatures);
            (self.entered..end).for_each(|n| core.push(stored(n, &slots, now)));
            self.entered = end;
            return;
        }
        let Some(interval_us) = self.interval_us.filter(|_| now.mono_us >= self.due_us) else {
            return;
        };
        self.due_us = (self.due_us + interval_us).max(now.mono_us.saturating_sub(interval_us));
        for _ in 0..self.changes / 2 {
            let (old, new) = (self.oldest, self.oldest.wrapping_add(self.signatures));
            let (slot, key) = (holder(old, &slots), key(old));
            core.push(Op::Evicted { slot, key });
            core.push(stored(new, &slots, now));
            self.oldest = self.oldest.wrapping_add(1);
        }
    }

    /// Waits until the next change is due, or for a while.
    pub(super) fn pause(&self, mono_us: impl Fn() -> u64) {
        let now_us = mono_us();
        let until_us = match self.interval_us {
            Some(_) if self.entered == self.signatures => self.due_us,
            _ => now_us + MAX_PAUSE_US,
        };
        let end_us = until_us.min(now_us + MAX_PAUSE_US);
        let sleep_us = end_us.saturating_sub(now_us + OVERSLEEP_US);
        if sleep_us > 0 {
            std::thread::sleep(Duration::from_micros(sleep_us));
        }
        while mono_us() < end_us {
            std::hint::spin_loop();
        }
    }
}

fn stored(n: u32, slots: &[Slot], now: Now) -> Op {
    Op::Stored {
        slot: holder(n, slots),
        key: key(n),
        provisional: false,
        now_s: seconds(now),
    }
}

fn holder(n: u32, slots: &[Slot]) -> Slot {
    slots[n as usize % slots.len()]
}

fn key(n: u32) -> SigKey {
    let prefix = Prefix {
        depth: 1 + (n % 64) as u16,
        signature: Signature(n.wrapping_mul(0x9E37_79B9).to_be_bytes()),
    };
    SigKey::new(CATALOGUE, DOMAIN, prefix)
}
