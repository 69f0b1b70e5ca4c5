//! What writes are for, and which of them are not to be under way twice.

use crate::store::{Key, Kind, Write};
use ampacity_core::guard::{LoadId, Order};
use ampacity_core::units::Time;
use kube::ResourceExt;

/// A write and what it is for.
pub(super) type Purposed = (Write, Purpose);

/// What a write is about: two of the same are not under way at once. Orders are the ledger's to pace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Token(&'static str, Key);

/// The token of a write; none: any number may be under way.
pub(super) fn token(write: &Write) -> Option<Token> {
    match write {
        Write::CreateLoad(load) => {
            let namespace = load.namespace().unwrap_or_default();
            Some(Token("create", Key::namespaced(Kind::ControllableLoad, &namespace, &load.name_any())))
        }
        Write::CreateAgent { load, .. } => Some(Token("agent", load.clone())),
        Write::Status { key, .. } => Some(Token("status", key.clone())),
        Write::Job { job, .. } => Some(Token("job", job.clone())),
        Write::NotePod { pod, .. } => Some(Token("note", pod.clone())),
        Write::DeletePod { pod, .. } => Some(Token("pod", pod.clone())),
        Write::Cordon { node, .. } => Some(Token("cordon", node.clone())),
        Write::Finalizer { key, .. } => Some(Token("finalizer", key.clone())),
        Write::Delete(key) => Some(Token("delete", key.clone())),
        Write::Order { .. } | Write::State { .. } | Write::Lead { .. } | Write::Event { .. } => None,
    }
}

/// What a write was for.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    /// An order on a load of a site.
    Order { site: String, load: LoadId, order: Order, shed: bool, sent: Time },
    /// The release of a load.
    Release { site: String, load: LoadId },
    /// The agent pod of this load, made or deleted.
    Agent { load: String },
    /// Where a lease stands from now on, once it is written down.
    Tenancy { site: String, lease: String, uid: Option<String> },
    /// Anything that is simply tried again when it is still needed.
    Other,
}
