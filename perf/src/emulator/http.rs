//! Routes, the headers that name the instance, and reports in replies.

use std::fmt::Write;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use afr_endpoint::sockopt;
use axum::body::{Body, Bytes};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::map_response_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;

use super::api::{Api, Ask, AskError, Envelope, ErrorReply, Task, Usage};
use super::instance::{Generation, Instance, Profile};
use super::stream::AnswerStream;
use super::unix_ms;
use crate::answer::Answer;

/// Number of the instance that answers.
pub const INSTANCE: HeaderName = HeaderName::from_static("x-afr-instance");
/// Its capability classes, by commas.
pub const CLASSES: HeaderName = HeaderName::from_static("x-afr-classes");
/// Its labels, by commas.
pub const LABELS: HeaderName = HeaderName::from_static("x-afr-labels");
/// Its speed relative to the engine model's.
pub const SPEED: HeaderName = HeaderName::from_static("x-afr-speed");

/// Longest request body: a prompt of two million tokens.
const MAX_BODY_BYTES: usize = 8 << 20;

/// What handlers share.
#[derive(Clone, Debug)]
struct Server {
    instance: Arc<Instance>,
    /// The headers that name the instance.
    names: Arc<HeaderMap>,
    answers: Arc<AtomicU64>,
}

/// Serves `listener` for ever; `transit`: with reports in replies.
pub(super) async fn serve(
    instance: Arc<Instance>,
    listener: TcpListener,
    transit: bool,
) -> io::Result<()> {
    let server = Server {
        names: Arc::new(names(instance.profile())),
        instance,
        answers: Arc::default(),
    };
    let routes = Router::new()
        .route("/v1/completions", post(completions))
        .route("/v1/chat/completions", post(chat))
        .route("/v1/models", get(models))
        .route("/health", get(async || ()))
        .route("/model_info", get(model_info))
        .route("/server_info", get(server_info))
        .route("/metrics", get(metrics))
        .route("/reset_prefix_cache", post(reset_prefix_cache))
        .layer(map_response_with_state(server.clone(), name_instance))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(server);
    if transit {
        let service = routes.into_make_service_with_connect_info::<ReplyReports>();
        axum::serve(listener, service).await
    } else {
        let routes = routes.layer(axum::Extension(ConnectInfo(ReplyReports(None))));
        axum::serve(listener, routes).await
    }
}

/// The socket of a connection, if reports go into its replies.
///
/// A duplicate of the descriptor: the socket itself is the HTTP server's, options are the same for both.
#[derive(Clone, Debug)]
pub struct ReplyReports(Option<Arc<OwnedFd>>);

impl Connected<IncomingStream<'_, TcpListener>> for ReplyReports {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        let duplicate = stream.io().as_fd().try_clone_to_owned();
        Self(duplicate.ok().map(Arc::new))
    }
}

impl ReplyReports {
    /// Replaces the report that rides in the connection's packets by a new one of the same length.
    pub fn update(&self, instance: &Instance) {
        let Some(socket) = &self.0 else {
            return;
        };
        let updated = instance
            .reply_header(unix_ms())
            .is_ok_and(|header| sockopt::set_destination_options(socket, &header).is_ok());
        instance.metrics().reported_in_reply(updated);
    }
}

fn names(profile: &Profile) -> HeaderMap {
    let classes: Vec<String> = profile.classes.iter().map(u32::to_string).collect();
    let fields = [
        (INSTANCE, profile.instance_id.to_string()),
        (CLASSES, classes.join(",")),
        (LABELS, profile.labels.join(",")),
        (SPEED, profile.speed.to_string()),
    ];
    let values = fields.into_iter().filter_map(|(name, value)| {
        // Numbers, and labels that the profile has checked.
        Some((name, HeaderValue::try_from(value).ok()?))
    });
    values.collect()
}

async fn name_instance(State(server): State<Server>, mut response: Response) -> Response {
    let names = server.names.iter();
    let headers = response.headers_mut();
    names.for_each(|(name, value)| drop(headers.insert(name, value.clone())));
    response
}

async fn completions(
    State(server): State<Server>,
    ConnectInfo(reports): ConnectInfo<ReplyReports>,
    body: Bytes,
) -> Response {
    server.answer(Api::Completions, &body, reports).await
}

