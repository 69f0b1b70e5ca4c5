//! Which limiters: from where the devices stand, take away or add the steps that matter least or most.
//!
//! Moving from the present state, and not from a blank sheet, keeps devices from being switched for nothing. Steps are
//! taken along the concave hull of value against watts, so that a container first puts old models to sleep and wakes
//! them last. What is left unused is less than the smallest step that one more device could take.

use super::facts::{DeviceClass, Limiter, Limiters, Step};
use crate::units::{Ppm, Watts};
use std::collections::{BTreeMap, BTreeSet};

/// One state in which devices of a class may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    /// How it is commanded.
    pub(super) limiter: Limiter,
    /// What it counts for, error included, W.
    pub(super) cost: Watts,
    /// What it yields.
    value: i64,
    /// The state above that yields most for each watt more.
    up: Option<usize>,
    /// The state below that loses least for each watt less.
    down: Option<usize>,
}

/// The states of a class, cost rising.
#[derive(Clone, Debug)]
pub(super) struct Ladder {
    levels: Vec<Level>,
    error: Ppm,
    power_on: Watts,
    sleep: Watts,
    top: Watts,
}

impl Ladder {
    pub(super) fn of(class: &DeviceClass) -> Self {
        let error = class.limiter_error.max(class.sensor_error);
        let sleep = class.sleep.map_or(class.power_on_watts, |sleep| sleep.watts);
        let mut ladder =
            Self { levels: Vec::new(), error, power_on: class.power_on_watts, sleep, top: class.power_on_watts };
        let (steps, unlimited) = steps(&class.limiters);
        let asleep = class.sleep.map(|_| (Limiter::Asleep, 0));
        let set = steps.iter().map(|step| (Limiter::Watts(step.watts), step.value));
        for (limiter, value) in asleep.into_iter().chain(set).chain([(Limiter::Unlimited, unlimited)]) {
            let cost = ladder.cost(limiter);
            let value = match (&class.limiters, limiter) {
                (Limiters::Range { .. }, Limiter::Watts(_)) => alike(cost, ladder.power_on),
                // Nobody is raised from the last step to having no limiter at all.
                (Limiters::Range { .. }, Limiter::Unlimited) => ladder.levels.last().map_or(0, |top| top.value),
                _ => value,
            };
            // A step that counts no less than a better one is never chosen; a device found there stands at the better.
            let worse = |below: &Level| below.cost >= cost && limiter != Limiter::Unlimited;
            while ladder.levels.last().is_some_and(worse) {
                ladder.levels.pop();
            }
            if ladder.levels.last().is_none_or(|below| below.cost < cost) {
                ladder.levels.push(Level { limiter, cost, value, up: None, down: None });
            }
        }
        ladder.link();
        ladder
    }

    fn link(&mut self) {
        let levels = self.levels.clone();
        let best = levels.iter().map(|level| level.value).max();
        let useful = levels.iter().filter(|level| Some(level.value) == best);
        self.top = useful.map(|level| level.cost).min().unwrap_or(self.power_on);
        for (at, level) in self.levels.iter_mut().enumerate() {
            let gain = |to: &(usize, &Level)| Slope::between(level.value, level.cost, to.1.value, to.1.cost);
            // Of equal slopes the shorter move: devices of a range then rise and fall together.
            level.up = levels.iter().enumerate().skip(at + 1).rev().max_by_key(gain).map(|(to, _)| to);
            level.up = level.up.filter(|to| levels.get(*to).is_some_and(|above| above.value > level.value));
            level.down = levels.iter().enumerate().take(at).rev().min_by_key(gain).map(|(to, _)| to);
        }
    }

    /// What a limiter counts for: with its error, and never above power-on watts.
    pub(super) fn cost(&self, limiter: Limiter) -> Watts {
        match limiter {
            Limiter::Asleep => self.sleep.plus(self.error),
            Limiter::Watts(watts) => watts.plus(self.error),
            Limiter::Unlimited => self.power_on,
        }
        .min(self.power_on)
    }

