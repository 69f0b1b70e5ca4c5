//! What the operator owns: one load for each container and node, and the nameplate sums by which nothing that vanishes
//! frees a watt. The agents' pods are in `pods`.

pub use super::pods::{AgentPods, PodOptions, agent_key};
use super::site::Site;
use super::tables::WantedLoad;
use super::{Options, Purpose, Purposed};
use crate::api::controllable_load::{Order, PROTOCOL};
use crate::api::power_budget::FeederNameplate;
use crate::api::{
    BUDGET_FINALIZER, BUDGET_LABEL, ControllableLoad, ControllableLoadSpec, LOAD_FINALIZER, LOAD_LABEL, LoadKind,
    OWNER_LABEL, WattsQuantity, WholeWatts,
};
use crate::digest::sha256_hex;
use crate::store::Write;
use ampacity_core::decide::decide;
use ampacity_core::guard::{Basis, KnownLimit, LoadId};
use ampacity_core::plan::Plan;
use ampacity_core::snapshot::{Member, Snapshot, TimedLimit};
use ampacity_core::units::{Span, Time, Watts};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;

/// Loads created in one turn: a new site of thousands comes up in seconds, and nothing else waits for it.
const BIRTHS_A_TURN: usize = 100;

/// Births, releases and finalizers that are due. A load is born only after the budget's status keeps its nameplate.
pub(super) fn births(site: &mut Site, options: &Options, now: Time) -> Vec<Purposed> {
    let mut writes = Vec::new();
    let Some(tables) = &site.tables else { return writes };
    let Some(ledger) = &site.ledger else { return writes };
    let finalizers = tables.budget.metadata.finalizers.as_deref().unwrap_or_default();
    if !finalizers.iter().any(|f| f == BUDGET_FINALIZER) {
        writes.push((Write::Finalizer { key: site.key(), present: true }, Purpose::Other));
        return writes;
    }
    let unborn = site.wanted().filter(|(_, id)| id.is_none());
    let missing: Vec<WantedLoad> = unborn.map(|(want, _)| want.clone()).collect();
    let kept = site.kept_nameplates();
    site.nameplates = needed(site, &missing);
    let covered = |want: &&WantedLoad| {
        let Some(node) = tables.terms(want.member).and_then(|terms| tables.tree.node(terms.node)) else { return false };
        let needs = site.nameplates.get(&node.name).copied().unwrap_or_default();
        kept.get(&node.name).is_some_and(|watts| *watts >= needs)
    };
    let born = missing.iter().filter(|want| covered(want)).take(BIRTHS_A_TURN);
    writes.extend(born.filter_map(|want| Some((birth(site, want, options, ledger.epoch())?, Purpose::Other))));
    for (at, row) in site.rows.iter().enumerate().filter(|(_, row)| !row.released) {
        let load = LoadId(u32::try_from(at).unwrap_or(u32::MAX));
        let bound = ledger.bound(load, now);
        // Guard rule 6: by proof, or on a named person's word.
        let may_go = row.word || (bound.watts == Watts::ZERO && bound.basis == Basis::Known);
        if row.leaving && may_go {
            let release = Purpose::Release { site: site.name.clone(), load };
            writes.push((Write::Finalizer { key: row.key.clone(), present: false }, release));
        } else if row.member == Member::Retired && may_go {
            writes.push((Write::Delete(row.key.clone()), Purpose::Other));
        }
    }
    writes
}

/// The loads that a site wants and does not have, as they would be born.
pub(super) fn unborn(site: &Site, options: &Options) -> Vec<ControllableLoad> {
    let Some(epoch) = site.ledger.as_ref().map(|ledger| ledger.epoch()) else { return Vec::new() };
    let missing = site.wanted().filter(|(_, id)| id.is_none());
    let born = missing.filter_map(|(want, _)| match birth(site, want, options, epoch)? {
        Write::CreateLoad(load) => Some(*load),
        _ => None,
    });
    born.collect()
}

/// By feeder's name: the nameplates of every load that is not released, and of those to be born.
fn needed(site: &Site, missing: &[WantedLoad]) -> BTreeMap<String, Watts> {
    let mut sums = BTreeMap::new();
    let Some(tables) = &site.tables else { return sums };
    let living = site.rows.iter().filter(|row| !row.released).map(|row| &row.terms);
    let unborn = missing.iter().filter_map(|want| tables.terms(want.member));
    for terms in living.chain(unborn) {
        if let Some(node) = tables.tree.node(terms.node) {
            *sums.entry(node.name.clone()).or_default() += terms.nameplate;
        }
    }
    sums
}

