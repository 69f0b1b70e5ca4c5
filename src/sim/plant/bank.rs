//! The devices of one load: their queues, what happens to them when, and the running sum of what they draw.

use super::device::{Behaviour, Device};
use super::faults::{Chance, Rates};
use ampacity_core::guard::proof::{
    Ask, DeviceAnswer, DeviceCommand, DeviceFacts, Identity, Limiter, LoadDevices, WriteAnswer, Written,
};
use ampacity_core::units::{Span, Time, Watts};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// How long a driver waits for an answer before it gives a write up (5 s each in asic-rs, devices.md 1.5).
const TIME_OUT: Span = Span::seconds(5);

/// What happens to a device at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A write reaches it.
    Land { number: u64, code: i64 },
    /// A write is given up.
    Lost { number: u64 },
    /// It answers a question of that time.
    Read { asked_at: Time },
    /// It comes to itself after a wedge.
    Recovers,
    /// Something goes wrong by chance.
    Mishap,
}

/// The devices of one load.
#[derive(Clone, Debug)]
pub(super) struct Bank {
    pub(super) kinds: Vec<Behaviour>,
    pub(super) devices: Vec<Device>,
    events: BinaryHeap<Reverse<(Time, u64, usize, Event)>>,
    count: u64,
    /// Devices whose draw changes with time.
    moving: Vec<usize>,
    /// Σ of what the others draw, W.
    resting: Watts,
    answers: Vec<DeviceAnswer>,
    rates: Rates,
    chance: Chance,
    at: Time,
}

