//! Serves the API: lines in, lines out, everything bounded.
//!
//! | bound | beyond it |
//! |---|---|
//! | connections | the new one gets an error line and is closed |
//! | bytes of a line | an error line, and the connection is closed: where the next line begins is unknown |
//! | time without a request | the connection is closed |
//! | time of an answer | an error line |
//! | time to take an answer | the connection is closed |

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::backend::Backend;
use super::error::ApiError;
use super::protocol::{RequestLine, Response, ResponseLine};
use super::socket::Socket;

/// Time after which accepting is tried again when the system refuses, which it does for want of descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What clients may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerLimits {
    /// Connections at a time.
    pub connections: usize,
    /// Bytes of a request's line, its end excluded.
    pub line_bytes: usize,
    /// Time without a request.
    pub idle: Duration,
    /// Time of an answer.
    pub answer: Duration,
    /// Time to take an answer.
    pub write: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 32,
            line_bytes: 64 * 1024,
            idle: Duration::from_secs(300),
            answer: Duration::from_secs(30),
            write: Duration::from_secs(10),
        }
    }
}

/// Serves a backend at a socket.
#[derive(Debug)]
pub struct Server<B> {
    socket: Socket,
    backend: Arc<B>,
    limits: ServerLimits,
}

impl<B: Backend> Server<B> {
    /// A server that has yet to run.
    #[must_use]
    pub const fn new(socket: Socket, backend: Arc<B>, limits: ServerLimits) -> Self {
        Self {
            socket,
            backend,
            limits,
        }
    }

    /// Serves until `stop` comes; then connections are closed and the socket's file is removed.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let Self {
            socket,
            backend,
            limits,
        } = self;
        let room = Arc::new(Semaphore::new(limits.connections));
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            let stream = tokio::select! {
                () = &mut stop => break,
                // Only takes note that a connection ended.
                Some(_) = connections.join_next() => continue,
                accepted = socket.accept() => match accepted {
                    Ok(stream) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "the API's socket accepts no connection");
                        sleep(ACCEPT_AGAIN).await;
                        continue;
                    }
                },
            };
            match Arc::clone(&room).try_acquire_owned() {
                Ok(place) => {
                    let backend = Arc::clone(&backend);
                    connections.spawn(async move {
                        // A client that goes away in the middle is its own business.
                        let _ = converse(stream, &*backend, &limits).await;
                        drop(place);
                    });
                }
                // In place, so that those turned away cannot pile up either.
                Err(_) => turn_away(stream, limits.connections),
            }
        }
    }
}

/// Tells a client that there is no room. Does not wait for it.
fn turn_away(stream: UnixStream, most: usize) {
    let line = encode(Err(ApiError::TooManyConnections { most }));
    if let Ok(stream) = stream.into_std() {
        // The socket's buffer, being empty, takes a line at once; and tokio's sockets do not block.
        let _ = io::Write::write(&mut &stream, &line);
    }
}

/// One connection, to its end.
async fn converse(
    stream: UnixStream,
    backend: &impl Backend,
    limits: &ServerLimits,
) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = timeout(limits.idle, read_line(&mut reader, &mut line, limits)).await;
        match read.map_err(|_| io::ErrorKind::TimedOut)?? {
            Line::End => return Ok(()),
            Line::TooLong => {
                let most_bytes = limits.line_bytes;
                let answer = encode(Err(ApiError::LineTooLong { most_bytes }));
                return send(&mut writer, &answer, limits).await;
            }
            Line::Whole if line.iter().all(u8::is_ascii_whitespace) => {}
            Line::Whole => {
                let answer = encode(answer(&line, backend, limits).await);
                send(&mut writer, &answer, limits).await?;
            }
        }
    }
}

async fn answer(
    line: &[u8],
    backend: &impl Backend,
    limits: &ServerLimits,
) -> Result<Response, ApiError> {
    let RequestLine { request, .. } = RequestLine::parse(line)?;
    let after_ms = limits.answer.as_millis() as u64;
    let answer = timeout(limits.answer, backend.handle(request)).await;
    answer.unwrap_or(Err(ApiError::TimedOut { after_ms }))
}

fn encode(result: Result<Response, ApiError>) -> Vec<u8> {
    let line = ResponseLine::new(result);
    let mut bytes = serde_json::to_vec(&line).unwrap_or_else(|error| {
        // Every view has string keys and finite figures, so this is a defect; the client is told all the same.
        tracing::error!(%error, "an answer cannot be written as JSON");
        br#"{"v":1,"error":{"message":"the answer cannot be written as JSON","kind":"refused","reasons":[]}}"#.to_vec()
    });
    bytes.push(b'\n');
    bytes
}

async fn send(writer: &mut OwnedWriteHalf, bytes: &[u8], limits: &ServerLimits) -> io::Result<()> {
    let sent = timeout(limits.write, writer.write_all(bytes)).await;
    sent.map_err(|_| io::ErrorKind::TimedOut)?
}

enum Line {
    /// `line` has a request, its end excluded.
    Whole,
    /// It is longer than allowed.
    TooLong,
    /// The client is done.
    End,
}

/// Reads a line. The last one need not be ended.
async fn read_line(
    reader: &mut BufReader<OwnedReadHalf>,
    line: &mut Vec<u8>,
    limits: &ServerLimits,
) -> io::Result<Line> {
    // One byte for the end, and one to tell a line that is too long from one that is just short enough.
    let most = limits.line_bytes as u64 + 2;
    (&mut *reader).take(most).read_until(b'\n', line).await?;
    let is_ended = line.last() == Some(&b'\n');
    if is_ended {
        line.pop();
    }
    Ok(if line.len() > limits.line_bytes {
        Line::TooLong
    } else if line.is_empty() && !is_ended {
        Line::End
    } else {
        Line::Whole
    })
}
