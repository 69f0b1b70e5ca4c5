//! Every agent of a site in one process: the real `Agent` with simulated devices and a TLS link of its own each. One
//! client of the API server watches for all of them and some twenty write for them, so that what is measured is the
//! operator's work and the API server's, not a thousand processes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ampacity::agent::setting::Made;
use ampacity::agent::{Agent, Options, Ports};
use ampacity::link::grpc::client::{GrpcDownlink, LinkOptions};
use ampacity::link::{Downlink, Report, Shout};
use ampacity::operator::run::SystemClock;
use ampacity::sim::hardware::Hardware;
use ampacity::store::kube::KubeStore;
use ampacity::store::{Filter, Key, Kind, Object, Seen, Store, Write, WriteId};
use ampacity_core::guard::HolderId;
use ampacity_core::guard::proof::Policy;
use ampacity_core::tree::Tree;
use ampacity_core::units::{Span, Watts};
use anyhow::{Context, Result};
use kube::Client;
use tokio::sync::{Notify, mpsc};
use tokio::time::MissedTickBehavior;

/// Each agent turns once a second; a tenth of them at a time.
const TURN: Duration = Duration::from_millis(100);
const TURNS: usize = 10;
/// So many agents write through one client: it has 32 requests under way at most, and each agent one or two.
const TO_A_CLIENT: usize = 64;

/// What one agent is made of.
pub(crate) struct Recruit {
    pub(crate) load: String,
    pub(crate) pod: String,
    pub(crate) made: Made,
    /// File with its token.
    pub(crate) token: PathBuf,
}

/// What the crowd has seen and heard.
#[derive(Default)]
pub(crate) struct Told {
    /// Each load's order as the API server last showed it: setpoint in W, epoch, and when it came to be so.
    pub(crate) orders: BTreeMap<String, (i64, u64, Instant)>,
    /// Each load's order when last shown, and how many orders were shown so far.
    numbers: BTreeMap<String, (i64, i64)>,
    pub(crate) accepted: u64,
    /// Loads whose status states a ceiling.
    pub(crate) stated: BTreeSet<String>,
    /// When a shed was first heard over the link, since this was last emptied.
    pub(crate) heard: BTreeMap<String, Instant>,
    /// How many links are up.
    pub(crate) linked: usize,
    /// Jobs of leases that are suspended, and since when.
    pub(crate) suspended: BTreeMap<String, Instant>,
    /// Jobs of leases that are not.
    pub(crate) started: BTreeSet<String>,
    /// Pods of leases that run.
    pub(crate) running: BTreeSet<String>,
    /// All pods of leases, and when the last one went.
    pub(crate) pods: BTreeSet<String>,
    pub(crate) last_gone: Option<Instant>,
}

/// The agents at work.
pub(crate) struct Crowd {
    told: Arc<Mutex<Told>>,
}

impl Crowd {
    /// Starts them all. `folder` holds the certificate that they share. What is only looked at is looked at by `eyes`.
    ///
    /// # Errors
    /// Devices cannot be made.
    pub(crate) fn start(
        (eyes, agents): (Client, Client),
        namespace: &str,
        tree: &Tree,
        folder: &Path,
        all: Vec<Recruit>,
    ) -> Result<Self> {
        let told = Arc::new(Mutex::new(Told::default()));
        let (wakes, woken) = mpsc::unbounded_channel();
        let mut members = Vec::with_capacity(all.len());
        for (at, recruit) in all.into_iter().enumerate() {
            members.push(Member::new(at, recruit, namespace, tree, folder, &wakes)?);
        }
        // What a hand watches is one load, and not looked at.
        let hands = members.chunks(TO_A_CLIENT).filter_map(|some| {
            let load = Key::namespaced(Kind::ControllableLoad, namespace, &some.first()?.load);
            Some(KubeStore::connect(agents.clone(), namespace, Filter::Load(load)))
        });
        let hands = hands.collect();
        let eyes = KubeStore::connect(eyes, namespace, Filter::All);
        tokio::spawn(run(members, (eyes, hands), woken, told.clone()));
        Ok(Self { told })
    }

