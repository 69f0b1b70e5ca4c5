//! One site as the operator follows it: its tables, its loads, the guard's ledger while this operator leads, and what
//! the last decision left to be remembered.

mod view;

pub use view::view;

use super::cache::Cache;
use super::observe::Prices;
use super::problem::Problem;
use super::report::Told;
use super::tables::{FirstSeen, LoadTerms, Tables, WantedLoad};
use super::tenants::LeaseRow;
use crate::api::{ControllableLoad, PowerBudget};
use crate::link::Report;
use crate::store::{Key, Kind, Object, time};
use ampacity_core::guard::ledger::Exit;
use ampacity_core::guard::{Heartbeat, KnownLimit, Ledger, LoadFacts, LoadId, Seen as Learned};
use ampacity_core::memory::Memory;
use ampacity_core::plan::Plan;
use ampacity_core::snapshot::{Member, Reading, Snapshot};
use ampacity_core::tree::{NodeId, Tree};
use ampacity_core::units::{Span, Time, Watts};
use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use view::owner;

/// A load whose owner is not known here is taken to need this long for a proof.
const UNKNOWN_PROOF: Span = Span::minutes(2);

/// One load of a site.
#[derive(Clone, Debug)]
pub struct LoadRow {
    /// The object's name.
    pub name: String,
    /// The object.
    pub key: Key,
    /// The name of its feeder.
    pub feeder: String,
    /// What it is one of; `Retired` where no fleet or pool wants it any more.
    pub member: Member,
    /// The fleet or pool that it says it is of.
    pub owner: Option<Key>,
    /// Its feeder, nameplate, fallback and proof time.
    pub terms: LoadTerms,
    /// The agent's newest report and when it arrived.
    pub report: Option<(Arc<Report>, Time)>,
    /// It is being deleted.
    pub leaving: bool,
    /// Proved at 0 W, or gone on a person's word: it counts nothing.
    pub released: bool,
    /// A named person gave their word for it, and may take it back while it stands: when it is gone, it counts nothing.
    pub word: bool,
}

/// One site.
#[derive(Clone, Debug)]
pub struct Site {
    /// The budget's name.
    pub name: String,
    /// The site as configured; none until a budget of this name made sense.
    pub tables: Option<Tables>,
    /// What is wrong with its objects.
    pub problems: Vec<Problem>,
    /// When its events were first seen.
    pub first_seen: FirstSeen,
    /// Its loads, by [`LoadId`].
    pub rows: Vec<LoadRow>,
    pub(super) ids: BTreeMap<String, LoadId>,
    /// Fleets and pools that exist and were never to be read: what they own stays as it is.
    unreadable: BTreeSet<Key>,
    /// By place in [`Tables::wanted`]: its row, once it exists. Worked out anew with the tables and with every new row.
    born: Vec<Option<LoadId>>,
    /// What of the configured tree the guard could not take over, as it stands in `problems`.
    not_followed: Option<Problem>,
    /// The guard's account, while this operator leads.
    pub ledger: Option<Ledger>,
    /// What the last decision left.
    pub memory: Memory,
    /// The last decision.
    pub plan: Option<Plan>,
    /// What it was made from.
    pub decided: Option<Arc<Snapshot>>,
    /// By node: the meter's last sample.
    pub meters: Vec<Option<Reading>>,
    /// By node: the read-back setpoint of its relay.
    pub relays: BTreeMap<NodeId, Watts>,
    /// By feeder's name: the nameplate sums that the budget's status is to keep.
    pub nameplates: BTreeMap<String, Watts>,
    /// By load: limits known to be coming, as its agent is to be told.
    pub schedules: Vec<Vec<KnownLimit>>,
    /// The limits that those were worked out for.
    pub foreseen: Vec<String>,
    /// The prices of the last decision.
    pub prices: Option<Prices>,
    /// Its leases, by `namespace/name`.
    pub leases: BTreeMap<String, LeaseRow>,
    /// What people were told already.
    pub told: Told,
    /// What the last turn has to tell a person: a few lines, each beginning with its topic and a colon.
    pub feed: Vec<String>,
}

impl Site {
    /// Whether it orders what it decides.
    pub fn is_active(&self) -> bool {
        let mode = self.tables.as_ref().map(|tables| tables.budget.spec.policy.mode);
        mode == Some(crate::api::power_budget::Mode::Active)
    }

