//! Quantities that cannot be mixed: watts, energy, money, prices, times.
//!
//! All are fixed-point integers; no float decides a watt. Arithmetic saturates: every range here is orders of
//! magnitude wider than any site (100 MW for a century is 3.2 × 10¹⁷ Ws), so saturation is a guard against a corrupt
//! input, never a rounding.

mod show;

use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};

/// Defines an `i64` newtype with saturating addition and subtraction within its own unit.
macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(i64);

        impl $name {
            /// Nothing of it.
            pub const ZERO: Self = Self(0);
            /// The largest value that is represented.
            pub const MAX: Self = Self(i64::MAX);

            /// Wraps a raw count of the unit.
            pub const fn new(raw: i64) -> Self {
                Self(raw)
            }

            /// The raw count of the unit.
            pub const fn get(self) -> i64 {
                self.0
            }

            /// The value, or zero where it is negative.
            pub const fn at_least_zero(self) -> Self {
                if self.0 < 0 { Self(0) } else { self }
            }
        }

        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }
        }
        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                *self = *self + other;
            }
        }
        impl Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }
        impl SubAssign for $name {
            fn sub_assign(&mut self, other: Self) {
                *self = *self - other;
            }
        }
        impl Neg for $name {
            type Output = Self;
            fn neg(self) -> Self {
                Self(self.0.saturating_neg())
            }
        }
        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(terms: I) -> Self {
                terms.fold(Self::ZERO, Add::add)
            }
        }
    };
}

quantity! {
    /// Power, W.
    Watts
}
quantity! {
    /// Energy, Ws (joules). A megawatt-hour is 3.6 × 10⁹ of them.
    WattSeconds
}
quantity! {
    /// A price of energy, millionths of a US dollar per MWh. Negative prices are real.
    UsdPerMwh
}
quantity! {
    /// Money, millionths of a US dollar.
    Usd
}
quantity! {
    /// Expected mining revenue, millionths of a US dollar per PH/s per day.
    UsdPerPhDay
}
quantity! {
    /// Hashrate, GH/s.
    GigahashPerSecond
}
quantity! {
    /// A fraction, in millionths (10 000 = 1 %).
    Ppm
}
quantity! {
    /// A length of time, ms.
    Span
}
quantity! {
    /// A moment: ms since 1970-01-01T00:00:00Z, whatever clock the caller keeps.
    Time
}

/// `a × b ÷ c` in 128 bits, rounded towards minus infinity, saturated to 64; zero where `c` is zero.
///
/// Rounding down is the safe side for capacity and revenue; use [`mul_div_up`] for draw and cost.
pub const fn mul_div(a: i64, b: i64, c: i64) -> i64 {
    if c == 0 {
        return 0;
    }
    let (product, divisor) = (a as i128 * b as i128, c as i128);
    let mut quotient = product / divisor;
    if product % divisor != 0 && ((product < 0) != (divisor < 0)) {
        quotient -= 1;
    }
    saturate(quotient)
}

/// `a × b ÷ c` in 128 bits, rounded towards plus infinity, saturated to 64; zero where `c` is zero.
pub const fn mul_div_up(a: i64, b: i64, c: i64) -> i64 {
    if c == 0 {
        return 0;
    }
    let (product, divisor) = (a as i128 * b as i128, c as i128);
    let mut quotient = product / divisor;
    if product % divisor != 0 && ((product < 0) == (divisor < 0)) {
        quotient += 1;
    }
    saturate(quotient)
}

const fn saturate(x: i128) -> i64 {
    if x > i64::MAX as i128 {
        i64::MAX
    } else if x < i64::MIN as i128 {
        i64::MIN
    } else {
        x as i64
    }
}

const MILLION: i64 = 1_000_000;
const WATT_SECONDS_PER_MWH: i64 = 3_600_000_000;

impl Watts {
    /// Whole megawatts.
    pub const fn mega(megawatts: i64) -> Self {
        Self(megawatts.saturating_mul(MILLION))
    }

    /// Whole kilowatts.
    pub const fn kilo(kilowatts: i64) -> Self {
        Self(kilowatts.saturating_mul(1_000))
    }

    /// This power, held for `span`, rounded down to whole Ws.
    pub const fn over(self, span: Span) -> WattSeconds {
        WattSeconds(mul_div(self.0, span.0, 1_000))
    }

    /// This power and `part` of it more, rounded up: what is drawn above a loss or an error of measurement.
    pub const fn plus(self, part: Ppm) -> Self {
        Self(mul_div_up(self.0, MILLION.saturating_add(part.0), MILLION))
    }

    /// The most power that, with `part` of it more, still fits in this: the inverse of [`Watts::plus`], rounded down.
    pub const fn without(self, part: Ppm) -> Self {
        Self(mul_div(self.0, MILLION, MILLION.saturating_add(part.0)))
    }

    /// `part` of this power, rounded down.
    pub const fn part(self, part: Ppm) -> Self {
        Self(mul_div(self.0, part.0, MILLION))
    }

    /// The largest whole multiple of `step` that is not above this; this itself where `step` is not positive.
    pub const fn floor_to(self, step: Watts) -> Self {
        if step.0 <= 0 { self } else { Self(self.0 - self.0.rem_euclid(step.0)) }
    }
}

impl WattSeconds {
    /// What this energy costs at `price`, rounded down to a millionth of a dollar.
    pub const fn at(self, price: UsdPerMwh) -> Usd {
        Usd(mul_div(self.0, price.0, WATT_SECONDS_PER_MWH))
    }

