//! The world: one site with its API server, operators, agents, plant and tenants, in one thread and in virtual time.
//!
//! The operators and agents are the ones that run in a cluster; the ports they reach the world through are in memory.
//! A tick is one virtual second: messages land, what is scripted happens, the plant moves, tenants work, agents act,
//! operators decide. The same seed gives the same trace.

mod feeds;
mod judged;
mod made;
mod obliged;
mod shown;
mod trouble;

use super::cluster::Node;
use super::frame::Frame;
use super::ground::{Ground, InMemory, Setting, Submission};
use super::happening::Script;
use super::plant::{LoadSpec, PlantPort, SharedPlant};
use super::spec::{Mishaps, WorldSpec};
use crate::agent::{self, Agent};
use crate::api::manifest::Object as Manifest;
use crate::link::memory::{Exchange, MemoryDownlink, MemoryUplink, SharedExchange};
use crate::operator::own::AgentPods;
use crate::operator::site::Site;
use crate::operator::{Operator, Options, Ports};
use crate::store::{Filter, Key, Kind, NodeFacts, Store};
use ampacity_core::guard::HolderId;
use ampacity_core::guard::proof::Policy;
use ampacity_core::tree::{NodeId, Tree};
use ampacity_core::units::{Span, Time, Watts};
use feeds::SimFeeds;
use kube::ResourceExt;
use made::{check_script, inventory, only_budget, plant, pool_labels};
use rand_core::SeedableRng;
use rand_pcg::Pcg32;
use std::collections::BTreeMap;
use std::sync::PoisonError;

pub use super::ground::NAMESPACE;

/// One tick of virtual time.
pub const TICK: Span = Span::seconds(1);
/// An operator that exited is started again after this: a pod's restart.
const RESTARTS_AFTER: Span = Span::seconds(5);

/// Why a world cannot be made. Names the object and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorldError {
    /// Not exactly one budget.
    #[error("the manifests hold {0} PowerBudgets; a simulation needs exactly one")]
    Budgets(usize),
    /// An object that does not fit the others.
    #[error("{0}")]
    Object(String),
    /// The script names what does not exist.
    #[error("{0:?} is no load of this site; its loads are {1}")]
    NoLoad(String, String),
    /// What it is to stand on cannot be had.
    #[error("{0}")]
    Ground(String),
}

/// One replica of the operator.
struct Replica {
    name: String,
    running: Option<(Operator, Box<dyn Store>, MemoryUplink)>,
    starts_at: Time,
    frozen_until: Time,
}

/// An agent with its ports.
type Running = (Agent, Box<dyn Store>, MemoryDownlink, PlantPort);

/// One agent beside one load of the plant.
struct Beside {
    name: String,
    place: usize,
    running: Option<Running>,
    starts_at: Time,
    runs: u64,
}

/// A simulated site.
pub struct World {
    now: Time,
    site: String,
    seed: u64,
    ground: Box<dyn Ground>,
    exchange: SharedExchange,
    plant: SharedPlant,
    tree: Tree,
    /// By node: its name in frames, the feeders below the site's.
    node_names: Vec<String>,
    feeds: SimFeeds,
    replicas: Vec<Replica>,
    agents: Vec<Beside>,
    script: Script,
    next: usize,
    undo: BTreeMap<(Time, u64), Undo>,
    serial: u64,
    rng: Pcg32,
    mishaps: Mishaps,
    said: Vec<String>,
    over: BTreeMap<NodeId, Span>,
    judged: Option<Box<judged::Judged>>,
}

/// What ends at its time.
#[derive(Clone, Debug)]
enum Undo {
    /// A client of the API server hears and is heard again.
    Join { client: usize, peer: String },
    /// Every client is.
    JoinAll,
}

impl World {
    /// A site before anybody manages it: machines asleep, GPUs uncapped and idle.
    ///
    /// # Errors
    /// The manifests make no site, or the script names what does not exist.
    pub fn new(spec: WorldSpec) -> Result<Self, WorldError> {
        Self::on(spec, |setting| Ok(Box::new(InMemory::new(setting))))
    }

