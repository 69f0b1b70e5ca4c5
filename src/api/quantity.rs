//! How watts, money and shares are written in an object: quantities and decimal strings, read without a float.
//!
//! Every type keeps the value as an integer and writes one canonical form, so that the same value always makes the
//! same bytes and a server-side apply of it changes nothing.

use ampacity_core::units::{Ppm, Usd, UsdPerMwh, UsdPerPhDay, Watts};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// No field of watts reaches this: 10 GW, a hundred times the largest site.
pub const WATTS_END: i64 = 10_000_000_000;

/// What the API server checks of watts that are written as text: at most ten digits, decimals only as far as they
/// make whole watts.
pub const WATTS_PATTERN: &str =
    r"^([0-9]{1,10}|[0-9]{1,7}(\.[0-9]{1,3})?k|[0-9]{1,4}(\.[0-9]{1,6})?M|[0-9](\.[0-9]{1,9})?G)$";

/// What is said of watts that end in `m`.
pub const MILLI_MESSAGE: &str = "m is milli, thousandths of a watt: write M for megawatts, k for kilowatts";

/// Why a text is no quantity. Names the text and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// The text ends in `m`.
    #[error("{0:?}: m is milli, thousandths of a watt: write M for megawatts, k for kilowatts")]
    Milli(String),
    /// No whole number of watts below 10 GW.
    #[error("{0:?}: want whole watts from 0 to below 10G, like 70M, 2500k, 2.5M or 700")]
    Watts(String),
    /// No decimal of the right sign and length.
    #[error("{text:?}: want a decimal {want}, like \"{like}\"")]
    Decimal {
        /// What was written.
        text: String,
        /// Sign and digits that are allowed.
        want: &'static str,
        /// One that would be right.
        like: &'static str,
    },
}

/// Reads `digits[.digits]`, scaled by `10^scale`, exactly: digits beyond the scale are refused.
fn fixed_point(text: &str, scale: usize) -> Option<i64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let dotted = text.contains('.');
    if whole.is_empty() || whole.len() > 12 || part.len() > scale || (dotted && part.is_empty()) {
        return None;
    }
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) {
        return None;
    }
    format!("{whole}{part:0<scale$}").parse().ok()
}

/// Watts as a Kubernetes quantity: `70M`, `2500k`, `2.5M`, `700`. Whole watts from 0 to below 10 GW; no milli, no
/// binary suffixes. Written as the largest of G, M and k that divides it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WattsQuantity(i64);

impl WattsQuantity {
    /// Wraps a count of watts, brought into the range that can be written.
    pub fn new(watts: i64) -> Self {
        Self(watts.clamp(0, WATTS_END - 1))
    }

    /// The power.
    pub const fn watts(self) -> Watts {
        Watts::new(self.0)
    }
}

impl From<Watts> for WattsQuantity {
    fn from(watts: Watts) -> Self {
        Self::new(watts.get())
    }
}

impl From<WattsQuantity> for Watts {
    fn from(quantity: WattsQuantity) -> Self {
        quantity.watts()
    }
}

impl FromStr for WattsQuantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        if text.ends_with('m') {
            return Err(QuantityError::Milli(text.into()));
        }
        let (number, scale) = match text.strip_suffix(['k', 'M', 'G']) {
            Some(number) if text.ends_with('k') => (number, 3),
            Some(number) if text.ends_with('M') => (number, 6),
            Some(number) => (number, 9),
            None => (text, 0),
        };
        let watts = fixed_point(number, scale).filter(|w| *w < WATTS_END);
        watts.map(Self).ok_or_else(|| QuantityError::Watts(text.into()))
    }
}

