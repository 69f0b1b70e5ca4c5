//! What a simulated site stands on: an API server, and the cluster's controllers around it. In memory for the demo and
//! the simulation; a real cluster for `demo --cluster` (`live`). Operators, agents, plant and script are the same.

use super::cluster::{Cluster, Node, Work};
use super::plant::SharedPlant;
use crate::api::GridEvent;
use crate::api::manifest::Object as Manifest;
use crate::store::memory::{MemoryStore, Server, SharedServer};
use crate::store::{Filter, JobFacts, Key, Kind, NodeFacts, Object, Store};
use ampacity_core::units::{Span, Time};
use kube::ResourceExt;
use std::sync::Arc;

/// Where loads live.
pub const NAMESPACE: &str = "ampacity-system";

/// A world that a ground is made for.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The seed of its faults.
    pub seed: u64,
    /// Virtual time at the start.
    pub start: Time,
    /// The plant, which is told what runs where.
    pub plant: SharedPlant,
    /// The nodes of the cluster.
    pub nodes: Vec<Node>,
}

/// A Job that a tenant submits, created suspended.
#[derive(Clone, Debug)]
pub struct Submission<'a> {
    /// The tenant's namespace.
    pub namespace: &'a str,
    /// The Job's name.
    pub name: &'a str,
    /// The lease that it is under.
    pub lease: &'a str,
    /// GPUs in all, in pods of one node's GPUs each.
    pub gpus: u32,
    /// How much work it is: GPU hours at full throughput.
    pub gpu_hours: u32,
}

impl Submission<'_> {
    /// GPUs of each pod, and pods, on nodes like these.
    pub fn pods(&self, nodes: &[Node]) -> (u32, u32) {
        let each = nodes.first().map_or(8, |node| node.gpus).min(self.gpus).max(1);
        (each, self.gpus.div_ceil(each))
    }
}

/// An API server and the cluster around it.
pub trait Ground {
    /// Lets time pass up to `now`. Returns when what must not fall behind it has followed.
    fn advance(&mut self, now: Time);

    /// One turn of the cluster's controllers, of its nodes, and of the tenants' work.
    fn step(&mut self, now: Time, tick: Span);

    /// A new client of the API server: an operator, or an agent.
    fn connect(&mut self, name: &str, filter: Filter) -> Box<dyn Store>;

    /// A person applies an object.
    ///
    /// # Errors
    /// What the API server said.
    fn apply(&mut self, object: Manifest) -> Result<(), String>;

    /// A person deletes an object.
    ///
    /// # Errors
    /// What the API server said.
    fn delete(&mut self, key: &Key) -> Result<(), String>;

    /// Whether a person has applied an object that still stands.
    fn has(&self, key: &Key) -> bool;

    /// A node joins.
    ///
    /// # Errors
    /// What the API server said.
    fn join(&mut self, node: NodeFacts) -> Result<(), String>;

    /// A tenant submits a Job.
    ///
    /// # Errors
    /// What the API server said.
    fn submit(&mut self, job: &Submission<'_>) -> Result<(), String>;

    /// The work of the Jobs of one lease.
    fn progress(&self, namespace: &str, lease: &str) -> Option<Work>;

    /// By load: the epoch and sequence of its order.
    fn orders(&self) -> Vec<(String, (i64, i64))>;

    /// Grid events with their status, as the API server holds them.
    fn events(&self) -> Vec<Arc<GridEvent>>;

    /// The API server whose messages can be delayed, lost and cut; none where they are real.
    fn memory(&self) -> Option<&SharedServer>;
}

/// All of it in memory, in one thread and in virtual time.
#[derive(Debug)]
pub struct InMemory {
    server: SharedServer,
    cluster: Cluster,
}

impl InMemory {
    /// An empty API server, and a cluster of the setting's nodes.
    pub fn new(setting: &Setting) -> Self {
        let server = Server::new(setting.seed ^ 0x5e7, setting.start);
        let cluster = Cluster::new(&server, &setting.plant, setting.nodes.clone());
        Self { server, cluster }
    }
}

impl Ground for InMemory {
    fn advance(&mut self, now: Time) {
        let mut server = self.server.borrow_mut();
        server.advance(now);
        // Events say what the operators' feed says already; they are only not to pile up.
        drop(server.take_recorded());
    }

    fn step(&mut self, now: Time, tick: Span) {
        self.cluster.step(now, tick);
    }

    fn connect(&mut self, name: &str, filter: Filter) -> Box<dyn Store> {
        Box::new(MemoryStore::connect(&self.server, name, filter))
    }

    fn apply(&mut self, object: Manifest) -> Result<(), String> {
        self.server.borrow_mut().put(stored(object));
        Ok(())
    }

    fn delete(&mut self, key: &Key) -> Result<(), String> {
        self.server.borrow_mut().remove(key).map_err(|_| format!("{key} is to be deleted and is not there"))
    }

    fn has(&self, key: &Key) -> bool {
        self.server.borrow().get(key).is_some()
    }

    fn join(&mut self, node: NodeFacts) -> Result<(), String> {
        self.server.borrow_mut().put(Object::Node(Arc::new(node)));
        Ok(())
    }

    fn submit(&mut self, job: &Submission<'_>) -> Result<(), String> {
        self.cluster.submit(job);
        Ok(())
    }

    fn progress(&self, namespace: &str, lease: &str) -> Option<Work> {
        self.cluster.progress(namespace, lease)
    }

    fn orders(&self) -> Vec<(String, (i64, i64))> {
        let of = |object: &Object| match object {
            Object::ControllableLoad(load) => {
                Some((load.name_any(), (load.spec.order.epoch, load.spec.order.sequence)))
            }
            _ => None,
        };
        self.server.borrow().of_kind(Kind::ControllableLoad).filter_map(of).collect()
    }

    fn events(&self) -> Vec<Arc<GridEvent>> {
        let of = |object: &Object| match object {
            Object::GridEvent(event) => Some(event.clone()),
            _ => None,
        };
        self.server.borrow().of_kind(Kind::GridEvent).filter_map(of).collect()
    }

    fn memory(&self) -> Option<&SharedServer> {
        Some(&self.server)
    }
}

/// The Job as the API server shows it when it was just created.
pub(super) fn created(job: &Submission<'_>, nodes: &[Node]) -> JobFacts {
    let (gpus_per_pod, parallelism) = job.pods(nodes);
    JobFacts {
        namespace: job.namespace.into(),
        name: job.name.into(),
        lease: job.lease.into(),
        suspended: true,
        parallelism,
        gpus_per_pod,
        ..JobFacts::default()
    }
}

/// The object as the API server holds it.
fn stored(object: Manifest) -> Object {
    let mut object = Object::from(object);
    let namespaced = object.kind() == Kind::ControllableLoad;
    if let Some(meta) = object.meta_mut().filter(|_| namespaced) {
        meta.namespace.get_or_insert_with(|| NAMESPACE.into());
    }
    object
}
