//! From the command line to a site that can be run: manifests, prices, the span of time, what happens.

use super::args::{DemoArgs, Faults, file_and_column};
use crate::api::PowerBudget;
use crate::api::check::{Fault, Schemas};
use crate::api::common::{FileSource, PriceSource};
use crate::api::crd::CrdError;
use crate::api::manifest::{self, ManifestError, Object};
use crate::market::feeds::Market;
use crate::market::file::{self, Columns, FileError};
use crate::market::series::Series;
use crate::sim::day;
use crate::sim::plant::faults::Rates;
use crate::sim::plant::weather::Weather;
use crate::sim::spec::{Mishaps, WorldSpec};
use ampacity_core::units::{Span, Time};
use jiff::Timestamp;
use std::path::{Path, PathBuf};

/// A site that can be run, and for how long.
#[derive(Debug)]
pub struct Loaded {
    /// The site.
    pub spec: WorldSpec,
    /// Where virtual time ends.
    pub until: Time,
    /// The site's name.
    pub site: String,
    /// Its nodes as frames name them, the site first.
    pub nodes: Vec<String>,
}

/// Why a site cannot be run: one line that names the file or the flag, and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file or folder cannot be read.
    #[error("{file}: cannot be read: {why}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the system said.
        why: String,
    },
    /// Nothing there is a site.
    #[error("{file}: {why}")]
    NoSite {
        /// The file or folder.
        file: String,
        /// What is missing.
        why: String,
    },
    /// A manifest is wrong.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A file of prices is wrong.
    #[error(transparent)]
    Prices(#[from] FileError),
    /// A file that the site names is wrong.
    #[error("{0}")]
    Source(String),
    /// A time is none, or the span is empty.
    #[error("{flag} {value}: {why}")]
    Span {
        /// The flag.
        flag: &'static str,
        /// What was asked for.
        value: String,
        /// What would be right.
        why: String,
    },
    /// A file does not cover the span.
    #[error("{file}: has values from {first} to {last}, not for all of {from} to {to}: choose --from and --to within")]
    Uncovered {
        /// The file.
        file: String,
        /// Its first moment.
        first: Timestamp,
        /// Its last.
        last: Timestamp,
        /// From when it is needed.
        from: Timestamp,
        /// Until when.
        to: Timestamp,
    },
    /// A mistake in this crate.
    #[error(transparent)]
    Schemas(#[from] CrdError),
}

const DAY: Span = Span::minutes(24 * 60);
/// Manifests of one site; more are another folder.
const FILES_MAX: usize = 1_000;
/// The column of hashprice in files that have other columns of numbers before it.
const HASHPRICE_COLUMN: &str = "hashprice_usd_per_ph_day";

/// Reads everything that the command line names.
///
/// # Errors
/// The first thing that is wrong.
pub fn load(args: &DemoArgs) -> Result<Loaded, LoadError> {
    let schemas = Schemas::new()?;
    let prices = args.prices.as_deref().map(|text| series(text, None)).transpose()?;
    let hashprice = args.hashprice.as_deref().map(|text| series(text, Some(HASHPRICE_COLUMN))).transpose()?;
    let own = args.site.as_deref().map(|path| read_site(path, &schemas)).transpose()?;
    let first = first_moment(prices.as_ref(), own.as_ref());
    let longest = prices.as_ref().and_then(|(_, series)| series.span()).map(|(_, last)| last);
    let (start, until) = span(args, first, longest)?;
    for (file, series) in prices.iter().chain(&hashprice) {
        covers(file, series, start, until)?;
    }
    let midnight = day::midnight_of(start);
    let built_in = own.is_none();
    let (objects, folder) = match own {
        Some(own) => (own.objects, own.folder),
        None => (day::site(midnight, &schemas)?, PathBuf::from(".")),
    };
    let budget = only_budget(&objects);
    let (site, nodes) = budget.map_or_else(Default::default, names);
    if let Some(budget) = budget {
        own_files(budget, &folder, start, prices.is_some(), hashprice.is_some())?;
    }
    let mut script = if built_in { day::script(midnight, start, &schemas)? } else { Vec::new() };
    script.retain(|(_, what)| args.faults != Faults::None || !what.is_fault());
    let (mishaps, rates) = match args.faults {
        Faults::None => (Mishaps::None, Rates::NONE),
        Faults::Default => (Mishaps::Usual, Rates::USUAL),
        Faults::Chaos => (Mishaps::Chaos, Rates::CHAOS),
    };
    let spec = WorldSpec {
        seed: args.seed,
        start,
        objects,
        folder,
        prices: prices.map(|(_, series)| series).or_else(|| built_in.then(|| day::prices(midnight, until))),
        hashprice: hashprice.map(|(_, series)| series).or_else(|| built_in.then(|| day::hashprice(midnight, until))),
        script,
        mishaps,
        weather: if built_in { day::WEATHER } else { Weather::TEXAS_SUMMER },
        rates,
    };
    Ok(Loaded { spec, until, site, nodes })
}

/// A user's own site.
struct Own {
    objects: Vec<Object>,
    folder: PathBuf,
}

fn read_site(path: &Path, schemas: &Schemas) -> Result<Own, LoadError> {
    let unreadable =
        |path: &Path, e: std::io::Error| LoadError::Unreadable { file: path.display().to_string(), why: e.to_string() };
    let files = if path.is_dir() {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(path).map_err(|e| unreadable(path, e))? {
            let file = entry.map_err(|e| unreadable(path, e))?.path();
            if file.extension().is_some_and(|e| e == "yaml" || e == "yml") && files.len() < FILES_MAX {
                files.push(file);
            }
        }
        files.sort();
        files
    } else {
        vec![path.to_owned()]
    };
    let mut objects = Vec::new();
    let mut first: Option<String> = None;
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(|e| unreadable(&file, e))?;
        let shown = file.display().to_string();
        let here = manifest::read(&shown, &text, schemas)?;
        for (index, object) in here.iter().enumerate().filter(|(_, o)| matches!(o, Object::PowerBudget(_))) {
            if let Some(first) = &first {
                let fault =
                    Fault::new("kind", format!("a second PowerBudget; one run is one site, and {first} has one"));
                return Err(manifest::located(&shown, &text, index, &fault).into());
            }
            first = Some(format!("{shown} ({})", object.meta().name.as_deref().unwrap_or_default()));
        }
        objects.extend(here);
    }
    if first.is_none() {
        let why = "has no PowerBudget, which is what makes a site".to_owned();
        return Err(LoadError::NoSite { file: path.display().to_string(), why });
    }
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new(".")) };
    Ok(Own { objects, folder: folder.to_owned() })
}

