//! One load in the ledger: what was seen of it, what was asked of it, what it counts for.

use super::{Exit, REFUSED_RETRY, WRITE_LIFE};
use crate::guard::rules::{Broken, Rule};
use crate::guard::{Basis, Bound, Heartbeat, LoadFacts, LoadId, LoadView, Order, Statement};
use crate::units::{Time, Watts};

/// A write without an answer yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Flight {
    sequence: u64,
    sent: Time,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) facts: LoadFacts,
    /// The newest view, kept when the load is gone.
    view: Option<LoadView>,
    absent: bool,
    released: bool,
    next: u64,
    flight: Option<Flight>,
    /// What the newest order of this leader's asks for, written or only shouted, W.
    asked: Watts,
    /// The most that any write without a read-back asked for, W, and the highest sequence among those.
    unread: (Watts, u64),
    refused: bool,
    /// To be written again although its setpoint stays: something else of its order is to change.
    renew: bool,
    retry_at: Time,
    heard: Option<Heartbeat>,
    /// The last ceiling of any epoch, W.
    last_ceiling: Watts,
    basis: Basis,
    since: Time,
    /// Since when it counts at nameplate for want of knowledge.
    blind_since: Time,
}

impl Basis {
    /// Counted at nameplate because too little is known.
    pub const fn is_blind(self) -> bool {
        !matches!(self, Self::Known | Self::Proving)
    }
}

impl Entry {
    pub(super) fn new(facts: LoadFacts, now: Time) -> Self {
        let (zero, basis) = (Watts::ZERO, Basis::Absent);
        Self {
            facts,
            view: None,
            absent: true,
            released: false,
            next: 1,
            flight: None,
            asked: zero,
            unread: (zero, 0),
            refused: false,
            renew: false,
            retry_at: now,
            heard: None,
            last_ceiling: zero,
            basis,
            since: now,
            blind_since: now,
        }
    }

    pub(super) const fn is_released(&self) -> bool {
        self.released
    }

    pub(super) fn present(&self) -> Option<&LoadView> {
        self.view.as_ref().filter(|_| !self.absent)
    }

    /// The view, where this leader has claimed the load.
    pub(super) fn claimed(&self, epoch: u64, broken: Broken) -> Option<&LoadView> {
        self.present().filter(|v| v.order.epoch == epoch || !broken.keeps(Rule::ClaimFirst))
    }

    pub(super) fn vanish(&mut self) {
        self.absent = true;
        self.heard = None;
    }

    pub(super) fn release(&mut self) {
        self.vanish();
        self.released = true;
    }

    /// Takes in a view, unless a newer one is known.
    pub(super) fn see(&mut self, load: LoadId, view: LoadView, epoch: u64) -> Result<(), Exit> {
        if let Some(old) = &self.view {
            // A watch that lags, or an answer that overtook it.
            if view.revision < old.revision || (self.released && view.revision == old.revision) {
                return Ok(());
            }
            if view.order < old.order && !self.absent {
                return Err(Exit::Fell { load, from: old.order, to: view.order });
            }
        }
        if view.order.epoch > epoch {
            return Err(Exit::Superseded { load, seen: view.order, epoch });
        }
        if view.order.epoch == epoch {
            let landed = view.order.sequence;
            if landed >= self.unread.1 {
                self.unread = (Watts::ZERO, 0);
            }
            self.flight = self.flight.filter(|f| f.sequence > landed);
            self.refused &= landed.saturating_add(1) < self.next;
            self.next = self.next.max(landed.saturating_add(1));
        }
        if let Some(ceiling) = view.stated.and_then(|s| s.ceiling) {
            self.last_ceiling = ceiling;
        }
        (self.absent, self.released) = (false, false);
        self.view = Some(view);
        Ok(())
    }

    /// The API server answered the write of this sequence, or the caller gave it up.
    pub(super) fn answered(&mut self, sequence: u64, refused: bool, now: Time) {
        self.flight = self.flight.filter(|f| f.sequence != sequence);
        if refused {
            // A claim is refused where it landed before: the watch will show it.
            self.refused |= sequence > 0;
            self.retry_at = now.after(REFUSED_RETRY);
        }
    }

    pub(super) fn hear(&mut self, beat: Heartbeat) {
        let older = self
            .heard
            .is_some_and(|h| (h.order, h.holder) == (beat.order, beat.holder) && h.proof_expires > beat.proof_expires);
        if !older {
            self.heard = Some(beat);
        }
    }

    /// Whether a write may be sent: none is unanswered, none was refused just now.
    pub(super) fn is_free(&self, now: Time) -> bool {
        self.retry_at <= now && self.flight.is_none_or(|f| f.sent.after(WRITE_LIFE) <= now)
    }

    /// Something else of its order than the setpoint is to change.
    pub(super) const fn renew(&mut self) {
        self.renew = true;
    }

    /// Whether it is to be written again although its setpoint stays.
    pub(super) const fn is_to_renew(&self) -> bool {
        self.renew
    }

    /// Refused by the API server and not written since.
    pub(super) const fn is_refused(&self) -> bool {
        self.refused
    }

    /// What writes without a read-back asked for at most, W.
    pub(super) const fn unread(&self) -> Watts {
        self.unread.0
    }

    /// The order of a claim that is now sent.
    pub(super) fn claim(&mut self, epoch: u64, now: Time) -> Order {
        self.flight = Some(Flight { sequence: 0, sent: now });
        self.asked = self.present().map_or(Watts::ZERO, |view| view.setpoint);
        Order { epoch, sequence: 0 }
    }

