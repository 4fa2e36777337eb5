//! Who answers requests.

use std::future::Future;
use std::sync::Arc;

use super::core::Operation;
use super::error::ApiError;
use super::platform::Site;
use super::protocol::{Request, Response, VERSION};
use super::view::{StateChangeView, VersionView};
use super::{explain, health, resolve, show};

/// Answers requests.
pub trait Backend: Send + Sync + 'static {
    /// Answers one.
    fn handle(&self, request: Request) -> impl Future<Output = Result<Response, ApiError>> + Send;
}

/// Answers for this very process.
#[derive(Debug)]
pub struct LocalBackend {
    site: Arc<Site>,
}

impl LocalBackend {
    /// A backend over `site`.
    #[must_use]
    pub const fn new(site: Arc<Site>) -> Self {
        Self { site }
    }

    async fn operate(&self, given: String, operation: Operation) -> Result<Response, ApiError> {
        let live = Arc::clone(&self.site.shared.live);
        let change = self.site.core.act(move |core| {
            let (slot, instance) = resolve::instance(core.aft(), &given)?;
            let before = live.state(slot).into();
            core.operate(instance.id, operation)?;
            Ok::<_, ApiError>(StateChangeView {
                id: instance.id.0,
                instance: instance.name.clone(),
                before,
                after: live.state(slot).into(),
                causes: core.standing(slot).causes,
            })
        });
        Ok(Response::Changed(change.await??))
    }
}

impl Backend for LocalBackend {
    async fn handle(&self, request: Request) -> Result<Response, ApiError> {
        let site = &*self.site;
        Ok(match request {
            Request::Version => Response::Version(VersionView {
                program: "afrd".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                protocol: VERSION,
                started_unix_s: site.platform.started_unix_s,
            }),
            Request::Health => Response::Health(health::check(site).await),
            Request::ShowPorts => Response::Ports(show::ports(site).await?),
            Request::ShowWorkers => Response::Workers(show::workers(site).await?),
            Request::ShowInstances => Response::Instances(show::instances(site).await?),
            Request::ShowFlows(filter) => Response::Flows(site.scanner.flows(site, filter).await?),
            Request::ShowClasses => Response::Classes(show::classes(site).await?),
            Request::ShowCounters(filter) => {
                Response::Counters(show::counters(site, filter).await?)
            }
            Request::ShowAft => Response::Aft(show::aft(site).await?),
            Request::Explain(query) => Response::Explanation(explain::explain(site, query).await?),
            Request::Drain(of) => self.operate(of.instance, Operation::Drain).await?,
            Request::Undrain(of) => self.operate(of.instance, Operation::Undrain).await?,
            Request::Down(of) => self.operate(of.instance, Operation::Down).await?,
            Request::Up(of) => self.operate(of.instance, Operation::Up).await?,
            Request::Reload => Response::Reloaded(site.reload().await?),
        })
    }
}
