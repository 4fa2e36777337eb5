//! One exposition.

use std::sync::Arc;

use afr_dataplane::config::Config;

use super::families::Families;
use super::publishing::TableFacts;
use super::{dispatch, packets, publishing};
use crate::api::core::CoreState;
use crate::api::facts::{self, ClassUsage, InstanceFacts};
use crate::api::view::HealthView;
use crate::api::{Site, health};

/// Why there is no exposition.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// A figure cannot be written.
    #[error("the metrics cannot be written: {0}")]
    Encode(#[from] prometheus::Error),
}

/// Makes expositions.
#[derive(Debug, Clone)]
pub struct Exporter {
    site: Arc<Site>,
}

/// What the control core tells, copied between two of its steps.
struct CoreFacts {
    config: Arc<Config>,
    table: TableFacts,
    classes: Vec<ClassUsage>,
    instances: Vec<InstanceFacts>,
}

impl Exporter {
    /// An exporter of `site`.
    #[must_use]
    pub const fn new(site: Arc<Site>) -> Self {
        Self { site }
    }

    /// Everything, in the text format of Prometheus. Where the control core does not answer, what workers count is told
    /// all the same.
    ///
    /// # Errors
    /// [`MetricsError`].
    pub async fn render(&self) -> Result<String, MetricsError> {
        let site = &*self.site;
        let shared = Arc::clone(&site.shared);
        let look = move |core: &dyn CoreState| CoreFacts {
            config: Arc::clone(&core.aft().config),
            table: table_facts(core),
            classes: (core.aft().config.classes.iter())
                .map(|(at, _)| ClassUsage::of(core.aft(), &shared, at, core.now().mono_us))
                .collect(),
            instances: facts::instances(core, &shared),
        };
        let facts = site.core.look(look).await.ok();
        let mut families = Families::default();
        publishing::program(&mut families, site, facts.is_some());
        // At once and before everything else: sums of one worker's figures are right, and rates are of the moment.
        let counts: Vec<_> = site.shared.counters.iter().map(|c| c.snapshot()).collect();
        packets::workers(&mut families, &site.shared, &counts);
        packets::balance(&mut families, &site.balance);
        if let Some(facts) = facts {
            let config = &*facts.config;
            packets::ports(&mut families, config, &counts, &site.platform);
            dispatch::classes(&mut families, config, &site.shared, &facts.classes);
            dispatch::instances(&mut families, config, &site.shared, &facts.instances);
            publishing::table(&mut families, &facts.table, config.revision, &config.limits);
        }
        Ok(families.encode()?)
    }

    /// Whether all is well.
    pub async fn health(&self) -> HealthView {
        health::check(&self.site).await
    }
}

fn table_facts(core: &dyn CoreState) -> TableFacts {
    let (aft, publishing) = (core.aft(), core.publishing());
    TableFacts {
        publishing,
        epoch_age_us: core.now().mono_us.saturating_sub(publishing.published_us),
        instances: aft.registered.count(),
        signatures: aft.residency.len(),
        signatures_capacity: aft.residency.capacity(),
        signature_evictions: aft.residency.evictions(),
        holder_overflows: aft.residency.overflows(),
    }
}
