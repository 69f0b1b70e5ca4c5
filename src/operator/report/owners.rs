//! The status of a `MiningFleet`, and what is common to those that own loads.

use super::{Conditions, Draft, Scene, few, many, rejection};
use crate::api::mining_fleet::{MiningFleetCondition as Type, MiningFleetReason as Word};
use crate::api::quantity::{SignedMoney, WattsQuantity};
use crate::api::{MiningFleet, MiningFleetStatus};
use crate::operator::cache::Cache;
use crate::operator::problem::Cause;
use crate::operator::tables::FleetRow;
use crate::store::{Key, Kind, Status};
use ampacity_core::bid::{Bid, Container, MiningValue};
use ampacity_core::snapshot::{Member, Ownership};
use ampacity_core::units::{UsdPerPhDay, Watts};
use kube::ResourceExt;
use std::collections::BTreeMap;

/// Millionths of a dollar: nobody compares break-evens more finely.
const CENT: i64 = 10_000;

/// What the loads of one fleet or pool add up to.
#[derive(Default)]
pub(super) struct Tally {
    /// That exist.
    pub(super) loads: usize,
    /// Whose agent is heard.
    pub(super) agents: usize,
    /// Σ setpoints, W.
    pub(super) setpoint: Watts,
    /// Σ what their agents measure, W.
    pub(super) measured: Watts,
    /// Wanted and not under orders yet: not created, not claimed, not stated.
    pub(super) waiting: Vec<String>,
    /// Whose agent is lost.
    pub(super) lost: Vec<String>,
}

/// The sums of every fleet and pool that has a load or wants one, in one pass over the loads.
pub(super) fn tallies(scene: &Scene<'_>) -> BTreeMap<Member, Tally> {
    let mut tallies: BTreeMap<Member, Tally> = BTreeMap::new();
    for (load, row) in scene.loads() {
        let tally = tallies.entry(row.member).or_default();
        tally.loads += 1;
        tally.setpoint += scene.ledger.view(load).map_or(Watts::ZERO, |view| view.setpoint);
        if let Some(report) = scene.heard(row) {
            tally.agents += 1;
            tally.measured += report.measured.unwrap_or_default();
        }
        if scene.lost(load, row).is_some() {
            tally.lost.push(row.name.clone());
        }
    }
    for (want, id) in scene.site.wanted() {
        if id.is_none_or(|load| !scene.under_orders(load)) {
            tallies.entry(want.member).or_default().waiting.push(want.name.clone());
        }
    }
    tallies
}

impl Tally {
    /// Why not every load is under orders, if so: whether agents are lost, and in words.
    pub(super) fn wanting(&self) -> Option<(bool, String)> {
        if !self.lost.is_empty() {
            return Some((true, format!("{} of {} agents silent: {}", self.lost.len(), self.loads, few(&self.lost))));
        }
        let waiting = !self.waiting.is_empty();
        waiting
            .then(|| (false, format!("{} not created, claimed and proved: {}", self.waiting.len(), few(&self.waiting))))
    }
}

/// The statuses of the site's fleets.
pub(super) fn drafts(scene: &Scene<'_>, cache: &Cache, tallies: &BTreeMap<Member, Tally>) -> Vec<Draft> {
    let fleets = cache.fleets().filter(|fleet| fleet.spec.budget == scene.site.name);
    fleets
        .filter(|fleet| fleet.metadata.deletion_timestamp.is_none())
        .filter_map(|fleet| {
            let key = Key::cluster(Kind::MiningFleet, &fleet.name_any());
            Draft::of(key, status(scene, fleet, tallies), fleet.status.as_ref(), |s| &s.conditions, Status::MiningFleet)
        })
        .collect()
}

fn status(scene: &Scene<'_>, fleet: &MiningFleet, tallies: &BTreeMap<Member, Tally>) -> MiningFleetStatus {
    let mut status = fleet.status.clone().unwrap_or_default();
    status.observed_generation = fleet.metadata.generation;
    let key = Key::cluster(Kind::MiningFleet, &fleet.name_any());
    let rejected = rejection(&scene.problems(&key));
    let place = scene.tables.fleets.iter().position(|row| row.key == key);
    let generation = fleet.metadata.generation;
    let mut say = Conditions { list: &mut status.conditions, generation, now: scene.now };
    let Some(at) = place.and_then(|at| u32::try_from(at).ok()) else {
        let (cause, message) = rejected.unwrap_or((Cause::Invalid, "not read yet".into()));
        let word = if cause == Cause::FeederNotFound { Word::FeederNotFound } else { Word::Invalid };
        say.say::<MiningFleet>(Type::Accepted, Some((false, word, message.clone())));
        say.say::<MiningFleet>(Type::Ready, Some((false, word, message)));
        return status;
    };
    let none = Tally::default();
    let tally = tallies.get(&Member::Fleet(at)).unwrap_or(&none);
    say.say::<MiningFleet>(Type::Accepted, Some((true, Word::Valid, "the spec makes sense".into())));
    let wanting = tally.wanting();
    let ready = match &wanting {
        Some((true, message)) => (false, Word::Silent, message.clone()),
        Some((false, message)) => (false, Word::Starting, message.clone()),
        None => (true, Word::Operating, format!("{} under orders", many(tally.loads, "container"))),
    };
    say.say::<MiningFleet>(Type::Ready, Some(ready));
    let lost = wanting.filter(|(lost, _)| *lost).map(|(_, message)| (true, Word::Silent, message));
    say.say::<MiningFleet>(Type::AgentLost, lost);
    status.loads = count(tally.loads);
    status.agents = count(tally.agents);
    status.setpoint_watts = WattsQuantity::new(tally.setpoint.get());
    status.measured_watts = WattsQuantity::new(tally.measured.get());
    let earns = scene.break_evens().get(at as usize).copied().flatten();
    status.break_even_per_mwh = earns.map(|v| SignedMoney::new(v.get() - v.get().rem_euclid(CENT)));
    status
}

/// A count as a status holds it.
pub(super) fn count(of: usize) -> i32 {
    i32::try_from(of).unwrap_or(i32::MAX)
}

/// What the best watts of a container are worth, USD/MWh: above that price of power nothing of it pays.
pub(super) fn break_even(row: &FleetRow, hashprice: UsdPerPhDay) -> Option<ampacity_core::units::UsdPerMwh> {
    let fleet = &row.core;
    let container = Container {
        node: row.terms.node,
        miners: fleet.miners,
        curve: &fleet.ladder,
        standby: Watts::ZERO,
        overhead: fleet.overhead,
        thermal_floor: fleet.thermal_floor,
        minimum: Watts::ZERO,
        step: fleet.step,
        one_piece: fleet.indivisible,
    };
    let value = match fleet.ownership {
        Ownership::Own => MiningValue::Own { hashprice, pool_fee: fleet.pool_fee, wear: fleet.wear },
        Ownership::Hosted { rate, credit } => MiningValue::Hosted(rate + credit),
    };
    Bid::miners(&container, value).ok()?.segments().first().map(|segment| segment.value)
}