fn only_budget(objects: &[Object]) -> Option<&PowerBudget> {
    objects.iter().find_map(|object| match object {
        Object::PowerBudget(budget) => Some(&**budget),
        _ => None,
    })
}

/// A site's name, and its nodes as frames name them.
fn names(budget: &PowerBudget) -> (String, Vec<String>) {
    let site = budget.metadata.name.clone().unwrap_or_default();
    let feeders = budget.spec.feeders.iter().map(|feeder| format!("{site}/{}", feeder.name));
    let nodes = std::iter::once(site.clone()).chain(feeders).collect();
    (site, nodes)
}

/// A file that the command line names, with its name for messages. `usual`: a column to look for before any other.
fn series(text: &str, usual: Option<&str>) -> Result<(String, Series), LoadError> {
    let (path, column) = file_and_column(text);
    let read = |value: Option<String>| file::read(&path, &Columns { value, ..Columns::default() });
    let found = match (column, usual) {
        (None, Some(usual)) => match read(Some(usual.to_owned())) {
            Err(FileError::Shape { .. }) => read(None),
            other => other,
        },
        (column, _) => read(column),
    };
    Ok((path.display().to_string(), found?))
}

/// Where a run begins if nobody says: with the prices, else with the site's first lease, else with the built-in day.
fn first_moment(prices: Option<&(String, Series)>, own: Option<&Own>) -> Time {
    if let Some((first, _)) = prices.and_then(|(_, series)| series.span()) {
        return first;
    }
    let lease = |object: &Object| match object {
        Object::ComputeLease(lease) => Some(Time::new(lease.spec.term.start.0.as_millisecond())),
        _ => None,
    };
    let leases = own.into_iter().flat_map(|own| own.objects.iter().filter_map(lease));
    leases.min().unwrap_or(day::MIDNIGHT)
}

