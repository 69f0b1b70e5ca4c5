//! The site's economic ramp: how far awards may move in one decision.
//!
//! Rises and falls each earn credit at their own rate and spend it as awards move. All rises count together, and all
//! falls: a swap of one side for the other is a fall and a rise, because the falls come first and the site feels both.

use crate::memory::Ramp;
use crate::units::{Span, Time, Watts, mul_div, mul_div_up};

/// A pause longer than this earns no more: a site is never moved further in one step than it moves in this time.
pub const LONGEST_CREDIT: Span = Span::minutes(1);
/// Credit is paid out so often. The loop also turns on every change that its own writes make: a ramp that paid by the
/// millisecond would be walked in steps of a few watts, each a write that turns the loop again.
pub const PAID_EVERY: Span = Span::seconds(1);
const MS_PER_MINUTE: i64 = 60_000;

/// How far awards may move, or have moved, W.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credit {
    /// All rises together.
    pub up: Watts,
    /// All falls together.
    pub down: Watts,
}

/// The ramp of one site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Rises, W per minute.
    pub up: Watts,
    /// Falls, W per minute.
    pub down: Watts,
    /// The largest single step of any load, W: credit is saved up to that, or the load could never move.
    pub largest: Watts,
}

impl Rates {
    /// What the ramp allows at `now`. Nothing before anything is remembered.
    pub fn credit(&self, ramp: Option<Ramp>, now: Time) -> Credit {
        let Some(ramp) = ramp else { return Credit::default() };
        let paid = |since: Time| {
            let span = now.since(since).at_least_zero().get();
            Span::new(span - span.rem_euclid(PAID_EVERY.get()))
        };
        let earned = |rate: Watts, since: Time| over(rate, paid(since)).min(self.most(rate));
        Credit { up: earned(self.up, ramp.up_since), down: earned(self.down, ramp.down_since) }
    }

    /// Where the ramp stands after `moved`: credit that was not used is kept.
    pub fn advance(&self, ramp: Option<Ramp>, moved: Credit, now: Time) -> Ramp {
        let spend = |rate: Watts, since: Time, moved: Watts| {
            let window = time_for(rate, self.most(rate));
            since.max(now.before(window)).after(time_for(rate, moved)).min(now)
        };
        let Some(ramp) = ramp else { return Ramp { up_since: now, down_since: now } };
        Ramp {
            up_since: spend(self.up, ramp.up_since, moved.up),
            down_since: spend(self.down, ramp.down_since, moved.down),
        }
    }

    /// The most credit there ever is.
    fn most(&self, rate: Watts) -> Watts {
        if rate > Watts::ZERO { over(rate, LONGEST_CREDIT).max(self.largest) } else { Watts::ZERO }
    }
}

fn over(rate: Watts, span: Span) -> Watts {
    Watts::new(mul_div(rate.get(), span.get(), MS_PER_MINUTE))
}

/// How long it takes to earn `watts`, rounded up.
fn time_for(rate: Watts, watts: Watts) -> Span {
    Span::new(mul_div_up(watts.get(), MS_PER_MINUTE, rate.get()))
}
