//! Each rule as a sentence, against devices simulated here whose true draw is known; then all rules against chance.

mod chance;
mod choice;
mod faults;
mod idle;
mod rules;

use super::*;
use crate::units::{Ppm, Span};
use std::collections::VecDeque;

/// A miner of 3 kW with a five-step ladder: two distinct samples after 4 s of settling, error 5 %.
pub(in crate::guard) fn miner() -> DeviceClass {
    let steps = [(1000, 50), (1500, 80), (2000, 105), (2500, 125), (2800, 135)];
    DeviceClass {
        power_on_watts: Watts::new(3000),
        limiters: Limiters::Ladder(steps.map(|(w, value)| Step { watts: Watts::new(w), value }).to_vec()),
        sleep: Some(Sleep { watts: Watts::new(20), verified_by: SleepProof::ReadBack }),
        retention: Retention::Persistent,
        boot_to_full: Span::seconds(60),
        settle: Span::seconds(4),
        write_lives: Span::seconds(6),
        limiter_error: Ppm::percent(5),
        sensor_error: Ppm::percent(2),
        always_works: true,
    }
}

/// A GPU of 700 W whose cap is lost with its driver, back at full draw 10 s later.
pub(super) fn gpu() -> DeviceClass {
    DeviceClass {
        power_on_watts: Watts::new(700),
        limiters: Limiters::Range { min: Watts::new(200), max: Watts::new(700), step: Watts::new(10) },
        sleep: None,
        retention: Retention::Volatile,
        boot_to_full: Span::seconds(10),
        settle: Span::seconds(2),
        write_lives: Span::seconds(2),
        limiter_error: Ppm::percent(2),
        sensor_error: Ppm::percent(1),
        always_works: false,
    }
}

pub(in crate::guard) fn policy() -> Policy {
    Policy { samples: 2, read_proving: Span::seconds(1), wakes_per_second: Ppm::percent(100), ..Policy::default() }
}

pub(in crate::guard) fn load(classes: Vec<DeviceClass>, of: &[usize]) -> LoadDevices {
    let devices =
        of.iter().enumerate().map(|(n, class)| DeviceFacts { identity: Identity(100 + n as u64), class: *class });
    LoadDevices { classes, devices: devices.collect(), overhead_watts: Watts::new(500) }
}

pub(in crate::guard) fn at(seconds: i64) -> Time {
    Time::seconds(1_000_000 + seconds)
}

/// A true device: what limits it, what it draws, and how it misbehaves.
#[derive(Clone, Debug)]
pub(in crate::guard) struct Unit {
    pub(in crate::guard) class: DeviceClass,
    pub(in crate::guard) identity: u64,
    pub(in crate::guard) limiter: Limiter,
    /// What it drew before the last change, until the time given.
    falling: (Watts, Time),
    pub(in crate::guard) boot: u64,
    /// After a reboot: dark until then.
    dark_until: Time,
    pub(in crate::guard) frozen: bool,
    pub(in crate::guard) silent: bool,
    pub(in crate::guard) wedged: Option<Watts>,
    pub(in crate::guard) refuses: bool,
    pub(in crate::guard) loses_writes: bool,
    /// How much of its limiter the work on it would draw: 0 is an idle GPU.
    pub(in crate::guard) demand: Watts,
    queue: VecDeque<(u64, Limiter)>,
}

impl Unit {
    pub(in crate::guard) fn new(class: DeviceClass, identity: u64, limiter: Limiter) -> Self {
        let demand = class.power_on_watts;
        Self {
            class,
            identity,
            limiter,
            falling: (Watts::ZERO, at(-100)),
            boot: 1,
            dark_until: at(-100),
            frozen: false,
            silent: false,
            wedged: None,
            refuses: false,
            loses_writes: false,
            demand,
            queue: VecDeque::new(),
        }
    }

    fn held(&self) -> Watts {
        let full = self.class.power_on_watts;
        let held = match self.limiter {
            Limiter::Asleep => self.class.sleep.map_or(full, |sleep| sleep.watts),
            Limiter::Watts(watts) => watts.plus(self.class.limiter_error).min(full),
            Limiter::Unlimited => full,
        };
        held.min(self.demand)
    }

    /// What it truly draws, W.
    pub(in crate::guard) fn draw(&self, now: Time) -> Watts {
        if now < self.dark_until {
            return Watts::ZERO;
        }
        let falling = if now < self.falling.1 { self.falling.0 } else { Watts::ZERO };
        self.wedged.unwrap_or_else(|| self.held().max(falling))
    }

    /// What it says of itself.
    pub(in crate::guard) fn reading(&self, place: usize, now: Time) -> DeviceReading {
        DeviceReading {
            device: place,
            identity: Identity(self.identity),
            boot: Some(self.boot),
            counter: Some(if self.frozen { 7 } else { now.get() as u64 }),
            asked_at: now,
            answered_at: now,
            limiter: Some(self.limiter),
            watts: Some((self.draw(now), Source::Measured)),
            working: Some(self.limiter != Limiter::Asleep),
        }
    }

