//! What a client asks the API server to change, and what became of it.

use super::{Key, LeadershipFacts, Object};
use crate::api::{
    ComputeLeaseStatus, ControllableLoad, ControllableLoadStatus, GpuPoolStatus, GridEventStatus, LeaseClassStatus,
    LockoutStatus, MiningFleetStatus, PowerBudgetStatus,
};
use ampacity_core::guard::Order;
use ampacity_core::units::{Span, Watts};
use std::collections::BTreeMap;

/// The number of a write, unique per client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

/// What became of a write.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It landed; the object as it now stands, where the server returned it.
    Accepted(Option<Object>),
    /// It did not land.
    Refused(Refusal),
    /// Lost, timed out, or a server error after which it may have landed, or may land yet.
    Unknown,
}

/// Why a write did not land.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The object changed, or a precondition did not hold (409).
    Conflict(String),
    /// A rule of the schema, the order's fence among them (422).
    Invalid(String),
    /// Not allowed (403).
    Forbidden(String),
    /// There is no such object (404).
    NotFound,
    /// It exists already (409 on create).
    Exists,
    /// The client's own queue is full and nothing was sent, or the server was too busy to take it. Try again next tick.
    Busy,
}

/// One write. Every one has a time-out at the real end.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Create a load, at its birth order.
    CreateLoad(Box<ControllableLoad>),
    /// Create a load's agent pod; the template is the operator's.
    CreateAgent {
        /// The load.
        load: Key,
        /// The pod's manifest.
        pod: Box<serde_json::Value>,
    },
    /// A new order on a load. Fenced by the API server: its pair must rise.
    Order {
        /// The load.
        load: Key,
        /// The order.
        order: Order,
        /// The setpoint; none: a claim, which leaves it as it stands.
        setpoint: Option<Watts>,
        /// Where to go without a leader; none: as it stands.
        fallback: Option<Watts>,
        /// Known coming limits; none: as they stand.
        schedule: Option<Vec<ampacity_core::guard::KnownLimit>>,
    },
    /// An agent's statement.
    State {
        /// The load.
        load: Key,
        /// The whole status.
        status: Box<ControllableLoadStatus>,
        /// Accepted only while the spec carries this order (the status's own order; checked by CEL), or while the
        /// object has this resource version.
        revision: Option<String>,
    },
    /// Server-side applied status of one of the platform's or tenants' objects.
    Status {
        /// The object.
        key: Key,
        /// The whole status.
        status: Box<Status>,
        /// Resource version that the object must still have; none: whatever it has. Accepted without a change it
        /// proves that what was read is how it stands.
        revision: Option<String>,
    },
    /// Take, renew or release the leadership.
    Lead {
        /// How it is to stand.
        facts: LeadershipFacts,
        /// Resource version that it must still have; none: it must not exist.
        revision: Option<String>,
    },
    /// Flip a Job's switch, say which nodes its pods ask for, and set our annotations on it (none: remove). Only on
    /// this UID.
    Job {
        /// The Job.
        job: Key,
        /// Its UID.
        uid: String,
        /// `spec.suspend`; none: as it stands.
        suspend: Option<bool>,
        /// What its pods' `nodeSelector` is to hold besides; nothing: as it stands. Only a suspended Job takes it, and
        /// before Kubernetes 1.36 only one that has never started.
        node_selector: BTreeMap<String, String>,
        /// Annotations under our prefix.
        annotations: BTreeMap<String, Option<String>>,
    },
    /// Set our annotations on a pod of a lease's Job (none: remove), where its own processes can read them through the
    /// downward API. Only on this UID.
    NotePod {
        /// The pod.
        pod: Key,
        /// Its UID.
        uid: String,
        /// Annotations under our prefix.
        annotations: BTreeMap<String, Option<String>>,
    },
    /// Delete a pod of a lease's Job, or an agent's: only this one of its name.
    DeletePod {
        /// The pod.
        pod: Key,
        /// Its UID.
        uid: String,
        /// Grace; none: the pod's own.
        grace: Option<Span>,
    },
    /// Let nothing new start on a node, for a lockout, or let it again.
    Cordon {
        /// The node.
        node: Key,
        /// Nothing new is to start there.
        on: bool,
    },
    /// Replace our finalizer on an object: present or absent.
    Finalizer {
        /// The object.
        key: Key,
        /// Whether it is to be there.
        present: bool,
    },
    /// Delete one of the operator's own loads, or an agent pod.
    Delete(Key),
    /// An Event that a person may read.
    Event {
        /// About what.
        regarding: Key,
        /// `Warning` instead of `Normal`.
        warning: bool,
        /// One word, CamelCase.
        reason: &'static str,
        /// What was done.
        action: &'static str,
        /// A sentence.
        note: String,
    },
}

/// A status to be applied.
#[allow(clippy::large_enum_variant, reason = "a status only ever travels boxed, in `Write::Status`")]
#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    /// Of a `PowerBudget`.
    PowerBudget(PowerBudgetStatus),
    /// Of a `MiningFleet`.
    MiningFleet(MiningFleetStatus),
    /// Of a `GpuPool`.
    GpuPool(GpuPoolStatus),
    /// Of a `LeaseClass`.
    LeaseClass(LeaseClassStatus),
    /// Of a `ComputeLease`.
    ComputeLease(ComputeLeaseStatus),
    /// Of a `GridEvent`.
    GridEvent(GridEventStatus),
    /// Of a `Lockout`.
    Lockout(LockoutStatus),
}
