//! From what clearing awarded to what is wanted now: urgent falls at once, the rest as far as the ramp allows.

use super::limits::Limits;
use super::obligations::{self, Duty, Held};
use super::range::Range;
use crate::hold::ramp::Credit;
use crate::snapshot::{Load, Snapshot};
use crate::units::{UsdPerMwh, Watts};

/// One load on its way from where it is to what clearing awarded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move {
    /// What clearing awarded, W.
    pub(super) target: Watts,
    /// What the watts in question are worth: falls go from the least, rises from the most.
    pub(super) value: UsdPerMwh,
    /// The smallest part of a move, W; 0: any.
    pub(super) step: Watts,
    /// Falls at once, whatever the ramp.
    pub(super) at_once: bool,
}

/// What one load is wanted at now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) watts: Watts,
    /// Some of its fall could not wait.
    pub(super) urgent: bool,
    /// Some of its fall waits, for an obligation would not be met without it.
    pub(super) obliged: bool,
}

/// Where all loads stand now, and what was moved for money.
pub(super) struct Outcome {
    pub(super) settled: Vec<Settled>,
    pub(super) moved: Credit,
}

/// Moves every load towards its target. `reserved`: watts per node that are held for somebody who is not a load; with
/// the obligations and what holds them.
pub(super) fn settle(
    snapshot: &Snapshot,
    limits: &Limits<'_>,
    ranges: &[Range],
    moves: &[Move],
    (reserved, obliged): (&[Watts], (&[Duty<'_>], &Held)),
    credit: Credit,
) -> Outcome {
    let settled = ranges.iter().map(|r| Settled { watts: r.present, ..Settled::default() }).collect();
    let mut mover = Mover { snapshot, limits, ranges, moves, credit, settled, moved: Credit::default() };
    let falls = mover.falls();
    mover.shed(&falls);
    mover.walk_down(&falls, obliged);
    mover.walk_up(reserved);
    mover.repeat();
    Outcome { settled: mover.settled, moved: mover.moved }
}

struct Mover<'a> {
    snapshot: &'a Snapshot,
    limits: &'a Limits<'a>,
    ranges: &'a [Range],
    moves: &'a [Move],
    credit: Credit,
    settled: Vec<Settled>,
    moved: Credit,
}

impl Mover<'_> {
    /// The loads that are to fall, least worth first.
    fn falls(&self) -> Vec<usize> {
        let mut falls: Vec<(UsdPerMwh, usize)> = self
            .moves
            .iter()
            .zip(self.ranges)
            .enumerate()
            .filter(|(_, (to, range))| to.target < range.present)
            .map(|(at, (to, _))| (to.value, at))
            .collect();
        falls.sort_unstable();
        falls.into_iter().map(|(_, at)| at).collect()
    }

    fn load(&self, at: usize) -> Option<(&Load, &Range, &Move)> {
        Some((self.snapshot.loads.get(at)?, self.ranges.get(at)?, self.moves.get(at)?))
    }

    /// What each load counts for now, with its node.
    fn counted(&self) -> impl Iterator<Item = (&Load, Watts)> {
        let loads = self.snapshot.loads.iter().zip(self.ranges).zip(&self.settled);
        loads.map(|((load, range), settled)| (load, range.counted(settled.watts)))
    }

    /// Holds never delay these: lockouts, and what no limit leaves time to walk down.
    fn shed(&mut self, falls: &[usize]) {
        let tree = &self.limits.tree;
        let sums = tree.sums(self.counted().map(|(load, watts)| (load.node, watts)));
        let mut over: Vec<Watts> = sums.iter().zip(&self.limits.urgent).map(|(sum, most)| *sum - *most).collect();
        let mut over_kind: Vec<Watts> = self
            .limits
            .kinds
            .iter()
            .map(|limit| {
                let below = self.counted().filter(|(load, _)| {
                    load.member.kind() == Some(limit.kind) && tree.path(load.node).any(|n| n == limit.event.node)
                });
                below.map(|(_, watts)| watts).sum::<Watts>() - limit.urgent
            })
            .collect();
        for &at in falls {
            let Some((load, range, to)) = self.load(at) else { continue };
            let whole = range.present - to.target;
            let mut need = tree.path(load.node).filter_map(|n| over.get(n.index())).copied().max().unwrap_or_default();
            for (limit, over) in self.limits.kinds.iter().zip(&over_kind) {
                if Some(limit.kind) == load.member.kind() && tree.path(load.node).any(|n| n == limit.event.node) {
                    need = need.max(*over);
                }
            }
            let need = if to.at_once { whole } else { whole.min(-((-need.at_least_zero()).floor_to(to.step))) };
            if need <= Watts::ZERO {
                continue;
            }
            // What is stuck frees nothing, however low it is told to go.
            let freed = range.counted(range.present) - range.counted(range.present - need);
            for node in tree.path(load.node) {
                if let Some(over) = over.get_mut(node.index()) {
                    *over -= freed;
                }
            }
            for (limit, over) in self.limits.kinds.iter().zip(&mut over_kind) {
                if Some(limit.kind) == load.member.kind() && tree.path(load.node).any(|n| n == limit.event.node) {
                    *over -= freed;
                }
            }
            let watts = range.present - need;
            if let Some(settled) = self.settled.get_mut(at) {
                *settled = Settled { watts, urgent: true, ..Settled::default() };
            }
        }
    }

    /// What was ordered and does not stand yet stays urgent as long as what stands is over a limit.
    fn repeat(&mut self) {
        let tree = &self.limits.tree;
        let standing = |((load, range), settled): ((&Load, &Range), &Settled)| {
            (load.node, range.counted(settled.watts.max(load.setpoint)))
        };
        let sums = tree.sums(self.snapshot.loads.iter().zip(self.ranges).zip(&self.settled).map(standing));
        let over: Vec<bool> = sums.iter().zip(&self.limits.urgent).map(|(sum, most)| sum > most).collect();
        for ((load, to), settled) in self.snapshot.loads.iter().zip(self.moves).zip(&mut self.settled) {
            let late = settled.watts < load.setpoint;
            let over = || tree.path(load.node).any(|n| over.get(n.index()).is_some_and(|over| *over));
            settled.urgent |= late && (to.at_once || over());
        }
    }

    /// Falls that only money wants, as far as the ramp and the obligations allow.
    fn walk_down(&mut self, falls: &[usize], (duties, held): (&[Duty<'_>], &Held)) {
        let (snapshot, ranges, moves) = (self.snapshot, self.ranges, self.moves);
        let mut spares = obligations::spares(snapshot, duties, held, ranges, (moves, &self.settled));
        for &at in falls {
            let (Some(load), Some(range), Some(to)) = (snapshot.loads.get(at), ranges.get(at), moves.get(at)) else {
                continue;
            };
            let Some(settled) = self.settled.get_mut(at) else { continue };
            let whole = settled.watts - to.target;
            let part = obligations::allowed(&spares, at, (load, range), settled.watts, whole);
            settled.obliged = part < whole;
            let part = part.min(self.credit.down - self.moved.down);
            let part = if part < whole { part.floor_to(to.step) } else { part };
            obligations::spend(&mut spares, at, (load, range), settled.watts, part);
            settled.watts -= part;
            self.moved.down += part;
        }
    }

    /// Rises, most worth first, into the room that is there once the falls are counted.
    fn walk_up(&mut self, reserved: &[Watts]) {
        let tree = &self.limits.tree;
        let mut rises: Vec<(UsdPerMwh, usize)> = self
            .moves
            .iter()
            .zip(self.ranges)
            .enumerate()
            .filter(|(_, (to, range))| to.target > range.present)
            .map(|(at, (to, _))| (-to.value, at))
            .collect();
        rises.sort_unstable();
        let sums = tree.sums(self.counted().map(|(load, watts)| (load.node, watts)));
        let held = tree.sums(reserved.iter().enumerate().map(|(at, w)| (crate::tree::NodeId(at as u32), *w)));
        let mut room: Vec<Watts> = Vec::with_capacity(sums.len());
        for (at, (sum, held)) in sums.iter().zip(&held).enumerate() {
            room.push(tree.capacity(crate::tree::NodeId(at as u32)) - *sum - *held);
        }
        for (_, at) in rises {
            let Some((load, range, to)) = self.load(at) else { continue };
            let whole = to.target - range.present;
            let least = tree.path(load.node).filter_map(|n| room.get(n.index())).copied().min().unwrap_or_default();
            let part = whole.min(self.credit.up - self.moved.up).min(least).at_least_zero();
            let part = if part < whole { part.floor_to(to.step) } else { part };
            let takes = range.counted(range.present + part) - range.counted(range.present);
            for node in tree.path(load.node) {
                if let Some(room) = room.get_mut(node.index()) {
                    *room -= takes;
                }
            }
            self.moved.up += part;
            if let Some(settled) = self.settled.get_mut(at) {
                settled.watts += part;
            }
        }
    }
}