    /// The same on another ground than memory.
    ///
    /// # Errors
    /// As [`World::new`]; or what `ground` or the API server said.
    pub fn on(
        spec: WorldSpec,
        ground: impl FnOnce(&Setting) -> Result<Box<dyn Ground>, String>,
    ) -> Result<Self, WorldError> {
        let budget = only_budget(&spec.objects)?;
        let tree = Tree::try_from(&budget).map_err(|e| WorldError::Object(e.to_string()))?;
        let (loads, nodes) = inventory(&spec.objects, &tree)?;
        let plant = plant(&spec, &budget, &tree, &loads);
        let exchange = Exchange::new(spec.seed ^ 0x11c, spec.start);
        check_script(&spec.script, &loads)?;
        let setting = Setting { seed: spec.seed, start: spec.start, plant: plant.clone(), nodes: nodes.clone() };
        let ground = ground(&setting).map_err(WorldError::Ground)?;
        let feeds = SimFeeds::new(&spec, &plant, &tree);
        let judged = judged::Judged::new(&spec, &budget.spec, &tree, &loads);
        let site = budget.name_any();
        let below = |name: &str| if name == site { site.clone() } else { format!("{site}/{name}") };
        let mut world = Self {
            now: spec.start,
            node_names: tree.nodes().iter().map(|node| below(&node.name)).collect(),
            site,
            seed: spec.seed,
            ground,
            exchange,
            plant,
            tree,
            feeds,
            replicas: Vec::new(),
            agents: Vec::new(),
            script: spec.script,
            next: 0,
            undo: BTreeMap::new(),
            serial: 0,
            rng: Pcg32::seed_from_u64(spec.seed ^ 0xca05),
            mishaps: spec.mishaps,
            said: Vec::new(),
            over: BTreeMap::new(),
            judged: Some(Box::new(judged)),
        };
        world.populate(spec.objects, &nodes)?;
        world.staff(&loads);
        Ok(world)
    }

    /// Puts the manifests and the nodes into the API server; each Jobs lease gets a Job of all its GPUs.
    fn populate(&mut self, objects: Vec<Manifest>, nodes: &[Node]) -> Result<(), WorldError> {
        for node in nodes {
            let facts = NodeFacts {
                name: node.name.clone(),
                labels: pool_labels(&objects, &node.pool),
                gpus: node.gpus,
                ready: true,
                ..NodeFacts::default()
            };
            self.ground.join(facts).map_err(WorldError::Ground)?;
        }
        objects.into_iter().try_for_each(|object| self.apply(object).map_err(WorldError::Ground))
    }

    /// Starts two operators and an agent beside each load.
    fn staff(&mut self, loads: &[(String, LoadSpec)]) {
        for name in ["operator-a", "operator-b"] {
            let replica = Replica { name: name.into(), running: None, starts_at: self.now, frozen_until: self.now };
            self.replicas.push(replica);
        }
        for (place, (name, _)) in loads.iter().enumerate() {
            self.agents.push(Beside { name: name.clone(), place, running: None, starts_at: self.now, runs: 0 });
        }
    }

    /// Virtual time.
    pub const fn now(&self) -> Time {
        self.now
    }

    /// The seed that repeats this world.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// One virtual second, and what is to be seen of it.
    pub fn tick(&mut self) -> Frame {
        self.advance();
        self.frame()
    }

    /// One virtual second.
    pub fn advance(&mut self) {
        let said_before = self.said.len();
        self.now = self.now.after(TICK);
        self.ground.advance(self.now);
        self.exchange.borrow_mut().advance(self.now);
        self.happen();
        self.plant.lock().unwrap_or_else(PoisonError::into_inner).advance(self.now);
        self.ground.step(self.now, TICK);
        self.act();
        self.decide();
        self.watch_limits();
        self.judge(said_before);
    }

