//! One simulated device: what limits it, what it draws, how it misbehaves.
//!
//! The draw is a formula of time (constant, falling with τ, or dark and then climbing), so a device at rest costs
//! nothing and one that moves costs one evaluation a tick.

use super::faults::Chance;
use ampacity_core::guard::proof::{DeviceClass, DeviceReading, Identity, Limiter, Limiters, Refusal, Source};
use ampacity_core::units::{Span, Time, Watts};

/// After this many τ an exponential fall has arrived: what is left is below 0.04 %.
const FALL_TAUS: i64 = 8;

/// How a kind of device behaves, besides what its class declares.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// What it declares to the agent.
    pub class: DeviceClass,
    /// What it yields at each step of its ladder: GH/s, in the order of the ladder. Empty for GPUs.
    pub yields: Vec<i64>,
    /// What it draws with no limiter set, before unit spread, W.
    pub full_watts: f64,
    /// What it draws asleep, W.
    pub sleep_watts: f64,
    /// Time constant of a fall, ms.
    pub tau_ms: i64,
    /// From a wake (or a reboot) to the first watt, ms.
    pub boot_ms: i64,
    /// The linear climb after that, ms; also of a step up while awake, in proportion.
    pub ramp_ms: i64,
    /// Between an order and its effect, the device's answer included, ms.
    pub write_ms: i64,
    /// Between a question and its answer, ms.
    pub read_ms: i64,
    /// σ of the unit's watts at a given limiter, cut at 2 σ.
    pub spread: f64,
    /// The most by which reported watts are biased, a constant of the unit.
    pub bias: f64,
    /// σ of the noise of a reading, cut at 2 σ.
    pub noise: f64,
    /// Where reported watts come from. Estimates follow the firmware's model, not the unit's spread.
    pub source: Source,
    /// Reported watts are the mean over this time, ms (NVML: 1 s, devices.md 7.6).
    pub mean_ms: i64,
    /// A device whose work can be less than its limiter (a GPU): idle draw, W. None: it always works.
    pub idle_watts: Option<f64>,
}

/// A draw as a formula of time, W.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Draw {
    from: f64,
    to: f64,
    since: Time,
    shape: Shape,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    /// Exponential fall.
    Falls { tau_ms: i64 },
    /// `from` up to `since`, dark until, then linear up to `full`.
    Climbs { lit: Time, full: Time },
}

impl Draw {
    pub(super) const fn still(watts: f64, now: Time) -> Self {
        Self { from: watts, to: watts, since: now, shape: Shape::Falls { tau_ms: 0 } }
    }

    pub(super) fn at(&self, now: Time) -> f64 {
        if now >= self.arrives() {
            return self.to;
        }
        let (from, to) = (self.from, self.to);
        match self.shape {
            Shape::Falls { tau_ms } => {
                let taus = now.since(self.since).get().max(0) as f64 / tau_ms.max(1) as f64;
                to + (from - to) * (-taus).exp()
            }
            Shape::Climbs { lit, full } => {
                let share = now.since(lit).get() as f64 / full.since(lit).get().max(1) as f64;
                from + (to - from) * share.max(0.0)
            }
        }
    }

    /// From when it is constant.
    pub(super) const fn arrives(&self) -> Time {
        match self.shape {
            Shape::Falls { tau_ms } => self.since.after(Span::new(tau_ms * FALL_TAUS)),
            Shape::Climbs { full, .. } => full,
        }
    }
}

/// One device.
#[derive(Clone, Debug)]
pub(super) struct Device {
    pub(super) kind: usize,
    identity: Identity,
    pub(super) limiter: Limiter,
    pub(super) draw: Draw,
    /// Whether it is in the bank's list of those that move.
    pub(super) moving: bool,
    /// What of its draw the bank counts as constant, W.
    pub(super) resting: Watts,
    /// Its watts at a limiter, against the class's.
    spread: f64,
    /// Its reported watts against its draw, the source's bias.
    bias: f64,
    /// What the work on it would draw, W.
    pub(super) demand: f64,
    boot: u64,
    /// Answers nothing before this: hung, or booting.
    pub(super) silent_until: Time,
    /// Boots until then.
    pub(super) dark_until: Time,
    /// Says ok, reads back what it was told, and does not change its draw before this.
    pub(super) wedged_until: Time,
    pub(super) dead: bool,
    /// It stopped itself for heat: its limiter stands, and it works again once it has cooled.
    tripped: bool,
    pub(super) busy_until: Time,
}

impl Device {
    pub(super) fn new(
        kind: usize,
        identity: Identity,
        limiter: Limiter,
        of: &Behaviour,
        chance: &mut Chance,
        now: Time,
    ) -> Self {
        let spread = 1.0 + of.spread * chance.normal();
        let bias = match of.source {
            // The model behind an estimate does not know the unit: its spread shows as bias, too.
            Source::Estimated => (1.0 + of.bias * chance.even()) / spread,
            Source::Measured | Source::Outlet => 1.0 + of.bias * chance.even(),
        };
        let mut device = Self {
            kind,
            identity,
            limiter,
            draw: Draw::still(0.0, now),
            moving: false,
            resting: Watts::ZERO,
            spread,
            bias,
            demand: if of.idle_watts.is_some() { 0.0 } else { f64::MAX },
            boot: 1,
            silent_until: now,
            dark_until: now,
            wedged_until: now,
            dead: false,
            tripped: false,
            busy_until: now,
        };
        device.draw = Draw::still(device.goal(of), now);
        device
    }