    /// The state that a limiter found on a device is counted as: the lowest that covers it.
    pub(super) fn level_of(&self, limiter: Limiter) -> usize {
        let cost = self.cost(limiter);
        self.levels.iter().position(|level| level.cost >= cost).unwrap_or(self.levels.len().saturating_sub(1))
    }

    pub(super) fn level(&self, at: usize) -> Option<&Level> {
        self.levels.get(at)
    }

    /// The limiter of a state.
    pub(super) fn limiter(&self, at: usize) -> Limiter {
        self.levels.get(at).map_or(Limiter::Unlimited, |level| level.limiter)
    }

    /// The most that a device of this class is ever told to draw, error included, W.
    pub(super) const fn top_cost(&self) -> Watts {
        self.top
    }

    fn cost_at(&self, at: usize) -> Watts {
        self.levels.get(at).map_or(self.power_on, |level| level.cost)
    }
}

fn steps(limiters: &Limiters) -> (Vec<Step>, i64) {
    match limiters {
        Limiters::Unreadable { value } => (Vec::new(), *value),
        Limiters::Ladder(steps) => (steps.clone(), steps.last().map_or(0, |step| step.value)),
        Limiters::Range { min, max, step } => {
            let (min, max, by) = (min.get(), max.get(), step.get().max(1));
            let count = max.saturating_sub(min).max(0) / by;
            ((0..=count).map(|n| Step { watts: Watts::new(min + n * by), value: 0 }).collect(), 0)
        }
    }
}

/// Where no yield is known, one that is strictly concave in what counts makes devices share alike.
const fn alike(cost: Watts, most: Watts) -> i64 {
    cost.get().saturating_mul(most.get().saturating_mul(2).saturating_sub(cost.get()))
}

/// Value for watts, compared without division.
#[derive(Clone, Copy, Debug)]
struct Slope {
    value: i128,
    watts: i128,
}

impl Slope {
    fn between(value: i64, cost: Watts, other_value: i64, other_cost: Watts) -> Self {
        let (value, watts) =
            (i128::from(other_value) - i128::from(value), i128::from(other_cost.get()) - i128::from(cost.get()));
        if watts < 0 { Self { value: -value, watts: -watts } } else { Self { value, watts: watts.max(1) } }
    }
}

impl Ord for Slope {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.value * other.watts).cmp(&(other.value * self.watts))
    }
}
impl PartialOrd for Slope {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Slope {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Slope {}

/// Where the devices that obey stand, by class and level.
#[derive(Clone, Debug, Default)]
pub(super) struct Standings {
    /// Devices by (class, level).
    at: BTreeMap<(usize, usize), BTreeSet<usize>>,
    /// Devices that may only fall.
    pinned: BTreeSet<usize>,
}

impl Standings {
    pub(super) fn put(&mut self, class: usize, level: usize, device: usize, may_rise: bool) {
        self.at.entry((class, level)).or_default().insert(device);
        if !may_rise {
            self.pinned.insert(device);
        }
    }

    /// What all of them count for, W.
    pub(super) fn cost(&self, ladders: &[Ladder]) -> Watts {
        let of = |((class, level), devices): (&(usize, usize), &BTreeSet<usize>)| {
            let each = ladders.get(*class).map_or(Watts::ZERO, |ladder| ladder.cost_at(*level)).get();
            Watts::new(each.saturating_mul(i64::try_from(devices.len()).unwrap_or(i64::MAX)))
        };
        self.at.iter().map(of).sum()
    }

    /// Every device with its class and level.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.at.iter().flat_map(|((_, level), devices)| devices.iter().map(|device| (*device, *level)))
    }

