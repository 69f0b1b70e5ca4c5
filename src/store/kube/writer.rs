//! The queue of writes: bounded, in order for each object, many objects at once, orders before reports.

use super::send::Sender;
use crate::store::{Answer, Key, Kind, LEADERSHIP_NAME, Refusal, Write, WriteId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

/// Requests under way at once. HTTP/1.1: one connection each. At 3 ms of API server a write, 32 keep ten of its cores
/// busy; more would only wait there instead of here.
const AT_ONCE: usize = 32;
/// Of those, what nobody's safety waits for: an API server that is slow, because a tenant floods it or for any other
/// reason, holds so many reports at most, and an order or a renewal of the leadership finds a way free at once.
const REST_AT_ONCE: usize = 8;
/// What has less time left than this, as is seen at every sweep, is not sent: given up a moment later it would be work for the API server all the
/// same, and nobody would know whether it landed. A write takes some 3 ms there, 0.2 s when it is overloaded.
const LEAST: Duration = Duration::from_secs(1);
/// How often the queue is searched for writes whose time is over.
const SWEEP_EVERY: Duration = Duration::from_millis(250);

/// A write on its way.
pub(super) struct Flight {
    pub(super) id: WriteId,
    pub(super) write: Write,
    /// The UID of what an Event is about, where it is known.
    pub(super) about: Option<String>,
    /// Until then it must be answered.
    pub(super) due: Instant,
}

/// What was answered.
pub(super) struct Answered {
    pub(super) id: WriteId,
    pub(super) answer: Answer,
    /// How long the request took; none where none was sent.
    pub(super) took: Option<Duration>,
}

/// Writes go one after the other within a slot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    Object(Key),
    /// Beside all others: an Event never delays an order on what it is about.
    Alone(WriteId),
}

fn slot(id: WriteId, write: &Write) -> Slot {
    target(write).map_or(Slot::Alone(id), Slot::Object)
}

/// The object that a write is on; none for Events.
pub(super) fn target(write: &Write) -> Option<Key> {
    match write {
        Write::CreateLoad(load) => Some(super::facts::key(Kind::ControllableLoad, &load.metadata)),
        Write::CreateAgent { load, pod } => {
            let name = pod.pointer("/metadata/name").and_then(|name| name.as_str()).unwrap_or_default();
            Some(Key { kind: Kind::Pod, namespace: load.namespace.clone(), name: name.into() })
        }
        Write::Order { load, .. } | Write::State { load, .. } => Some(load.clone()),
        Write::Status { key, .. } | Write::Finalizer { key, .. } | Write::Delete(key) => Some(key.clone()),
        Write::Lead { .. } => Some(Key::cluster(Kind::Leadership, LEADERSHIP_NAME)),
        Write::Job { job, .. } => Some(job.clone()),
        Write::NotePod { pod, .. } | Write::DeletePod { pod, .. } => Some(pod.clone()),
        Write::Cordon { node, .. } => Some(node.clone()),
        Write::Event { .. } => None,
    }
}

/// What safety and notices wait for goes first: orders and statements, the leadership, the Jobs and pods that a shed
/// stops, and what tells a pod of its deadline.
pub(super) const fn is_urgent(write: &Write) -> bool {
    matches!(
        write,
        Write::Order { .. }
            | Write::State { .. }
            | Write::Lead { .. }
            | Write::Job { .. }
            | Write::NotePod { .. }
            | Write::DeletePod { .. }
    )
}

/// Writes that wait.
#[derive(Default)]
struct Lanes {
    waiting: BTreeMap<Slot, VecDeque<Flight>>,
    busy: BTreeSet<Slot>,
    /// Of those, what nobody's safety waits for.
    resting: BTreeSet<Slot>,
    /// Slots by when they are due to be looked at; one that is busy or empty by then is passed over.
    urgent: VecDeque<Slot>,
    rest: VecDeque<Slot>,
}

impl Lanes {
    fn put(&mut self, flight: Flight) {
        let slot = slot(flight.id, &flight.write);
        let (urgent, leads) = (is_urgent(&flight.write), matches!(flight.write, Write::Lead { .. }));
        self.waiting.entry(slot.clone()).or_default().push_back(flight);
        if !self.busy.contains(&slot) {
            match (leads, urgent) {
                // Behind ten thousand orders it would come too late for the last of them.
                (true, _) => self.urgent.push_front(slot),
                (_, true) => self.urgent.push_back(slot),
                (_, false) => self.rest.push_back(slot),
            }
        }
    }

