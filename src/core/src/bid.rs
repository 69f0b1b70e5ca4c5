//! What power is worth to one consumer: a floor, and above it segments of falling value.
//!
//! Values are gross: what a MWh earns or saves there. Its price is given to [`crate::clear`]. Segments of one bid run
//! in order and never one without those before it.

mod lease;
mod miner;
#[cfg(test)]
mod tests;

pub use lease::{LeaseDraw, LeaseOffer};
pub use miner::{Container, MiningValue};

use crate::tree::NodeId;
use crate::units::{UsdPerMwh, Watts};
use std::fmt;

/// Rank of bids that run only while worth more than the price.
pub const ECONOMIC: u8 = 0;
/// Rank of firm leases: above all prices, before every economic bid.
pub const FIRM: u8 = 1;

/// What one rank stands above the next in merit order: a million USD/MWh, as power markets price lost load.
///
/// It makes rank and value one number, so shadow prices stay plain prices: one near this says a firm lease is cut.
pub const RANK_WORTH: UsdPerMwh = UsdPerMwh::dollars(1_000_000);
/// Values and prices beyond plus or minus this count as this, so that no value reaches the next rank.
pub const VALUE_LIMIT: UsdPerMwh = UsdPerMwh::dollars(250_000);

/// One step of a bid: so many watts more are worth so much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// How wide it is, W, above 0.
    pub watts: Watts,
    /// What a MWh in it is worth.
    pub value: UsdPerMwh,
    /// An award inside it is a whole multiple of this, W. 0: any watt. As wide as the segment: all or nothing.
    pub step: Watts,
}

impl Segment {
    /// A segment that may be awarded to the watt.
    pub const fn new(watts: Watts, value: UsdPerMwh) -> Self {
        Self { watts, value, step: Watts::ZERO }
    }

    fn whole(watts: Watts, value: UsdPerMwh) -> Self {
        Self { watts, value, step: watts }
    }
}

/// One consumer at one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bid {
    node: NodeId,
    rank: u8,
    floor: Watts,
    adder: UsdPerMwh,
    segments: Vec<Segment>,
}

/// Why an offer is no bid. Segments count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BidError {
    /// This quantity is negative.
    Negative {
        /// Its name, unit last.
        field: &'static str,
        /// What it holds.
        value: i64,
    },
    /// This segment is worth more than the one before it.
    Rising {
        /// Which segment.
        segment: usize,
        /// Its value.
        value: UsdPerMwh,
        /// The value before it.
        before: UsdPerMwh,
    },
    /// This segment is not a whole number of its steps wide.
    Step {
        /// Which segment.
        segment: usize,
        /// Its width.
        watts: Watts,
        /// Its step.
        step: Watts,
    },
    /// The curve starts below the lowest cap, which is must-run.
    Cap {
        /// The curve's first cap.
        cap: Watts,
        /// The lowest cap of the GPUs.
        lowest: Watts,
    },
}

impl fmt::Display for BidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Negative { field, value } => write!(f, "{field} is {value}, it must not be negative"),
            Self::Rising { segment, value, before } => {
                write!(f, "segment {segment}: worth {value} USD/MWh, at most the {before} before it is right")
            }
            Self::Step { segment, watts, step } => {
                write!(f, "segment {segment}: {watts:?} must be a whole multiple of its step {step:?}")
            }
            Self::Cap { cap, lowest } => {
                write!(f, "the curve starts at a cap of {cap:?}, it must start at the lowest cap {lowest:?} or above")
            }
        }
    }
}

impl std::error::Error for BidError {}

/// `value`, unless it is negative.
fn natural(field: &'static str, value: i64) -> Result<i64, BidError> {
    if value < 0 { Err(BidError::Negative { field, value }) } else { Ok(value) }
}

