//! What happens to a simulated site, on order: people, utilities, tenants and faults.

use crate::api::manifest::Object;
use ampacity_core::units::{Span, Time};

/// One thing that happens at one moment.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// A person applies an object.
    Apply(Box<Object>),
    /// A person deletes an object: its kind, namespace and name.
    Delete {
        /// The kind, as in a manifest.
        kind: String,
        /// The namespace; none for cluster-scoped kinds.
        namespace: Option<String>,
        /// The name.
        name: String,
    },
    /// A tenant submits a Job under a lease, created suspended.
    Job {
        /// The tenant's namespace.
        namespace: String,
        /// The Job's name.
        name: String,
        /// The lease's name.
        lease: String,
        /// GPUs in all, in pods of one node's GPUs each.
        gpus: u32,
        /// How much work it is: GPU hours at full throughput.
        gpu_hours: u32,
    },
    /// Every device of a load says ok, reads back what it was told, and keeps drawing.
    Wedge {
        /// The load.
        load: String,
        /// For how long.
        lasts: Span,
    },
    /// Every device of a load stops answering; its draw does not change.
    Hang {
        /// The load.
        load: String,
        /// For how long.
        lasts: Span,
    },
    /// Every device of a load reboots; volatile limiters are lost.
    Reboot {
        /// The load.
        load: String,
    },
    /// A meter takes no samples.
    MeterOut {
        /// The node's name.
        node: String,
        /// For how long.
        lasts: Span,
    },
    /// The agent of a load dies; another starts after a while, knowing nothing.
    KillAgent {
        /// The load.
        load: String,
        /// How long until another starts.
        back_after: Span,
    },
    /// The agent of a load is cut off from the API server and the operator.
    CutAgent {
        /// The load.
        load: String,
        /// For how long.
        lasts: Span,
    },
    /// The leading operator is killed; the same replica starts again after a while.
    KillLeader {
        /// How long until it starts again.
        back_after: Span,
    },
    /// The leading operator stands still and then goes on as if nothing had been.
    FreezeLeader {
        /// For how long.
        lasts: Span,
    },
    /// The leading operator is cut off from the API server.
    CutLeader {
        /// For how long.
        lasts: Span,
    },
    /// The API server answers nobody.
    ApiDown {
        /// For how long.
        lasts: Span,
    },
}

/// When what happens.
pub type Script = Vec<(Time, Happening)>;

impl Happening {
    /// The line that a person reads in the feed; its first word says what sort it is.
    pub fn said(&self) -> String {
        match self {
            Self::Apply(object) => {
                format!("event: {} {} is applied", object.kind(), object.meta().name.as_deref().unwrap_or_default())
            }
            Self::Delete { kind, name, .. } => format!("event: {kind} {name} is deleted"),
            Self::Job { namespace, name, lease, gpus, .. } => {
                format!("lease: Job {namespace}/{name} asks for {gpus} GPUs under lease {lease}")
            }
            Self::Wedge { load, .. } => format!("fault: {load} says ok and keeps drawing"),
            Self::Hang { load, .. } => format!("fault: the devices of {load} stop answering"),
            Self::Reboot { load } => format!("fault: {load} reboots"),
            Self::MeterOut { node, .. } => format!("fault: the meter of {node} stops"),
            Self::KillAgent { load, .. } => format!("fault: the agent of {load} dies"),
            Self::CutAgent { load, .. } => format!("fault: the agent of {load} is cut off"),
            Self::KillLeader { .. } => "fault: the leading operator is killed".into(),
            Self::FreezeLeader { .. } => "fault: the leading operator stands still".into(),
            Self::CutLeader { .. } => "fault: the leading operator is cut off from the API server".into(),
            Self::ApiDown { .. } => "fault: the API server answers nobody".into(),
        }
    }

    /// Whether it is a fault, whose time to safety the account keeps.
    pub fn is_fault(&self) -> bool {
        self.said().starts_with("fault:")
    }
}
