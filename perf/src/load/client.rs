//! One request: its socket with the metadata set before `connect()`, its answer read and checked.

use std::io;
use std::net::SocketAddrV6;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use afr_endpoint::sender::{Ask, Prompt, RequestHeader, SendError};
use afr_endpoint::sockopt::{self, SockoptError};
use afr_wire::{ClassId, PolicyScope, RequestFlags};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use super::plan::{ClassPlan, Plan};
use super::reading::{Reading, WrongAnswer};
use crate::emulator::api::Usage;
use crate::emulator::http::{CLASSES, INSTANCE, LABELS, SPEED};
use crate::trace::TraceRequest;

const TCP: u8 = 6;

/// What became of a request.
#[derive(Debug)]
pub struct Outcome {
    /// The answer, or why there is none.
    pub answer: Result<Answered, Broken>,
    /// What its metadata cost, if it had any.
    pub metadata: Option<MetadataCost>,
    /// Real seconds from its arrival by the plan to the beginning of its work; what a busy client adds.
    pub late_s: f64,
}

/// What the metadata of a request cost its sender.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct MetadataCost {
    /// Time to make it: hash chain over the prompt, MAC.
    pub make_us: f64,
    /// Length of the header.
    pub header_bytes: usize,
}

/// A whole, right answer. Times are real.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// From `connect()` to the first token.
    pub first_token_s: f64,
    /// From `connect()` to the last byte.
    pub last_byte_s: f64,
    /// What it took.
    pub usage: Usage,
    /// The instance that answered.
    pub instance: u32,
    /// Its speed relative to the engine model's.
    pub speed: f64,
    /// Whether it has the class and all labels that were asked for.
    pub is_capable: bool,
}

