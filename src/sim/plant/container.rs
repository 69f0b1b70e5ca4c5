//! Mining containers: the miners, the loop that cools them, pumps and fans.
//!
//! Constants carry their source: `devices.md` 7, `markets.md` 2.6–2.8, or "assumed".

use super::device::Behaviour;
use ampacity_core::guard::proof::{DeviceClass, Limiters, Retention, Sleep, SleepProof, Source, Step};
use ampacity_core::units::{Ppm, Span, Time, Watts};

/// S19k Pro at its default profile, W (devices.md 7.2).
const S19K_WATTS: f64 = 2794.0;
/// The same, GH/s.
const S19K_HASHRATE: f64 = 121_800.0;

/// Power of an S19k Pro at a part of its hashrate, as a part of its power: fitted to 25 LuxOS profiles (devices.md 7.2).
fn s19k_power(h: f64) -> f64 {
    0.0718 + 0.5168 * h + 0.4114 * h * h
}

fn ladder(steps: &[(i64, i64)]) -> (Limiters, Vec<i64>) {
    let step = |(watts, value): &(i64, i64)| Step { watts: Watts::new(*watts), value: *value };
    (Limiters::Ladder(steps.iter().map(step).collect()), steps.iter().map(|(_, value)| *value).collect())
}

/// S19k Pro on LuxOS: the default profile and the 16 under it (markets.md 2.6), sleep to 25 W within seconds and back
/// within ten (devices.md 7.1), watts estimated by the firmware.
pub fn s19k_pro_luxos() -> Behaviour {
    // Profiles are 25 MHz apart and hashrate is linear in MHz: 590 MHz is the default here (assumed), 190 the lowest.
    let steps: Vec<(i64, i64)> = (0..=16)
        .map(|n| f64::from(190 + 25 * n) / 590.0)
        .map(|h| ((s19k_power(h) * S19K_WATTS).round() as i64, (h * S19K_HASHRATE).round() as i64))
        .collect();
    let (limiters, yields) = ladder(&steps);
    Behaviour {
        class: DeviceClass {
            // Default profile, spread and a margin (assumed).
            power_on_watts: Watts::new(3_050),
            limiters,
            sleep: Some(Sleep { watts: Watts::new(27), verified_by: SleepProof::ReadBack }),
            retention: Retention::Persistent,
            boot_to_full: Span::seconds(30),
            settle: Span::seconds(13),
            write_lives: Span::seconds(5),
            // A profile sets frequency and voltage; the unit's spread of 3 % σ, cut at 2 σ, lies on top.
            limiter_error: Ppm::percent(7),
            sensor_error: Ppm::percent(7),
            always_works: true,
        },
        yields,
        full_watts: S19K_WATTS,
        sleep_watts: 25.0,
        tau_ms: 1_500,
        boot_ms: 2_000,
        ramp_ms: 8_000,
        write_ms: 600,
        read_ms: 250,
        spread: 0.03,
        bias: 0.05,
        noise: 0.005,
        source: Source::Estimated,
        mean_ms: 0,
        idle_watts: None,
    }
}

/// S19j Pro on VNish: the ladder read from a device (markets.md 2.6), not monotone in efficiency; 30 s to pause, soft
/// restart and ramp on the way up (markets.md 2.8, devices.md 7.3).
pub fn s19j_pro_vnish() -> Behaviour {
    let steps = [
        (1740, 65_000),
        (1800, 70_000),
        (1850, 76_000),
        (2000, 80_000),
        (2150, 83_000),
        (2300, 87_000),
        (2500, 92_000),
        (2700, 96_000),
        (2970, 100_000),
    ];
    let (limiters, yields) = ladder(&steps);
    Behaviour {
        class: DeviceClass {
            power_on_watts: Watts::new(3_250),
            limiters,
            // Fans and controller stay on: 150–240 W (markets.md 2.8).
            sleep: Some(Sleep { watts: Watts::new(220), verified_by: SleepProof::ReadBack }),
            boot_to_full: Span::seconds(120),
            settle: Span::seconds(42),
            ..s19k_pro_luxos().class
        },
        yields,
        full_watts: 2970.0,
        sleep_watts: 200.0,
        // 30 s to pause (markets.md 2.8) as five τ and a little.
        tau_ms: 5_000,
        boot_ms: 45_000,
        ramp_ms: 180_000,
        ..s19k_pro_luxos()
    }
}

