//! What goes wrong at the plant, on order and by chance.

use ampacity_core::tree::NodeId;
use ampacity_core::units::{Span, Time};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg32;

/// A fault on order. `device: None` means all devices of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Draws nothing and answers nothing for good.
    Dies {
        /// The load's place in the plant.
        load: usize,
        /// Which device.
        device: Option<usize>,
    },
    /// Says ok, reads back what it was told, and keeps drawing what it drew.
    Wedges {
        /// The load's place in the plant.
        load: usize,
        /// Which device.
        device: Option<usize>,
        /// When it comes to itself and does what it was told last.
        until: Time,
    },
    /// Its API answers nothing; its draw does not change.
    Hangs {
        /// The load's place in the plant.
        load: usize,
        /// Which device.
        device: Option<usize>,
        /// When it answers again.
        until: Time,
    },
    /// Reboots; a volatile limiter is lost. For a GPU: its driver is unloaded and loaded, and its job starts again.
    Reboots {
        /// The load's place in the plant.
        load: usize,
        /// Which device.
        device: Option<usize>,
    },
    /// A container's fans stop.
    FansStop {
        /// The load's place in the plant.
        load: usize,
        /// When they run again.
        until: Time,
    },
    /// A meter takes no samples.
    MeterOut {
        /// The node it sits at.
        node: NodeId,
        /// When it takes samples again.
        until: Time,
    },
}

/// How often things go wrong by chance, for one device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Devices that die for good, each year. 5 % is called normal, bad series 20–30 % (devices.md 7.5).
    pub deaths_a_year: f64,
    /// Transient hangs of the API, each day. 0.5–1 % (assumed, devices.md 7.5).
    pub hangs_a_day: f64,
    /// How long such a hang lasts (assumed).
    pub hang: Span,
    /// Reboots, each day: 0.5 % (assumed).
    pub reboots_a_day: f64,
    /// Wakes that fail for good. 0.1–0.5 % (assumed, devices.md 7.5).
    pub failed_wakes: f64,
}

impl Rates {
    /// Nothing goes wrong but on order.
    pub const NONE: Self =
        Self { deaths_a_year: 0.0, hangs_a_day: 0.0, hang: Span::ZERO, reboots_a_day: 0.0, failed_wakes: 0.0 };

    /// An ordinary year.
    pub const USUAL: Self = Self {
        deaths_a_year: 0.05,
        hangs_a_day: 0.0075,
        hang: Span::minutes(10),
        reboots_a_day: 0.005,
        failed_wakes: 0.002,
    };

    /// All of it ten times as often, and hangs far more.
    pub const CHAOS: Self =
        Self { deaths_a_year: 0.5, hangs_a_day: 0.5, hang: Span::minutes(3), reboots_a_day: 0.2, failed_wakes: 0.01 };

    /// All chances of one device together, each day.
    pub(super) fn a_day(&self) -> f64 {
        self.deaths_a_year / 365.0 + self.hangs_a_day + self.reboots_a_day
    }
}

/// Seeded chance.
#[derive(Clone, Debug)]
pub(super) struct Chance(Pcg32);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(Pcg32::seed_from_u64(seed))
    }

    /// In 0..1.
    pub(super) fn unit(&mut self) -> f64 {
        f64::from(self.0.next_u32()) / 4_294_967_296.0
    }

    /// In −1..1.
    pub(super) fn even(&mut self) -> f64 {
        self.unit() * 2.0 - 1.0
    }

    /// Nearly normal, σ 1: the sum of twelve even ones, cut at 2.
    pub(super) fn normal(&mut self) -> f64 {
        ((0..12).map(|_| self.unit()).sum::<f64>() - 6.0).clamp(-2.0, 2.0)
    }

    /// How long until the next of events that come `a_day` times a day; none: never.
    pub(super) fn wait(&mut self, a_day: f64) -> Option<Span> {
        (a_day > 0.0).then(|| Span::new((-(1.0 - self.unit()).ln() / a_day * 86_400_000.0) as i64 + 1))
    }

    pub(super) fn below(&mut self, count: usize) -> usize {
        ((self.unit() * count as f64) as usize).min(count.saturating_sub(1))
    }
}
