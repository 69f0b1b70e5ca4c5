//! How long virtual time takes: a whole site in one thread, beside its plant alone.
//!
//! The built-in site (29 loads), the same with 20 loads, and a site of 1,000 loads: twenty halls of 49 containers with
//! 84 miners each, and twenty GPU nodes. Each is run for some virtual minutes from a cold start at six in the morning,
//! a tick a second, as `ampacity demo` runs it: API server, two operators, an agent beside each load, the judge and
//! the frame that is shown. The baseline is the same plant, woken once and left alone: what is above it is the control
//! loop's.
//!
//! A day of the built-in site is `ampacity demo --speed max --output json`; `time -v` says its memory.

use ampacity::api::check::Schemas;
use ampacity::api::manifest::{self, Object};
use ampacity::device::Devices;
use ampacity::sim::plant::faults::Rates;
use ampacity::sim::plant::{LoadSpec, Plant, PlantPort, PlantSpec};
use ampacity::sim::spec::{Mishaps, WorldSpec};
use ampacity::sim::world::World;
use ampacity::sim::{build, day};
use ampacity_core::guard::proof::{Ask, DeviceCommand, Limiter};
use ampacity_core::tree::{NodeId, Tree};
use ampacity_core::units::{Span, Time, Watts};
use anyhow::{Context, Result, ensure};
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// When every run begins: six in the morning, as prices climb.
const START: Time = day::MIDNIGHT.after(Span::minutes(6 * 60));
const SEED: u64 = 1;

/// One site to run.
struct Site {
    name: &'static str,
    loads: usize,
    minutes: i64,
    objects: Vec<Object>,
}

fn sites(schemas: &Schemas) -> Result<[Site; 3]> {
    let read = |text: &str| manifest::read("bench", text, schemas).context("the site's manifests");
    // Fifteen GPU nodes beside the five containers: the same halls, leases and prices with twenty loads.
    let twenty = day::SITE
        .replacen("demo-nodes: \"12\"", "demo-nodes: \"8\"", 1)
        .replacen("demo-nodes: \"12\"", "demo-nodes: \"7\"", 1)
        .replace("gpus: 64", "gpus: 40");
    let thousand = thousand().replace("\nkind:", "\napiVersion: ampacity.dev/v1alpha1\nkind:");
    Ok([
        Site { name: "20 loads, an hour", loads: 20, minutes: 60, objects: read(&twenty)? },
        Site { name: "built-in, 29 loads, an hour", loads: 29, minutes: 60, objects: read(day::SITE)? },
        Site { name: "1,000 loads, ten minutes", loads: 1_000, minutes: 10, objects: read(&thousand)? },
    ])
}

/// Twenty halls of 49 containers with a meter each, and a row of twenty GPU nodes under one flexible lease.
fn thousand() -> String {
    let halls = || (0..20).map(|hall| format!("hall-{hall:02}"));
    let meter = r#"{source: {static: {watts: 0}}, staleSeconds: 60, errorPercent: "0.5"}"#;
    let feeders: String =
        halls().map(|hall| format!("  - {{name: {hall}, limitWatts: 15M, meter: {meter}}}\n")).collect();
    let budget = format!(
        r#"
kind: PowerBudget
metadata: {{name: thousand}}
spec:
  limitWatts: 280M
  reserveWatts: 2M
  lossPercent: "1.0"
  feeders:
{feeders}
  - {{name: row, limitWatts: 300k}}
  ramp: {{upWattsPerMinute: 40M, economicDownWattsPerMinute: 40M}}
  energyPrice: {{source: {{static: {{value: "28.00"}}}}, adderPerMwh: "4.50"}}
  hashprice: {{source: {{static: {{value: "45.00"}}}}, poolFeePercent: "2.0"}}
  policy: {{mode: Active}}
  meter: {meter}
"#
    );
    let fleet = |hall: String| {
        format!(
            r#"---
kind: MiningFleet
metadata: {{name: fleet-{hall}}}
spec:
  budget: thousand
  feeder: {hall}
  containers: 49
  minersPerContainer: 84
  model: S19j Pro
  curve:
  - {{watts: 1626, gigahashPerSecond: 62400}}
  - {{watts: 2296, gigahashPerSecond: 83200}}
  - {{watts: 3068, gigahashPerSecond: 104000}}
  overheadWatts: 9k
  nameplateWattsPerContainer: 290k
  thermalFloorWatts: 30k
"#
        )
    };
    let fleets: String = halls().map(fleet).collect();
    let gpus = r#"---
kind: GpuPool
metadata: {name: h100, annotations: {ampacity.dev/demo-nodes: "20"}}
spec: {budget: thousand, feeder: row, nodeLabels: {pool: h100}, gpusPerNode: 8, minCapWatts: 200, maxCapWatts: 700, overheadWatts: 4600}
---
kind: LeaseClass
metadata: {name: flex}
spec:
  delivery: Jobs
  pool: h100
  pricePerGpuHour: "0.42"
  service: Flexible
  noticeSeconds: 600
  curtailable: {hoursPerMonth: 40, eventsPerDay: 3, maxEventSeconds: 14400, minimumRunSeconds: 1800}
  creditPerGpuHour: "0.05"
---
kind: ComputeLease
metadata: {name: llm, namespace: tenant-a}
spec:
  className: flex
  gpus: 80
  term: {start: "2026-07-15T00:00:00Z", end: "2026-10-01T00:00:00Z"}
  maxPricePerGpuHour: "0.50"
"#;
    [budget, fleets, gpus.to_owned()].concat()
}

