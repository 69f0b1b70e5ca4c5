//! The server: objects, revisions, watches, and writes under way.

use super::faults::{ClientFaults, strikes};
use crate::store::{Answer, Filter, Key, Kind, Object, Refusal, Seen, TIMEOUT, UNDER_WAY_MAX, Write, WriteId};
use ampacity_core::units::{Span, Time};
use rand_core::SeedableRng;
use rand_pcg::Pcg32;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// The server as its clients hold it.
pub type SharedServer = Rc<RefCell<Server>>;

/// A late write lands at most this long after it was given up.
const LATE_AT_MOST: Span = Span::seconds(30);

/// An Event that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// When.
    pub time: Time,
    /// About what.
    pub regarding: Key,
    /// Whether it is a warning.
    pub warning: bool,
    /// One word.
    pub reason: &'static str,
    /// A sentence.
    pub note: String,
}

/// What a backup of etcd holds.
#[derive(Clone, Debug)]
pub struct Backup(BTreeMap<Key, Object>);

#[derive(Debug)]
struct Client {
    name: String,
    connected: bool,
    filter: Filter,
    faults: ClientFaults,
    shown: VecDeque<(Time, Seen)>,
    answers: BTreeMap<(Time, u64), Seen>,
    writes: u64,
    under_way: usize,
}

/// A write on its way to the server.
#[derive(Debug)]
struct Flight {
    client: usize,
    id: WriteId,
    write: Write,
    answered: Option<Time>,
}

/// An API server in memory.
#[derive(Debug)]
pub struct Server {
    pub(super) now: Time,
    pub(super) objects: BTreeMap<Key, Object>,
    pub(super) revision: u64,
    pub(super) recorded: Vec<Recorded>,
    clients: Vec<Client>,
    flights: BTreeMap<(Time, u64), Flight>,
    serial: u64,
    rng: Pcg32,
    accepted_orders: u64,
}

impl Server {
    /// An empty server whose faults follow `seed`.
    pub fn new(seed: u64, now: Time) -> SharedServer {
        Rc::new(RefCell::new(Self {
            now,
            objects: BTreeMap::new(),
            revision: 0,
            recorded: Vec::new(),
            clients: Vec::new(),
            flights: BTreeMap::new(),
            serial: 0,
            rng: Pcg32::seed_from_u64(seed),
            accepted_orders: 0,
        }))
    }

    /// The time there.
    pub const fn now(&self) -> Time {
        self.now
    }

    /// Lets time pass: writes land in the order of their arrival.
    pub fn advance(&mut self, now: Time) {
        while let Some(entry) = self.flights.first_entry() {
            let (due, _) = *entry.key();
            if due > now {
                break;
            }
            let flight = entry.remove();
            self.now = self.now.max(due);
            self.land(flight);
        }
        self.now = self.now.max(now);
    }

    fn land(&mut self, flight: Flight) {
        if self.clients.get(flight.client).is_none_or(|c| c.faults.cut) {
            if flight.answered.is_some() {
                self.answer(flight.client, flight.id, self.now.after(TIMEOUT), Answer::Unknown);
            }
            return;
        }
        let is_order = matches!(flight.write, Write::Order { .. });
        let answer = self.apply(flight.write);
        if is_order && matches!(answer, Answer::Accepted(_)) {
            self.accepted_orders += 1;
        }
        if let Some(due) = flight.answered {
            self.answer(flight.client, flight.id, due, answer);
        }
    }

    fn answer(&mut self, client: usize, id: WriteId, due: Time, answer: Answer) {
        self.serial += 1;
        if let Some(client) = self.clients.get_mut(client) {
            client.answers.insert((due, self.serial), Seen::Answer(id, answer));
        }
    }

    pub(super) fn connect(&mut self, name: &str, filter: Filter) -> usize {
        let client = self.clients.len();
        self.clients.push(Client {
            name: name.into(),
            connected: true,
            filter,
            faults: ClientFaults::default(),
            shown: VecDeque::new(),
            answers: BTreeMap::new(),
            writes: 0,
            under_way: 0,
        });
        self.list(client);
        client
    }

    pub(super) fn disconnect(&mut self, client: usize) {
        if let Some(client) = self.clients.get_mut(client) {
            client.connected = false;
            client.shown.clear();
            client.answers.clear();
        }
    }

    /// Sets one client's troubles. A client that was cut off, or whose watch was frozen, is shown everything anew.
    pub fn set_faults(&mut self, client: usize, faults: ClientFaults) {
        let Some(state) = self.clients.get_mut(client) else { return };
        let blind = state.faults.cut || state.faults.watch_frozen;
        state.faults = faults;
        if blind && !faults.cut && !faults.watch_frozen {
            self.break_watches(client);
        }
    }

    /// One client's troubles.
    pub fn faults(&self, client: usize) -> ClientFaults {
        self.clients.get(client).map(|c| c.faults).unwrap_or_default()
    }

    /// The numbers and names of the clients that are connected.
    pub fn clients(&self) -> impl Iterator<Item = (usize, &str)> {
        self.clients.iter().enumerate().filter(|(_, c)| c.connected).map(|(i, c)| (i, c.name.as_str()))
    }

    /// Breaks a client's watches with what they had not shown yet, and lists everything again: a gap.
    pub fn break_watches(&mut self, client: usize) {
        let now = self.now;
        if let Some(state) = self.clients.get_mut(client) {
            state.shown.clear();
            state.shown.extend(state.filter.kinds().iter().map(|kind| (now, Seen::Broken(*kind))));
        }
        self.list(client);
    }

