//! What the devices of one load prove, taken together.
//!
//! A proof is a limiter read back on every device of the inventory, then watts that do not contradict it; low watts
//! alone prove nothing (guard rule 3). An [`Inventory`] holds one standing for every device that hangs on the load's
//! wires, not only for those that answer. It chooses limiters that fit a limit, says which device to ask what and
//! when, takes what comes back, and sums up in a [`Proof`].
//!
//! Each device counts the limiter that was read back from it, with the larger error of limiter and sensor, once
//!
//! 1. its identity matches,
//! 2. the reading was asked for after the last write to it was resolved (answered, or too late to land), and is new
//!    (its counter moved),
//! 3. k distinct samples after settling are each under that limiter with its error.
//!
//! Until then, and again after a reboot, a contradiction or an expiry, it counts its power-on watts. While a rise is
//! on its way it counts the higher of both. A proof lives from its read-back for as long as the device cannot rise
//! unseen: [`Policy::life`], or its `boot_to_full` where a reboot loses the limiter.
//!
//! ```text
//! command() ─► plan ─► due() ─► DeviceCommand ─► driver ─► DeviceAnswer ─► observe() ─► proof()
//! ```

mod class;
mod device;
mod facts;
mod idle;
mod issue;
mod plan;
#[cfg(test)]
pub(super) mod tests;

pub use facts::{
    Ask, DeviceAnswer, DeviceClass, DeviceCommand, DeviceFacts, DeviceReading, Identity, InventoryError, Limiter,
    Limiters, LoadDevices, Policy, Refusal, Retention, Sleep, SleepProof, Source, Step, WriteAnswer, Written,
};

use super::Proof;
use crate::units::{Span, Time, Watts};
use class::Class;
use device::Device;
use issue::Pace;
use std::collections::BTreeSet;

/// No proof ends.
const NEVER: Time = Time::new(i64::MAX);

/// How one device stands, for reports and alarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// What it counts for was read back.
    Proved,
    /// It answers, and has yet to prove its limiter. It counts what it last proved, or power-on watts.
    Proving,
    /// It has given no new answer for [`Policy::silent_after`].
    Silent,
    /// Another device answers in its place.
    Foreign,
    /// It says that it is limited and draws more.
    Contradicting,
    /// It refuses to be lowered, or says yes and keeps its limiter.
    Stubborn,
}

/// Every device of one load, what it was told and what it proved.
#[derive(Clone, Debug)]
pub struct Inventory {
    policy: Policy,
    classes: Vec<Class>,
    devices: Vec<Device>,
    overhead: Watts,
    /// What to stay under, once it was said.
    limit: Option<Watts>,
    /// Up to when devices may be told to rise.
    raise_until: Option<Time>,
    /// Whether they might when the plan was made.
    raise: bool,
    /// They were to rise, and some are still to be told so, or to be read first.
    rising: bool,
    /// Σ of what the devices count for, W. Kept with every change.
    counted: Watts,
    /// Σ of the highest steps, W.
    top: Watts,
    /// Σ of what they draw as far as it can be told, W. Kept with every change.
    drawing: Watts,
    /// Σ of what they count for and have not used for long, W. Kept with every change.
    unused: Watts,
    /// Devices that are not at rest.
    active: BTreeSet<usize>,
    /// Devices that leave their watts unused, and those that were lowered for it.
    idle: BTreeSet<usize>,
    /// No proof that counts ends before this.
    earliest: Time,
    /// When all devices are next looked over.
    scan_at: Time,
    plan_stale: bool,
    meter_agreed: Option<Time>,
    pace: Pace,
}

