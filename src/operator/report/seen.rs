//! The statuses of what others ask of a site: grid events and lockouts.

use super::{Conditions, Draft, Scene, obligations, rejection, whole};
use crate::api::grid_event::{EventType, GridEventCondition as EventIs, GridEventReason as EventWord};
use crate::api::lockout::{LockoutCondition as LockoutIs, LockoutReason as LockoutWord};
use crate::api::quantity::WattsQuantity;
use crate::api::{GridEvent, GridEventStatus, Lockout, LockoutStatus};
use crate::operator::cache::Cache;
use crate::operator::problem::{Cause, Problem};
use crate::operator::reason::short;
use crate::operator::tables::since;
use crate::store::{Key, Kind, Status, time};
use ampacity_core::guard::{Basis, LoadId};
use ampacity_core::snapshot::TimedLimit;
use ampacity_core::tree::NodeId;
use ampacity_core::units::{Time, Watts};
use kube::ResourceExt;

/// The statuses of the events and lockouts on this site.
pub(super) fn drafts(scene: &Scene<'_>, cache: &Cache) -> Vec<Draft> {
    let site = &scene.site.name;
    let event = |event: &GridEvent| {
        let key = Key::cluster(Kind::GridEvent, &event.name_any());
        Draft::of(key, event_status(scene, event), event.status.as_ref(), |s| &s.conditions, Status::GridEvent)
    };
    let lockout = |lockout: &Lockout| {
        let key = Key::cluster(Kind::Lockout, &lockout.name_any());
        Draft::of(key, lockout_status(scene, lockout), lockout.status.as_ref(), |s| &s.conditions, Status::Lockout)
    };
    let events = cache.events().filter(|e| e.spec.target.budget == *site).filter_map(|e| event(e));
    let lockouts = cache.lockouts().filter(|l| l.spec.target.budget == *site).filter_map(|l| lockout(l));
    events.chain(lockouts).collect()
}

/// A limit of an event that is in force, and how its target stands to it.
pub(super) struct Standing {
    /// What the target counts for at its meter, losses and auxiliaries included, W.
    pub(super) bound: Watts,
    /// It does what is asked.
    pub(super) met: bool,
}

/// How a limit's target stands to it now.
pub(super) fn standing(scene: &Scene<'_>, limit: &TimedLimit) -> Standing {
    let tree = scene.ledger.tree();
    let bound = match limit.kind {
        None => {
            let sums = scene.ledger.sums(scene.now);
            tree.at_meter(limit.node, sums.get(limit.node.index()).copied().unwrap_or_default())
        }
        Some(kind) => {
            let own = below(scene, limit.node)
                .filter(|load| scene.site.row(*load).is_some_and(|row| row.member.kind() == Some(kind)));
            let sum: Watts = own.map(|load| scene.bound(load).watts).sum();
            tree.node(limit.node).map_or(sum, |node| sum.plus(node.loss))
        }
    };
    Standing { bound, met: bound <= limit.limit }
}

/// The loads at or below a node.
fn below<'a>(scene: &'a Scene<'_>, node: NodeId) -> impl Iterator<Item = LoadId> + 'a {
    let under = move |at: NodeId| scene.ledger.tree().path(at).any(|n| n == node);
    scene.loads().filter(move |(_, row)| under(row.terms.node)).map(|(load, _)| load)
}

/// When an event's target has to be under its limit at the latest.
pub(super) fn due(limit: &TimedLimit) -> Time {
    limit.from.max(limit.seen).after(limit.response)
}

fn event_status(scene: &Scene<'_>, event: &GridEvent) -> GridEventStatus {
    let mut status = event.status.clone().unwrap_or_default();
    status.observed_generation = event.metadata.generation;
    let name = event.name_any();
    status.seen_time = status.seen_time.or_else(|| scene.site.first_seen.get(&name).map(|at| whole(*at)));
    let problems = scene.problems(&Key::cluster(Kind::GridEvent, &name));
    if let Some(obligation) = scene.tables.obligations.iter().find(|obligation| obligation.name == name) {
        return obligations::status(scene, event, obligation, status);
    }
    let limit = scene.tables.limits.iter().find(|limit| limit.name == name);
    let active = limit.is_some_and(|limit| limit.from <= scene.now && scene.now < limit.until);
    let stands = limit.filter(|_| active).map(|limit| standing(scene, limit));
    if let Some(stands) = &stands {
        status.bound_watts = Some(WattsQuantity::new(stands.bound.get()));
        if stands.met && status.met_time.is_none() {
            status.met_time = Some(whole(scene.now));
        }
    }
    let met_at = status.met_time.as_ref().map(time);
    let generation = event.metadata.generation;
    let mut say = Conditions { list: &mut status.conditions, generation, now: scene.now };
    let Some(limit) = limit else {
        let (word, message) = match (rejection(&problems), event.spec.type_) {
            (Some((Cause::FeederNotFound, message)), _) => (EventWord::FeederNotFound, message),
            (Some((_, message)), _) => (EventWord::Invalid, message),
            (None, EventType::Obligation) => {
                (EventWord::Invalid, "spec.minimumWatts: must be set for type Obligation".into())
            }
            (None, EventType::Limit) => (EventWord::Invalid, "spec.limitWatts: must be set for type Limit".into()),
        };
        say.say::<GridEvent>(EventIs::Accepted, Some((false, word, message)));
        return status;
    };
    say.say::<GridEvent>(EventIs::Accepted, Some((true, EventWord::Valid, "the target exists".into())));
    say.say::<GridEvent>(EventIs::Active, Some(phase(scene, limit.from, limit.until)));
    let Some(stands) = stands else { return status };
    let (bound, most) = (stands.bound, limit.limit);
    let said = if stands.met {
        (true, EventWord::UnderLimit, format!("bound of {bound} is within {most}"))
    } else {
        (
            false,
            EventWord::Shedding,
            format!("bound of {bound} passes {most}; due at {} UTC", scene.names().time(due(limit))),
        )
    };
    say.say::<GridEvent>(EventIs::Met, Some(said));
    let overran = over_due(met_at, due(limit), scene.now);
    let message = format!("was to be under {most} by {} UTC", scene.names().time(due(limit)));
    say.say::<GridEvent>(EventIs::Late, overran.then_some((true, EventWord::ResponseOverrun, message)));
    status
}

