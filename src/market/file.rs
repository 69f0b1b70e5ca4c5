//! CSV files of time and value: negative prices, gaps, and the hour that comes twice in November.

use super::series::Series;
use ampacity_core::units::Time;
use jiff::civil::{Date, DateTime};
use jiff::tz::{Disambiguation, TimeZone};
use std::io::Read;
use std::path::Path;

/// More rows than thirty years of five-minute prices are a mistake, not a price file.
const ROWS_MAX: usize = 3_500_000;
/// Unpacked bytes beyond which a file is refused.
const BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Which columns of a file to read, by their headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// With the time; by default the first header that contains `utc`, else the first column.
    pub time: Option<String>,
    /// With the value; by default the first column after the time whose first row is a number.
    pub value: Option<String>,
    /// That marks the second of two equal local hours (1, Y or true).
    pub repeat: Option<String>,
    /// IANA zone of times without an offset; by default UTC.
    pub zone: Option<String>,
}

/// Why a file cannot be used: names the file, the line and the column.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be opened or read.
    #[error("{path}: cannot be read: {why}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        why: String,
    },
    /// It is no CSV with a header, or has no usable rows.
    #[error("{path}: {why}")]
    Shape {
        /// The file.
        path: String,
        /// What is wrong and what would be right.
        why: String,
    },
    /// One cell is wrong.
    #[error("{path}: line {line}, column {column:?}: {value:?} {why}")]
    Cell {
        /// The file.
        path: String,
        /// Line, from 1, the header included.
        line: u64,
        /// The column's header.
        column: String,
        /// What stands there.
        value: String,
        /// What would be right.
        why: String,
    },
}

/// Reads a file whose values have up to six decimals into a series of millionths. Empty values are left out: missing.
///
/// # Errors
/// The first thing that is wrong, with its line and column; nothing is used of a file that has an error.
pub fn read(path: &Path, columns: &Columns) -> Result<Series, FileError> {
    let shown = path.display().to_string();
    let text = unpack(path).map_err(|e| FileError::Read { path: shown.clone(), why: e.to_string() })?;
    parse(&shown, &text, columns)
}

fn unpack(path: &Path) -> std::io::Result<String> {
    let file = std::fs::File::open(path)?.take(BYTES_MAX);
    let mut text = String::new();
    if path.extension().is_some_and(|e| e == "gz") {
        flate2::read::GzDecoder::new(file).take(BYTES_MAX).read_to_string(&mut text)?;
    } else {
        let mut file = file;
        file.read_to_string(&mut text)?;
    }
    Ok(text)
}

/// The chosen columns by position.
struct Layout {
    headers: Vec<String>,
    time: usize,
    value: usize,
    repeat: Option<usize>,
    zone: TimeZone,
}

/// Parses the text of a file; `path` is for messages.
///
/// # Errors
/// As [`read`].
pub fn parse(path: &str, text: &str, columns: &Columns) -> Result<Series, FileError> {
    let shape = |why: String| FileError::Shape { path: path.into(), why };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let headers: Vec<String> = reader.headers().map_err(|e| shape(e.to_string()))?.iter().map(str::to_owned).collect();
    let mut rows: Vec<(Time, i64)> = Vec::new();
    let mut layout: Option<Layout> = None;
    for record in reader.records() {
        let record = record.map_err(|e| shape(e.to_string()))?;
        let layout = match &mut layout {
            Some(layout) => layout,
            none => none.insert(lay_out(path, &headers, &record, columns)?),
        };
        if let Some(row) = read_row(path, layout, &record, rows.last().map(|r| r.0))? {
            rows.push(row);
        }
        if rows.len() > ROWS_MAX {
            return Err(shape(format!("has more than {ROWS_MAX} rows")));
        }
    }
    if rows.is_empty() {
        return Err(shape("has no row with a time and a value; the first line must be a header".into()));
    }
    Ok(Series::new(rows))
}

