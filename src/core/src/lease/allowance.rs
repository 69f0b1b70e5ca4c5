//! What of a lease may still be withheld, when it must be back, and what an hour of that is worth.

use super::account::{DAY, window_end, window_of};
use super::{Contract, Notice};
use crate::units::{Span, Time, UsdPerMwh, mul_div};

/// Why a lease may not be curtailed for money, or for a limit that leaves time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Barred {
    /// It is firm.
    Firm,
    /// Its term has not begun.
    NotYet {
        /// When it begins.
        start: Time,
    },
    /// Its term is over before the notice would be.
    TermEnds {
        /// When it ends.
        end: Time,
    },
    /// It is due its first grant, or its return: after an emergency, or as it was withheld as long as allowed.
    Due,
    /// It has not run long enough since it came back.
    MinimumRun {
        /// Until when it runs in any case.
        until: Time,
    },
    /// As many curtailments as a day may have were begun.
    Events {
        /// When the next day begins.
        until: Time,
    },
    /// The allowance of this window is used up, or too little of it is left to come back in time.
    Allowance {
        /// When the next window begins; `Time::MAX`: never.
        until: Time,
    },
}

/// What is left of a lease's allowance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Whether a notice given now could be served at `from`, outside emergencies; or why not.
    pub may_begin: Result<(), Barred>,
    /// The moment at which a curtailment would begin: now and the notice.
    pub from: Time,
    /// Time left to be withheld in the window of now.
    pub curtailed: Span,
    /// Curtailments that may yet begin in the day of now.
    pub events: u32,
    /// How long a curtailment that begins at `from` could last, less the lead for coming back. The running one: how
    /// long it may last from now.
    pub longest: Span,
    /// When the window of now ends and the allowance is whole again; `Time::MAX`: never.
    pub until: Time,
}

/// What may be done with a lease now: how it is to be bid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stance {
    /// Its term has not begun: no watts.
    NotYet {
        /// When it begins.
        start: Time,
    },
    /// It runs, or is to run, above all prices: only an emergency takes its watts.
    MustRun(Barred),
    /// It runs, and may be given notice.
    Free,
    /// It runs until the notice's deadline or the acknowledgement: its watts are not free before.
    OnNotice(Notice),
    /// It is curtailed, and may stay so.
    Down {
        /// When it has to be granted again: the end of the allowed curtailment, less the lead.
        back_by: Time,
    },
    /// Its term is over.
    Ended,
}

impl Contract {
    /// The notice that has been given and not been served yet.
    pub fn running_notice(&self) -> Option<Notice> {
        self.notice.filter(|notice| self.grant.watts > notice.to.watts)
    }

    /// Whether all of it is granted and no curtailment stands.
    pub fn runs_in_full(&self) -> bool {
        self.account.running.is_none() && self.grant.watts >= self.full.watts
    }

    /// How it is to be bid at `now`. `lead`: how long it takes from a grant until the lease really runs.
    pub fn stance(&self, lead: Span, now: Time) -> Stance {
        if now >= self.offer.end {
            return Stance::Ended;
        }
        if now < self.offer.start {
            return Stance::NotYet { start: self.offer.start };
        }
        if self.runs_in_full() {
            return match (self.running_notice(), self.may_begin(now.after(self.offer.terms.notice), lead)) {
                (Some(notice), _) => Stance::OnNotice(notice),
                (None, Ok(())) => Stance::Free,
                (None, Err(barred)) => Stance::MustRun(barred),
            };
        }
        match self.back_by(lead, now) {
            Some(back_by) if now < back_by => Stance::Down { back_by },
            _ if self.offer.terms.firm => Stance::MustRun(Barred::Firm),
            _ => Stance::MustRun(Barred::Due),
        }
    }