impl Inventory {
    /// An inventory of which nothing is known: it counts its nameplate.
    ///
    /// # Errors
    /// [`InventoryError`] names the field that cannot be.
    pub fn new(load: LoadDevices, policy: Policy, now: Time) -> Result<Self, InventoryError> {
        check(&load)?;
        let counted = load.nameplate() - load.overhead_watts;
        let classes: Vec<Class> = load.classes.into_iter().map(|class| Class::of(class, &policy)).collect();
        let device =
            |facts: &DeviceFacts| Some(Device::new(facts.identity, facts.class, classes.get(facts.class)?, now));
        let devices: Vec<Device> = load.devices.iter().filter_map(device).collect();
        let top = devices.iter().filter_map(|d| classes.get(d.class)).map(|class| class.ladder.top_cost()).sum();
        let pace = Pace::new(&policy, &classes, devices.len(), now);
        Ok(Self {
            active: (0..devices.len()).collect(),
            policy,
            classes,
            devices,
            overhead: load.overhead_watts,
            limit: None,
            raise_until: None,
            raise: false,
            rising: false,
            counted,
            drawing: counted,
            unused: Watts::ZERO,
            idle: BTreeSet::new(),
            top,
            earliest: NEVER,
            scan_at: now.after(policy.silent_after),
            plan_stale: false,
            meter_agreed: None,
            pace,
        })
    }

    /// Brings the devices to limiters whose sum, with error and overhead, fits `limit`, and keeps them there; says what
    /// to ask now. The arguments are those of [`super::Act::Device`] and take the place of every earlier ones.
    ///
    /// Up to `raise_until` devices may be told a higher limiter. Lowers come first; a rise is given out only while what
    /// counts, with it, fits the limit, so never before the lowers that make room for it are proved. `afresh`: nothing
    /// read so far counts, and no device is told anything before it has been read again.
    pub fn command(&mut self, limit: Watts, raise_until: Option<Time>, afresh: bool, now: Time) -> Vec<DeviceCommand> {
        let renewed = self.limit == Some(limit) && self.raise_until.is_some();
        self.rising = raise_until.is_some() && (self.rising || !renewed);
        self.plan_stale |= self.limit != Some(limit);
        self.limit = Some(limit);
        self.raise_until = raise_until;
        if afresh {
            (0..self.devices.len()).for_each(|place| self.touch(place, now, |device, _| device.afresh(now)));
        }
        self.due(now)
    }

    /// Takes what a device answered.
    pub fn observe(&mut self, answer: &DeviceAnswer, now: Time) {
        let (policy, meter) = (self.policy, self.meter_agreed);
        match answer {
            DeviceAnswer::Read(reading) => {
                self.touch(reading.device, now, |device, class| {
                    device.observe(reading, class, &policy, meter, now);
                    device.next_read = device.next_read.min(now.after(policy.read_proving));
                });
            }
            DeviceAnswer::Write(written) => self.touch(written.device, now, |device, class| {
                if device.answered(written, class, &policy) {
                    device.next_read = now;
                }
            }),
        }
    }

    /// A meter of the whole load read `watts` at `time`, off by at most `error`. It can only take credit away: where it
    /// passes what the devices may draw, those that sleep by its word alone are no longer believed.
    pub fn metered(&mut self, watts: Watts, error: Watts, time: Time, now: Time) {
        let sleeping: Vec<usize> = self.places(|device, class| device.by_meter(class)).collect();
        let asleep = |device: &Device, class: &Class| {
            if device.by_meter(class) { class.ladder.cost(Limiter::Asleep) } else { device.drawing(class) }
        };
        let most: Watts = self.each().map(|(device, class)| asleep(device, class)).sum::<Watts>() + self.overhead;
        let agrees = watts - error <= most && time <= now;
        self.meter_agreed = if agrees { self.meter_agreed.max(Some(time)) } else { None };
        let (policy, meter) = (self.policy, self.meter_agreed);
        for place in sleeping {
            self.touch(place, now, |device, class| match meter {
                Some(_) => device.conclude(class, &policy, meter),
                None => {
                    device.void(now);
                    device.contradicts = true;
                }
            });
        }
    }

    /// What the devices prove now.
    pub fn proof(&mut self, now: Time) -> Proof {
        self.expire(now);
        let to_be_told = self.rising || (self.plan_stale && self.limit.is_some());
        let settled = !to_be_told
            && self.active.iter().all(|place| self.devices.get(*place).is_some_and(|device| device.booked.lost));
        Proof {
            ceiling: self.counted + self.overhead,
            expires: self.earliest.min(now.after(self.policy.life)),
            settled,
            rising: self.rising,
        }
    }

