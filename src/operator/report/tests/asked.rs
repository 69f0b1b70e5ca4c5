//! What people and utilities ask of a site: events, obligations, lockouts.

use super::world::World;
use super::*;

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
        [
            "Accepted=True Valid: the target exists; held by j.doe since 12:02 UTC",
            "Met=True Proved: proved at or under 0 W; never proof of isolation"
        ]
    );
    assert_eq!(
        world.told(),
        [
            "curtail InForce: grid event curtail: west under 500 kW until 12:15 UTC",
            "pump LockedOut: pump held by j.doe since 12:02 UTC: proved at or under 0 W",
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
    let short = "220 kW of 300 kW missing: held by j.doe since 12:02 (lockout s19j-0)";
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
