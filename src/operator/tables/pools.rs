//! GPU pools and their nodes.

use super::{LoadTerms, feeder, names};
use crate::api::{GpuPool, GpuPoolSpec, PowerBudget};
use crate::operator::cache::Cache;
use crate::operator::problem::{Cause, Problem};
use crate::store::{Key, Kind, NodeFacts};
use ampacity_core::curve::{CapCurve, CapPoint};
use ampacity_core::snapshot::Pool;
use ampacity_core::tree::Tree;
use ampacity_core::units::{Ppm, Span, Watts, mul_div};
use kube::ResourceExt;
use std::collections::BTreeMap;

/// One pool.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolRow {
    /// The object.
    pub key: Key,
    /// As decisions know it.
    pub core: Pool,
    /// The labels that a node of it has.
    pub labels: BTreeMap<String, String>,
    /// Its nodes, by name; those that are in another pool too are left out.
    pub nodes: Vec<String>,
    /// What is common to them.
    pub terms: LoadTerms,
}

pub(super) fn read(cache: &Cache, budget: &PowerBudget, tree: &Tree, problems: &mut Vec<Problem>) -> Vec<PoolRow> {
    let site = budget.name_any();
    let mut rows = Vec::new();
    for pool in cache.pools().filter(|pool| pool.spec.budget == site) {
        if pool.metadata.deletion_timestamp.is_some() {
            continue;
        }
        match row(pool, tree) {
            Ok(mut row) => {
                row.nodes = nodes(cache, pool, &row.key, problems);
                rows.push(row);
            }
            Err(problem) => problems.push(problem),
        }
    }
    rows
}

fn selects(pool: &GpuPool, node: &NodeFacts) -> bool {
    pool.spec.node_labels.iter().all(|(name, value)| node.labels.get(name) == Some(value))
}

/// The nodes of a pool. One that another pool selects too, of this site or of another, belongs to neither.
fn nodes(cache: &Cache, pool: &GpuPool, key: &Key, problems: &mut Vec<Problem>) -> Vec<String> {
    let mut own = Vec::new();
    let mut shared: Option<(String, String)> = None;
    for node in cache.nodes().filter(|node| selects(pool, node)) {
        let other = cache.pools().find(|other| other.name_any() != pool.name_any() && selects(other, node));
        match other {
            None => own.push(node.name.clone()),
            Some(other) => shared = shared.or_else(|| Some((node.name.clone(), other.name_any()))),
        }
    }
    if let Some((node, other)) = shared {
        let message = format!(
            "spec.nodeLabels: node {node:?} has the labels of pool {other:?} too; a node is in one pool, so it is left out of both"
        );
        problems.push(Problem { key: key.clone(), cause: Cause::NodeInTwoPools, message });
    }
    own
}

fn row(pool: &GpuPool, tree: &Tree) -> Result<PoolRow, Problem> {
    let (spec, key) = (&pool.spec, Key::cluster(Kind::GpuPool, &pool.name_any()));
    let Some(node) = feeder(tree, &spec.feeder) else {
        return Err(Problem::missing(key, Cause::FeederNotFound, "spec.feeder", &spec.feeder, &names(tree)));
    };
    let points: Vec<CapPoint> = spec
        .throughput
        .iter()
        .map(|p| CapPoint { cap: p.cap_watts.watts(), throughput: p.throughput_percent.ppm() })
        .collect();
    let points = if points.is_empty() { in_proportion(spec) } else { points };
    let curve = CapCurve::new(&points).map_err(|e| Problem::invalid(key.clone(), format!("spec.throughput: {e}")))?;
    let gpus = u32::try_from(spec.gpus_per_node).unwrap_or(0);
    let (least, most) = (spec.min_cap_watts.watts(), spec.max_cap_watts.watts());
    let overhead = spec.overhead_watts.watts();
    let full = Watts::new(most.get().saturating_mul(i64::from(gpus))) + overhead;
    let nameplate = spec.nameplate_watts.map_or(full, |w| w.watts());
    if nameplate < full {
        let why = format!(
            "spec.nameplateWatts: {} W is less than its {gpus} GPUs at maxCapWatts and overhead draw, {} W",
            nameplate.get(),
            full.get()
        );
        return Err(Problem::invalid(key, why));
    }
    let core =
        Pool { name: pool.name_any(), node, gpus_per_node: gpus, min_cap: least, max_cap: most, overhead, curve };
    // Without a leader a node stays where it is unless its owner says otherwise: somebody's training runs there.
    let fallback = spec.fallback_watts.map_or(nameplate, |w| w.watts()).min(nameplate);
    let terms = LoadTerms { node, nameplate, fallback, proof_within: Span::seconds(spec.proof_seconds) };
    Ok(PoolRow { key, core, labels: spec.node_labels.clone(), nodes: Vec::new(), terms })
}

/// Without a measured curve throughput is taken to follow the cap: the least that capping could save.
fn in_proportion(spec: &GpuPoolSpec) -> Vec<CapPoint> {
    let most = spec.max_cap_watts.watts();
    let share = |cap: Watts| Ppm::new(mul_div(cap.get(), 1_000_000, most.get()));
    let mut caps = vec![spec.min_cap_watts.watts(), most];
    caps.dedup();
    caps.into_iter().map(|cap| CapPoint { cap, throughput: share(cap) }).collect()
}
