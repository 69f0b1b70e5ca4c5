//! What the controller would do now if something were applied: decided on a copy, twice, and compared. Nothing is
//! written, and nothing of it is remembered.

use super::answer::{Admission, Amount, LoadChange, Money, Trouble, WhatIf, usd};
use super::rfc3339;
use super::view::View;
use crate::api::check::Schemas;
use crate::api::manifest::Object;
use crate::api::power_budget::PowerBudgetSpec;
use crate::digest::sha256_hex;
use crate::market::{Asked, Feeds, Point, Source};
use crate::operator::observe::{self, Prices};
use crate::operator::reason::{Names, sentence};
use crate::operator::site::Site;
use crate::store;
use ampacity_core::decide::decide;
use ampacity_core::decide::explain::{Explained, explain};
use ampacity_core::lease::{Contract, LeaseState};
use ampacity_core::memory::{Memory, Ramp};
use ampacity_core::plan::Plan;
use ampacity_core::snapshot::{Policy, Snapshot};
use ampacity_core::units::{Span, Time, Watts};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// More objects than this nobody looks at together.
const OBJECTS_MAX: usize = 64;
/// More changes than this nobody reads.
const CHANGES_MAX: usize = 64;

pub(super) fn what_if(view: &View, values: Vec<Value>) -> Result<WhatIf, Trouble> {
    if values.is_empty() || values.len() > OBJECTS_MAX {
        return Err(Trouble::Refused(format!("{} objects; from 1 to {OBJECTS_MAX} can be asked about", values.len())));
    }
    let schemas = Schemas::new().map_err(|error| Trouble::Refused(error.to_string()))?;
    let mut answer = WhatIf { time: rfc3339(view.now), ..WhatIf::default() };
    let mut objects = Vec::new();
    for value in values {
        let object = read(view, &schemas, &value)?;
        answer.applied.push(applied(view, &object.clone().into()));
        objects.push(object);
    }
    let applied: BTreeSet<String> = objects.iter().filter_map(lease).collect();
    let kept: BTreeSet<String> = objects.iter().filter_map(event).collect();
    let (mut before, mut after) = (view.clone(), view.with(objects));
    let names: Vec<String> = after.sites.keys().cloned().collect();
    for name in &names {
        let was = before.sites.get(name).and_then(|site| site.prices);
        let old = was.and_then(|prices| before.decide(name, &prices));
        let Some(prices) = prices(view, &after, name, &mut answer.notes) else { continue };
        let Some(new) = after.decide(name, &prices) else { continue };
        let Some(site) = after.sites.get(name) else { continue };
        let events = limits(&new.0, &kept);
        let (old, new) = match events.iter().map(|(_, at)| *at).max().filter(|at| *at > view.now) {
            None => (old, new),
            Some(at) => {
                let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
                answer.notes.push(format!(
                    "what changes is told as of {}, when {} has to be kept; prices are those of now",
                    rfc3339(at),
                    names.join(" and ")
                ));
                (old.map(|old| later(&old.0, at)), later(&new.0, at))
            }
        };
        let problems =
            site.problems.iter().filter(|new| view.sites.get(name).is_none_or(|old| !old.problems.contains(new)));
        answer.problems.extend(problems.map(|problem| format!("{}: {}", problem.key, problem.message)));
        compare(&mut answer, view, site, (old.as_ref(), &new), &applied);
    }
    answer.loads.truncate(CHANGES_MAX);
    answer.leases.truncate(CHANGES_MAX);
    Ok(answer)
}

/// An object held to its schema, as the API server would: with the rules between its old and its new form.
fn read(view: &View, schemas: &Schemas, value: &Value) -> Result<Object, Trouble> {
    let text = |path: &str| value.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let (kind, name) = (text("/kind"), text("/metadata/name"));
    let refused = |why: String| Trouble::Refused(format!("{kind} {name}: {why}"));
    if kind == "ControllableLoad" {
        return Err(refused("the operator alone writes loads; ask about a fleet, a lockout or an event".into()));
    }
    if let Some(fault) = schemas.check(value, None).into_iter().next() {
        return Err(refused(fault.to_string()));
    }
    let fresh = Object::from_value(schemas.defaulted(value)).map_err(|error| refused(error.to_string()))?;
    let old = standing(view, &fresh.clone().into());
    if let Some(fault) = schemas.check(value, old.as_ref()).into_iter().next() {
        return Err(refused(fault.to_string()));
    }
    match fresh.faults().into_iter().next() {
        Some(fault) => Err(refused(fault.to_string())),
        None => Ok(fresh),
    }
}

/// What stands under an object's key, as the API server would hand it out.
fn standing(view: &View, object: &store::Object) -> Option<Value> {
    view.cache.get(&object.key())?.shown()
}

