//! Weather: the air that carries the heat away.

use ampacity_core::units::Time;

/// A day curve of air temperature: coldest at 04:00, warmest at 16:00 local time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weather {
    /// Daily mean, °C.
    pub mean_celsius: f64,
    /// Half of what lies between night and afternoon, K.
    pub swing_kelvin: f64,
    /// Local time against UTC, hours.
    pub utc_offset_hours: f64,
}

impl Weather {
    /// A summer day at a Texan site (assumed: 22 to 37 °C).
    pub const TEXAS_SUMMER: Self = Self { mean_celsius: 29.5, swing_kelvin: 7.5, utc_offset_hours: -6.0 };
    /// A winter day in the north, cold enough to freeze a loop that stands (assumed: −24 to −16 °C).
    pub const NORTHERN_WINTER: Self = Self { mean_celsius: -20.0, swing_kelvin: 4.0, utc_offset_hours: 1.0 };

    /// The air's temperature, °C.
    pub fn celsius(&self, now: Time) -> f64 {
        let hour = now.get() as f64 / 3_600_000.0 + self.utc_offset_hours - 16.0;
        self.mean_celsius + self.swing_kelvin * (hour * std::f64::consts::TAU / 24.0).cos()
    }
}
