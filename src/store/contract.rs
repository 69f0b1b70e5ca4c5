//! What both ends of the store keep: one table of cases, run through the port alone.
//!
//! In memory the table runs with the unit tests, in a cluster with `e2e/tests/contract.rs` behind a fault proxy. What
//! only surroundings can do (faults, time, the hand of a person) is the [`End`]'s.

mod objects;
mod orders;
#[cfg(test)]
mod tests;
mod writes;

use super::{Answer, Filter, Key, Kind, Object, Refusal, Seen, Store, TIMEOUT, Write, WriteId};
use ampacity_core::units::Span;
use std::collections::{BTreeMap, BTreeSet};

/// How often a case looks again.
const LOOK_EVERY: Span = Span::new(20);
/// By when a watch must show what happened, on a busy machine.
const SHOWN_WITHIN: Span = Span::seconds(20);
/// By when an answer must have come: the time-out, and one look at a busy queue.
const ANSWERED_WITHIN: Span = Span::new(TIMEOUT.get() + 1_000);

/// Over which line a client talks to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// One that always works.
    Good,
    /// One that [`End::fault`] breaks.
    Faulty,
}

/// What the faulty line does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Everything passes; what was shown in the meantime is shown again.
    None,
    /// Nothing passes, and what is sent is lost.
    Cut,
    /// Nothing passes; what is sent may arrive after the fault ends.
    Hold,
    /// What is sent arrives, answers do not.
    LoseAnswers,
}

/// An end of the store, and its surroundings.
pub trait End {
    /// Where loads live.
    fn namespace(&self) -> String;
    /// A word that begins the names of cluster-scoped objects, so that runs do not meet.
    fn prefix(&self) -> String;
    /// A new client that sees everything.
    fn connect(&mut self, line: Line, filter: Filter) -> Box<dyn Store>;
    /// From now on the faulty line does this.
    fn fault(&mut self, fault: Fault);
    /// Lets time pass.
    fn pass(&mut self, span: Span);
    /// By when, after a fault ended, whatever it held back has landed.
    fn late(&self) -> Span;
    /// A person creates a `PowerBudget`, a Job or a node (without GPUs, not ready).
    ///
    /// # Errors
    /// It cannot be created.
    fn put(&mut self, object: Object) -> Result<(), String>;
    /// A person deletes an object.
    ///
    /// # Errors
    /// It cannot be deleted.
    fn delete(&mut self, key: &Key) -> Result<(), String>;
}

/// What a case found wrong.
pub type Outcome = Result<(), String>;

/// One case of the table.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What holds, as a sentence.
    pub name: &'static str,
    /// Runs it; the error says what did not hold.
    pub run: fn(&mut dyn End) -> Outcome,
}

/// The whole table. Each case uses names of its own; one alone touches the leader's Lease.
pub fn cases() -> Vec<Case> {
    orders::CASES.iter().chain(objects::CASES).chain(writes::CASES).copied().collect()
}

/// A client, and what its watches have shown. What answers say of objects is kept apart.
struct Client {
    store: Box<dyn Store>,
    objects: BTreeMap<Key, Object>,
    unconfirmed: BTreeSet<Key>,
    listed: BTreeSet<Kind>,
    answers: BTreeMap<WriteId, Answer>,
    /// Every epoch and sequence that was shown of a load, in the order in which it was shown.
    orders: Vec<(Key, (i64, i64))>,
}

impl Client {
    fn connect(end: &mut dyn End, line: Line) -> Result<Self, String> {
        let store = end.connect(line, Filter::All);
        let mut client = Self {
            store,
            objects: BTreeMap::new(),
            unconfirmed: BTreeSet::new(),
            listed: BTreeSet::new(),
            answers: BTreeMap::new(),
            orders: Vec::new(),
        };
        client.until(end, "every kind to be listed", |c| Kind::ALL.iter().all(|kind| c.listed.contains(kind)))?;
        Ok(client)
    }

