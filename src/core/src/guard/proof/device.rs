//! What is known of one device, and how a reading changes it.

use super::class::Class;
use super::facts::{DeviceReading, Identity, Limiter, Policy, SleepProof, Source, WriteAnswer, Written};
use super::idle::Idle;
use crate::units::{Time, Watts};

/// A limiter that reads back the same since a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReadBack {
    pub(super) limiter: Limiter,
    since: Time,
    /// The last reading that showed it.
    last: Time,
    /// Distinct samples since it settled.
    samples: u32,
}

/// What the inventory has in its sums for a device, and what the plan was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Booked {
    pub(super) counted: Watts,
    pub(super) drawing: Watts,
    /// What it counts for and has not used for long, W.
    pub(super) unused: Watts,
    level: Option<usize>,
    pub(super) lost: bool,
}

impl Booked {
    /// Whether what changed asks for a new plan.
    pub(super) fn asks_plan(&self, was: &Self) -> bool {
        self.level != was.level || self.lost != was.lost || (self.lost && self.counted != was.counted)
    }
}

/// One device.
#[derive(Clone, Debug)]
pub(super) struct Device {
    pub(super) booked: Booked,
    /// In the inventory's set of those that are not at rest.
    pub(super) active: bool,
    pub(super) class: usize,
    identity: Identity,
    /// The most it can draw by limiters read back (and by what it was told since, if higher). None: power-on watts.
    pub(super) bound: Option<Watts>,
    /// When that was last read back.
    proved_at: Time,
    /// The limiter being proved. Only readings asked after the last write resolved get here.
    pub(super) read: Option<ReadBack>,
    /// The limiter last seen in any reading.
    pub(super) seen: Option<Limiter>,
    /// The limiter last told, unless refused or lost.
    pub(super) told: Option<Limiter>,
    /// The state it should be in; none: where it is.
    pub(super) target: Option<usize>,
    /// Writes without an answer.
    pub(super) open: Vec<u64>,
    /// Readings asked before this prove nothing.
    quiet_from: Time,
    last_asked: Time,
    /// When it last gave an answer that was new.
    pub(super) heard: Time,
    /// Since when it has had no bound, or since its last new target.
    unproved_since: Time,
    boot: Option<u64>,
    counter: Option<u64>,
    /// The last sample, error added.
    pub(super) drawn: Option<Watts>,
    /// Somebody else answers in its place.
    pub(super) foreign: bool,
    /// Its watts passed its limiter, and it has proved nothing since.
    pub(super) contradicts: bool,
    /// It would not be lowered: refused, or said yes and kept its limiter.
    pub(super) stubborn: bool,
    /// It is not told to rise before this.
    pub(super) no_raise_before: Time,
    pub(super) retry_at: Time,
    pub(super) next_read: Time,
    idle: Idle,
    /// It was lowered because it left its watts unused, and does not ask for them before this.
    pub(super) rests_until: Time,
}

impl Device {
    pub(super) fn new(identity: Identity, class: usize, of: &Class, now: Time) -> Self {
        let power_on = of.facts.power_on_watts;
        Self {
            booked: Booked { counted: power_on, drawing: power_on, unused: Watts::ZERO, level: None, lost: false },
            active: true,
            class,
            identity,
            bound: None,
            proved_at: now,
            read: None,
            seen: None,
            told: None,
            target: None,
            open: Vec::new(),
            // What a predecessor still had in flight is waited out by the agent (guard rule 5).
            quiet_from: now,
            last_asked: Time::new(i64::MIN),
            heard: now,
            unproved_since: now,
            boot: None,
            counter: None,
            drawn: None,
            foreign: false,
            contradicts: false,
            stubborn: false,
            no_raise_before: now,
            retry_at: now,
            next_read: now,
            idle: Idle::default(),
            rests_until: now,
        }
    }

    pub(super) fn book(&self, class: &Class, policy: &Policy, now: Time) -> Booked {
        let (counted, drawing, lost) = (self.counted(class), self.drawing(class), self.lost(class, policy, now));
        // One that is on its way down for it uses no more than before.
        let idle = self.idle.long || self.rests_until > now;
        let unused = if idle && !lost { counted - drawing } else { Watts::ZERO };
        Booked { counted, drawing, unused, level: self.level(class), lost }
    }

    /// What it counts for, W.
    pub(super) fn counted(&self, class: &Class) -> Watts {
        let power_on = class.facts.power_on_watts;
        self.bound.map_or(power_on, |bound| bound.min(power_on))
    }

    /// What it draws at most, as far as it can be told: its last sample, else what it counts for.
    pub(super) fn drawing(&self, class: &Class) -> Watts {
        self.drawn.map_or(self.counted(class), |drawn| drawn.min(self.counted(class)))
    }

    pub(super) fn expires(&self, class: &Class) -> Time {
        self.proved_at.after(class.life)
    }

