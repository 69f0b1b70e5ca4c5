//! Where leases draw: what their Jobs' places take of each load, and what is kept free for those that have not landed.

use super::Leases;
use crate::lease::{Delivery, Lease, LeaseState, Level};
use crate::snapshot::{Load, Member, Snapshot};
use crate::units::{UsdPerMwh, Watts};

/// By load: watts above its floor that leases have there at `levels`, and the lease that is worth most.
pub(in crate::decide) fn placed(
    snapshot: &Snapshot,
    level: impl Fn(usize) -> Level,
    value: impl Fn(usize) -> UsdPerMwh,
) -> Vec<(Watts, Option<u32>)> {
    let mut placed = vec![(Watts::ZERO, None::<u32>); snapshot.loads.len()];
    for (at, lease) in snapshot.leases.iter().enumerate() {
        let level = level(at);
        if level.watts <= Watts::ZERO {
            continue;
        }
        for (load, gpus) in shares(snapshot, lease) {
            let Some((watts, best)) = placed.get_mut(load.id.index()) else { continue };
            *watts += per_gpu(snapshot, load, level, gpus);
            let better = best.is_none_or(|best| value(at) > value(best as usize));
            if better {
                *best = Some(at as u32);
            }
        }
    }
    placed
}

/// Where the Jobs of a lease run: no more GPUs than it has, whatever its tenant did.
pub(super) fn shares<'a>(snapshot: &'a Snapshot, lease: &'a Lease) -> impl Iterator<Item = (&'a Load, u32)> {
    let mut left = match &lease.state {
        LeaseState::Accepted(contract) => match contract.offer.delivery {
            Delivery::Jobs { gpus, .. } => gpus,
            Delivery::Power { .. } => 0,
        },
        _ => 0,
    };
    lease.placed.iter().filter_map(move |(id, gpus)| {
        let load = snapshot.loads.get(id.index())?;
        let gpus = (*gpus).min(left);
        left -= gpus;
        (gpus > 0).then_some((load, gpus))
    })
}

/// What `gpus` of a lease draw above lowest caps on a load at this level, W.
pub(super) fn per_gpu(snapshot: &Snapshot, load: &Load, level: Level, gpus: u32) -> Watts {
    let Member::Pool(pool) = load.member else { return Watts::ZERO };
    let least = snapshot.pools.get(pool as usize).map_or(Watts::ZERO, |p| p.min_cap);
    Watts::new((level.cap - least).at_least_zero().get().saturating_mul(i64::from(gpus)))
}

/// By node: watts granted to leases that no load draws yet, because their pods have not landed. Kept free.
pub(in crate::decide) fn reserved(snapshot: &Snapshot, leases: &Leases) -> Vec<Watts> {
    let mut reserved = vec![Watts::ZERO; snapshot.tree.len()];
    for (lease, level) in snapshot.leases.iter().zip(&leases.levels) {
        let LeaseState::Accepted(contract) = &lease.state else { continue };
        let Delivery::Jobs { pool, .. } = contract.offer.delivery else { continue };
        let drawn: Watts = shares(snapshot, lease).map(|(load, gpus)| per_gpu(snapshot, load, *level, gpus)).sum();
        let node = snapshot.pools.get(pool as usize).map(|p| p.node);
        if let Some(slot) = node.and_then(|n| reserved.get_mut(n.index())) {
            *slot += (level.watts - drawn).at_least_zero();
        }
    }
    reserved
}