fn applied(view: &View, object: &store::Object) -> String {
    let spec = |value: Option<Value>| value.and_then(|mut value| value.get_mut("spec").map(Value::take));
    let what = match spec(standing(view, object)) {
        None => "created",
        old if old == spec(object.shown()) => "unchanged",
        Some(_) => "changed",
    };
    format!("{} {what}", object.key())
}

/// The lease's name as decisions know it.
fn lease(object: &Object) -> Option<String> {
    let Object::ComputeLease(lease) = object else { return None };
    let meta = &lease.metadata;
    Some(format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default()))
}

/// The event's name.
fn event(object: &Object) -> Option<String> {
    let Object::GridEvent(event) = object else { return None };
    event.metadata.name.clone()
}

/// The limits of these events, and when each has to be kept.
fn limits(snapshot: &Snapshot, events: &BTreeSet<String>) -> Vec<(String, Time)> {
    let policy = &snapshot.policy;
    let own = snapshot.limits.iter().filter(|limit| events.contains(&limit.name));
    own.map(|limit| (limit.name.clone(), limit.order_by(policy).max(limit.binds_from(policy)))).collect()
}

/// The same site at a later moment, were nothing else to happen until then.
fn later(snapshot: &Snapshot, at: Time) -> Side {
    let span = at.since(snapshot.now);
    let mut then = Snapshot { now: at, ..snapshot.clone() };
    for reading in then.meters.iter_mut().flatten() {
        reading.time = reading.time.after(span);
    }
    for load in &mut then.loads {
        load.bound.since = load.bound.since.after(span);
    }
    let told = explain(&then, sha256_hex);
    (then, told)
}

/// The prices that a site would act on. Of what is not changed they are those of the last decision.
fn prices(view: &View, after: &View, name: &str, notes: &mut Vec<String>) -> Option<Prices> {
    let spec = |view: &View| Some(view.sites.get(name)?.tables.as_ref()?.budget.spec.clone());
    let new = spec(after)?;
    let known = view.sites.get(name).and_then(|site| site.prices).zip(spec(view));
    let mut remembered = Remembered { known: known.as_ref() };
    let mut errors = Vec::new();
    let mut prices = observe::prices(name, &new, &mut remembered, view.now, &mut errors);
    if let Some((was, old)) = &known {
        if old.energy_price == new.energy_price {
            (prices.energy, prices.energy_point) = (was.energy, was.energy_point);
            errors.clear();
        }
        if old.hashprice == new.hashprice {
            (prices.hashprice, prices.hashprice_point) = (was.hashprice, was.hashprice_point);
        }
    }
    notes.extend(errors);
    Some(prices)
}

/// What was published of the sources that a site has, and fixed values.
struct Remembered<'a> {
    known: Option<&'a (Prices, PowerBudgetSpec)>,
}

impl Feeds for Remembered<'_> {
    fn newest(&mut self, asked: Asked<'_>, source: Source<'_>, now: Time) -> Result<Option<Point>, String> {
        let Source::Price(source) = source else { return Ok(None) };
        if let Some(fixed) = &source.static_ {
            return Ok(Some(Point { value: fixed.value.get(), since: now, until: Time::MAX, known: now }));
        }
        let known = self.known.and_then(|(prices, spec)| match asked {
            Asked::EnergyPrice(_) => {
                let same = spec.energy_price.as_ref().is_some_and(|own| own.source == *source);
                prices.energy_point.filter(|_| same)
            }
            Asked::Hashprice(_) => {
                let same = spec.hashprice.as_ref().is_some_and(|own| own.source == *source);
                prices.hashprice_point.filter(|_| same)
            }
            _ => None,
        });
        match (known, asked) {
            (Some(point), _) => Ok(Some(point)),
            (None, Asked::EnergyPrice(site) | Asked::Hashprice(site)) => {
                Err(format!("{site}: a new price source is read only once it is applied; without it everything holds"))
            }
            (None, _) => Ok(None),
        }
    }
}

type Side = (Snapshot, Explained);