impl Bid {
    /// An economic bid. `floor` is drawn whatever the price (physical facts only: thermal floor, standby, lowest caps,
    /// a stuck device); segments lie above it in falling value. Empty segments are left out.
    ///
    /// # Errors
    /// A negative quantity, a value that rises, or a width that is no multiple of its step.
    pub fn new(node: NodeId, floor: Watts, mut segments: Vec<Segment>) -> Result<Self, BidError> {
        natural("floor_watts", floor.get())?;
        let mut before: Option<UsdPerMwh> = None;
        for (segment, &Segment { watts, value, step }) in segments.iter().enumerate() {
            natural("watts", watts.get())?;
            natural("step_watts", step.get())?;
            if let Some(before) = before.filter(|b| value > *b) {
                return Err(BidError::Rising { segment, value, before });
            }
            if watts.floor_to(step) != watts {
                return Err(BidError::Step { segment, watts, step });
            }
            before = Some(value);
        }
        segments.retain(|s| s.watts > Watts::ZERO);
        Ok(Self { node, rank: ECONOMIC, floor, adder: UsdPerMwh::ZERO, segments })
    }

    /// A consumer that draws `floor` and can be told nothing.
    pub fn must_run(node: NodeId, floor: Watts) -> Self {
        let floor = floor.at_least_zero();
        Self { node, rank: ECONOMIC, floor, adder: UsdPerMwh::ZERO, segments: Vec::new() }
    }

    /// The same bid in another rank: all of a higher rank comes first and runs whatever the price.
    #[must_use]
    pub fn ranked(mut self, rank: u8) -> Self {
        self.rank = rank;
        self
    }

    /// The same bid where its power costs `adder` more than the price given to clearing (delivery charges, a hosted
    /// customer's tariff).
    #[must_use]
    pub fn with_adder(mut self, adder: UsdPerMwh) -> Self {
        self.adder = adder;
        self
    }

    /// The same bid, awarded above its floor in whole multiples of `step`; 0 leaves it as it is.
    ///
    /// A step that straddles segments is worth their mean, rounded down, which loses nothing: it can only be had
    /// whole. What is left below one step at the end is dropped. Call before [`Bid::with_minimum`].
    #[must_use]
    pub fn with_step(mut self, step: Watts) -> Self {
        if step <= Watts::ZERO {
            return self;
        }
        let mut stepped = Vec::with_capacity(self.segments.len());
        let mut open = Blend::default();
        for segment in &self.segments {
            let mut left = segment.watts;
            if open.watts > Watts::ZERO {
                left -= open.take(segment.value, left.min(step - open.watts));
            }
            if open.watts == step {
                stepped.push(Segment { step, ..open.close() });
            }
            let whole = left.floor_to(step);
            if whole > Watts::ZERO {
                stepped.push(Segment { watts: whole, value: segment.value, step });
            }
            open.take(segment.value, left - whole);
        }
        self.segments = stepped;
        self
    }

    /// The same bid whose first `minimum` watts above the floor run together or not at all (one breaker; the least a
    /// pump loop or a job runs at). Rounded up to a whole step; the block is worth the mean of what it joins.
    #[must_use]
    pub fn with_minimum(mut self, minimum: Watts) -> Self {
        if minimum <= Watts::ZERO || self.segments.is_empty() {
            return self;
        }
        let (block, rest) = split(&self.segments, minimum);
        let mut blend = Blend::default();
        for segment in &block {
            blend.take(segment.value, segment.watts);
        }
        self.segments = std::iter::once(blend.close()).chain(rest).collect();
        self
    }

    /// The same bid as one block: all above the floor, or nothing.
    #[must_use]
    pub fn in_one_piece(self) -> Self {
        let all = self.most() - self.floor;
        self.with_minimum(all)
    }

    /// The same bid where at least `floor` is drawn whatever the price (a stuck device, a minimum time still running).
    /// Rounded up to a whole step. Never lowers the floor.
    #[must_use]
    pub fn raised_to(mut self, floor: Watts) -> Self {
        if floor > self.floor {
            let (below, above) = split(&self.segments, floor - self.floor);
            let covered: Watts = below.iter().map(|s| s.watts).sum();
            self.floor = floor.max(self.floor + covered);
            self.segments = above;
        }
        self
    }

