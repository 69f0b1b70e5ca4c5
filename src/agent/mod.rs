//! The agent of one load: obeys the order at the API server, states what its devices can draw, and never raises one
//! before that was accepted.
//!
//! A thin shell around two pure machines: the guard's `Agent` decides, its `Inventory` knows the devices. It reaches the
//! world through four ports ([`Ports`]) and is the same in a cluster, in the demo and in the simulation.

pub mod again;
mod conditions;
pub mod metrics;
pub mod run;
pub mod setting;

use crate::api::controllable_load::{Devices as DeviceCounts, Holder, PROTOCOL};
use crate::api::{ControllableLoad, ControllableLoadStatus, WholeWatts};
use crate::device::Devices;
use crate::link::{self, Downlink, Report, Shout};
use crate::operator::site::view;
use crate::store::{Answer, Key, Kind, Object, Seen, Store, Write, WriteId, api_order, api_time};
use ampacity_core::guard::agent::{LEADER_LIFE, PROOF_RENEWAL};
use ampacity_core::guard::proof::{Inventory, InventoryError, LoadDevices, Policy, Retention, Standing};
use ampacity_core::guard::{
    Act, Agent as Guard, HolderId, Input, LoadView, Outcome, Precondition, Statement, agent::Config,
};
use ampacity_core::units::{Ppm, Span, Time, Watts};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How the devices' own sensors are taken to be off, where the inventory does not say better.
const SENSOR_ERROR: Ppm = Ppm::percent(5);

/// Without heartbeats the status is written so often at most, whatever the devices declare: once a turn.
const RENEWAL_LEAST: Span = Span::seconds(1);

/// How often the status is to be written where nothing else carries the life of a proof: so that two writes may fail
/// before what was stated lapses.
fn unaided_renewal(devices: &LoadDevices, policy: &Policy) -> Span {
    let volatile = devices.classes.iter().filter(|class| class.retention == Retention::Volatile);
    let life = volatile.map(|class| class.boot_to_full).fold(policy.life, Span::min);
    Span::new(life.get() / 4).clamp(RENEWAL_LEAST, PROOF_RENEWAL)
}

/// An agent's ways to the world.
pub struct Ports<'a> {
    /// The API server.
    pub store: &'a mut dyn Store,
    /// The leading operator.
    pub link: &'a mut dyn Downlink,
    /// The devices.
    pub devices: &'a mut dyn Devices,
}

/// How an agent is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its load.
    pub load: Key,
    /// Its pod's name.
    pub pod: String,
    /// This run of this process: the pod's UID and what tells this run from every other, shortened to 64 bits.
    pub holder: HolderId,
    /// Without a leader: how long to hold before lowering.
    pub hold: Span,
    /// Without a leader: how fast to lower after that, W per minute.
    pub down_per_minute: Watts,
    /// How devices are read and proved.
    pub policy: Policy,
}

/// The agent of one load.
#[derive(Debug)]
pub struct Agent {
    options: Options,
    guard: Guard,
    inventory: Inventory,
    /// While no heartbeats are heard, the status carries the life of a proof, written so often.
    unaided: Span,
    /// The newest command of the guard's: its number, the limit, and until when devices may be raised.
    command: Option<(u64, Watts, Option<Time>)>,
    /// That command asks for everything to be read back anew, and has not been handed on yet.
    afresh: bool,
    /// The newest command that was handed on: what a proof made now may rest on.
    handed: u64,
    writes: BTreeMap<WriteId, u64>,
    /// The load as it was last shown, and what was last said of it: for the conditions of its status alone.
    shown: Option<Arc<ControllableLoad>>,
    said: Vec<Condition>,
    leadership: String,
    /// When a leader was last seen to renew.
    led: Time,
    /// The protocol of a spec that this agent does not speak: such a spec is not obeyed.
    too_new: Option<i32>,
    started: Time,
    reported: Time,
}

impl Agent {
    /// An agent in the dark over the devices that `devices` describes.
    ///
    /// # Errors
    /// The inventory cannot be: names the field.
    pub fn new(options: Options, devices: &dyn Devices, now: Time) -> Result<Self, InventoryError> {
        let described = devices.describe();
        let settle = described.classes.iter().map(|c| c.write_lives + c.settle).max().unwrap_or(Span::ZERO);
        let unaided = unaided_renewal(&described, &options.policy);
        let (holder, hold, down_per_minute) = (options.holder, options.hold, options.down_per_minute);
        let config = Config { holder, settle, hold, down_per_minute, renewal: unaided };
        Ok(Self {
            inventory: Inventory::new(described, options.policy, now)?,
            guard: Guard::new(config, now),
            options,
            unaided,
            command: None,
            afresh: false,
            handed: 0,
            writes: BTreeMap::new(),
            shown: None,
            said: Vec::new(),
            leadership: String::new(),
            led: now,
            too_new: None,
            started: now,
            reported: Time::ZERO,
        })
    }

