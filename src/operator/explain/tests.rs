//! Answers over a site in memory, as a person reads them.

use super::*;
use crate::api::manifest;
use crate::operator::report::tests::LEASE;
use crate::operator::report::tests::{parts::SITE, world::World};
use ampacity_core::units::Time;

fn ask(view: &View, subject: &str) -> String {
    let subject = subject.parse::<Subject>().unwrap().in_namespace("tenant-a");
    explanation_text(&explain(view, &subject).unwrap())
}

fn if_applied(view: &View, yaml: &str) -> Result<WhatIf, Trouble> {
    let mut values = manifest::values("test", yaml).unwrap();
    for value in &mut values {
        value["apiVersion"] = "ampacity.dev/v1alpha1".into();
    }
    what_if(view, values)
}

/// A part of the built-in site, changed.
fn part(kind: &str, from: &str, to: &str) -> String {
    let own = SITE.split("---").find(|part| part.contains(&format!("kind: {kind}"))).unwrap();
    assert!(own.contains(from), "{own}");
    own.replace(from, to)
}

const CUT: &str = "{kind: GridEvent, metadata: {name: cut}, spec: {target: {budget: west}, limitWatts: 500k, \
    owner: utility, reason: repair, responseSeconds: 300}}";
const LOCK: &str = "{kind: Lockout, metadata: {name: lock}, spec: {target: {budget: west, load: s19j-1}, holder: j.doe, reason: repair}}";

/// A site with a lease and its Job, three minutes on.
fn settled() -> World {
    let mut world = World::new(LEASE);
    world.job("train", "llm", true);
    world.run(180);
    world
}

fn told(answer: Result<WhatIf, Trouble>) -> String {
    what_if_text(&answer.unwrap())
}

#[test]
fn a_load_that_runs_shows_its_bids_who_would_go_first_and_the_price_that_stops_it() {
    let wanted = "\
load/s19j-0 of west: has all it can use
decided 2026-12-01 12:03:00 UTC by ampacity-0, epoch 1796126401, power at 40.00 USD/MWh

Figures
  setpoint    310 kW  ordered, 1796126401.0
  wanted      310 kW
  bound       310 kW  proved
  ceiling     310 kW  stated for 1796126401.0, proof until Dec 2 15:46
  measured    310 kW  would use more
  nameplate   310 kW
  floor      20.0 kW  drawn whatever power costs
  switched            runs since 12:00

Limits
  node      limit  awarded   bound     room  shadow
  hall-a  6.00 MW   936 kW  936 kW  5.06 MW       -
  west    10.0 MW   936 kW  936 kW  9.06 MW       -

Bids (USD/MWh)
  s19j-0  runs            190 kW  97.19
  s19j-0  runs            100 kW  61.30
  s19j-2  runs, next out  100 kW  61.30

What would change it
  would lose 100 kW once power costs 61.30 USD/MWh
";
    // How many orders it took to get there is not this test's.
    assert_eq!(ask(&settled().view(), "load/s19j-0").replace("6401.1", "6401.0"), wanted);
}

#[test]
fn a_load_stopped_by_price_says_below_which_price_it_comes_back_and_so_it_does() {
    let mut world = settled();
    world.prices.energy = Some((10_000, world.now));
    world.run(60);
    let subject = Subject::Load("s19j-0".into());
    let answer = explain(&world.view(), &subject).unwrap();
    assert_eq!(
        (answer.reason.as_str(), answer.why.as_str()),
        ("BelowPrice", "worth 94.69 USD/MWh, power costs 100.00")
    );
    assert_eq!(answer.changes, ["would get 190 kW more if power cost less than 92.19 USD/MWh"]);
    world.prices.energy = Some((9_218, world.now));
    world.run(60);
    let answer = explain(&world.view(), &subject).unwrap();
    let setpoint = &answer.figures[0];
    assert_eq!((setpoint.name.as_str(), setpoint.watts), ("setpoint", Some(210_000)));
}

