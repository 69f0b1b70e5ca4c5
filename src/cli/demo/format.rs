//! Numbers, times and names as people read them: what the lines and the live view share. For display alone: nothing
//! here decides a watt.

/// The unit that a whole site is shown in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Kilowatts, for sites under 2 MW.
    Kilowatts,
    /// Megawatts.
    Megawatts,
}

impl Unit {
    /// The unit in which a site of `limit_watts` reads best.
    pub fn of(limit_watts: i64) -> Unit {
        if limit_watts < 2_000_000 { Unit::Kilowatts } else { Unit::Megawatts }
    }

    /// Its symbol.
    pub fn symbol(self) -> &'static str {
        match self {
            Unit::Kilowatts => "kW",
            Unit::Megawatts => "MW",
        }
    }

    /// `watts` in this unit, with one decimal.
    pub fn text(self, watts: i64) -> String {
        format!("{:.1}", self.value(watts))
    }

    /// `watts` in this unit.
    pub fn value(self, watts: i64) -> f64 {
        match self {
            Unit::Kilowatts => watts as f64 / 1e3,
            Unit::Megawatts => watts as f64 / 1e6,
        }
    }
}

/// Watts in at most five characters, three digits that count: `700`, `10.2k`, `3.50M`, `1.20G`.
pub fn watts(watts: i64) -> String {
    let sign = if watts < 0 { "-" } else { "" };
    let size = watts.unsigned_abs() as f64;
    let scaled = [(1e9, "G"), (1e6, "M"), (1e3, "k")].into_iter().find(|(unit, _)| size >= unit * 0.999_5);
    match scaled {
        None => format!("{sign}{size:.0}"),
        Some((unit, symbol)) => {
            let value = size / unit;
            let decimals = match value {
                v if v < 9.995 => 2,
                v if v < 99.95 => 1,
                _ => 0,
            };
            format!("{sign}{value:.decimals$}{symbol}")
        }
    }
}

/// A number with thousands set apart: `-12,345.6` for `decimals` = 1.
pub fn number(value: f64, decimals: usize) -> String {
    let plain = format!("{:.decimals$}", value.abs());
    let (whole, fraction) = plain.split_once('.').unwrap_or((plain.as_str(), ""));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let zero = plain.chars().all(|c| c == '0' || c == '.');
    let sign = if value < 0.0 && !zero { "-" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{grouped}{point}{fraction}")
}

/// USD/MWh in few characters: cents below a hundred, none from there; `—` while unknown.
pub fn price(usd_per_mwh: Option<f64>) -> String {
    match usd_per_mwh {
        None => "—".to_owned(),
        Some(value) if value.abs() < 99.995 => number(value, 2),
        Some(value) => number(value, 0),
    }
}

/// A length of time in its two largest units: `42s`, `9m05s`, `3h20m`, `12d04h`.
pub fn span(seconds: i64) -> String {
    let sign = if seconds < 0 { "-" } else { "" };
    let s = seconds.unsigned_abs();
    match s {
        0..60 => format!("{sign}{s}s"),
        60..3_600 => format!("{sign}{}m{:02}s", s / 60, s % 60),
        3_600..86_400 => format!("{sign}{}h{:02}m", s / 3_600, s % 3_600 / 60),
        _ => format!("{sign}{}d{:02}h", s / 86_400, s % 86_400 / 3_600),
    }
}

/// A length of time in its largest unit, rounded down: `42s`, `9m`, `3h`, `12d`.
pub fn short_span(seconds: i64) -> String {
    let sign = if seconds < 0 { "-" } else { "" };
    let s = seconds.unsigned_abs();
    match s {
        0..60 => format!("{sign}{s}s"),
        60..3_600 => format!("{sign}{}m", s / 60),
        3_600..86_400 => format!("{sign}{}h", s / 3_600),
        _ => format!("{sign}{}d", s / 86_400),
    }
}

/// Seconds since 1970 of an RFC 3339 time; none where it is not one.
pub fn seconds(rfc3339: &str) -> Option<i64> {
    rfc3339.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

/// The day of an RFC 3339 time in UTC: `2024-07-01`.
pub fn day(rfc3339: &str) -> &str {
    rfc3339.get(..10).unwrap_or(rfc3339)
}

/// The time of day of an RFC 3339 time in UTC: `14:32:05`.
pub fn clock(rfc3339: &str) -> &str {
    rfc3339.get(11..19).unwrap_or("--:--:--")
}

/// `text` in exactly `width` characters, from the left, `…` where it was cut.
pub fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return format!("{text:<width$}");
    }
    let kept = text.chars().take(width.saturating_sub(1)).collect::<String>();
    if width == 0 { String::new() } else { format!("{}…{}", kept.trim_end(), pad(&kept)) }
}