    fn take(&mut self) {
        for seen in self.store.poll() {
            match seen {
                Seen::Object(object) => {
                    let key = object.key();
                    self.unconfirmed.remove(&key);
                    if let Object::ControllableLoad(load) = &object {
                        self.orders.push((key.clone(), (load.spec.order.epoch, load.spec.order.sequence)));
                    }
                    self.objects.insert(key, object);
                }
                Seen::Gone(key) => self.forget(&key),
                Seen::Unreadable(key, _) => drop(self.unconfirmed.remove(&key)),
                Seen::Broken(kind) => {
                    self.unconfirmed.extend(self.objects.keys().filter(|key| key.kind == kind).cloned());
                }
                Seen::Listed(kind) => {
                    self.listed.insert(kind);
                    let lost: Vec<Key> = self.unconfirmed.iter().filter(|key| key.kind == kind).cloned().collect();
                    lost.iter().for_each(|key| self.forget(key));
                }
                Seen::Answer(id, answer) => drop(self.answers.insert(id, answer)),
            }
        }
    }

    fn forget(&mut self, key: &Key) {
        self.unconfirmed.remove(key);
        self.objects.remove(key);
    }

    /// Waits until something is so.
    fn until(&mut self, end: &mut dyn End, what: &str, is_so: impl Fn(&Self) -> bool) -> Outcome {
        self.until_within(end, SHOWN_WITHIN, what, is_so)
    }

    fn until_within(&mut self, end: &mut dyn End, limit: Span, what: &str, is_so: impl Fn(&Self) -> bool) -> Outcome {
        let mut waited = Span::ZERO;
        loop {
            self.take();
            if is_so(self) {
                return Ok(());
            }
            if waited > limit {
                return Err(format!("waited {} ms for {what}", limit.get()));
            }
            end.pass(LOOK_EVERY);
            waited += LOOK_EVERY;
        }
    }

    /// Hands over a write and waits for its answer.
    fn write(&mut self, end: &mut dyn End, write: Write) -> Result<Answer, String> {
        let id = self.store.submit(write);
        self.until_within(end, ANSWERED_WITHIN, "an answer", |c| c.answers.contains_key(&id))?;
        self.answers.remove(&id).ok_or_else(|| "the answer is gone".into())
    }

    /// Hands over a write that must be accepted; gives the object as it now stands.
    fn accepted(&mut self, end: &mut dyn End, write: Write) -> Result<Object, String> {
        match self.write(end, write)? {
            Answer::Accepted(Some(object)) => Ok(object),
            other => Err(format!("accepted with the object was expected, not {other:?}")),
        }
    }

    /// Hands over a write that must be refused.
    fn refused(&mut self, end: &mut dyn End, write: Write) -> Result<Refusal, String> {
        match self.write(end, write)? {
            Answer::Refused(refusal) => Ok(refusal),
            other => Err(format!("a refusal was expected, not {other:?}")),
        }
    }

    /// Hands over a write that a rule must refuse in these words.
    fn invalid(&mut self, end: &mut dyn End, write: Write, rule: &str) -> Outcome {
        match self.refused(end, write)? {
            Refusal::Invalid(said) if said.contains(rule) => Ok(()),
            other => Err(format!("{rule:?} was expected, not {other:?}")),
        }
    }

    /// Waits until the watch shows this object as it now stands.
    fn shows(&mut self, end: &mut dyn End, object: &Object) -> Outcome {
        let key = object.key();
        self.until(end, &format!("the watch to show {object:?}"), |c| c.objects.get(&key) == Some(object))
    }
}

/// An error unless both are the same.
fn same<T: PartialEq + std::fmt::Debug>(is: &T, expected: &T) -> Outcome {
    if is == expected { Ok(()) } else { Err(format!("expected {expected:?}\n     is {is:?}")) }
}

/// Whether a refusal is a conflict, whatever it says.
fn conflict(refusal: &Refusal) -> Outcome {
    match refusal {
        Refusal::Conflict(_) => Ok(()),
        other => Err(format!("a conflict was expected, not {other:?}")),
    }
}