/// Why a request has no whole, right answer.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The metadata could not be made.
    #[error("metadata: {0}")]
    Metadata(#[from] SendError),
    /// The metadata could not be put on the socket.
    #[error(transparent)]
    Sockopt(#[from] SockoptError),
    /// There is no connection.
    #[error("connecting: {0}")]
    Connect(#[source] io::Error),
    /// The connection broke off.
    #[error("connection: {0}")]
    Connection(#[from] hyper::Error),
    /// The server refused.
    #[error("status {0}")]
    Status(StatusCode),
    /// The answer is not the one that the prompt has.
    #[error("wrong answer: {0}")]
    Wrong(#[from] WrongAnswer),
    /// It took too long.
    #[error("no whole answer in time")]
    Timeout,
}

impl Broken {
    /// A word for the kind, for counting.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Metadata(_) | Self::Sockopt(_) => "metadata",
            Self::Connect(_) => "connect",
            Self::Connection(_) => "reset",
            Self::Status(_) => "status",
            Self::Wrong(_) => "wrong_bytes",
            Self::Timeout => "timeout",
        }
    }
}

/// Sends the requests of a plan.
#[derive(Debug)]
pub struct Client {
    plan: Arc<Plan>,
}

#[derive(Serialize)]
struct Completion<'a> {
    model: &'a str,
    prompt: &'a str,
    max_tokens: u32,
    stream: bool,
    stream_options: serde_json::Value,
}

impl Client {
    /// For this plan.
    #[must_use]
    pub const fn new(plan: Arc<Plan>) -> Self {
        Self { plan }
    }

    /// Sends one request of the plan, which arrives at this moment, and reads its answer.
    ///
    /// # Panics
    ///
    /// If the plan has no such request.
    pub async fn request(&self, index: usize, arrival: Instant) -> Outcome {
        let late_s = arrival.elapsed().as_secs_f64();
        let request = &self.plan.requests[index];
        let class = &self.plan.classes[request.class];
        let prompt = request.prompt();
        let begin = Instant::now();
        let header = match self.header(request, index, class, &prompt) {
            Ok(header) => header,
            Err(error) => {
                return Outcome {
                    answer: Err(error.into()),
                    metadata: None,
                    late_s,
                };
            }
        };
        let metadata = header.as_ref().map(|header| MetadataCost {
            make_us: begin.elapsed().as_secs_f64() * 1e6,
            header_bytes: header.len(),
        });
        let exchange = self.exchange(index, class, &prompt, header.as_deref());
        let answer = match timeout(self.plan.timeout, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(Broken::Timeout),
        };
        Outcome {
            answer,
            metadata,
            late_s,
        }
    }

    fn header(
        &self,
        request: &TraceRequest,
        index: usize,
        class: &ClassPlan,
        prompt: &str,
    ) -> Result<Option<RequestHeader>, SendError> {
        let Some(sender) = &self.plan.sender else {
            return Ok(None);
        };
        let ask = Ask {
            source: class.source,
            destination: self.plan.destination(index),
            protocol: TCP,
            class: ClassId(class.spec.id),
            labels: &class.labels,
            bloom: false,
            policy: PolicyScope(0),
            session: self.plan.session(index),
            flags: RequestFlags::NONE,
            prompt: Some(Prompt::Bytes(prompt.as_bytes())),
            prompt_tokens: request.input_tokens,
            boundaries: &request.boundaries(),
            issued_at: unix_seconds(),
        };
        sender.header(&ask).map(Some)
    }

    async fn exchange(
        &self,
        index: usize,
        class: &ClassPlan,
        prompt: &str,
        header: Option<&[u8]>,
    ) -> Result<Answered, Broken> {
        let (request, destination) = (&self.plan.requests[index], self.plan.destination(index));
        let socket = self.socket().map_err(Broken::Connect)?;
        if let Some(header) = header {
            sockopt::set_destination_options(&socket, header)?;
        }
        let begin = Instant::now();
        let stream = socket.connect(destination.into()).await;
        let stream = stream.map_err(Broken::Connect)?;
        let body = Completion {
            model: &self.plan.model,
            prompt,
            max_tokens: request.output_tokens,
            stream: true,
            stream_options: serde_json::json!({ "include_usage": true }),
        };
        let response = post(stream, destination, &body).await?;
        if response.status() != StatusCode::OK {
            return Err(Broken::Status(response.status()));
        }
        let names = response.headers();
        let (instance, speed) = (number(names, INSTANCE)?, number(names, SPEED)?);
        let is_capable = is_capable(names, class)?;
        let mut reading = Reading::new(request, prompt);
        reading.all(response.into_body()).await?;
        let last_byte_s = begin.elapsed().as_secs_f64();
        let (first_token, usage) = reading.end()?;
        Ok(Answered {
            first_token_s: first_token.duration_since(begin).as_secs_f64(),
            last_byte_s,
            usage,
            instance,
            speed,
            is_capable,
        })
    }

    fn socket(&self) -> io::Result<TcpSocket> {
        let socket = TcpSocket::new_v6()?;
        socket.set_nodelay(true)?;
        if let Some(source) = self.plan.bind {
            socket.bind((source, 0).into())?;
        }
        Ok(socket)
    }
}

fn unix_seconds() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as u32)
}

async fn post(
    stream: TcpStream,
    destination: SocketAddrV6,
    body: &Completion<'_>,
) -> Result<Response<Incoming>, Broken> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // What goes wrong on the connection is seen by whoever reads the answer.
    tokio::spawn(connection);
    let body = serde_json::to_vec(body).map_err(WrongAnswer::from)?;
    let mut post = Request::post("/v1/completions")
        .body(Full::new(Bytes::from(body)))
        .unwrap_or_default();
    let host = destination.to_string();
    if let Ok(host) = host.try_into() {
        post.headers_mut().insert(HOST, host);
    }
    let json = hyper::header::HeaderValue::from_static("application/json");
    post.headers_mut().insert(CONTENT_TYPE, json);
    Ok(sender.send_request(post).await?)
}

fn field<'a>(names: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, WrongAnswer> {
    let value = names.get(name).and_then(|value| value.to_str().ok());
    value.ok_or_else(|| WrongAnswer::Header(name.clone()))
}

fn number<T: std::str::FromStr>(names: &HeaderMap, name: HeaderName) -> Result<T, WrongAnswer> {
    let value = field(names, &name)?.parse();
    value.map_err(|_| WrongAnswer::Header(name))
}

fn is_capable(names: &HeaderMap, class: &ClassPlan) -> Result<bool, WrongAnswer> {
    let classes = field(names, &CLASSES)?;
    let labels: Vec<&str> = field(names, &LABELS)?.split(',').collect();
    let has_class = classes.split(',').any(|id| id.parse() == Ok(class.spec.id));
    let has_label = |label: &String| labels.contains(&label.as_str());
    Ok(has_class && class.spec.labels.iter().all(has_label))
}
