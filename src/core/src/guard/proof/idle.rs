//! Devices that leave what they may draw unused, as far as that can be told: for choosing whom to lower first and for
//! what a load asks for, never for what it counts.
//!
//! A miner that stopped itself (for heat, for a broken fan) keeps its limiter and may draw it again at any moment. Its
//! watts count until it has been lowered; lowered they are free for others, and it does not come back by itself. So it
//! *asks* by the clock: after [`Policy::rest`] its load wants the watts again, and it is tried once more.

use super::class::Class;
use super::facts::{DeviceReading, Limiter, Policy};
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
