//! The store's end in a cluster: watches and writes as tokio tasks, behind bounded channels.
//!
//! Must be made inside a tokio runtime; [`Store::poll`] and [`Store::submit`] never wait and need none.

mod facts;
mod send;
mod watch;
mod writer;

pub use facts::EPOCH_ANNOTATION;

use super::{Answer, Filter, Key, Kind, Refusal, Seen, Store, TIMEOUT, UNDER_WAY_MAX, Write, WriteId};
use kube::{Client, Config};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use writer::{Answered, Flight};

/// What one kind's watch has seen and the reader has not, at most; then the watch waits. A thousand loads that each
/// change four times between two polls fit; of larger clusters the first list comes in several polls.
const SEEN_MAX: usize = 4_096;
/// Events that may be under way: a person reads no more, and orders must not queue behind them.
const EVENTS_MAX: usize = 256;
/// No byte for this long: the connection is dead. Above the watches' own 30 s with their 5 s of grace.
const READ_TIMEOUT: Duration = Duration::from_secs(40);
/// To connect, and to hand a request over.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The client configuration of a control loop: kube's defaults retry every method for up to three minutes and have no
/// read time-out, so that a write could land long after it was given up.
pub fn control(mut config: Config) -> Config {
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.write_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.reset_reader_on_write = true;
    config
}

/// The result of a write, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// `accepted`, `refused`, `busy` or `unknown`.
    pub outcome: &'static str,
    /// How long the request took; none where none was sent.
    pub took: Option<Duration>,
}

/// A write whose answer has not come.
struct UnderWay {
    object: Option<Key>,
    event: bool,
    /// Its object was shown gone, or put in question, since: what the answer says of it may be older than that.
    outdated: bool,
}

/// A client of the API server.
pub struct KubeStore {
    watches: Vec<(Kind, mpsc::Receiver<Seen>)>,
    queue: mpsc::Sender<Flight>,
    answers: mpsc::Receiver<Answered>,
    /// Answers that were given on the spot.
    given: Vec<Seen>,
    under_way: BTreeMap<WriteId, UnderWay>,
    events: usize,
    writes: u64,
    written: Vec<Written>,
    wake: Arc<Notify>,
    /// Ends the watches when this is dropped. The writer ends by itself, after what was handed over is answered.
    _tasks: JoinSet<()>,
}

impl KubeStore {
    /// A new client that sees what `filter` lets through: everything there is is listed to it first. `namespace` is the
    /// operator's own, where loads, agents and the leader's Lease are. Make `client` with [`control`].
    pub fn connect(client: Client, namespace: &str, filter: Filter) -> Self {
        let wake = Arc::new(Notify::new());
        let namespace: Arc<str> = namespace.into();
        let mut tasks = JoinSet::new();
        let mut watches = Vec::new();
        for kind in filter.kinds() {
            let (seen, shown) = mpsc::channel(SEEN_MAX);
            let out = watch::Out { seen, wake: wake.clone() };
            tasks.spawn(watch::follow(client.clone(), namespace.clone(), filter.clone(), *kind, out));
            watches.push((*kind, shown));
        }
        let (queue, flights) = mpsc::channel(UNDER_WAY_MAX);
        let (answered, answers) = mpsc::channel(UNDER_WAY_MAX);
        let instance = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
        let sender = send::Sender {
            client,
            namespace,
            instance: instance.unwrap_or_else(|| "ampacity".into()),
            events: AtomicU64::new(0),
        };
        tokio::spawn(writer::run(Arc::new(sender), flights, answered, wake.clone()));
        Self {
            watches,
            queue,
            answers,
            given: Vec::new(),
            under_way: BTreeMap::new(),
            events: 0,
            writes: 0,
            written: Vec::new(),
            wake,
            _tasks: tasks,
        }
    }

    /// Returns when there is something to poll. Wakes once for all that came.
    pub async fn notified(&self) {
        self.wake.notified().await;
    }

    /// Takes what became of writes since the last call, for metrics.
    pub fn take_written(&mut self) -> Vec<Written> {
        std::mem::take(&mut self.written)
    }

    /// Writes handed over and not answered.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Answers about what was shown gone must not bring it back.
    fn outdate(&mut self, seen: &Seen) {
        if !matches!(seen, Seen::Gone(_) | Seen::Broken(_)) {
            return;
        }
        let hit = |object: &Key| match seen {
            Seen::Gone(key) => object == key,
            Seen::Broken(kind) => object.kind == *kind,
            _ => false,
        };
        for write in self.under_way.values_mut() {
            write.outdated |= write.object.as_ref().is_some_and(hit);
        }
    }

    fn land(&mut self, answered: Answered) -> Seen {
        let Answered { id, mut answer, took } = answered;
        if let Entry::Occupied(entry) = self.under_way.entry(id) {
            let write = entry.remove();
            self.events -= usize::from(write.event);
            if let (true, Answer::Accepted(object)) = (write.outdated, &mut answer) {
                *object = None;
            }
        }
        self.note(&answer, took);
        Seen::Answer(id, answer)
    }

    /// Keeps what became of a write until it is taken: as many as the queue holds, so that nobody need take them.
    fn note(&mut self, answer: &Answer, took: Option<Duration>) {
        let outcome = match answer {
            Answer::Accepted(_) => "accepted",
            Answer::Refused(Refusal::Busy) => "busy",
            Answer::Refused(_) => "refused",
            Answer::Unknown => "unknown",
        };
        if self.written.len() < UNDER_WAY_MAX {
            self.written.push(Written { outcome, took });
        }
    }
}

impl Store for KubeStore {
    fn poll(&mut self) -> Vec<Seen> {
        let mut seen = std::mem::take(&mut self.given);
        for (_, watch) in &mut self.watches {
            seen.extend(std::iter::from_fn(|| watch.try_recv().ok()).take(SEEN_MAX));
        }
        for one in &seen {
            self.outdate(one);
        }
        while let Ok(answered) = self.answers.try_recv() {
            let answer = self.land(answered);
            seen.push(answer);
        }
        if self.watches.iter().any(|(_, watch)| !watch.is_empty()) {
            self.wake.notify_one();
        }
        seen
    }

    fn submit(&mut self, write: Write) -> WriteId {
        self.writes += 1;
        let id = WriteId(self.writes);
        let event = matches!(write, Write::Event { .. });
        let object = writer::target(&write);
        let full = self.under_way.len() >= UNDER_WAY_MAX || (event && self.events >= EVENTS_MAX);
        let due = Instant::now() + Duration::from_millis(u64::try_from(TIMEOUT.get()).unwrap_or(0));
        if full || self.queue.try_send(Flight { id, write, due }).is_err() {
            let answer = Answer::Refused(Refusal::Busy);
            self.note(&answer, None);
            self.given.push(Seen::Answer(id, answer));
            self.wake.notify_one();
            return id;
        }
        self.events += usize::from(event);
        self.under_way.insert(id, UnderWay { object, event, outdated: false });
        id
    }
}