    /// Takes every credit away: it counts power-on watts until it has proved itself again.
    pub(super) fn void(&mut self, at: Time) {
        if self.bound.is_some() {
            self.unproved_since = at;
        }
        self.bound = None;
        self.drawn = None;
        if let Some(read) = &mut self.read {
            read.samples = 0;
        }
    }

    /// A write is on its way: what it could rise to counts from now, what is read before its answer proves nothing.
    pub(super) fn tell(&mut self, number: u64, limiter: Limiter, class: &Class, retry_at: Time) {
        let cost = class.ladder.cost(limiter);
        self.bound = self.bound.map(|bound| bound.max(cost));
        if self.bound.is_some_and(|bound| bound <= cost) {
            self.drawn = None;
        }
        self.told = Some(limiter);
        self.idle = Idle::default();
        self.open.push(number);
        self.read = None;
        self.retry_at = retry_at;
    }

    /// A write was answered. Returns whether there is one answer less to wait for.
    pub(super) fn answered(&mut self, answer: &WriteAnswer, class: &Class, policy: &Policy) -> bool {
        let Some(at) = self.open.iter().position(|number| *number == answer.number) else { return false };
        self.open.remove(at);
        // An answer to a write that a later one has overtaken says nothing of that one.
        let newest = at == self.open.len();
        let resolved = match answer.written {
            Written::Done => answer.answered_at,
            Written::Refused(_) => {
                let cost = |limiter| class.ladder.cost(limiter);
                if self.told.zip(self.seen).is_some_and(|(to, from)| cost(to) < cost(from)) {
                    self.stubborn |= newest;
                } else if newest {
                    // It stays where it is; whoever plans next may find the watts a better use.
                    self.target = None;
                    self.no_raise_before = answer.answered_at.after(policy.retry_after);
                }
                answer.answered_at
            }
            Written::Lost => {
                let landed = answer.answered_at.after(class.facts.write_lives);
                self.retry_at = if newest { landed } else { self.retry_at };
                landed
            }
        };
        if newest && answer.written != Written::Done {
            self.told = None;
        }
        self.quiet_from = self.quiet_from.max(resolved);
        true
    }

    /// A reading came. `meter` is when a meter of the whole load last agreed with its sleepers.
    pub(super) fn observe(
        &mut self,
        reading: &DeviceReading,
        class: &Class,
        policy: &Policy,
        meter: Option<Time>,
        now: Time,
    ) {
        let in_order = reading.asked_at >= self.last_asked && reading.asked_at <= reading.answered_at;
        if !in_order || reading.answered_at > now {
            return;
        }
        self.last_asked = reading.asked_at;
        self.foreign = reading.identity != self.identity;
        if self.foreign {
            self.forget();
            return;
        }
        let other_boot = self.boot.zip(reading.boot).is_some_and(|(was, is)| was != is);
        if other_boot || self.counter.zip(reading.counter).is_some_and(|(was, is)| is < was) {
            self.forget();
        }
        self.boot = reading.boot.or(self.boot);
        let fresh = reading.counter.is_some() && reading.counter != self.counter;
        self.counter = reading.counter.or(self.counter);
        if fresh {
            self.heard = reading.answered_at;
        }
        if fresh && let Some(limiter) = reading.limiter {
            self.read_back(limiter, reading.asked_at, class, meter);
        }
        if let Some((watts, _)) = reading.watts {
            let error = class.facts.limiter_error.max(class.facts.sensor_error);
            self.drawn = Some(watts.plus(error));
            if self.bound.is_some_and(|bound| watts > bound) {
                self.void(reading.asked_at);
                self.contradicts = true;
            }
        }
        if fresh {
            self.idle.see(reading, class, policy, self.open.is_empty());
            self.sample(reading, class, policy, meter);
        }
    }

    /// After a reboot, or when another device answers: nothing that was known holds.
    fn forget(&mut self) {
        self.idle = Idle::default();
        self.void(self.last_asked);
        self.read = None;
        self.seen = None;
        self.told = None;
        self.counter = None;
        self.retry_at = self.last_asked;
    }

    /// Somebody else may have told it anything up to now: nothing that was read counts, and where it stands is not known.
    pub(super) fn afresh(&mut self, now: Time) {
        self.void(now);
        self.read = None;
        self.seen = None;
        self.told = None;
        self.target = None;
        self.unproved_since = now;
        self.quiet_from = self.quiet_from.max(now);
        self.last_asked = self.last_asked.max(now);
        self.next_read = now;
    }