#[test]
fn a_refused_lease_says_when_it_would_fit() {
    let mut world = settled();
    world.apply(&LEASE.replace("llm", "more"));
    world.run(10);
    let answer = explain(&world.view(), &"cl/more".parse::<Subject>().unwrap().in_namespace("tenant-a")).unwrap();
    assert_eq!((answer.reason.as_str(), answer.why.as_str()), ("Refused", "refused: nothing is left in that term"));
    assert_eq!(answer.changes, ["all of it would fit from Dec 2 12:00"]);
}

#[test]
fn a_limit_that_is_coming_and_a_lockout_say_what_they_hold_and_what_ends_them() {
    let mut world = settled();
    world.apply(CUT);
    world.apply(LOCK);
    world.run(10);
    let view = world.view();
    let cut = explain(&view, &Subject::Event("cut".into())).unwrap();
    let coming = "west has to keep it from 12:05 and walks down to it before, as late as its ramp allows";
    assert_eq!((cut.reason.as_str(), cut.why.as_str()), ("Coming", coming));
    let lock = explain(&view, &Subject::Lockout("lock".into())).unwrap();
    assert_eq!((lock.reason.as_str(), lock.members[0].setpoint_watts), ("Met", 0));
    assert_eq!(lock.changes[0], "j.doe releases it: kubectl delete lockout lock");
    world.run(300);
    let view = world.view();
    let cut = explain(&view, &Subject::Event("cut".into())).unwrap();
    assert_eq!((cut.reason.as_str(), cut.limits[0].limit_watts), ("Binds", 500_000));
    let load = explain(&view, &Subject::Load("s19j-2".into())).unwrap();
    assert_eq!(load.why, "grid event cut until withdrawn");
    assert_eq!(load.changes[0], "ends when grid event cut is withdrawn");
}