    fn next(&mut self) -> Option<(Slot, Flight)> {
        loop {
            let urgent = self.urgent.pop_front();
            let rests = urgent.is_none();
            let may_rest = self.resting.len() < REST_AT_ONCE;
            let slot = urgent.or_else(|| if may_rest { self.rest.pop_front() } else { None })?;
            if self.busy.contains(&slot) {
                continue;
            }
            let Some(flight) = self.waiting.get_mut(&slot).and_then(VecDeque::pop_front) else { continue };
            self.busy.insert(slot.clone());
            if rests {
                self.resting.insert(slot.clone());
            }
            return Some((slot, flight));
        }
    }

    fn done(&mut self, slot: Slot) {
        self.busy.remove(&slot);
        self.resting.remove(&slot);
        match self.waiting.get(&slot) {
            Some(queue) if !queue.is_empty() => {
                let urgent = queue.iter().any(|flight| is_urgent(&flight.write));
                if urgent { self.urgent.push_back(slot) } else { self.rest.push_back(slot) }
            }
            _ => drop(self.waiting.remove(&slot)),
        }
    }

    /// Takes out what has too little time left to be sent.
    fn expired(&mut self, now: Instant) -> Vec<WriteId> {
        let mut expired = Vec::new();
        for queue in self.waiting.values_mut() {
            queue.retain(|flight| {
                let over = flight.due <= now + LEAST;
                if over {
                    expired.push(flight.id);
                }
                !over
            });
        }
        self.waiting.retain(|slot, queue| !queue.is_empty() || self.busy.contains(slot));
        expired
    }
}

/// Sends what comes until nobody hands over any more, and then what was handed over.
pub(super) async fn run(
    sender: Arc<Sender>,
    mut queue: mpsc::Receiver<Flight>,
    answers: mpsc::Sender<Answered>,
    wake: Arc<Notify>,
) {
    let mut lanes = Lanes::default();
    let mut flying: JoinSet<(Slot, Answered)> = JoinSet::new();
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut open = true;
    while open || !flying.is_empty() || !lanes.waiting.is_empty() {
        while flying.len() < AT_ONCE {
            let Some((slot, flight)) = lanes.next() else { break };
            flying.spawn(fly(sender.clone(), slot, flight));
        }
        let mut done = Vec::new();
        tokio::select! {
            flight = queue.recv(), if open => match flight {
                Some(flight) => lanes.put(flight),
                None => open = false,
            },
            Some(landed) = flying.join_next() => {
                if let Ok((slot, answered)) = landed {
                    lanes.done(slot);
                    done.push(answered);
                }
            }
            now = sweep.tick() => {
                let refused = Answer::Refused(Refusal::Busy);
                let late = lanes.expired(now);
                done.extend(late.into_iter().map(|id| Answered { id, answer: refused.clone(), took: None }));
            }
        }
        for answered in done {
            // As many fit as writes are let in: this never waits.
            if answers.send(answered).await.is_err() {
                return;
            }
            wake.notify_one();
        }
    }
}