    /// What it draws once it has arrived, W.
    pub(super) fn goal(&self, of: &Behaviour) -> f64 {
        if self.dead {
            return 0.0;
        }
        let held = match self.limiter {
            _ if self.tripped => return of.sleep_watts,
            Limiter::Asleep => return of.sleep_watts,
            Limiter::Watts(watts) => watts.get() as f64,
            Limiter::Unlimited => of.full_watts,
        };
        match of.idle_watts {
            Some(idle) => (held * self.spread).min(self.demand).max(idle.min(held)),
            None => held * self.spread,
        }
    }

    /// What it yields of its class's unit, as far as its draw has got.
    pub(super) fn yields(&self, of: &Behaviour, now: Time) -> f64 {
        if self.tripped {
            return 0.0;
        }
        let goal = self.goal(of);
        let Limiters::Ladder(steps) = &of.class.limiters else {
            let full = of.yields.last().copied().unwrap_or(0) as f64;
            return if self.limiter == Limiter::Asleep || goal <= 0.0 { 0.0 } else { full * self.draw.at(now) / goal };
        };
        let at = match self.limiter {
            Limiter::Asleep => return 0.0,
            Limiter::Unlimited => steps.len().checked_sub(1),
            Limiter::Watts(watts) => steps.iter().position(|step| step.watts >= watts),
        };
        let full = at.and_then(|at| of.yields.get(at)).copied().unwrap_or(0) as f64;
        if goal <= 0.0 { 0.0 } else { full * (self.draw.at(now) / goal).min(1.0) }
    }

    /// Stops itself for heat, whatever it was told, or works again.
    pub(super) fn trip(&mut self, tripped: bool, of: &Behaviour, now: Time) {
        if self.tripped != tripped {
            self.tripped = tripped;
            self.move_on(of, now);
        }
    }

    /// Moves towards its goal from where it is: from sleep it boots first.
    pub(super) fn move_on(&mut self, of: &Behaviour, now: Time) {
        let asleep = self.draw.at(now) <= of.sleep_watts + 1.0 && of.idle_watts.is_none();
        self.go(of, asleep, now);
    }

    fn go(&mut self, of: &Behaviour, boots: bool, now: Time) {
        let (from, to) = (self.draw.at(now), self.goal(of));
        let shape = if to <= from {
            Shape::Falls { tau_ms: of.tau_ms }
        } else {
            // A step up while awake takes its part of the climb.
            let part = if boots { 1.0 } else { (to - from) / of.full_watts.max(1.0) };
            let lit = if boots { now.after(Span::new(of.boot_ms)) } else { now };
            Shape::Climbs { lit, full: lit.after(Span::new((of.ramp_ms as f64 * part) as i64)) }
        };
        self.draw = Draw { from, to, since: now, shape };
    }

    /// Loses what does not survive, and starts again from nothing.
    pub(super) fn reboot(&mut self, of: &Behaviour, now: Time) {
        self.boot += 1;
        self.wedged_until = now;
        if of.class.retention == ampacity_core::guard::proof::Retention::Volatile {
            self.limiter = match of.class.limiters {
                Limiters::Range { max, .. } => Limiter::Watts(max),
                _ => Limiter::Unlimited,
            };
        }
        self.dark_until = now.after(Span::new(of.boot_ms));
        self.silent_until = self.silent_until.max(self.dark_until);
        self.draw = Draw::still(0.0, now);
        self.go(of, true, now);
    }

    pub(super) const fn identity(&self) -> Identity {
        self.identity
    }

    /// Whether it answers at all.
    pub(super) fn answers(&self, now: Time) -> bool {
        !self.dead && now >= self.silent_until
    }

    /// Takes a limiter, if it is one of its own.
    pub(super) fn set(&mut self, limiter: Limiter, of: &Behaviour, now: Time) -> Result<(), Refusal> {
        let known = match (limiter, &of.class.limiters) {
            (Limiter::Asleep, _) => of.class.sleep.is_some(),
            (Limiter::Unlimited, Limiters::Range { .. }) => false,
            (Limiter::Unlimited, _) => true,
            (Limiter::Watts(watts), Limiters::Ladder(steps)) => steps.iter().any(|step| step.watts == watts),
            (Limiter::Watts(watts), Limiters::Range { min, max, .. }) => (*min..=*max).contains(&watts),
            (Limiter::Watts(_), Limiters::Unreadable { .. }) => false,
        };
        if !known {
            return Err(Refusal::OutOfRange);
        }
        self.limiter = limiter;
        if now >= self.wedged_until {
            self.move_on(of, now);
        }
        Ok(())
    }

    pub(super) fn reading(
        &self,
        device: usize,
        of: &Behaviour,
        (asked_at, now): (Time, Time),
        chance: &mut Chance,
    ) -> DeviceReading {
        let means = [0, 1, 2].map(|n| self.draw.at(now.before(Span::new(of.mean_ms * n / 2))));
        let drawn = means.iter().sum::<f64>() / 3.0 * self.bias * (1.0 + of.noise * chance.normal());
        DeviceReading {
            device,
            identity: self.identity,
            boot: Some(self.boot),
            counter: u64::try_from(now.get() / 100).ok(),
            asked_at,
            answered_at: now,
            limiter: match (&of.class.limiters, self.limiter) {
                (Limiters::Unreadable { .. }, Limiter::Watts(_)) => Some(Limiter::Unlimited),
                (_, limiter) => Some(limiter),
            },
            watts: Some((Watts::new(drawn.ceil() as i64), of.source)),
            working: Some(self.draw.at(now) > of.sleep_watts + 1.0),
        }
    }
}
