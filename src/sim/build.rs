//! From manifests to a plant: what a fleet's containers and a pool's nodes are made of.

use super::plant::container::{Cooling, s19k_pro_luxos, whatsminer_percent};
use super::plant::device::Behaviour;
use super::plant::gpunode::{Host, h100};
use super::plant::{LoadKind, LoadSpec};
use crate::api::mining_fleet::SetpointRetention;
use crate::api::{GpuPoolSpec, MiningFleetSpec};
use ampacity_core::guard::proof::{Limiter, Limiters, Sleep, SleepProof, Step};
use ampacity_core::tree::NodeId;
use ampacity_core::units::{Ppm, Watts};

/// The most that a sleeping machine is taken to draw, W: what a fleet's floor has to carry for each.
pub const ASLEEP_AT_MOST: Watts = Watts::new(30);
/// How exactly a miner's limiter holds: it regulates watts at its power supply (assumed).
const MINER_ERROR: Ppm = Ppm::percent(2);
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
    class.sleep = Some(Sleep { watts: ASLEEP_AT_MOST, verified_by: SleepProof::ReadBack });
    class.limiter_error = MINER_ERROR;
    class.sensor_error = MINER_ERROR;
    class.boot_to_full = ampacity_core::units::Span::seconds(spec.boot_to_full_seconds);
    let behaviour = Behaviour {
        class,
        yields: spec.curve.iter().map(|p| p.gigahash_per_second).collect(),
        full_watts: top.get() as f64,
        spread: 0.005,
        bias: 0.005,
        noise: 0.003,
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
