//! From manifests to a plant: what a fleet's containers and a pool's nodes are made of.

use super::plant::container::{Cooling, s19k_pro_luxos, whatsminer_percent};
use super::plant::device::Behaviour;
use super::plant::gpunode::{Host, h100};
use super::plant::{LoadKind, LoadSpec};
use crate::api::mining_fleet::SetpointRetention;
use crate::api::{GpuPoolSpec, MiningFleetSpec};
use ampacity_core::guard::proof::{Limiter, Limiters, Sleep, SleepProof, Step};
use ampacity_core::tree::NodeId;
use ampacity_core::units::{Ppm, Watts, mul_div};

/// The most that a sleeping machine is taken to draw, W: what a fleet's floor has to carry for each.
pub const ASLEEP_AT_MOST: Watts = Watts::new(30);
/// How exactly a miner's limiter holds: it regulates watts at its power supply (assumed).
const MINER_ERROR: Ppm = Ppm::percent(2);
/// How unlike the machines of a fleet are, σ; how far off their sensors are at most; and the noise of a reading, σ
/// (assumed; σ are cut at two).
const SPREAD: f64 = 0.005;
const BIAS: f64 = 0.005;
const NOISE: f64 = 0.003;
const WHOLE: i64 = 1_000_000;
/// How exactly a GPU's cap holds (NVML, devices.md 7.6).
const CAP_ERROR: Ppm = Ppm::percent(2);

/// One container of a fleet, as it stands before anybody manages it: a cold start, every machine asleep.
pub fn container(spec: &MiningFleetSpec, node: NodeId) -> LoadSpec {
    let base = match spec.setpoint_retention {
        SetpointRetention::Persistent => s19k_pro_luxos(),
        SetpointRetention::Volatile => whatsminer_percent(),
    };
    let miners = spec.miners_per_container.max(1);
    let overhead = spec.overhead_watts.watts();
    let top = spec.curve.last().map_or(Watts::new(3_000), |p| p.watts.watts());
    let full = spec
        .nameplate_watts_per_container
        .map_or(top, |w| Watts::new((w.watts() - overhead).get() / i64::from(miners)));
    let steps = spec.curve.iter().map(|p| Step { watts: p.watts.watts(), value: p.gigahash_per_second });
    let mut class = base.class.clone();
    class.limiters = Limiters::Ladder(steps.collect());
    class.power_on_watts = full;
    // With its error no more than a floor carries: a container told no more than its floor could never prove that else.
    let asleep = mul_div(ASLEEP_AT_MOST.get(), WHOLE, WHOLE + MINER_ERROR.get());
    class.sleep = Some(Sleep { watts: Watts::new(asleep), verified_by: SleepProof::ReadBack });
    class.limiter_error = MINER_ERROR;
    class.sensor_error = MINER_ERROR;
    class.boot_to_full = ampacity_core::units::Span::seconds(spec.boot_to_full_seconds);
    // A nameplate holds for every machine, and for what its sensor makes of it. Where it leaves little above the highest
    // preset, or is left out, machines are as alike as that takes: one that read higher would be believed nothing.
    let above = full.get() as f64 / top.get().max(1) as f64 - 1.0;
    let exact = (above / (2.0 * SPREAD + BIAS + 2.0 * NOISE)).clamp(0.0, 1.0);
    let behaviour = Behaviour {
        class,
        yields: spec.curve.iter().map(|p| p.gigahash_per_second).collect(),
        full_watts: top.get() as f64,
        spread: SPREAD * exact,
        bias: BIAS * exact,
        noise: NOISE * exact,
        ..base
    };
    let drawn = overhead.get() as f64;
    let heat = full.get() as f64 * f64::from(miners);
    let cooling = Cooling {
        pump_watts: drawn / 3.0,
        fan_watts: drawn * 2.0 / 3.0,
        ..Cooling::for_watts(Watts::new(heat as i64))
    };
    let devices = vec![(behaviour, usize::try_from(miners).unwrap_or(1), Limiter::Asleep)];
    LoadSpec { node, devices, kind: LoadKind::Container(cooling) }
}

/// One node of a pool, uncapped and idle. The pool's overhead carries the error of the caps, too.
pub fn gpu_node(spec: &GpuPoolSpec, node: NodeId) -> LoadSpec {
    let gpus = spec.gpus_per_node.max(1);
    let (least, most) = (spec.min_cap_watts.watts(), spec.max_cap_watts.watts());
    let error = Watts::new(most.part(CAP_ERROR).get() * i64::from(gpus));
    let largest = (spec.overhead_watts.watts() - error).at_least_zero();
    let mut behaviour = h100();
    behaviour.class.power_on_watts = most.plus(CAP_ERROR);
    behaviour.class.limiters = Limiters::Range { min: least, max: most, step: Watts::new(10) };
    behaviour.class.limiter_error = CAP_ERROR;
    behaviour.class.sensor_error = CAP_ERROR;
    behaviour.full_watts = most.get() as f64;
    let host = Host { idle_watts: Watts::new(largest.get() / 4), per_gpu_watt: Host::DGX.per_gpu_watt, largest };
    let devices = vec![(behaviour, usize::try_from(gpus).unwrap_or(1), Limiter::Watts(most))];
    LoadSpec { node, devices, kind: LoadKind::GpuNode(host) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::check::Schemas;
    use crate::api::manifest::Object;
    use crate::sim::day;

    /// The built-in site's new machines, with this nameplate for a container.
    fn fleet(nameplate: Option<i64>) -> LoadSpec {
        let objects = day::site(day::MIDNIGHT, &Schemas::new().unwrap()).unwrap();
        let fleet = objects.into_iter().find_map(|object| match object {
            Object::MiningFleet(fleet) if fleet.metadata.name.as_deref() == Some("s21") => Some(fleet.spec),
            _ => None,
        });
        let mut spec = fleet.unwrap();
        spec.nameplate_watts_per_container = nameplate.map(crate::api::WattsQuantity::new);
        container(&spec, NodeId::SITE)
    }

    #[test]
    fn machines_asleep_count_for_no_more_than_their_floor_carries() {
        let class = &fleet(None).devices[0].0.class;
        let counts = class.sleep.unwrap().watts.plus(class.limiter_error.max(class.sensor_error));
        assert_eq!(counts, ASLEEP_AT_MOST);
        assert!(fleet(None).devices[0].0.sleep_watts * 1.02 < counts.get() as f64);
    }

    #[test]
    fn no_machine_reads_above_its_nameplate_however_little_that_leaves() {
        for nameplate in [None, Some(84 * 3_510 + 9_000), Some(330_000)] {
            let LoadSpec { devices, .. } = fleet(nameplate);
            let of = &devices[0].0;
            let most = of.full_watts * (1.0 + 2.0 * of.spread) * (1.0 + of.bias) * (1.0 + 2.0 * of.noise);
            let power_on = of.class.power_on_watts.get() as f64;
            assert!(most <= power_on * 1.000_2, "{nameplate:?}: {most} of {power_on}");
        }
        let wide = fleet(Some(330_000)).devices[0].0.clone();
        assert_eq!((wide.spread, wide.bias, wide.noise), (SPREAD, BIAS, NOISE));
    }
}