async fn chat(
    State(server): State<Server>,
    ConnectInfo(reports): ConnectInfo<ReplyReports>,
    body: Bytes,
) -> Response {
    server.answer(Api::Chat, &body, reports).await
}

async fn models(State(server): State<Server>) -> Json<serde_json::Value> {
    let Profile {
        model,
        classes,
        labels,
        instance_id,
        ..
    } = server.instance.profile();
    Json(json!({
        "object": "list",
        "data": [{
            "id": model, "object": "model", "owned_by": "afr-emulator",
            "instance": instance_id, "classes": classes, "labels": labels,
        }],
    }))
}

/// As SGLang's servers tell routers of themselves.
async fn model_info(State(server): State<Server>) -> Json<serde_json::Value> {
    let model = &server.instance.profile().model;
    Json(json!({ "model_path": model, "is_generation": true }))
}

/// As SGLang's servers tell routers of themselves.
async fn server_info(State(server): State<Server>) -> Json<serde_json::Value> {
    let instance = &server.instance;
    let model = &instance.profile().model;
    Json(json!({
        "model_path": model, "served_model_name": model, "version": env!("CARGO_PKG_VERSION"),
        "dp_size": 1, "max_running_requests": instance.max_sequences(),
    }))
}

async fn metrics(State(server): State<Server>) -> Response {
    match server
        .instance
        .metrics()
        .exposition(&server.instance.load())
    {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn reset_prefix_cache(State(server): State<Server>) {
    server.instance.clear_cache();
}

impl Server {
    async fn answer(&self, api: Api, body: &[u8], reports: ReplyReports) -> Response {
        let model = &self.instance.profile().model;
        let task = match serde_json::from_slice::<Ask>(body) {
            Ok(ask) => ask.check(api, model),
            Err(error) => return refuse(StatusCode::BAD_REQUEST, &error),
        };
        let task = match task {
            Ok(task) => task,
            Err(error @ AskError::UnknownModel { .. }) => {
                return refuse(StatusCode::NOT_FOUND, &error);
            }
            Err(error) => return refuse(StatusCode::BAD_REQUEST, &error),
        };
        let generation = match self.instance.submit(&task.prompt, task.max_tokens) {
            Ok(generation) => generation,
            Err(error) => return refuse(StatusCode::BAD_REQUEST, &error),
        };
        // Before the first byte of the reply, and with this request among what is waiting.
        reports.update(&self.instance);
        let envelope = self.envelope(api);
        let answer = Answer::to(&task.prompt);
        if task.stream {
            let stream =
                AnswerStream::new(generation, answer, envelope, reports, task.include_usage);
            let fields = [
                (header::CONTENT_TYPE, "text/event-stream"),
                (header::CACHE_CONTROL, "no-cache"),
            ];
            return (fields, Body::new(stream)).into_response();
        }
        whole(generation, answer, &envelope, &task).await
    }

    fn envelope(&self, api: Api) -> Envelope {
        let profile = self.instance.profile();
        let kind = match api {
            Api::Completions => "cmpl",
            Api::Chat => "chatcmpl",
        };
        let number = self.answers.fetch_add(1, Ordering::Relaxed);
        let mut id = String::new();
        // Writing to a string cannot fail.
        let _ = write!(id, "{kind}-{}-{number}", profile.instance_id);
        Envelope {
            api,
            id,
            created: unix_ms() / 1000,
            model: profile.model.clone(),
            fingerprint: format!("afr-instance-{}", profile.instance_id),
        }
    }
}

async fn whole(
    mut generation: Generation,
    answer: Answer,
    envelope: &Envelope,
    task: &Task,
) -> Response {
    let Some(tokens) = generation.finished().await else {
        let message = "the instance is shutting down";
        return refuse(StatusCode::SERVICE_UNAVAILABLE, &message);
    };
    debug_assert_eq!(tokens, task.max_tokens);
    let usage = Usage::new(
        generation.prompt_tokens(),
        generation.cached_tokens(),
        tokens,
    );
    Json(envelope.whole(&answer.tokens(0, tokens), usage)).into_response()
}

fn refuse(status: StatusCode, error: &impl ToString) -> Response {
    let reply = ErrorReply::new(error.to_string(), status.as_u16());
    (status, Json(reply)).into_response()
}
