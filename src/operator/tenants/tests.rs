//! Leases and Jobs over the in-memory API server: what is written before what is done.

use crate::api::{CHECKPOINT_REQUEST_ANNOTATION, NOTICE_DEADLINE_ANNOTATION, SUSPEND_REASON_ANNOTATION};
use crate::operator::report::tests::LEASE;
use crate::operator::report::tests::world::World;
use crate::store::Kind;
use serde_json::json;
use std::collections::BTreeMap;

/// A site whose lease may begin, and its Job.
fn leased() -> World {
    let mut world = World::new("");
    world.apply(LEASE);
    world.job("train", "llm", true);
    world
}

#[test]
fn a_job_runs_only_once_its_grant_is_written_down() {
    let mut world = leased();
    world.store.leases_refused = true;
    world.run(120);
    assert!(world.store.tenancy.iter().all(|write| write == "llm is written"), "{:?}", world.store.tenancy);
    assert!(!world.job_runs("train"));
    world.store.leases_refused = false;
    world.run(10);
    assert!(world.job_runs("train"));
}

#[test]
fn a_leader_that_takes_over_confirms_a_lease_before_it_touches_its_jobs() {
    let mut world = leased();
    world.run(120);
    assert!(world.job_runs("train"));
    world.take_over();
    world.run(30);
    assert_eq!(world.store.tenancy, [""; 0], "what stands is right: nothing is written");
    world.take_over();
    world.flip("train", false);
    world.flip("train", true);
    world.run(30);
    assert_eq!(world.store.tenancy, ["llm is written", "train runs"]);
}

#[test]
fn a_leader_whose_confirmation_is_refused_leaves_the_jobs_alone() {
    let mut world = leased();
    world.run(120);
    world.take_over();
    world.store.leases_refused = true;
    world.flip("train", true);
    world.run(30);
    assert!(!world.store.tenancy.is_empty() && !world.job_runs("train"), "{:?}", world.store.tenancy);
}

#[test]
fn a_job_without_a_lease_does_not_run() {
    let mut world = leased();
    world.run(120);
    world.job("stray", "nobody", false);
    world.delete_lease("llm");
    world.run(5);
    assert_eq!((world.job_runs("stray"), world.job_runs("train")), (false, false));
    world.flip("stray", false);
    world.run(5);
    assert!(!world.job_runs("stray"));
}

#[test]
fn a_job_whose_lease_has_ended_does_not_run_again() {
    let mut world = World::new("");
    world.apply(&LEASE.replace("2026-12-02T12:00:00Z", "2026-12-01T12:03:00Z"));
    world.job("train", "llm", true);
    world.run(120);
    assert!(world.job_runs("train"));
    world.run(120);
    assert!(!world.job_runs("train"));
    world.flip("train", false);
    world.run(5);
    assert!(!world.job_runs("train"));
}

pub(super) const SPOT: &str = r#"
kind: LeaseClass
metadata: {name: spot}
spec:
  delivery: Jobs
  pool: h100
  pricePerGpuHour: "0.40"
  service: Flexible
  noticeSeconds: 60
  curtailable: {hoursPerMonth: 40, eventsPerDay: 9, maxEventSeconds: 3600, minimumRunSeconds: 10}
"#;

#[test]
fn a_notice_stands_on_the_jobs_pods_for_as_long_as_it_runs() {
    let mut world = World::new(SPOT);
    world.apply(&LEASE.replace("className: flex", "className: spot"));
    world.job("train", "llm", true);
    world.run(120);
    world.start_pod("train-0", "gpu-0");
    world.run(5);
    assert_eq!(world.noted("train-0"), BTreeMap::new());
    let wait = |world: &mut World, noticed: bool| {
        for _ in 0..600 {
            world.prices.energy = Some((if noticed { 300_000 } else { 4_000 }, world.now));
            world.run(1);
            if world.noted("train-0").is_empty() != noticed {
                return;
            }
        }
        panic!("{:?}", world.feed);
    };
    wait(&mut world, true);
    let noted = world.noted("train-0");
    let names: Vec<&str> = noted.keys().map(String::as_str).collect();
    assert_eq!(names, [CHECKPOINT_REQUEST_ANNOTATION, NOTICE_DEADLINE_ANNOTATION]);
    assert_eq!(noted, world.told_job("train"), "the pod is told what its Job is");
    wait(&mut world, false);
    assert!(world.job_runs("train") && world.told_job("train").is_empty());
}