fn compare(
    answer: &mut WhatIf,
    view: &View,
    site: &Site,
    (old, new): (Option<&Side>, &Side),
    applied: &BTreeSet<String>,
) {
    let leases: Vec<String> = new.0.leases.iter().map(|lease| lease.name.clone()).collect();
    let names = Names { tree: &new.0.tree, loads: &site.rows, leases: &leases, now: view.now };
    loads(answer, old, new, &names);
    for (at, name) in leases.iter().enumerate() {
        let Some(award) = new.1.plan.leases.get(at) else { continue };
        let was = old.and_then(|old| state(old, name));
        if applied.contains(name) {
            let why = sentence(&award.reason, &names);
            answer.admissions.push(admission(name, &award.state, why));
        }
        let change = granted(was, &award.state, || sentence(&award.reason, &names));
        answer.leases.extend(change.map(|change| Amount { lease: name.clone(), ..change }));
    }
    let absent =
        || old.is_some_and(|old| old.0.loads.iter().any(|load| new.0.loads.iter().all(|n| n.name != load.name)));
    if absent() {
        answer.notes.push("loads that nothing wants any more are lowered to nothing before they go".into());
    }
    let margin = |side: &Side| side.1.hourly.margin();
    let before = old.map(margin).unwrap_or_default();
    let money = Money {
        site: site.name.clone(),
        before_usd_per_hour: usd(before),
        after_usd_per_hour: usd(margin(new)),
        difference_usd_per_hour: usd(margin(new) - before),
    };
    if old.is_none_or(|old| margin(old) != margin(new)) {
        answer.money.push(money);
    }
}

fn state<'a>(side: &'a Side, name: &str) -> Option<&'a LeaseState> {
    let at = side.0.leases.iter().position(|lease| lease.name == *name)?;
    side.1.plan.leases.get(at).map(|award| &award.state)
}

/// Loads that would go elsewhere, those alike together.
fn loads(answer: &mut WhatIf, old: Option<&Side>, new: &Side, names: &Names<'_>) {
    let targets = |side: &Side| -> BTreeMap<String, Watts> {
        let all = side.0.loads.iter().zip(&side.1.targets);
        all.map(|(load, watts)| (load.name.to_string(), *watts)).collect()
    };
    let was = old.map(targets).unwrap_or_default();
    let reasons = unramped(&new.0);
    for (load, target) in new.0.loads.iter().zip(&new.1.targets) {
        let from = was.get(load.name.as_ref()).copied();
        if from == Some(*target) {
            continue;
        }
        let why = reasons.load(load.id).map(|award| sentence(&award.reason, names)).unwrap_or_default();
        let (from, to) = (from.map(Watts::get), Some(target.get()));
        match answer.loads.iter_mut().find(|c| (c.from_watts, c.to_watts, &c.why) == (from, to, &why)) {
            Some(change) => change.count += 1,
            None => {
                let load = load.name.to_string();
                answer.loads.push(LoadChange { load, count: 1, from_watts: from, to_watts: to, why });
            }
        }
    }
}

/// The same decision as if the ramp had arrived: its reasons are those that stay.
fn unramped(snapshot: &Snapshot) -> Plan {
    let fast = Watts::mega(1_000_000);
    let policy = Policy { up_watts_per_minute: fast, down_watts_per_minute: fast, ..snapshot.policy };
    let since = snapshot.now.before(Span::minutes(1));
    let ramp = Some(Ramp { up_since: since, down_since: since });
    let memory = Memory { ramp, ..snapshot.memory.clone() };
    decide(&Snapshot { policy, memory, ..snapshot.clone() }, sha256_hex)
}

fn admission(lease: &str, state: &LeaseState, why: String) -> Admission {
    let (answer, why) = match state {
        LeaseState::Requested => ("Requested", why),
        LeaseState::Offered(offer) => {
            ("Offered", format!("at {} USD, accepted by hash {}", offer.terms.price, offer.hash))
        }
        LeaseState::Refused(_) => ("Refused", why),
        LeaseState::Accepted(contract) => ("Accepted", accepted(contract)),
        LeaseState::Ended(_) => ("Ended", why),
    };
    Admission { lease: lease.into(), answer: answer.into(), why }
}

fn accepted(contract: &Contract) -> String {
    let terms = &contract.offer.terms;
    let service = if terms.firm { "firm" } else { "flexible" };
    format!("{service}, at {} USD, {} granted at once", terms.price, contract.grant.watts)
}

/// How a lease's grant and notice would differ.
fn granted(was: Option<&LeaseState>, is: &LeaseState, why: impl FnOnce() -> String) -> Option<Amount> {
    let contract = |state: &LeaseState| match state {
        LeaseState::Accepted(contract) => Some(contract.as_ref().clone()),
        _ => None,
    };
    let (old, new) = (was.and_then(contract), contract(is));
    let watts = |contract: &Option<Contract>| contract.as_ref().map_or(Watts::ZERO, |c| c.grant.watts);
    let notice = |contract: &Option<Contract>| contract.as_ref().and_then(Contract::running_notice).map(|n| n.deadline);
    let (from, to) = (watts(&old), watts(&new));
    if from == to && notice(&old) == notice(&new) {
        return None;
    }
    let deadline = notice(&new).filter(|deadline| notice(&old) != Some(*deadline));
    Some(Amount {
        lease: String::new(),
        from_watts: from.get(),
        to_watts: to.get(),
        notice_deadline: deadline.map(rfc3339),
        why: why(),
    })
}
