//! What the agent owes the ledger before and after it moves: statements, and the permit to raise that they give.

use super::{Agent, Flight, LEADER_LIFE, LOWERING_PACE, PERMIT, PERMIT_RENEWAL, Role, WRITE_LIFE};
use crate::guard::rules::Rule;
use crate::guard::{Act, LoadView, Precondition, Statement};
use crate::units::{Time, Watts};

impl Agent {
    /// The status write that is due now, if any. At most one is without an answer.
    pub(super) fn state(&mut self, now: Time) -> Option<Act> {
        let view = self.view.as_ref().filter(|_| self.role == Role::Holding && !self.gone)?;
        let (reach, proof, stated) = (self.reach?, self.proof?, self.stated()?);
        let rises = self.would_raise(now).filter(|_| self.broken.keeps(Rule::CeilingFirst));
        let floor =
            if self.broken.keeps(Rule::NotBelowSetpoint) { view.setpoint } else { rises.unwrap_or(Watts::ZERO) };
        let ceiling = reach.max(floor);
        // Up only where something is to rise or has risen.
        let ceiling = match stated.ceiling {
            Some(stands) if rises.is_none() && reach <= stands => ceiling.min(stands),
            _ => ceiling,
        };
        let another_epoch = stated.order.epoch != view.order.epoch;
        let due = another_epoch
            || stated.ceiling.is_none_or(|stands| ceiling > stands)
            || stated.ceiling.is_some_and(|stands| ceiling < stands && self.may_lower(view, proof.settled, now))
            || (rises.is_some()
                && self.permit.is_none_or(|(o, at)| o != view.order || at.after(PERMIT_RENEWAL) <= now))
            || (proof.expires > stated.proof_expires && self.stated_at.after(self.config.renewal) <= now);
        if !due {
            return None;
        }
        let ceiling = if another_epoch { ceiling.max(floor) } else { ceiling };
        let only_if = match stated.ceiling {
            Some(stands) if ceiling > stands => Precondition::Order(view.order),
            _ => Precondition::Revision(view.revision),
        };
        let (order, holder) = (view.order, self.config.holder);
        self.send(Statement { ceiling: Some(ceiling), order, holder, proof_expires: proof.expires }, only_if, now)
    }

    /// A ceiling may be stated lower when all has settled: at once where it has arrived, else not too often.
    fn may_lower(&self, view: &LoadView, settled: bool, now: Time) -> bool {
        let arrived = self.reach.is_some_and(|reach| reach <= view.setpoint);
        settled && (arrived || self.stated_at.after(LOWERING_PACE) <= now)
    }

    /// Sends a status write, unless one is under way.
    pub(super) fn send(&mut self, statement: Statement, only_if: Precondition, now: Time) -> Option<Act> {
        if self.flight.is_some_and(|flight| flight.failed.is_some() || now < flight.sent.after(WRITE_LIFE)) {
            return None;
        }
        let revision = self.view.as_ref().map_or(0, |view| view.revision);
        self.writes = self.writes.saturating_add(1);
        self.stated_at = now;
        let permits = statement.ceiling.is_some();
        let (write, order) = (self.writes, statement.order);
        self.flight = Some(Flight { write, sent: now, order, revision, permits, failed: None });
        Some(Act::State { write, statement, only_if })
    }

    /// To what the devices are to be raised once that is stated; none: nothing to raise, or no right to.
    fn would_raise(&self, now: Time) -> Option<Watts> {
        let allowed = self.allowed(now)?;
        let view = self.view.as_ref().filter(|_| self.role == Role::Holding && !self.gone)?;
        let device = self.device.as_ref()?;
        // Devices that boot need no leave: it is not renewed for as long as a miner takes to wake.
        let unfinished = device.open && device.raise_until.is_some() && self.proof.is_some_and(|proof| proof.rising);
        let higher = allowed > device.limit || device.short || unfinished;
        let orders = view.order.sequence > 0 || !self.broken.keeps(Rule::ClaimRaisesNothing);
        let led = self.leader.is_some_and(|(epoch, seen)| epoch == view.order.epoch && now < seen.after(LEADER_LIFE));
        let led = led || !self.broken.keeps(Rule::LeaseSeen);
        let proved = self.reach.is_some() && self.proof.is_some_and(|proof| now < proof.expires);
        (higher && orders && led && proved).then_some(allowed)
    }

    /// The raise that the permit allows now.
    pub(super) fn raise(&mut self, now: Time) -> Option<Act> {
        let allowed = self.would_raise(now)?;
        let until = self.permitted_until(allowed, now)?;
        let told = self.device.as_ref().is_some_and(|last| last.limit == allowed && last.raise_until == Some(until));
        (!told).then(|| self.command(allowed, Some(until), false))
    }

    /// Up to when devices may be raised to `allowed` by what was accepted and seen.
    fn permitted_until(&self, allowed: Watts, now: Time) -> Option<Time> {
        if !self.broken.keeps(Rule::CeilingFirst) {
            return Some(now.after(PERMIT));
        }
        let view = self.view.as_ref()?;
        let (_, sent) = self.permit.filter(|(order, _)| *order == view.order)?;
        self.stated()?.ceiling.filter(|ceiling| *ceiling >= allowed)?;
        if !self.broken.keeps(Rule::PermitEnds) {
            return Some(Time::MAX);
        }
        let led = self.leader.map(|(_, seen)| seen.after(LEADER_LIFE)).filter(|_| self.broken.keeps(Rule::LeaseSeen));
        let until = led.map_or(sent.after(PERMIT), |led| led.min(sent.after(PERMIT)));
        (now < until).then_some(until)
    }
}
