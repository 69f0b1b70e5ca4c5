//! A TCP proxy in front of the API server that loses, delays and cuts what passes through it.
//!
//! It works below TLS, so it cannot choose requests; it does what a network does. A fault takes hold of
//! connections that already stand as well as of new ones.

use std::collections::VecDeque;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// The most bytes that one direction of one connection holds back; beyond it the sender is made to wait.
const HELD_BYTES: usize = 4 << 20;

/// What the proxy does to all that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything passes at once.
    Pass,
    /// Every connection is closed, and a new one as soon as it is made.
    Cut,
    /// Every byte arrives so much later, in each direction.
    Delay(Duration),
    /// Nothing arrives, in neither direction, and nobody is told. What was sent arrives when the mode
    /// changes, as TCP sends again when a network heals: a write that its sender gave up on may still land.
    BlackHole,
    /// Requests arrive, responses do not: writes happen and nobody learns of it. What was dropped is gone,
    /// so a connection that lost a byte is closed when the mode changes.
    DropResponses,
}

/// A running proxy. Dropping it closes its port and all connections.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    open: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl FaultProxy {
    /// Listens on a free port of the loopback interface and forwards to `target`. Starts as [`Mode::Pass`].
    ///
    /// # Errors
    /// If no port can be had.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("the fault proxy found no free port")?;
        let address = listener.local_addr().context("the fault proxy's own address")?;
        let (mode, modes) = watch::channel(Mode::Pass);
        let open = Arc::new(AtomicUsize::new(0));
        let accepting = tokio::spawn(accept(listener, target, modes, Arc::clone(&open)));
        Ok(Self { address, mode, open, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on does `mode` to all connections.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// How many connections stand.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, modes: watch::Receiver<Mode>, open: Arc<AtomicUsize>) {
    // Dropped with this task, and with it every connection.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                connections.spawn(forward(client, target, modes.clone(), Counted::new(&open)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Counts a connection for as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One connection, until either side ends it or the mode does.
async fn forward(client: TcpStream, target: SocketAddr, mut modes: watch::Receiver<Mode>, _counted: Counted) {
    if *modes.borrow() == Mode::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else { return };
    // A proxy that waits for full packets would add a delay nobody asked for.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pump(from_client, to_server, Direction::Requests, modes.clone()) => {}
        () = pump(from_server, to_client, Direction::Responses, modes.clone()) => {}
        _ = modes.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Requests,
    Responses,
}

/// Carries one direction: what was read waits in order until the mode lets it go.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, direction: Direction, mut modes: watch::Receiver<Mode>) {
    let mut held: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let (mut held_bytes, mut lost, mut ended) = (0_usize, false, false);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let mode = *modes.borrow_and_update();
        let dropping = mode == Mode::DropResponses && direction == Direction::Responses;
        if lost && !dropping {
            return;
        }
        if dropping {
            lost |= !held.is_empty();
            held.clear();
            held_bytes = 0;
        }
        if ended && held.is_empty() {
            return;
        }
        let due = held.front().map(|(arrived, _)| match mode {
            Mode::Delay(late) => Some(*arrived + late),
            Mode::BlackHole => None,
            Mode::Pass | Mode::Cut | Mode::DropResponses => Some(*arrived),
        });
        let wait = async {
            match due.flatten() {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            changed = modes.changed() => if changed.is_err() { return },
            () = wait => {
                let Some((_, bytes)) = held.pop_front() else { return };
                held_bytes = held_bytes.saturating_sub(bytes.len());
                if to.write_all(&bytes).await.is_err() { return }
            }
            read = from.read(&mut buffer), if !ended && held_bytes < HELD_BYTES => match read {
                Ok(0) | Err(_) => ended = true,
                Ok(_) if dropping => lost = true,
                Ok(count) => {
                    let bytes: Vec<u8> = buffer.iter().take(count).copied().collect();
                    held_bytes += bytes.len();
                    held.push_back((Instant::now(), bytes));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
