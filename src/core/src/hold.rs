//! Holds: why an award may not change yet.
//!
//! Four kinds. A **switch** that is too recent keeps a load on or off. **Hysteresis** makes what runs worth more and
//! what stands worth less, so that merit order itself weighs a change against what it costs. The **ramp** ([`ramp`])
//! spreads an economic change over minutes. A **trim** ([`trim`]) takes back what a load does not use.
//!
//! No hold stands in the way of safety: limits, lockouts and emergencies are applied after all of them.

pub mod ramp;
#[cfg(test)]
mod tests;
pub mod trim;

use crate::bid::Segment;
use crate::memory::LoadMemory;
use crate::units::{Span, Time, Usd, UsdPerMwh, Watts};

/// What a segment that a hold keeps running is worth: more than any price that power has ever had, less than a firm
/// lease ([`crate::bid::RANK_WORTH`]) and less than [`crate::bid::VALUE_LIMIT`], so that limits still cut it by value.
pub const HELD_WORTH: UsdPerMwh = UsdPerMwh::dollars(100_000);

/// A load that was switched so recently that it stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwitchHold {
    /// Runs on until then, unless in an emergency.
    On(Time),
    /// Stays off until then.
    Off(Time),
}

/// Whether the last switch still holds. A load of which nothing is remembered is free.
pub fn switch(memory: Option<&LoadMemory>, minimum_on: Span, minimum_off: Span, now: Time) -> Option<SwitchHold> {
    let memory = memory?;
    let until = memory.switched.after(if memory.on { minimum_on } else { minimum_off });
    let hold = if memory.on { SwitchHold::On(until) } else { SwitchHold::Off(until) };
    (now < until).then_some(hold)
}

/// How much a change must be worth, as shifts of value: half the dead band either way, and what a switch costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hysteresis {
    /// Half the dead band: what runs is worth this much more, what stands this much less.
    pub half_band: UsdPerMwh,
    /// What the first watts are worth more while they run: a stop now and the start that follows it.
    pub stop: UsdPerMwh,
    /// What the first watts are worth less while they stand: a start.
    pub start: UsdPerMwh,
    /// The first watts run on whatever the price (a minimum time, or a price that is not known).
    pub keep: Keep,
}

/// How much of what runs is kept whatever the price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keep {
    /// Nothing.
    #[default]
    Nothing,
    /// The first segment: the load stays on.
    First,
    /// All that runs.
    Everything,
}

impl Hysteresis {
    /// For a load whose first segment is `watts` wide: its start and stop spread over the time that a price excursion
    /// is taken to last.
    ///
    /// What runs is stopped only for an excursion that pays for the whole cycle, (price − value) × excursion × watts >
    /// stop + start; what stands is started when that pays for the start, the stop before it being sunk.
    pub fn new(dead_band: UsdPerMwh, start: Usd, stop: Usd, watts: Watts, excursion: Span) -> Self {
        let energy = watts.over(excursion);
        let half_band = UsdPerMwh::new(dead_band.at_least_zero().get() / 2);
        let (start, stop) = (start.at_least_zero(), stop.at_least_zero());
        Self { half_band, stop: (start + stop).per(energy), start: start.per(energy), keep: Keep::Nothing }
    }
}

/// Shifts the values of segments above `floor` where `present` watts run now. Values still fall: a segment is never
/// worth more than the one before it, because it cannot be had without.
pub fn shifted(segments: &[Segment], floor: Watts, present: Watts, hysteresis: &Hysteresis) -> Vec<Segment> {
    let mut shifted = Vec::with_capacity(segments.len() + 1);
    let mut running = (present - floor).at_least_zero();
    let mut least = UsdPerMwh::MAX;
    for (place, segment) in segments.iter().enumerate() {
        let first = place == 0;
        // A part of a step cannot run alone: what runs of it counts as running whole.
        let runs = segment.watts.min(-((-running).floor_to(segment.step)));
        running = (running - segment.watts).at_least_zero();
        for (watts, value) in [
            (runs, hysteresis.of_running(segment.value, first)),
            (segment.watts - runs, hysteresis.of_standing(segment.value, first)),
        ] {
            if watts > Watts::ZERO {
                least = least.min(value);
                shifted.push(Segment { watts, value: least, step: segment.step });
            }
        }
    }
    shifted
}

impl Hysteresis {
    fn of_running(&self, value: UsdPerMwh, first: bool) -> UsdPerMwh {
        let kept = match self.keep {
            Keep::Nothing => false,
            Keep::First => first,
            Keep::Everything => true,
        };
        let stop = if first { self.stop } else { UsdPerMwh::ZERO };
        let held = if kept { HELD_WORTH } else { UsdPerMwh::ZERO };
        value + self.half_band + stop + held
    }

    fn of_standing(&self, value: UsdPerMwh, first: bool) -> UsdPerMwh {
        value - self.half_band - if first { self.start } else { UsdPerMwh::ZERO }
    }
}
