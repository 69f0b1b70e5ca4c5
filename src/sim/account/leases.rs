//! What each lease got, and whether its terms were kept.

use super::{LeaseSeen, Observation, mwh, usd_per_mwh};
use crate::sim::frame::{LeaseAccount, Sides};
use crate::store::api_time;
use ampacity_core::units::{Span, Time};
use std::collections::BTreeMap;

/// Broken terms that are told; a run with more has failed anyway.
const BROKEN_MAX: usize = 100;
/// Ticks are a second: what is late by no more is not late.
const TICK: Span = Span::seconds(1);
const DAY: Span = Span::minutes(24 * 60);

/// Every lease that was ever seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Leases {
    kept: BTreeMap<String, Kept>,
    broken: Vec<String>,
}

/// What all leases come to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) rent: Sides<f64>,
    pub(super) credit: f64,
    /// Rent that was not charged for what was withheld.
    pub(super) withheld_rent: f64,
    /// What that energy would have cost.
    pub(super) withheld_cost: f64,
}

/// One lease.
#[derive(Clone, Debug, Default)]
struct Kept {
    hall: bool,
    firm: bool,
    /// Allowed in one window, its length, and the term's start; none where nothing may be curtailed.
    allowed: Option<(Span, Span, Time)>,
    seen_from: Time,
    /// Whether all of it was ever granted: what was never given is not curtailed.
    ran: bool,
    ran_since: Time,
    /// The notice as it was in the tick before: it is gone once the grant has fallen.
    notice: Option<(Time, Time)>,
    /// Whether its checkpoint was acknowledged in the tick before: Jobs are stopped once the fall is written down.
    acknowledged: bool,
    /// When the notice was given that the last curtailment was under: one notice is good for one.
    used: Option<Time>,
    cut: Option<Cut>,
    window: (i64, Span),
    day: (i64, u32),
    told_window: bool,
    curtailed: Span,
    emergency: Span,
    notices: u32,
    granted_mwh: f64,
    rent: f64,
    credit: f64,
    withheld_rent: f64,
    withheld_cost: f64,
    lost_gpu_hours: f64,
}

/// A curtailment that stands.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// Spent outside emergencies.
    spent: Span,
    /// It has been said that it lasts too long.
    told: bool,
    /// Whether it began, or went on, outside an emergency: counted as one event.
    counted: bool,
}

impl Leases {
    /// `alarm`: something could have called for an emergency just now.
    pub(super) fn observe(&mut self, seen: &Observation<'_>, alarm: bool, span: Span) {
        for lease in seen.leases {
            if !self.kept.contains_key(lease.name) {
                self.kept.insert(lease.name.to_owned(), Kept::new(lease, seen.now));
            }
            let Some(kept) = self.kept.get_mut(lease.name) else { continue };
            kept.energy(seen, lease, span);
            if let Some(broken) = kept.terms(lease, alarm, seen.now, span)
                && self.broken.len() < BROKEN_MAX
            {
                self.broken.push(format!("{}: {broken} at {}", lease.name, api_time(seen.now).0));
            }
        }
    }

    pub(super) fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for kept in self.kept.values() {
            let side = if kept.hall { &mut sums.rent.power } else { &mut sums.rent.gpu };
            *side += kept.rent;
            sums.credit += kept.credit;
            sums.withheld_rent += kept.withheld_rent;
            sums.withheld_cost += kept.withheld_cost;
        }
        sums
    }

    pub(super) fn broken(&self) -> Vec<String> {
        self.broken.clone()
    }

    pub(super) fn accounts(&self, now: Time) -> BTreeMap<String, LeaseAccount> {
        self.kept.iter().map(|(name, kept)| (name.clone(), kept.account(now))).collect()
    }
}

/// The number of the period of length `per`, counted from `start`.
fn period(start: Time, per: Span, now: Time) -> i64 {
    now.since(start).get().div_euclid(per.get().max(1))
}

impl Kept {
    fn new(lease: &LeaseSeen<'_>, now: Time) -> Self {
        let allowance = &lease.terms.allowance;
        let may = !lease.terms.firm && allowance.curtailed > Span::ZERO;
        Self {
            hall: lease.hall,
            firm: lease.terms.firm,
            allowed: may.then_some((allowance.curtailed, allowance.per, lease.start)),
            seen_from: now,
            ran_since: now,
            ..Self::default()
        }
    }

    fn energy(&mut self, seen: &Observation<'_>, lease: &LeaseSeen<'_>, span: Span) {
        self.lost_gpu_hours = lease.lost_gpu_hours;
        if seen.now < lease.start || seen.now > lease.end {
            return;
        }
        let had = lease.granted - lease.missing;
        let (granted, withheld) = (mwh(had, span), mwh((lease.full - had).at_least_zero(), span));
        let rent = usd_per_mwh(lease.rent);
        self.granted_mwh += granted;
        self.rent += granted * rent;
        self.credit += withheld * usd_per_mwh(lease.terms.credit);
        self.withheld_rent += withheld * rent;
        self.withheld_cost += withheld * seen.price.map_or(0.0, usd_per_mwh);
    }

