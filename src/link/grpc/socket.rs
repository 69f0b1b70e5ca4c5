//! A connection as the server sees it: one that no agent speaks on is closed, and so is one whose agent has left.

use super::GREETED_WITHIN;
use futures::task::AtomicWaker;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

/// What was written last is on its way out for so long.
const LEAVES_WITHIN: Duration = Duration::from_secs(1);

const GREETED: u8 = 1;
const LEFT: u8 = 2;

/// How far a connection has come.
#[derive(Debug, Default)]
pub(super) struct Stage {
    is: AtomicU8,
    changed: AtomicWaker,
}

impl Stage {
    /// An agent speaks on it.
    pub(super) fn greeted(&self) {
        self.is.store(GREETED, Ordering::Release);
    }

    /// It speaks no more.
    pub(super) fn left(&self) {
        self.is.store(LEFT, Ordering::Release);
        self.changed.wake();
    }
}

/// One TLS connection.
pub(super) struct Socket {
    stream: TlsStream<TcpStream>,
    stage: Arc<Stage>,
    /// By when an agent must have been greeted; later, by when its connection ends.
    deadline: Pin<Box<Sleep>>,
    leaving: bool,
    _place: OwnedSemaphorePermit,
}

impl Socket {
    pub(super) fn new(stream: TlsStream<TcpStream>, place: OwnedSemaphorePermit) -> Self {
        // A review of the token by the API server lies in between.
        let deadline = Box::pin(tokio::time::sleep(GREETED_WITHIN * 3));
        Self { stream, stage: Arc::default(), deadline, leaving: false, _place: place }
    }
}

impl Connected for Socket {
    type ConnectInfo = Arc<Stage>;

    fn connect_info(&self) -> Arc<Stage> {
        self.stage.clone()
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stage.changed.register(context.waker());
        let stage = self.stage.is.load(Ordering::Acquire);
        if stage == LEFT && !std::mem::replace(&mut self.leaving, true) {
            self.deadline.as_mut().reset(Instant::now() + LEAVES_WITHIN);
        }
        if stage != GREETED && self.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "no agent speaks here")));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
