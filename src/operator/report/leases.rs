//! The status of a `LeaseClass`. A lease's own is written where it is served (`tenants`).

use super::owners::count;
use super::{Conditions, Draft, Scene, rejection};
use crate::api::lease_class::{LeaseClassCondition as Type, LeaseClassReason as Word};
use crate::api::quantity::WattsQuantity;
use crate::api::{LeaseClass, LeaseClassStatus};
use crate::operator::cache::Cache;
use crate::operator::problem::{Cause, Problem};
use crate::operator::tables::ClassRow;
use crate::store::{Key, Kind, Status};
use ampacity_core::lease::{Delivery, LeaseState};
use ampacity_core::units::Watts;
use kube::ResourceExt;

/// The statuses of the classes that sell something of this site.
pub(super) fn drafts(scene: &Scene<'_>, cache: &Cache) -> Vec<Draft> {
    let draft = |class: &LeaseClass| {
        let key = Key::cluster(Kind::LeaseClass, &class.name_any());
        let row = scene.tables.classes.iter().find(|row| row.key == key);
        let problems = scene.problems(&key);
        let new = match (row, rejection(&problems)) {
            (Some(row), _) => status(scene, class, row, &problems),
            (None, Some((cause, message))) => rejected(scene, class, cause, message),
            (None, None) => return None,
        };
        Draft::of(key, new, class.status.as_ref(), |s| &s.conditions, Status::LeaseClass)
    };
    cache.classes().filter_map(|class| draft(class)).collect()
}

fn rejected(scene: &Scene<'_>, class: &LeaseClass, cause: Cause, message: String) -> LeaseClassStatus {
    let mut status = class.status.clone().unwrap_or_default();
    status.observed_generation = class.metadata.generation;
    let word = if cause == Cause::FeederNotFound { Word::FeederNotFound } else { Word::Invalid };
    let generation = class.metadata.generation;
    let mut say = Conditions { list: &mut status.conditions, generation, now: scene.now };
    say.say::<LeaseClass>(Type::Accepted, Some((false, word, message)));
    status
}

/// What leases hold, of one class and of what it sells from.
struct Held {
    leases: usize,
    of_class: i64,
    of_place: i64,
}

impl Held {
    fn of(scene: &Scene<'_>, row: &ClassRow) -> Self {
        let mut held = Self { leases: 0, of_class: 0, of_place: 0 };
        for (name, award) in scene.turn.leases.iter().zip(&scene.turn.plan.leases) {
            let LeaseState::Accepted(contract) = &award.state else { continue };
            let delivery = contract.offer.delivery;
            if place(delivery) == place(row.core.delivery) {
                held.of_place += delivery.amount();
            }
            let object = scene.site.leases.get(name).map(|lease| &lease.object);
            if object.is_some_and(|object| class_of(object) == row.core.name) {
                held.leases += 1;
                held.of_class += delivery.amount();
            }
        }
        held
    }
}

/// The class under which a lease was accepted, or under which it asks.
fn class_of(lease: &crate::api::ComputeLease) -> &str {
    let pinned = lease.status.as_ref().and_then(|status| status.terms.as_ref());
    pinned.map_or(lease.spec.class_name.as_str(), |terms| terms.class_name.as_str())
}

const fn place(delivery: Delivery) -> (bool, u32) {
    match delivery {
        Delivery::Jobs { pool, .. } => (true, pool),
        Delivery::Power { node, .. } => (false, node.0),
    }
}

fn status(scene: &Scene<'_>, class: &LeaseClass, row: &ClassRow, problems: &[&Problem]) -> LeaseClassStatus {
    let mut status = class.status.clone().unwrap_or_default();
    status.observed_generation = class.metadata.generation;
    let held = Held::of(scene, row);
    let there = there(scene, row.core.delivery);
    let generation = class.metadata.generation;
    let mut say = Conditions { list: &mut status.conditions, generation, now: scene.now };
    say.say::<LeaseClass>(Type::Accepted, Some((true, Word::Valid, "leases are offered under it".into())));
    let promised = problems.iter().find(|problem| problem.cause == Cause::SumPassesCapacity);
    let unit = if matches!(row.core.delivery, Delivery::Jobs { .. }) { "GPUs" } else { "W" };
    let oversold = if held.of_place > there {
        Some(format!("leases hold {} {unit}, and there are {} {unit}", held.of_place, there.max(0)))
    } else {
        promised.map(|problem| problem.message.clone())
    };
    say.say::<LeaseClass>(Type::Oversold, oversold.map(|message| (true, Word::SumPassesCapacity, message)));
    let free = (row.core.delivery.amount() - held.of_class).min(there - held.of_place).max(0);
    status.leases = count(held.leases);
    (status.free_gpus, status.free_watts) = match row.core.delivery {
        Delivery::Jobs { .. } => (Some(i32::try_from(free).unwrap_or(i32::MAX)), None),
        Delivery::Power { .. } => (None, Some(WattsQuantity::new(free))),
    };
    status
}

/// GPUs of the pool, or watts at the feeder, that there are to sell.
fn there(scene: &Scene<'_>, delivery: Delivery) -> i64 {
    match delivery {
        Delivery::Jobs { pool, .. } => scene.tables.pools.get(pool as usize).map_or(0, |row| {
            i64::from(row.core.gpus_per_node).saturating_mul(i64::try_from(row.nodes.len()).unwrap_or(i64::MAX))
        }),
        Delivery::Power { node, .. } => scene.tables.tree.capacity(node).max(Watts::ZERO).get(),
    }
}