impl Bank {
    /// `counts`: how many devices of each kind, and what limits them at first.
    pub(super) fn new(counts: &[(Behaviour, usize, Limiter)], load: usize, rates: Rates, seed: u64, now: Time) -> Self {
        let mut chance = Chance::new(seed ^ (load as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut devices = Vec::new();
        for (kind, (of, count, limiter)) in counts.iter().enumerate() {
            for _ in 0..*count {
                let identity = Identity(((load as u64) << 32) | (devices.len() as u64 + 1));
                devices.push(Device::new(kind, identity, *limiter, of, &mut chance, now));
            }
        }
        let mut bank = Self {
            kinds: counts.iter().map(|(of, _, _)| of.clone()).collect(),
            devices,
            events: BinaryHeap::new(),
            count: 0,
            moving: Vec::new(),
            resting: Watts::ZERO,
            answers: Vec::new(),
            rates,
            chance,
            at: now,
        };
        (0..bank.devices.len()).for_each(|place| bank.settle(place));
        bank.next_mishap(now);
        bank
    }

    pub(super) fn describe(&self, overhead_watts: Watts) -> LoadDevices {
        LoadDevices {
            classes: self.kinds.iter().map(|kind| kind.class.clone()).collect(),
            devices: self.devices.iter().map(|d| DeviceFacts { identity: d.identity(), class: d.kind }).collect(),
            overhead_watts,
        }
    }

    /// Puts commands into the devices' queues.
    pub(super) fn submit(&mut self, commands: &[DeviceCommand], now: Time) {
        self.advance(now);
        for command in commands {
            let Some(device) = self.devices.get_mut(command.device) else { continue };
            let Some(of) = self.kinds.get(device.kind) else { continue };
            let start = device.busy_until.max(now);
            let takes = match command.ask {
                Ask::Set { .. } => of.write_ms,
                Ask::Read => of.read_ms,
            };
            // No two devices and no two calls answer equally fast.
            let done = start.after(Span::new((takes as f64 * (0.5 + self.chance.unit())) as i64));
            device.busy_until = done;
            let event = match command.ask {
                Ask::Set { number, limiter } => Event::Land { number, code: encode(limiter) },
                Ask::Read => Event::Read { asked_at: start },
            };
            self.push(done, command.device, event);
        }
    }

    /// What has been answered by now.
    pub(super) fn poll(&mut self, now: Time) -> Vec<DeviceAnswer> {
        self.advance(now);
        std::mem::take(&mut self.answers)
    }

    /// Lets everything happen that is due by `now`, in order.
    pub(super) fn advance(&mut self, now: Time) {
        while self.events.peek().is_some_and(|Reverse((time, ..))| *time <= now) {
            if let Some(Reverse((time, _, place, event))) = self.events.pop() {
                self.happen(place, event, time);
            }
        }
        self.at = self.at.max(now);
        let mut moving = std::mem::take(&mut self.moving);
        moving.retain(|place| {
            let still = self.devices.get(*place).is_none_or(|device| device.draw.arrives() <= self.at);
            if still {
                self.settle(*place);
            }
            !still
        });
        self.moving = moving;
    }

    /// What all devices draw at the time last advanced to, W.
    pub(super) fn watts(&self) -> Watts {
        let moving = self.moving.iter().filter_map(|place| self.devices.get(*place));
        self.resting + Watts::new(moving.map(|device| device.draw.at(self.at).ceil() as i64).sum())
    }

    /// What all devices yield, in their class's unit.
    pub(super) fn yields(&self) -> i64 {
        let of = |device: &Device| self.kinds.get(device.kind).map_or(0.0, |kind| device.yields(kind, self.at));
        self.devices.iter().map(of).sum::<f64>() as i64
    }

    /// Changes one device (or all), and lets its draw follow.
    pub(super) fn change(&mut self, device: Option<usize>, now: Time, mut with: impl FnMut(&mut Device, &Behaviour)) {
        self.advance(now);
        let places = device.map_or(0..self.devices.len(), |device| device..device.saturating_add(1));
        for place in places {
            if let Some(device) = self.devices.get_mut(place)
                && let Some(of) = self.kinds.get(device.kind)
            {
                with(device, of);
                self.stir(place);
            }
        }
    }

    /// Wedges until then, and then does what it was told last.
    pub(super) fn wedge(&mut self, device: Option<usize>, until: Time, now: Time) {
        self.change(device, now, |device, _| device.wedged_until = until);
        let places = device.map_or(0..self.devices.len(), |device| device..device.saturating_add(1));
        places.for_each(|place| self.push(until, place, Event::Recovers));
    }

    fn push(&mut self, time: Time, place: usize, event: Event) {
        self.count += 1;
        self.events.push(Reverse((time, self.count, place, event)));
    }

    fn happen(&mut self, place: usize, event: Event, now: Time) {
        let Some(device) = self.devices.get_mut(place) else { return };
        let Some(of) = self.kinds.get(device.kind) else { return };
        match event {
            Event::Land { number, .. } if !device.answers(now) => {
                self.push(now.after(TIME_OUT), place, Event::Lost { number });
            }
            Event::Land { number, code } => {
                let limiter = decode(code);
                let wakes = device.limiter == Limiter::Asleep && limiter != Limiter::Asleep;
                let written = match device.set(limiter, of, now) {
                    Ok(()) => Written::Done,
                    Err(refusal) => Written::Refused(refusal),
                };
                if wakes && self.chance.unit() < self.rates.failed_wakes {
                    device.dead = true;
                    device.move_on(of, now);
                }
                self.answers.push(DeviceAnswer::Write(WriteAnswer {
                    device: place,
                    number,
                    written,
                    answered_at: now,
                }));
                self.stir(place);
            }
            Event::Lost { number } => {
                let written = Written::Lost;
                self.answers.push(DeviceAnswer::Write(WriteAnswer {
                    device: place,
                    number,
                    written,
                    answered_at: now,
                }));
            }
            Event::Read { asked_at } => {
                if device.answers(now) {
                    let reading = device.reading(place, of, (asked_at, now), &mut self.chance);
                    self.answers.push(DeviceAnswer::Read(reading));
                }
            }
            Event::Recovers => {
                if now >= device.wedged_until && !device.dead {
                    device.move_on(of, now);
                    self.stir(place);
                }
            }
            Event::Mishap => {
                self.mishap(now);
                self.next_mishap(now);
            }
        }
    }

    fn next_mishap(&mut self, now: Time) {
        let a_day = self.rates.a_day() * self.devices.len() as f64;
        if let Some(wait) = self.chance.wait(a_day) {
            self.push(now.after(wait), 0, Event::Mishap);
        }
    }

    fn mishap(&mut self, now: Time) {
        let place = self.chance.below(self.devices.len());
        let which = self.chance.unit() * self.rates.a_day();
        let (hangs, hang) = (self.rates.hangs_a_day, self.rates.hang);
        let reboots = self.rates.reboots_a_day;
        let Some(device) = self.devices.get_mut(place) else { return };
        let Some(of) = self.kinds.get(device.kind) else { return };
        if which < hangs {
            device.silent_until = device.silent_until.max(now.after(hang));
        } else if which < hangs + reboots {
            device.reboot(of, now);
        } else {
            device.dead = true;
            device.move_on(of, now);
        }
        self.stir(place);
    }

    /// A device's draw has a new formula: it counts as moving until it has arrived.
    fn stir(&mut self, place: usize) {
        let Some(device) = self.devices.get_mut(place) else { return };
        self.resting -= device.resting;
        device.resting = Watts::ZERO;
        if !device.moving {
            device.moving = true;
            self.moving.push(place);
        }
    }

    /// A device's draw is constant from here: it counts in the sum.
    fn settle(&mut self, place: usize) {
        let Some(device) = self.devices.get_mut(place) else { return };
        self.resting -= device.resting;
        device.resting = Watts::new(device.draw.at(device.draw.arrives()).ceil() as i64);
        self.resting += device.resting;
        device.moving = false;
    }
}

/// A limiter as a number that can be ordered: events are kept in a heap.
const fn encode(limiter: Limiter) -> i64 {
    match limiter {
        Limiter::Asleep => -1,
        Limiter::Unlimited => -2,
        Limiter::Watts(watts) => watts.get(),
    }
}

const fn decode(code: i64) -> Limiter {
    match code {
        -1 => Limiter::Asleep,
        -2 => Limiter::Unlimited,
        watts => Limiter::Watts(Watts::new(watts)),
    }
}
