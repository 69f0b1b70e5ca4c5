//! The store's end in a cluster: watches and writes as tokio tasks, behind bounded channels.
//!
//! Must be made inside a tokio runtime; [`Store::poll`] and [`Store::submit`] never wait and need none.

mod facts;
mod patch;
mod refused;
mod send;
mod watch;
mod writer;

pub use facts::{EPOCH_ANNOTATION, LINK_ANNOTATION};

use super::{Answer, Filter, Key, Kind, Object, Refusal, Seen, Store, TIMEOUT, UNDER_WAY_MAX, Write, WriteId};
use kube::{Client, Config};
use refused::Refused;
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
/// Reports, notes on pods and the like that may be under way: whoever makes ten thousand leases or pods must not have a
/// shed refused.
const RESTING_MAX: usize = UNDER_WAY_MAX / 2;
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
    /// Nobody's safety waits for it.
    rests: bool,
    /// Its object was shown gone, or put in question, since: what the answer says of it may be older than that.
    outdated: bool,
    /// How its object was last shown since: the answer may be older than that too.
    shown: Option<Object>,
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
    resting: usize,
    /// UIDs as last shown: `kubectl describe` finds an Event only by its object's.
    uids: BTreeMap<Key, String>,
    writes: u64,
    written: Vec<Written>,
    refused: Refused,
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
            resting: 0,
            uids: BTreeMap::new(),
            writes: 0,
            written: Vec::new(),
            refused: Refused::default(),
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

    fn learn_uid(&mut self, seen: &Seen) {
        match seen {
            Seen::Object(object) if !object.uid().is_empty() => {
                self.uids.insert(object.key(), object.uid().into());
            }
            Seen::Gone(key) => drop(self.uids.remove(key)),
            Seen::Broken(kind) => self.uids.retain(|key, _| key.kind != *kind),
            _ => {}
        }
    }

    /// Answers must not bring back what was shown gone, nor an older form of what was shown since.
    fn outdate(&mut self, seen: &[Seen]) {
        let mut last: BTreeMap<Key, Option<&Object>> = BTreeMap::new();
        for one in seen {
            match one {
                Seen::Object(object) => drop(last.insert(object.key(), Some(object))),
                Seen::Gone(key) => drop(last.insert(key.clone(), None)),
                Seen::Broken(kind) => {
                    last.retain(|key, _| key.kind != *kind);
                    let of_kind = |write: &&mut UnderWay| write.object.as_ref().is_some_and(|key| key.kind == *kind);
                    self.under_way.values_mut().filter(of_kind).for_each(|write| write.outdated = true);
                }
                _ => {}
            }
        }
        for write in self.under_way.values_mut() {
            if let Some(stands) = write.object.as_ref().and_then(|key| last.get(key)) {
                write.outdated = stands.is_none();
                write.shown = stands.cloned();
            }
        }
    }

    fn land(&mut self, answered: Answered) -> Seen {
        let Answered { id, mut answer, took } = answered;
        if let Entry::Occupied(entry) = self.under_way.entry(id) {
            let write = entry.remove();
            self.events -= usize::from(write.event);
            self.resting -= usize::from(write.rests);
            if let Answer::Refused(refusal) = &answer
                && let Some(told) = self.refused.told(write.object.as_ref(), refusal, Instant::now())
            {
                tracing::warn!("{told}");
            }
            if let Answer::Accepted(object) = &mut answer {
                if write.outdated {
                    *object = None;
                } else if write.shown.as_ref().zip(object.as_ref()).is_some_and(|(shown, own)| shown.is_newer_than(own))
                {
                    *object = write.shown;
                }
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
        self.outdate(&seen);
        for one in &seen {
            self.learn_uid(one);
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
        let (event, about) = match &write {
            Write::Event { regarding, .. } => (true, self.uids.get(regarding).cloned()),
            _ => (false, None),
        };
        let object = writer::target(&write);
        // Notes go out before reports and are let in like them: a lease has as many pods as its tenant makes.
        let rests = !writer::is_urgent(&write) || matches!(write, Write::NotePod { .. });
        let shares = (event && self.events >= EVENTS_MAX) || (rests && self.resting >= RESTING_MAX);
        let full = self.under_way.len() >= UNDER_WAY_MAX || shares;
        let due = Instant::now() + Duration::from_millis(u64::try_from(TIMEOUT.get()).unwrap_or(0));
        if full || self.queue.try_send(Flight { id, write, about, due }).is_err() {
            let answer = Answer::Refused(Refusal::Busy);
            self.note(&answer, None);
            self.given.push(Seen::Answer(id, answer));
            self.wake.notify_one();
            return id;
        }
        self.events += usize::from(event);
        self.resting += usize::from(rests);
        self.under_way.insert(id, UnderWay { object, event, rests, outdated: false, shown: None });
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{LEADERSHIP_NAME, LeadershipFacts, NodeFacts, PodFacts};

    /// A store whose API server nobody reaches: nothing is shown, and writes stay under way.
    fn alone() -> KubeStore {
        let config = control(Config::new("http://127.0.0.1:9".parse().unwrap()));
        KubeStore::connect(Client::try_from(config).unwrap(), "ampacity", Filter::All)
    }

    fn finalizer(name: &str) -> Write {
        Write::Finalizer { key: Key::cluster(Kind::PowerBudget, name), present: true }
    }

    fn accepted(id: WriteId) -> Answered {
        let node = NodeFacts { name: "a".into(), ..NodeFacts::default() };
        Answered { id, answer: Answer::Accepted(Some(Object::Node(Arc::new(node)))), took: None }
    }

    #[tokio::test]
    async fn an_answer_does_not_bring_back_what_was_shown_gone_or_put_in_question_since() {
        let mut store = alone();
        let ids = ["gone", "stays"].map(|name| store.submit(finalizer(name)));
        store.outdate(&[Seen::Gone(Key::cluster(Kind::PowerBudget, "gone")), Seen::Broken(Kind::Node)]);
        let landed = ids.map(|id| match store.land(accepted(id)) {
            Seen::Answer(_, Answer::Accepted(object)) => object.is_some(),
            other => panic!("{other:?}"),
        });
        assert_eq!(landed, [false, true]);
        let asked = store.submit(finalizer("asked"));
        store.outdate(&[Seen::Broken(Kind::PowerBudget)]);
        assert_eq!(store.land(accepted(asked)), Seen::Answer(asked, Answer::Accepted(None)));
        assert_eq!(store.under_way(), 0);
    }

    #[tokio::test]
    async fn an_answer_that_is_older_than_what_was_shown_gives_what_was_shown() {
        let lease = |revision: &str| {
            let facts = LeadershipFacts { revision: revision.into(), ..LeadershipFacts::default() };
            Object::Leadership(Arc::new(facts))
        };
        let mut store = alone();
        for (shown, answered, expected) in [("7", "6", "7"), ("7", "7", "7"), ("9", "10", "10")] {
            let id = store.submit(Write::Lead { facts: LeadershipFacts::default(), revision: None });
            store.outdate(&[Seen::Broken(Kind::Leadership), Seen::Object(lease(shown))]);
            let answer = Answer::Accepted(Some(lease(answered)));
            let landed = store.land(Answered { id, answer, took: None });
            assert_eq!(landed, Seen::Answer(id, Answer::Accepted(Some(lease(expected)))));
        }
        assert_eq!(lease("7").key(), Key::cluster(Kind::Leadership, LEADERSHIP_NAME));
    }

    #[tokio::test]
    async fn a_pod_that_became_ready_before_the_answer_to_its_creation_came_stays_ready() {
        let pod = |revision: &str, ready| {
            let name = "c-0-agent".to_owned();
            let facts =
                PodFacts { namespace: "n".into(), name, ready, revision: revision.into(), ..PodFacts::default() };
            Object::Pod(Arc::new(facts))
        };
        let mut store = alone();
        let load = Key::namespaced(Kind::ControllableLoad, "n", "c-0");
        let manifest = serde_json::json!({"metadata": {"name": "c-0-agent"}});
        let id = store.submit(Write::CreateAgent { load, pod: Box::new(manifest) });
        store.outdate(&[Seen::Object(pod("7", false)), Seen::Object(pod("9", true))]);
        let answer = Answer::Accepted(Some(pod("7", false)));
        let landed = store.land(Answered { id, answer, took: None });
        assert_eq!(landed, Seen::Answer(id, Answer::Accepted(Some(pod("9", true)))));
    }

    #[tokio::test]
    async fn events_beyond_their_share_are_refused_and_orders_are_not() {
        let mut store = alone();
        let event = || Write::Event {
            regarding: Key::cluster(Kind::PowerBudget, "a"),
            warning: false,
            reason: "A",
            action: "B",
            note: String::new(),
        };
        let last = (0..=EVENTS_MAX).map(|_| store.submit(event())).last().unwrap();
        store.submit(Write::Lead { facts: LeadershipFacts::default(), revision: None });
        assert_eq!(store.given, [Seen::Answer(last, Answer::Refused(Refusal::Busy))]);
        assert_eq!(store.under_way(), EVENTS_MAX + 1);
    }

    #[tokio::test]
    async fn reports_beyond_their_share_are_refused_and_orders_are_not() {
        let mut store = alone();
        let last = (0..=RESTING_MAX).map(|at| store.submit(finalizer(&format!("b{at}")))).last().unwrap();
        store.submit(Write::Lead { facts: LeadershipFacts::default(), revision: None });
        assert_eq!(store.given, [Seen::Answer(last, Answer::Refused(Refusal::Busy))]);
        assert_eq!(store.under_way(), RESTING_MAX + 1);
    }

    #[tokio::test]
    async fn notes_on_a_tenants_pods_beyond_the_reports_share_are_refused_and_orders_are_not() {
        let mut store = alone();
        let note = |at| {
            let pod = Key::namespaced(Kind::Pod, "n", &format!("trainer-{at}"));
            Write::NotePod { pod, uid: "u".into(), annotations: BTreeMap::new() }
        };
        let last = (0..=RESTING_MAX).map(|at| store.submit(note(at))).last().unwrap();
        store.submit(Write::Lead { facts: LeadershipFacts::default(), revision: None });
        assert_eq!(store.given, [Seen::Answer(last, Answer::Refused(Refusal::Busy))]);
        assert_eq!(store.under_way(), RESTING_MAX + 1);
    }
}
