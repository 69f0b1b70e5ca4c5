//! Mining fleets.

use super::{LoadTerms, feeder, names};
use crate::api::{MiningFleet, PowerBudget};
use crate::operator::cache::Cache;
use crate::operator::problem::{Cause, Problem};
use crate::store::{Key, Kind};
use ampacity_core::curve::{MinerCurve, Preset};
use ampacity_core::snapshot::{Fleet, Ownership};
use ampacity_core::tree::Tree;
use ampacity_core::units::{GigahashPerSecond, Ppm, Span, UsdPerMwh, Watts};
use kube::ResourceExt;

/// What a miner draws asleep at most: LuxOS and fast-percent firmware about 25 W. A container's floor carries as much
/// for each of its machines and its pumps and fans: less could not be proved.
const SLEEP: Watts = Watts::new(30);

/// One fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetRow {
    /// The object.
    pub key: Key,
    /// As decisions know it.
    pub core: Fleet,
    /// How many containers it is to have.
    pub containers: u32,
    /// What is common to them.
    pub terms: LoadTerms,
}

pub(super) fn read(cache: &Cache, budget: &PowerBudget, tree: &Tree, problems: &mut Vec<Problem>) -> Vec<FleetRow> {
    let site = budget.name_any();
    let mut rows = Vec::new();
    for fleet in cache.fleets().filter(|fleet| fleet.spec.budget == site) {
        if fleet.metadata.deletion_timestamp.is_some() {
            continue;
        }
        match row(fleet, budget, tree) {
            Ok(row) => rows.push(row),
            Err(problem) => problems.push(problem),
        }
    }
    rows
}

fn row(fleet: &MiningFleet, budget: &PowerBudget, tree: &Tree) -> Result<FleetRow, Problem> {
    let (spec, key) = (&fleet.spec, Key::cluster(Kind::MiningFleet, &fleet.name_any()));
    let Some(node) = feeder(tree, &spec.feeder) else {
        return Err(Problem::missing(key, Cause::FeederNotFound, "spec.feeder", &spec.feeder, &names(tree)));
    };
    let presets: Vec<Preset> = spec
        .curve
        .iter()
        .map(|p| Preset { watts: p.watts.watts(), hashrate: GigahashPerSecond::new(p.gigahash_per_second) })
        .collect();
    let curve = MinerCurve::new(SLEEP.min(presets.first().map_or(SLEEP, |p| p.watts - Watts::new(1))), &presets)
        .map_err(|e| Problem::invalid(key.clone(), format!("spec.curve: {e}")))?;
    let miners = u32::try_from(spec.miners_per_container).unwrap_or(0);
    let overhead = spec.overhead_watts.watts();
    let full = Watts::new(curve.full().watts.get().saturating_mul(i64::from(miners))) + overhead;
    let nameplate = spec.nameplate_watts_per_container.map_or(full, |w| w.watts());
    if nameplate < full {
        let why = format!(
            "spec.nameplateWattsPerContainer: {} W is less than its {miners} machines and overhead draw at full power, {} W",
            nameplate.get(),
            full.get()
        );
        return Err(Problem::invalid(key, why));
    }
    let asleep = Watts::new(SLEEP.get().saturating_mul(i64::from(miners))) + overhead;
    let floor = spec.thermal_floor_watts.watts().max(asleep);
    if floor > nameplate {
        let why = format!("spec.thermalFloorWatts: {} W is above the nameplate of {} W", floor.get(), nameplate.get());
        return Err(Problem::invalid(key, why));
    }
    let mining = budget.spec.hashprice.as_ref();
    let core = Fleet {
        name: fleet.name_any(),
        ladder: curve,
        miners,
        overhead,
        thermal_floor: floor,
        step: spec.step_watts.map_or(Watts::ZERO, |w| w.watts()),
        indivisible: spec.step_watts.is_some_and(|w| w.watts() >= nameplate - floor),
        minimum_on: Span::seconds(spec.minimum_on_seconds),
        minimum_off: Span::seconds(spec.minimum_off_seconds),
        start_cost: spec.start_cost_usd.usd(),
        stop_cost: spec.stop_cost_usd.usd(),
        ownership: ownership(fleet),
        pool_fee: mining.map_or(Ppm::ZERO, |m| m.pool_fee_percent.ppm()),
        wear: mining.map_or(UsdPerMwh::ZERO, |m| m.wear_per_mwh.usd_per_mwh()),
    };
    let fallback = spec.fallback_watts.map_or(floor, |w| w.watts()).min(nameplate);
    let terms = LoadTerms { node, nameplate, fallback, proof_within: Span::seconds(spec.proof_seconds) };
    Ok(FleetRow { key, core, containers: u32::try_from(spec.containers).unwrap_or(0), terms })
}

fn ownership(fleet: &MiningFleet) -> Ownership {
    match &fleet.spec.ownership.hosted {
        None => Ownership::Own,
        Some(hosted) => Ownership::Hosted {
            rate: hosted.hosting_rate_per_mwh.usd_per_mwh(),
            credit: hosted.curtailment_credit_per_mwh.usd_per_mwh(),
        },
    }
}
