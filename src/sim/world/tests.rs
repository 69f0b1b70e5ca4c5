use super::*;
use crate::api::check::Schemas;
use crate::market::series::Series;
use crate::sim::plant::faults::{Fault, Rates};
use crate::sim::plant::weather::Weather;

const SITE: &str = r#"
apiVersion: ampacity.dev/v1alpha1
kind: PowerBudget
metadata: {name: small}
spec:
  limitWatts: 900k
  reserveWatts: 20k
  lossPercent: "1.0"
  feeders:
    - {name: hall-a, limitWatts: 700k, meter: {source: {static: {watts: 0}}, errorPercent: "1.0"}}
    - {name: hall-b, limitWatts: 300k}
  ramp: {upWattsPerMinute: 200k, economicDownWattsPerMinute: 300k}
  energyPrice: {source: {static: {value: "30.00"}}}
  hashprice: {source: {static: {value: "52.00"}}, poolFeePercent: "2.0"}
  policy: {mode: Active}
  meter: {source: {static: {watts: 0}}, errorPercent: "1.0"}
---
apiVersion: ampacity.dev/v1alpha1
kind: MiningFleet
metadata: {name: old}
spec:
  budget: small
  feeder: hall-a
  containers: 3
  minersPerContainer: 90
  model: S19j Pro
  curve:
    - {watts: 1626, gigahashPerSecond: 62400}
    - {watts: 2296, gigahashPerSecond: 83200}
    - {watts: 3068, gigahashPerSecond: 104000}
  overheadWatts: 6k
  thermalFloorWatts: 10k
  nameplateWattsPerContainer: 290k
  startCostUsd: "1.00"
  stopCostUsd: "0.50"
---
apiVersion: ampacity.dev/v1alpha1
kind: GpuPool
metadata: {name: h100, annotations: {ampacity.dev/demo-nodes: "12"}}
spec:
  budget: small
  feeder: hall-b
  nodeLabels: {pool: h100}
  gpusPerNode: 8
  minCapWatts: 200
  maxCapWatts: 700
  overheadWatts: 4800
  throughput:
    - {capWatts: 300, throughputPercent: "58.0"}
    - {capWatts: 500, throughputPercent: "88.0"}
    - {capWatts: 700, throughputPercent: "100.0"}
---
apiVersion: ampacity.dev/v1alpha1
kind: LeaseClass
metadata: {name: flex}
spec:
  delivery: Jobs
  pool: h100
  pricePerGpuHour: "1.90"
  service: Flexible
  noticeSeconds: 600
  curtailable: {hoursPerMonth: 40, eventsPerDay: 3, maxEventSeconds: 14400, minimumRunSeconds: 1800}
  creditPerGpuHour: "0.60"
  stopCostUsd: "0.40"
---
apiVersion: ampacity.dev/v1alpha1
kind: ComputeLease
metadata: {name: llm, namespace: tenant-a}
spec:
  className: flex
  gpus: 64
  term: {start: "2024-07-01T00:00:00Z", end: "2024-10-01T00:00:00Z"}
  maxPricePerGpuHour: "2.10"
"#;

fn spec(seed: u64, mishaps: Mishaps) -> WorldSpec {
    let schemas = Schemas::new().unwrap();
    WorldSpec {
        seed,
        start: Time::seconds(1_719_835_200),
        objects: crate::api::manifest::read("site.yaml", SITE, &schemas).unwrap(),
        folder: ".".into(),
        prices: None::<Series>,
        hashprice: None,
        script: Vec::new(),
        mishaps,
        weather: Weather::TEXAS_SUMMER,
        rates: Rates::NONE,
    }
}

/// Runs a world for some virtual minutes.
fn run(world: &mut World, minutes: u32) {
    for _ in 0..minutes * 60 {
        world.advance();
    }
}

#[test]
fn a_cold_site_comes_up_within_its_limits_and_its_lease_runs() {
    let mut world = World::new(spec(1, Mishaps::None)).unwrap();
    run(&mut world, 30);
    let frame = world.frame();
    let lease = &frame.leases["tenant-a/llm"];
    assert_eq!((lease.state.as_str(), lease.granted_watts), ("Running", 32_000));
    assert!(frame.nodes["small/hall-a"].true_watts > 600_000, "{:?}", frame.nodes);
    assert_eq!(world.seconds_over_limit(), 0.0);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| {
        let mut world = World::new(spec(seed, Mishaps::Chaos)).unwrap();
        run(&mut world, 20);
        serde_json::to_string(&world.frame()).unwrap()
    };
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}

#[test]
fn chaos_passes_no_limit() {
    for seed in 0..4 {
        let mut world = World::new(spec(seed, Mishaps::Chaos)).unwrap();
        run(&mut world, 60);
        assert_eq!((seed, world.seconds_over_limit()), (seed, 0.0));
    }
}

#[test]
fn what_a_container_without_fans_leaves_unused_goes_to_others_and_comes_back_when_it_has_cooled() {
    let wide = SITE.replace("limitWatts: 900k", "limitWatts: 1200k").replace("limitWatts: 700k", "limitWatts: 900k");
    let objects = crate::api::manifest::read("site.yaml", &wide, &Schemas::new().unwrap()).unwrap();
    let mut world = World::new(WorldSpec { objects, ..spec(1, Mishaps::None) }).unwrap();
    run(&mut world, 30);
    let until = world.now.after(Span::minutes(240));
    let now = world.now;
    world.plant.lock().unwrap().inject(Fault::FansStop { load: 0, until }, now);
    let at = |world: &mut World| {
        let load = world.frame().loads.remove("old-0").unwrap();
        (load.setpoint_watts, load.ceiling_watts, load.reason)
    };
    let (before, ..) = at(&mut world);
    let (trimmed, ceiling, why) = (0..60).map(|_| (run(&mut world, 1), at(&mut world)).1).min().unwrap();
    assert!(trimmed < before / 4, "{trimmed} of {before}");
    assert!(ceiling.is_some_and(|ceiling| ceiling <= trimmed), "{ceiling:?}");
    assert!(why.contains("unused since"), "{why}");
    // It asks by the clock, and is lowered again as long as its fans stand; once they run it keeps what it is given.
    run(&mut world, 330);
    let (back, _, why) = at(&mut world);
    assert!(back > before * 9 / 10, "{back} of {before}: {why}");
    assert_eq!(world.seconds_over_limit(), 0.0);
}
