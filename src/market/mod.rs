//! Prices, hashprice and meters: where they come from and how old they are.
//!
//! The seam for every feed: a [`Point`] carries the time a value is for, until when it is for that, and when it was
//! known. What happens when the newest one is too old is the `stale` policy's word ([`quote`]). A missing value is
//! missing, never zero.

pub mod feeds;
pub mod file;
pub mod series;

pub use feeds::{Asked, Feeds, Market, Source};

use ampacity_core::snapshot::Quote;
use ampacity_core::units::{Span, Time};

/// One published value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// In millionths of the source's unit; watts where it is a reading of power.
    pub value: i64,
    /// The moment, or the start of the interval, that it is for.
    pub since: Time,
    /// The end of that interval: from here on it grows old.
    pub until: Time,
    /// When it was known here.
    pub known: Time,
}

impl Point {
    /// How old it is: nothing while its interval lasts, then counted from the interval's end, never less than how long
    /// ago it was known.
    pub fn age(&self, now: Time) -> Span {
        now.since(self.until.max(self.known)).at_least_zero()
    }
}

/// What is acted on when a value is too old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Substitute {
    /// Nothing: whatever needs it holds.
    None,
    /// This value, in the unit of the stale one.
    Value(i64),
}

/// Applies the stale policy: the newest point while it is young enough, else the substitute.
pub fn quote<T>(newest: Option<Point>, after: Span, instead: Substitute, now: Time, unit: fn(i64) -> T) -> Quote<T> {
    match (newest, instead) {
        (Some(point), _) if point.age(now) <= after => Quote::Fresh { value: unit(point.value), since: point.since },
        (last, Substitute::Value(value)) => Quote::Substituted { value: unit(value), last: last.map(|p| p.since) },
        (_, Substitute::None) => Quote::Missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ampacity_core::units::UsdPerMwh;

    const POINT: Point =
        Point { value: -3, since: Time::seconds(900), until: Time::seconds(1800), known: Time::seconds(905) };

    #[test]
    fn a_value_is_young_while_its_interval_lasts_and_grows_old_after_it() {
        let at = |now| quote(Some(POINT), Span::seconds(60), Substitute::None, Time::seconds(now), UsdPerMwh::new);
        let fresh = Quote::Fresh { value: UsdPerMwh::new(-3), since: Time::seconds(900) };
        assert_eq!([1700, 1860, 1861].map(at), [fresh, fresh, Quote::Missing]);
    }

    #[test]
    fn a_missing_value_is_substituted_or_missing_but_never_zero() {
        let at = |instead| quote(None, Span::seconds(60), instead, Time::seconds(0), UsdPerMwh::new);
        let substituted = Quote::Substituted { value: UsdPerMwh::new(7), last: None };
        assert_eq!([Substitute::None, Substitute::Value(7)].map(at), [Quote::Missing, substituted]);
    }
}