    /// Takes other terms for the time without a leader over.
    pub const fn follow_loss(&mut self, hold: Span, down_per_minute: Watts) {
        self.guard.follow_loss(hold, down_per_minute);
    }

    /// This run, as the load's status names its holder.
    pub const fn holder(&self) -> HolderId {
        self.options.holder
    }

    /// Whether another agent holds the load: this process should end; it has changed nothing and will not.
    pub fn is_overtaken(&self) -> bool {
        self.guard.is_overtaken()
    }

    /// The protocol that the load's spec speaks, where this agent does not: it holds, and this process should end.
    pub const fn is_outdated(&self) -> Option<i32> {
        self.too_new
    }

    /// Whether the load is missing at the API server: its devices are held where they are.
    pub const fn is_orphaned(&self) -> bool {
        self.guard.is_orphaned()
    }

    /// What the devices were last told to stay under, W.
    pub fn limit(&self) -> Option<Watts> {
        self.guard.limit()
    }

    /// One turn: what was seen, what the devices answered, what to do about it.
    pub fn step(&mut self, ports: &mut Ports<'_>, now: Time) {
        self.guard.renew_every(if ports.link.is_up() { PROOF_RENEWAL } else { self.unaided });
        for seen in ports.store.poll() {
            if let Seen::Object(Object::Leadership(facts)) = &seen
                && !facts.link.is_empty()
            {
                ports.link.aim(&facts.link);
            }
            if let Some(input) = self.input(seen, now) {
                self.feed(input, ports, now);
            }
        }
        for shout in ports.link.poll() {
            let input = match shout {
                Shout::Shed { order, setpoint } => Input::Shed { order, setpoint },
                Shout::Schedule { order, limits } => Input::Schedule { order, limits },
            };
            self.feed(input, ports, now);
        }
        for answer in ports.devices.poll(now) {
            self.inventory.observe(&answer, now);
        }
        if let Some(sample) = ports.devices.meter(now) {
            self.inventory.metered(sample.watts, sample.error, sample.time, now);
        }
        let proof = self.inventory.proof(now);
        self.feed(Input::Devices { command: self.handed, proof }, ports, now);
        self.feed(Input::Tick, ports, now);
        self.drive(ports, now);
        if now.since(self.reported) >= Span::seconds(1) {
            self.reported = now;
            let report = self.report(now);
            ports.link.report(report);
        }
    }

    /// Keeps the devices on their way: what to ask of them now.
    fn drive(&mut self, ports: &mut Ports<'_>, now: Time) {
        let commands = match self.command {
            Some((number, limit, raise_until)) => {
                self.handed = number;
                self.inventory.command(limit, raise_until, std::mem::take(&mut self.afresh), now)
            }
            None => self.inventory.due(now),
        };
        if !commands.is_empty() {
            ports.devices.submit(&commands, now);
        }
    }

    fn input(&mut self, seen: Seen, now: Time) -> Option<Input> {
        match seen {
            Seen::Object(Object::ControllableLoad(load)) if load.spec.protocol > PROTOCOL => {
                self.too_new = Some(load.spec.protocol);
                None
            }
            Seen::Object(Object::ControllableLoad(load)) => Some(Input::Load(Some(self.show(load)))),
            Seen::Object(Object::Leadership(facts)) => {
                // Only a change shows that the leader lives: the first sight may be of a Lease long dead.
                let known = std::mem::replace(&mut self.leadership, facts.revision.clone());
                let renewed = !known.is_empty() && known != facts.revision && !facts.holder.is_empty();
                self.led = if renewed { now } else { self.led };
                renewed.then_some(Input::Leader { epoch: facts.epoch, seen: now })
            }
            Seen::Gone(key) if key.kind == Kind::ControllableLoad => Some(Input::Load(None)),
            Seen::Answer(id, answer) => {
                let write = self.writes.remove(&id)?;
                let outcome = match answer {
                    Answer::Accepted(Some(Object::ControllableLoad(load))) => Outcome::Accepted(self.show(load)),
                    Answer::Refused(_) => Outcome::Refused,
                    Answer::Accepted(_) | Answer::Unknown => Outcome::Unknown,
                };
                Some(Input::Answer { write, outcome })
            }
            _ => None,
        }
    }