/// What was trimmed from the end of `text`.
fn pad(text: &str) -> String {
    " ".repeat(text.len() - text.trim_end().len())
}

/// A sort key by which `hall-a-10` follows `hall-a-9`.
pub fn natural(name: &str) -> (&str, u64, &str) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = name.get(stem.len()..).and_then(|digits| digits.parse().ok()).unwrap_or(0);
    (stem, number, name)
}

/// The last part of a node's name: `hall-a` of `west-texas/hall-a`.
pub fn leaf(node: &str) -> &str {
    node.rsplit('/').next().unwrap_or(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watts_fit_five_characters_and_round_into_the_next_unit() {
        let of = [0, 700, 999, 1_000, 10_240, 999_400, 999_600, 3_500_000, 99_960_000, 100_000_000, 1_200_000_000];
        let want = ["0", "700", "999", "1.00k", "10.2k", "999k", "1.00M", "3.50M", "100M", "100M", "1.20G"];
        assert_eq!(of.map(watts), want);
        assert_eq!(watts(-2_500), "-2.50k");
    }

    #[test]
    fn numbers_set_thousands_apart_and_no_zero_is_negative() {
        assert_eq!(number(1_234_567.891, 2), "1,234,567.89");
        assert_eq!(number(-999.6, 0), "-1,000");
        assert_eq!(number(-0.001, 1), "0.0");
        assert_eq!(number(12.0, 0), "12");
    }

    #[test]
    fn an_unknown_price_is_a_dash_and_a_negative_one_keeps_its_cents() {
        assert_eq!([None, Some(-3.2), Some(99.999), Some(4_821.4)].map(price), ["—", "-3.20", "100", "4,821"]);
    }

    #[test]
    fn spans_show_their_two_largest_units() {
        assert_eq!([0, 42, 545, 12_000, 1_051_200, -75].map(span), ["0s", "42s", "9m05s", "3h20m", "12d04h", "-1m15s"]);
        let short = ["0s", "42s", "9m", "3h", "12d", "-1m"];
        assert_eq!([0, 42, 545, 12_000, 1_051_200, -75].map(short_span), short);
    }

    #[test]
    fn text_is_cut_or_padded_to_the_character() {
        assert_eq!(fit("hall-a", 8), "hall-a  ");
        assert_eq!(fit("hall-a", 6), "hall-a");
        assert_eq!(fit("below price", 7), "below… ");
        assert_eq!(fit("below price", 6), "below…");
        assert_eq!(fit("x", 0), "");
    }

    #[test]
    fn loads_sort_by_their_number() {
        let mut names = ["a-10", "a-9", "b-1", "a-9"];
        names.sort_by_key(|name| natural(name));
        assert_eq!(names, ["a-9", "a-9", "a-10", "b-1"]);
    }

    #[test]
    fn times_that_are_no_times_are_shown_as_such() {
        assert_eq!((day("2024-07-01T14:32:05Z"), clock("2024-07-01T14:32:05Z")), ("2024-07-01", "14:32:05"));
        assert_eq!((day("soon"), clock("soon"), seconds("soon")), ("soon", "--:--:--", None));
    }
}