    /// A site of which nothing is known.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            tables: None,
            problems: Vec::new(),
            first_seen: FirstSeen::new(),
            rows: Vec::new(),
            ids: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            born: Vec::new(),
            not_followed: None,
            ledger: None,
            memory: Memory::default(),
            plan: None,
            decided: None,
            meters: Vec::new(),
            relays: BTreeMap::new(),
            nameplates: BTreeMap::new(),
            leases: BTreeMap::new(),
            prices: None,
            schedules: Vec::new(),
            foreseen: Vec::new(),
            told: Told::default(),
            feed: Vec::new(),
        }
    }

    /// The site's key.
    pub fn key(&self) -> Key {
        Key::cluster(Kind::PowerBudget, &self.name)
    }

    /// Reads the tables again. Where the budget makes no sense any more, its old form stays in force.
    pub fn read(&mut self, cache: &Cache, budget: &Arc<PowerBudget>, now: Time) {
        for event in cache.events().filter(|e| e.spec.target.budget == self.name) {
            let told = event.status.as_ref().and_then(|s| s.seen_time.as_ref()).map(time);
            self.first_seen.entry(event.name_any()).or_insert_with(|| told.unwrap_or(now));
        }
        self.first_seen.retain(|name, _| cache.event(&Key::cluster(Kind::GridEvent, name)).is_some());
        let (tables, problems) = Tables::read(cache, budget, &self.first_seen);
        self.problems = problems;
        self.not_followed = None;
        match (tables, &mut self.tables) {
            (Some(tables), _) => self.tables = Some(tables),
            // The spec before it stays in force; everything else of the object is as it stands.
            (None, Some(tables)) => {
                let spec = tables.budget.spec.clone();
                tables.budget = Arc::new(PowerBudget { spec, ..budget.as_ref().clone() });
            }
            (None, None) => {}
        }
        let unread = |(key, _): (&Key, &str)| {
            let owner = matches!(key.kind, Kind::MiningFleet | Kind::GpuPool) && cache.get(key).is_none();
            owner.then(|| key.clone())
        };
        self.unreadable = cache.all_unreadable().filter_map(unread).collect();
        self.assign_members();
    }

    /// Takes the budget's new status in, where nothing else that the tables are read from has changed.
    pub fn read_status(&mut self, budget: &Arc<PowerBudget>) {
        // A status changes no spec: where the object's own is not followed, the one before it stays in force.
        if let Some(tables) = &mut self.tables {
            tables.budget = if tables.budget.spec == budget.spec {
                budget.clone()
            } else {
                let spec = tables.budget.spec.clone();
                Arc::new(PowerBudget { spec, ..budget.as_ref().clone() })
            };
        }
        if let Some(problem) = self.not_followed.take() {
            self.problems.retain(|other| *other != problem);
        }
        self.assign_members();
    }

    /// The tree as it counts now: each hall at its limit, or at what its relay was read back at.
    pub fn tree(&self) -> Option<Tree> {
        let tables = self.tables.as_ref()?;
        let mut nodes = tables.tree.nodes().to_vec();
        for hall in &tables.halls {
            if let Some(node) = nodes.get_mut(hall.index()) {
                let closed = (node.limit - node.reserve).without(node.loss);
                let read_back = self.relays.get(hall).copied().unwrap_or(closed);
                node.auxiliary = node.auxiliary.max(closed.min(read_back));
            }
        }
        Tree::new(nodes).ok()
    }

    /// Brings the guard's tree up to the configured one: a tree that was set a turn ago is accepted, another is set.
    /// A tree that lacks a node with loads is refused; the one before it stays.
    pub fn follow_tree(&mut self) {
        if self.ledger.is_none() {
            return;
        }
        let Some(tree) = self.tree() else { return };
        let Some(ledger) = &mut self.ledger else { return };
        if *ledger.tree() == tree {
            ledger.accept_tree();
        } else if let Err(missing) = ledger.set_tree(tree) {
            let message = format!("spec.feeders: {missing}");
            let problem = Problem::invalid(Key::cluster(Kind::PowerBudget, &self.name), message);
            if !self.problems.contains(&problem) {
                self.not_followed = Some(problem.clone());
                self.problems.push(problem);
            }
        } else {
            for row in &mut self.rows {
                row.terms.node = ledger.tree().find(&row.feeder).unwrap_or(NodeId::SITE);
            }
        }
    }

    /// The load's place.
    pub fn id(&self, name: &str) -> Option<LoadId> {
        self.ids.get(name).copied()
    }

    /// The row of a load.
    pub fn row(&self, id: LoadId) -> Option<&LoadRow> {
        self.rows.get(id.index())
    }

    /// Starts to lead: every load that is known, at nameplate until it is claimed and read.
    pub fn lead(&mut self, epoch: u64, cache: &Cache, now: Time) -> Result<(), Exit> {
        self.rows.clear();
        self.ids.clear();
        self.assign_members();
        self.memory = Memory::default();
        self.leases.clear();
        self.told = Told::default();
        let Some(tree) = self.tree() else { return Ok(()) };
        self.ledger = Some(Ledger::new(epoch, tree, std::iter::empty(), now));
        let loads: Vec<Arc<ControllableLoad>> =
            cache.loads().filter(|load| load.spec.budget == self.name).cloned().collect();
        for load in loads {
            self.see_load(&load.name_any(), Some(&load), now)?;
        }
        self.learn_tombstones(now)
    }

    /// A load stands like this now, or is gone.
    ///
    /// # Errors
    /// This operator must exit.
    pub fn see_load(&mut self, name: &str, load: Option<&ControllableLoad>, now: Time) -> Result<(), Exit> {
        let id = match (self.id(name), load) {
            (Some(id), _) => id,
            (None, Some(load)) => self.add(load, now),
            (None, None) => return Ok(()),
        };
        let Some(row) = self.rows.get_mut(id.index()) else { return Ok(()) };
        if let Some(load) = load {
            row.leaving = load.metadata.deletion_timestamp.is_some();
            row.word = load.annotations().get(crate::api::RELEASED_BY_ANNOTATION).is_some_and(|by| !by.is_empty());
        }
        row.released |= row.word && load.is_none();
        let gone = load.is_none() && row.released;
        let Some(ledger) = &mut self.ledger else { return Ok(()) };
        if gone {
            return ledger.learn(Learned::Released(id), now);
        }
        ledger.learn(Learned::Load(id, load.map(view)), now)
    }

    fn add(&mut self, load: &ControllableLoad, now: Time) -> LoadId {
        let name = load.name_any();
        let node = self.tables.as_ref().and_then(|t| t.tree.find(&load.spec.feeder)).unwrap_or(NodeId::SITE);
        let terms = LoadTerms {
            node,
            nameplate: load.spec.nameplate_watts.watts(),
            fallback: load.spec.fallback_watts.watts(),
            proof_within: UNKNOWN_PROOF,
        };
        let facts = LoadFacts { node, nameplate: terms.nameplate, proof_within: self.proof_within(load) };
        let next = LoadId(u32::try_from(self.rows.len()).unwrap_or(u32::MAX));
        let id = self.ledger.as_mut().map_or(next, |ledger| ledger.add(facts.clone(), now));
        let key = Object::ControllableLoad(Arc::new(load.clone())).key();
        let terms = LoadTerms { proof_within: facts.proof_within, ..terms };
        let row = LoadRow {
            name: name.clone(),
            key,
            feeder: load.spec.feeder.clone(),
            member: Member::Retired,
            owner: owner(load),
            terms,
            report: None,
            leaving: false,
            released: false,
            word: false,
        };
        self.rows.push(row);
        self.ids.insert(name, id);
        self.assign_members();
        id
    }

    fn proof_within(&self, load: &ControllableLoad) -> Span {
        let Some(tables) = &self.tables else { return UNKNOWN_PROOF };
        let owner = &load.spec.owner;
        let fleet = tables.fleets.iter().find(|row| Some(&row.core.name) == owner.fleet.as_ref());
        let pool = tables.pools.iter().find(|row| Some(&row.core.name) == owner.pool.as_ref());
        fleet.map(|f| &f.terms).or(pool.map(|p| &p.terms)).map_or(UNKNOWN_PROOF, |terms| terms.proof_within)
    }

    /// Says of every load what it is one of, by the names that the tables give their loads.
    fn assign_members(&mut self) {
        let Some(tables) = &self.tables else { return };
        self.born = tables.wanted.iter().map(|want| self.ids.get(&want.name).copied()).collect();
        for row in &mut self.rows {
            let unread = row.owner.as_ref().is_some_and(|owner| self.unreadable.contains(owner)) && !row.leaving;
            row.member = if unread { Member::Kept } else { Member::Retired };
        }
        for (want, id) in tables.wanted.iter().zip(&self.born) {
            if let Some(row) = id.and_then(|id| self.rows.get_mut(id.index())).filter(|row| !row.leaving) {
                row.member = want.member;
            }
        }
    }

    /// Every load that there is to be, with its place once it exists.
    pub(super) fn wanted(&self) -> impl Iterator<Item = (&WantedLoad, Option<LoadId>)> {
        let wanted = self.tables.iter().flat_map(|tables| &tables.wanted);
        wanted.zip(self.born.iter().copied())
    }

    /// The agent of a load reported.
    ///
    /// # Errors
    /// This operator must exit.
    pub fn hear(&mut self, id: LoadId, report: Arc<Report>, now: Time) -> Result<(), Exit> {
        if let (Some(ledger), Some(ceiling)) = (&mut self.ledger, report.ceiling) {
            let beat =
                Heartbeat { order: report.order, holder: report.holder, ceiling, proof_expires: report.proof_expires };
            ledger.learn(Learned::Heartbeat(id, beat), now)?;
        }
        if let Some(row) = self.rows.get_mut(id.index()) {
            row.report = Some((report, now));
        }
        Ok(())
    }

    /// Nameplate sums as the budget keeps them.
    ///
    /// # Errors
    /// This operator must exit.
    pub fn learn_tombstones(&mut self, now: Time) -> Result<(), Exit> {
        let (Some(tables), Some(ledger)) = (&self.tables, &mut self.ledger) else { return Ok(()) };
        let Some(status) = &tables.budget.status else { return Ok(()) };
        for kept in &status.nameplates {
            if let Some(node) = ledger.tree().find(&kept.feeder) {
                ledger.learn(Learned::Tombstone(node, kept.nameplate_watts.watts()), now)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
