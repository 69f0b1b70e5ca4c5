//! The operator's end: accepts, checks and keeps the agents' streams; [`GrpcUplink`] is the port on it.

use super::identity::{Accounts, Gate, Reviewer};
use super::socket::Socket;
use super::stream::Line;
use super::wire::link_server::LinkServer;
use super::{ALIVE_WITHIN, GREETED_WITHIN, MESSAGE_MOST};
use crate::link::{AgentOf, Report, Shout, Uplink};
use rustls::ServerConfig;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tonic::Status;
use tonic::transport::Server;

/// Connections at a time: two for each load of the largest site, and some that come to nothing.
pub const CONNECTIONS_MOST: usize = 22_000;
/// Streams of one load: of the agent that leaves, and of the one that comes.
const STREAMS_OF_A_LOAD: usize = 2;
/// What an agent may send before it is read: a few messages.
const WINDOW: u32 = 64 * 1_024;
/// Names and values of one request's metadata, bytes: a token and little else.
const METADATA_MOST: u32 = 16 * 1_024;
/// After an error of `accept`, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Certificates as they are now; none: nobody is let in yet.
pub type Certificates = watch::Receiver<Option<Arc<ServerConfig>>>;

/// What is known of one load.
#[derive(Debug, Default)]
struct Entry {
    /// Who may speak for it; none: it is not there.
    agent: Option<AgentOf>,
    /// Oldest first.
    lines: Vec<Arc<Line>>,
}

/// What the server's tasks and the port share.
pub(super) struct Shared {
    pub(super) gate: Gate,
    /// The epoch under which this operator leads; 0: it does not.
    epoch: AtomicU64,
    loads: Mutex<BTreeMap<Arc<str>, Entry>>,
    /// Tells the operator that there is something to poll.
    pub(super) wake: Arc<Notify>,
}

impl Shared {
    fn loads(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Entry>> {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The epoch under which this operator leads.
    pub(super) fn epoch(&self) -> Result<u64, Status> {
        match self.epoch.load(Ordering::Acquire) {
            0 => Err(Status::failed_precondition("this operator does not lead: the leader's Lease says who does")),
            epoch => Ok(epoch),
        }
    }

    /// Who may speak for a load.
    pub(super) fn agent(&self, load: &str) -> Result<AgentOf, Status> {
        let agent = self.loads().get(load).and_then(|entry| entry.agent.clone());
        agent.ok_or_else(|| Status::not_found(format!("there is no load {load:?}")))
    }

    /// Keeps a stream, in place of the oldest where its load has two.
    pub(super) fn join(&self, line: &Arc<Line>) {
        let mut loads = self.loads();
        // Either may have changed since the stream was looked at; from here on both end it.
        let entry = self.epoch().and_then(|_| {
            loads.get_mut(&line.load).ok_or_else(|| Status::not_found("the load went while its agent came"))
        });
        let entry = match entry {
            Ok(entry) => entry,
            Err(why) => return line.end(why),
        };
        if entry.lines.len() >= STREAMS_OF_A_LOAD {
            entry.lines.remove(0).end(Status::aborted("two newer streams speak for this load"));
        }
        entry.lines.push(line.clone());
    }

    pub(super) fn leave(&self, line: &Arc<Line>) {
        if let Some(entry) = self.loads().get_mut(&line.load) {
            entry.lines.retain(|other| !Arc::ptr_eq(other, line));
        }
    }
}

/// The operator's end.
pub struct GrpcUplink {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// Ends everything when this is dropped.
    _tasks: JoinSet<()>,
}

impl GrpcUplink {
    /// Listens at `address`; tells `wake` when there is something to poll. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn listen(
        address: SocketAddr,
        certificates: Certificates,
        reviewer: Box<dyn Reviewer>,
        accounts: Accounts,
        wake: Arc<Notify>,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let gate = Gate::new(reviewer, accounts);
        let shared = Arc::new(Shared { gate, epoch: AtomicU64::new(0), loads: Mutex::default(), wake });
        let service = LinkServer::new(super::stream::Service::new(shared.clone()))
            .max_decoding_message_size(MESSAGE_MOST)
            .max_encoding_message_size(MESSAGE_MOST);
        let server = Server::builder()
            .http2_keepalive_interval(Some(ALIVE_WITHIN))
            .http2_keepalive_timeout(Some(ALIVE_WITHIN))
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_concurrent_streams(1)
            .http2_max_header_list_size(METADATA_MOST)
            .add_service(service);
        let (sockets, incoming) = mpsc::channel::<Socket>(16);
        let incoming = futures::stream::unfold(incoming, |mut incoming| async move {
            let socket = incoming.recv().await?;
            Some((Ok::<_, std::io::Error>(socket), incoming))
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, certificates, sockets));
        tasks.spawn(async move {
            if let Err(error) = server.serve_with_incoming(incoming).await {
                tracing::error!(%error, "the link's server ended");
            }
        });
        Ok(Self { shared, address, _tasks: tasks })
    }

    /// Where it listens, with its port filled in.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether this operator leads, for whoever has to know.
    pub fn leads(&self) -> impl Fn() -> bool + Send + Sync + use<> {
        let shared = self.shared.clone();
        move || shared.epoch().is_ok()
    }

    /// Streams that are open.
    pub fn streams(&self) -> usize {
        self.shared.loads().values().map(|entry| entry.lines.len()).sum()
    }
}

/// Takes connections; TLS is each one's own task, so that a slow one delays nobody.
async fn accept(listener: TcpListener, certificates: Certificates, sockets: mpsc::Sender<Socket>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MOST));
    let mut handshakes = JoinSet::new();
    loop {
        while handshakes.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the link takes no connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Without a place or without certificates the connection is closed at once: agents come again.
        let config = certificates.borrow().clone();
        if let (Ok(place), Some(config)) = (places.clone().try_acquire_owned(), config) {
            handshakes.spawn(shake_hands(stream, config, place, sockets.clone()));
        }
    }
}

