//! Which writes may be made now.

use super::{Entry, Ledger};
use crate::guard::{Basis, LoadId, Want, Write};
use crate::tree::NodeId;
use crate::units::{Time, Watts};

impl Ledger {
    /// What may be written now: claims first, then what lowers, then raises in the order of `want`, each as far as
    /// there is room on every ancestor with all loads at their bounds.
    ///
    /// A load has at most one write without an answer; what is to fall further meanwhile is shouted. Loads that `want` does not name stay as they are; where it names
    /// one twice, the first counts. What is returned counts as sent. One pass over loads and wants, O(depth) a raise.
    pub fn steps(&mut self, want: &[Want], now: Time) -> Vec<Write> {
        if self.exit.is_some() {
            return Vec::new();
        }
        let sums = self.sums(now);
        for ([peak, _], sum) in self.peaks.iter_mut().zip(sums) {
            *peak = (*peak).max(sum);
        }
        let mut writes = self.claims(now);
        writes.extend(want.iter().filter_map(|want| self.lower(want, now)));
        if self.before.is_none() {
            let mut room = self.headroom(now);
            writes.extend(want.iter().filter_map(|want| self.raise(want, &mut room, now)));
        }
        writes
    }

    fn claims(&mut self, now: Time) -> Vec<Write> {
        let (epoch, broken) = (self.epoch, self.broken);
        let mut writes = Vec::new();
        for (at, entry) in self.entries.iter_mut().enumerate() {
            if entry.present().is_some() && entry.claimed(epoch, broken).is_none() && entry.is_free(now) {
                writes.push(Write::Claim { load: LoadId(at as u32), order: entry.claim(epoch, now) });
            }
        }
        writes
    }

    fn lower(&mut self, want: &Want, now: Time) -> Option<Write> {
        let (epoch, broken) = (self.epoch, self.broken);
        let entry = self.entries.get_mut(want.load.index())?;
        let (stands, wanted) = (entry.claimed(epoch, broken)?.setpoint, wanted(entry, want));
        if !entry.is_free(now) {
            let shout = |entry: &mut Entry| entry.shout(wanted, epoch);
            return (wanted < entry.asked()).then(|| Write::Shout {
                load: want.load,
                order: shout(entry),
                setpoint: wanted,
            });
        }
        let setpoint = wanted.min(stands);
        // Also where a raise went unanswered that is wanted no more: a later order keeps it from landing; and where a
        // write was refused: to hear whether the load takes orders again.
        let fences = entry.unread() > setpoint && setpoint == wanted;
        if setpoint < stands || fences || entry.is_refused() || entry.is_to_renew() {
            let order = entry.order(setpoint, epoch, broken, now);
            return Some(Write::Lower { load: want.load, order, setpoint });
        }
        None
    }

    fn raise(&mut self, want: &Want, room: &mut [Watts], now: Time) -> Option<Write> {
        let (epoch, broken) = (self.epoch, self.broken);
        let entry = self.entries.get_mut(want.load.index())?;
        let view = entry.claimed(epoch, broken).filter(|_| entry.is_free(now))?;
        // A claim permits no rise. What the leader before granted and the devices had not reached yet is granted anew.
        let (stands, granted) = (view.setpoint, view.order.sequence > 0);
        let bound = entry.bound(epoch, broken, now);
        if bound.basis.is_blind() {
            return None;
        }
        let path = || self.tree.path(entry.facts.node).map(NodeId::index);
        let free = path().map(|at| room.get(at).copied().unwrap_or_default()).min()?;
        if free < Watts::ZERO {
            return None;
        }
        let (wanted, most) = (wanted(entry, want), bound.watts + free);
        let setpoint = if wanted <= most { wanted } else { stands + (most - stands).floor_to(want.step) };
        if setpoint < stands || (setpoint == stands && granted) {
            return None;
        }
        let taken = (setpoint - bound.watts).at_least_zero();
        for at in path() {
            if let Some(left) = room.get_mut(at) {
                *left -= taken;
            }
        }
        let order = entry.order(setpoint, epoch, broken, now);
        Some(Write::Raise { load: want.load, order, setpoint })
    }

    /// How many loads count at each basis: for metrics and conditions.
    pub fn census(&self, now: Time) -> std::collections::BTreeMap<Basis, usize> {
        let mut census = std::collections::BTreeMap::new();
        for entry in self.entries.iter().filter(|e| !e.is_released()) {
            *census.entry(entry.bound(self.epoch, self.broken, now).basis).or_default() += 1;
        }
        census
    }
}

fn wanted(entry: &Entry, want: &Want) -> Watts {
    want.watts.at_least_zero().min(entry.nameplate())
}
