//! Who leads, and under which epoch.
//!
//! One `coordination.k8s.io` Lease. A leader renews every [`RENEW_EVERY`]; a follower takes over when it has seen no
//! renewal for the Lease's whole duration, by its own clock and by compare-and-swap. A leader that could not renew
//! stops acting well before anybody else may begin, and never comes back under the same epoch: it exits.
//!
//! A new epoch is above every epoch ever seen, and at least the Unix time in seconds, so that a restored backup cannot
//! bring an old one back (`guard.md`, rule 7).

use crate::store::{Answer, LeadershipFacts, Refusal, TIMEOUT, Write, WriteId};
use ampacity_core::units::{Span, Time};

/// How long one renewal holds.
pub const DURATION: Span = Span::seconds(10);
/// How often a leader renews.
pub const RENEW_EVERY: Span = Span::seconds(2);
/// A leader that has not renewed for this long stops acting: before [`DURATION`], so that two never overlap by more
/// than what the order's fence is for.
pub const STEP_DOWN_AFTER: Span = Span::seconds(7);

/// Where this operator stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Somebody else leads, or nobody yet.
    Following,
    /// This one leads.
    Leading {
        /// Its epoch.
        epoch: u64,
    },
    /// It led and does not any more, or saw an ordered thing fall: it must exit.
    Lost(&'static str),
}

/// One operator's part in the election.
#[derive(Clone, Debug)]
pub struct Leader {
    name: String,
    /// Where its link is reached; empty: it has none.
    link: String,
    seen: Option<(LeadershipFacts, Time)>,
    listed: bool,
    standing: Standing,
    highest_epoch: u64,
    renewed: Time,
    sent: Option<Sent>,
}

/// A write of the Lease that was not answered yet.
#[derive(Clone, Debug)]
struct Sent {
    id: Option<WriteId>,
    at: Time,
    epoch: u64,
}

impl Leader {
    /// A follower of this name (the pod's), whose link agents will reach at `link`; empty: it has none.
    pub fn new(name: &str, link: &str) -> Self {
        Self {
            name: name.into(),
            link: link.into(),
            seen: None,
            listed: false,
            standing: Standing::Following,
            highest_epoch: 0,
            renewed: Time::ZERO,
            sent: None,
        }
    }

    /// Where this operator stands at `now`: a leadership that was not renewed in time is lost whatever happened since.
    pub fn standing(&self, now: Time) -> Standing {
        match self.standing {
            Standing::Leading { .. } if now.since(self.renewed) > STEP_DOWN_AFTER => {
                Standing::Lost("the leader's Lease could not be renewed in time")
            }
            standing => standing,
        }
    }

    /// Who holds the Lease, as far as this one has seen.
    pub fn holder(&self) -> Option<(&str, u64)> {
        self.seen.as_ref().map(|(facts, _)| (facts.holder.as_str(), facts.epoch)).filter(|(name, _)| !name.is_empty())
    }

    /// An epoch was seen somewhere: on a load, a budget, the Lease.
    pub fn saw_epoch(&mut self, epoch: u64) {
        self.highest_epoch = self.highest_epoch.max(epoch);
    }

    /// The Lease was listed: if it was not shown, there is none.
    pub fn listed(&mut self) {
        self.listed = true;
    }

    /// The Lease stands like this now; none: it is gone.
    pub fn saw(&mut self, facts: Option<&LeadershipFacts>, now: Time) {
        let Some(facts) = facts else {
            self.seen = None;
            return;
        };
        if facts.epoch < self.seen.as_ref().map_or(0, |(old, _)| old.epoch) {
            self.standing = Standing::Lost("the leader's epoch fell: a restored backup");
        }
        self.saw_epoch(facts.epoch);
        if let Standing::Leading { epoch } = self.standing
            && (facts.holder != self.name || facts.epoch != epoch)
        {
            self.standing = Standing::Lost("somebody else took the leader's Lease");
        }
        // A watch may show a renewal after the answer to the next one: it must not bring its resource version back.
        let leads = matches!(self.standing, Standing::Leading { .. });
        if leads && self.seen.as_ref().is_some_and(|(old, _)| facts.renewed < old.renewed) {
            return;
        }
        if self.seen.as_ref().is_none_or(|(old, _)| old.revision != facts.revision) {
            self.seen = Some((facts.clone(), now));
        }
    }

