//! TCP connections in bounded number that do not stay for ever.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// Time after which accepting is tried again when the system refuses.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// A listener that keeps further connections in the kernel's queue while there are as many as may be.
pub(super) struct BoundedListener {
    listener: TcpListener,
    room: Arc<Semaphore>,
    idle: Duration,
}

impl BoundedListener {
    /// At most `connections` at a time, each closed after `idle` without a byte from the client.
    pub(super) fn new(listener: TcpListener, connections: usize, idle: Duration) -> Self {
        Self {
            listener,
            room: Arc::new(Semaphore::new(connections)),
            idle,
        }
    }
}

impl Listener for BoundedListener {
    type Io = BoundedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (BoundedStream, SocketAddr) {
        // The semaphore is never closed; were it, there would be no bound to keep.
        let place = Arc::clone(&self.room).acquire_owned().await.ok();
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let stream = BoundedStream {
                        stream,
                        silence: Box::pin(sleep(self.idle)),
                        idle: self.idle,
                        _place: place,
                    };
                    return (stream, peer);
                }
                Err(error) => {
                    tracing::warn!(%error, "the metrics' socket accepts no connection");
                    sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection, which gives its place back when it is dropped.
pub(super) struct BoundedStream {
    stream: TcpStream,
    silence: Pin<Box<Sleep>>,
    idle: Duration,
    _place: Option<OwnedSemaphorePermit>,
}

impl AsyncRead for BoundedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            let later = Instant::now() + self.idle;
            self.silence.as_mut().reset(later);
            return read;
        }
        match self.silence.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