    fn shift(&mut self, class: usize, from: usize, to: usize, devices: &[usize]) {
        if let Some(bucket) = self.at.get_mut(&(class, from)) {
            devices.iter().for_each(|device| {
                bucket.remove(device);
            });
        }
        self.at.retain(|_, bucket| !bucket.is_empty());
        if !devices.is_empty() {
            self.at.entry((class, to)).or_default().extend(devices);
        }
    }

    /// Takes away at least `excess`, least value first, where there is that much to take.
    pub(super) fn lower(&mut self, ladders: &[Ladder], mut excess: Watts) {
        while excess > Watts::ZERO {
            let options = self.at.iter().filter_map(|((class, level), devices)| {
                let ladder = ladders.get(*class)?;
                let (from, down) = (ladder.level(*level)?, ladder.level(*level)?.down?);
                let to = ladder.level(down)?;
                Some((Slope::between(from.value, from.cost, to.value, to.cost), *class, *level, down, devices))
            });
            // Of equal losses the higher state falls first, and within it the last device.
            let Some((_, class, level, down, devices)) =
                options.min_by(|a, b| a.0.cmp(&b.0).then(b.2.cmp(&a.2)).then(a.1.cmp(&b.1)))
            else {
                return;
            };
            let Some(ladder) = ladders.get(class) else { return };
            let each = (ladder.cost_at(level) - ladder.cost_at(down)).get().max(1);
            let whole = usize::try_from((excess.get() - 1) / each).unwrap_or(usize::MAX);
            let moved: Vec<usize> = devices.iter().rev().copied().take(whole).collect();
            let last = devices.iter().rev().nth(whole).copied();
            excess -= Watts::new(each.saturating_mul(i64::try_from(moved.len()).unwrap_or(i64::MAX)));
            self.shift(class, level, down, &moved);
            if let Some(last) = last {
                // The last one falls no further than it must.
                let enough = |to: &usize| ladder.cost_at(level) - ladder.cost_at(*to) >= excess;
                self.shift(class, level, (down..level).rev().find(enough).unwrap_or(down), &[last]);
                return;
            }
        }
    }

    /// Adds at most `room`, most value first.
    pub(super) fn raise(&mut self, ladders: &[Ladder], mut room: Watts) {
        let mut closed = BTreeSet::new();
        while room > Watts::ZERO {
            let options = self.at.iter().filter_map(|(key, devices)| {
                if closed.contains(key) || devices.iter().all(|device| self.pinned.contains(device)) {
                    return None;
                }
                let ladder = ladders.get(key.0)?;
                let (from, up) = (ladder.level(key.1)?, ladder.level(key.1)?.up?);
                let to = ladder.level(up)?;
                Some((Slope::between(from.value, from.cost, to.value, to.cost), *key, up, devices))
            });
            let Some((_, (class, level), up, devices)) =
                options.max_by(|a, b| a.0.cmp(&b.0).then(b.1.1.cmp(&a.1.1)).then(b.1.0.cmp(&a.1.0)))
            else {
                return;
            };
            let Some(ladder) = ladders.get(class) else { return };
            let each = (ladder.cost_at(up) - ladder.cost_at(level)).get().max(1);
            let whole = usize::try_from(room.get() / each).unwrap_or(usize::MAX);
            let free: Vec<usize> = devices.iter().copied().filter(|d| !self.pinned.contains(d)).collect();
            let (moved, rest) = free.split_at(whole.min(free.len()));
            room -= Watts::new(each.saturating_mul(i64::try_from(moved.len()).unwrap_or(i64::MAX)));
            self.shift(class, level, up, moved);
            let fits = |to: &usize| ladder.cost_at(*to) - ladder.cost_at(level) <= room;
            if let Some((part, first)) = (level + 1..up).rev().find(fits).zip(rest.first()) {
                room -= ladder.cost_at(part) - ladder.cost_at(level);
                self.shift(class, level, part, &[*first]);
                closed.insert((class, part));
            }
            if !rest.is_empty() {
                closed.insert((class, level));
            }
        }
    }
}
