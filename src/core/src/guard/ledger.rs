//! The leader's account: every load at its bound, and the writes that may be made now.
//!
//! The ledger is told what is seen ([`Ledger::learn`]) and asked what to write ([`Ledger::steps`]). It believes nothing
//! that it was not told: a load that it has not claimed, that is missing, silent or stated under an older epoch counts
//! at nameplate. Whatever is lost, late or repeated on the way then only makes a bound too high.

mod entry;
mod overrun;
mod steps;
#[cfg(test)]
mod tests;

pub use overrun::{Metered, Overrun, Verdict};

use self::entry::Entry;
use self::overrun::Sample;
use super::rules::Broken;
use super::{Bound, LoadFacts, LoadId, LoadView, Order, Outcome, Seen};
use crate::tree::{NodeId, Tree};
use crate::units::{Span, Time, Watts};
use std::fmt;

/// A write that is not answered within this is taken to be lost, and may be repeated under a new sequence. What it asked
/// for still counts. The caller's own time-out for a write is to be shorter.
pub const WRITE_LIFE: Span = Span::seconds(10);

/// A load that refused a write is written again after this.
pub const REFUSED_RETRY: Span = Span::seconds(5);

/// Ignorance of a load sheds others this long, and the load's own proof time, after it began.
pub const IGNORANCE_GRACE: Span = Span::seconds(60);

/// A meter sample older than this says nothing of now.
pub const METER_FRESH: Span = Span::seconds(30);

/// Why a leader must stop at once: what it counts on is no longer so. Its process is to exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// A load carries an order of a later leader.
    Superseded {
        /// The load.
        load: LoadId,
        /// What it carries.
        seen: Order,
        /// This leader's epoch.
        epoch: u64,
    },
    /// A load's order fell although its revision rose: the store was restored from a backup, or the fence is gone.
    Fell {
        /// The load.
        load: LoadId,
        /// The newest order known before.
        from: Order,
        /// What it carries now.
        to: Order,
    },
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Superseded { load, seen, epoch } => {
                write!(
                    f,
                    "load {}: its order is of epoch {}, this leader's is {epoch}: another leads",
                    load.0, seen.epoch
                )
            }
            Self::Fell { load, from, to } => write!(
                f,
                "load {}: its order fell from ({}, {}) to ({}, {}): orders only ever rise, so the store is not the one \
                 that was led",
                load.0, from.epoch, from.sequence, to.epoch, to.sequence
            ),
        }
    }
}

impl std::error::Error for Exit {}

/// A new tree lacks a node that a load or a tombstone hangs on. Names the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingNode(pub String);

impl fmt::Display for MissingNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {:?} has loads and must stay in the tree until they are released", self.0)
    }
}

impl std::error::Error for MissingNode {}

/// The state behind the guard of one site, under one leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ledger {
    epoch: u64,
    since: Time,
    tree: Tree,
    /// Capacities of the trees before, by node of this one, while it is not yet accepted.
    before: Option<Vec<Watts>>,
    /// Limits in force for now, below those of the tree.
    limits: Vec<(NodeId, Watts)>,
    capacity: Vec<Watts>,
    entries: Vec<Entry>,
    /// Nameplates that the budget keeps, by node.
    tombstones: Vec<Watts>,
    meters: Vec<Option<Sample>>,
    /// The highest Σ bounds by node since the last sample, and between the two before: what a late one is held against.
    peaks: Vec<[Watts; 2]>,
    exit: Option<Exit>,
    pub(super) broken: Broken,
}

impl Ledger {
    /// A leader's ledger at take-over: nothing is seen yet, so every load counts at nameplate.
    ///
    /// `epoch` must be above every epoch seen on loads, budget or Lease, and no lower than the Unix time in seconds.
    /// The loads get [`LoadId`]s in the order given. A load on a node that is not in the tree counts at the site.
    pub fn new(epoch: u64, tree: Tree, loads: impl IntoIterator<Item = LoadFacts>, now: Time) -> Self {
        let nodes = tree.len();
        let mut ledger = Self {
            epoch,
            since: now,
            before: None,
            limits: Vec::new(),
            capacity: Vec::new(),
            entries: Vec::new(),
            tombstones: vec![Watts::ZERO; nodes],
            meters: vec![None; nodes],
            peaks: vec![[Watts::ZERO; 2]; nodes],
            exit: None,
            broken: Broken::default(),
            tree,
        };
        for facts in loads {
            ledger.add(facts, now);
        }
        ledger.weigh();
        ledger
    }