#[test]
fn what_a_lockout_leaves_a_lease_short_of_is_written_once_outlives_its_leader_and_ends_with_the_hold() {
    let mut world = leased();
    world.run(120);
    let account = |world: &World| {
        let status = world.lease("llm");
        let said = |field: &str| status["account"][field].clone();
        let ready = status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Ready").unwrap();
        json!([
            said("missingWatts"),
            said("withheldWatts"),
            said("curtailedSeconds"),
            said("eventStart"),
            ready["reason"]
        ])
    };
    let (whole, held) = (json!([null, "0", 0, null, "Granted"]), json!(["4k", "4k", 0, null, "LockedOut"]));
    assert_eq!(account(&world), whole);
    world.apply(
        "{kind: Lockout, metadata: {name: psu}, \
         spec: {target: {budget: west, load: h100-gpu-0}, holder: j.doe, reason: psu}}",
    );
    world.run(60);
    assert_eq!(account(&world), held);
    assert_eq!(world.lease("llm")["grant"]["watts"], "4k");
    world.store.tenancy.clear();
    world.run(240);
    assert_eq!(world.store.tenancy, [""; 0], "nothing is written while nothing changes");
    world.take_over();
    world.run(600);
    assert_eq!((account(&world), world.store.tenancy.len()), (held, 0), "the successor reads what stood");
    world.remove(Kind::Lockout, "psu");
    world.run(30);
    assert_eq!(account(&world), whole);
    // 4 kW for 15 minutes.
    let withheld = world.lease("llm")["account"]["curtailedWattHours"].as_i64().unwrap();
    assert!((995..=1_005).contains(&withheld), "{withheld} Wh");
}

#[test]
fn a_jobs_pods_run_on_the_pool_of_its_lease_whatever_its_template_asks_for() {
    let mut world = leased();
    world.select("train", "pool", "b200");
    world.select("train", "zone", "a");
    world.run(120);
    let selector = |pool: &str| BTreeMap::from([("pool", pool), ("zone", "a")].map(|(k, v)| (k.into(), v.into())));
    assert_eq!((world.job_runs("train"), world.node_selector("train")), (true, selector("h100")));
    // What a Job that has started is made of is settled, however it came to be so: it goes on when it may.
    world.select("train", "pool", "b200");
    world.flip("train", true);
    world.run(5);
    assert_eq!((world.job_runs("train"), world.node_selector("train")), (true, selector("b200")));
}

#[test]
fn a_job_whose_pods_may_outlast_the_notice_does_not_run_and_its_lease_says_why() {
    let mut world = World::new(SPOT);
    world.apply(&LEASE.replace("className: flex", "className: spot"));
    world.job("train", "llm", true);
    world.grace("train", 61);
    world.run(120);
    let said = |world: &World| {
        let conditions = world.lease("llm")["conditions"].as_array().unwrap().clone();
        conditions.iter().find(|c| c["type"] == "GraceExceedsDeadline").map(|c| c["message"].clone())
    };
    let late = "Job train does not run: its terminationGracePeriodSeconds is 61: at most the 60 s of notice; make \
                another Job";
    assert_eq!((world.job_runs("train"), said(&world)), (false, Some(json!(late))));
    assert_eq!(world.told_job("train"), BTreeMap::from([(SUSPEND_REASON_ANNOTATION.into(), "GraceTooLong".into())]));
    world.store.tenancy.clear();
    world.run(60);
    assert_eq!(world.store.tenancy, [""; 0], "it is said once");
    world.flip("train", false);
    world.run(2);
    assert!(!world.job_runs("train"), "whoever else starts it");
    world.grace("train", 60);
    world.run(5);
    assert_eq!((world.job_runs("train"), said(&world)), (true, None));
}