/// A load at its birth: sequence 0 and its nameplate as setpoint, which raises nothing and blacks nothing out.
fn birth(site: &Site, want: &WantedLoad, options: &Options, epoch: u64) -> Option<Write> {
    let tables = site.tables.as_ref()?;
    let terms = tables.terms(want.member)?;
    let owner = want.owner.fleet.as_ref().or(want.owner.pool.as_ref())?;
    let labels = [(BUDGET_LABEL, &site.name), (OWNER_LABEL, owner), (LOAD_LABEL, &want.name)];
    let metadata = ObjectMeta {
        name: Some(want.name.clone()),
        namespace: Some(options.namespace.clone()),
        labels: Some(labels.into_iter().map(|(key, value)| (key.to_owned(), value.clone())).collect()),
        finalizers: Some(vec![LOAD_FINALIZER.into()]),
        ..ObjectMeta::default()
    };
    let spec = ControllableLoadSpec {
        protocol: PROTOCOL,
        budget: site.name.clone(),
        feeder: tables.tree.node(terms.node)?.name.clone(),
        kind: if matches!(want.member, Member::Fleet(_)) { LoadKind::Miner } else { LoadKind::Gpu },
        owner: want.owner.clone(),
        nameplate_watts: WholeWatts(terms.nameplate.get()),
        setpoint_watts: WholeWatts(terms.nameplate.get()),
        fallback_watts: WholeWatts(terms.fallback.get()),
        order: Order { epoch: i64::try_from(epoch).ok()?, sequence: 0 },
        schedule: Vec::new(),
    };
    Some(Write::CreateLoad(Box::new(ControllableLoad { metadata, spec, status: None })))
}

impl Site {
    /// By feeder's name: the nameplate sums that the budget's status keeps.
    pub(super) fn kept_nameplates(&self) -> BTreeMap<String, Watts> {
        let status = self.tables.as_ref().and_then(|t| t.budget.status.as_ref());
        let kept = status.map(|s| s.nameplates.as_slice()).unwrap_or_default();
        kept.iter().map(|k| (k.feeder.clone(), k.nameplate_watts.watts())).collect()
    }

    /// The sums to keep from now on: never below what is needed, and lowered only by a release.
    pub(super) fn nameplates_to_keep(&self) -> Vec<FeederNameplate> {
        let mut sums: Vec<FeederNameplate> = self
            .nameplates
            .iter()
            .map(|(feeder, watts)| FeederNameplate {
                feeder: feeder.clone(),
                nameplate_watts: WattsQuantity::new(watts.get()),
            })
            .collect();
        sums.sort_by(|a, b| a.feeder.cmp(&b.feeder));
        sums
    }

    /// Where a load's agent is to go without a leader; none where its order says so already. Under a firm lease it
    /// stays where it is.
    pub(super) fn fallback(&self, load: LoadId) -> Option<Watts> {
        let wanted = self.rows.get(load.index())?.terms.fallback;
        let stands = self.ledger.as_ref()?.view(load)?.fallback;
        (wanted != stands).then_some(wanted)
    }
}

impl Site {
    /// The limits known to be coming that a load's agent is to be told of; none where its order says so already.
    pub(super) fn coming(&self, load: LoadId) -> Option<Vec<KnownLimit>> {
        let stands = &self.ledger.as_ref()?.view(load)?.schedule;
        let wanted = self.schedules.get(load.index()).map(Vec::as_slice).unwrap_or_default();
        (wanted != stands.as_slice()).then(|| wanted.to_vec())
    }

    /// Works out, for each limit that is known to be coming, what every load would be told when it binds: should no
    /// operator lead by then, the agents keep it by themselves. What is in force already is in the setpoints.
    pub(super) fn foresee(&mut self, snapshot: &Snapshot, plan: &Plan) {
        let due = |limit: &&TimedLimit| {
            let binds = limit.order_by(&snapshot.policy);
            binds > snapshot.now && binds <= snapshot.now.after(FORESEEN)
        };
        let coming: Vec<TimedLimit> = snapshot.limits.iter().filter(due).take(COMING_MAX).cloned().collect();
        let known: Vec<String> = coming.iter().map(|limit| format!("{limit:?}")).collect();
        if known == self.foreseen && self.schedules.len() == self.rows.len() {
            return;
        }
        self.foreseen = known;
        self.schedules = vec![Vec::new(); self.rows.len()];
        for limit in coming {
            let from = limit.order_by(&snapshot.policy);
            let then = decide(&Snapshot { now: from, ..snapshot.clone() }, sha256_hex);
            for ((schedule, award), present) in self.schedules.iter_mut().zip(&then.loads).zip(&plan.loads) {
                if award.watts < present.watts {
                    let until = limit.binds_until(&snapshot.policy);
                    schedule.push(KnownLimit { from, until, limit: award.watts });
                }
            }
        }
    }
}

/// Limits further ahead than this are not told to agents yet.
const FORESEEN: Span = Span::minutes(60);
/// Limits told to one agent at most: as many as a load's spec holds.
const COMING_MAX: usize = 8;
