//! Grid events and lockouts.

use super::{FirstSeen, LockoutRow, UnreadRow, feeder, names};
use crate::api::grid_event::EventType;
use crate::api::{LoadKind as ApiKind, Lockout as ApiLockout};
use crate::operator::cache::Cache;
use crate::operator::problem::{Cause, Problem};
use crate::store::{Key, Kind, time};
use ampacity_core::guard::LoadId;
use ampacity_core::snapshot::{LoadKind, Lockout, LockoutTarget, Obligation, TimedLimit, Unread};
use ampacity_core::tree::{NodeId, Tree};
use ampacity_core::units::{Span, Time};
use kube::ResourceExt;

/// What events ask of a site.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Limits, over or not.
    pub(super) limits: Vec<TimedLimit>,
    /// Obligations, over or not.
    pub(super) obligations: Vec<Obligation>,
}

pub(super) fn asked(cache: &Cache, tree: &Tree, seen: &FirstSeen, problems: &mut Vec<Problem>) -> Asked {
    let site = site_name(tree);
    let mut asked = Asked::default();
    for event in cache.events().filter(|event| event.spec.target.budget == site) {
        let (spec, name) = (&event.spec, event.name_any());
        let target = spec.target.feeder.as_deref().unwrap_or(site);
        let Some(node) = feeder(tree, target) else {
            let key = Key::cluster(Kind::GridEvent, &name);
            let field = "spec.target.feeder";
            problems.push(Problem::missing(key, Cause::FeederNotFound, field, target, &names(tree)));
            continue;
        };
        let first = seen.get(&name).copied().unwrap_or(Time::ZERO);
        let kind = spec.target.kind.map(kind);
        let from = spec.start.as_ref().map_or(first, time);
        let until = spec.end.as_ref().map_or(Time::MAX, time);
        let response = Span::seconds(spec.response_seconds);
        let priority = u8::try_from(spec.priority).unwrap_or(u8::MAX);
        match (spec.type_, spec.limit_watts, spec.minimum_watts) {
            (EventType::Limit, Some(watts), _) => {
                let limit = watts.watts();
                asked.limits.push(TimedLimit { name, node, kind, limit, from, until, response, seen: first, priority });
            }
            (EventType::Obligation, _, Some(watts)) => {
                let minimum = watts.watts();
                let row = Obligation { name, node, kind, minimum, from, until, response, seen: first, priority };
                asked.obligations.push(row);
            }
            // The API server refuses these; what got past it is told so by its status.
            (EventType::Limit, None, _) | (EventType::Obligation, _, None) => {}
        }
    }
    asked
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

/// Since when a lockout stands: as its holder says, else as it was made.
pub(in crate::operator) fn since(lockout: &ApiLockout) -> Time {
    lockout.spec.since.as_ref().or(lockout.metadata.creation_timestamp.as_ref()).map_or(Time::ZERO, time)
}

/// Lockouts and events that exist and cannot be read. What each was on is known where an earlier form could be read: a
/// lockout's target never changes, an event's last form stays in force. Of one that never could be read nothing is
/// known, and it holds every site.
pub(super) fn unread(cache: &Cache, tree: &Tree) -> Vec<UnreadRow> {
    let site = site_name(tree);
    let mut rows = Vec::new();
    for (key, _) in cache.all_unreadable() {
        let (budget, load, feeder) = match key.kind {
            Kind::Lockout => {
                let target = cache.lockout(key).map(|lockout| &lockout.spec.target);
                (
                    target.map(|t| &t.budget),
                    target.and_then(|t| t.load.as_ref()),
                    target.and_then(|t| t.feeder.as_ref()),
                )
            }
            Kind::GridEvent => {
                let target = cache.event(key).map(|event| &event.spec.target);
                (target.map(|t| &t.budget), None, target.and_then(|t| t.feeder.as_ref()))
            }
            _ => continue,
        };
        if budget.is_some_and(|budget| budget != site) {
            continue;
        }
        let node = feeder.and_then(|name| tree.find(name)).unwrap_or(NodeId::SITE);
        let unread = Unread { name: format!("{:?} {}", key.kind, key.name), target: LockoutTarget::Node(node) };
        rows.push(UnreadRow { load: load.cloned(), unread });
    }
    rows
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
            since: since(lockout),
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