    fn read_back(&mut self, limiter: Limiter, asked_at: Time, class: &Class, meter: Option<Time>) {
        self.seen = Some(limiter);
        if !class.counts(limiter) {
            self.void(asked_at);
            self.read = None;
            return;
        }
        match self.bound {
            Some(bound) if class.ladder.cost(limiter) <= bound => {
                let by_meter = class.asks_rows(limiter) == Some(SleepProof::LoadMeter);
                let known = if by_meter { meter.map_or(self.proved_at, |at| at.min(asked_at)) } else { asked_at };
                self.proved_at = self.proved_at.max(known);
            }
            Some(_) => self.void(asked_at),
            None => {}
        }
        if !self.open.is_empty() || asked_at < self.quiet_from {
            return;
        }
        match &mut self.read {
            Some(read) if read.limiter == limiter => read.last = asked_at,
            _ => self.read = Some(ReadBack { limiter, since: asked_at, last: asked_at, samples: 0 }),
        }
    }

    fn sample(&mut self, reading: &DeviceReading, class: &Class, policy: &Policy, meter: Option<Time>) {
        let Some(read) = &mut self.read else { return };
        if reading.asked_at < read.since.after(class.facts.settle) {
            return;
        }
        let cost = class.ladder.cost(read.limiter);
        let by = class.asks_rows(read.limiter);
        let verdict = match (by, reading.watts) {
            (_, Some((watts, _))) if watts > cost => Some(false),
            (Some(_), _) if reading.working == Some(true) => Some(false),
            (None, Some(_)) => Some(true),
            (Some(SleepProof::Outlet), Some((_, Source::Outlet))) => reading.working.map(|working| !working),
            (Some(SleepProof::LoadMeter), _) => reading.working.map(|working| !working),
            _ => None,
        };
        match verdict {
            None => {}
            Some(false) => {
                self.void(reading.asked_at);
                self.contradicts = true;
            }
            Some(true) => {
                read.samples = read.samples.saturating_add(1);
                self.conclude(class, policy, meter);
            }
        }
    }

    /// Credits the limiter that was read back, once there are samples enough.
    pub(super) fn conclude(&mut self, class: &Class, policy: &Policy, meter: Option<Time>) {
        let Some(read) = self.read.filter(|read| read.samples >= policy.samples.max(1)) else { return };
        let agreed = match class.asks_rows(read.limiter) {
            Some(SleepProof::LoadMeter) => match meter.filter(|at| *at >= read.since.after(class.facts.settle)) {
                Some(at) => at.min(read.last),
                None => return,
            },
            _ => read.last,
        };
        self.bound = Some(class.ladder.cost(read.limiter));
        self.proved_at = agreed;
        self.contradicts = false;
        self.stubborn &= self.wanted(class).is_some();
    }

    /// It is to go to another state: it has its time to get there and prove it.
    pub(super) fn aim(&mut self, target: Option<usize>, now: Time) {
        if self.target != target {
            self.target = target;
            self.unproved_since = now;
            self.retry_at = now;
        }
    }

    /// Whether it rests on the word of a meter of the whole load.
    pub(super) fn by_meter(&self, class: &Class) -> bool {
        self.read.is_some_and(|read| class.asks_rows(read.limiter) == Some(SleepProof::LoadMeter))
    }

    /// The state it stands in, or is on its way to. None: never read.
    pub(super) fn level(&self, class: &Class) -> Option<usize> {
        let found = self.seen.map(|limiter| class.ladder.level_of(limiter));
        self.target.or(found)
    }

    /// The limiter that it should have and may not have yet.
    pub(super) fn wanted(&self, class: &Class) -> Option<Limiter> {
        let limiter = class.ladder.limiter(self.target?);
        let there = self.open.is_empty() && self.seen == Some(limiter) && self.told.is_none_or(|told| told == limiter);
        (!there).then_some(limiter)
    }

    /// Whether it has left what its limiter lets through unused for long. Never for safety: it may rise to it any time.
    pub(super) const fn is_idle(&self) -> bool {
        self.idle.long
    }

    /// Every command answered, the limiter read back, and proved.
    pub(super) fn at_rest(&self, class: &Class, policy: &Policy) -> bool {
        let proved = self.read.is_some_and(|read| {
            let cost = class.ladder.cost(read.limiter);
            read.samples >= policy.samples.max(1) && self.bound.is_some_and(|bound| bound == cost)
        });
        let unlimited = self.seen == Some(Limiter::Unlimited);
        self.open.is_empty() && self.wanted(class).is_none() && !self.foreign && (proved || unlimited)
    }

    /// Whether it has been heard of lately.
    pub(super) fn silent(&self, policy: &Policy, now: Time) -> bool {
        self.heard.after(policy.silent_after) <= now
    }

    /// Not to be counted on: it counts what it counts, and others make room for it.
    pub(super) fn lost(&self, class: &Class, policy: &Policy, now: Time) -> bool {
        let late = || self.unproved_since.after(class.facts.settle).after(policy.silent_after) <= now;
        let unproved = self.bound.is_none() && late() && !self.at_rest(class, policy);
        self.foreign || self.contradicts || self.stubborn || unproved
    }
}
