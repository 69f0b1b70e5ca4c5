//! Grid events and lockouts.

use super::{FirstSeen, LockoutRow, feeder, names};
use crate::api::LoadKind as ApiKind;
use crate::api::grid_event::EventType;
use crate::operator::cache::Cache;
use crate::operator::problem::{Cause, Problem};
use crate::store::{Key, Kind, time};
use ampacity_core::guard::LoadId;
use ampacity_core::snapshot::{LoadKind, Lockout, LockoutTarget, TimedLimit};
use ampacity_core::tree::{NodeId, Tree};
use ampacity_core::units::{Span, Time};
use kube::ResourceExt;

pub(super) fn limits(cache: &Cache, tree: &Tree, seen: &FirstSeen, problems: &mut Vec<Problem>) -> Vec<TimedLimit> {
    let site = site_name(tree);
    let mut limits = Vec::new();
    for event in cache.events().filter(|event| event.spec.target.budget == site) {
        let (spec, name) = (&event.spec, event.name_any());
        let target = spec.target.feeder.as_deref().unwrap_or(site);
        let Some(node) = feeder(tree, target) else {
            let key = Key::cluster(Kind::GridEvent, &name);
            let field = "spec.target.feeder";
            problems.push(Problem::missing(key, Cause::FeederNotFound, field, target, &names(tree)));
            continue;
        };
        let (EventType::Limit, Some(watts)) = (spec.type_, spec.limit_watts) else { continue };
        let first = seen.get(&name).copied().unwrap_or(Time::ZERO);
        limits.push(TimedLimit {
            node,
            kind: spec.target.kind.map(kind),
            limit: watts.watts(),
            from: spec.start.as_ref().map_or(first, time),
            until: spec.end.as_ref().map_or(Time::MAX, time),
            response: Span::seconds(spec.response_seconds),
            seen: first,
            priority: u8::try_from(spec.priority).unwrap_or(u8::MAX),
            name,
        });
    }
    limits
}

const fn kind(kind: ApiKind) -> LoadKind {
    match kind {
        ApiKind::Miner => LoadKind::Miner,
        ApiKind::Gpu => LoadKind::Gpu,
    }
}

fn site_name(tree: &Tree) -> &str {
    tree.node(NodeId::SITE).map_or("", |node| node.name.as_str())
}

pub(super) fn lockouts(cache: &Cache, tree: &Tree, problems: &mut Vec<Problem>) -> Vec<LockoutRow> {
    let site = site_name(tree);
    let mut rows = Vec::new();
    for lockout in cache.lockouts().filter(|lockout| lockout.spec.target.budget == site) {
        let (spec, name) = (&lockout.spec, lockout.name_any());
        let target = |target| Lockout {
            name: name.clone(),
            holder: spec.holder.clone(),
            target,
            limit: spec.limit_watts.watts(),
        };
        match (&spec.target.load, &spec.target.feeder) {
            // Its load is looked up with the loads: its place there is not known here.
            (Some(load), _) => rows.push(LockoutRow::Load(load.clone(), target(LockoutTarget::Load(LoadId(u32::MAX))))),
            (None, Some(name_of_feeder)) => match feeder(tree, name_of_feeder) {
                Some(node) => rows.push(LockoutRow::Node(target(LockoutTarget::Node(node)))),
                None => problems.push(Problem::missing(
                    Key::cluster(Kind::Lockout, &name),
                    Cause::FeederNotFound,
                    "spec.target.feeder",
                    name_of_feeder,
                    &names(tree),
                )),
            },
            (None, None) => {}
        }
    }
    rows
}
