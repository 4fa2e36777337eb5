//! `/metrics` and `/healthz` over HTTP.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio::sync::Mutex;

use super::bounded::BoundedListener;
use super::exporter::Exporter;

/// Connections at a time.
const MOST_CONNECTIONS: usize = 32;
/// Time without a byte from the client after which a connection is closed.
const IDLE: Duration = Duration::from_secs(90);

/// Why metrics are not served.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address cannot be had.
    #[error("{address}: {source}; metrics.listen says where metrics are served")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Serving ended.
    #[error("serving metrics: {0}")]
    Serve(#[source] io::Error),
}

/// Serves an exporter at an address.
#[derive(Debug)]
pub struct MetricsServer {
    listener: TcpListener,
    exporter: Exporter,
}

/// What requests share. One exposition is made at a time: it is the same for all.
struct Shared {
    exporter: Exporter,
    turn: Mutex<()>,
}

impl MetricsServer {
    /// Listens at `address`.
    ///
    /// # Errors
    /// [`HttpError::Bind`].
    pub async fn bind(address: SocketAddr, exporter: Exporter) -> Result<Self, HttpError> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| HttpError::Bind { address, source })?;
        Ok(Self { listener, exporter })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` comes.
    ///
    /// # Errors
    /// [`HttpError::Serve`].
    pub async fn serve(
        self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), HttpError> {
        let shared = Shared {
            exporter: self.exporter,
            turn: Mutex::new(()),
        };
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(healthz))
            .with_state(Arc::new(shared));
        let listener = BoundedListener::new(self.listener, MOST_CONNECTIONS, IDLE);
        // Not gracefully: a scrape that is cut short is made again, and a connection kept open would delay the stop.
        tokio::select! {
            ended = axum::serve(listener, router).into_future() => ended.map_err(HttpError::Serve),
            () = stop => Ok(()),
        }
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let _turn = shared.turn.lock().await;
    match shared.exporter.render().await {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn healthz(State(shared): State<Arc<Shared>>) -> Response {
    let health = shared.exporter.health().await;
    // Only what a restart or another AFR can mend: a class without instances is the same everywhere.
    let status = if health.forwards {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(health)).into_response()
}