    /// What is known now.
    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A write by its client and its number there, and whose it is.
type Answers = BTreeMap<(usize, WriteId), (usize, WriteId)>;

/// An agent's end of the store that many share.
#[derive(Default)]
struct Desk {
    seen: Vec<Seen>,
    writes: Vec<(WriteId, Write)>,
    next: u64,
}

impl Store for Desk {
    fn poll(&mut self) -> Vec<Seen> {
        std::mem::take(&mut self.seen)
    }

    fn submit(&mut self, write: Write) -> WriteId {
        self.next += 1;
        self.writes.push((WriteId(self.next), write));
        WriteId(self.next)
    }
}

/// An agent's end of its link, and whether it was told to shed.
struct Ear {
    link: GrpcDownlink,
    shed: bool,
}

impl Downlink for Ear {
    fn poll(&mut self) -> Vec<Shout> {
        let shouts = self.link.poll();
        self.shed |= shouts.iter().any(|shout| matches!(shout, Shout::Shed { .. }));
        shouts
    }

    fn report(&mut self, report: Report) {
        self.link.report(report);
    }

    fn is_up(&self) -> bool {
        self.link.is_up()
    }

    fn aim(&mut self, address: &str) {
        self.link.aim(address);
    }
}

struct Member {
    load: String,
    agent: Agent,
    devices: Hardware,
    desk: Desk,
    ear: Ear,
    woken: Option<Instant>,
}

impl Member {
    fn new(
        at: usize,
        recruit: Recruit,
        namespace: &str,
        tree: &Tree,
        folder: &Path,
        wakes: &mpsc::UnboundedSender<(usize, Instant)>,
    ) -> Result<Self> {
        let (now, load) = (SystemClock::default().now(), recruit.load);
        let devices = Hardware::new(&format!("{namespace}/{load}"), recruit.made, tree, None, now)?;
        let holder = HolderId(at as u64 + 1);
        let options = Options {
            load: Key::namespaced(Kind::ControllableLoad, namespace, &load),
            pod: recruit.pod,
            holder,
            hold: Span::seconds(300),
            down_per_minute: Watts::new(1_000),
            policy: Policy::default(),
        };
        let agent = Agent::new(options, &devices, now).with_context(|| load.clone())?;
        let wake = Arc::new(Notify::new());
        let server_name = format!("ampacity-operator.{namespace}.svc");
        let (folder, token, address) = (folder.to_owned(), recruit.token, String::new());
        let options = LinkOptions { load: load.as_str().into(), holder, server_name, folder, token, address };
        let link = GrpcDownlink::dial(options, wake.clone());
        let wakes = wakes.clone();
        tokio::spawn(async move {
            loop {
                wake.notified().await;
                if wakes.send((at, Instant::now())).is_err() {
                    return;
                }
            }
        });
        let ear = Ear { link, shed: false };
        Ok(Self { load, agent, devices, desk: Desk::default(), ear, woken: None })
    }
}

async fn run(
    mut members: Vec<Member>,
    (mut eyes, mut hands): (KubeStore, Vec<KubeStore>),
    mut wakes: mpsc::UnboundedReceiver<(usize, Instant)>,
    told: Arc<Mutex<Told>>,
) {
    let by_load: BTreeMap<String, usize> = members.iter().enumerate().map(|(at, m)| (m.load.clone(), at)).collect();
    let mut clock = SystemClock::default();
    let mut answers = Answers::new();
    let mut tick = tokio::time::interval(TURN);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut turn = 0;
    loop {
        let mut due = BTreeSet::new();
        tokio::select! {
            _ = tick.tick() => {
                turn = (turn + 1) % TURNS;
                due.extend((turn..members.len()).step_by(TURNS));
            }
            () = eyes.notified() => {}
            Some((at, when)) = wakes.recv() => woken(&mut members, at, when, &mut due),
        }
        while let Ok((at, when)) = wakes.try_recv() {
            woken(&mut members, at, when, &mut due);
        }
        for seen in eyes.poll() {
            deliver(seen, &mut members, &by_load, &told, &mut due);
        }
        for (hand, store) in hands.iter_mut().enumerate() {
            for seen in store.poll() {
                let Seen::Answer(id, answer) = seen else { continue };
                let Some((at, local)) = answers.remove(&(hand, id)) else { continue };
                let Some(member) = members.get_mut(at) else { continue };
                member.desk.seen.push(Seen::Answer(local, answer));
                due.insert(at);
            }
        }
        let now = clock.now();
        for at in due {
            let Some(member) = members.get_mut(at) else { continue };
            let Member { agent, devices, desk, ear, woken, .. } = member;
            let woken = woken.take();
            agent.step(&mut Ports { store: desk, link: ear, devices }, now);
            if std::mem::take(&mut ear.shed) {
                // It may be polled before its wake is: then it was heard now.
                let when = woken.unwrap_or_else(Instant::now);
                told_of(&told, |told| _ = told.heard.entry(member.load.clone()).or_insert(when));
            }
            for (local, write) in member.desk.writes.drain(..) {
                let hand = at / TO_A_CLIENT;
                let Some(store) = hands.get_mut(hand) else { continue };
                answers.insert((hand, store.submit(write)), (at, local));
            }
        }
        let linked = members.iter().filter(|member| member.ear.is_up()).count();
        told.lock().unwrap_or_else(PoisonError::into_inner).linked = linked;
    }
}

fn woken(members: &mut [Member], at: usize, when: Instant, due: &mut BTreeSet<usize>) {
    if let Some(member) = members.get_mut(at) {
        member.woken = Some(when);
        due.insert(at);
    }
}

fn told_of(told: &Mutex<Told>, tell: impl FnOnce(&mut Told)) {
    tell(&mut told.lock().unwrap_or_else(PoisonError::into_inner));
}

impl Told {
    fn job(&mut self, name: &str, is_suspended: bool) {
        if is_suspended {
            self.started.remove(name);
            self.suspended.entry(name.to_owned()).or_insert_with(Instant::now);
        } else {
            self.suspended.remove(name);
            self.started.insert(name.to_owned());
        }
    }

