//! Whether all is well: what `afrctl health` and `/healthz` tell.

use std::sync::Arc;

use super::core::{CoreState, Publishing};
use super::facts::ClassUsage;
use super::platform::Site;
use super::view::{HealthCheck, HealthView};

/// Name of the check that looks at classes.
const CLASSES: &str = "classes";

/// Looks at everything that can be unwell.
pub(crate) async fn check(site: &Site) -> HealthView {
    let shared = Arc::clone(&site.shared);
    let look = move |core: &dyn CoreState| {
        let (aft, now_us) = (core.aft(), core.now().mono_us);
        let classes = aft.config.classes.iter();
        let unserved =
            classes.filter(|(at, _)| ClassUsage::of(aft, &shared, *at, now_us).usable == 0);
        let unserved: Vec<_> = unserved.map(|(_, class)| class.name.clone()).collect();
        (core.publishing(), unserved)
    };
    let checks = match site.core.look(look).await {
        Ok((publishing, unserved)) => vec![
            HealthCheck {
                name: "control_core".to_owned(),
                ok: true,
                detail: "answers".to_owned(),
            },
            workers(&publishing),
            classes(&unserved),
        ],
        Err(error) => vec![HealthCheck {
            name: "control_core".to_owned(),
            ok: false,
            detail: error.to_string(),
        }],
    };
    HealthView {
        ok: checks.iter().all(|check| check.ok),
        forwards: checks.iter().all(|check| check.ok || check.name == CLASSES),
        checks,
    }
}

fn workers(publishing: &Publishing) -> HealthCheck {
    let detail = if publishing.is_stuck {
        let stalled_ms = publishing.stalled_us / 1_000;
        format!(
            "{} keep the next generation waiting for {stalled_ms} ms",
            publishing.workers_behind
        )
    } else {
        format!("take up generations; the newest is {}", publishing.epoch)
    };
    HealthCheck {
        name: "workers".to_owned(),
        ok: !publishing.is_stuck,
        detail,
    }
}

fn classes(unserved: &[String]) -> HealthCheck {
    let detail = if unserved.is_empty() {
        "each has an instance that takes new flows".to_owned()
    } else {
        format!("no instance takes new flows of {}", unserved.join(", "))
    };
    HealthCheck {
        name: CLASSES.to_owned(),
        ok: unserved.is_empty(),
        detail,
    }
}
