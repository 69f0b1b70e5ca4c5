//! A client of a real API server that says which of its writes are unanswered, and since when in virtual time.

use crate::store::kube::KubeStore;
use crate::store::{Seen, Store, Write, WriteId};
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
    /// The tick now.
    pub(super) tick: u64,
    /// Notes of Events that were written.
    pub(super) notes: Vec<String>,
}

impl Line {
    /// Takes what came.
    pub(super) fn pump(&mut self) {
        for seen in self.store.poll() {
            if let Seen::Answer(id, _) = &seen {
                self.unanswered.remove(id);
            }
            self.seen.push(seen);
        }
        // For metrics, which nobody reads here.
        drop(self.store.take_written());
    }

    /// The tick of the oldest write without an answer.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.unanswered.values().min().copied()
    }
}

/// The client's own end.
pub(super) struct LiveStore {
    line: Rc<SharedLine>,
}

impl LiveStore {
    /// Around a client that was just made.
    pub(super) fn new(store: KubeStore, tick: u64) -> Self {
        let line = Line { store, seen: Vec::new(), unanswered: BTreeMap::new(), tick, notes: Vec::new() };
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
        let event = match &write {
            Write::Event { note, .. } => {
                let note = note.clone();
                line.notes.push(note);
                true
            }
            _ => false,
        };
        let id = line.store.submit(write);
        if !event {
            let tick = line.tick;
            line.unanswered.insert(id, tick);
        }
        id
    }
}
