//! Whole sites over the in-memory API server: what stands in the statuses, and when it is written.

mod asked;
pub(in crate::operator) mod parts;
pub(in crate::operator) mod world;

use crate::store::Kind;
use parts::SITE;
use serde_json::json;
use world::World;

pub(in crate::operator) const LEASE: &str = r#"
kind: ComputeLease
metadata: {name: llm, namespace: tenant-a}
spec:
  className: flex
  gpus: 8
  term: {start: "2026-12-01T12:01:00Z", end: "2026-12-02T12:00:00Z"}
  maxPricePerGpuHour: "2.10"
"#;

#[test]
fn a_site_that_runs_says_so_in_every_kind() {
    let mut world = World::new(LEASE);
    world.run(120);
    let condition = |type_: &str, reason: &str, message: &str, second: i64| {
        json!({
            "type": type_, "status": "True", "reason": reason, "message": message, "observedGeneration": 1,
            "lastTransitionTime": format!("2026-12-01T12:00:0{second}Z"),
        })
    };
    let accepted = condition("Accepted", "Valid", "the spec makes sense", 3);
    let ready = |message| condition("Ready", "Operating", message, 5);
    let value = |value: &str| json!({"value": value, "time": "2026-12-01T12:00:00Z", "knownTime": "2026-12-01T12:00:00Z", "stale": false});
    let node = |name: &str, limit: &str, headroom: &str| json!({"name": name, "limitWatts": limit, "boundWatts": "936200", "headroomWatts": headroom});
    let budget = json!({
        "observedGeneration": 1,
        "conditions": [accepted, ready("4 loads under orders")],
        "leader": {"id": "ampacity-0", "epoch": 1_796_126_401, "namespace": "ampacity"},
        "nameplates": [{"feeder": "hall-a", "nameplateWatts": "940200"}],
        "nodes": [node("west", "10M", "9063800"), node("hall-a", "6M", "5063800")],
        "energyPrice": value("40.00"),
        "hashprice": value("60.00"),
        "split": {"miningWatts": "930k", "leasedWatts": "6200"},
    });
    assert_eq!(world.status(Kind::PowerBudget, "west"), budget);
    let fleet = json!({
        "observedGeneration": 1,
        "conditions": [accepted, ready("3 containers under orders")],
        "loads": 3, "agents": 3, "setpointWatts": "930k", "measuredWatts": "930k", "breakEvenPerMwh": "94.68",
    });
    assert_eq!(world.status(Kind::MiningFleet, "s19j"), fleet);
    let pool = json!({
        "observedGeneration": 1,
        "conditions": [accepted, ready("1 node under orders")],
        "nodes": 1, "gpus": 8, "grantedGpus": 8, "setpointWatts": "6200", "measuredWatts": "6200",
    });
    assert_eq!(world.status(Kind::GpuPool, "h100"), pool);
    let class = json!({
        "observedGeneration": 1,
        "conditions": [condition("Accepted", "Valid", "leases are offered under it", 3)],
        "leases": 1, "freeGpus": 0,
    });
    assert_eq!(world.status(Kind::LeaseClass, "flex"), class);
}

#[test]
fn nothing_is_written_or_told_while_nothing_changes() {
    let mut world = World::new(LEASE);
    world.run(120);
    drop((world.told(), std::mem::take(&mut world.feed)));
    let before = world.written();
    assert!(before > 4, "{before}");
    world.run(60);
    assert_eq!((world.written(), world.told(), world.feed), (before, Vec::new(), Vec::new()));
}

#[test]
fn what_changes_every_second_is_written_every_ten() {
    let mut world = World::new("");
    world.run(60);
    let before = world.written();
    for _ in 0..60 {
        world.prices.energy = Some((4_000, world.now));
        world.run(1);
    }
    assert_eq!(world.written() - before, 6);
}

#[test]
fn a_silent_agent_is_told_of_once_and_stands_in_the_conditions_until_it_is_back() {
    let mut world = World::new("");
    world.run(120);
    drop((world.told(), std::mem::take(&mut world.feed)));
    let (ready, lost) =
        (world.since(Kind::MiningFleet, "s19j", "Ready"), "the agent of s19j-1 is silent since 12:02 UTC");
    world.silent.insert("s19j-1".into());
    world.run(60);
    let silent = "Silent: 1 of 3 agents silent: s19j-1";
    assert_eq!(
        world.conditions(Kind::MiningFleet, "s19j"),
        [
            "Accepted=True Valid: the spec makes sense".to_owned(),
            format!("AgentLost=True {silent}"),
            format!("Ready=False {silent}"),
        ]
    );
    assert_eq!(
        world.conditions(Kind::PowerBudget, "west"),
        [
            "Accepted=True Valid: the spec makes sense",
            "AgentLost=True Silent: 1 silent: s19j-1",
            "Ready=True Operating: 4 loads under orders",
        ]
    );
    assert_eq!(world.told(), [format!("s19j !AgentLost: {lost}: counts 310 kW")]);
    let moved = world.since(Kind::MiningFleet, "s19j", "Ready");
    assert!(moved > ready, "the transition time moves with the status");
    world.silent.insert("s19j-2".into());
    world.run(60);
    assert_eq!(world.since(Kind::MiningFleet, "s19j", "Ready"), moved, "and not with the message");
    world.silent.clear();
    drop(world.told());
    world.run(20);
    assert_eq!(world.told(), ["s19j AgentBack: the agent of s19j-1 is back; the same of s19j-2"]);
    let ready = ["Accepted=True Valid: the spec makes sense", "Ready=True Operating: 3 containers under orders"];
    assert_eq!(world.conditions(Kind::MiningFleet, "s19j"), ready);
}