    fn pod(&mut self, name: &str, is_running: Option<bool>) {
        match is_running {
            Some(is_running) => {
                self.pods.insert(name.to_owned());
                if is_running {
                    self.running.insert(name.to_owned())
                } else {
                    self.running.remove(name)
                };
            }
            None => {
                self.running.remove(name);
                if self.pods.remove(name) {
                    self.last_gone = Some(Instant::now());
                }
            }
        }
    }
}

/// Hands what was seen to whom it concerns.
fn deliver(
    seen: Seen,
    members: &mut [Member],
    by_load: &BTreeMap<String, usize>,
    told: &Mutex<Told>,
    due: &mut BTreeSet<usize>,
) {
    let of = |key: &Key| by_load.get(&*key.name).copied().filter(|_| key.kind == Kind::ControllableLoad);
    let (at, seen) = match seen {
        Seen::Object(Object::Leadership(facts)) => {
            for member in members.iter_mut() {
                member.desk.seen.push(Seen::Object(Object::Leadership(facts.clone())));
            }
            return;
        }
        Seen::Object(Object::ControllableLoad(load)) => {
            let name = load.metadata.name.clone().unwrap_or_default();
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            let number = (load.spec.order.epoch, load.spec.order.sequence);
            let before = told.numbers.insert(name.clone(), number);
            told.accepted += u64::from(before != Some(number));
            let order = (load.spec.setpoint_watts.0, u64::try_from(load.spec.order.epoch).unwrap_or(0));
            if told.orders.get(&name).is_none_or(|(watts, epoch, _)| (*watts, *epoch) != order) {
                told.orders.insert(name.clone(), (order.0, order.1, Instant::now()));
            }
            if load.status.as_ref().is_some_and(|status| status.ceiling_watts.is_some()) {
                told.stated.insert(name.clone());
            } else {
                told.stated.remove(&name);
            }
            (by_load.get(&name).copied(), Seen::Object(Object::ControllableLoad(load)))
        }
        Seen::Object(Object::Job(job)) => return told_of(told, |told| told.job(&job.name, job.suspended)),
        Seen::Object(Object::Pod(pod)) if pod.job.is_some() => {
            return told_of(told, |told| told.pod(&pod.name, Some(pod.running)));
        }
        Seen::Gone(key) if key.kind == Kind::Pod => return told_of(told, |told| told.pod(&key.name, None)),
        Seen::Gone(key) => (of(&key), Seen::Gone(key)),
        _ => return,
    };
    if let Some((at, member)) = at.and_then(|at| Some((at, members.get_mut(at)?))) {
        member.desk.seen.push(seen);
        due.insert(at);
    }
}