    /// The same bid whose first `watts` above the floor, rounded up to a whole step, are worth what `value` makes of
    /// their worth. Values still fall: none ends above the one before it.
    #[must_use]
    pub fn revalued(mut self, watts: Watts, value: impl Fn(UsdPerMwh) -> UsdPerMwh) -> Self {
        if watts <= Watts::ZERO {
            return self;
        }
        let (mut first, rest) = split(&self.segments, watts);
        for segment in &mut first {
            segment.value = value(segment.value);
        }
        let mut least = UsdPerMwh::MAX;
        self.segments = first.into_iter().chain(rest).collect();
        for segment in &mut self.segments {
            least = least.min(segment.value);
            segment.value = least;
        }
        self
    }

    /// The same bid where no more than `most` may be awarded (a lockout, a ramp, what the load can use), rounded down
    /// to a whole step. Never cuts the floor, which is drawn anyway.
    #[must_use]
    pub fn capped_at(mut self, most: Watts) -> Self {
        let mut room = (most - self.floor).at_least_zero();
        for segment in &mut self.segments {
            let kept = segment.watts.min(room).floor_to(segment.step);
            room = if kept == segment.watts { room - kept } else { Watts::ZERO };
            segment.watts = kept;
        }
        self.segments.retain(|s| s.watts > Watts::ZERO);
        self
    }

    /// Where it draws.
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// Its rank: 0 is economic, higher runs first and whatever the price.
    pub const fn rank(&self) -> u8 {
        self.rank
    }

    /// Drawn whatever the price, W.
    pub const fn floor(&self) -> Watts {
        self.floor
    }

    /// What its power costs beyond the price given to clearing.
    pub const fn adder(&self) -> UsdPerMwh {
        self.adder
    }

    /// What lies above the floor, in falling value.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Floor and all segments, W.
    pub fn most(&self) -> Watts {
        self.floor + self.segments.iter().map(|s| s.watts).sum()
    }

    /// Its place in merit order for a value: value less adder, held within [`VALUE_LIMIT`], a [`RANK_WORTH`] a rank.
    /// It runs where this is above the price.
    pub fn merit(&self, value: UsdPerMwh) -> UsdPerMwh {
        let net = (value - self.adder).max(-VALUE_LIMIT).min(VALUE_LIMIT);
        UsdPerMwh::new(RANK_WORTH.get().saturating_mul(i64::from(self.rank))) + net
    }
}

/// Watts of several values, to be had together only.
#[derive(Default)]
struct Blend {
    watts: Watts,
    worth: i128,
}

impl Blend {
    fn take(&mut self, value: UsdPerMwh, watts: Watts) -> Watts {
        self.watts += watts;
        self.worth += i128::from(value.get()) * i128::from(watts.get());
        watts
    }

    /// All or nothing, at the mean value rounded down; starts anew.
    fn close(&mut self) -> Segment {
        let mean = self.worth.checked_div_euclid(i128::from(self.watts.get())).unwrap_or(0);
        let value = UsdPerMwh::new(i64::try_from(mean).unwrap_or(i64::MIN));
        let segment = Segment::whole(self.watts, value);
        *self = Self::default();
        segment
    }
}

/// The first `at` watts of some segments, rounded up to a whole step, and the rest.
fn split(segments: &[Segment], at: Watts) -> (Vec<Segment>, Vec<Segment>) {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let mut left = at;
    for segment in segments {
        let cut = segment.watts.min(-((-left).floor_to(segment.step)));
        if cut > Watts::ZERO {
            before.push(Segment { watts: cut, ..*segment });
        }
        if cut < segment.watts {
            after.push(Segment { watts: segment.watts - cut.at_least_zero(), ..*segment });
        }
        left = (left - cut).at_least_zero();
    }
    (before, after)
}
