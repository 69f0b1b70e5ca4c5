//! What is scripted happens here, and what goes wrong by chance.

use super::{Submission, Undo, World};
use crate::api::grid_event::{EventTarget, EventType, GridEventSpec};
use crate::api::manifest::Object as Manifest;
use crate::api::quantity::WattsQuantity;
use crate::api::{GridEvent, LoadKind};
use crate::sim::happening::Happening;
use crate::sim::plant::faults::Fault;
use crate::sim::spec::Mishaps;
use crate::store::memory::{ClientFaults, Delay};
use crate::store::{Key, Kind, api_time};
use ampacity_core::units::{Ppm, Span, Time, Watts};
use kube::ResourceExt;
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg32;
use std::sync::PoisonError;

/// In chaos, reserve is sold so often on average.
const OBLIGATIONS_AN_HOUR: i64 = 2;

impl Happening {
    /// The load that it happens to.
    pub(super) fn load(&self) -> Option<&str> {
        match self {
            Self::Wedge { load, .. }
            | Self::Hang { load, .. }
            | Self::Reboot { load }
            | Self::KillAgent { load, .. }
            | Self::CutAgent { load, .. } => Some(load),
            _ => None,
        }
    }
}

impl World {
    /// What is due by the script, what ends, and what chance brings.
    pub(super) fn happen(&mut self) {
        while let Some((_, happening)) = self.script.get(self.next).filter(|(at, _)| *at <= self.now).cloned() {
            self.next += 1;
            self.said.push(happening.said());
            self.befall(happening);
        }
        while let Some(entry) = self.undo.first_entry().filter(|entry| entry.key().0 <= self.now) {
            match entry.remove() {
                Undo::Join { client, peer } => {
                    self.set_cut(client, false);
                    self.exchange.borrow_mut().set_cut(&peer, false);
                }
                Undo::JoinAll => self.clients().into_iter().for_each(|client| self.set_cut(client, false)),
            }
        }
        if self.mishaps != Mishaps::None {
            self.unsettle();
        }
        if self.mishaps == Mishaps::Chaos {
            self.chaos();
        }
    }

    fn befall(&mut self, happening: Happening) {
        let now = self.now;
        match happening {
            Happening::Apply(object) => {
                let applied = self.apply(*object);
                self.tell(applied);
            }
            Happening::Delete { kind, namespace, name } => self.delete(&kind, namespace.as_deref(), &name),
            Happening::Job { namespace, name, lease, gpus, gpu_hours } => {
                let job = Submission { namespace: &namespace, name: &name, lease: &lease, gpus, gpu_hours };
                let submitted = self.ground.submit(&job);
                self.tell(submitted);
            }
            Happening::Wedge { load, lasts } => {
                self.plant_fault(&load, |load| Fault::Wedges { load, device: None, until: now.after(lasts) })
            }
            Happening::Hang { load, lasts } => {
                self.plant_fault(&load, |load| Fault::Hangs { load, device: None, until: now.after(lasts) });
            }
            Happening::Reboot { load } => self.plant_fault(&load, |load| Fault::Reboots { load, device: None }),
            Happening::MeterOut { node, lasts } => {
                if let Some(node) = self.tree.find(&node) {
                    let fault = Fault::MeterOut { node, until: now.after(lasts) };
                    self.plant.lock().unwrap_or_else(PoisonError::into_inner).inject(fault, now);
                }
            }
            Happening::KillAgent { load, back_after } => {
                if let Some(beside) = self.agents.iter_mut().find(|beside| beside.name == load) {
                    beside.running = None;
                    beside.starts_at = now.after(back_after);
                }
            }
            Happening::CutAgent { load, lasts } => self.cut(&format!("agent-{load}"), &load, lasts),
            Happening::KillLeader { back_after } => {
                if let Some(name) = self.leader_name() {
                    self.kill_operator(&name, back_after);
                }
            }
            Happening::FreezeLeader { lasts } => {
                let name = self.leader_name();
                if let Some(replica) = self.replicas.iter_mut().find(|r| Some(&r.name) == name.as_ref()) {
                    replica.frozen_until = now.after(lasts);
                }
            }
            Happening::CutLeader { lasts } => {
                if let Some(name) = self.leader_name() {
                    self.cut(&name.clone(), &name, lasts);
                }
            }
            Happening::ApiDown { lasts } => {
                self.clients().into_iter().for_each(|client| self.set_cut(client, true));
                self.later(now.after(lasts), Undo::JoinAll);
            }
        }
    }

