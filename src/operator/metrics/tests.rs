//! What a site's metrics say, and whether alerts and dashboard can be read from them.

use crate::operator::report::tests::LEASE;
use crate::operator::report::tests::{parts::SITE, world::World};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn a_meter_and_prices_that_cannot_be_read_are_not_fresh_whatever_was_read_before() {
    let mut world = World::new("");
    let site = SITE.split("---").next().unwrap();
    world.apply(&format!("{site}  meter: {{source: {{static: {{watts: 0}}}}, staleSeconds: 30}}\n"));
    let fresh = |world: &World| {
        let all = [world.metrics("ampacity_node_meter_fresh"), world.metrics("ampacity_price_fresh")].concat();
        all.iter().filter_map(|line| line.split_once("site=\"west\",").map(|(_, rest)| rest.to_owned())).collect()
    };
    let all = |meter, energy| {
        let said = |label: &str, value: i32| format!("{label}\"}} {value}");
        let mut all = [said("node=\"west", meter), said("price=\"energy", energy), said("price=\"hashprice", 1)];
        all.sort();
        all.to_vec()
    };
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    world.prices.metered = Some(900_000);
    world.run(30);
    assert_eq!(sorted(fresh(&world)), all(1, 1));
    world.prices.metered = None;
    world.prices.energy = None;
    world.run(2);
    assert_eq!(sorted(fresh(&world)), all(0, 0));
}

#[test]
fn a_load_whose_agent_says_nothing_is_blind_and_the_others_are_not() {
    let mut world = World::new("");
    world.silent.insert("s19j-1".into());
    world.run(60);
    assert_eq!(world.metrics("ampacity_blind_loads{"), ["ampacity_blind_loads{site=\"west\"} 1"]);
    world.silent.clear();
    world.run(10);
    assert_eq!(world.metrics("ampacity_blind_loads{"), ["ampacity_blind_loads{site=\"west\"} 0"]);
}

#[test]
fn in_shadow_no_load_is_called_blind_because_none_is_told_to_prove() {
    let mut world = World::new("");
    world.silent.extend(["s19j-0", "s19j-1", "s19j-2"].map(String::from));
    world.apply(&SITE.replace("mode: Active", "mode: Shadow"));
    world.run(60);
    assert_eq!(world.metrics("ampacity_allocated_watts{").len(), 2, "the site is measured");
    assert_eq!(world.metrics("ampacity_blind_loads{"), [""; 0]);
    world.apply(SITE);
    world.run(60);
    assert_eq!(world.metrics("ampacity_blind_loads{"), ["ampacity_blind_loads{site=\"west\"} 3"]);
}

/// A site of which everything is measured that can be.
fn whole() -> World {
    let mut world = World::new(
        "{kind: LeaseClass, metadata: {name: spot}, spec: {delivery: Jobs, pool: h100, pricePerGpuHour: \"0.40\", \
         service: Flexible, noticeSeconds: 60, curtailable: {hoursPerMonth: 40, eventsPerDay: 9, maxEventSeconds: 3600, \
         minimumRunSeconds: 10}}}",
    );
    let site = SITE.split("---").next().unwrap();
    world.apply(&format!("{site}  meter: {{source: {{static: {{watts: 0}}}}, staleSeconds: 30}}\n"));
    world.apply(&LEASE.replace("className: flex", "className: spot"));
    world.prices.metered = Some(900_000);
    world.run(120);
    world
}

/// What is exported, by its full name: the labels of its series.
fn exported(world: &World) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in world.metrics("ampacity_") {
        let name: String = line.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let labels = matched(&line[name.len()..]);
        found.entry(name).or_default().extend(labels);
    }
    found
}

/// The labels between the braces that follow, if any do.
fn matched(text: &str) -> Vec<String> {
    let Some((labels, _)) = text.strip_prefix('{').and_then(|rest| rest.split_once('}')) else { return Vec::new() };
    let name = |label: &str| label.trim().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    labels.split(',').map(name).collect()
}

/// What an expression speaks of: names of metrics with the labels that it selects or sums them by.
fn spoken(expression: &str) -> Vec<(String, Vec<String>)> {
    let groups = expression.split(" by (").skip(1).filter_map(|rest| rest.split(')').next());
    let by: Vec<String> = groups.flat_map(|group| group.split(',')).map(|label| label.trim().to_owned()).collect();
    let starts = expression.match_indices("ampacity_").map(|(at, _)| &expression[at..]);
    let named = starts.map(|rest| {
        let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let labels = [matched(&rest[name.len()..]), by.clone()].concat();
        (name, labels)
    });
    named.filter(|(name, _)| !name.starts_with("ampacity_agent_")).collect()
}

#[test]
fn alerts_and_dashboard_select_and_sum_by_labels_that_are_exported() {
    let chart = |file: &str| {
        let path = format!("{}/charts/ampacity/files/{file}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    };
    let alerts: Value = serde_yaml::from_str(&chart("alerts.yaml")).unwrap();
    let dashboard: Value = serde_json::from_str(&chart("dashboard.json")).unwrap();
    let mut expressions = Vec::new();
    for rule in alerts["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()) {
        expressions.push(rule["expr"].as_str().unwrap().to_owned());
    }
    for panel in dashboard["panels"].as_array().unwrap() {
        let targets = panel["targets"].as_array().unwrap();
        expressions.extend(targets.iter().map(|target| target["expr"].as_str().unwrap().to_owned()));
    }
    assert!(expressions.len() > 30, "{}", expressions.len());
    let exported = exported(&whole());
    let mut wrong = Vec::new();
    for expression in &expressions {
        for (name, labels) in spoken(expression) {
            match exported.get(&name) {
                None => wrong.push(format!("{name} is not exported: {expression}")),
                Some(known) => {
                    let unknown = labels.iter().filter(|label| !known.contains(*label));
                    wrong.extend(unknown.map(|label| format!("{name} has no label {label}: {expression}")));
                }
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}
