//! What leases lack because persons hold GPU nodes, or feeders: it is neither given nor charged.
//!
//! GPUs of a pool are alike. What stands on nodes that nobody holds is had. What does not, whether it stands on a held
//! node, waits for a place or is only kept for the lease, is had as far as the pool's other nodes have room. Only what
//! is left then is lacked through lockouts, and never more than the GPUs that they hold: nodes that are missing for
//! another reason are no lockout's doing.

use super::placed::shares;
use super::{Claim, Leases};
use crate::decide::range::{Cap, Range};
use crate::lease::{Contract, Delivery, Lease, LeaseState};
use crate::plan::Reason;
use crate::snapshot::{Load, Lockout, LockoutTarget, Member, Snapshot};
use crate::tree::NodeId;
use crate::units::{Watts, mul_div};

/// One pool while its leases find their places.
#[derive(Clone, Copy, Debug, Default)]
struct Places {
    /// GPUs on held nodes.
    held: u32,
    /// GPUs on other nodes on which no lease has anything.
    free: u32,
    /// The lockout to name: of the first node that is held, else of the first that is held to less than all.
    lockout: Option<(bool, u32)>,
}

/// How a node stands while leases find their places.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// A lockout leaves it too little to run anything.
    held: bool,
    /// What a lockout leaves its GPUs above lowest caps, W: without one, whatever they want.
    left: Watts,
}

impl Leases {
    /// Enters in every served lease what it lacks through lockouts, and says whose they are where nothing else is the
    /// matter. Of leases that wait for the same room those with Jobs have it first, then in the order of the snapshot.
    pub(super) fn lack(&mut self, snapshot: &Snapshot, ranges: &[Range], claims: &[Claim<'_>]) {
        let mut nodes: Vec<Node> = snapshot.loads.iter().zip(ranges).map(|(load, range)| node(load, range)).collect();
        let mut pools = places(snapshot, ranges, &nodes);
        let mut order: Vec<&Claim<'_>> = claims.iter().collect();
        order.sort_by_key(|claim| (!claim.busy, claim.at));
        for claim in order {
            let (Some(lease), Some(award)) = (snapshot.leases.get(claim.at), self.awards.get_mut(claim.at)) else {
                continue;
            };
            let LeaseState::Accepted(contract) = &mut award.state else { continue };
            let (missing, lockout) = match contract.offer.delivery {
                Delivery::Power { node, .. } => hall(snapshot, contract, node),
                Delivery::Jobs { pool, .. } => match pools.get_mut(pool as usize) {
                    Some(places) => (jobs(snapshot, contract, lease, places, &mut nodes), places.lockout.map(|l| l.1)),
                    None => (Watts::ZERO, None),
                },
            };
            contract.lack(missing, snapshot.now);
            if let Some(at) = lockout.filter(|_| missing > Watts::ZERO && award.reason == Reason::Full) {
                award.reason = Cap::Lockout(at).reason(snapshot);
            }
        }
    }
}

fn node(load: &Load, range: &Range) -> Node {
    match (load.member, range.lockout) {
        (Member::Pool(_), Some((limit, _))) => {
            Node { held: limit < range.natural_floor, left: (limit - range.natural_floor).at_least_zero() }
        }
        _ => Node { held: false, left: Watts::MAX },
    }
}

/// By pool: its GPUs, less those on which the Jobs of granted leases stand already.
fn places(snapshot: &Snapshot, ranges: &[Range], nodes: &[Node]) -> Vec<Places> {
    let mut pools = vec![Places::default(); snapshot.pools.len()];
    let mut taken = vec![0_u32; snapshot.loads.len()];
    for (load, gpus) in snapshot.leases.iter().flat_map(|lease| shares(snapshot, lease)) {
        if let Some(taken) = taken.get_mut(load.id.index()) {
            *taken = taken.saturating_add(gpus);
        }
    }
    for (((load, range), node), taken) in snapshot.loads.iter().zip(ranges).zip(nodes).zip(taken) {
        let Member::Pool(at) = load.member else { continue };
        let gpus = snapshot.pools.get(at as usize).map_or(0, |pool| pool.gpus_per_node);
        let Some(places) = pools.get_mut(at as usize) else { continue };
        let room = if node.held { &mut places.held } else { &mut places.free };
        *room = room.saturating_add(if node.held { gpus } else { gpus.saturating_sub(taken) });
        if let Some((_, lockout)) = range.lockout {
            let named = places.lockout.get_or_insert((node.held, lockout));
            if node.held && !named.0 {
                *named = (true, lockout);
            }
        }
    }
    pools
}

/// What a lease of GPUs lacks, W; takes what it has from `places` and `nodes`.
fn jobs(snapshot: &Snapshot, contract: &Contract, lease: &Lease, places: &mut Places, nodes: &mut [Node]) -> Watts {
    let Delivery::Jobs { gpus, .. } = contract.offer.delivery else { return Watts::ZERO };
    let granted = contract.grant.watts;
    if granted <= Watts::ZERO {
        return Watts::ZERO;
    }
    let watts = |of: u32| Watts::new(mul_div(granted.get(), i64::from(of), i64::from(gpus)));
    let (mut waits, mut missing) = (gpus, Watts::ZERO);
    for (load, here) in shares(snapshot, lease) {
        let Some(node) = nodes.get_mut(load.id.index()).filter(|node| !node.held) else { continue };
        let had = watts(here).min(node.left);
        node.left -= had;
        missing += watts(here) - had;
        waits = waits.saturating_sub(here);
    }
    let lands = waits.min(places.free);
    places.free -= lands;
    let lacks = (waits - lands).min(places.held);
    places.held -= lacks;
    missing + watts(lacks)
}

/// What a hall lacks of its grant, W, and the strictest lockout at or above its feeder.
fn hall(snapshot: &Snapshot, contract: &Contract, node: NodeId) -> (Watts, Option<u32>) {
    let above = |at: NodeId| snapshot.tree.path(node).any(|n| n == at);
    let on = |(_, lockout): &(usize, &Lockout)| matches!(lockout.target, LockoutTarget::Node(at) if above(at));
    let rows = snapshot.lockouts.iter().enumerate().filter(on);
    match rows.map(|(at, lockout)| (lockout.limit.at_least_zero(), at as u32)).min() {
        Some((limit, at)) => ((contract.grant.watts - limit).at_least_zero(), Some(at)),
        None => (Watts::ZERO, None),
    }
}
