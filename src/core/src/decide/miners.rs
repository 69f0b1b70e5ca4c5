//! What containers bid: their fleet's ladder at today's hashprice, within each one's box, with its holds.

use super::limits::{KindLimit, Limits};
use super::range::{Range, asleep};
use crate::bid::{Bid, Container, MiningValue, Segment};
use crate::clear::clear;
use crate::hold::{Hysteresis, Keep, shifted};
use crate::snapshot::{Fleet, Load, LoadKind, Member, Ownership, Snapshot};
use crate::tree::{Node, NodeId, Tree};
use crate::units::{Ppm, UsdPerMwh, UsdPerPhDay, Watts};

/// Orders miners by efficiency while nobody knows what hashing earns: nothing is started or stopped by it.
const NOMINAL_HASHPRICE: UsdPerPhDay = UsdPerPhDay::dollars(50);

/// What a fleet sells: the same for each of its containers.
#[derive(Clone, Debug, Default)]
pub(super) struct Sold {
    /// Below the first segment, W.
    pub(super) floor: Watts,
    /// At their value, without holds.
    pub(super) segments: Vec<Segment>,
    /// Holds, but for minimum times.
    hysteresis: Hysteresis,
    /// The smallest part of a rise or fall, W; 0: any.
    pub(super) step: Watts,
}

impl Sold {
    /// The value of the watt just below `watts`; none at or below the floor.
    pub(super) fn value_below(&self, watts: Watts) -> Option<UsdPerMwh> {
        let mut reached = self.floor;
        let mut value = None;
        for segment in &self.segments {
            if reached >= watts {
                break;
            }
            value = Some(segment.value);
            reached += segment.watts;
        }
        value
    }

    /// The value of the watt just above `watts`; none where nothing is sold there.
    pub(super) fn value_above(&self, watts: Watts) -> Option<UsdPerMwh> {
        let mut reached = self.floor;
        self.segments.iter().find_map(|segment| {
            reached += segment.watts;
            (reached > watts).then_some(segment.value)
        })
    }
}

/// What each fleet sells, in the order of the fleets. One with a negative quantity sells nothing.
pub(super) fn sold(snapshot: &Snapshot) -> Vec<Sold> {
    let priced = snapshot.price.value().is_some() && snapshot.hashprice.value().is_some();
    snapshot.fleets.iter().map(|fleet| of_fleet(snapshot, fleet, priced)).collect()
}

fn of_fleet(snapshot: &Snapshot, fleet: &Fleet, priced: bool) -> Sold {
    let container = Container {
        node: NodeId::SITE,
        miners: fleet.miners,
        curve: &fleet.ladder,
        standby: Watts::ZERO,
        overhead: fleet.overhead,
        thermal_floor: fleet.thermal_floor,
        minimum: Watts::ZERO,
        step: fleet.step,
        one_piece: fleet.indivisible,
    };
    let hashprice = snapshot.hashprice.value().unwrap_or(NOMINAL_HASHPRICE);
    let value = match fleet.ownership {
        Ownership::Own => MiningValue::Own { hashprice, pool_fee: fleet.pool_fee, wear: fleet.wear },
        Ownership::Hosted { rate, credit } => MiningValue::Hosted(rate + credit),
    };
    let Ok(bid) = Bid::miners(&container, value) else {
        return Sold { floor: asleep(fleet).max(fleet.thermal_floor), ..Sold::default() };
    };
    let policy = &snapshot.policy;
    let first = bid.segments().first().map_or(Watts::ZERO, |s| s.watts);
    let costs = Hysteresis::new(policy.dead_band, fleet.start_cost, fleet.stop_cost, first, policy.expected_excursion);
    Sold {
        floor: bid.floor(),
        step: if fleet.indivisible { bid.most() - bid.floor() } else { fleet.step },
        segments: bid.segments().to_vec(),
        hysteresis: Hysteresis { keep: if priced { Keep::Nothing } else { Keep::Everything }, ..costs },
    }
}

/// One bid a load, in their order: containers as they are worth it, all else as must-run at its floor.
pub(super) fn bids(snapshot: &Snapshot, limits: &Limits<'_>, sold: &[Sold], ranges: &[Range]) -> Vec<Bid> {
    let of = |(load, range): (&Load, &Range)| {
        let must_run = || Bid::must_run(load.node, range.counted(range.floor));
        let Member::Fleet(fleet) = load.member else { return must_run() };
        let Some(sold) = sold.get(fleet as usize) else { return must_run() };
        // Below its natural floor a container has nothing to sell: a lockout or a limit has taken even that.
        if range.stuck.is_some() || range.floor < sold.floor {
            return must_run();
        }
        let keep = if range.keeps_on.is_some() { Keep::First } else { Keep::Nothing };
        let hysteresis = Hysteresis { keep: sold.hysteresis.keep.max(keep), ..sold.hysteresis };
        let segments = shifted(&sold.segments, sold.floor, range.present, &hysteresis);
        Bid::new(load.node, sold.floor, segments).map_or_else(|_| must_run(), |bid| bid.capped_at(range.most))
    };
    let mut bids: Vec<Bid> = snapshot.loads.iter().zip(ranges).map(of).collect();
    for limit in limits.kinds.iter().filter(|l| l.kind == LoadKind::Miner) {
        cap_kind(snapshot, limit, &mut bids);
    }
    bids
}

/// Keeps the containers below a limit of their own within it, dearest first. The sets of one kind below a node do not
/// nest with the nodes' own, so this is a step before clearing: never over the limit, and at most short of the best.
fn cap_kind(snapshot: &Snapshot, limit: &KindLimit<'_>, bids: &mut [Bid]) {
    let Some(tree) = bare(&snapshot.tree, limit) else { return };
    let below = |load: &Load| {
        load.member.kind() == Some(limit.kind) && snapshot.tree.path(load.node).any(|n| n == limit.event.node)
    };
    let concerned: Vec<usize> =
        snapshot.loads.iter().enumerate().filter(|(_, load)| below(load)).map(|(at, _)| at).collect();
    let own: Vec<Bid> = concerned.iter().filter_map(|at| bids.get(*at).cloned()).collect();
    let cleared = clear(&tree, &own, -crate::bid::VALUE_LIMIT);
    for (at, award) in concerned.into_iter().zip(cleared.awards) {
        if let Some(bid) = bids.get_mut(at) {
            *bid = bid.clone().capped_at(award.watts);
        }
    }
}

/// The tree without limits, but for this one.
fn bare(tree: &Tree, limit: &KindLimit<'_>) -> Option<Tree> {
    let open = |(at, node): (usize, &Node)| Node {
        limit: if at == limit.event.node.index() { limit.capacity.at_least_zero() } else { Watts::MAX },
        reserve: Watts::ZERO,
        auxiliary: Watts::ZERO,
        loss: Ppm::ZERO,
        ..node.clone()
    };
    Tree::new(tree.nodes().iter().enumerate().map(open).collect()).ok()
}