    /// The most that the load draws just now, as far as its last samples tell, overhead included, W. For trimming an
    /// award to what is used; never for safety.
    pub fn draws_up_to(&self) -> Watts {
        self.drawing + self.overhead
    }

    /// The most that the load could put to use, W: devices that obey at their highest step, the others at what they
    /// count for, those that are idle at what they draw, and the overhead. An award above it is wasted.
    pub fn usable(&self, now: Time) -> Watts {
        let lost = |(device, class): &(&Device, &Class)| device.lost(class, &self.policy, now);
        let top_less = |class: &Class, watts: Watts| class.ladder.top_cost() - watts;
        let lost_watts = self.active.iter().filter_map(|place| self.pair(*place)).filter(lost);
        let lost_watts: Watts = lost_watts.map(|(device, class)| top_less(class, device.counted(class))).sum();
        let idle = self.idle.iter().filter_map(|place| self.pair(*place));
        let idle = idle.filter(|pair| !lost(pair) && (pair.0.is_idle() || pair.0.rests_until > now));
        let idle: Watts = idle.map(|(device, class)| top_less(class, device.drawing(class))).sum();
        self.top + self.overhead - lost_watts - idle
    }

    /// What the devices count for, and the overhead, W: what is proved, or on its way.
    pub fn counts(&self) -> Watts {
        self.counted + self.overhead
    }

    /// What devices count for and have not used for [`Policy::idle_after`], W: of the ceiling so much could be given to
    /// others, once it has been lowered. Never for safety.
    pub const fn unused(&self) -> Watts {
        self.unused
    }

    /// How many devices leave their watts unused, or were lowered for it and do not ask for them yet.
    pub fn idle(&self, now: Time) -> usize {
        let idle = |device: &Device| device.is_idle() || device.rests_until > now;
        self.idle.iter().filter(|place| self.devices.get(**place).is_some_and(idle)).count()
    }

    /// How many devices there are.
    pub const fn len(&self) -> usize {
        self.devices.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// How a device stands; none: there is no such device.
    pub fn standing(&self, device: usize, now: Time) -> Option<Standing> {
        let (device, _) = self.pair(device)?;
        if !device.active {
            return Some(Standing::Proved);
        }
        Some(if device.foreign {
            Standing::Foreign
        } else if device.contradicts {
            Standing::Contradicting
        } else if device.stubborn {
            Standing::Stubborn
        } else if device.silent(&self.policy, now) && device.bound.is_none() {
            Standing::Silent
        } else if device.bound.is_some() {
            Standing::Proved
        } else {
            Standing::Proving
        })
    }

    /// How many devices stand so. Looks only at those that are not at rest.
    pub fn count(&self, standing: Standing, now: Time) -> usize {
        let resting = if standing == Standing::Proved { self.devices.len() - self.active.len() } else { 0 };
        resting + self.active.iter().filter(|place| self.standing(**place, now) == Some(standing)).count()
    }

    /// Which devices stand so, by place.
    pub fn which(&self, standing: Standing, now: Time) -> impl Iterator<Item = usize> + '_ {
        (0..self.devices.len()).filter(move |place| self.standing(*place, now) == Some(standing))
    }

    fn pair(&self, place: usize) -> Option<(&Device, &Class)> {
        let device = self.devices.get(place)?;
        Some((device, self.classes.get(device.class)?))
    }

    fn each(&self) -> impl Iterator<Item = (&Device, &Class)> {
        self.devices.iter().filter_map(|device| Some((device, self.classes.get(device.class)?)))
    }

    fn places(&self, keep: impl Fn(&Device, &Class) -> bool) -> impl Iterator<Item = usize> {
        (0..self.devices.len())
            .filter(move |place| self.pair(*place).is_some_and(|(device, class)| keep(device, class)))
    }