fn lay_out(path: &str, headers: &[String], first: &csv::StringRecord, columns: &Columns) -> Result<Layout, FileError> {
    let shape = |why: String| FileError::Shape { path: path.into(), why };
    let named = |name: &String| {
        let position = headers.iter().position(|h| h == name);
        position.ok_or_else(|| shape(format!("has no column {name:?}; its columns are {}", headers.join(", "))))
    };
    let time = match &columns.time {
        Some(name) => named(name)?,
        None => headers.iter().position(|h| h.to_lowercase().contains("utc")).unwrap_or(0),
    };
    let number = |position: usize| first.get(position).is_some_and(|cell| millionths(cell).is_some());
    let value = match &columns.value {
        Some(name) => named(name)?,
        None => ((time + 1)..headers.len()).find(|&p| number(p)).ok_or_else(|| {
            let line = first.position().map_or(0, csv::Position::line);
            let cells: Vec<String> = first.iter().skip(time + 1).map(|cell| format!("{cell:?}")).collect();
            let after = headers.get(time).map(String::as_str).unwrap_or_default();
            shape(format!("line {line} has no number after column {after:?}: {}", cells.join(", ")))
        })?,
    };
    let repeat = columns.repeat.as_ref().map(named).transpose()?;
    let zone = match &columns.zone {
        Some(name) => TimeZone::get(name).map_err(|_| {
            shape(format!("is read in time zone {name:?}, which is not an IANA name like America/Chicago"))
        })?,
        None => TimeZone::UTC,
    };
    Ok(Layout { headers: headers.to_vec(), time, value, repeat, zone })
}

/// One row; none where its value is empty.
fn read_row(
    path: &str,
    layout: &Layout,
    record: &csv::StringRecord,
    before: Option<Time>,
) -> Result<Option<(Time, i64)>, FileError> {
    let cell = |position: usize| record.get(position).unwrap_or("");
    let wrong = |position: usize, why: &str| FileError::Cell {
        path: path.into(),
        line: record.position().map_or(0, csv::Position::line),
        column: layout.headers.get(position).cloned().unwrap_or_default(),
        value: cell(position).into(),
        why: why.into(),
    };
    if cell(layout.value).is_empty() {
        return Ok(None);
    }
    let value = millionths(cell(layout.value))
        .ok_or_else(|| wrong(layout.value, "is no number with up to six decimals, such as -3.25"))?;
    let marked = layout.repeat.is_some_and(|p| matches!(cell(p), "1" | "Y" | "y" | "true"));
    let time = moment(cell(layout.time), &layout.zone, marked, before)
        .ok_or_else(|| wrong(layout.time, "is no time such as 2024-06-01T05:00Z or 2024-06-01"))?;
    if before.is_some_and(|b| time <= b) {
        return Err(wrong(layout.time, "does not come after the row before it"));
    }
    Ok(Some((time, value)))
}

/// A decimal number as millionths, without a float; further decimals than six are cut towards zero.
fn millionths(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, rest) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(whole) || !all_digits(rest) || (whole.is_empty() && rest.is_empty()) {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction: i64 = format!("{rest:0<6}").get(..6)?.parse().ok()?;
    let value = whole.checked_mul(1_000_000)?.checked_add(fraction)?;
    Some(if negative { -value } else { value })
}