#[test]
fn a_price_above_what_miners_earn_is_one_line_and_no_event() {
    let mut world = World::new("");
    world.run(120);
    drop((world.told(), std::mem::take(&mut world.feed)));
    world.prices.energy = Some((12_000, world.now));
    world.run(30);
    assert_eq!(
        std::mem::take(&mut world.feed),
        [
            "price: power costs 120.00 USD/MWh: s19j earns 94.69 with it",
            "decision: s19j-0…2 down to 20.0 kW: worth 94.69 USD/MWh, power costs 120.00",
        ]
    );
    world.run(1_000);
    let stale = "energy price last for 12:02 UTC: nothing moves for economics";
    assert_eq!(std::mem::take(&mut world.feed), [format!("price: {stale}")]);
    assert_eq!(world.told(), [format!("west !PriceStale: {stale}")]);
    assert!(world.conditions(Kind::PowerBudget, "west").contains(&format!("PriceStale=True Stale: {stale}")));
    world.prices.energy = Some((4_000, world.now));
    world.run(30);
    assert_eq!(world.feed, ["price: prices are fresh again", "decision: s19j-0…2 up to 310 kW: has all it can use"]);
}

#[test]
fn what_names_nothing_that_exists_is_told_what_does() {
    let mut world = World::new(ASKED);
    world.apply(LOST);
    world.run(30);
    let fleet = "spec.feeder: \"hall-z\" does not exist; there is west, hall-a";
    let budget =
        |field: &str| format!("Accepted=False BudgetNotFound: {field}: \"east\" does not exist; there is west");
    assert_eq!(
        world.conditions(Kind::MiningFleet, "lost"),
        [format!("Accepted=False FeederNotFound: {fleet}"), format!("Ready=False FeederNotFound: {fleet}")]
    );
    assert_eq!(world.conditions(Kind::GpuPool, "lost"), [budget("spec.budget")]);
    assert_eq!(world.conditions(Kind::GridEvent, "elsewhere"), [budget("spec.target.budget")]);
    assert_eq!(
        world.conditions(Kind::LeaseClass, "lost"),
        ["Accepted=False PoolNotFound: spec.pool: \"b200\" does not exist; there is h100, lost"]
    );
    let load = "spec.target.load: \"s19j-9\" does not exist; there is s19j-0, s19j-1, s19j-2, h100-gpu-0";
    assert_eq!(world.conditions(Kind::Lockout, "nobody"), [format!("Accepted=False LoadNotFound: {load}")]);
    let before = world.written();
    world.run(30);
    assert_eq!(world.written(), before, "once is enough");
}

#[test]
fn a_budget_that_becomes_senseless_keeps_its_nameplates_and_says_what_is_wrong() {
    let mut world = World::new("");
    world.run(60);
    let nameplates = world.status(Kind::PowerBudget, "west")["nameplates"].clone();
    world.apply(&SITE.replace("[{name: hall-a, limitWatts: 6M}]", "[{name: hall-a, limitWatts: 6M, parent: x}]"));
    world.run(30);
    let status = world.status(Kind::PowerBudget, "west");
    assert_eq!((&status["nameplates"], &status["observedGeneration"]), (&nameplates, &json!(2)));
    let accepted = world.conditions(Kind::PowerBudget, "west").swap_remove(0);
    assert!(accepted.starts_with("Accepted=False Invalid: "), "{accepted}");
    let before = world.written();
    world.run(30);
    assert_eq!(world.written(), before);
}

#[test]
fn a_lease_is_told_of_as_it_is_granted() {
    let mut world = World::new("");
    world.run(30);
    drop((world.told(), std::mem::take(&mut world.feed)));
    world.apply(LEASE);
    world.run(60);
    assert_eq!(world.feed, ["lease: tenant-a/llm runs at 4.00 kW"]);
    assert_eq!(world.told(), ["llm Granted: tenant-a/llm runs at 4.00 kW"]);
}

#[test]
fn shadow_says_what_it_would_decide_and_that_it_orders_nothing() {
    let mut world = World::new("");
    world.apply(&SITE.replace("mode: Active", "mode: Shadow"));
    world.run(60);
    let ready = world.conditions(Kind::PowerBudget, "west").into_iter().find(|c| c.starts_with("Ready"));
    assert_eq!(ready.as_deref(), Some("Ready=True Shadow: decides and reports; orders nothing"));
}

const LOST: &str = r#"
kind: MiningFleet
metadata: {name: lost}
spec:
  budget: west
  feeder: hall-z
  containers: 1
  minersPerContainer: 1
  model: S19j Pro
  curve: [{watts: 3000, gigahashPerSecond: 104000}]
  overheadWatts: 0
  thermalFloorWatts: 0
---
kind: GpuPool
metadata: {name: lost}
spec:
  budget: east
  feeder: hall-a
  nodeLabels: {pool: lost}
  gpusPerNode: 8
  minCapWatts: 200
  maxCapWatts: 700
  overheadWatts: 1k
---
kind: LeaseClass
metadata: {name: lost}
spec: {delivery: Jobs, pool: b200, pricePerGpuHour: "2.00", service: Firm}
"#;

const ASKED: &str = r#"
kind: GridEvent
metadata: {name: curtail}
spec: {target: {budget: west}, limitWatts: 500k, owner: utility, reason: heat, responseSeconds: 60, end: "2026-12-01T12:15:00Z"}
---
kind: GridEvent
metadata: {name: elsewhere}
spec: {target: {budget: east}, limitWatts: 500k, owner: utility, reason: heat}
---
kind: Lockout
metadata: {name: pump}
spec: {target: {budget: west, load: s19j-0}, holder: j.doe, reason: pump}
---
kind: Lockout
metadata: {name: nobody}
spec: {target: {budget: west, load: s19j-9}, holder: j.doe, reason: pump}
"#;
