//! A client of a real API server that says which of its writes are unanswered, and since when in virtual time.

use crate::store::kube::KubeStore;
use crate::store::{Answer, Key, Object, Seen, Store, Write, WriteId};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

/// What the world and the client both reach.
pub(super) type SharedLine = RefCell<Line>;

/// A client, with what it was shown and nobody took yet.
pub(super) struct Line {
    store: KubeStore,
    seen: Vec<Seen>,
    /// Writes without an answer, by the tick that they were made in. Events are left out: nobody waits for them.
    unanswered: BTreeMap<WriteId, u64>,
    /// Objects whose accepted writes the watches have not shown yet: the revision, and the tick of the answer.
    unseen: BTreeMap<Key, (u64, u64)>,
    /// The newest revision that the watches have shown of each object.
    shown: BTreeMap<Key, u64>,
    /// The tick now.
    pub(super) tick: u64,
    /// How often it was looked at since time stands.
    stood: u32,
}

/// So many looks of 2 ms; then what was not shown is given up.
const STANDS_MAX: u32 = 500;

/// Revisions rise: an older one of an object is a smaller number. Zero where its kind's facts carry none.
fn number(object: &Object) -> u64 {
    object.revision().parse().unwrap_or(0)
}

impl Line {
    /// Takes what came.
    pub(super) fn pump(&mut self) {
        for seen in self.store.poll() {
            self.note(&seen);
            self.seen.push(seen);
        }
        // For metrics, which nobody reads here.
        drop(self.store.take_written());
    }

    fn note(&mut self, seen: &Seen) {
        match seen {
            Seen::Answer(id, answer) => {
                self.unanswered.remove(id);
                if let Answer::Accepted(Some(object)) = answer {
                    let (key, revision) = (object.key(), number(object));
                    if self.shown.get(&key).is_none_or(|shown| *shown < revision) {
                        self.unseen.insert(key, (revision, self.tick));
                    }
                }
            }
            Seen::Object(object) => {
                let (key, revision) = (object.key(), number(object));
                if self.unseen.get(&key).is_some_and(|(wanted, _)| *wanted <= revision) {
                    self.unseen.remove(&key);
                }
                self.shown.insert(key, revision);
            }
            Seen::Gone(key) | Seen::Unreadable(key, _) => {
                self.unseen.remove(key);
                self.shown.remove(key);
            }
            Seen::Broken(kind) => self.unseen.retain(|key, _| key.kind != *kind),
            Seen::Listed(_) => {}
        }
    }

    /// Looked at once more while time stands.
    pub(super) fn stands(&mut self) {
        self.stood += 1;
    }

    /// The tick of the oldest write that was not answered, or not shown.
    pub(super) fn oldest(&mut self) -> Option<u64> {
        // What is not shown for long will not be: it is gone, and its watch was told before the answer came.
        let tick = self.tick;
        if self.stood > STANDS_MAX {
            self.unseen.retain(|_, (_, since)| *since >= tick);
        }
        self.unanswered.values().chain(self.unseen.values().map(|(_, since)| since)).min().copied()
    }

    /// A tick begins.
    pub(super) fn begin(&mut self, tick: u64) {
        (self.tick, self.stood) = (tick, 0);
    }
}

/// The client's own end.
pub(super) struct LiveStore {
    line: Rc<SharedLine>,
}

impl LiveStore {
    /// Around a client that was just made.
    pub(super) fn new(store: KubeStore, tick: u64) -> Self {
        let line = Line {
            store,
            seen: Vec::new(),
            unanswered: BTreeMap::new(),
            unseen: BTreeMap::new(),
            shown: BTreeMap::new(),
            tick,
            stood: 0,
        };
        Self { line: Rc::new(RefCell::new(line)) }
    }

    /// The world's end; nothing, once the client is gone.
    pub(super) fn line(&self) -> Weak<SharedLine> {
        Rc::downgrade(&self.line)
    }
}

impl Store for LiveStore {
    fn poll(&mut self) -> Vec<Seen> {
        let mut line = self.line.borrow_mut();
        line.pump();
        std::mem::take(&mut line.seen)
    }

    fn submit(&mut self, write: Write) -> WriteId {
        let mut line = self.line.borrow_mut();
        let event = matches!(write, Write::Event { .. });
        let id = line.store.submit(write);
        if !event {
            let tick = line.tick;
            line.unanswered.insert(id, tick);
        }
        id
    }
}