    /// The Lease to be written now, if any. `healthy` is false while a shed has gone unanswered: one that cannot write
    /// must not look as if it could. The caller submits it and tells the number by [`Leader::submitted`].
    pub fn step(&mut self, now: Time, healthy: bool) -> Option<Write> {
        // A second write beside one that is still on its way could only conflict with it.
        if self.sent.as_ref().is_some_and(|sent| now.since(sent.at) < TIMEOUT) {
            return None;
        }
        let (epoch, due) = match self.standing(now) {
            Standing::Lost(_) => return None,
            Standing::Leading { epoch } => (epoch, healthy && now.since(self.renewed) >= RENEW_EVERY),
            Standing::Following => (self.next_epoch(now), self.may_take(now)),
        };
        if !due {
            return None;
        }
        let old = self.seen.as_ref().map(|(facts, _)| facts);
        let mine = old.is_some_and(|f| f.holder == self.name);
        let facts = LeadershipFacts {
            holder: self.name.clone(),
            epoch,
            renewed: now,
            duration: DURATION,
            link: self.link.clone(),
            transitions: old.map_or(0, |f| f.transitions.saturating_add(u32::from(!mine))),
            revision: String::new(),
        };
        self.sent = Some(Sent { id: None, at: now, epoch });
        Some(Write::Lead { facts, revision: old.map(|f| f.revision.clone()) })
    }

    /// Gives the leadership back: the Lease without a holder, under the same epoch, so that another takes it at once.
    /// None where this one does not lead. It leads no more, whatever is answered.
    pub fn release(&mut self, now: Time) -> Option<Write> {
        let Standing::Leading { epoch } = self.standing(now) else { return None };
        self.standing = Standing::Lost("the leadership was given back");
        let (old, _) = self.seen.as_ref()?;
        let facts = LeadershipFacts { holder: String::new(), epoch, revision: String::new(), ..old.clone() };
        Some(Write::Lead { facts, revision: Some(old.revision.clone()) })
    }

    /// The write that [`Leader::step`] gave carries this number.
    pub fn submitted(&mut self, id: WriteId) {
        if let Some(sent) = &mut self.sent {
            sent.id = Some(id);
        }
    }

    /// A write was answered. Returns whether it was this one's. A renewal counts from when it was sent.
    pub fn answered(&mut self, id: WriteId, answer: &Answer, now: Time) -> bool {
        let Some(sent) = self.sent.take_if(|sent| sent.id == Some(id)) else { return false };
        match answer {
            Answer::Accepted(object) => {
                if let Some(crate::store::Object::Leadership(facts)) = object {
                    self.seen = Some((LeadershipFacts::clone(facts), now));
                }
                self.renewed = sent.at;
                self.saw_epoch(sent.epoch);
                if self.standing == Standing::Following {
                    self.standing = Standing::Leading { epoch: sent.epoch };
                }
            }
            Answer::Refused(Refusal::NotFound) => self.seen = None,
            Answer::Refused(_) | Answer::Unknown => {}
        }
        true
    }

    fn next_epoch(&self, now: Time) -> u64 {
        let clock = u64::try_from(now.get().div_euclid(1000)).unwrap_or(0);
        self.highest_epoch.saturating_add(1).max(clock)
    }

