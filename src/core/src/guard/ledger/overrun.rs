//! Whether Σ bounds passes a capacity, and whether that is known or only not known to be otherwise.

use super::{Entry, IGNORANCE_GRACE, Ledger, METER_FRESH};
use crate::tree::NodeId;
use crate::units::{Ppm, Time, Watts};

/// Above this part of a node's limit a fresh meter makes an overrun by ignorance shed at once.
const NEAR_LIMIT: Ppm = Ppm::percent(98);

/// A meter sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sample {
    watts: Watts,
    time: Time,
    /// What it shows above Σ bounds beyond its error, W, as loads would have to draw it.
    pub(super) excess: Watts,
}

/// What an overrun asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Too little is known; all that is known fits. Nothing is raised; from `until` on it is to be shed.
    Wait {
        /// When waiting ends if nothing else is learned.
        until: Time,
    },
    /// Too little has been known for too long: shed.
    Overdue,
    /// A fresh meter is near the limit: shed.
    Meter,
    /// Even what is known does not fit: shed.
    Known,
}

/// A node whose loads might draw more than it can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Overrun {
    /// The node.
    pub node: NodeId,
    /// Σ bounds below it, with what its meter shows above them, W.
    pub bounds: Watts,
    /// What they may be together, W.
    pub capacity: Watts,
    /// What to do about it.
    pub verdict: Verdict,
}

/// What the meter of a node says against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metered {
    /// The node.
    pub node: NodeId,
    /// What the meter shows above all bounds, beyond its error, W: it widens the margin for as long as it is shown.
    pub unexplained: Watts,
    /// Bounds and what is unexplained pass what they may be, and a fresh sample is near the limit: what is unexplained is
    /// shed at once, and who is not known about counts at its worst without a wait.
    pub sheds: bool,
}

impl Overrun {
    /// Whether to shed now. Otherwise raises stop, which [`Ledger::steps`] sees to.
    pub const fn must_shed(&self) -> bool {
        !matches!(self.verdict, Verdict::Wait { .. })
    }
}

impl Ledger {
    /// Every node whose Σ bounds pass its capacity, the site first; empty where all is well.
    pub fn overrun(&self, now: Time) -> Vec<Overrun> {
        let room = self.headroom(now);
        if room.iter().all(|left| *left >= Watts::ZERO) {
            return Vec::new();
        }
        let weigh = |entry: &Entry, counts: &dyn Fn(Time) -> bool| {
            let bound = entry.bound(self.epoch, self.broken, now);
            match entry.blind_since(&bound) {
                Some(since) if !counts(deadline(entry, since)) => entry.estimate().min(bound.watts),
                _ => bound.watts,
            }
        };
        let known = self.sums_of(|entry| weigh(entry, &|_| false));
        let overdue = self.sums_of(|entry| weigh(entry, &|until| until <= now));
        let over = room.iter().enumerate().filter(|(_, left)| **left < Watts::ZERO);
        over.map(|(at, left)| {
            let capacity = self.capacity.get(at).copied().unwrap_or_default();
            let passes = |sums: &[Watts]| sums.get(at).is_none_or(|sum| *sum > capacity);
            let verdict = if passes(&known) {
                Verdict::Known
            } else if self.near_limit(at, now) {
                Verdict::Meter
            } else if passes(&overdue) {
                Verdict::Overdue
            } else {
                Verdict::Wait { until: self.patience(NodeId(at as u32), now) }
            };
            Overrun { node: NodeId(at as u32), bounds: capacity - *left, capacity, verdict }
        })
        .collect()
    }

    /// Every node whose meter says something against it, the site first.
    pub fn metered(&self, now: Time) -> Vec<Metered> {
        let says = |(left, at): (Watts, u32)| {
            let node = NodeId(at);
            let sheds = left < Watts::ZERO && self.near_limit(at as usize, now);
            Metered { node, unexplained: self.unexplained(node), sheds }
        };
        let all = self.headroom(now).into_iter().zip(0_u32..).map(says);
        all.filter(|said| said.sheds || said.unexplained > Watts::ZERO).collect()
    }

    /// The first moment at which some load below `node` has been unknown for too long; far away where the meter alone
    /// is over.
    fn patience(&self, node: NodeId, now: Time) -> Time {
        let below = self.entries.iter().filter(|e| self.tree.path(e.facts.node).any(|n| n == node));
        let ends = below.filter_map(|entry| {
            let bound = entry.bound(self.epoch, self.broken, now);
            entry.blind_since(&bound).map(|since| deadline(entry, since)).filter(|until| *until > now)
        });
        ends.min().unwrap_or(Time::MAX)
    }

    fn near_limit(&self, at: usize, now: Time) -> bool {
        let Some(sample) = self.meters.get(at).copied().flatten() else { return false };
        let set = self.limits.iter().filter(|(node, _)| node.index() == at).map(|(_, watts)| *watts);
        let Some(limit) = self.tree.nodes().get(at).map(|n| set.fold(n.limit, Watts::min)) else { return false };
        now.since(sample.time) <= METER_FRESH && sample.watts > limit.part(NEAR_LIMIT)
    }

    /// Takes a sample in by its own time: an older one than is known says nothing. It may only tighten: what it shows
    /// above the highest Σ bounds since the last sample but one narrows the room; what it shows below changes nothing.
    pub(super) fn measure(&mut self, node: NodeId, watts: Watts, error: Watts, time: Time, now: Time) {
        let at = node.index();
        let sums = self.sums(now);
        let (Some(slot), Some(peak), Some(sum)) = (self.meters.get_mut(at), self.peaks.get_mut(at), sums.get(at))
        else {
            return;
        };
        // A meter whose clock runs ahead speaks of now.
        let time = time.min(now);
        if slot.is_some_and(|sample| sample.time >= time) {
            return;
        }
        let explained = self.tree.at_meter(node, peak.iter().copied().fold(*sum, Watts::max));
        *slot = Some(Sample { watts, time, excess: (watts - error - explained).at_least_zero() });
        // A sample may be taken before the one before it arrived, not before the one before that.
        *peak = [*sum, peak[0]];
    }

    /// By how much the meter of this node contradicts Σ bounds, beyond its error, W: an alarm where it is not zero.
    pub fn unexplained(&self, node: NodeId) -> Watts {
        self.meters.get(node.index()).copied().flatten().map_or(Watts::ZERO, |sample| sample.excess)
    }
}

fn deadline(entry: &Entry, since: Time) -> Time {
    since.after(IGNORANCE_GRACE).after(entry.facts.proof_within)
}
