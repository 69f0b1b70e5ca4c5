//! An agent's end: dials the leading operator, and again whenever the stream ends; [`GrpcDownlink`] is the port on it.

use super::slots::Slots;
use super::tls::{Pems, TlsError};
use super::wire::{self, down, link_client::LinkClient, up};
use super::{ALIVE_WITHIN, ANSWERED_WITHIN, AUTHORIZATION, GREETED_WITHIN, MESSAGE_MOST, SILENT_AT_MOST, convert, tls};
use crate::link::{Downlink, Report, Shout};
use ampacity_core::guard::HolderId;
use hyper_util::rt::TokioIo;
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg32;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Streaming};

/// The first pause before dialling again, doubling.
const PAUSE_LEAST: Duration = Duration::from_millis(500);
/// The longest pause: then up to half of it is waited for, and no two agents the same.
const PAUSE_MOST: Duration = Duration::from_secs(10);
/// A stream that lasted this long was a good one: the next pause is the first again.
const LASTED: Duration = Duration::from_secs(30);
/// To open a stream: a review of the token by the API server lies in it.
const OPENED_WITHIN: Duration = Duration::from_secs(12);
/// The token's file is read again so often while a stream lasts: kubelets renew it minutes before it expires.
const TOKEN_READ_EVERY: Duration = Duration::from_secs(20);
/// A reason is logged anew only where it has changed, and shortened to this.
const REASON_MOST: usize = 300;

/// How an agent dials.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// Its load.
    pub load: Arc<str>,
    /// This run of this agent.
    pub holder: HolderId,
    /// The name in the operator's certificate.
    pub server_name: String,
    /// Folder with `tls.crt`, `tls.key` and `ca.crt`, read anew for each stream.
    pub folder: PathBuf,
    /// File with the pod's token, read anew for each stream and while one lasts.
    pub token: PathBuf,
    /// Where to dial, `host:port`; empty: where the leader's Lease says.
    pub address: String,
}

/// Why a stream ended, or was not opened.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{0}: {1}")]
    Token(String, std::io::Error),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the name {0:?} is no name of a server")]
    Name(String),
    #[error("{}", chain(.0))]
    Dial(#[from] tonic::transport::Error),
    #[error("{:?}: {}", .0.code(), .0.message())]
    Refused(Box<tonic::Status>),
    #[error("the token is no text")]
    TokenText,
    #[error("not answered within {0} s")]
    Silent(u64),
    #[error("the operator ended it")]
    Closed,
    #[error("another operator leads")]
    Moved,
}

impl From<tonic::Status> for Ended {
    fn from(status: tonic::Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

/// An error with its causes: the outermost alone says nothing.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source()).skip(1);
    std::iter::once(error.to_string()).chain(causes.map(ToString::to_string)).collect::<Vec<_>>().join(": ")
}

/// What the port and its task share.
struct Shared {
    slots: Mutex<Slots>,
    /// When a report was last answered.
    answered: Mutex<Option<Instant>>,
    /// Tells the agent that there is something to poll.
    wake: Arc<Notify>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An agent's end.
pub struct GrpcDownlink {
    shared: Arc<Shared>,
    reports: watch::Sender<Option<Report>>,
    address: watch::Sender<String>,
    /// The address is the options': the Lease's is not asked for.
    fixed: bool,
    task: JoinHandle<()>,
}

impl Drop for GrpcDownlink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl GrpcDownlink {
    /// Begins to dial; tells `wake` when something was shouted. Must be called inside a tokio runtime.
    pub fn dial(options: LinkOptions, wake: Arc<Notify>) -> Self {
        let shared = Arc::new(Shared { slots: Mutex::default(), answered: Mutex::default(), wake });
        let (reports, newest) = watch::channel(None);
        let (address, aimed) = watch::channel(options.address.clone());
        let fixed = !options.address.is_empty();
        let seed = options.holder.0;
        let dialler = Dialler { options, shared: shared.clone(), reports: newest, address: aimed };
        let task = tokio::spawn(dialler.run(Pcg32::seed_from_u64(seed)));
        Self { shared, reports, address, fixed, task }
    }
}

impl Downlink for GrpcDownlink {
    fn poll(&mut self) -> Vec<Shout> {
        let mut slots = lock(&self.shared.slots);
        std::iter::from_fn(|| slots.take()).collect()
    }

    fn report(&mut self, report: Report) {
        drop(self.reports.send_replace(Some(report)));
    }

    fn is_up(&self) -> bool {
        lock(&self.shared.answered).is_some_and(|at| at.elapsed() < ANSWERED_WITHIN)
    }

    fn aim(&mut self, address: &str) {
        if !self.fixed {
            self.address.send_if_modified(|known| {
                let moved = known != address;
                if moved {
                    address.clone_into(known);
                }
                moved
            });
        }
    }
}

/// The task behind the port.
struct Dialler {
    options: LinkOptions,
    shared: Arc<Shared>,
    reports: watch::Receiver<Option<Report>>,
    address: watch::Receiver<String>,
}

impl Dialler {
    async fn run(mut self, mut chance: Pcg32) {
        let mut pause = PAUSE_LEAST;
        let mut told = String::new();
        loop {
            let address = self.address.borrow_and_update().clone();
            let started = Instant::now();
            let ended = if address.is_empty() { None } else { self.stream(&address).await.err() };
            *lock(&self.shared.answered) = None;
            if let Some(ended) = &ended {
                let why: String = format!("{address}: {ended}").chars().take(REASON_MOST).collect();
                if why != told {
                    tracing::warn!(why, "no link: sheds come through the API server alone");
                    told = why;
                }
            }
            if started.elapsed() >= LASTED {
                pause = PAUSE_LEAST;
                told.clear();
            }
            // Between half of the pause and the whole of it: a site's agents do not come all at once.
            let half = u32::try_from(pause.as_millis() / 2).unwrap_or(u32::MAX).max(1);
            let wait = pause / 2 + Duration::from_millis(u64::from(chance.next_u32() % half));
            let moved = tokio::time::timeout(wait, self.address.changed()).await;
            match moved {
                Ok(Ok(())) => pause = PAUSE_LEAST,
                Ok(Err(_)) => return,
                Err(_) if ended.is_some() => pause = (pause * 2).min(PAUSE_MOST),
                Err(_) => {}
            }
        }
    }