    fn may_take(&self, now: Time) -> bool {
        match &self.seen {
            None => self.listed,
            Some((facts, seen)) => facts.holder.is_empty() || now.since(*seen) > facts.duration,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Object;
    use std::sync::Arc;

    fn facts(holder: &str, epoch: u64, revision: &str) -> LeadershipFacts {
        LeadershipFacts {
            holder: holder.into(),
            epoch,
            duration: DURATION,
            revision: revision.into(),
            ..LeadershipFacts::default()
        }
    }

    fn leading(at: Time) -> Leader {
        let mut leader = Leader::new("b", "");
        leader.listed();
        assert!(matches!(leader.step(at, true), Some(Write::Lead { revision: None, .. })));
        leader.submitted(WriteId(1));
        let stands = Object::Leadership(Arc::new(facts("b", at.get() as u64 / 1000, "1")));
        assert!(leader.answered(WriteId(1), &Answer::Accepted(Some(stands)), at));
        leader
    }

    #[test]
    fn a_follower_waits_the_whole_duration_from_when_it_saw_the_lease_change() {
        let mut leader = Leader::new("b", "");
        leader.saw(Some(&facts("a", 7, "1")), Time::seconds(100));
        assert_eq!(leader.step(Time::seconds(110), true), None);
        leader.saw(Some(&facts("a", 7, "2")), Time::seconds(109));
        assert_eq!(leader.step(Time::seconds(119), true), None);
        let Some(Write::Lead { facts, revision }) = leader.step(Time::seconds(120), true) else { panic!("no write") };
        assert_eq!((facts.epoch, facts.holder.as_str(), revision.as_deref()), (120, "b", Some("2")));
    }

    #[test]
    fn nobody_leads_before_the_lease_was_listed() {
        let mut leader = Leader::new("b", "");
        assert_eq!(leader.step(Time::seconds(100), true), None);
    }

    #[test]
    fn an_epoch_is_above_all_that_were_seen_even_where_the_clock_is_behind() {
        let mut leader = Leader::new("b", "");
        leader.listed();
        leader.saw_epoch(5_000);
        let Some(Write::Lead { facts, .. }) = leader.step(Time::seconds(100), true) else { panic!("no write") };
        assert_eq!(facts.epoch, 5_001);
    }

    #[test]
    fn a_leader_that_cannot_renew_is_lost_before_anybody_else_may_begin() {
        let leader = leading(Time::seconds(100));
        assert_eq!(leader.standing(Time::seconds(107)), Standing::Leading { epoch: 100 });
        assert!(matches!(leader.standing(Time::seconds(108)), Standing::Lost(_)));
    }

    #[test]
    fn a_leader_with_an_unanswered_shed_does_not_renew() {
        let mut leader = leading(Time::seconds(100));
        assert_eq!(leader.step(Time::seconds(103), false), None);
        assert!(leader.step(Time::seconds(103), true).is_some());
    }

    #[test]
    fn a_leader_that_sees_another_holder_or_an_epoch_that_fell_is_lost() {
        let mut other = leading(Time::seconds(100));
        other.saw(Some(&facts("a", 101, "2")), Time::seconds(101));
        assert!(matches!(other.standing(Time::seconds(101)), Standing::Lost(_)));
        let mut restored = leading(Time::seconds(100));
        restored.saw(Some(&facts("b", 90, "3")), Time::seconds(101));
        assert!(matches!(restored.standing(Time::seconds(101)), Standing::Lost(_)));
    }

    #[test]
    fn a_renewal_shown_after_the_answer_to_the_next_one_brings_no_old_revision_back() {
        let mut leader = leading(Time::seconds(100));
        let renewed = |at, revision| LeadershipFacts { renewed: Time::seconds(at), ..facts("b", 100, revision) };
        leader.saw(Some(&renewed(104, "3")), Time::seconds(104));
        leader.saw(Some(&renewed(102, "2")), Time::seconds(105));
        let Some(Write::Lead { revision, .. }) = leader.step(Time::seconds(106), true) else { panic!("no write") };
        assert_eq!(revision.as_deref(), Some("3"));
    }

    #[test]
    fn a_leader_that_gives_back_leaves_the_epoch_and_no_holder_and_leads_no_more() {
        let mut leader = leading(Time::seconds(100));
        let Some(Write::Lead { facts: given, revision }) = leader.release(Time::seconds(101)) else {
            panic!("no write")
        };
        assert_eq!((given.holder.as_str(), given.epoch, revision.as_deref()), ("", 100, Some("1")));
        assert!(matches!(leader.standing(Time::seconds(101)), Standing::Lost(_)));
        assert_eq!(leader.release(Time::seconds(101)), None);
        let mut other = Leader::new("c", "");
        other.saw(Some(&given), Time::seconds(102));
        assert!(other.step(Time::seconds(102), true).is_some());
    }

    #[test]
    fn an_unanswered_renewal_is_repeated_and_renews_nothing() {
        let mut leader = leading(Time::seconds(100));
        assert!(leader.step(Time::seconds(102), true).is_some());
        leader.submitted(WriteId(2));
        assert!(leader.answered(WriteId(2), &Answer::Unknown, Time::seconds(103)));
        assert!(leader.step(Time::seconds(104), true).is_some());
        assert!(matches!(leader.standing(Time::seconds(108)), Standing::Lost(_)));
    }
}