/// M30S+-class WhatsMiner by fast power percent: a second down, lost at reboot, watts from the power supply
/// (devices.md 7.1, 7.3); ten percent a step of 3400 W, hashrate along the S19k fit (assumed).
pub fn whatsminer_percent() -> Behaviour {
    let full = 3400.0;
    let steps: Vec<(i64, i64)> = (4..=10)
        .map(|tenth| f64::from(tenth) / 10.0)
        .map(|p| {
            // The positive root of the fit: hashrate at this part of the power.
            let h = (-0.5168 + (0.5168_f64.powi(2) + 4.0 * 0.4114 * (p - 0.0718)).sqrt()) / (2.0 * 0.4114);
            ((p * full) as i64, (h * 100_000.0) as i64)
        })
        .collect();
    let (limiters, yields) = ladder(&steps);
    Behaviour {
        class: DeviceClass {
            power_on_watts: Watts::new(3_550),
            limiters,
            sleep: Some(Sleep { watts: Watts::new(27), verified_by: SleepProof::ReadBack }),
            retention: Retention::Volatile,
            // 600–1300 s in all (devices.md 7.3); half of it is what a proof may rely on.
            boot_to_full: Span::seconds(300),
            settle: Span::seconds(13),
            write_lives: Span::seconds(5),
            limiter_error: Ppm::percent(3),
            sensor_error: Ppm::percent(3),
            always_works: true,
        },
        yields,
        full_watts: full,
        sleep_watts: 25.0,
        tau_ms: 1_500,
        boot_ms: 300_000,
        ramp_ms: 600_000,
        write_ms: 1_000,
        read_ms: 250,
        // It regulates watts: the spread is in the hashrate (assumed).
        spread: 0.005,
        bias: 0.01,
        noise: 0.003,
        source: Source::Measured,
        mean_ms: 0,
        idle_watts: None,
    }
}

/// The loop, the pumps and the fans of a container.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cooling {
    /// Heat that the loop holds, J/K: about 2.4 m³ of coolant (assumed).
    pub heat_capacity: f64,
    /// Carried away with fans at full, W/K: all of it at 15 K, so that the loop stays at 52 °C in air of 37 °C (assumed).
    pub most: f64,
    /// Carried away with fans off, W/K (assumed).
    pub least: f64,
    /// Pumps, always on, W (assumed: 1 %; fans and pumps together a few %).
    pub pump_watts: f64,
    /// Fans at full, W; they draw by the cube of their speed.
    pub fan_watts: f64,
}

/// Below this the loop freezes, °C (water; assumed).
pub const FREEZES_AT: f64 = 1.0;
/// Above this the miners stop themselves, °C: boards are "hot" at 65 (markets.md 2.6), the loop some 10 K cooler.
pub const STOPS_AT: f64 = 55.0;
/// Below this, after such a stop, they work again, °C (assumed).
const COOLED_AT: f64 = 45.0;
/// Fans start here and are at full 10 K above, °C (assumed).
const FANS_FROM: f64 = 32.0;
/// The longest time for which fans are taken to turn evenly, ms.
const LONGEST_PART_MS: i64 = 10_000;

impl Cooling {
    /// Cooling for a container whose miners draw at most this.
    pub fn for_watts(watts: Watts) -> Self {
        let full = watts.get() as f64;
        Self {
            heat_capacity: full * 4.5,
            most: full / 15.0,
            least: full / 1_100.0,
            pump_watts: full * 0.01,
            fan_watts: full * 0.02,
        }
    }

    /// The most that pumps and fans draw together, W.
    pub fn largest(&self) -> Watts {
        Watts::new((self.pump_watts + self.fan_watts).ceil() as i64)
    }

    /// What keeps the loop 4 K above freezing in air of this temperature, W: the thermal floor.
    pub fn floor(&self, air_celsius: f64) -> Watts {
        Watts::new((self.least * (FREEZES_AT + 4.0 - air_celsius).max(0.0)).ceil() as i64)
    }
}

/// How a container's loop is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loop {
    /// Its temperature, °C.
    pub celsius: f64,
    /// It froze: the container is lost to the operator until people have been there.
    pub frozen: bool,
    /// The miners stopped themselves.
    pub overheated: bool,
    /// Fan speed, 0..1.
    pub fans: f64,
    pub(super) fans_out_until: Time,
    pub(super) at: Time,
}

impl Loop {
    pub(super) const fn new(now: Time) -> Self {
        Self { celsius: 35.0, frozen: false, overheated: false, fans: 0.3, fans_out_until: now, at: now }
    }

    /// Lets heat flow from the last call up to now. Returns true where the miners stop themselves now, and false where
    /// they work again.
    pub(super) fn advance(&mut self, of: &Cooling, heat: Watts, air: f64, now: Time) -> Option<bool> {
        let span = now.since(self.at).get().max(0);
        self.at = now;
        // Fans follow the loop within seconds: longer spans are taken in parts.
        let parts = (span / LONGEST_PART_MS + 1).min(1_000);
        let seconds = span as f64 / parts as f64 / 1_000.0;
        for _ in 0..parts {
            let blown = ((self.celsius - FANS_FROM) / 10.0).clamp(0.0, 1.0);
            self.fans = if now < self.fans_out_until { 0.0 } else { blown };
            let carried = of.least + (of.most - of.least) * self.fans;
            let goal = air + heat.get() as f64 / carried;
            self.celsius = goal + (self.celsius - goal) * (-seconds * carried / of.heat_capacity).exp();
        }
        self.frozen |= self.celsius < FREEZES_AT;
        let was = self.overheated;
        self.overheated = self.celsius > if was { COOLED_AT } else { STOPS_AT };
        (self.overheated != was).then_some(self.overheated)
    }

    /// What pumps and fans draw, W.
    pub(super) fn draws(&self, of: &Cooling) -> Watts {
        Watts::new((of.pump_watts + of.fan_watts * self.fans.powi(3)).ceil() as i64)
    }
}