impl Site {
    fn end(&self) -> Time {
        START.after(Span::minutes(self.minutes))
    }

    fn world(&self) -> Result<World> {
        Ok(World::new(WorldSpec {
            seed: SEED,
            start: START,
            objects: self.objects.clone(),
            folder: ".".into(),
            prices: Some(day::prices(day::MIDNIGHT, self.end())),
            hashprice: Some(day::hashprice(day::MIDNIGHT, self.end())),
            script: Vec::new(),
            mishaps: Mishaps::None,
            weather: day::WEATHER,
            rates: Rates::NONE,
        })?)
    }

    /// Its loads as the world makes them, and the tree that they hang on.
    fn loads(&self) -> Result<(Vec<LoadSpec>, Tree)> {
        let budget = self.objects.iter().find_map(|object| match object {
            Object::PowerBudget(budget) => Some(budget),
            _ => None,
        });
        let tree = Tree::try_from(budget.context("no budget")?.as_ref())?;
        let node = |name: &str| tree.find(name).unwrap_or(NodeId::SITE);
        let mut loads = Vec::new();
        for object in &self.objects {
            match object {
                Object::MiningFleet(fleet) => {
                    let of = |_| build::container(&fleet.spec, node(&fleet.spec.feeder));
                    loads.extend((0..fleet.spec.containers).map(of));
                }
                Object::GpuPool(pool) => {
                    let annotations = pool.metadata.annotations.as_ref();
                    let nodes = annotations.and_then(|a| a.get("ampacity.dev/demo-nodes")?.parse().ok()).unwrap_or(0);
                    loads.extend((0..nodes).map(|_: u32| build::gpu_node(&pool.spec, node(&pool.spec.feeder))));
                }
                _ => {}
            }
        }
        ensure!(loads.len() == self.loads, "{} has {} loads", self.name, loads.len());
        Ok((loads, tree))
    }

    /// Its plant with every miner told once to run at its lowest step.
    fn plant(&self) -> Result<Plant> {
        let (loads, tree) = self.loads()?;
        let spec = PlantSpec {
            seed: SEED,
            weather: day::WEATHER,
            rates: Rates::NONE,
            loads: loads.clone(),
            meters: Vec::new(),
        };
        let shared = Arc::new(Mutex::new(Plant::new(&spec, &tree, START)));
        let wake = Ask::Set { number: 1, limiter: Limiter::Watts(Watts::new(1_626)) };
        for at in 0..loads.len() {
            let mut port = PlantPort::new(shared.clone(), at);
            let devices = 0..port.describe().devices.len();
            let commands: Vec<DeviceCommand> = devices.map(|device| DeviceCommand { device, ask: wake }).collect();
            port.submit(&commands, START);
        }
        let plant = shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(plant)
    }
}

fn run(criterion: &mut Criterion, site: &Site) -> Result<()> {
    let ticks = site.minutes * 60;
    let mut group = criterion.benchmark_group("day");
    group.sample_size(10).warm_up_time(Duration::from_millis(1)).measurement_time(Duration::from_secs(5));
    site.world()?;
    group.bench_function(BenchmarkId::new("site", site.name), |bench| {
        let world = || site.world().ok();
        bench.iter_batched(
            world,
            |world| world.map(|mut world| (0..ticks).map(|_| black_box(world.tick()).loads.len()).sum::<usize>()),
            BatchSize::PerIteration,
        );
    });
    let plant = site.plant()?;
    group.bench_function(BenchmarkId::new("plant alone", site.name), |bench| {
        bench.iter_batched(
            || plant.clone(),
            |mut plant| {
                (1..=ticks).for_each(|second| plant.advance(START.after(Span::seconds(second))));
                plant
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
    Ok(())
}

fn all(criterion: &mut Criterion) {
    let runs = Schemas::new().context("the schemas").and_then(|schemas| sites(&schemas));
    if let Err(error) = runs.and_then(|sites| sites.iter().try_for_each(|site| run(criterion, site))) {
        eprintln!("{error:#}");
        std::process::exit(1);
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