impl fmt::Display for WattsQuantity {
    /// The canonical form: `2500k`, `70M`, `700`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, suffix) in [(1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")] {
            if self.0 != 0 && self.0 % unit == 0 {
                return write!(f, "{}{suffix}", self.0 / unit);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl Serialize for WattsQuantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WattsQuantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = WattsQuantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "watts from 0 to below 10G, like 70M, 2500k or 700")
            }

            fn visit_i64<E: serde::de::Error>(self, watts: i64) -> Result<WattsQuantity, E> {
                if (0..WATTS_END).contains(&watts) {
                    return Ok(WattsQuantity(watts));
                }
                Err(E::custom(QuantityError::Watts(watts.to_string())))
            }

            fn visit_u64<E: serde::de::Error>(self, watts: u64) -> Result<WattsQuantity, E> {
                self.visit_i64(i64::try_from(watts).unwrap_or(i64::MAX))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<WattsQuantity, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for WattsQuantity {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "WattsQuantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": WATTS_PATTERN,
            "minimum": 0,
            "maximum": WATTS_END - 1,
            "x-kubernetes-validations": [{"rule": "!string(self).endsWith('m')", "message": MILLI_MESSAGE}],
        })
    }
}

/// Whole watts as a plain integer, where rules of the API server compare them: orders, device points. CEL can neither
/// tell an integer from a text in one field nor bound the cost of comparing such fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WholeWatts(pub i64);

impl WholeWatts {
    /// The power.
    pub const fn watts(self) -> Watts {
        Watts::new(self.0)
    }
}

impl From<Watts> for WholeWatts {
    fn from(watts: Watts) -> Self {
        Self(watts.get())
    }
}

impl From<WholeWatts> for Watts {
    fn from(whole: WholeWatts) -> Self {
        whole.watts()
    }
}

impl JsonSchema for WholeWatts {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "WholeWatts".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "format": "int64", "minimum": 0, "maximum": WATTS_END - 1})
    }
}

/// Defines a decimal string of fixed scale.
macro_rules! decimal {
    ($(#[$doc:meta])* $name:ident, scale $scale:literal, $signed:literal, pattern $pattern:literal, want $want:literal, like $like:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(i64);

        impl $name {
            /// Wraps a raw count of the smallest step.
            pub const fn new(raw: i64) -> Self {
                Self(raw)
            }

            /// The raw count of the smallest step.
            pub const fn get(self) -> i64 {
                self.0
            }
        }

        impl FromStr for $name {
            type Err = QuantityError;

            fn from_str(text: &str) -> Result<Self, QuantityError> {
                let (sign, digits) = match text.strip_prefix('-') {
                    Some(digits) if $signed => (-1, digits),
                    _ => (1, text),
                };
                let raw = fixed_point(digits, $scale).filter(|_| digits.split('.').next().is_some_and(|w| w.len() <= 9));
                raw.map(|raw| Self(sign * raw))
                    .ok_or_else(|| QuantityError::Decimal { text: text.into(), want: $want, like: $like })
            }
        }

        impl fmt::Display for $name {
            /// At least two decimals, and no trailing zeros beyond them.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let unit = 10_u64.pow($scale);
                let (whole, rest) = (self.0.unsigned_abs() / unit, self.0.unsigned_abs() % unit);
                let digits = format!("{rest:0width$}", width = $scale);
                let kept = digits.trim_end_matches('0').len().max(2);
                let sign = if self.0 < 0 { "-" } else { "" };
                write!(f, "{sign}{whole}.{}", digits.get(..kept).unwrap_or(&digits))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "maxLength": 20, "pattern": $pattern})
            }
        }
    };
}

decimal! {
    /// Money or a price as a decimal string, never negative, in millionths. The field's name gives its unit.
    Money, scale 6, false, pattern r"^[0-9]{1,9}(\.[0-9]{1,6})?$",
    want "from 0 to below a billion with up to six decimals", like "25.00"
}
decimal! {
    /// A price as a decimal string that may be negative, in millionths. The field's name gives its unit.
    SignedMoney, scale 6, true, pattern r"^-?[0-9]{1,9}(\.[0-9]{1,6})?$",
    want "below a billion with up to six decimals", like "-3.20"
}
decimal! {
    /// A share in percent as a decimal string from 0 to below 1000, in ten-thousandths of a percent.
    Percent, scale 4, false, pattern r"^[0-9]{1,3}(\.[0-9]{1,4})?$",
    want "from 0 to below 1000 with up to four decimals", like "2.5"
}

