//! What a site consists of, from the objects that people write: read again whenever one of them changes.
//!
//! An object that makes no sense beside the others is left out and its author told ([`Problem`]); the rest of the site
//! goes on.

mod classes;
mod events;
mod fleets;
mod pools;

use super::cache::Cache;
use super::problem::Problem;
use crate::api::controllable_load::LoadOwner;
use crate::api::{Money, PowerBudget};
use ampacity_core::lease::{Delivery, LeaseState};
use ampacity_core::snapshot::{Fleet, Lockout, Member, Obligation, Pool, TimedLimit, Unread};
use ampacity_core::tree::{NodeId, Tree};
use ampacity_core::units::{Span, Time, UsdPerMwh, Watts};
use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use classes::ClassRow;
pub(super) use events::since;
pub use fleets::FleetRow;
pub use pools::PoolRow;

/// A meter's sample is stale at this age where neither it nor the site's own meter says.
pub const METER_STALE: Span = Span::seconds(90);

/// What is common to every load of a fleet or pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadTerms {
    /// The feeder.
    pub node: NodeId,
    /// The most that one load could ever draw, W.
    pub nameplate: Watts,
    /// Where its agent goes without a leader, W.
    pub fallback: Watts,
    /// How long its agent may take to prove an order.
    pub proof_within: Span,
}

/// A site as it is configured.
#[derive(Clone, Debug)]
pub struct Tables {
    /// The budget as it was read.
    pub budget: Arc<PowerBudget>,
    /// Its limit tree, without the halls of tenants.
    pub tree: Tree,
    /// Feeders that a Power class leases: each counts at its limit unless its relay is read back.
    pub halls: BTreeSet<NodeId>,
    /// Fleets, by name.
    pub fleets: Vec<FleetRow>,
    /// Pools, by name.
    pub pools: Vec<PoolRow>,
    /// Classes over those pools and feeders, by name.
    pub classes: Vec<ClassRow>,
    /// Limits of grid events, over or not.
    pub limits: Vec<TimedLimit>,
    /// Obligations of grid events, over or not.
    pub obligations: Vec<Obligation>,
    /// Lockouts; those on a load by its name.
    pub lockouts: Vec<LockoutRow>,
    /// Lockouts and events that cannot be read: what they concern is not raised.
    pub unread: Vec<UnreadRow>,
    /// Every load that there is to be: one for each container and node. Kept, for every turn asks for it.
    pub wanted: Vec<WantedLoad>,
}

/// A lockout, before its load is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockoutRow {
    /// On a load of this name.
    Load(String, Lockout),
    /// On a node.
    Node(Lockout),
}

/// What cannot be read, before its load is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadRow {
    /// The one load that it was on, by name; none: all below its node.
    pub load: Option<String>,
    /// It, on its node.
    pub unread: Unread,
}

/// What happened to be seen first when: an event that comes late cannot be obeyed earlier.
pub type FirstSeen = BTreeMap<String, Time>;

impl Tables {
    /// Reads one site. None where its budget makes no limit tree: then the tree before it stays in force.
    pub fn read(cache: &Cache, budget: &Arc<PowerBudget>, seen: &FirstSeen) -> (Option<Self>, Vec<Problem>) {
        let mut problems = Vec::new();
        let key = crate::store::Key::cluster(crate::store::Kind::PowerBudget, &budget.name_any());
        let tree = match Tree::try_from(budget.as_ref()) {
            Ok(tree) => tree,
            Err(error) => {
                problems.push(Problem::invalid(key, error.to_string()));
                return (None, problems);
            }
        };
        let fleets = fleets::read(cache, budget, &tree, &mut problems);
        let pools = pools::read(cache, budget, &tree, &mut problems);
        let classes = classes::read(cache, budget, &tree, &pools, &mut problems);
        let halls = classes.iter().filter_map(ClassRow::hall).collect();
        let events::Asked { limits, obligations } = events::asked(cache, &tree, seen, &mut problems);
        let lockouts = events::lockouts(cache, &tree, &mut problems);
        let unread = events::unread(cache, &tree);
        let (budget, wanted) = (budget.clone(), wanted_loads(&fleets, &pools));
        let tables =
            Self { budget, tree, halls, fleets, pools, classes, limits, obligations, lockouts, unread, wanted };
        (Some(tables), problems)
    }