    /// Slow to fall (as slow as it declares), quick to rise.
    pub(in crate::guard) fn set(&mut self, limiter: Limiter, now: Time) {
        let before = self.draw(now);
        self.limiter = limiter;
        self.falling = (before, now.after(self.class.settle));
    }

    /// Dark at once, back at full draw as soon as it declares; its limiter gone where it is volatile.
    pub(in crate::guard) fn reboot(&mut self, now: Time) {
        self.boot += 1;
        self.wedged = None;
        self.dark_until = now.after(self.class.boot_to_full);
        self.falling = (Watts::ZERO, now);
        if self.class.retention == Retention::Volatile {
            self.limiter =
                if self.class.sleep.is_none() { Limiter::Watts(self.class.power_on_watts) } else { Limiter::Unlimited };
        }
    }
}

/// An inventory and the devices that it stands for.
pub(super) struct Rig {
    pub(super) inventory: Inventory,
    pub(super) units: Vec<Unit>,
    pub(super) now: Time,
    /// What was told, in order.
    pub(super) told: Vec<(usize, Limiter)>,
    raised: bool,
    proofs: Vec<Proof>,
}

impl Rig {
    pub(super) fn new(load: LoadDevices, found: &[Limiter]) -> Self {
        let units = load
            .devices
            .iter()
            .zip(found)
            .map(|(facts, limiter)| Unit::new(load.classes[facts.class].clone(), facts.identity.0, *limiter));
        let units = units.collect();
        let inventory = Inventory::new(load, policy(), at(0)).unwrap();
        Self { inventory, units, now: at(0), told: Vec::new(), raised: false, proofs: Vec::new() }
    }

    pub(super) fn truth(&self) -> Watts {
        self.units.iter().map(|unit| unit.draw(self.now)).sum::<Watts>() + Watts::new(500)
    }

    pub(super) fn reading(&self, place: usize) -> DeviceReading {
        self.units[place].reading(place, self.now)
    }

    pub(super) fn command(&mut self, limit: i64, raise: bool) {
        let until = raise.then_some(at(1_000_000));
        let asked = self.inventory.command(Watts::new(limit), until, false, self.now);
        self.take(asked);
    }

    fn take(&mut self, asked: Vec<DeviceCommand>) {
        for command in asked {
            match command.ask {
                Ask::Read if !self.units[command.device].silent => {
                    let reading = self.reading(command.device);
                    self.inventory.observe(&DeviceAnswer::Read(reading), self.now);
                }
                Ask::Read => {}
                Ask::Set { number, limiter } => {
                    self.told.push((command.device, limiter));
                    let ladder = &self.inventory.classes[self.inventory.devices[command.device].class].ladder;
                    self.raised |= ladder.cost(limiter) > ladder.cost(self.units[command.device].limiter);
                    self.units[command.device].queue.push_back((number, limiter));
                }
            }
        }
    }

    /// One write of a device lands (or not) and is answered.
    fn land(&mut self, place: usize) {
        let now = self.now;
        let unit = &mut self.units[place];
        let Some((number, limiter)) = unit.queue.pop_front() else { return };
        let written = if unit.loses_writes || unit.silent {
            Written::Lost
        } else if unit.refuses {
            Written::Refused(Refusal::Busy)
        } else {
            unit.set(limiter, now);
            Written::Done
        };
        let answer = WriteAnswer { device: place, number, written, answered_at: now };
        self.inventory.observe(&DeviceAnswer::Write(answer), now);
    }

    /// Half a second passes: writes land, what is due is asked, and no proof that was given may be shown wrong.
    pub(super) fn step(&mut self) {
        self.now = self.now.after(Span::new(500));
        (0..self.units.len()).for_each(|place| self.land(place));
        let asked = self.inventory.due(self.now);
        self.take(asked);
        self.check();
    }

    /// Whatever was proved and has not ended must cover the truth, unless something was raised since.
    fn check(&mut self) {
        let (now, truth) = (self.now, self.truth());
        if std::mem::take(&mut self.raised) {
            self.proofs.clear();
        }
        self.proofs.retain(|proof| proof.expires > now);
        let proof = self.inventory.proof(now);
        self.proofs.push(proof);
        let summed: Watts = self.inventory.each().map(|(device, class)| device.counted(class)).sum();
        assert_eq!(proof.ceiling, summed + Watts::new(500), "the running sum is the sum");
        let broken = self.proofs.iter().find(|proof| proof.ceiling < truth);
        assert_eq!(broken, None, "draws {truth:?} at {now:?}; {:#?}", self.units);
    }

    pub(super) fn run(&mut self, seconds: i64) {
        (0..seconds * 2).for_each(|_| self.step());
    }

    pub(super) fn ceiling(&mut self) -> i64 {
        self.inventory.proof(self.now).ceiling.get()
    }

    pub(super) fn stands(&self, place: usize) -> Standing {
        self.inventory.standing(place, self.now).unwrap()
    }
}
