//! Whether what was sold as a reserve was there, by the plant's own watts, and whether the operator said so.
//!
//! An obligation that cannot be served is short: the account says for how long and of how many MWh. What fails a run is
//! an operator that says that it is met while the plant shows that it is not, and one that leaves it short while nothing
//! in the plant keeps it from being served.

use super::mwh;
use crate::sim::frame::ObligationAccount;
use crate::store::api_time;
use ampacity_core::units::{Span, Time, Watts};
use std::collections::BTreeMap;

/// So long what is told may be behind the truth. At rest a device is read every two minutes, and one that reboots is
/// dark for two more before it can be read at all; then it is to be told.
pub const TOLD_WITHIN: Span = Span::minutes(5);
/// So long everything must have been quiet, and as much there to be had as is missing, before a shortness is held
/// against the operator: minimum times, ramps and proofs run out within it.
pub const EXCUSED_FOR: Span = Span::minutes(30);

/// Ticks are a second: what is short by no more is not short.
const TICK: Span = Span::seconds(1);

/// One obligation of a grid event, as it truly stands.
#[derive(Clone, Debug)]
pub struct ObligationSeen {
    /// The event's name.
    pub name: String,
    /// What is to draw above what no shed takes, W.
    pub minimum: Watts,
    /// What truly does, and can be shed within `response`, W.
    pub true_watts: Watts,
    /// By how much sensors and overheads may have an honest operator see more than that, W.
    pub tolerance: Watts,
    /// What could draw besides: containers that stand lower than they could, as far as limits leave room, W.
    pub spare: Watts,
    /// From when.
    pub from: Time,
    /// Until when; `Time::MAX`: until it is withdrawn.
    pub until: Time,
    /// When the site first saw it.
    pub seen: Time,
    /// How long the site has, from the later of `from` and `seen`.
    pub response: Span,
    /// Whether its status says that it is met; none where nobody leads, or nothing is said yet.
    pub told_met: Option<bool>,
    /// Whether something in the plant, or a person, may keep watts from it now: a fault, a lockout, a limit, doubt.
    pub excused: bool,
}

/// Every obligation that was ever seen in its time.
#[derive(Clone, Debug, Default)]
pub(super) struct Obligations {
    kept: BTreeMap<String, Kept>,
    broken: Vec<String>,
}

#[derive(Clone, Debug, Default)]
struct Kept {
    minimum: Watts,
    in_force: Span,
    /// Past its response time, and less drew than is asked for.
    short: Span,
    short_mwh: f64,
    /// Told as met, and not.
    wrongly_met: Span,
    /// Told as not met, and was.
    wrongly_short: Span,
    /// When as much drew for the first time.
    met: Option<Time>,
    due: Time,
    /// Since when it has been told as met without being so, and whether that has been said.
    lie: Option<(Time, bool)>,
    /// Since when it has been short with nothing in its way, and whether that has been said.
    idle: Option<(Time, bool)>,
}

impl Obligations {
    pub(super) fn observe(&mut self, seen: &[ObligationSeen], now: Time, span: Span) {
        for obligation in seen.iter().filter(|one| one.from <= now && now < one.until) {
            if !self.kept.contains_key(&obligation.name) {
                self.kept.insert(obligation.name.clone(), Kept::default());
            }
            let Some(kept) = self.kept.get_mut(&obligation.name) else { continue };
            kept.observe(obligation, now, span);
            let broken = [kept.lie(obligation, now), kept.idle(obligation, now)];
            let told = |broken: String| format!("obligation {}: {broken} at {}", obligation.name, api_time(now).0);
            self.broken.extend(broken.into_iter().flatten().map(told));
        }
    }

    pub(super) fn broken(&self) -> &[String] {
        &self.broken
    }

    pub(super) fn accounts(&self) -> BTreeMap<String, ObligationAccount> {
        self.kept.iter().map(|(name, kept)| (name.clone(), kept.account())).collect()
    }
}

impl Kept {
    fn observe(&mut self, seen: &ObligationSeen, now: Time, span: Span) {
        (self.minimum, self.due) = (seen.minimum, seen.from.max(seen.seen).after(seen.response));
        self.in_force += span;
        let missing = (seen.minimum - seen.true_watts).at_least_zero();
        let met = missing <= seen.tolerance;
        if met {
            self.met = self.met.or(Some(now));
        } else if now >= self.due {
            self.short += span;
            self.short_mwh += mwh(missing, span);
        }
        match seen.told_met {
            Some(true) if !met => self.wrongly_met += span,
            Some(false) if seen.true_watts >= seen.minimum + seen.tolerance => self.wrongly_short += span,
            _ => {}
        }
    }

    /// What is to be said once, when it has been told as met for too long without being so.
    fn lie(&mut self, seen: &ObligationSeen, now: Time) -> Option<String> {
        let lies = seen.told_met == Some(true) && seen.true_watts + seen.tolerance < seen.minimum;
        held(&mut self.lie, lies, TOLD_WITHIN, now).then(|| {
            let (drawn, minimum) = (seen.true_watts, seen.minimum);
            format!("told as met, and {drawn} of {minimum} have drawn for {} s", TOLD_WITHIN.whole_seconds())
        })
    }

    /// What is to be said once, when it has been short for too long with nothing in its way.
    fn idle(&mut self, seen: &ObligationSeen, now: Time) -> Option<String> {
        let missing = seen.minimum - seen.true_watts;
        let due = seen.from.max(seen.seen).after(seen.response) <= now;
        let could = missing > seen.tolerance && seen.spare >= missing + seen.tolerance;
        held(&mut self.idle, due && could && !seen.excused, EXCUSED_FOR, now).then(|| {
            let (minimum, spare) = (seen.minimum, seen.spare);
            format!("{missing} of {minimum} missing, and {spare} could have drawn with nothing in their way")
        })
    }

    fn account(&self) -> ObligationAccount {
        let late = self.met.map(|met| met.since(self.due).at_least_zero());
        let word = match late {
            _ if self.short > Span::ZERO && late.is_none_or(|late| self.short > late + TICK) => "Short",
            Some(late) if late > Span::ZERO => "Late",
            Some(_) => "Served",
            None => "NotDue",
        };
        ObligationAccount {
            outcome: word.into(),
            minimum_watts: self.minimum.get(),
            in_force_seconds: self.in_force.whole_seconds(),
            short_seconds: self.short.whole_seconds(),
            short_mwh: self.short_mwh,
            late_seconds: late.map(Span::whole_seconds),
            wrongly_met_seconds: self.wrongly_met.whole_seconds(),
            wrongly_short_seconds: self.wrongly_short.whole_seconds(),
        }
    }
}

/// Whether what `holds` now has held without a break for `long`; said once for each stretch.
fn held(since: &mut Option<(Time, bool)>, holds: bool, long: Span, now: Time) -> bool {
    let (from, said) = match since.filter(|_| holds) {
        Some(stretch) => stretch,
        None => {
            *since = holds.then_some((now, false));
            return false;
        }
    };
    let says = !said && now.since(from) >= long;
    *since = Some((from, said || says));
    says
}