    /// Whether a curtailment may begin at `begin` for money, all of the lease running until then.
    pub(super) fn may_begin(&self, begin: Time, lead: Span) -> Result<(), Barred> {
        let (terms, offer) = (&self.offer.terms, &self.offer);
        if terms.firm {
            return Err(Barred::Firm);
        }
        if begin < offer.start {
            return Err(Barred::NotYet { start: offer.start });
        }
        if begin >= offer.end {
            return Err(Barred::TermEnds { end: offer.end });
        }
        if !self.runs_in_full() {
            return Err(Barred::Due);
        }
        let until = self.grant.since.after(terms.allowance.minimum_run);
        if begin < until {
            return Err(Barred::MinimumRun { until });
        }
        let account = self.account_at(begin);
        if account.events >= terms.allowance.events_per_day {
            return Err(Barred::Events { until: account.day.after(DAY) });
        }
        if self.latest_return(begin, begin).before(lead) <= begin {
            return Err(Barred::Allowance { until: window_end(&terms.allowance, account.window) });
        }
        Ok(())
    }

    /// When the standing curtailment has to end, less the lead; none where none stands or an emergency holds it.
    pub(super) fn back_by(&self, lead: Span, now: Time) -> Option<Time> {
        let running = self.account.running.filter(|running| !running.emergency)?;
        Some(self.latest_return(running.since, now).before(lead))
    }

    /// The last moment at which a curtailment begun at `since` may end, as seen from `at`: the longest single one, or
    /// the allowance of this window; one that lasts into the next window draws on the next one's allowance.
    fn latest_return(&self, since: Time, at: Time) -> Time {
        let allowance = &self.offer.terms.allowance;
        let account = self.account_at(at);
        let end = window_end(allowance, account.window);
        let left = allowance.curtailed - account.curtailed;
        let drained = if left < end.since(at) {
            at.after(left)
        } else if allowance.curtailed >= allowance.per {
            Time::MAX
        } else {
            end.after(allowance.curtailed)
        };
        drained.min(since.after(allowance.longest))
    }
}

/// What is left of the allowance of `contract` at `now`. `lead`: how long it takes from a grant until the lease really
/// runs; it is taken off every end.
pub fn allowance_left(contract: &Contract, lead: Span, now: Time) -> Left {
    let terms = &contract.offer.terms;
    let account = contract.account_at(now);
    let from = now.after(terms.notice);
    let end = match contract.back_by(lead, now) {
        Some(back_by) => back_by.since(now),
        None => contract.latest_return(from, from).before(lead).since(from),
    };
    Left {
        may_begin: contract.may_begin(from, lead),
        from,
        curtailed: (terms.allowance.curtailed - account.curtailed).at_least_zero(),
        events: terms.allowance.events_per_day.saturating_sub(account.events),
        longest: if terms.firm { Span::ZERO } else { end.at_least_zero() },
        until: window_end(&terms.allowance, account.window),
    }
}

/// The most that [`budget_price`] rises above its base.
const SCARCEST: i64 = 20;

/// What withholding a MWh is worth in allowance used up, to be added to the lease's value: μ of the budget seen as a
/// swing option.
///
/// `base × (share of the window that is left) ÷ (share of the allowance that is left)`: `base` as long as the
/// allowance is spent as evenly as the time passes, more as it drains faster than that (at most 20 × `base`), less as
/// the window's end nears with allowance unspent, for then it is worth nothing. Linear where the exact value of the
/// option needs a price model (Baldick, Kolos, Tompaidis 2006); `base` is what an hour of allowance fetched on average
/// above the lease's value, from trailing prices with foresight.
pub fn budget_price(contract: &Contract, base: UsdPerMwh, now: Time) -> UsdPerMwh {
    let allowance = &contract.offer.terms.allowance;
    let window = window_of(contract.offer.start, allowance.per, now);
    let end = window_end(allowance, window).min(contract.offer.end);
    let (whole, ahead) = (end.since(window).get(), end.since(now).get().clamp(0, i64::MAX));
    let left = (allowance.curtailed - contract.account_at(now).curtailed).at_least_zero().get();
    let most = base.get().saturating_mul(SCARCEST);
    if contract.offer.terms.firm || left == 0 || whole <= 0 {
        return UsdPerMwh::new(most);
    }
    if allowance.curtailed >= Span::new(whole) {
        return UsdPerMwh::ZERO;
    }
    let timely = mul_div(base.get(), ahead.min(whole), whole);
    UsdPerMwh::new(mul_div(timely, allowance.curtailed.get(), left).min(most))
}
