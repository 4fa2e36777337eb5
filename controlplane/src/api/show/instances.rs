//! `show instances`.

use std::sync::Arc;

use afr_dataplane::config::{Config, Path};
use afr_dataplane::message::Shared;
use afr_wire::ClassId;

use crate::api::core::CoreState;
use crate::api::error::ApiError;
use crate::api::facts::{self, InstanceFacts};
use crate::api::platform::Site;
use crate::api::view::{InstanceView, PathView, ReportView};
use crate::api::{names, tally};

/// `show instances`, by ascending id.
pub(in crate::api) async fn instances(site: &Site) -> Result<Vec<InstanceView>, ApiError> {
    let shared = Arc::clone(&site.shared);
    let look = move |core: &dyn CoreState| {
        (
            Arc::clone(&core.aft().config),
            facts::instances(core, &shared),
        )
    };
    let (config, facts) = site.core.look(look).await?;
    let mut views: Vec<_> = facts
        .into_iter()
        .map(|facts| view(&config, &site.shared, facts))
        .collect();
    views.sort_by_key(|view| view.id);
    Ok(views)
}

fn view(config: &Config, shared: &Shared, facts: InstanceFacts) -> InstanceView {
    let dispatches = tally::dispatches_to(shared, config, &facts);
    let dispatches = dispatches.map(|(_, count)| count).sum();
    let InstanceFacts { slot, instance, .. } = facts;
    let classes = |ids: &[ClassId]| ids.iter().map(|id| names::class(config, *id)).collect();
    InstanceView {
        id: instance.id.0,
        name: instance.name.clone(),
        slot: slot.0,
        incarnation: instance.incarnation.0,
        state: shared.live.state(slot).into(),
        causes: facts.standing.causes,
        available: facts.available,
        classes: classes(&instance.classes),
        refuses: classes(&facts.refuses),
        labels: names::labels(config, &instance),
        path: path(config, instance.path),
        tunnel_source: instance.tunnel_source,
        mtu_bytes: instance.mtu,
        weight: instance.weight,
        prefill_rate_tokens_s: facts.prefill_rate_tokens_s,
        pending_tokens: facts.estimate.pending_tokens,
        in_flight_tokens: facts.estimate.in_flight_tokens,
        queue_us: facts.estimate.queue_us,
        pressure_us: facts.pressure_us,
        waiting_requests: facts.waiting_requests,
        running_requests: facts.running_requests,
        kv_used_ratio: facts.kv_used_ratio,
        load_class: facts.load_class,
        report: ReportView {
            age_us: facts.report_age_us,
            boot_epoch_s: facts.order.boot_epoch(),
            seq: facts.order.seq(),
            received: facts.standing.reports,
            lost: facts.standing.reports_lost,
        },
        dispatches,
    }
}

fn path(config: &Config, path: Path) -> PathView {
    let next_hop = path.next_hop();
    let port = names::port(config, next_hop.port);
    let mac = names::mac(next_hop.mac);
    match path {
        Path::Encap { sid, .. } => PathView::Encap { sid, port, mac },
        Path::L2 { .. } => PathView::L2 { port, mac },
    }
}
