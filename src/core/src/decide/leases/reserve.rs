//! What leases draw for an obligation: flexible ones that may be given notice now and are off within its response time.

use super::Leases;
use super::placed::{per_gpu, shares};
use crate::decide::range::Range;
use crate::lease::{Delivery, Lease, LeaseState, Level};
use crate::snapshot::{Load, Obligation, Snapshot};
use crate::units::Watts;

impl Leases {
    /// The leases that a shed for this obligation could take in time, with what each may use.
    fn serving<'a>(
        &'a self,
        snapshot: &'a Snapshot,
        obligation: &'a Obligation,
    ) -> impl Iterator<Item = (&'a Lease, Level)> {
        let serves = |lease: &Lease| {
            let LeaseState::Accepted(contract) = &lease.state else { return false };
            let Delivery::Jobs { pool, .. } = contract.offer.delivery else { return false };
            let node = snapshot.pools.get(pool as usize).map(|pool| pool.node);
            node.is_some_and(|node| obligation.takes_lease(&snapshot.tree, node, contract.offer.terms.notice))
        };
        let rows = snapshot.leases.iter().zip(&self.levels).zip(&self.free);
        rows.filter(move |((lease, _), free)| **free && serves(lease)).map(|((lease, level), _)| (lease, *level))
    }

    /// What leases may draw now that a shed for this obligation could take in time, W.
    pub(in crate::decide) fn draw_for(&self, snapshot: &Snapshot, obligation: &Obligation) -> Watts {
        self.serving(snapshot, obligation).map(|(_, level)| level.watts).sum()
    }

    /// What of that is seen to be drawn: no more than their nodes draw above lowest caps, W.
    pub(in crate::decide) fn drawn_for(&self, snapshot: &Snapshot, obligation: &Obligation, ranges: &[Range]) -> Watts {
        let floor = |load: &Load| ranges.get(load.id.index()).map_or(Watts::MAX, |range| range.floor);
        let above = |load: &Load| (load.drawn.unwrap_or_default() - floor(load)).at_least_zero();
        let mut left: Vec<Watts> = snapshot.loads.iter().map(above).collect();
        let mut drawn = Watts::ZERO;
        for (lease, level) in self.serving(snapshot, obligation) {
            for (load, gpus) in shares(snapshot, lease) {
                let Some(left) = left.get_mut(load.id.index()) else { continue };
                let part = per_gpu(snapshot, load, level, gpus).min(*left);
                *left -= part;
                drawn += part;
            }
        }
        drawn
    }
}
