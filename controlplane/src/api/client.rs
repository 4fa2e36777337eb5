//! The other end of the API, for programs that wait for each answer.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::protocol::{ErrorBody, Outcome, Request, RequestLine, Response, ResponseLine, VERSION};

/// Longest answer taken, in bytes.
const MOST_BYTES: u64 = 64 << 20;
/// Longest wait for an answer: somewhat longer than the server's own.
const PATIENCE: Duration = Duration::from_secs(40);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// `afrd` cannot be reached.
    #[error("{path}: {source}; {}", hint(.source), path = path.display())]
    Connect {
        /// At which socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to afrd broke: {0}; its log tells whether it still runs")]
    Broken(#[from] io::Error),
    /// The answer cannot be understood.
    #[error(
        "afrd's answer cannot be understood ({0}); afrctl and afrd should be of the same version"
    )]
    Foreign(#[from] serde_json::Error),
    /// `afrd` refuses.
    #[error("{}", .0.message)]
    Refused(Box<ErrorBody>),
}

/// What to do about a failure to connect.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "does afrd run, and is this its api.socket? (--socket says another)"
        }
        io::ErrorKind::ConnectionRefused => "afrd does not run there any more; start it",
        io::ErrorKind::PermissionDenied => {
            "only the socket's owner and group may connect: run as one of them"
        }
        _ => "is this afrd's api.socket?",
    }
}

/// A connection to `afrd`.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    /// [`ClientError::Connect`].
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let connect = || {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        };
        let stream = connect().map_err(|source| ClientError::Connect {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`ClientError`], all but the first of its kinds.
    pub fn call(&mut self, request: Request) -> Result<Response, ClientError> {
        let mut line = serde_json::to_vec(&RequestLine::new(request))?;
        line.push(b'\n');
        let sent = self.stream.get_mut().write_all(&line);
        // One that was turned away finds the connection closed, and why in its answer.
        if let Err(error) = sent
            && !matches!(
                error.kind(),
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
            )
        {
            return Err(error.into());
        }
        let mut answer = Vec::new();
        (&mut self.stream)
            .take(MOST_BYTES)
            .read_until(b'\n', &mut answer)?;
        if answer.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let ResponseLine { v, outcome } = serde_json::from_slice(&answer)?;
        match outcome {
            Outcome::Response(response) if v == VERSION => Ok(response),
            Outcome::Response(_) => Err(<serde_json::Error as serde::de::Error>::custom(
                format_args!("version {v} of the protocol"),
            )
            .into()),
            Outcome::Error(error) => Err(ClientError::Refused(Box::new(error))),
        }
    }
}