    /// The nodes that have a meter, and how old its sample may be: the site first, then feeders as they are listed.
    pub fn metered(&self) -> impl Iterator<Item = (NodeId, Span)> {
        let spec = &self.budget.spec;
        let site = spec.meter.as_ref().map(|meter| (NodeId::SITE, meter));
        let feeders = spec.feeders.iter().filter_map(|f| Some((self.tree.find(&f.name)?, f.meter.as_ref()?)));
        site.into_iter().chain(feeders).map(|(node, meter)| (node, Span::seconds(meter.stale_seconds)))
    }

    /// By node: how old the sample of its meter may be. A feeder without a meter follows the site's.
    pub fn meter_stale(&self) -> Vec<Span> {
        let site = self.metered().find(|(node, _)| *node == NodeId::SITE).map_or(METER_STALE, |(_, stale)| stale);
        let mut stale = vec![site; self.tree.len()];
        for (node, after) in self.metered() {
            if let Some(slot) = stale.get_mut(node.index()) {
                *slot = after;
            }
        }
        stale
    }

    /// The site's name.
    pub fn site(&self) -> String {
        self.budget.name_any()
    }

    /// Whether pinned terms that name this place are delivered here: one of its pools, or `site/feeder`.
    pub fn delivers(&self, place: &str) -> bool {
        self.pools.iter().any(|row| row.core.name == place)
            || place
                .split_once('/')
                .is_some_and(|(site, feeder)| site == self.site() && self.tree.find(feeder).is_some())
    }

    /// The pool that an accepted lease runs in.
    pub fn pool_of(&self, state: &LeaseState) -> Option<&PoolRow> {
        let LeaseState::Accepted(contract) = state else { return None };
        let Delivery::Jobs { pool, .. } = contract.offer.delivery else { return None };
        self.pools.get(pool as usize)
    }

    /// Both credits of a class as one per MWh withheld.
    pub fn credit(&self, per_mwh: Money, per_gpu_hour: Money, delivery: Delivery) -> UsdPerMwh {
        classes::credit(per_mwh, per_gpu_hour, delivery, &self.pools)
    }

    /// The fleets as decisions know them.
    pub fn core_fleets(&self) -> Vec<Fleet> {
        self.fleets.iter().map(|row| row.core.clone()).collect()
    }

    /// The pools as decisions know them.
    pub fn core_pools(&self) -> Vec<Pool> {
        self.pools.iter().map(|row| row.core.clone()).collect()
    }
}

/// The feeder of this name; the budget's own name is the site.
fn feeder(tree: &Tree, name: &str) -> Option<NodeId> {
    tree.find(name)
}

/// The names of a tree's nodes, for messages.
fn names(tree: &Tree) -> Vec<&str> {
    tree.nodes().iter().map(|node| node.name.as_str()).collect()
}

/// A load that the tables ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct WantedLoad {
    /// The object's name: the fleet's or pool's, then the container's number or the node's name.
    pub name: String,
    /// What it is one of.
    pub member: Member,
    /// Who owns it, as the object says it.
    pub owner: LoadOwner,
}

/// One load for each container and node.
fn wanted_loads(fleets: &[FleetRow], pools: &[PoolRow]) -> Vec<WantedLoad> {
    let containers = (0..).zip(fleets).flat_map(|(at, row)| {
        (0..row.containers).map(move |index| WantedLoad {
            name: format!("{}-{index}", row.core.name),
            member: Member::Fleet(at),
            owner: LoadOwner {
                fleet: Some(row.core.name.clone()),
                index: i32::try_from(index).ok(),
                pool: None,
                node: None,
            },
        })
    });
    let nodes = (0..).zip(pools).flat_map(|(at, row)| {
        row.nodes.iter().map(move |node| WantedLoad {
            name: format!("{}-{node}", row.core.name),
            member: Member::Pool(at),
            owner: LoadOwner { fleet: None, index: None, pool: Some(row.core.name.clone()), node: Some(node.clone()) },
        })
    });
    containers.chain(nodes).collect()
}

impl Tables {
    /// What is common to the loads that `member` is one of; none for a retired one.
    pub fn terms(&self, member: Member) -> Option<&LoadTerms> {
        match member {
            Member::Fleet(at) => self.fleets.get(at as usize).map(|row| &row.terms),
            Member::Pool(at) => self.pools.get(at as usize).map(|row| &row.terms),
            Member::Kept | Member::Retired => None,
        }
    }
}