    fn token(&self) -> Result<String, Ended> {
        let text = std::fs::read_to_string(&self.options.token);
        let text = text.map_err(|error| Ended::Token(self.options.token.display().to_string(), error))?;
        Ok(text.trim().to_owned())
    }

    /// One stream, from the dialling to its end.
    async fn stream(&mut self, address: &str) -> Result<std::convert::Infallible, Ended> {
        let token = self.token()?;
        let channel = self.channel(address).await?;
        let (out, outgoing) = mpsc::channel::<wire::Up>(1);
        let outgoing = futures::stream::unfold(outgoing, |mut outgoing| async move {
            let message = outgoing.recv().await?;
            Some((message, outgoing))
        });
        let hello = wire::Hello { load: self.options.load.to_string(), holder: self.options.holder.0 };
        let opened = async {
            let mut request = Request::new(outgoing);
            let bearer = format!("Bearer {token}").parse().map_err(|_| Ended::TokenText)?;
            request.metadata_mut().insert(AUTHORIZATION, bearer);
            let mut client = LinkClient::new(channel).max_decoding_message_size(MESSAGE_MOST);
            // There is room for one: this does not wait.
            let _ = out.send(wire::Up { kind: Some(up::Kind::Hello(hello)) }).await;
            let mut incoming = client.attach(request).await?.into_inner();
            let first = incoming.message().await?.and_then(|message| message.kind);
            match first {
                Some(down::Kind::Welcome(welcome)) => Ok((incoming, welcome.epoch)),
                _ => Err(Ended::Closed),
            }
        };
        let opened = tokio::time::timeout(OPENED_WITHIN, opened).await;
        let (incoming, epoch) = opened.map_err(|_| Ended::Silent(OPENED_WITHIN.as_secs()))??;
        tracing::info!(address, epoch, "linked to the leading operator");
        self.talk(incoming, out, token).await
    }

    async fn channel(&self, address: &str) -> Result<Channel, Ended> {
        let config = tls::client(&Pems::read(&self.options.folder)?)?;
        let name = ServerName::try_from(self.options.server_name.clone());
        let name = name.map_err(|_| Ended::Name(self.options.server_name.clone()))?;
        let to = address.to_owned();
        let connector = tower::service_fn(move |_: Uri| connect(to.clone(), name.clone(), config.clone()));
        // The address is the connector's alone; this is what the request carries.
        let endpoint = Endpoint::from_static("http://link")
            .http2_keep_alive_interval(ALIVE_WITHIN)
            .keep_alive_timeout(ALIVE_WITHIN)
            .keep_alive_while_idle(true)
            .connect_timeout(GREETED_WITHIN);
        Ok(endpoint.connect_with_connector(connector).await?)
    }

    /// Sends the newest report and a renewed token, takes what is shouted, until the stream ends.
    async fn talk(
        &mut self,
        mut incoming: Streaming<wire::Down>,
        out: mpsc::Sender<wire::Up>,
        mut token: String,
    ) -> Result<std::convert::Infallible, Ended> {
        let mut read_token = tokio::time::interval(TOKEN_READ_EVERY);
        let mut renewed = false;
        // What was reported before the stream was there is worth sending.
        self.reports.mark_changed();
        let mut fresh = false;
        loop {
            tokio::select! {
                message = tokio::time::timeout(SILENT_AT_MOST, incoming.message()) => {
                    let message = message.map_err(|_| Ended::Silent(SILENT_AT_MOST.as_secs()))?;
                    self.hear(message?.ok_or(Ended::Closed)?);
                }
                changed = self.reports.changed() => {
                    changed.map_err(|_| Ended::Closed)?;
                    fresh = true;
                }
                place = out.reserve(), if renewed || fresh => {
                    let place = place.map_err(|_| Ended::Closed)?;
                    if std::mem::take(&mut renewed) {
                        place.send(wire::Up { kind: Some(up::Kind::Token(token.clone())) });
                    } else if let (true, Some(report)) = (std::mem::take(&mut fresh), &*self.reports.borrow_and_update()) {
                        place.send(convert::report(report));
                    }
                }
                _ = read_token.tick() => {
                    // A file that cannot be read now may be half written.
                    if let Some(new) = self.token().ok().filter(|new| *new != token) {
                        token = new;
                        renewed = true;
                    }
                }
                moved = self.address.changed() => {
                    moved.map_err(|_| Ended::Closed)?;
                    self.address.mark_changed();
                    return Err(Ended::Moved);
                }
            }
        }
    }

    fn hear(&self, message: wire::Down) {
        if matches!(message.kind, Some(down::Kind::Received(_))) {
            *lock(&self.shared.answered) = Some(Instant::now());
        } else if let Some(shout) = convert::read_shout(message) {
            lock(&self.shared.slots).put(shout);
            self.shared.wake.notify_one();
        }
    }
}

pub(super) async fn connect(
    address: String,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
) -> std::io::Result<TokioIo<tokio_rustls::client::TlsStream<TcpStream>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(TokioIo::new(TlsConnector::from(config).connect(name, stream).await?))
}
