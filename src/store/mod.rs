//! The port to the API server: typed changes in, typed writes out.
//!
//! Nothing here blocks and nothing here decides. A client polls what became known to it since it last asked, and hands
//! over writes whose answers come back the same way: accepted, refused, or unknown. Two ends: `kube` in a cluster,
//! `memory` in the demo, the back-test and the simulation. One contract table holds both to the same behaviour.

pub mod contract;
mod filter;
pub mod kube;
pub mod memory;
mod object;
mod write;

pub use filter::Filter;
pub use object::{api_order, api_time, order, time};
pub use write::{Answer, Refusal, Status, Write, WriteId};

use crate::api::{ComputeLease, ControllableLoad, GpuPool, GridEvent, LeaseClass, Lockout, MiningFleet, PowerBudget};
use ampacity_core::units::{Span, Time};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The name of the leader's Lease.
pub const LEADERSHIP_NAME: &str = "ampacity-operator";

/// After this long a client gives a write up: its answer is [`Answer::Unknown`], and it may land yet.
pub const TIMEOUT: Span = Span::seconds(5);
/// Writes that one client may have under way, waiting or sent; more are refused as [`Refusal::Busy`]. Four for each of
/// a thousand loads: a turn that moves every load fits, and at 3 ms of API server a write it is 12 s of work, so that
/// more would time out anyway.
pub const UNDER_WAY_MAX: usize = 4_096;

/// What sort of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `PowerBudget`.
    PowerBudget,
    /// `MiningFleet`.
    MiningFleet,
    /// `GpuPool`.
    GpuPool,
    /// `LeaseClass`.
    LeaseClass,
    /// `ComputeLease`.
    ComputeLease,
    /// `GridEvent`.
    GridEvent,
    /// `Lockout`.
    Lockout,
    /// `ControllableLoad`.
    ControllableLoad,
    /// `batch/v1` Job with a lease label.
    Job,
    /// Pod of such a Job, or an agent's.
    Pod,
    /// Node of a pool.
    Node,
    /// `coordination.k8s.io/v1` Lease of the leading operator.
    Leadership,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::PowerBudget,
        Self::MiningFleet,
        Self::GpuPool,
        Self::LeaseClass,
        Self::ComputeLease,
        Self::GridEvent,
        Self::Lockout,
        Self::ControllableLoad,
        Self::Job,
        Self::Pod,
        Self::Node,
        Self::Leadership,
    ];
}

/// Which object. Names are shared, so that a key is cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; none for cluster-scoped kinds.
    pub namespace: Option<Arc<str>>,
    /// Its name.
    pub name: Arc<str>,
}

impl Key {
    /// A cluster-scoped object.
    pub fn cluster(kind: Kind, name: &str) -> Self {
        Self { kind, namespace: None, name: name.into() }
    }

    /// A namespaced object.
    pub fn namespaced(kind: Kind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: Some(namespace.into()), name: name.into() }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{:?} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{:?} {}", self.kind, self.name),
        }
    }
}

/// An object as the API server holds it. The eight kinds whole; of the kinds of others, what we use.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// `PowerBudget`.
    PowerBudget(Arc<PowerBudget>),
    /// `MiningFleet`.
    MiningFleet(Arc<MiningFleet>),
    /// `GpuPool`.
    GpuPool(Arc<GpuPool>),
    /// `LeaseClass`.
    LeaseClass(Arc<LeaseClass>),
    /// `ComputeLease`.
    ComputeLease(Arc<ComputeLease>),
    /// `GridEvent`.
    GridEvent(Arc<GridEvent>),
    /// `Lockout`.
    Lockout(Arc<Lockout>),
    /// `ControllableLoad`.
    ControllableLoad(Arc<ControllableLoad>),
    /// Job.
    Job(Arc<JobFacts>),
    /// Pod.
    Pod(Arc<PodFacts>),
    /// Node.
    Node(Arc<NodeFacts>),
    /// The leader's Lease.
    Leadership(Arc<LeadershipFacts>),
}