    fn kill_operator(&mut self, name: &str, back_after: Span) {
        let now = self.now;
        if let Some(replica) = self.replicas.iter_mut().find(|replica| replica.name == name) {
            replica.running = None;
            replica.starts_at = now.after(back_after);
        }
    }

    fn leader_name(&self) -> Option<String> {
        let leads = |replica: &&super::Replica| {
            replica.running.as_ref().is_some_and(|(operator, ..)| {
                matches!(operator.standing(self.now), crate::operator::leader::Standing::Leading { .. })
            })
        };
        self.replicas.iter().find(leads).map(|replica| replica.name.clone())
    }

    fn later(&mut self, at: Time, undo: Undo) {
        self.serial += 1;
        self.undo.insert((at, self.serial), undo);
    }

    /// Cuts a client off from the API server and from the link.
    fn cut(&mut self, client: &str, peer: &str, lasts: Span) {
        let Some(server) = self.ground.memory() else { return };
        let number = server.borrow().clients().filter(|(_, name)| *name == client).map(|(n, _)| n).last();
        let Some(number) = number else { return };
        self.set_cut(number, true);
        self.exchange.borrow_mut().set_cut(peer, true);
        self.later(self.now.after(lasts), Undo::Join { client: number, peer: peer.into() });
    }

    fn set_cut(&self, client: usize, cut: bool) {
        let Some(server) = self.ground.memory() else { return };
        let faults = server.borrow().faults(client);
        server.borrow_mut().set_faults(client, ClientFaults { cut, ..faults });
    }

    /// The clients of an API server whose messages can be meddled with.
    fn clients(&self) -> Vec<usize> {
        self.ground
            .memory()
            .map_or_else(Vec::new, |server| server.borrow().clients().map(|(client, _)| client).collect())
    }

    /// Says what went wrong, if anything did.
    fn tell(&mut self, done: Result<(), String>) {
        if let Err(why) = done {
            self.said.push(format!("alarm: {why}"));
        }
    }

    fn plant_fault(&mut self, load: &str, fault: impl FnOnce(usize) -> Fault) {
        let Some(place) = self.agents.iter().find(|beside| beside.name == load).map(|beside| beside.place) else {
            return;
        };
        self.plant.lock().unwrap_or_else(PoisonError::into_inner).inject(fault(place), self.now);
    }

    /// A person applies an object. A Jobs lease that is new gets a Job of all its GPUs.
    pub(super) fn apply(&mut self, object: Manifest) -> Result<(), String> {
        self.note_event(&object);
        let Manifest::ComputeLease(lease) = &object else { return self.ground.apply(object) };
        let (namespace, name) = (lease.namespace().unwrap_or_default(), lease.name_any());
        let known = self.ground.has(&Key::namespaced(Kind::ComputeLease, &namespace, &name));
        let gpus = lease.spec.gpus.and_then(|gpus| u32::try_from(gpus).ok()).filter(|_| !known);
        self.ground.apply(object)?;
        let Some(gpus) = gpus else { return Ok(()) };
        // A day of work for all of them.
        let gpu_hours = gpus.saturating_mul(24);
        let job = format!("{name}-train");
        self.ground.submit(&Submission { namespace: &namespace, name: &job, lease: &name, gpus, gpu_hours })
    }

    fn delete(&mut self, kind: &str, namespace: Option<&str>, name: &str) {
        let Some(kind) = Kind::ALL.into_iter().find(|known| format!("{known:?}") == kind) else { return };
        let key = Key { kind, namespace: namespace.map(Into::into), name: name.into() };
        self.forget_event(&key);
        let deleted = self.ground.delete(&key);
        self.tell(deleted);
    }

    /// Every client's messages take a while and are now and then lost; set anew for clients that have none yet.
    fn unsettle(&mut self) {
        let faults = match self.mishaps {
            Mishaps::None => return,
            Mishaps::Usual => ClientFaults {
                watch: Delay { least: Span::new(20), most: Span::new(400) },
                write: Delay { least: Span::new(5), most: Span::new(200) },
                answer: Delay { least: Span::new(5), most: Span::new(100) },
                lost: Ppm::new(500),
                ..ClientFaults::default()
            },
            Mishaps::Chaos => ClientFaults {
                watch: Delay { least: Span::new(50), most: Span::seconds(3) },
                write: Delay { least: Span::new(10), most: Span::seconds(2) },
                answer: Delay { least: Span::new(10), most: Span::seconds(2) },
                lost: Ppm::percent(2),
                answer_lost: Ppm::percent(2),
                repeated: Ppm::percent(1),
                late: Ppm::percent(1),
                refused: Ppm::new(5_000),
                ..ClientFaults::default()
            },
        };
        if let Some(server) = self.ground.memory() {
            let quiet: Vec<usize> = {
                let server = server.borrow();
                let fresh = |client: &usize| server.faults(*client) == ClientFaults::default();
                server.clients().map(|(client, _)| client).filter(fresh).collect()
            };
            for client in quiet {
                server.borrow_mut().set_faults(client, faults);
            }
        }
        let mut exchange = self.exchange.borrow_mut();
        exchange.lost = faults.lost;
        exchange.delay = faults.write.least;
    }

