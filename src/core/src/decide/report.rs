//! From what was decided to the plan: reasons, wants in order, nodes, what is remembered, when to look again.

use super::range::Range;
use super::{Facts, GpuNode, Leases, is_gpu, obligations};
use crate::clear;
use crate::guard::{LoadId, Want};
use crate::hold::trim::{self, Trim};
use crate::memory::{LoadMemory, Memory, Ramp};
use crate::plan::{LoadAward, NodeAward, Plan, Reason};
use crate::snapshot::{Load, Member};
use crate::tree::NodeId;
use crate::units::{Span, Time, UsdPerMwh, Watts};

/// How soon to look again while a ramp or a trim is on its way.
const SOON: Span = Span::seconds(1);

/// Writes the plan.
pub(super) fn plan(facts: &Facts<'_>, leases: Leases, ramp: Ramp) -> Plan {
    let loads: Vec<LoadAward> =
        facts.snapshot.loads.iter().enumerate().map(|(at, load)| award(facts, at, load)).collect();
    let memory = Memory { loads: memories(facts, &loads), ramp: Some(ramp) };
    let wake = wake(facts, &leases, &loads);
    let obligations = obligations::awards(facts, &loads, &leases, |at, reason| no_more(facts, at, reason));
    let (wants, nodes) = (wants(facts, &loads), nodes(facts, &loads));
    Plan { wants, nodes, obligations, leases: leases.awards, loads, memory, wake }
}

fn award(facts: &Facts<'_>, at: usize, load: &Load) -> LoadAward {
    let settled = facts.outcome.settled.get(at).copied().unwrap_or_default();
    let Some((range, to)) = facts.ranges.get(at).zip(facts.moves.get(at)) else {
        return LoadAward { watts: load.setpoint, reason: Reason::NoPrice, urgent: false };
    };
    let reason = if let Some(bound) = range.stuck.filter(|_| !range.locked) {
        Reason::NotProved { bound }
    } else if settled.obliged {
        // What takes its place is not on yet.
        obliged(facts, load, range, settled.watts).unwrap_or(Reason::Ramp)
    } else if settled.watts != to.target {
        Reason::Ramp
    } else {
        why(facts, at, load, range)
    };
    LoadAward { watts: settled.watts, reason, urgent: settled.urgent }
}

/// Why clearing gave a load what it gave.
fn why(facts: &Facts<'_>, at: usize, load: &Load, range: &Range) -> Reason {
    let Some(award) = facts.cleared.awards.get(at) else { return Reason::Floor };
    let node = facts.nodes.get(at).copied().unwrap_or_default();
    let watts = if is_gpu(load) { node.watts } else { award.watts };
    if let Some(cap) = range.capped.filter(|_| watts >= range.most) {
        return cap.reason(facts.snapshot);
    }
    match load.member {
        Member::Pool(_) => of_node(node),
        Member::Fleet(_) => of_container(facts, load, range, award),
        Member::Kept => Reason::Unreadable,
        Member::Retired => Reason::Retired,
    }
}

fn of_node(node: GpuNode) -> Reason {
    node.lease.map_or(Reason::NoLease, |lease| Reason::Leased { lease })
}

fn of_container(facts: &Facts<'_>, load: &Load, range: &Range, award: &clear::Award) -> Reason {
    let sold = match load.member {
        Member::Fleet(fleet) => facts.sold.get(fleet as usize),
        Member::Pool(_) | Member::Kept | Member::Retired => None,
    };
    let price = facts.price.unwrap_or_default();
    let last = sold.and_then(|s| s.value_below(award.watts));
    let hold = facts.held.holds.get(load.id.index()).copied().unwrap_or_default();
    if award.watts > range.natural_floor
        && award.watts <= hold.watts
        && let Some(reason) = obliged(facts, load, range, award.watts)
    {
        return reason;
    }
    if let Some(value) = last.filter(|value| *value <= price && facts.price.is_some()) {
        // It runs for less than power costs: some hold keeps it.
        return match range.keeps_on {
            Some(until) => Reason::MinimumOn { until },
            None => Reason::DeadBand { gain: price - value },
        };
    }
    match award.reason {
        clear::Reason::Full if last.is_none() => yielded(facts, load, range),
        clear::Reason::Full => Reason::Full,
        clear::Reason::BelowPrice { .. } => {
            let next = sold.and_then(|s| s.value_above(award.watts)).unwrap_or_default();
            if next > price {
                Reason::DeadBand { gain: next - price }
            } else {
                Reason::BelowPrice { value: next, price }
            }
        }
        clear::Reason::Limit { node, shadow_price } => limit(facts, node, shadow_price),
        clear::Reason::Indivisible { node, room, needs } => Reason::Indivisible { node, room, needs },
        clear::Reason::Unplaced => Reason::Floor,
    }
}

/// Why a container has no more where it goes before all economics.
fn no_more(facts: &Facts<'_>, at: usize, reason: &clear::Reason) -> Reason {
    let Some(range) = facts.ranges.get(at) else { return Reason::Floor };
    match (reason, range.stuck, range.capped) {
        (_, Some(bound), _) => Reason::NotProved { bound },
        (clear::Reason::Limit { node, .. }, ..) => limit(facts, *node, UsdPerMwh::ZERO),
        (clear::Reason::Indivisible { node, room, needs }, ..) => {
            Reason::Indivisible { node: *node, room: *room, needs: *needs }
        }
        (_, _, Some(cap)) => cap.reason(facts.snapshot),
        (clear::Reason::Full | clear::Reason::BelowPrice { .. } | clear::Reason::Unplaced, ..) => Reason::Full,
    }
}

