//! Under what the devices are to stay: the setpoint, and what lowers it besides.

use super::{Agent, Role};
use crate::guard::rules::Rule;
use crate::guard::{Act, KnownLimit, Order};
use crate::units::{Span, Time, Watts};

/// Without a leader the limit falls in steps of this length: devices are not told something new every second.
const FALL_STEP: Span = Span::seconds(10);

/// Limits that were shouted and stand beside the spec's: two schedules that cross.
const TOLD_MOST: usize = 16;

/// A lowering that the agent began by itself, without a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Fall {
    since: Time,
    from: Watts,
}

impl Agent {
    /// What the newest order, a shed that was shouted, limits known to be coming and a missing leader leave, W.
    pub(super) fn allowed(&self, now: Time) -> Option<Watts> {
        let view = self.view.as_ref()?;
        let told = self.told.iter().flat_map(|(_, limits)| limits);
        let known = view.schedule.iter().chain(told);
        let coming = known.filter(|known| known.from <= now && now < known.until).map(|known| known.limit);
        let shouted = self.shed.map(|(_, setpoint)| setpoint);
        let fallen = self.fall.map(|fall| self.level(fall, view.fallback, now));
        Some(coming.chain(shouted).chain(fallen).fold(view.setpoint, Watts::min))
    }

    /// A shed lowers at once, and stands until its own order or a later one is seen; sheds that cross add up.
    pub(super) fn hear_shed(&mut self, order: Order, setpoint: Watts) {
        if self.view.as_ref().is_some_and(|view| order <= view.order) {
            return;
        }
        let (newest, lowest) = self.shed.unwrap_or((order, setpoint));
        self.shed = Some((newest.max(order), lowest.min(setpoint)));
    }

    /// Limits that were shouted stand until their own order or a later one is seen; those that cross add up. Where
    /// there is no more room the rest waits for the spec.
    pub(super) fn hear_schedule(&mut self, order: Order, limits: &[KnownLimit]) {
        if self.view.as_ref().is_some_and(|view| order <= view.order) {
            return;
        }
        let (newest, mut all) = self.told.take().unwrap_or((order, Vec::new()));
        all.extend(limits.iter().take(TOLD_MOST / 2).filter(|limit| !all.contains(limit)).copied().collect::<Vec<_>>());
        all.truncate(TOLD_MOST);
        self.told = Some((newest.max(order), all));
    }

    /// Starts to fall where no leader has renewed for long, and stops where one has.
    pub(super) fn note_leader(&mut self, now: Time) {
        let heard = self.leader.map_or(self.started, |(_, seen)| seen);
        let since = heard.after(self.patience());
        if now < since {
            self.fall = None;
        } else if self.fall.is_none() {
            let from = self.limit().or(self.view.as_ref().map(|view| view.setpoint));
            self.fall = from.map(|from| Fall { since, from });
        }
    }

    /// The hold time and up to half of it more, by the holder's number: a site's agents do not fall all at once.
    pub(super) fn patience(&self) -> Span {
        let share = i64::try_from(self.config.holder.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54).unwrap_or_default();
        let hold = self.config.hold.get();
        Span::new(hold.saturating_add(crate::units::mul_div(hold, share, 2048)))
    }

    /// From where it stood, ramped, to the fallback, never above where it stood.
    fn level(&self, fall: Fall, fallback: Watts, now: Time) -> Watts {
        let steps = now.since(fall.since).get().div_euclid(FALL_STEP.get()).max(0);
        let fallen = crate::units::mul_div(self.config.down_per_minute.get(), steps, 6);
        fallback.min(fall.from).max(fall.from - Watts::new(fallen))
    }

    /// The command that the devices need now because they were told more, or nothing yet.
    pub(super) fn lower(&mut self, now: Time) -> Option<Act> {
        let allowed = self.allowed(now)?;
        if !self.broken.keeps(Rule::FallLowers) && self.fall.is_some() {
            let fallback = self.view.as_ref()?.fallback;
            return (self.limit() != Some(fallback)).then(|| self.command(fallback, Some(Time::MAX), false));
        }
        match self.limit() {
            None => Some(self.command(allowed, None, true)),
            Some(limit) if allowed < limit => Some(self.command(allowed, None, false)),
            Some(_) => None,
        }
    }

    /// Gives a command. A raise counts from here; after one that is no raise, older proofs say nothing any more.
    pub(super) fn command(&mut self, limit: Watts, raise_until: Option<Time>, afresh: bool) -> Act {
        let raised = self.device.as_ref().is_some_and(|last| last.raise_until.is_some());
        let renewal = self.device.as_ref().is_some_and(|last| last.limit == limit && last.raise_until.is_some());
        if !(renewal && raise_until.is_some()) {
            self.commands = self.commands.saturating_add(1);
        }
        if afresh {
            (self.reach, self.proof) = (None, None);
        }
        if afresh || (raised && raise_until.is_none()) {
            self.barrier = self.commands;
        }
        if raise_until.is_some() {
            self.reach = self.reach.map(|reach| reach.max(limit));
        }
        let was_short =
            self.device.as_ref().is_some_and(|last| last.short || (last.open && last.raise_until.is_some()));
        let short = raise_until.is_none() && (afresh || was_short);
        self.device = Some(super::Command { number: self.commands, limit, raise_until, open: true, short });
        Act::Device { command: self.commands, limit, raise_until, afresh }
    }

    /// Takes in what the devices prove: less than before only when all is settled, and never below what they may yet be
    /// raised to.
    pub(super) fn believe(&mut self, command: u64, proof: crate::guard::Proof) {
        let holds = matches!(self.role, Role::Waiting { .. } | Role::Holding);
        let Some(device) = self.device.as_mut().filter(|_| holds) else { return };
        if command < self.barrier && self.broken.keeps(Rule::ProofAfterRaise) {
            return;
        }
        let rising = device.raise_until.map_or(Watts::ZERO, |_| device.limit);
        if proof.settled {
            device.open &= command < device.number;
            self.reach = Some(proof.ceiling.max(rising));
        } else {
            self.reach = self.reach.map(|reach| reach.max(proof.ceiling));
        }
        self.proof = Some(proof);
    }
}
