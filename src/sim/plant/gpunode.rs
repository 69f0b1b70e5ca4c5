//! GPU nodes: eight GPUs with caps, a host, and the work that lands on them.

use super::device::Behaviour;
use ampacity_core::guard::proof::{DeviceClass, Limiters, Retention, Source};
use ampacity_core::units::{Ppm, Span, Watts, mul_div};

/// H100/H200 SXM: 200 to 700 W by NVML (markets.md 5.1), 70–110 W idle (5.1), τ 150–300 ms, a reading is the mean of
/// the last second, a set call takes 10–20 ms (devices.md 7.6). A cap is lost when the driver is unloaded.
pub fn h100() -> Behaviour {
    Behaviour {
        class: DeviceClass {
            power_on_watts: Watts::new(714),
            limiters: Limiters::Range { min: Watts::new(200), max: Watts::new(700), step: Watts::new(10) },
            sleep: None,
            retention: Retention::Volatile,
            // The driver loads in about 10 s and a job has to start again (assumed).
            boot_to_full: Span::seconds(12),
            // Eight τ, and the second that a reading averages over.
            settle: Span::seconds(3),
            write_lives: Span::seconds(2),
            limiter_error: Ppm::percent(2),
            sensor_error: Ppm::percent(2),
            always_works: false,
        },
        yields: Vec::new(),
        full_watts: 700.0,
        sleep_watts: 0.0,
        tau_ms: 220,
        boot_ms: 12_000,
        ramp_ms: 500,
        write_ms: 15,
        read_ms: 15,
        // The cap is regulated; what is left is the sensor's (assumed).
        spread: 0.003,
        bias: 0.005,
        noise: 0.003,
        source: Source::Measured,
        mean_ms: 1_000,
        idle_watts: Some(90.0),
    }
}

/// The host around the GPUs: a DGX H100 is rated 10.2 kW (markets.md 5.1), 4.6 kW above its GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// Idle, W (assumed: 1.2 kW).
    pub idle_watts: Watts,
    /// More for each watt of the GPUs: fans, network, power supplies. Training draws about 76 % of the rating in all
    /// (markets.md 5.2), 7.75 kW: 0.35 with GPUs at 4.8 kW.
    pub per_gpu_watt: Ppm,
    /// The most that it draws, W.
    pub largest: Watts,
}

impl Host {
    /// Around eight H100.
    pub const DGX: Self =
        Self { idle_watts: Watts::new(1_200), per_gpu_watt: Ppm::new(350_000), largest: Watts::new(4_600) };

    /// What it draws while its GPUs draw this, W.
    pub(super) fn draws(&self, gpus: Watts) -> Watts {
        (self.idle_watts + gpus.part(self.per_gpu_watt)).min(self.largest)
    }
}

/// Throughput of a training job under a cap, as a fraction of that at 700 W: about 0.95, 0.88, 0.76 and 0.58 at 600,
/// 500, 400 and 300 W (markets.md 5.2, not verified); 0.36 at 200 W (assumed).
pub fn throughput(cap: Watts) -> Ppm {
    const POINTS: [(i64, i64); 6] =
        [(200, 360_000), (300, 580_000), (400, 760_000), (500, 880_000), (600, 950_000), (700, 1_000_000)];
    let cap = cap.get().clamp(200, 700);
    let pair = POINTS.windows(2).find(|pair| pair.last().is_some_and(|(watts, _)| *watts >= cap));
    match pair {
        Some([(w0, t0), (w1, t1)]) => Ppm::new(t0 + mul_div(cap - w0, t1 - t0, w1 - w0)),
        _ => Ppm::new(1_000_000),
    }
}