    /// Watt-hours, rounded down.
    pub const fn watt_hours(self) -> i64 {
        self.0.div_euclid(3_600)
    }
}

impl UsdPerMwh {
    /// Whole dollars per MWh.
    pub const fn dollars(dollars: i64) -> Self {
        Self(dollars.saturating_mul(MILLION))
    }

    /// `part` of this price, rounded down.
    pub const fn part(self, part: Ppm) -> Self {
        Self(mul_div(self.0, part.0, MILLION))
    }
}

impl Usd {
    /// Whole dollars.
    pub const fn dollars(dollars: i64) -> Self {
        Self(dollars.saturating_mul(MILLION))
    }

    /// This sum, spread over an energy, as a price; zero where there is no energy.
    pub const fn per(self, energy: WattSeconds) -> UsdPerMwh {
        UsdPerMwh(mul_div(self.0, WATT_SECONDS_PER_MWH, energy.0))
    }
}

impl UsdPerPhDay {
    /// Whole dollars per PH/s per day.
    pub const fn dollars(dollars: i64) -> Self {
        Self(dollars.saturating_mul(MILLION))
    }

    /// What `hashrate` earns in `span`, rounded down.
    pub const fn earns(self, hashrate: GigahashPerSecond, span: Span) -> Usd {
        // GH/s × USD/(PH/s·day) × ms: 10⁶ GH/s are one PH/s, 86 400 000 ms are a day.
        let per_day = mul_div(self.0, hashrate.0, MILLION);
        Usd(mul_div(per_day, span.0, 86_400_000))
    }

    /// What a MWh earns when `watts` more yield `hashrate` more: the value of one step of a power curve.
    ///
    /// `41.667 × hashprice ÷ (J/TH)`: 1 PH/s at η J/TH draws η kW. Zero where `watts` is not positive.
    pub const fn per_mwh(self, hashrate: GigahashPerSecond, watts: Watts) -> UsdPerMwh {
        if watts.0 <= 0 {
            return UsdPerMwh(0);
        }
        // USD/day ÷ (W × 24 h) → USD/MWh: (µUSD/PH·day × GH/s ÷ 10⁶) × 10⁶ ÷ (W × 24) = µUSD/PH·day × GH/s ÷ (24 W).
        UsdPerMwh(mul_div(self.0, hashrate.0, watts.0.saturating_mul(24)))
    }
}

impl GigahashPerSecond {
    /// Whole TH/s.
    pub const fn tera(terahash: i64) -> Self {
        Self(terahash.saturating_mul(1_000))
    }
}

impl Ppm {
    /// Whole percent.
    pub const fn percent(percent: i64) -> Self {
        Self(percent.saturating_mul(10_000))
    }
}

impl Span {
    /// Whole seconds.
    pub const fn seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000))
    }

    /// Whole minutes.
    pub const fn minutes(minutes: i64) -> Self {
        Self::seconds(minutes.saturating_mul(60))
    }

    /// Whole seconds in it, rounded down.
    pub const fn whole_seconds(self) -> i64 {
        self.0.div_euclid(1_000)
    }
}

impl Time {
    /// Whole seconds since 1970-01-01T00:00:00Z.
    pub const fn seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000))
    }

    /// The moment `span` later.
    pub const fn after(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The moment `span` earlier.
    pub const fn before(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }

    /// How long ago `earlier` was; negative where it is yet to come.
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_megawatt_for_an_hour_at_forty_dollars_costs_forty_dollars() {
        assert_eq!(Watts::mega(1).over(Span::minutes(60)).at(UsdPerMwh::dollars(40)), Usd::dollars(40));
    }

    #[test]
    fn an_s19j_pro_at_28_68_breaks_even_at_40_5_dollars() {
        // 29.5 J/TH at 28.68 USD/PH/day: the table in Hashrate Index terms says 40.5 USD/MWh.
        let value = UsdPerPhDay::new(28_680_000).per_mwh(GigahashPerSecond::tera(104), Watts::new(3068));
        assert_eq!(value.to_string(), "40.508474");
    }

    #[test]
    fn losses_round_against_us_both_ways() {
        assert_eq!(Watts::new(999).plus(Ppm::percent(1)), Watts::new(1009));
        assert_eq!(Watts::new(1009).without(Ppm::percent(1)), Watts::new(999));
        assert_eq!(Watts::new(1000).without(Ppm::percent(1)), Watts::new(990));
    }

    #[test]
    fn negative_money_rounds_down_and_prints_its_sign() {
        assert_eq!(mul_div(-7, 1, 2), -4);
        assert_eq!(mul_div_up(-7, 1, 2), -3);
        assert_eq!(UsdPerMwh::new(-3_200_000).to_string(), "-3.20");
    }

    #[test]
    fn watts_print_as_a_person_would_write_them() {
        let shown: Vec<String> = [64, 700, 2_500, 87_500, 875_000, 2_500_000, 100_000_000, 99_960]
            .map(|w| Watts::new(w).to_string())
            .to_vec();
        assert_eq!(shown, ["64 W", "700 W", "2.50 kW", "87.5 kW", "875 kW", "2.50 MW", "100 MW", "100 kW"]);
    }

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        assert_eq!(Watts::MAX + Watts::new(1), Watts::MAX);
        assert_eq!(mul_div(i64::MAX, i64::MAX, 1), i64::MAX);
    }
}