    fn list(&mut self, client: usize) {
        let Some(state) = self.clients.get_mut(client) else { return };
        if state.faults.cut {
            return;
        }
        let due = self.now.after(state.faults.watch.draw(&mut self.rng));
        let due = state.shown.back().map_or(due, |(last, _)| due.max(*last));
        for kind in state.filter.kinds() {
            let all = self.objects.iter().filter(|(key, _)| key.kind == *kind && state.filter.passes(key));
            state.shown.extend(all.map(|(_, object)| (due, Seen::Object(object.clone()))));
            state.shown.push_back((due, Seen::Listed(*kind)));
        }
    }

    pub(super) fn poll(&mut self, client: usize) -> Vec<Seen> {
        let now = self.now;
        let Some(state) = self.clients.get_mut(client) else { return Vec::new() };
        let mut seen = Vec::new();
        while !state.faults.cut && state.shown.front().is_some_and(|(due, _)| *due <= now) {
            seen.extend(state.shown.pop_front().map(|(_, one)| one));
        }
        while let Some(entry) = state.answers.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let one = entry.remove();
            state.under_way = state.under_way.saturating_sub(1);
            seen.push(match one {
                Seen::Answer(id, _) if state.faults.cut => Seen::Answer(id, Answer::Unknown),
                // The watch may have shown it gone already: an answer must not bring it back.
                Seen::Answer(id, Answer::Accepted(Some(object)))
                    if self.objects.get(&object.key()).is_none_or(|stands| stands.uid() != object.uid()) =>
                {
                    Seen::Answer(id, Answer::Accepted(None))
                }
                one => one,
            });
        }
        seen
    }

    pub(super) fn submit(&mut self, client: usize, write: Write) -> WriteId {
        let now = self.now;
        let Some(state) = self.clients.get_mut(client) else { return WriteId(0) };
        state.writes += 1;
        state.under_way += 1;
        let id = WriteId(state.writes);
        if state.under_way > UNDER_WAY_MAX {
            self.answer(client, id, now, Answer::Refused(Refusal::Busy));
            return id;
        }
        let faults = state.faults;
        let rng = &mut self.rng;
        let lands = now.after(faults.write.draw(rng));
        let answered = lands.after(faults.answer.draw(rng));
        let gives_up = now.after(TIMEOUT);
        let late = strikes(faults.late, rng);
        let lands =
            if late { gives_up.after(super::Delay { least: Span::ZERO, most: LATE_AT_MOST }.draw(rng)) } else { lands };
        if strikes(faults.refused, rng) {
            self.answer(client, id, answered, Answer::Refused(Refusal::Forbidden("a policy refused it".into())));
            return id;
        }
        let heard = !late && !strikes(faults.answer_lost, rng) && !faults.cut && answered <= gives_up;
        let lost = strikes(faults.lost, rng) || faults.cut;
        let repeated = strikes(faults.repeated, rng);
        if lost || !heard {
            self.answer(client, id, gives_up, Answer::Unknown);
        }
        if !lost {
            let again = repeated.then(|| write.clone());
            self.fly(lands, Flight { client, id, write, answered: heard.then_some(answered) });
            if let Some(write) = again {
                self.fly(answered, Flight { client, id, write, answered: None });
            }
        }
        id
    }

    fn fly(&mut self, due: Time, flight: Flight) {
        if due <= self.now && self.flights.is_empty() {
            self.land(flight);
            return;
        }
        self.serial += 1;
        self.flights.insert((due, self.serial), flight);
    }

    /// Shows a change to every client that watches it.
    pub(super) fn show(&mut self, key: &Key, object: Option<&Object>) {
        for state in &mut self.clients {
            if !state.connected || !state.filter.passes(key) || state.faults.cut || state.faults.watch_frozen {
                continue;
            }
            let due = self.now.after(state.faults.watch.draw(&mut self.rng));
            let due = state.shown.back().map_or(due, |(last, _)| due.max(*last));
            let seen = object.map_or_else(|| Seen::Gone(key.clone()), |o| Seen::Object(o.clone()));
            state.shown.push_back((due, seen));
        }
    }

    /// Everything, as it would be written to disk.
    pub fn backup(&self) -> Backup {
        Backup(self.objects.clone())
    }

    /// Puts an old state back, with revisions bumped as the runbook says; every watch breaks.
    pub fn restore(&mut self, backup: &Backup) {
        self.flights.clear();
        self.objects = backup.0.clone();
        let keys: Vec<Key> = self.objects.keys().cloned().collect();
        for key in keys {
            let revision = self.next_revision();
            if let Some(object) = self.objects.get_mut(&key) {
                object.set_revision(&revision);
            }
        }
        for client in 0..self.clients.len() {
            self.break_watches(client);
        }
    }

    pub(super) fn next_revision(&mut self) -> String {
        self.revision += 1;
        self.revision.to_string()
    }

    /// The object as it stands.
    pub fn get(&self, key: &Key) -> Option<&Object> {
        self.objects.get(key)
    }

    /// Every object of one kind.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Object> {
        self.entries_of(kind).map(|(_, object)| object)
    }

    /// Every object of one kind, with its key.
    pub fn entries_of(&self, kind: Kind) -> impl Iterator<Item = (&Key, &Object)> {
        let from = Key { kind, namespace: None, name: "".into() };
        self.objects.range(from..).take_while(move |(key, _)| key.kind == kind)
    }

    /// Takes the Events that were written since the last call.
    pub fn take_recorded(&mut self) -> Vec<Recorded> {
        std::mem::take(&mut self.recorded)
    }

    /// Orders accepted so far.
    pub const fn accepted_orders(&self) -> u64 {
        self.accepted_orders
    }
}