    /// The order of a setpoint that is now sent. It counts from here until its sequence or a higher one is read back:
    /// a lower one too, since a yet lower one before it may have landed.
    pub(super) fn order(&mut self, setpoint: Watts, epoch: u64, broken: Broken, now: Time) -> Order {
        let Order { sequence, .. } = self.shout(setpoint, epoch);
        self.renew = false;
        self.flight = Some(Flight { sequence, sent: now });
        if broken.keeps(Rule::UnansweredCounts) {
            self.unread = (self.unread.0.max(setpoint), sequence);
        }
        Order { epoch, sequence }
    }

    /// The order of a setpoint that is now shouted and not written. An agent that hears it keeps it until it sees a later
    /// order, so one is to be written.
    pub(super) const fn shout(&mut self, setpoint: Watts, epoch: u64) -> Order {
        let sequence = self.next;
        self.next = self.next.saturating_add(1);
        (self.asked, self.renew) = (setpoint, true);
        Order { epoch, sequence }
    }

    /// What the newest order of this leader's asks for, W.
    pub(super) const fn asked(&self) -> Watts {
        self.asked
    }

    /// The most it could ever draw, W, by what was ever said of it.
    pub(super) fn nameplate(&self) -> Watts {
        self.view.as_ref().map_or(self.facts.nameplate, |v| v.nameplate.max(self.facts.nameplate))
    }

    /// What it counts for if all that was last said of it, under any epoch, still holds, W.
    pub(super) fn estimate(&self) -> Watts {
        let Some(view) = &self.view else { return self.nameplate() };
        view.setpoint.max(self.last_ceiling).max(self.unread.0)
    }

    /// The statement that counts under this epoch, and its ceiling.
    fn stated(&self, epoch: u64, broken: Broken) -> Option<(Statement, Watts)> {
        let stated = self.present()?.stated?;
        let own = stated.order.epoch == epoch || !broken.keeps(Rule::OwnEpoch);
        stated.ceiling.filter(|_| own).map(|ceiling| (stated, ceiling))
    }

    /// The heartbeat that speaks of this statement.
    fn heard(&self, stated: &Statement) -> Option<&Heartbeat> {
        self.heard.as_ref().filter(|h| h.order == stated.order && h.holder == stated.holder)
    }

    fn life(&self, stated: &Statement, ceiling: Watts) -> Time {
        let renewed = self.heard(stated).filter(|h| h.ceiling <= ceiling);
        renewed.map_or(stated.proof_expires, |h| h.proof_expires.max(stated.proof_expires))
    }

    pub(super) fn bound(&self, epoch: u64, broken: Broken, now: Time) -> Bound {
        if self.released {
            return Bound { watts: Watts::ZERO, basis: Basis::Known, since: self.since };
        }
        let (basis, known) = self.judge(epoch, broken, now);
        let watts = if basis.is_blind() { self.nameplate().max(known) } else { known };
        let watts = if basis == Basis::Absent && !broken.keeps(Rule::AbsentCounts) { Watts::ZERO } else { watts };
        Bound { watts, basis, since: if basis == self.basis { self.since } else { self.expired(epoch, broken, now) } }
    }

    /// When the proof behind the statement ran out, where nothing else has changed since the last note.
    fn expired(&self, epoch: u64, broken: Broken, now: Time) -> Time {
        self.stated(epoch, broken).map_or(now, |(stated, ceiling)| self.life(&stated, ceiling).min(now))
    }

    fn judge(&self, epoch: u64, broken: Broken, now: Time) -> (Basis, Watts) {
        let Some(view) = self.present() else { return (Basis::Absent, self.unread.0) };
        let known = view.setpoint.max(self.unread.0);
        if self.claimed(epoch, broken).is_none() {
            return (Basis::Unclaimed, known);
        }
        let Some((stated, ceiling)) = self.stated(epoch, broken) else { return (Basis::Unstated, known) };
        // An agent that says it proves less well than it stated is believed that.
        let ceiling_now = self.heard(&stated).map_or(ceiling, |h| h.ceiling.max(ceiling));
        let known = known.max(ceiling_now);
        let expired = self.life(&stated, ceiling) <= now && broken.keeps(Rule::ProofLife);
        let basis = match () {
            () if self.refused => Basis::Refusing,
            () if expired => Basis::Expired,
            () if view.setpoint < ceiling_now => Basis::Proving,
            () => Basis::Known,
        };
        (basis, known)
    }

    /// Since when it is blind, if it is.
    pub(super) fn blind_since(&self, bound: &Bound) -> Option<Time> {
        bound.basis.is_blind().then_some(if self.basis.is_blind() { self.blind_since } else { bound.since })
    }

    /// See [`super::Ledger::reduce`].
    #[cfg(test)]
    pub(super) fn reduce(&mut self, since: Time) {
        (self.basis, self.since, self.blind_since, self.last_ceiling) = (Basis::Absent, since, since, Watts::ZERO);
    }

    /// Notes since when the basis is what it is.
    pub(super) fn note(&mut self, epoch: u64, broken: Broken, now: Time) {
        let Bound { basis, since: seen, .. } = self.bound(epoch, broken, now);
        if basis == self.basis {
            return;
        }
        let since = if basis == Basis::Expired { seen } else { now };
        let claimed = self.basis == Basis::Unclaimed && basis.is_blind();
        if basis.is_blind() && (!self.basis.is_blind() || claimed) {
            self.blind_since = since;
        }
        (self.basis, self.since) = (basis, since);
    }
}
