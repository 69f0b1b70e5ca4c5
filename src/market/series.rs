//! A step function of time: published values in order, each for an interval.

use super::Point;
use ampacity_core::units::{Span, Time};
use std::collections::BTreeMap;

/// Values by the time they are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    rows: Vec<(Time, i64)>,
    step: Span,
}

impl Series {
    /// Takes rows in rising order of time; the length of an interval is the commonest distance between two rows, so
    /// that a gap in the rows is a gap in the values.
    pub fn new(rows: Vec<(Time, i64)>) -> Self {
        let mut distances: BTreeMap<Span, u32> = BTreeMap::new();
        for pair in rows.windows(2) {
            if let [(a, _), (b, _)] = pair {
                *distances.entry(b.since(*a)).or_default() += 1;
            }
        }
        let step =
            distances.into_iter().max_by_key(|&(span, count)| (count, -span)).map_or(Span::MAX, |(span, _)| span);
        Self { rows, step }
    }

    /// The newest value that is for a time not after `now`.
    pub fn at(&self, now: Time) -> Option<Point> {
        let next = self.rows.partition_point(|(time, _)| *time <= now);
        let (since, value) = *self.rows.get(next.checked_sub(1)?)?;
        let natural = since.after(self.step);
        let until = self.rows.get(next).map_or(natural, |(time, _)| natural.min(*time));
        Some(Point { value, since, until, known: since })
    }

    /// When the next row begins.
    pub fn next_after(&self, now: Time) -> Option<Time> {
        self.rows.get(self.rows.partition_point(|(time, _)| *time <= now)).map(|(time, _)| *time)
    }

    /// First and last moment that a row is for.
    pub fn span(&self) -> Option<(Time, Time)> {
        Some((
            self.rows.first()?.0,
            self.rows.last()?.0.after(if self.step == Span::MAX { Span::ZERO } else { self.step }),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_in_the_rows_is_a_gap_in_the_values() {
        let series = Series::new([0, 900, 1800, 7200, 8100].map(|t| (Time::seconds(t), t)).to_vec());
        let until = |now| series.at(Time::seconds(now)).map(|p| (p.value, p.until));
        assert_eq!(until(-1), None);
        assert_eq!(until(899), Some((0, Time::seconds(900))));
        assert_eq!(until(5000), Some((1800, Time::seconds(2700))));
        assert_eq!(series.span(), Some((Time::seconds(0), Time::seconds(9000))));
    }

    #[test]
    fn rows_closer_than_the_common_step_end_each_other() {
        let series = Series::new([0, 300, 600, 700, 1000].map(|t| (Time::seconds(t), t)).to_vec());
        assert_eq!(series.at(Time::seconds(650)).map(|p| p.until), Some(Time::seconds(700)));
        assert_eq!(series.next_after(Time::seconds(650)), Some(Time::seconds(700)));
    }
}
