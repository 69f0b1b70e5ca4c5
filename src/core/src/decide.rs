//! One decision: from everything that is known to what is wanted, with a reason for each part of it.
//!
//! Pure and total: the same snapshot gives the same plan, byte for byte, and every snapshot gives one. What is wanted
//! is not what is safe to write now: the guard's ledger turns wants into writes, sheds first.

pub mod explain;
mod leases;
mod limits;
mod miners;
mod obligations;
mod range;
mod report;
mod settle;
#[cfg(test)]
mod tests;

use crate::bid::Bid;
use crate::clear::{Clearing, clear};
use crate::hold::ramp::Rates;
use crate::lease::Digest;
use crate::memory::Ramp;
use crate::plan::Plan;
use crate::snapshot::{Load, LoadKind, Snapshot};
use crate::units::{UsdPerMwh, Watts};
use leases::Leases;
use limits::Limits;
use miners::Sold;
use obligations::{Duty, Held};
use range::Range;
use settle::{Move, Outcome};

/// Decides what every load and every lease is wanted at. Offers that are made carry the `digest` of their terms.
pub fn decide(snapshot: &Snapshot, digest: Digest) -> Plan {
    let (facts, leases, ramp) = work(snapshot, digest);
    report::plan(&facts, leases, ramp)
}

/// All that [`decide`] does before it writes down what came of it.
fn work(snapshot: &Snapshot, digest: Digest) -> (Facts<'_>, Leases, Ramp) {
    let limits = limits::in_force(snapshot);
    let price = price(snapshot);
    let sold = miners::sold(snapshot);
    let duties = obligations::in_force(snapshot);
    let mut ranges = range::ranges(snapshot, &duties, price.is_some());
    range::yield_floors(snapshot, &limits, &mut ranges);

    let mut bids = miners::bids(snapshot, &limits, &sold, &ranges);
    gpu_nodes_at_floors(snapshot, &ranges, &mut bids);
    let leases = leases::serve_all(snapshot, &limits, &ranges, (&bids, &duties), price, digest);

    let nodes = gpu_nodes(snapshot, &ranges, &leases);
    gpu_nodes_as_granted(snapshot, &ranges, &nodes, &mut bids);
    let reserved = leases::reserved(snapshot, &leases);
    let reserves = reserved.iter().enumerate().filter(|(_, watts)| **watts > Watts::ZERO);
    bids.extend(reserves.map(|(at, watts)| Bid::must_run(crate::tree::NodeId(at as u32), *watts)));
    let held = obligations::hold_loads(snapshot, &limits, &duties, &leases, price, &mut bids);
    if price.is_none() {
        range::rest(snapshot, &duties, &held, &mut ranges, &mut bids);
    }
    // Without a price all that runs or is obliged is worth more than any; nothing else may start.
    let cleared = clear(&limits.tree, &bids, price.unwrap_or_default());

    let moves = moves(snapshot, &sold, &ranges, &leases, &nodes, (&cleared, &held));
    let rates = rates(snapshot, &moves);
    let ramp = snapshot.memory.ramp;
    let obliged = (duties.as_slice(), &held);
    let credit = rates.credit(ramp, snapshot.now);
    let outcome = settle::settle(snapshot, &limits, &ranges, &moves, (&reserved, obliged), credit);
    let ramp = rates.advance(ramp, outcome.moved, snapshot.now);
    let facts = Facts { snapshot, limits, duties, held, price, sold, ranges, nodes, bids, cleared, moves, outcome };
    (facts, leases, ramp)
}

/// All that a plan is written from.
struct Facts<'a> {
    snapshot: &'a Snapshot,
    limits: Limits<'a>,
    duties: Vec<Duty<'a>>,
    held: Held,
    /// None: hold.
    price: Option<UsdPerMwh>,
    sold: Vec<Sold>,
    ranges: Vec<Range>,
    nodes: Vec<GpuNode>,
    /// What was cleared: one a load in their order, then what is kept free.
    bids: Vec<Bid>,
    cleared: Clearing,
    moves: Vec<Move>,
    outcome: Outcome,
}

impl Facts<'_> {
    /// What clearing awarded a load, W.
    fn target(&self, at: usize) -> Watts {
        self.moves.get(at).map_or(Watts::ZERO, |to| to.target)
    }
}

/// The price to move by, if there is one: without a hashprice nobody knows what is worth more than it.
fn price(snapshot: &Snapshot) -> Option<UsdPerMwh> {
    snapshot.hashprice.value()?;
    snapshot.price.value()
}

/// A load as a GPU node; nothing for a container.
#[derive(Clone, Copy, Debug, Default)]
struct GpuNode {
    /// Lowest caps and what its leases may use above them, W.
    watts: Watts,
    /// The lease that is worth most there.
    lease: Option<u32>,
    /// A lease there is to be stopped at once.
    urgent: bool,
}

fn is_gpu(load: &Load) -> bool {
    load.member.kind() == Some(LoadKind::Gpu)
}

