//! Whole sites over the in-memory API server: what stands in the statuses, and when it is written.

pub(in crate::operator) mod world;

use crate::store::Kind;
use serde_json::json;
use world::{SITE, World};

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
    let accepted = condition("Accepted", "Valid", "the spec makes sense", 2);
    let ready = |message| condition("Ready", "Operating", message, 4);
    let value = |value: &str| json!({"value": value, "time": "2026-12-01T12:00:00Z", "knownTime": "2026-12-01T12:00:00Z", "stale": false});
    let node = |name: &str, limit: &str, headroom: &str| json!({"name": name, "limitWatts": limit, "boundWatts": "936200", "headroomWatts": headroom});
    let budget = json!({
        "observedGeneration": 1,
        "conditions": [accepted, ready("4 loads under orders")],
        "leader": {"id": "ampacity-0", "epoch": 1_796_126_401},
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
        "conditions": [condition("Accepted", "Valid", "leases are offered under it", 2)],
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
fn a_grid_event_and_a_lockout_say_when_they_are_met() {
    let mut world = World::new("");
    world.run(120);
    drop(world.told());
    world.apply(ASKED);
    world.run(20);
    let event = world.status(Kind::GridEvent, "curtail");
    assert_eq!(
        [&event["seenTime"], &event["metTime"], &event["boundWatts"]],
        ["2026-12-01T12:02:01Z", "2026-12-01T12:02:02Z", "500k"]
    );
    assert_eq!(
        world.conditions(Kind::GridEvent, "curtail"),
        [
            "Accepted=True Valid: the target exists",
            "Active=True InForce: in force until 12:15 UTC",
            "Met=True UnderLimit: bound of 500 kW is within 500 kW",
        ]
    );
    assert_eq!(
        world.conditions(Kind::Lockout, "pump"),
        ["Accepted=True Valid: the target exists", "Met=True Proved: proved at or under 0 W; never proof of isolation"]
    );
    assert_eq!(
        world.told(),
        [
            "curtail InForce: grid event curtail: west under 500 kW until 12:15 UTC",
            "pump LockedOut: pump (j.doe) in force: proved at or under 0 W",
            "curtail Met: grid event curtail met: bound of 500 kW is within 500 kW",
        ]
    );
}

#[test]
fn a_grid_event_that_agents_do_not_follow_is_late() {
    let mut world = World::new("");
    world.run(120);
    drop(world.told());
    world.silent.extend(["s19j-0", "s19j-1", "s19j-2"].map(String::from));
    world.apply(ASKED);
    world.run(20);
    let met = "Met=False Shedding: bound of 936 kW passes 500 kW; due at 12:03 UTC";
    let conditions = world.conditions(Kind::GridEvent, "curtail");
    assert_eq!(conditions.iter().map(|c| c.as_str()).collect::<Vec<_>>()[2..], [met], "it has time yet");
    assert_eq!(world.told(), ["curtail InForce: grid event curtail: west under 500 kW until 12:15 UTC"]);
    world.run(60);
    assert_eq!(
        world.conditions(Kind::GridEvent, "curtail")[2..],
        ["Late=True ResponseOverrun: was to be under 500 kW by 12:03 UTC".to_owned(), met.to_owned()]
    );
    let told = world.told();
    assert!(
        told.contains(&"curtail !Late: grid event curtail is late: bound of 936 kW passes 500 kW".into()),
        "{told:?}"
    );
    let over = world.conditions(Kind::PowerBudget, "west");
    assert!(over.iter().any(|c| c.starts_with("OverLimit=True ")), "{over:?}");
}

#[test]
fn an_obligation_keeps_miners_on_and_says_what_draws_and_what_is_missing() {
    let mut world = World::new(OBLIGED);
    world.run(120);
    drop((world.told(), std::mem::take(&mut world.feed)));
    world.prices.energy = Some((12_000, world.now));
    world.run(20);
    let status = world.status(Kind::GridEvent, "rrs");
    assert_eq!([&status["drawnWatts"], &status["missingWatts"]], ["315k", "0"]);
    let met = "Met=True Held: 315 kW draw and can be shed, 300 kW are to, at ";
    let conditions = world.conditions(Kind::GridEvent, "rrs");
    assert_eq!(
        conditions[..2],
        ["Accepted=True Valid: the target exists", "Active=True InForce: in force until 12:15 UTC"]
    );
    assert!(conditions[2].starts_with(met) && conditions.len() == 3, "{conditions:?}");
    let kept = "sold reserve rrs until 12:15 keeps it on, losing ";
    assert!(world.feed.iter().any(|line| line.contains(kept)), "{:?}", world.feed);
    drop(world.told());
    // A technician takes the containers away: only 80 kW of one are left.
    world.apply(&["s19j-0", "s19j-1"].map(lockout).join("---"));
    world.apply(&lockout("s19j-2").replace("reason:", "limitWatts: 100k, reason:"));
    world.run(20);
    let short = "220 kW of 300 kW missing: held by lockout s19j-0 (j.doe)";
    assert_eq!(world.conditions(Kind::GridEvent, "rrs")[2], format!("Met=False Short: {short}"));
    assert!(world.told().contains(&format!("rrs !ReserveShort: grid event rrs is short: {short}")));
    world.run(13 * 60);
    assert_eq!(world.status(Kind::GridEvent, "rrs").get("missingWatts"), None);
    assert!(world.conditions(Kind::GridEvent, "rrs")[1].starts_with("Active=False Over: "));
}

#[test]
fn an_obligation_that_is_not_met_in_its_time_is_late() {
    let mut world = World::new("");
    world.run(120);
    world.silent.extend(["s19j-0", "s19j-1", "s19j-2"].map(String::from));
    world.run(30);
    world.apply(OBLIGED);
    world.run(50);
    // Who is silent draws nothing that anybody could count on.
    let conditions = world.conditions(Kind::GridEvent, "rrs");
    assert!(
        conditions[2].starts_with("Met=False Raising: 300 kW of 300 kW missing: as much was told"),
        "{conditions:?}"
    );
    world.run(60);
    let late = "Late=True ResponseOverrun: 300 kW were to draw by 12:03 UTC";
    assert!(world.conditions(Kind::GridEvent, "rrs").contains(&late.to_owned()));
}

#[test]
fn no_job_runs_on_a_gpu_node_that_a_person_holds_and_the_node_is_given_back() {
    let mut world = World::new("");
    world.run(60);
    world.start_pod("train-0", "gpu-0");
    world.start_pod("train-1", "gpu-9");
    world.run(10);
    assert_eq!(world.cordon("gpu-0"), (false, false));
    world.apply(&lockout("h100-gpu-0"));
    world.run(10);
    assert_eq!((world.cordon("gpu-0"), world.terminating("train-0")), ((true, true), true));
    assert!(!world.terminating("train-1"), "it is on another node");
    world.remove(Kind::Lockout, "h100-gpu-0");
    world.run(10);
    assert_eq!(world.cordon("gpu-0"), (false, false));
    // What leaves room for the lowest caps stops nothing, and who cordoned a node themselves keeps it so.
    world.apply(&lockout("h100-gpu-0").replace("reason:", "limitWatts: 6200, reason:"));
    world.run(10);
    assert_eq!(world.cordon("gpu-0"), (false, false));
    world.cordon_by_hand("gpu-0");
    world.run(10);
    assert_eq!(world.cordon("gpu-0"), (true, false));
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

const OBLIGED: &str = r#"
kind: GridEvent
metadata: {name: rrs}
spec: {target: {budget: west, kind: Miner}, type: Obligation, minimumWatts: 300k, owner: qse, reason: reserve, responseSeconds: 60, end: "2026-12-01T12:15:00Z"}
"#;

fn lockout(load: &str) -> String {
    format!(
        "\nkind: Lockout\nmetadata: {{name: {load}}}\nspec: {{target: {{budget: west, load: {load}}}, holder: j.doe, reason: fans}}\n"
    )
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