    /// Whether something that happens `times` an hour on average happens in this tick.
    fn chance(&mut self, times: u32) -> bool {
        self.rng.next_u32() % 3_600 < times
    }

    fn pick(&mut self, below: usize) -> usize {
        self.rng.next_u32() as usize % below.max(1)
    }

    fn seconds(&mut self, least: i64, most: i64) -> Span {
        Span::seconds(least + i64::from(self.rng.next_u32()) % (most - least + 1))
    }

    /// Everything at once, all the time.
    fn chaos(&mut self) {
        let load = self.pick(self.agents.len());
        let Some(name) = self.agents.get(load).map(|beside| beside.name.clone()) else { return };
        let mut befalls = Vec::new();
        if self.chance(2) {
            befalls.push(Happening::KillLeader { back_after: self.seconds(5, 60) });
        }
        if self.chance(1) {
            befalls.push(Happening::FreezeLeader { lasts: self.seconds(5, 40) });
        }
        if self.chance(1) {
            befalls.push(Happening::CutLeader { lasts: self.seconds(5, 60) });
        }
        if self.chance(4) {
            befalls.push(Happening::KillAgent { load: name.clone(), back_after: self.seconds(2, 120) });
        }
        if self.chance(4) {
            befalls.push(Happening::CutAgent { load: name.clone(), lasts: self.seconds(5, 120) });
        }
        if self.chance(2) {
            befalls.push(Happening::Hang { load: name.clone(), lasts: self.seconds(20, 240) });
        }
        if self.chance(1) {
            befalls.push(Happening::Wedge { load: name.clone(), lasts: self.seconds(60, 900) });
        }
        if self.chance(1) {
            befalls.push(Happening::Reboot { load: name });
        }
        if self.chance(1) {
            befalls.push(Happening::ApiDown { lasts: self.seconds(2, 30) });
        }
        if self.chance(6) {
            let clients = self.clients();
            let client = clients.get(self.pick(clients.len())).copied();
            if let (Some(client), Some(server)) = (client, self.ground.memory()) {
                server.borrow_mut().break_watches(client);
            }
        }
        befalls.extend(self.sold());
        for happening in befalls {
            self.said.push(happening.said());
            self.befall(happening);
        }
    }

    /// Now and then reserve is sold: of miners, or of whatever can be shed in time. Its dice are its own, so that a seed's
    /// faults are the same with and without it.
    fn sold(&mut self) -> Option<Happening> {
        let mut dice = Pcg32::seed_from_u64(self.seed ^ 0x0b11 ^ self.now.get().unsigned_abs().rotate_left(20));
        let mut below = |most: u32| i64::from(dice.next_u32() % most);
        if below(3_600) >= OBLIGATIONS_AN_HOUR {
            return None;
        }
        let full = self.judged.as_ref().map_or(Watts::ZERO, |judged| judged.miners_full());
        let minimum = full.part(Ppm::percent(5 + below(40)));
        if minimum <= Watts::ZERO {
            return None;
        }
        let from = self.now.after(Span::seconds(below(1_800)));
        let until = from.after(Span::seconds(600 + below(3_600)));
        let spec = GridEventSpec {
            target: EventTarget {
                budget: self.site.clone(),
                feeder: None,
                kind: (below(2) == 0).then_some(LoadKind::Miner),
            },
            type_: EventType::Obligation,
            limit_watts: None,
            minimum_watts: Some(WattsQuantity::new(minimum.get())),
            owner: "chaos".into(),
            reason: "reserve that was sold".into(),
            priority: 50,
            response_seconds: 120 + below(800),
            start: Some(api_time(from)),
            end: Some(api_time(until)),
        };
        let name = format!("reserve-{}", self.now.get() / 1_000);
        Some(Happening::Apply(Box::new(Manifest::GridEvent(Box::new(GridEvent::new(&name, spec))))))
    }
}