/// GPU nodes as they count before leases are decided. What a stuck one draws for its leases is in their own bids.
fn gpu_nodes_at_floors(snapshot: &Snapshot, ranges: &[Range], bids: &mut [Bid]) {
    if !snapshot.loads.iter().zip(ranges).any(|(load, range)| is_gpu(load) && range.stuck.is_some()) {
        return;
    }
    let granted = |at: usize| match snapshot.leases.get(at).map(|l| &l.state) {
        Some(crate::lease::LeaseState::Accepted(contract)) => {
            crate::lease::Level { watts: contract.grant.watts, cap: contract.grant.cap }
        }
        _ => crate::lease::Level::default(),
    };
    let placed = leases::placed(snapshot, granted, |_| UsdPerMwh::ZERO);
    for (((load, range), (leased, _)), bid) in snapshot.loads.iter().zip(ranges).zip(placed).zip(bids) {
        if is_gpu(load) && range.stuck.is_some() {
            let watts = (range.counted(range.floor) - leased).max(range.floor);
            *bid = Bid::must_run(load.node, watts);
        }
    }
}

/// What each GPU node is to run at: lowest caps, and the caps of the leases whose Jobs have landed there.
fn gpu_nodes(snapshot: &Snapshot, ranges: &[Range], leases: &Leases) -> Vec<GpuNode> {
    let level = |at: usize| leases.levels.get(at).copied().unwrap_or_default();
    let value = |at: usize| leases.values.get(at).copied().unwrap_or_default();
    let placed = leases::placed(snapshot, level, value);
    let node = |((load, range), (leased, lease)): ((&Load, &Range), (Watts, Option<u32>))| {
        if !is_gpu(load) {
            return GpuNode::default();
        }
        GpuNode { watts: (range.floor + leased).min(range.most), lease, urgent: false }
    };
    let mut nodes: Vec<GpuNode> = snapshot.loads.iter().zip(ranges).zip(placed).map(node).collect();
    for (lease, _) in snapshot.leases.iter().zip(&leases.awards).filter(|(_, award)| award.urgent) {
        for (load, _) in &lease.placed {
            if let Some(node) = nodes.get_mut(load.index()) {
                node.urgent = true;
            }
        }
    }
    nodes
}

fn gpu_nodes_as_granted(snapshot: &Snapshot, ranges: &[Range], nodes: &[GpuNode], bids: &mut [Bid]) {
    for (((load, range), node), bid) in snapshot.loads.iter().zip(ranges).zip(nodes).zip(bids) {
        if is_gpu(load) {
            *bid = Bid::must_run(load.node, range.counted(node.watts));
        }
    }
}

/// How every load is to move: to what clearing gave it, in order of what its watts are worth.
fn moves(
    snapshot: &Snapshot,
    sold: &[Sold],
    ranges: &[Range],
    leases: &Leases,
    nodes: &[GpuNode],
    (cleared, held): (&Clearing, &Held),
) -> Vec<Move> {
    let of = |at: usize, load: &Load, range: &Range| {
        let awarded = cleared.awards.get(at).map_or(range.floor, |a| a.watts);
        let node = nodes.get(at).copied().unwrap_or_default();
        let (target, value, step) = match load.member {
            // Not below its floor for good: what cannot be proved there may be proved at the floor.
            _ if range.stuck.is_some() => {
                (load.setpoint.max(range.floor).min(range.most), UsdPerMwh::ZERO, Watts::ZERO)
            }
            crate::snapshot::Member::Fleet(fleet) => {
                let sold = sold.get(fleet as usize);
                let watts = awarded.max(range.present);
                let value = sold.and_then(|s| s.value_below(watts)).unwrap_or(UsdPerMwh::ZERO);
                (awarded, value, sold.map_or(Watts::ZERO, |s| s.step))
            }
            crate::snapshot::Member::Pool(_) => {
                let value = node.lease.and_then(|l| leases.values.get(l as usize)).copied();
                (node.watts, value.unwrap_or(UsdPerMwh::ZERO), Watts::ZERO)
            }
            crate::snapshot::Member::Kept => (range.floor, UsdPerMwh::ZERO, Watts::ZERO),
            crate::snapshot::Member::Retired => (Watts::ZERO, UsdPerMwh::ZERO, Watts::ZERO),
        };
        // What is obliged and not on yet comes before all economics, what has not even its floor before everything.
        let obliged = held.holds.get(at).is_some_and(|hold| range.present < hold.watts.min(target));
        let value = if obliged { value.max(obligations::UNKNOWN_PRICE) } else { value };
        let value = if target <= range.floor && target > range.present { UsdPerMwh::MAX } else { value };
        Move { target, value, step, at_once: range.locked || node.urgent }
    };
    snapshot.loads.iter().zip(ranges).enumerate().map(|(at, (load, range))| of(at, load, range)).collect()
}

fn rates(snapshot: &Snapshot, moves: &[Move]) -> Rates {
    let largest = moves.iter().map(|m| m.step).max().unwrap_or_default();
    Rates { up: snapshot.policy.up_watts_per_minute, down: snapshot.policy.down_watts_per_minute, largest }
}
