//! What power is worth to a container of miners.

use super::{Bid, BidError, Segment, natural};
use crate::curve::{MinerCurve, hull};
use crate::tree::NodeId;
use crate::units::{GigahashPerSecond, Ppm, UsdPerMwh, UsdPerPhDay, Watts};

/// A container of alike miners behind one feeder.
#[derive(Clone, Copy, Debug)]
pub struct Container<'a> {
    /// Where it draws.
    pub node: NodeId,
    /// How many miners answer.
    pub miners: u32,
    /// The power curve of one of them.
    pub curve: &'a MinerCurve,
    /// Drawn by the container itself while every miner sleeps, W: controls, trickle pumps, heaters.
    pub standby: Watts,
    /// Drawn on top while any miner hashes, W: pumps and fans.
    pub overhead: Watts,
    /// Never sold, W: what the whole container must draw so that it does not freeze or clog. 0 where there is none.
    pub thermal_floor: Watts,
    /// The least it can run at above its floor, W; 0 where one miner may run alone.
    pub minimum: Watts,
    /// Awarded above the floor in multiples of this, W; 0 for any watt.
    pub step: Watts,
    /// One breaker for all: it runs whole or not at all.
    pub one_piece: bool,
}

/// Whose miners they are, which says what a MWh is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MiningValue {
    /// The site's own: what they mine is its revenue.
    Own {
        /// Expected revenue of hashrate.
        hashprice: UsdPerPhDay,
        /// Kept by the pool; whatever else is lost of the revenue (rejects, downtime) belongs here too.
        pool_fee: Ppm,
        /// What a MWh wears out.
        wear: UsdPerMwh,
    },
    /// A customer's: what their contract pays for a MWh, the same for every watt.
    Hosted(UsdPerMwh),
}

impl MiningValue {
    /// What a MWh earns in a step of a curve: `41.667 × hashprice × (1 − fee) ÷ (marginal J/TH) − wear`, rounded down.
    fn of(self, hashrate: GigahashPerSecond, watts: Watts) -> UsdPerMwh {
        match self {
            Self::Own { hashprice, pool_fee, wear } => {
                let kept = (Ppm::percent(100) - pool_fee).at_least_zero();
                hashprice.at_least_zero().per_mwh(hashrate, watts).part(kept) - wear
            }
            Self::Hosted(value) => value,
        }
    }
}

impl Bid {
    /// The bid of a container: its hull at today's value.
    ///
    /// The hull is taken over the container, pumps and fans included, so the first watts bear the overhead: they are
    /// worth less by what the overhead draws. The floor is the larger of the thermal floor and everything asleep.
    /// Between hull points some miners run at one and some at the next; a part of the first step yields up to the
    /// overhead's share less than its watts say, which `minimum` rules out where it matters.
    ///
    /// # Errors
    /// A negative quantity, by name.
    pub fn miners(container: &Container<'_>, value: MiningValue) -> Result<Self, BidError> {
        let Container { node, miners, curve, .. } = *container;
        let standby = natural("standby_watts", container.standby.get())?;
        let overhead = natural("overhead_watts", container.overhead.get())?;
        natural("thermal_floor_watts", container.thermal_floor.get())?;
        natural("minimum_watts", container.minimum.get())?;
        natural("step_watts", container.step.get())?;
        let count = i64::from(miners);
        let points = curve.vertices().iter().enumerate().map(|(place, vertex)| {
            let running = if place > 0 { overhead } else { 0 };
            let watts = vertex.watts.get().saturating_mul(count).saturating_add(standby).saturating_add(running);
            (watts, vertex.hashrate.get().saturating_mul(count))
        });
        let vertices = hull(points);
        let asleep = Watts::new(vertices.first().map_or(0, |v| v.0));
        let steps = vertices.windows(2).filter_map(|pair| match pair {
            [low, high] if miners > 0 => {
                let watts = Watts::new(high.0.saturating_sub(low.0));
                let hashrate = GigahashPerSecond::new(high.1.saturating_sub(low.1));
                Some(Segment::new(watts, value.of(hashrate, watts)))
            }
            _ => None,
        });
        let bid = Self::new(node, asleep, steps.collect())?.raised_to(container.thermal_floor);
        let bid = bid.with_step(container.step).with_minimum(container.minimum);
        Ok(if container.one_piece { bid.in_one_piece() } else { bid })
    }
}