async fn shake_hands(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    place: OwnedSemaphorePermit,
    sockets: mpsc::Sender<Socket>,
) {
    let peer = stream.peer_addr().map(|peer| peer.to_string()).unwrap_or_default();
    // A shed is a small message that must not wait for the next.
    let _ = stream.set_nodelay(true);
    match tokio::time::timeout(GREETED_WITHIN, TlsAcceptor::from(config).accept(stream)).await {
        Ok(Ok(stream)) => drop(sockets.send(Socket::new(stream, place)).await),
        Ok(Err(error)) => tracing::debug!(peer, %error, "a connection of the link was refused"),
        Err(_) => tracing::debug!(peer, "a connection of the link came to nothing"),
    }
}

impl Uplink for GrpcUplink {
    fn poll(&mut self) -> Vec<Arc<Report>> {
        let loads = self.shared.loads();
        loads.values().flat_map(|entry| &entry.lines).filter_map(|line| line.take_report()).collect()
    }

    fn shout(&mut self, load: &str, shout: Shout) {
        if let Some(entry) = self.shared.loads().get(load) {
            for line in &entry.lines {
                line.shout(shout.clone());
            }
        }
    }

    fn lead(&mut self, epoch: Option<u64>) {
        let led = self.shared.epoch.swap(epoch.unwrap_or(0), Ordering::AcqRel);
        if let (1.., Err(follows)) = (led, self.shared.epoch()) {
            for line in self.shared.loads().values_mut().flat_map(|entry| std::mem::take(&mut entry.lines)) {
                line.end(follows.clone());
            }
        }
    }

    fn know(&mut self, load: &str, agent: Option<AgentOf>) {
        let mut loads = self.shared.loads();
        let Some(entry) = loads.get_mut(load) else {
            if agent.is_some() {
                loads.insert(load.into(), Entry { agent, lines: Vec::new() });
            }
            return;
        };
        if entry.agent == agent {
            return;
        }
        for line in entry.lines.drain(..) {
            line.end(Status::permission_denied("this load is gone, or another's"));
        }
        match agent {
            Some(_) => entry.agent = agent,
            None => drop(loads.remove(load)),
        }
    }
}
