//! What a site keeps where what people write makes no sense any more.

use super::*;
use crate::operator::tables::UnreadRow;
use crate::store::{Object, Seen};
use ampacity_core::snapshot::{LockoutTarget, Unread};

fn budget(spec: &str, status: &str) -> Arc<PowerBudget> {
    let yaml = format!("{{metadata: {{name: west}}, spec: {{{spec}, policy: {{mode: Active}}}}, status: {status}}}");
    Arc::new(serde_yaml::from_str(&yaml).unwrap())
}

#[test]
fn a_spec_that_stops_making_sense_leaves_the_one_before_it_in_force_and_the_status_as_it_stands() {
    let mut site = Site::new("west");
    let cache = Cache::default();
    let good = budget("limitWatts: 10M", "{}");
    site.read(&cache, &good, Time::ZERO);
    let kept = "{nameplates: [{feeder: west, nameplateWatts: 3M}]}";
    let bad = budget("limitWatts: 10M, feeders: [{name: a, limitWatts: 1M, parent: none}]", kept);
    site.read(&cache, &bad, Time::ZERO);
    assert_eq!(site.problems.len(), 1);
    let stands = site.tables.as_ref().unwrap().budget.clone();
    assert_eq!((&stands.spec, &stands.status), (&good.spec, &bad.status));
    let next = PowerBudget { status: None, ..bad.as_ref().clone() };
    site.read_status(&Arc::new(next));
    let stands = site.tables.unwrap().budget;
    assert_eq!((&stands.spec, &stands.status), (&good.spec, &None));
}

#[test]
fn what_a_fleet_owns_that_was_never_to_be_read_is_kept_and_not_retired() {
    let mut site = Site::new("west");
    let mut cache = Cache::default();
    site.read(&cache, &budget("limitWatts: 10M", "{}"), Time::ZERO);
    let load = |fleet: &str| -> ControllableLoad {
        let yaml = format!(
            "{{metadata: {{name: {fleet}-0}}, spec: {{budget: west, feeder: west, kind: Miner, \
             protocol: 1, owner: {{fleet: {fleet}, index: 0}}, nameplateWatts: 1000, fallbackWatts: 0, setpointWatts: 1000, \
             order: {{epoch: 1, sequence: 0}}}}}}"
        );
        serde_yaml::from_str(&yaml).unwrap()
    };
    cache.take(&Seen::Unreadable(Key::cluster(Kind::MiningFleet, "newer"), "no curve".into()));
    site.read(&cache, &budget("limitWatts: 10M", "{}"), Time::ZERO);
    for fleet in ["newer", "gone"] {
        site.add(&load(fleet), Time::ZERO);
    }
    assert_eq!([0, 1].map(|at: usize| site.rows[at].member), [Member::Kept, Member::Retired]);
}

#[test]
fn a_lockout_or_event_that_cannot_be_read_holds_what_it_was_on_or_else_the_whole_site() {
    let mut site = Site::new("west");
    let mut cache = Cache::default();
    let spec = "limitWatts: 10M, feeders: [{name: hall-a, limitWatts: 6M}]";
    let lockout = |name: &str, target: &str| {
        let yaml =
            format!("{{metadata: {{name: {name}}}, spec: {{target: {{{target}}}, holder: j.doe, reason: fans}}}}");
        Seen::Object(Object::Lockout(Arc::new(serde_yaml::from_str(&yaml).unwrap())))
    };
    cache.take(&lockout("fan", "budget: west, load: s19j-0"));
    cache.take(&lockout("pump", "budget: west, feeder: hall-a"));
    cache.take(&lockout("far", "budget: east, feeder: hall-a"));
    for name in ["fan", "pump", "far", "new"] {
        cache.take(&Seen::Unreadable(Key::cluster(Kind::Lockout, name), "limitWatts is no number".into()));
    }
    cache.take(&Seen::Unreadable(Key::cluster(Kind::GridEvent, "heat"), "no spec".into()));
    cache.take(&Seen::Unreadable(Key::cluster(Kind::LeaseClass, "flex"), "no spec".into()));
    site.read(&cache, &budget(spec, "{}"), Time::ZERO);
    let row = |name: &str, load: Option<&str>, node| UnreadRow {
        load: load.map(str::to_owned),
        unread: Unread { name: name.into(), target: LockoutTarget::Node(NodeId(node)) },
    };
    let rows = [
        row("GridEvent heat", None, 0),
        row("Lockout fan", Some("s19j-0"), 0),
        row("Lockout new", None, 0),
        row("Lockout pump", None, 1),
    ];
    assert_eq!(site.tables.unwrap().unread, rows);
}