    fn feed(&mut self, input: Input, ports: &mut Ports<'_>, now: Time) {
        for act in self.guard.step(input, now) {
            match act {
                Act::Device { command, limit, raise_until, afresh } => {
                    self.afresh |= afresh;
                    self.command = Some((command, limit, raise_until));
                }
                Act::State { write, statement, only_if } => {
                    let status = Box::new(self.status(statement, now));
                    let revision = match only_if {
                        Precondition::Order(_) => None,
                        Precondition::Revision(revision) => Some(revision.to_string()),
                    };
                    let load = self.options.load.clone();
                    let id = ports.store.submit(Write::State { load, status, revision });
                    self.writes.insert(id, write);
                }
            }
        }
    }

    /// A load as the guard counts it. A watch may show an older form after the answer to a write: the newer is kept.
    fn show(&mut self, load: Arc<ControllableLoad>) -> LoadView {
        let view = view(&load);
        let newer = |shown: &Arc<ControllableLoad>| shown.metadata.generation > load.metadata.generation;
        if self.shown.as_ref().is_none_or(|shown| !newer(shown)) {
            self.shown = Some(load);
        }
        view
    }

    /// What is said of the load beside a statement.
    fn say(&mut self, statement: &Statement, now: Time) {
        let Some(load) = self.shown.clone() else { return };
        if self.said.is_empty() {
            self.said = load.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
        }
        let leaderless = (now.since(self.led) > LEADER_LIFE).then(|| self.guard.limit());
        let stands = conditions::Stands { devices: self.counts(now), leaderless };
        conditions::say(&mut self.said, &load, statement, &stands, now);
    }

    fn status(&mut self, statement: Statement, now: Time) -> ControllableLoadStatus {
        self.say(&statement, now);
        let counts = self.counts(now);
        let count = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        ControllableLoadStatus {
            ceiling_watts: statement.ceiling.map(|watts| WholeWatts(watts.get())),
            order: Some(api_order(statement.order)),
            protocol: Some(PROTOCOL),
            holder: Some(Holder {
                uid: format!("{:016x}", statement.holder.0),
                pod: self.options.pod.clone(),
                since: api_time(self.started),
            }),
            boot_id: Some(format!("{:016x}", self.options.holder.0)),
            read_back_time: Some(api_time(now)),
            proof_expires: Some(api_time(statement.proof_expires)),
            measured_watts: Some(WholeWatts(self.inventory.draws_up_to().get())),
            devices: Some(DeviceCounts {
                total: count(counts.total),
                proved: count(counts.proved),
                silent: count(counts.silent),
            }),
            observed_generation: self.shown.as_ref().and_then(|load| load.metadata.generation),
            conditions: self.said.clone(),
        }
    }

    fn counts(&self, now: Time) -> link::Devices {
        let count = |standing| u32::try_from(self.inventory.count(standing, now)).unwrap_or(u32::MAX);
        link::Devices {
            total: u32::try_from(self.inventory.len()).unwrap_or(u32::MAX),
            proved: count(Standing::Proved),
            silent: count(Standing::Silent),
            contradicting: count(Standing::Contradicting) + count(Standing::Stubborn) + count(Standing::Foreign),
            idle: u32::try_from(self.inventory.idle(now)).unwrap_or(u32::MAX),
        }
    }

    /// Where it stands, as it is told over the link and measured.
    pub fn report(&self, now: Time) -> Report {
        let beat = self.guard.heartbeat(now);
        let drawing = self.inventory.draws_up_to();
        // A ceiling stays at what the devices may yet be raised to, also where some do not rise.
        let not_risen = beat.map_or(Watts::ZERO, |beat| beat.ceiling - self.inventory.counts()).at_least_zero();
        let unused = self.inventory.unused() + not_risen;
        Report {
            load: self.options.load.name.clone(),
            holder: self.options.holder,
            order: beat.map_or_else(|| self.guard.order().unwrap_or_default(), |b| b.order),
            ceiling: beat.map(|b| b.ceiling),
            proof_expires: beat.map_or(now, |b| b.proof_expires),
            measured: Some(drawing),
            error: drawing.part(SENSOR_ERROR),
            sampled: now,
            unused,
            devices: self.counts(now),
            // Up to what idle devices hold, the others have it from them.
            wants_more: self.guard.limit().is_some_and(|limit| self.inventory.usable(now) - limit > unused),
            note: String::new(),
        }
    }
}

#[cfg(test)]
mod tests;
