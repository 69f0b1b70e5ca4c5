//! Lockouts on GPU nodes: no Job runs on a node that a person holds below what it draws at its lowest caps.
//!
//! Such a node is cordoned, so that nothing new starts there, and the pods that leases have on it are deleted: their Jobs
//! make new ones, which go to the pool's other nodes or wait. What else a lease has goes on. When no lockout is left the
//! node is given back, if it was this operator that cordoned it.

use super::cache::Cache;
use super::site::Site;
use super::tables::{LockoutRow, PoolRow};
use super::{Purpose, Purposed};
use crate::store::{Key, Kind, Write};
use ampacity_core::snapshot::LockoutTarget;
use ampacity_core::tree::NodeId;
use ampacity_core::units::{Span, Watts};
use std::collections::BTreeSet;

/// Grace of a pod on a node that a person holds.
const GRACE: Span = Span::seconds(30);

/// What is to be written for the lockouts on a site's GPU nodes.
pub(super) fn apply(site: &Site, cache: &Cache) -> Vec<Purposed> {
    let Some(tables) = &site.tables else { return Vec::new() };
    let mut held = BTreeSet::new();
    let mut writes = Vec::new();
    for row in &tables.pools {
        for name in &row.nodes {
            let locked = is_held(site, row, name);
            let key = Key::cluster(Kind::Node, name);
            let Some(node) = cache.node(&key) else { continue };
            if locked {
                held.insert(name.as_str());
            }
            // A node that somebody else cordoned stays theirs.
            if (locked && !node.unschedulable) || (!locked && node.locked_out) {
                writes.push((Write::Cordon { node: key, on: locked }, Purpose::Other));
            }
        }
    }
    let there = |node: &Option<String>| node.as_deref().is_some_and(|node| held.contains(node));
    let pods = cache.pods().filter(|pod| pod.job.is_some() && !pod.finished && !pod.terminating && there(&pod.node));
    writes.extend(pods.map(|pod| {
        let key = Key::namespaced(Kind::Pod, &pod.namespace, &pod.name);
        (Write::DeletePod { pod: key, uid: pod.uid.clone(), grace: Some(GRACE) }, Purpose::Other)
    }));
    writes
}

/// Whether a lockout leaves a node less than it draws at its lowest caps.
fn is_held(site: &Site, row: &PoolRow, node: &str) -> bool {
    let Some(tables) = &site.tables else { return false };
    let pool = &row.core;
    let least = Watts::new(pool.min_cap.get().saturating_mul(i64::from(pool.gpus_per_node))) + pool.overhead;
    let is_node =
        |load: &str| load.strip_prefix(pool.name.as_str()).and_then(|rest| rest.strip_prefix('-')) == Some(node);
    let below = |at: NodeId| tables.tree.path(pool.node).any(|above| above == at);
    tables.lockouts.iter().any(|lockout| match lockout {
        LockoutRow::Load(name, lockout) => is_node(name) && lockout.limit < least,
        LockoutRow::Node(lockout) => {
            matches!(lockout.target, LockoutTarget::Node(at) if below(at)) && lockout.limit < least
        }
    })
}