fn span(args: &DemoArgs, first: Time, longest: Option<Time>) -> Result<(Time, Time), LoadError> {
    let moment = |flag: &'static str, text: &String| {
        moment(text, first).ok_or_else(|| LoadError::Span {
            flag,
            value: text.clone(),
            why: "want a time such as 2024-07-01, 2024-07-01T12:00, 2024-07-01T12:00-05:00 or 12:00".into(),
        })
    };
    let from = args.from.as_ref().map(|text| moment("--from", text)).transpose()?.unwrap_or(first);
    let to = match (&args.to, args.hours) {
        (Some(text), _) => moment("--to", text)?,
        (None, Some(hours)) => from.after(Span::minutes(60 * i64::from(hours))),
        (None, None) => longest.filter(|last| *last > from).map_or(from.after(DAY), |last| last.min(from.after(DAY))),
    };
    if to <= from {
        let value = args.to.clone().unwrap_or_default();
        return Err(LoadError::Span { flag: "--to", value, why: format!("is not after --from, {}", stamp(from)) });
    }
    Ok((from, to))
}

/// A time with an offset, one in UTC, a date, or a clock time of the day of `first`.
fn moment(text: &str, first: Time) -> Option<Time> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(Time::new(at.as_millisecond()));
    }
    if text.len() <= 8 && text.contains(':') {
        let clock = text.parse::<jiff::civil::Time>().ok()?;
        let seconds = i64::from(clock.hour()) * 3_600 + i64::from(clock.minute()) * 60 + i64::from(clock.second());
        return Some(day::midnight_of(first).after(Span::seconds(seconds)));
    }
    let date = || text.parse::<jiff::civil::Date>().map(jiff::civil::DateTime::from);
    let local = text.parse::<jiff::civil::DateTime>().or_else(|_| date()).ok()?;
    let at = local.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Time::new(at.timestamp().as_millisecond()))
}

fn stamp(at: Time) -> Timestamp {
    let edge = if at.get() < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(at.get()).unwrap_or(edge)
}

fn covers(file: &str, series: &Series, from: Time, to: Time) -> Result<(), LoadError> {
    let Some((first, last)) = series.span() else { return Ok(()) };
    if first <= from && to <= last {
        return Ok(());
    }
    let (first, last, from, to) = (stamp(first), stamp(last), stamp(from), stamp(to));
    Err(LoadError::Uncovered { file: file.to_owned(), first, last, from, to })
}

/// The files that a site's own prices come from, unless others take their place: readable now, or said now.
fn own_files(
    budget: &PowerBudget,
    folder: &Path,
    now: Time,
    skip_prices: bool,
    skip_hashprice: bool,
) -> Result<(), LoadError> {
    let energy = budget.spec.energy_price.as_ref().filter(|_| !skip_prices);
    let sources = energy.into_iter().flat_map(|energy| std::iter::once(&energy.source).chain(&energy.day_ahead));
    let hashprice = budget.spec.hashprice.as_ref().filter(|_| !skip_hashprice).map(|hash| &hash.source);
    let file = |source: &PriceSource| source.file.clone();
    let files: Vec<FileSource> = sources.chain(hashprice).filter_map(file).collect();
    let mut market = Market::new(folder);
    for source in files {
        market.series(&source, now).map_err(LoadError::Source)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