async fn fly(sender: Arc<Sender>, slot: Slot, flight: Flight) -> (Slot, Answered) {
    let sent = Instant::now();
    let answer =
        tokio::time::timeout_at(flight.due, sender.send(flight.write, flight.about)).await.unwrap_or(Answer::Unknown);
    (slot, Answered { id: flight.id, answer, took: Some(sent.elapsed()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ampacity_core::guard::Order;

    fn order(name: &str) -> Write {
        let load = Key::namespaced(Kind::ControllableLoad, "n", name);
        Write::Order { load, order: Order::default(), setpoint: None, fallback: None, schedule: None }
    }

    fn event(name: &str) -> Write {
        let regarding = Key::namespaced(Kind::ControllableLoad, "n", name);
        Write::Event { regarding, warning: false, reason: "A", action: "B", note: String::new() }
    }

    fn finalizer(name: &str) -> Write {
        Write::Finalizer { key: Key::namespaced(Kind::ControllableLoad, "n", name), present: true }
    }

    fn lanes(writes: Vec<Write>, due: Instant) -> Lanes {
        let mut lanes = Lanes::default();
        for (at, write) in writes.into_iter().enumerate() {
            lanes.put(Flight { id: WriteId(at as u64), write, about: None, due });
        }
        lanes
    }

    fn drain(lanes: &mut Lanes) -> Vec<(u64, Slot)> {
        std::iter::from_fn(|| lanes.next().map(|(slot, flight)| (flight.id.0, slot))).collect()
    }

    fn ids(taken: &[(u64, Slot)]) -> Vec<u64> {
        taken.iter().map(|(id, _)| *id).collect()
    }

    #[test]
    fn orders_go_before_reports_and_one_object_has_one_write_under_way() {
        let writes = vec![event("a"), order("a"), order("a"), order("b"), event("b")];
        let mut lanes = lanes(writes, Instant::now());
        let first = drain(&mut lanes);
        assert_eq!(ids(&first), [1, 3, 0, 4]);
        for (_, slot) in first {
            lanes.done(slot);
        }
        assert_eq!(ids(&drain(&mut lanes)), [2]);
    }

    fn lead() -> Write {
        let facts = crate::store::LeadershipFacts::default();
        Write::Lead { facts, revision: None }
    }

    #[test]
    fn reports_that_are_slow_keep_no_order_waiting() {
        let reports = || (0..100).map(|at| finalizer(&format!("report-{at}")));
        let mut lanes = lanes(reports().collect(), Instant::now());
        let first = drain(&mut lanes);
        assert_eq!(ids(&first), (0..REST_AT_ONCE as u64).collect::<Vec<_>>());
        let due = Instant::now();
        lanes.put(Flight { id: WriteId(200), write: order("a"), about: None, due });
        assert_eq!(ids(&drain(&mut lanes)), [200]);
        for (_, slot) in first {
            lanes.done(slot);
        }
        let next: Vec<u64> = (0..REST_AT_ONCE as u64).map(|at| at + REST_AT_ONCE as u64).collect();
        assert_eq!(ids(&drain(&mut lanes)), next, "none is lost");
    }

    #[test]
    fn a_pod_hears_of_its_notice_before_the_reports_that_wait() {
        let pod = Key::namespaced(Kind::Pod, "n", "trainer");
        let note = Write::NotePod { pod, uid: "u".into(), annotations: BTreeMap::new() };
        let mut lanes = lanes(vec![finalizer("a"), note, order("b")], Instant::now());
        assert_eq!(ids(&drain(&mut lanes)), [1, 2, 0]);
    }

    #[test]
    fn the_leadership_is_renewed_before_the_orders_that_wait() {
        let mut lanes = lanes(vec![order("a"), order("b"), lead(), finalizer("c")], Instant::now());
        assert_eq!(ids(&drain(&mut lanes)), [2, 0, 1, 3]);
    }

    #[test]
    fn an_order_never_overtakes_an_earlier_write_on_its_own_object() {
        let mut lanes = lanes(vec![finalizer("a"), finalizer("b"), order("b")], Instant::now());
        let first = drain(&mut lanes);
        assert_eq!(ids(&first), [1, 0]);
        for (_, slot) in first {
            lanes.done(slot);
        }
        assert_eq!(ids(&drain(&mut lanes)), [2]);
    }

    #[test]
    fn what_has_too_little_time_left_for_an_answer_is_not_sent_either() {
        let now = Instant::now();
        let left = |writes, milliseconds| lanes(writes, now + Duration::from_millis(milliseconds)).expired(now);
        assert_eq!(left(vec![order("a"), order("b")], 1_000), [WriteId(0), WriteId(1)]);
        assert_eq!(left(vec![order("a")], 1_001), []);
    }

    #[test]
    fn what_waited_past_its_time_is_never_sent() {
        let now = Instant::now();
        let mut lanes = lanes(vec![order("a"), order("a"), order("b")], now);
        let (slot, first) = lanes.next().unwrap();
        assert_eq!(first.id, WriteId(0));
        assert_eq!(lanes.expired(now), [WriteId(1), WriteId(2)]);
        lanes.done(slot);
        assert_eq!(drain(&mut lanes), []);
        assert!(lanes.waiting.is_empty());
    }
}