/// A tenant's Job, as far as we use it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFacts {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID: a Job recreated under the same name is another Job.
    pub uid: String,
    /// The lease named by its label.
    pub lease: String,
    /// `spec.suspend`.
    pub suspended: bool,
    /// `status.startTime` stands: it runs or ran, and what its pods are made of is settled. From Kubernetes 1.36 on it
    /// is taken away when the Job is suspended; before, it stays for good.
    pub started: bool,
    /// `nodeSelector` of its pods.
    pub node_selector: BTreeMap<String, String>,
    /// `spec.parallelism`.
    pub parallelism: u32,
    /// `nvidia.com/gpu` limits of one of its pods.
    pub gpus_per_pod: u32,
    /// `terminationGracePeriodSeconds` of its pods: how long they may go on once they are stopped.
    pub grace: Span,
    /// `status.active`.
    pub active: u32,
    /// `status.terminating`.
    pub terminating: u32,
    /// Complete or failed for good.
    pub finished: bool,
    /// Annotations under our prefix.
    pub annotations: BTreeMap<String, String>,
    /// Another queue manages its `suspend` (a Kueue queue label).
    pub managed_elsewhere: bool,
    /// When it was created.
    pub created: Option<Time>,
    /// Resource version, for preconditions.
    pub revision: String,
}

/// A pod of a lease's Job, or of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// The Job that owns it.
    pub job: Option<String>,
    /// The load whose agent it is.
    pub agent_of: Option<String>,
    /// Where it runs.
    pub node: Option<String>,
    /// `nvidia.com/gpu` limits.
    pub gpus: u32,
    /// Running, by its phase.
    pub running: bool,
    /// Succeeded or failed.
    pub finished: bool,
    /// It is being deleted.
    pub terminating: bool,
    /// Ready: of an agent's pod, that a ceiling of its own stands.
    pub ready: bool,
    /// The form of the operator's template that an agent's pod was made from; none: the operator did not make it.
    pub template: Option<String>,
    /// Annotations under our prefix, of a lease's pod.
    pub annotations: BTreeMap<String, String>,
    /// Resource version: tells which of two forms is the newer.
    pub revision: String,
}

/// A node of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Name.
    pub name: String,
    /// Labels, for the pools' selectors.
    pub labels: BTreeMap<String, String>,
    /// `nvidia.com/gpu` it can offer.
    pub gpus: u32,
    /// Ready.
    pub ready: bool,
    /// Nothing new starts there, whoever said so.
    pub unschedulable: bool,
    /// It was the operator who said so, for a lockout.
    pub locked_out: bool,
}

/// The leader's Lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeadershipFacts {
    /// Who; empty: nobody.
    pub holder: String,
    /// The leader's epoch (an annotation: a Lease has no field for it).
    pub epoch: u64,
    /// When it last renewed, by its own clock. Watchers count from when they saw it change.
    pub renewed: Time,
    /// For how long a renewal holds.
    pub duration: Span,
    /// Where the leader's link is reached, `host:port` (an annotation too); empty: it has none.
    pub link: String,
    /// How often it changed hands.
    pub transitions: u32,
    /// Resource version, for preconditions.
    pub revision: String,
}

/// One thing that became known to this client.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// The object stands like this now.
    Object(Object),
    /// The object is gone.
    Gone(Key),
    /// The object exists and cannot be read: what the parser said. It must do no harm, and count at its worst.
    Unreadable(Key, String),
    /// All objects of the kind have been shown: what was not shown is not there.
    Listed(Kind),
    /// The watch of the kind broke: what is known of it grows old until it is listed again.
    Broken(Kind),
    /// A write was answered.
    Answer(WriteId, Answer),
}

/// A client of the API server.
pub trait Store {
    /// What became known since the last call, in order for each object. Bounded: the rest comes with the next call.
    fn poll(&mut self) -> Vec<Seen>;

    /// Hands over a write. Its answer comes with a later [`Store::poll`], within the end's time-out, always.
    fn submit(&mut self, write: Write) -> WriteId;
}