/// A time with an offset, a local one in `zone`, or a date. The second of two equal local hours is known by its mark,
/// or because it would otherwise not come after the row before it.
fn moment(text: &str, zone: &TimeZone, marked: bool, before: Option<Time>) -> Option<Time> {
    let time = |t: jiff::Timestamp| Time::new(t.as_millisecond());
    if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
        return Some(time(timestamp));
    }
    let local = text.parse::<DateTime>().or_else(|_| text.parse::<Date>().map(Date::into)).ok()?;
    let ambiguous = zone.to_ambiguous_zoned(local);
    let at = |choice| ambiguous.clone().disambiguate(choice).ok().map(|z| time(z.timestamp()));
    let (first, second) = (at(Disambiguation::Compatible)?, at(Disambiguation::Later)?);
    let falls_back = before.is_some_and(|b| first <= b);
    Some(if marked || falls_back { second } else { first })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chicago() -> Columns {
        Columns { zone: Some("America/Chicago".into()), ..Columns::default() }
    }

    fn times(text: &str, columns: &Columns) -> Vec<i64> {
        let series = parse("p.csv", text, columns).unwrap();
        let mut seen = Vec::new();
        let mut now = series.span().unwrap().0;
        while let Some(point) = series.at(now) {
            seen.push(point.since.get() / 1000);
            match series.next_after(now) {
                Some(next) => now = next,
                None => break,
            }
        }
        seen
    }

    #[test]
    fn a_wrong_cell_is_named_by_line_and_column() {
        let error = parse("p.csv", "time,usd\n2024-06-01T05:00Z,1\n2024-06-01T06:00Z,n/a\n", &Columns::default());
        assert_eq!(
            error.unwrap_err().to_string(),
            "p.csv: line 3, column \"usd\": \"n/a\" is no number with up to six decimals, such as -3.25"
        );
        let error = parse("p.csv", "time,usd\nyesterday,1\n", &Columns::default());
        assert_eq!(
            error.unwrap_err().to_string(),
            "p.csv: line 2, column \"time\": \"yesterday\" is no time such as 2024-06-01T05:00Z or 2024-06-01"
        );
    }

    #[test]
    fn a_first_row_without_a_number_is_told_with_what_stands_there() {
        let error = parse("p.csv", "time,zone,usd\n2024-06-01T05:00Z,west,ten\n", &Columns::default());
        let told = "p.csv: line 2 has no number after column \"time\": \"west\", \"ten\"";
        assert_eq!(error.unwrap_err().to_string(), told);
    }

    #[test]
    fn rows_that_do_not_rise_and_columns_that_do_not_exist_are_refused() {
        let text = "time,usd\n2024-06-01T06:00Z,1\n2024-06-01T05:00Z,2\n";
        let error = parse("p.csv", text, &Columns::default()).unwrap_err().to_string();
        assert_eq!(
            error,
            "p.csv: line 3, column \"time\": \"2024-06-01T05:00Z\" does not come after the row before it"
        );
        let columns = Columns { value: Some("lmp".into()), ..Columns::default() };
        let error = parse("p.csv", text, &columns).unwrap_err().to_string();
        assert_eq!(error, "p.csv: has no column \"lmp\"; its columns are time, usd");
        let error = parse("p.csv", "time,usd\n", &Columns::default()).unwrap_err().to_string();
        assert_eq!(error, "p.csv: has no row with a time and a value; the first line must be a header");
    }

    #[test]
    fn the_hour_that_comes_twice_is_told_apart_by_mark_or_by_order() {
        let unmarked = "t,usd\n2024-11-03T01:00,1\n2024-11-03T01:30,2\n2024-11-03T01:00,3\n2024-11-03T02:00,4\n";
        let expected = [1730613600, 1730615400, 1730617200, 1730620800];
        assert_eq!(times(unmarked, &chicago()), expected);
        let marked =
            "t,again,usd\n2024-11-03T01:00,0,1\n2024-11-03T01:30,0,2\n2024-11-03T01:00,1,3\n2024-11-03T02:00,0,4\n";
        let columns = Columns { repeat: Some("again".into()), value: Some("usd".into()), ..chicago() };
        assert_eq!(times(marked, &columns), expected);
    }

    #[test]
    fn negative_prices_stay_negative_and_empty_ones_stay_missing() {
        let series = parse(
            "p.csv",
            "t,usd\n2024-06-01T00:00Z,-3.25\n2024-06-01T01:00Z,\n2024-06-01T02:00Z,.5\n",
            &Columns::default(),
        );
        let series = series.unwrap();
        let at = |hour: i64| series.at(Time::seconds(1_717_200_000 + 3600 * hour)).map(|p| p.value);
        assert_eq!([0, 1, 2].map(at), [Some(-3_250_000), Some(-3_250_000), Some(500_000)]);
    }

    #[test]
    fn utc_columns_are_preferred_and_the_first_numbers_after_them_are_the_value() {
        let text = "hour_cpt,hour_utc,rt,da\n2023-01-01T00:00,2023-01-01T06:00Z,-2.02,20.48\n";
        let point = parse("p.csv", text, &chicago()).unwrap().at(Time::seconds(1_672_552_800)).unwrap();
        assert_eq!((point.value, point.since), (-2_020_000, Time::seconds(1_672_552_800)));
    }
}
