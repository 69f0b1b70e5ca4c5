//! Devices that leave what they may draw unused, as far as that can be told: for choosing whom to lower first and for
//! what a load asks for, never for what it counts.
//!
//! A miner that stopped itself (for heat, for a broken fan) keeps its limiter and may draw it again at any moment. Its
//! watts count until it has been lowered; lowered they are free for others, and it does not come back by itself. So it
//! *asks* by the clock: after [`Policy::rest`] its load wants the watts again, and it is tried once more.

use super::class::Class;
use super::facts::{DeviceReading, Limiter, Policy};
use super::plan::Ladder;
use crate::units::{Time, Watts};

/// How long a device has drawn far below its limiter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Idle {
    since: Option<Time>,
    /// It has for [`Policy::idle_after`], by readings alone: between two of them nothing is concluded.
    pub(super) long: bool,
}

impl Idle {
    /// Takes a new reading. `told`: everything that the device was told has been answered.
    pub(super) fn see(&mut self, reading: &DeviceReading, class: &Class, policy: &Policy, told: bool) {
        let low = match (reading.limiter, reading.watts) {
            (None | Some(Limiter::Asleep), _) => false,
            (Some(limiter), Some((watts, _))) => watts < Watts::new(class.ladder.cost(limiter).get() / 2),
            (Some(_), None) => reading.working == Some(false),
        };
        if !(low && told && class.facts.always_works) {
            *self = Self::default();
            return;
        }
        let since = *self.since.get_or_insert(reading.asked_at);
        self.long = reading.asked_at.since(since) >= policy.idle_after;
    }
}

/// What idle devices hold: each keeps it, or falls to its lowest state at once. By steps it would be idle anew at each.
#[derive(Clone, Debug, Default)]
pub(super) struct Spare(Vec<Held>);

#[derive(Clone, Copy, Debug)]
struct Held {
    place: usize,
    level: usize,
    cost: Watts,
    /// What its fall sets free, W.
    most: Watts,
    freed: bool,
}

impl Spare {
    pub(super) fn put(&mut self, place: usize, level: usize, ladder: &Ladder) {
        let cost = |level: usize| ladder.level(level).map_or(Watts::ZERO, |level| level.cost);
        self.0.push(Held { place, level, cost: cost(level), most: cost(level) - cost(0), freed: false });
    }

    /// What they count for where they stand, W.
    pub(super) fn cost(&self) -> Watts {
        self.0.iter().map(|held| held.cost).sum()
    }

    /// What the fall of all of them sets free, W.
    pub(super) fn most(&self) -> Watts {
        self.0.iter().map(|held| held.most).sum()
    }

    /// Lets as many fall, the last first, as set `wanted` free, or all. Gives what they do set free, W.
    pub(super) fn free(&mut self, wanted: Watts) -> Watts {
        let mut free = Watts::ZERO;
        for held in self.0.iter_mut().rev().filter(|held| held.most > Watts::ZERO) {
            if free >= wanted {
                break;
            }
            (held.freed, held.level) = (true, 0);
            free += held.most;
        }
        free
    }

    /// Those that fall.
    pub(super) fn freed(&self) -> Vec<usize> {
        self.0.iter().filter(|held| held.freed).map(|held| held.place).collect()
    }

    /// Every device with its level.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.0.iter().map(|held| (held.place, held.level))
    }
}
