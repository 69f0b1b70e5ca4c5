//! The port to everything that publishes a number: prices, hashprice, meters, relays.

use super::Point;
use super::file::{self, Columns, FileError};
use super::series::Series;
use crate::api::common::{FileSource, PowerSource, PriceSource};
use ampacity_core::units::{Span, Time};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Where a number comes from: who asks, so that an end may put another source in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<'a> {
    /// The price of energy at a site, millionths of a dollar per MWh.
    EnergyPrice(&'a str),
    /// The day-ahead price there.
    DayAhead(&'a str),
    /// Hashprice, millionths of a dollar per PH/s per day.
    Hashprice(&'a str),
    /// The meter of a node of a site, W.
    Meter(&'a str, &'a str),
    /// The read-back setpoint of a feeder's relay, W.
    Relay(&'a str, &'a str),
    /// The probability, in millionths of a percent, that this interval is a coincident peak.
    PeakProbability(&'a str),
}

/// A source as a spec names it.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// Of a price.
    Price(&'a PriceSource),
    /// Of a reading of power.
    Power(&'a PowerSource),
    /// A file alone.
    File(&'a FileSource),
}

/// Everything that publishes a number. Never blocks for long: files are small and read again only when they change.
pub trait Feeds {
    /// The newest point known at `now`; none: nothing was ever published, or nothing yet.
    ///
    /// # Errors
    /// The source cannot be used: names the file, the line and the column.
    fn newest(&mut self, asked: Asked<'_>, source: Source<'_>, now: Time) -> Result<Option<Point>, String>;
}

/// How often a file is looked at for a change.
const LOOK_EVERY: Span = Span::seconds(15);
/// Files that are kept read; more than a site could name.
const FILES_MAX: usize = 256;

/// Fixed prices that are kept; more than the sites of a cluster name.
const FIXED_MAX: usize = 256;

/// The sources of this version: fixed values and files.
#[derive(Debug, Default)]
pub struct Market {
    folder: PathBuf,
    files: BTreeMap<(PathBuf, String), Kept>,
    /// By fixed price: since when it is asked for.
    fixed: BTreeMap<i64, Time>,
}

#[derive(Debug)]
struct Kept {
    changed: Option<SystemTime>,
    looked: Time,
    series: Result<Series, String>,
}

impl Market {
    /// Sources whose relative paths start at `folder`.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.into(), files: BTreeMap::new(), fixed: BTreeMap::new() }
    }

    /// The series of a file, read when it is first asked for and again when it has changed.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn series(&mut self, source: &FileSource, now: Time) -> Result<&Series, String> {
        let path = self.folder.join(&source.path);
        let columns = Columns {
            time: source.time_column.clone(),
            value: source.column.clone(),
            repeat: source.repeat_column.clone(),
            zone: Some(source.time_zone.clone()),
        };
        let key = (path.clone(), format!("{columns:?}"));
        if self.files.len() >= FILES_MAX && !self.files.contains_key(&key) {
            self.files.pop_first();
        }
        let changed = || std::fs::metadata(&path).and_then(|m| m.modified()).ok();
        let read = |looked| Kept {
            changed: changed(),
            looked,
            series: file::read(&path, &columns).map_err(|e: FileError| e.to_string()),
        };
        let kept = self.files.entry(key).or_insert_with(|| read(now));
        if now.since(kept.looked) >= LOOK_EVERY || now < kept.looked {
            if changed() == kept.changed {
                kept.looked = now;
            } else {
                *kept = read(now);
            }
        }
        kept.series.as_ref().map_err(Clone::clone)
    }

    /// A fixed price: known since it was first asked for, never old. What is shown of it stands still, as it does.
    fn fixed(&mut self, value: i64, now: Time) -> Point {
        if self.fixed.len() >= FIXED_MAX && !self.fixed.contains_key(&value) {
            self.fixed.clear();
        }
        let since = *self.fixed.entry(value).or_insert(now);
        Point { value, since, until: Time::MAX, known: since }
    }

    fn in_file(&mut self, source: &FileSource, now: Time, scale: i64) -> Result<Option<Point>, String> {
        let point = self.series(source, now)?.at(now);
        Ok(point.map(|p| Point { value: p.value / scale, ..p }))
    }
}

/// A fixed reading of power: measured now.
const fn measured(watts: i64, now: Time) -> Point {
    Point { value: watts, since: now, until: Time::MAX, known: now }
}

/// Files hold millionths; a reading of power is in whole watts.
const MILLION: i64 = 1_000_000;

impl Feeds for Market {
    fn newest(&mut self, _asked: Asked<'_>, source: Source<'_>, now: Time) -> Result<Option<Point>, String> {
        match source {
            Source::Price(PriceSource { static_: Some(value), .. }) => Ok(Some(self.fixed(value.value.get(), now))),
            Source::Power(PowerSource { static_: Some(value), .. }) => {
                Ok(Some(measured(value.watts.watts().get(), now)))
            }
            Source::Price(PriceSource { file: Some(file), .. }) | Source::File(file) => self.in_file(file, now, 1),
            Source::Power(PowerSource { file: Some(file), .. }) => self.in_file(file, now, MILLION),
            Source::Price(_) | Source::Power(_) => Err("exactly one of static and file must be set".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::common::StaticValue;
    use crate::api::quantity::SignedMoney;

    #[test]
    fn a_fixed_price_stands_since_it_was_first_asked_for_and_a_fixed_reading_is_always_new() {
        let mut market = Market::new(Path::new("."));
        let price = |value| PriceSource { static_: Some(StaticValue { value: SignedMoney::new(value) }), file: None };
        let mut at = |value, second| {
            market
                .newest(Asked::EnergyPrice("a"), Source::Price(&price(value)), Time::seconds(second))
                .unwrap()
                .unwrap()
        };
        let point = |value, second| {
            let since = Time::seconds(second);
            Point { value, since, until: Time::MAX, known: since }
        };
        assert_eq!([at(40, 1), at(40, 9), at(50, 9)], [point(40, 1), point(40, 1), point(50, 9)]);
        assert_eq!(measured(7, Time::seconds(9)), point(7, 9));
    }
}
