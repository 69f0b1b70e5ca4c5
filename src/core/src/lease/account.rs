//! The account of one lease: exact sums over spans, whatever the moments at which they were taken.

use super::{Account, Allowance, Contract, Curtailment, Delivery};
use crate::units::{Span, Time, Usd, UsdPerMwh, WattSeconds, Watts, mul_div};

/// A day of the account, counted from the lease's start.
pub(super) const DAY: Span = Span::minutes(24 * 60);

/// The hours of the month by which power is rented.
const MONTH_HOURS: i64 = 730;

/// Watts over time, added up without rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Integral {
    /// Whole Ws.
    pub whole: WattSeconds,
    /// What is above them, in thousandths of a Ws: 0 to 999.
    pub thousandths: u16,
}

impl Integral {
    /// Adds `watts` held for `span`. Negative ones count as nothing.
    pub fn add(&mut self, watts: Watts, span: Span) {
        let product = i128::from(watts.at_least_zero().get()) * i128::from(span.at_least_zero().get());
        let sum = product + i128::from(self.thousandths);
        self.whole += WattSeconds::new(i64::try_from(sum / 1_000).unwrap_or(i64::MAX));
        self.thousandths = u16::try_from(sum % 1_000).unwrap_or_default();
    }
}

/// The start of the window of length `per`, counted from `start`, that `at` lies in; `start` itself for what is before
/// it, and where windows have no length (then one window is the whole term).
pub(super) fn window_of(start: Time, per: Span, at: Time) -> Time {
    let elapsed = at.since(start).get();
    if per <= Span::ZERO || elapsed <= 0 {
        return start;
    }
    start.after(Span::new(elapsed - elapsed.rem_euclid(per.get())))
}

/// The end of the allowance window that starts at `window`: never, where one window is the whole term.
pub(super) fn window_end(allowance: &Allowance, window: Time) -> Time {
    if allowance.per <= Span::ZERO { Time::MAX } else { window.after(allowance.per) }
}

impl Account {
    /// The account of a lease whose service begins at `at`, in a term that starts at `start`.
    pub(super) fn opened(allowance: &Allowance, start: Time, at: Time) -> Self {
        let at = at.max(start);
        Self { at, window: window_of(start, allowance.per, at), day: window_of(start, DAY, at), ..Self::default() }
    }
}

impl Contract {
    /// The account as it stands at `now`: the checkpoint, and everything since. Total, and exact: asking in between
    /// changes nothing, and neither does storing the answer.
    #[must_use]
    pub fn account_at(&self, now: Time) -> Account {
        let mut account = self.account;
        let upto = now.min(self.offer.end);
        let span = upto.since(account.at);
        if span <= Span::ZERO {
            return account;
        }
        let had = self.grant.watts - self.missing.at_least_zero().min(self.grant.watts);
        account.granted.add(had, span);
        account.withheld.add(self.full.watts - had, span);
        let window = window_of(self.offer.start, self.offer.terms.allowance.per, upto);
        if window != account.window {
            (account.window, account.curtailed) = (window, Span::ZERO);
        }
        let day = window_of(self.offer.start, DAY, upto);
        if day != account.day {
            (account.day, account.events) = (day, 0);
        }
        if let Some(Curtailment { emergency, .. }) = account.running {
            account.total += span;
            if emergency {
                account.emergency += span;
            } else {
                account.curtailed += upto.since(account.at.max(window));
            }
        }
        account.at = upto;
        account
    }

    /// Brings the account up to `now`; to be called before the grant changes.
    pub(super) fn settle(&mut self, now: Time) {
        self.account = self.account_at(now);
    }

    /// From `now` on lockouts leave it `missing` W short of its grant (cut to 0 up to the grant).
    ///
    /// Those watts are withheld: credited and not charged, of firm and flexible leases alike. The grant stays, for its
    /// other GPUs run on. A lockout is a person's hold for safety, so it is dealt with as an emergency is: it eats no
    /// allowance, is no event and begins no curtailment. It is seen in the energy withheld, and in no count of time,
    /// for the lease runs meanwhile.
    pub fn lack(&mut self, missing: Watts, now: Time) {
        let missing = missing.at_least_zero().min(self.grant.watts);
        if missing != self.missing {
            self.settle(now);
            self.missing = missing;
        }
    }

    /// How much was withheld in the allowance window of `now`, outside emergencies.
    pub fn curtailed_so_far(&self, now: Time) -> Span {
        self.account_at(now).curtailed
    }

    /// Credited to the tenant up to `now`: for all energy withheld, emergencies and lockouts included.
    pub fn credited(&self, now: Time) -> Usd {
        self.account_at(now).withheld.whole.at(self.offer.terms.credit)
    }

    /// Charged to the tenant up to `now`: rent for what was granted. While it is stopped nothing, while it is capped
    /// the share of its watts.
    pub fn charged(&self, now: Time) -> Usd {
        self.rent(self.account_at(now).granted.whole)
    }

    /// The rent of all of it, per MWh (above the must-run share): what an hour without it loses.
    pub fn rent_per_mwh(&self) -> UsdPerMwh {
        let hour = self.full.watts.over(Span::minutes(60));
        self.rent(hour).per(hour)
    }

    /// The rent of `energy` granted, rounded down to a millionth of a dollar.
    fn rent(&self, energy: WattSeconds) -> Usd {
        let price = self.offer.terms.price.get();
        Usd::new(match self.offer.delivery {
            // All of the GPUs run for (energy ÷ full) seconds.
            Delivery::Jobs { gpus, .. } => {
                let hourly = price.saturating_mul(i64::from(gpus));
                mul_div(hourly, energy.get(), self.full.watts.get().saturating_mul(3_600))
            }
            Delivery::Power { .. } => mul_div(price, energy.get(), 1_000 * MONTH_HOURS * 3_600),
        })
    }
}
