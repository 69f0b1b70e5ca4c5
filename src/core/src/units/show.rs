//! How quantities are written: for logs with their unit, for people as they would write them.

use super::{GigahashPerSecond, Ppm, Span, Time, Usd, UsdPerMwh, UsdPerPhDay, WattSeconds, Watts};
use std::fmt;

impl fmt::Debug for Watts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}W", self.0)
    }
}

impl fmt::Display for Watts {
    /// Three significant figures in the unit a person would use: `2.50 MW`, `875 kW`, `64 W`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scale, unit) = match self.0.unsigned_abs() {
            1_000_000.. => (1e6, "MW"),
            1_000.. => (1e3, "kW"),
            _ => return write!(f, "{} W", self.0),
        };
        let value = self.0 as f64 / scale;
        let decimals = if value.abs() >= 99.95 {
            0
        } else if value.abs() >= 9.995 {
            1
        } else {
            2
        };
        write!(f, "{value:.decimals$} {unit}")
    }
}

/// Formats millionths with at least two decimals and no trailing zeros beyond them.
fn micro(f: &mut fmt::Formatter<'_>, raw: i64, unit: &str) -> fmt::Result {
    let sign = if raw < 0 { "-" } else { "" };
    let (whole, rest) = (raw.unsigned_abs() / 1_000_000, raw.unsigned_abs() % 1_000_000);
    let digits = format!("{rest:06}");
    let kept = digits.trim_end_matches('0').len().max(2);
    write!(f, "{sign}{whole}.{}{unit}", digits.get(..kept).unwrap_or(&digits))
}

macro_rules! micro_formats {
    ($($name:ident => $unit:literal),* $(,)?) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                micro(f, self.0, $unit)
            }
        }
        impl fmt::Display for $name {
            /// Dollars and cents, or finer where the value is.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                micro(f, self.0, "")
            }
        }
    )*};
}
micro_formats!(UsdPerMwh => "USD/MWh", Usd => "USD", UsdPerPhDay => "USD/PH/d");

macro_rules! plain_debug {
    ($($name:ident => $unit:literal),* $(,)?) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", self.0, $unit)
            }
        }
    )*};
}
plain_debug!(WattSeconds => "Ws", GigahashPerSecond => "GH/s", Ppm => "ppm", Span => "ms", Time => "@ms");