/// Whether it was met later than `due`, or is not met and later than that.
pub(super) fn over_due(met_at: Option<Time>, due: Time, now: Time) -> bool {
    met_at.unwrap_or(now) > due
}

/// Whether an event is in force.
pub(super) fn phase(scene: &Scene<'_>, from: Time, until: Time) -> (bool, EventWord, String) {
    let at = |time| scene.names().time(time);
    if scene.now < from {
        (false, EventWord::Pending, format!("begins at {} UTC", at(from)))
    } else if scene.now >= until {
        (false, EventWord::Over, format!("ended at {} UTC", at(until)))
    } else if until == Time::MAX {
        (true, EventWord::InForce, "in force until this object is deleted".into())
    } else {
        (true, EventWord::InForce, format!("in force until {} UTC", at(until)))
    }
}

/// What a lockout is on: each of these loads is to stay under its limit.
pub(super) fn held(scene: &Scene<'_>, lockout: &Lockout) -> Option<Vec<LoadId>> {
    let target = &lockout.spec.target;
    if let Some(load) = &target.load {
        return Some(vec![scene.site.id(load)?]);
    }
    let node = scene.ledger.tree().find(target.feeder.as_ref()?)?;
    Some(below(scene, node).collect())
}

/// Whether every load that a lockout is on is proved at or under its limit.
pub(super) fn proved(scene: &Scene<'_>, lockout: &Lockout, loads: &[LoadId]) -> bool {
    let most = lockout.spec.limit_watts.watts();
    loads.iter().map(|load| scene.bound(*load)).all(|bound| bound.basis == Basis::Known && bound.watts <= most)
}

fn lockout_status(scene: &Scene<'_>, lockout: &Lockout) -> LockoutStatus {
    let mut status = lockout.status.clone().unwrap_or_default();
    status.observed_generation = lockout.metadata.generation;
    let key = Key::cluster(Kind::Lockout, &lockout.name_any());
    let generation = lockout.metadata.generation;
    let loads = held(scene, lockout);
    if let Some(loads) = &loads {
        let sum: Watts = loads.iter().map(|load| scene.bound(*load).watts).sum();
        status.bound_watts = Some(WattsQuantity::new(sum.get()));
        if proved(scene, lockout, loads) && status.met_time.is_none() {
            status.met_time = Some(whole(scene.now));
        }
    }
    let mut say = Conditions { list: &mut status.conditions, generation, now: scene.now };
    let Some(loads) = loads else {
        let (word, message) = match (rejection(&scene.problems(&key)), &lockout.spec.target.load) {
            (Some((_, message)), _) => (LockoutWord::FeederNotFound, message),
            (None, load) => (LockoutWord::LoadNotFound, no_load(scene, key, load.as_deref().unwrap_or_default())),
        };
        say.say::<Lockout>(LockoutIs::Accepted, Some((false, word, message)));
        return status;
    };
    let at = scene.names().time(since(lockout));
    let message = format!("the target exists; held by {} since {at} UTC", short(&lockout.spec.holder));
    say.say::<Lockout>(LockoutIs::Accepted, Some((true, LockoutWord::Valid, message)));
    let most = lockout.spec.limit_watts.watts();
    let open: Vec<String> = loads
        .iter()
        .filter(|load| !proved(scene, lockout, &[**load]))
        .map(|load| format!("{} counts {}", scene.names().load(*load), scene.bound(*load).watts))
        .collect();
    let said = if open.is_empty() {
        (true, LockoutWord::Proved, format!("proved at or under {most}; never proof of isolation"))
    } else {
        (false, LockoutWord::Shedding, format!("to be under {most}: {}", super::few(&open)))
    };
    say.say::<Lockout>(LockoutIs::Met, Some(said));
    status
}

fn no_load(scene: &Scene<'_>, key: Key, name: &str) -> String {
    let have: Vec<&str> = scene.loads().map(|(_, row)| row.name.as_str()).collect();
    Problem::missing(key, Cause::LoadNotFound, "spec.target.load", name, &have).message
}