/// That an obligation keeps the watts just below `watts` on; nothing where none is counted there.
fn obliged(facts: &Facts<'_>, load: &Load, range: &Range, watts: Watts) -> Option<Reason> {
    let hold = facts.held.holds.get(load.id.index()).filter(|hold| hold.watts > range.natural_floor);
    let own = |duty: &&obligations::Duty<'_>| match hold {
        Some(hold) => duty.at == hold.obligation,
        None => obligations::concerns(facts.snapshot, std::slice::from_ref(*duty), load),
    };
    let obligation = facts.duties.iter().find(own)?.obligation;
    let value = match load.member {
        Member::Fleet(fleet) => facts.sold.get(fleet as usize).and_then(|s| s.value_below(watts)),
        Member::Pool(_) | Member::Kept | Member::Retired => None,
    };
    let loses = facts.price.zip(value).map_or(UsdPerMwh::ZERO, |(price, value)| price - value);
    let price = loses.max(UsdPerMwh::ZERO);
    Some(Reason::Obligation { name: obligation.name.clone(), until: obligation.until, price })
}

/// At its floor, with nothing to sell: because it has nothing, or because a limit took even the floor.
fn yielded(facts: &Facts<'_>, load: &Load, range: &Range) -> Reason {
    if range.floor >= range.natural_floor {
        return Reason::Floor;
    }
    let over = |id: &NodeId| {
        facts.cleared.nodes.get(id.index()).is_some_and(|n| n.headroom < range.natural_floor - range.floor)
    };
    let node = facts.limits.tree.path(load.node).find(over);
    node.map_or(Reason::Floor, |node| limit(facts, node, UsdPerMwh::ZERO))
}

fn limit(facts: &Facts<'_>, node: NodeId, shadow_price: UsdPerMwh) -> Reason {
    match facts.limits.events.get(node.index()).copied().flatten() {
        Some(event) => Reason::Event { name: event.name.clone(), until: event.until },
        None => Reason::Limit { node, shadow_price },
    }
}

/// Most valuable first: whoever has not its floor, then by what the watts are worth.
fn wants(facts: &Facts<'_>, loads: &[LoadAward]) -> Vec<Want> {
    let mut order: Vec<(UsdPerMwh, u32)> =
        facts.moves.iter().enumerate().map(|(at, to)| (-to.value, at as u32)).collect();
    order.sort_unstable();
    let want = |(_, at): (UsdPerMwh, u32)| {
        let award = loads.get(at as usize)?;
        let step = facts.moves.get(at as usize)?.step;
        Some(Want { load: LoadId(at), watts: award.watts, step })
    };
    order.into_iter().filter_map(want).collect()
}

fn nodes(facts: &Facts<'_>, loads: &[LoadAward]) -> Vec<NodeAward> {
    let tree = &facts.limits.tree;
    let awarded = tree.sums(facts.snapshot.loads.iter().zip(loads).map(|(load, award)| (load.node, award.watts)));
    let node = |(at, node): (usize, &crate::tree::Node)| NodeAward {
        limit: node.limit,
        capacity: tree.capacity(NodeId(at as u32)),
        awarded: awarded.get(at).copied().unwrap_or_default(),
        shadow_price: facts.cleared.nodes.get(at).map_or(UsdPerMwh::ZERO, |n| n.shadow_price),
    };
    tree.nodes().iter().enumerate().map(node).collect()
}

fn memories(facts: &Facts<'_>, loads: &[LoadAward]) -> Vec<LoadMemory> {
    let snapshot = facts.snapshot;
    let of = |(at, (award, range)): (usize, (&LoadAward, &Range))| {
        let before = snapshot.memory.loads.get(at);
        let on = award.watts > range.natural_floor;
        let switched = match before {
            Some(before) if before.on == on => before.switched,
            // Nothing is known of a load that is new here: its minimum times begin now.
            _ => snapshot.now,
        };
        let Trim { idle_since, trimmed } = range.trim;
        LoadMemory { awarded: award.watts, switched, on, idle_since, trimmed }
    };
    loads.iter().zip(&facts.ranges).enumerate().map(of).collect()
}

/// When something changes by time alone.
fn wake(facts: &Facts<'_>, leases: &Leases, loads: &[LoadAward]) -> Option<Time> {
    let (snapshot, policy) = (facts.snapshot, &facts.snapshot.policy);
    let held = facts.ranges.iter().flat_map(|range| {
        let off = match range.capped {
            Some(super::range::Cap::Off(until)) => Some(until),
            _ => None,
        };
        [range.keeps_on, off, trim::due(&range.trim, policy)]
    });
    let ramped = loads.iter().any(|award| award.reason == Reason::Ramp).then(|| snapshot.now.after(SOON));
    let stale = snapshot.meters.iter().enumerate().map(|(at, meter)| {
        let reading = meter.as_ref()?;
        Some(reading.time.after(snapshot.meter_stale(NodeId(at as u32))))
    });
    let all = held.chain([facts.limits.wake, obligations::wake(snapshot), leases.wake, ramped]).chain(stale);
    all.flatten().filter(|at| *at > snapshot.now).min()
}
