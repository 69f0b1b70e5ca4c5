//! What power is worth to a lease: the rent it pays and the credits that running avoids.

use super::{Bid, BidError, FIRM, Segment, natural};
use crate::curve::{CapCurve, hull};
use crate::tree::NodeId;
use crate::units::{Ppm, Usd, UsdPerMwh, Watts, mul_div};

/// How a lease takes power above the must-run watts of its nodes.
#[derive(Clone, Copy, Debug)]
pub enum LeaseDraw<'a> {
    /// Its class allows no caps: so many watts, or a stop.
    Whole(Watts),
    /// Its class allows caps: watts go cap by cap down to the curve's lowest, then comes the stop.
    Caps {
        /// How many GPUs the lease holds.
        gpus: u32,
        /// The lowest cap of one GPU, W: must-run, whether the lease runs or not.
        lowest_cap: Watts,
        /// Throughput of one GPU over the caps that the class allows.
        curve: &'a CapCurve,
    },
}

/// A lease as a consumer of power.
#[derive(Clone, Copy, Debug)]
pub struct LeaseOffer<'a> {
    /// Where it draws.
    pub node: NodeId,
    /// Must-run watts that this bid counts (lowest caps and node overhead); 0 where the nodes' own bids count them.
    pub floor: Watts,
    /// What it draws above those.
    pub draw: LeaseDraw<'a>,
    /// Rent of an hour at full throughput. A cap earns its share.
    pub rent_per_hour: Usd,
    /// Credits owed for an hour stopped, so avoided by running. A cap owes its share.
    pub credit_per_hour: Usd,
    /// The amortised cost of a stop (restart, work lost since the checkpoint, spread over the outage expected), as a
    /// price on the watts that only a stop frees.
    pub stop: UsdPerMwh,
}

impl Bid {
    /// A flexible lease: rent and credits per MWh above the must-run watts, economic rank.
    ///
    /// With caps the hull of (watts, throughput) gives falling segments; the first one, from stopped to the lowest
    /// point of the hull that runs, is all or nothing, bears the cost of a stop, and so is the last to go. A curve that
    /// starts at the must-run cap has no stop: stopping would free no watt. Values round down.
    ///
    /// # Errors
    /// A negative quantity, or a curve that starts below the lowest cap.
    pub fn flexible(offer: &LeaseOffer<'_>) -> Result<Self, BidError> {
        natural("rent_per_hour", offer.rent_per_hour.get())?;
        natural("credit_per_hour", offer.credit_per_hour.get())?;
        natural("stop_usd_per_mwh", offer.stop.get())?;
        let hourly = (offer.rent_per_hour + offer.credit_per_hour).get();
        let (points, stops) = match offer.draw {
            LeaseDraw::Whole(watts) => {
                natural("watts", watts.get())?;
                (vec![(0, 0), (watts.get(), Ppm::percent(100).get())], watts > Watts::ZERO)
            }
            LeaseDraw::Caps { gpus, lowest_cap, curve } => cap_points(gpus, lowest_cap, curve)?,
        };
        let segments = points.windows(2).enumerate().filter_map(|(place, pair)| {
            let [low, high] = pair else { return None };
            let watts = Watts::new(high.0.saturating_sub(low.0));
            // µUSD/h × 10⁻⁶ (ppm) ÷ (W × 10⁻⁶ MW): the powers of ten cancel.
            let worth = UsdPerMwh::new(mul_div(hourly, high.1.saturating_sub(low.1), watts.get()));
            let stop = stops && place == 0;
            Some(if stop { Segment::whole(watts, worth + offer.stop) } else { Segment::new(watts, worth) })
        });
        Self::new(offer.node, offer.floor, segments.collect())
    }

    /// A firm lease: the same watts and blocks, in the rank above all prices. Its values only order firm leases among
    /// themselves when a limit cuts them.
    ///
    /// # Errors
    /// As [`Bid::flexible`].
    pub fn firm(offer: &LeaseOffer<'_>) -> Result<Self, BidError> {
        Ok(Self::flexible(offer)?.ranked(FIRM))
    }
}

/// The hull of (watts above must-run, throughput) of all GPUs, and whether it starts with a stop.
fn cap_points(gpus: u32, lowest: Watts, curve: &CapCurve) -> Result<(Vec<(i64, i64)>, bool), BidError> {
    natural("lowest_cap_watts", lowest.get())?;
    let first = curve.lowest_cap();
    if first < lowest {
        return Err(BidError::Cap { cap: first, lowest });
    }
    if gpus == 0 {
        return Ok((Vec::new(), false));
    }
    let stops = first > lowest;
    let running = curve.vertices().iter().map(|point| {
        let above = (point.cap - lowest).get().saturating_mul(i64::from(gpus));
        (above, point.throughput.get())
    });
    Ok((hull(stops.then_some((0, 0)).into_iter().chain(running)), stops))
}