    /// The one way in which a device changes: the sums, the set of the restless and the plan follow.
    fn touch(&mut self, place: usize, now: Time, change: impl FnOnce(&mut Device, &Class)) {
        let Some(device) = self.devices.get_mut(place) else { return };
        let Some(class) = self.classes.get(device.class) else { return };
        change(device, class);
        let (booked, rests) = (device.book(class, &self.policy, now), device.at_rest(class, &self.policy));
        let was = std::mem::replace(&mut device.booked, booked);
        self.counted += booked.counted - was.counted;
        self.drawing += booked.drawing - was.drawing;
        self.unused += booked.unused - was.unused;
        if device.is_idle() || device.rests_until > now {
            self.idle.insert(place);
        } else {
            self.idle.remove(&place);
        }
        self.plan_stale |= booked.asks_plan(&was);
        if device.bound.is_some() {
            self.earliest = self.earliest.min(device.expires(class));
        }
        if rests == device.active {
            device.active = !rests;
            if rests {
                self.active.remove(&place);
            } else {
                self.active.insert(place);
            }
        }
    }

    /// Ends what has ended. Looks at every device only when one may have ended, or now and then.
    fn expire(&mut self, now: Time) {
        let horizon = now.after(self.policy.renew_before);
        if self.earliest > horizon && now < self.scan_at {
            return;
        }
        let ended: Vec<usize> =
            self.places(|device, class| device.bound.is_some() && device.expires(class) <= horizon).collect();
        for place in ended {
            self.touch(place, now, |device, _| device.void(now));
        }
        // One without a limit has no proof that could end: its silence is noticed here.
        let mute: Vec<usize> =
            self.places(|d, _| !d.active && d.bound.is_none() && d.silent(&self.policy, now)).collect();
        for place in mute {
            self.touch(place, now, |device, _| device.seen = None);
        }
        let expiries =
            self.each().filter(|(device, _)| device.bound.is_some()).map(|(device, class)| device.expires(class));
        self.earliest = expiries.min().unwrap_or(NEVER);
        // Between two scans `earliest` stays behind; a share of what is left keeps it close at little cost.
        let left = self.earliest.since(horizon).min(self.policy.life).get() / 8;
        self.scan_at = now.after(Span::new(left.max(1_000)));
    }

    /// Lets those be lost whose time is up.
    fn lose(&mut self, now: Time) {
        let lost = |place: &usize| {
            self.pair(*place).is_some_and(|(device, class)| device.lost(class, &self.policy, now) != device.booked.lost)
        };
        let lost: Vec<usize> = self.active.iter().copied().filter(lost).collect();
        for place in lost {
            self.touch(place, now, |_, _| {});
        }
    }
}

fn check(load: &LoadDevices) -> Result<(), InventoryError> {
    if load.overhead_watts < Watts::ZERO {
        return Err(InventoryError::Negative { field: "overhead_watts" });
    }
    for (class, facts) in load.classes.iter().enumerate() {
        let fields = [
            ("power_on_watts", facts.power_on_watts.get()),
            ("sleep.watts", facts.sleep.map_or(0, |sleep| sleep.watts.get())),
            ("boot_to_full", facts.boot_to_full.get()),
            ("settle", facts.settle.get()),
            ("write_lives", facts.write_lives.get()),
            ("limiter_error", facts.limiter_error.get()),
            ("sensor_error", facts.sensor_error.get()),
        ];
        if let Some((field, _)) = fields.into_iter().find(|(_, value)| *value < 0) {
            return Err(InventoryError::Negative { field });
        }
        let steps: Vec<Watts> = match &facts.limiters {
            Limiters::Unreadable { .. } => Vec::new(),
            Limiters::Ladder(steps) => steps.iter().map(|step| step.watts).collect(),
            Limiters::Range { min, max, step } if *step > Watts::ZERO && max >= min => vec![*min],
            Limiters::Range { step, .. } => return Err(InventoryError::Ladder { class, watts: *step }),
        };
        let below = std::iter::once(Watts::ZERO).chain(steps.iter().copied());
        if let Some((_, watts)) = below.zip(&steps).find(|(below, watts)| *watts <= below) {
            return Err(InventoryError::Ladder { class, watts: *watts });
        }
    }
    let mut known = BTreeSet::new();
    for (device, facts) in load.devices.iter().enumerate() {
        if facts.class >= load.classes.len() {
            return Err(InventoryError::Class { device, class: facts.class, classes: load.classes.len() });
        }
        if !known.insert(facts.identity) {
            return Err(InventoryError::Twice { device, identity: facts.identity });
        }
    }
    Ok(())
}