    /// Follows the grant, and says what was broken in this tick.
    fn terms(&mut self, lease: &LeaseSeen<'_>, alarm: bool, now: Time, span: Span) -> Option<String> {
        let before = self.notice;
        if let Some((given, _)) = lease.notice
            && before.is_none_or(|before| before.0 != given)
        {
            self.notices += 1;
        }
        self.notice = lease.notice;
        let acknowledged = std::mem::replace(&mut self.acknowledged, lease.acknowledged) || lease.acknowledged;
        if now >= lease.end {
            return None;
        }
        if lease.granted >= lease.full {
            if !self.ran || self.cut.is_some() {
                self.ran_since = now;
            }
            (self.ran, self.cut) = (true, None);
            return None;
        }
        if !self.ran {
            return None;
        }
        let begins = self.cut.is_none();
        let before = before.or(lease.notice).filter(|(given, _)| begins && self.used != Some(*given));
        self.used = before.map_or(self.used, |(given, _)| Some(given));
        let mut cut = self.cut.unwrap_or(Cut { spent: Span::ZERO, told: false, counted: false });
        let broken = if lease.emergency {
            self.emergency += span;
            (begins && !alarm).then(|| "stopped in an emergency with nothing the matter".to_owned())
        } else {
            self.curtailed += span;
            cut.spent += span;
            self.outside_emergencies(lease, &mut cut, begins, (before, acknowledged), now, span)
        };
        self.cut = Some(cut);
        broken
    }

    /// One tick of a curtailment outside emergencies.
    fn outside_emergencies(
        &mut self,
        lease: &LeaseSeen<'_>,
        cut: &mut Cut,
        begins: bool,
        under: (Option<(Time, Time)>, bool),
        now: Time,
        span: Span,
    ) -> Option<String> {
        let allowance = &lease.terms.allowance;
        let window = period(lease.start, allowance.per, now);
        if window != self.window.0 {
            (self.window, self.told_window) = ((window, Span::ZERO), false);
        }
        self.window.1 += span;
        let first = !std::mem::replace(&mut cut.counted, true);
        if first {
            let day = period(lease.start, DAY, now);
            self.day = if day == self.day.0 { (day, self.day.1 + 1) } else { (day, 1) };
        }
        if self.firm {
            return first.then(|| "firm, and curtailed outside an emergency".to_owned());
        }
        if begins && let Some(short) = short_notice(lease, under, now) {
            return Some(short);
        }
        if begins && now.since(self.ran_since) + TICK < allowance.minimum_run {
            let ran = now.since(self.ran_since).whole_seconds();
            return Some(format!(
                "curtailed after running for {ran} s, class says {} s",
                allowance.minimum_run.whole_seconds()
            ));
        }
        if first && self.day.1 > allowance.events_per_day {
            return Some(format!("curtailment {} of a day, class says {}", self.day.1, allowance.events_per_day));
        }
        if cut.spent > allowance.longest + TICK && !std::mem::replace(&mut cut.told, true) {
            return Some(format!(
                "curtailed for longer than the {} s that its class says",
                allowance.longest.whole_seconds()
            ));
        }
        if self.window.1 > allowance.curtailed + TICK && !std::mem::replace(&mut self.told_window, true) {
            return Some(format!(
                "more than the {} s that its class allows were curtailed",
                allowance.curtailed.whole_seconds()
            ));
        }
        None
    }

    fn account(&self, now: Time) -> LeaseAccount {
        let allowance = self.allowed.map(|(allowed, per, start)| {
            let windows = period(start, per, now) - period(start, per, self.seen_from).max(0) + 1;
            allowed.whole_seconds().saturating_mul(windows.max(1))
        });
        LeaseAccount {
            curtailed_seconds: self.curtailed.whole_seconds(),
            emergency_seconds: self.emergency.whole_seconds(),
            allowance_seconds: allowance,
            energy_mwh: self.granted_mwh,
            rent_usd: self.rent,
            credit_usd: self.credit,
            notices: self.notices,
            lost_gpu_hours: self.lost_gpu_hours,
        }
    }
}

/// What is wrong with the notice `under` which a grant falls now; and whether its checkpoint was acknowledged.
fn short_notice(lease: &LeaseSeen<'_>, under: (Option<(Time, Time)>, bool), now: Time) -> Option<String> {
    let wants = lease.terms.notice;
    let (Some((given, deadline)), acknowledged) = under else {
        return (wants > Span::ZERO)
            .then(|| format!("curtailed without notice, class says {} s", wants.whole_seconds()));
    };
    // An acknowledged checkpoint ends the wait, but a notice that was too short from the start is one all the same.
    let served = if acknowledged { deadline.since(given) } else { now.since(given).min(deadline.since(given)) };
    (served + TICK < wants)
        .then(|| format!("notice of {} s, class says {} s", served.whole_seconds(), wants.whole_seconds()))
}