    /// Agents act.
    fn act(&mut self) {
        for beside in &mut self.agents {
            if beside.running.is_none() && self.now >= beside.starts_at {
                beside.runs += 1;
                beside.running = start_agent(beside, self.ground.as_mut(), &self.exchange, &self.plant, self.now);
            }
            let Some((agent, store, link, devices)) = &mut beside.running else { continue };
            agent.step(&mut agent::Ports { store: store.as_mut(), link, devices }, self.now);
            if agent.is_overtaken() {
                beside.running = None;
                beside.starts_at = self.now.after(RESTARTS_AFTER);
            }
        }
    }

    /// Operators decide; one that has to exit is started again.
    fn decide(&mut self) {
        for replica in &mut self.replicas {
            if replica.running.is_none() && self.now >= replica.starts_at {
                let options =
                    Options { name: replica.name.clone(), namespace: NAMESPACE.into(), agents: AgentPods::Elsewhere };
                let store = self.ground.connect(&replica.name, Filter::All);
                let link = MemoryUplink::join(&self.exchange, &replica.name);
                replica.running = Some((Operator::new(options), store, link));
            }
            if self.now < replica.frozen_until {
                continue;
            }
            let Some((operator, store, link)) = &mut replica.running else { continue };
            let mut ports = Ports { store: store.as_mut(), link, feeds: &mut self.feeds };
            let stepped = operator.step(&mut ports, self.now);
            self.said.extend(operator.sites().flat_map(|site| site.feed.iter().cloned()));
            if let Err(exit) = stepped {
                self.said.push(format!("leader: {} exits: {exit}", replica.name));
                replica.running = None;
                replica.starts_at = self.now.after(RESTARTS_AFTER);
            }
        }
    }

    /// Counts the time that any node is truly over the limit of its breaker.
    fn watch_limits(&mut self) {
        let plant = self.plant.lock().unwrap_or_else(PoisonError::into_inner);
        for (at, node) in self.tree.nodes().iter().enumerate() {
            let id = NodeId(u32::try_from(at).unwrap_or(u32::MAX));
            if plant.true_watts(id) > node.limit {
                *self.over.entry(id).or_default() += TICK;
            }
        }
    }

    /// Virtual time over the limit of any breaker, summed over nodes.
    pub fn seconds_over_limit(&self) -> f64 {
        self.over.values().map(|span| span.get() as f64 / 1_000.0).sum()
    }

    /// The operator that leads, if one does.
    fn leader(&self) -> Option<&Operator> {
        let leads = |replica: &&Replica| {
            replica.running.as_ref().is_some_and(|(operator, ..)| {
                matches!(operator.standing(self.now), crate::operator::leader::Standing::Leading { .. })
            })
        };
        self.replicas.iter().find(leads).and_then(|replica| replica.running.as_ref()).map(|(operator, ..)| operator)
    }

    /// The site as its leader follows it.
    fn led_site(&self) -> Option<&Site> {
        self.leader()?.sites().find(|site| site.name == self.site)
    }
}

fn start_agent(
    beside: &Beside,
    ground: &mut dyn Ground,
    exchange: &SharedExchange,
    plant: &SharedPlant,
    now: Time,
) -> Option<Running> {
    let key = Key::namespaced(Kind::ControllableLoad, NAMESPACE, &beside.name);
    let devices = PlantPort::new(plant.clone(), beside.place);
    let run = (beside.place as u64 + 1) << 32 | beside.runs;
    let options = agent::Options {
        load: key.clone(),
        pod: format!("{}-agent", beside.name),
        holder: HolderId(run),
        hold: Span::minutes(5),
        down_per_minute: Watts::kilo(500),
        policy: Policy::default(),
        heartbeats: true,
    };
    let agent = Agent::new(options, &devices, now).ok()?;
    let store = ground.connect(&format!("agent-{}", beside.name), Filter::Load(key));
    let link = MemoryDownlink::join(exchange, &beside.name);
    Some((agent, store, link, devices))
}

#[cfg(test)]
mod tests;
