//! What no site answers for: objects whose budget does not exist, budgets that make no sense, classes without a pool.

use super::{Conditions, Draft, Reported, rejection};
use crate::api::gpu_pool::{GpuPoolCondition, GpuPoolReason};
use crate::api::grid_event::{GridEventCondition, GridEventReason};
use crate::api::lease_class::{Delivery, LeaseClassCondition, LeaseClassReason};
use crate::api::lockout::{LockoutCondition, LockoutReason};
use crate::api::mining_fleet::{MiningFleetCondition, MiningFleetReason};
use crate::api::power_budget::{PowerBudgetCondition, PowerBudgetReason};
use crate::api::{GpuPool, GridEvent, LeaseClass, Lockout, MiningFleet, PowerBudget};
use crate::operator::Purposed;
use crate::operator::cache::Cache;
use crate::operator::problem::{Cause, Problem};
use crate::operator::site::Site;
use crate::store::{Key, Kind, Status};
use ampacity_core::units::Time;
use kube::ResourceExt;
use std::collections::BTreeMap;

/// Drafts `Accepted=False` on an object, with one reason and message. The rest of its status stays.
macro_rules! refuse {
    ($object:expr, $kind:ident, $type:expr, $reason:expr, $message:expr, $now:expr) => {{
        let object: &$kind = $object;
        let mut status = object.status.clone().unwrap_or_default();
        status.observed_generation = object.metadata.generation;
        let generation = object.metadata.generation;
        Conditions { list: &mut status.conditions, generation, now: $now }
            .say::<$kind>($type, Some((false, $reason, $message)));
        let key = Key::cluster(Kind::$kind, &object.name_any());
        Draft::of(key, status, object.status.as_ref(), |s| &s.conditions, Status::$kind)
    }};
}

/// The statuses of objects that no site answers for, where they are due.
pub(in crate::operator) fn unowned(
    cache: &Cache,
    sites: &BTreeMap<String, Site>,
    reported: &mut Reported,
    now: Time,
) -> Vec<Purposed> {
    if !reported.looks(now) {
        return Vec::new();
    }
    let mut drafts = Vec::new();
    let have: Vec<&str> = cache.budgets().filter_map(|budget| budget.metadata.name.as_deref()).collect();
    let none = |name: &str| !have.contains(&name);
    let missing = |kind, field: &str, name: &str| {
        Problem::missing(Key::cluster(kind, ""), Cause::BudgetNotFound, field, name, &have).message
    };
    for fleet in cache.fleets().filter(|fleet| none(&fleet.spec.budget)) {
        let message = missing(Kind::MiningFleet, "spec.budget", &fleet.spec.budget);
        let (type_, reason) = (MiningFleetCondition::Accepted, MiningFleetReason::BudgetNotFound);
        drafts.extend(refuse!(fleet, MiningFleet, type_, reason, message, now));
    }
    for pool in cache.pools().filter(|pool| none(&pool.spec.budget)) {
        let message = missing(Kind::GpuPool, "spec.budget", &pool.spec.budget);
        let (type_, reason) = (GpuPoolCondition::Accepted, GpuPoolReason::BudgetNotFound);
        drafts.extend(refuse!(pool, GpuPool, type_, reason, message, now));
    }
    for event in cache.events().filter(|event| none(&event.spec.target.budget)) {
        let message = missing(Kind::GridEvent, "spec.target.budget", &event.spec.target.budget);
        let (type_, reason) = (GridEventCondition::Accepted, GridEventReason::BudgetNotFound);
        drafts.extend(refuse!(event, GridEvent, type_, reason, message, now));
    }
    for lockout in cache.lockouts().filter(|lockout| none(&lockout.spec.target.budget)) {
        let message = missing(Kind::Lockout, "spec.target.budget", &lockout.spec.target.budget);
        let (type_, reason) = (LockoutCondition::Accepted, LockoutReason::BudgetNotFound);
        drafts.extend(refuse!(lockout, Lockout, type_, reason, message, now));
    }
    for class in cache.classes() {
        drafts.extend(placeless(cache, sites, class, &none, &missing, now));
    }
    for budget in cache.budgets() {
        drafts.extend(senseless(sites, budget, now));
    }
    reported.due(drafts.into_iter(), now)
}

/// A class that sells from no pool or budget there is.
fn placeless(
    cache: &Cache,
    sites: &BTreeMap<String, Site>,
    class: &LeaseClass,
    none: &dyn Fn(&str) -> bool,
    missing: &dyn Fn(Kind, &str, &str) -> String,
    now: Time,
) -> Option<Draft> {
    let type_ = LeaseClassCondition::Accepted;
    match class.spec.delivery {
        Delivery::Power => {
            let budget = class.spec.budget.as_deref().filter(|budget| none(budget))?;
            let message = missing(Kind::LeaseClass, "spec.budget", budget);
            refuse!(class, LeaseClass, type_, LeaseClassReason::BudgetNotFound, message, now)
        }
        Delivery::Jobs => {
            let pool = class.spec.pool.as_deref()?;
            let mut tables = sites.values().filter_map(|site| site.tables.as_ref());
            if tables.any(|tables| tables.pools.iter().any(|row| row.core.name == pool)) {
                return None;
            }
            let names: Vec<String> = cache.pools().map(|pool| pool.name_any()).collect();
            let have: Vec<&str> = names.iter().map(String::as_str).collect();
            let message = if have.contains(&pool) {
                format!("spec.pool: {pool:?} is not accepted itself; its own conditions say why")
            } else {
                let key = Key::cluster(Kind::LeaseClass, &class.name_any());
                Problem::missing(key, Cause::PoolNotFound, "spec.pool", pool, &have).message
            };
            refuse!(class, LeaseClass, type_, LeaseClassReason::PoolNotFound, message, now)
        }
    }
}

/// A budget that never made sense: no site follows it.
fn senseless(sites: &BTreeMap<String, Site>, budget: &PowerBudget, now: Time) -> Option<Draft> {
    let site = sites.get(&budget.name_any()).filter(|site| site.tables.is_none())?;
    let problems: Vec<&Problem> = site.problems.iter().collect();
    let (_, message) = rejection(&problems)?;
    let type_ = PowerBudgetCondition::Accepted;
    refuse!(budget, PowerBudget, type_, PowerBudgetReason::Invalid, message, now)
}