    /// One load more, from now on. Its nameplate counts at once.
    pub fn add(&mut self, mut facts: LoadFacts, now: Time) -> LoadId {
        if self.tree.node(facts.node).is_none() {
            facts.node = NodeId::SITE;
        }
        let id = LoadId(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        self.entries.push(Entry::new(facts, now));
        id
    }

    /// Has a load written again with the next steps although its setpoint may stay: its fallback or the limits known to
    /// be coming have changed, and travel with its order.
    pub fn renew(&mut self, load: LoadId) {
        if let Some(entry) = self.entries.get_mut(load.index()) {
            entry.renew();
        }
    }

    /// This leader's epoch.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Since when this leader leads.
    pub const fn since(&self) -> Time {
        self.since
    }

    /// Why this leader must stop, once it must.
    pub const fn exit(&self) -> Option<Exit> {
        self.exit
    }

    /// The newest view of a load; none while it is absent or was never seen.
    pub fn view(&self, load: LoadId) -> Option<&LoadView> {
        self.entries.get(load.index()).and_then(|e| e.present())
    }

    /// Takes in what was seen.
    ///
    /// # Errors
    /// [`Exit`]: the process must exit, now. From then on [`Ledger::steps`] gives nothing.
    pub fn learn(&mut self, seen: Seen, now: Time) -> Result<(), Exit> {
        match seen {
            Seen::Load(load, None) => self.change(load, now, |e, _| {
                e.vanish();
                Ok(())
            }),
            Seen::Load(load, Some(view)) => self.change(load, now, |e, epoch| e.see(load, view, epoch)),
            Seen::Answer { load, order, outcome } if order.epoch == self.epoch => self.change(load, now, |e, epoch| {
                e.answered(order.sequence, outcome == Outcome::Refused, now);
                match outcome {
                    // Whether a load is there at all, the watch alone says: an answer may come after its deletion.
                    Outcome::Accepted(view) if e.present().is_some() => e.see(load, view, epoch),
                    _ => Ok(()),
                }
            }),
            Seen::Answer { .. } => Ok(()),
            Seen::Heartbeat(load, beat) => self.change(load, now, |e, _| {
                e.hear(beat);
                Ok(())
            }),
            Seen::Meter { node, watts, error, time } => {
                self.measure(node, watts, error, time, now);
                Ok(())
            }
            Seen::Tombstone(node, watts) => {
                if let Some(kept) = self.tombstones.get_mut(node.index()) {
                    *kept = watts.at_least_zero();
                }
                Ok(())
            }
            Seen::Released(load) => self.change(load, now, |e, _| {
                e.release();
                Ok(())
            }),
        }
    }

    /// For the model check: forgets what only reports are made of.
    #[cfg(test)]
    pub(super) fn reduce(&mut self) {
        self.peaks.fill([Watts::ZERO; 2]);
        self.entries.iter_mut().for_each(|entry| entry.reduce(self.since));
    }

    /// Applies a change to one load, keeping count of since when it counts for what it does.
    fn change(
        &mut self,
        load: LoadId,
        now: Time,
        apply: impl FnOnce(&mut Entry, u64) -> Result<(), Exit>,
    ) -> Result<(), Exit> {
        let (epoch, broken) = (self.epoch, self.broken);
        let Some(entry) = self.entries.get_mut(load.index()) else { return Ok(()) };
        entry.note(epoch, broken, now);
        let result = apply(entry, epoch);
        entry.note(epoch, broken, now);
        if let Err(exit) = result {
            self.exit = self.exit.or(Some(exit));
        }
        result
    }

    /// What a load counts for, and why. A load that is not in the ledger counts nothing.
    pub fn bound(&self, load: LoadId, now: Time) -> Bound {
        match self.entries.get(load.index()) {
            Some(entry) => entry.bound(self.epoch, self.broken, now),
            None => Bound { watts: Watts::ZERO, basis: super::Basis::Known, since: now },
        }
    }

    /// Σ bounds below each node, W; with what tombstones count for loads that are not known.
    pub fn sums(&self, now: Time) -> Vec<Watts> {
        self.sums_of(|entry| entry.bound(self.epoch, self.broken, now).watts)
    }

    /// What is left for raises below each node, W: capacity less Σ bounds, less what its meter shows above them.
    /// Negative where nothing may be raised.
    pub fn headroom(&self, now: Time) -> Vec<Watts> {
        let sums = self.sums(now);
        let excess = self.meters.iter().map(|m| m.map_or(Watts::ZERO, |m| m.excess));
        self.capacity.iter().zip(sums).zip(excess).map(|((c, s), e)| *c - s - e).collect()
    }

    /// What all loads below each node may draw together now, W.
    pub fn capacities(&self) -> &[Watts] {
        &self.capacity
    }

    /// The tree that counts, its feeders' ids being those of every [`NodeId`] taken and given.
    pub const fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Limits in force now besides the tree's: events, lockouts. They only lower, at once; those set before are
    /// replaced. No change of the tree: raises go on.
    pub fn set_limits(&mut self, limits: Vec<(NodeId, Watts)>) {
        if self.limits != limits {
            self.limits = limits;
            self.weigh();
        }
    }

    /// Puts another tree in place, not yet accepted: per node, by name, the lower of old and new holds and nothing is
    /// raised until [`Ledger::accept_tree`]. [`NodeId`]s are those of the new tree from here on; limits set by
    /// [`Ledger::set_limits`] stay with their nodes' names.
    ///
    /// # Errors
    /// A node that has loads or a tombstone is missing in the new tree; nothing is changed then.
    pub fn set_tree(&mut self, tree: Tree) -> Result<(), MissingNode> {
        let moved: Vec<Option<NodeId>> = self.tree.nodes().iter().map(|n| tree.find(&n.name)).collect();
        let to = |old: NodeId| moved.get(old.index()).copied().flatten();
        let used = self.entries.iter().filter(|e| !e.is_released()).map(|e| e.facts.node);
        let kept = self.tombstones.iter().enumerate().filter(|(_, w)| **w > Watts::ZERO).map(|(i, _)| NodeId(i as u32));
        if let Some(lost) = used.chain(kept).find(|node| to(*node).is_none()) {
            return Err(MissingNode(self.tree.node(lost).map(|n| n.name.clone()).unwrap_or_default()));
        }
        let mut before = vec![Watts::MAX; tree.len()];
        let (mut tombstones, mut peaks) = (vec![Watts::ZERO; tree.len()], vec![[Watts::ZERO; 2]; tree.len()]);
        let mut meters = vec![None; tree.len()];
        for (old, new) in moved.iter().enumerate().filter_map(|(old, new)| new.map(|new| (old, new.index()))) {
            let held = self.before.as_ref().and_then(|b| b.get(old).copied()).unwrap_or(Watts::MAX);
            place(&mut before, new, Some(held.min(self.tree.capacity(NodeId(old as u32)))));
            place(&mut tombstones, new, self.tombstones.get(old).copied());
            place(&mut peaks, new, self.peaks.get(old).copied());
            place(&mut meters, new, self.meters.get(old).copied());
        }
        for entry in &mut self.entries {
            entry.facts.node = to(entry.facts.node).unwrap_or(NodeId::SITE);
        }
        self.limits = self.limits.iter().filter_map(|(node, watts)| to(*node).map(|n| (n, *watts))).collect();
        (self.before, self.tombstones, self.peaks, self.meters) = (Some(before), tombstones, peaks, meters);
        self.tree = tree;
        self.weigh();
        Ok(())
    }

    /// The tree last set is accepted: it alone counts, and raises go on.
    pub fn accept_tree(&mut self) {
        self.before = None;
        self.weigh();
    }

    /// Whether a tree was set and is not accepted yet.
    pub const fn tree_pending(&self) -> bool {
        self.before.is_some()
    }

    fn weigh(&mut self) {
        let tight = self.tree.tightened(self.limits.iter().copied());
        let before = |at: usize| self.before.as_ref().and_then(|b| b.get(at).copied()).unwrap_or(Watts::MAX);
        self.capacity = (0..tight.len()).map(|at| tight.capacity(NodeId(at as u32)).min(before(at))).collect();
    }

    /// Σ over loads below each node, by `weight`; with the part of each tombstone that no known load accounts for.
    fn sums_of(&self, weight: impl Fn(&Entry) -> Watts) -> Vec<Watts> {
        let mut own = self.tombstones.clone();
        for entry in self.entries.iter().filter(|e| !e.is_released()) {
            if let Some(rest) = own.get_mut(entry.facts.node.index()) {
                *rest -= entry.facts.nameplate;
            }
        }
        let unseen = own.iter().enumerate().map(|(at, rest)| (NodeId(at as u32), rest.at_least_zero()));
        self.tree.sums(self.entries.iter().map(|e| (e.facts.node, weight(e))).chain(unseen))
    }
}

fn place<T>(table: &mut [T], at: usize, value: Option<T>) {
    if let (Some(slot), Some(value)) = (table.get_mut(at), value) {
        *slot = value;
    }
}