impl Money {
    /// A sum of money.
    pub const fn usd(self) -> Usd {
        Usd::new(self.0)
    }

    /// A price of energy.
    pub const fn usd_per_mwh(self) -> UsdPerMwh {
        UsdPerMwh::new(self.0)
    }
}

impl SignedMoney {
    /// A sum of money.
    pub const fn usd(self) -> Usd {
        Usd::new(self.0)
    }

    /// A price of energy.
    pub const fn usd_per_mwh(self) -> UsdPerMwh {
        UsdPerMwh::new(self.0)
    }

    /// A hashprice.
    pub const fn usd_per_ph_day(self) -> UsdPerPhDay {
        UsdPerPhDay::new(self.0)
    }
}

impl Percent {
    /// Whole percent.
    pub const fn whole(percent: i64) -> Self {
        Self(percent * 10_000)
    }

    /// The share as millionths: a ten-thousandth of a percent is one.
    pub const fn ppm(self) -> Ppm {
        Ppm::new(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milli_binary_suffixes_signs_and_parts_of_a_watt_are_refused_with_what_would_be_right() {
        let said: Vec<String> = ["70m", "1Mi", "-5", "0.5", "2.5555k", "10G", "1e6", "", "k", "1.M"]
            .map(|text| text.parse::<WattsQuantity>().unwrap_err().to_string())
            .to_vec();
        let milli = "\"70m\": m is milli, thousandths of a watt: write M for megawatts, k for kilowatts".to_string();
        let want = |t: &str| format!("{t:?}: want whole watts from 0 to below 10G, like 70M, 2500k, 2.5M or 700");
        let rest = ["1Mi", "-5", "0.5", "2.5555k", "10G", "1e6", "", "k", "1.M"].map(want);
        assert_eq!(said, std::iter::once(milli).chain(rest).collect::<Vec<_>>());
    }

    #[test]
    fn watts_are_read_exactly_and_written_in_one_canonical_form() {
        let read = ["70M", "2500k", "2.5M", "700", "9.999999999G", "0"].map(|t| t.parse::<WattsQuantity>().unwrap());
        assert_eq!(read.map(|w| w.watts().get()), [70_000_000, 2_500_000, 2_500_000, 700, 9_999_999_999, 0]);
        assert_eq!(read.map(|w| w.to_string()), ["70M", "2500k", "2500k", "700", "9999999999", "0"]);
    }

    #[test]
    fn watts_may_be_a_bare_integer_in_a_manifest() {
        let read: Vec<WattsQuantity> = serde_yaml::from_str("[700, 70M, '2500k']").unwrap();
        assert_eq!(read, [700, 70_000_000, 2_500_000].map(WattsQuantity::new));
        assert!(serde_yaml::from_str::<WattsQuantity>("-1").is_err());
        assert!(serde_yaml::from_str::<WattsQuantity>("0.5").is_err());
    }

    #[test]
    fn every_text_that_the_pattern_lets_through_is_read_and_no_other() {
        let pattern = regex::Regex::new(WATTS_PATTERN).unwrap();
        for text in
            ["70M", "2.5M", "9.999999999G", "0", "70m", "1Mi", "-5", "0.5", "10G", "", "12345678k", "9999999999"]
        {
            assert_eq!(pattern.is_match(text), text.parse::<WattsQuantity>().is_ok(), "{text}");
        }
    }

    #[test]
    fn money_keeps_its_sign_only_where_a_price_may_be_negative() {
        assert_eq!("-3.2".parse::<SignedMoney>().unwrap().usd_per_mwh(), UsdPerMwh::new(-3_200_000));
        assert_eq!("-0.000001".parse::<SignedMoney>().unwrap().to_string(), "-0.000001");
        assert!("-3.2".parse::<Money>().is_err());
        assert!("1.0000001".parse::<Money>().is_err());
        assert!("1e3".parse::<Money>().is_err());
        assert_eq!("1.0".parse::<Percent>().unwrap().ppm(), Ppm::percent(1));
    }
}