#[test]
fn every_kind_has_an_answer_that_fits_a_hundred_columns() {
    let mut world = settled();
    world.apply(CUT);
    world.apply(LOCK);
    world.run(10);
    let view = world.view();
    let subjects =
        ["load/h100-gpu-0", "cl/llm", "pb/west", "pb/west/hall-a", "mf/s19j", "gp/h100", "ge/cut", "lo/lock"];
    for subject in subjects {
        let text = ask(&view, subject);
        assert!(text.starts_with(&subject.replace("cl/", "cl/tenant-a/")), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }
}

#[test]
fn a_dearer_hour_is_told_with_what_it_costs_and_a_new_lease_with_its_answer() {
    let world = settled();
    let view = world.view();
    let dear = "\
If this were applied at 2026-12-01 12:03:00 UTC (nothing was):
  PowerBudget west changed

Setpoints, where they would go
  s19j-0 and 2 alike  310 kW  ->  20.0 kW  worth 94.69 USD/MWh, power costs 500.00

Money (USD an hour)
  west  50.16  ->  -17.10  difference -67.26
";
    assert_eq!(told(if_applied(&view, &part("PowerBudget", "\"40.00\"", "\"500.00\""))), dear);
    let more = if_applied(&view, &LEASE.replace("llm", "more")).unwrap();
    let refused = Admission {
        lease: "tenant-a/more".into(),
        answer: "Refused".into(),
        why: "refused: nothing is left in that term".into(),
    };
    assert_eq!((more.admissions, more.applied), (vec![refused], vec!["ComputeLease tenant-a/more created".into()]));
    let same = if_applied(&view, LEASE).unwrap();
    assert_eq!(same.applied, ["ComputeLease tenant-a/llm unchanged"]);
    assert_eq!((same.loads, same.leases, same.money), (vec![], vec![], vec![]));
}

#[test]
fn a_lease_that_fits_is_accepted_and_granted_at_once() {
    let mut world = World::new("");
    world.run(120);
    let answer = if_applied(&world.view(), &LEASE.replace("12:01:00", "12:00:00")).unwrap();
    let why = "firm, at 2.00 USD, 4.00 kW granted at once";
    assert_eq!((answer.admissions[0].answer.as_str(), answer.admissions[0].why.as_str()), ("Accepted", why));
    assert_eq!((answer.leases[0].from_watts, answer.leases[0].to_watts), (0, 4_000));
    assert_eq!(answer.money[0].difference_usd_per_hour, "16.00");
}

#[test]
fn a_limit_is_told_as_of_when_it_has_to_be_kept() {
    let answer = if_applied(&settled().view(), CUT).unwrap();
    let note = "what changes is told as of 2026-12-01T12:05:55Z, when cut has to be kept; prices are those of now";
    assert_eq!(answer.notes, [note]);
    let fallen: i64 = answer.loads.iter().map(|c| (c.from_watts.unwrap() - c.to_watts.unwrap()) * c.count as i64).sum();
    // From 936 kW to 500, less the 4 that are kept for the lease's Jobs.
    assert_eq!(fallen, 440_200);
}

#[test]
fn what_cannot_be_applied_is_refused_like_by_the_api_server() {
    let view = settled().view();
    let why = |yaml: &str| if_applied(&view, yaml).unwrap_err().to_string();
    let lease = LEASE.replace("className: flex", "className: other");
    let fixed =
        "ComputeLease llm: spec.className is fixed once the terms are accepted: end this lease and ask for another";
    assert_eq!(why(&lease), fixed);
    assert!(why("{kind: ControllableLoad, metadata: {name: s19j-0}, spec: {}}").contains("the operator alone"));
    assert!(why(&part("PowerBudget", "limitWatts: 10M", "limitWatts: 10000m")).contains("limitWatts"));
    assert!(why("").starts_with("0 objects"));
}

#[test]
fn a_follower_and_a_stranger_get_no_answer() {
    let mut world = settled();
    let unknown = explain(&world.view(), &Subject::Load("nobody".into())).unwrap_err();
    assert_eq!(unknown.to_string(), "load/nobody: no site that is led here has it");
    let feeder = Subject::Place { budget: "west".into(), feeder: Some("hall-z".into()) };
    let unknown = explain(&world.view(), &feeder).unwrap_err();
    assert_eq!(unknown.to_string(), "pb/west/hall-z: no such feeder; west has hall-a");
    world.take_over();
    world.run(3);
    let follows = explain(&world.view(), &Subject::Load("s19j-0".into())).unwrap_err();
    assert_eq!(follows, Trouble::NotLeading(Some("ampacity-0".into())));
    assert_eq!(follows.to_string(), "this operator does not lead: ampacity-0 does");
}

#[test]
fn a_subject_is_named_as_kubectl_names_it() {
    let read = |text: &str| text.parse::<Subject>().map(|subject| subject.to_string());
    for (text, wanted) in [
        ("load/a-0", "load/a-0"),
        ("ControllableLoads.ampacity.dev/a-0", "load/a-0"),
        ("cl/tenant-a/llm", "cl/tenant-a/llm"),
        ("pb/west/hall-a", "pb/west/hall-a"),
        ("lockout/x", "lo/x"),
    ] {
        assert_eq!(read(text), Ok(wanted.to_owned()));
    }
    assert_eq!("cl/llm".parse::<Subject>().unwrap().in_namespace("t"), "cl/t/llm".parse().unwrap());
    for wrong in ["", "load", "load/", "load/a/b", "pod/a", "pb/a/b/c", "cl//a", "load/a b", "load/../b?x"] {
        assert_eq!(read(wrong), Err(SubjectError(wrong.into())));
    }
}

#[test]
fn the_desk_copies_once_for_all_who_wait_and_turns_more_away() {
    let view = settled().view();
    let desk = Desk::default();
    let mut waiting: Vec<_> = std::iter::from_fn(|| desk.ask()).collect();
    assert_eq!(waiting.len(), 16);
    // Who left makes room.
    drop(waiting.pop());
    waiting.extend(desk.ask());
    assert!(desk.ask().is_none());
    let mut copies = 0;
    let mut answer = || {
        desk.answer(|| {
            copies += 1;
            view.clone()
        });
    };
    answer();
    answer();
    assert_eq!(copies, 1);
    let of = |mut who: tokio::sync::oneshot::Receiver<std::sync::Arc<View>>| who.try_recv().unwrap().now;
    let times: Vec<Time> = waiting.into_iter().map(of).collect();
    assert_eq!(times, vec![view.now; 16]);
}
