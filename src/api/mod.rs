//! The kinds of `ampacity.dev/v1alpha1`: one file each with spec, status, rules, conditions and reasons.
//!
//! What the API server can check is in the schemas (`crd`): bounds, patterns and CEL rules. `check` holds an object
//! to the same schemas without a server, and `manifest` reads files with the line and column of what is wrong.

#![allow(clippy::duplicated_attributes, reason = "printer columns repeat the names of their fields")]
#![allow(unreachable_pub, reason = "KubeSchema copies each struct, `pub` and all, into a function")]

pub mod check;
pub mod common;
pub mod compute_lease;
pub mod controllable_load;
pub mod convert;
pub mod crd;
pub mod gpu_pool;
pub mod grid_event;
pub mod lease_class;
pub mod lockout;
pub mod manifest;
pub mod mining_fleet;
pub mod power_budget;
pub mod pricing;
pub mod quantity;
pub mod sense;
pub mod table;
#[cfg(test)]
mod tests;

pub use common::LoadKind;
pub use compute_lease::{ComputeLease, ComputeLeaseSpec, ComputeLeaseStatus};
pub use controllable_load::{ControllableLoad, ControllableLoadSpec, ControllableLoadStatus};
pub use gpu_pool::{GpuPool, GpuPoolSpec, GpuPoolStatus};
pub use grid_event::{GridEvent, GridEventSpec, GridEventStatus};
pub use lease_class::{LeaseClass, LeaseClassSpec, LeaseClassStatus};
pub use lockout::{Lockout, LockoutSpec, LockoutStatus};
pub use mining_fleet::{MiningFleet, MiningFleetSpec, MiningFleetStatus};
pub use power_budget::{PowerBudget, PowerBudgetSpec, PowerBudgetStatus};
pub use quantity::{Money, Percent, SignedMoney, WattsQuantity, WholeWatts};

/// The API group of every kind.
pub const GROUP: &str = "ampacity.dev";
/// The version of every kind.
pub const VERSION: &str = "v1alpha1";

/// Label of a Job and its pods: the name of the ComputeLease in the same namespace that they run under.
pub const LEASE_LABEL: &str = "ampacity.dev/lease";
/// Label of a load and its agent pod: the PowerBudget.
pub const BUDGET_LABEL: &str = "ampacity.dev/budget";
/// Label of a load and its agent pod: the MiningFleet or GpuPool.
pub const OWNER_LABEL: &str = "ampacity.dev/owner";
/// Label of an agent pod: the ControllableLoad that it serves.
pub const LOAD_LABEL: &str = "ampacity.dev/load";
/// Annotation of an agent pod, written by the operator: which form of its template it was made from.
pub const AGENT_TEMPLATE_ANNOTATION: &str = "ampacity.dev/agent-template";

/// Annotation of a Job and its pods, written by the operator: a checkpoint is asked for under this id.
pub const CHECKPOINT_REQUEST_ANNOTATION: &str = "ampacity.dev/checkpoint-requested";
/// Annotation of a Job, written by the tenant's side: the id of the last checkpoint that was written.
pub const CHECKPOINT_DONE_ANNOTATION: &str = "ampacity.dev/checkpoint-done";
/// Annotation of a Job and its pods, written by the operator: when the notice ends, RFC 3339.
pub const NOTICE_DEADLINE_ANNOTATION: &str = "ampacity.dev/notice-deadline";
/// Annotation of a Job, written by the operator: why it is suspended.
pub const SUSPEND_REASON_ANNOTATION: &str = "ampacity.dev/suspend-reason";
/// Annotation of a load, written by `ampacity release`: who gave their word that it draws nothing.
pub const RELEASED_BY_ANNOTATION: &str = "ampacity.dev/released-by";
/// Annotation of a load, written by `ampacity release`: why.
pub const RELEASE_REASON_ANNOTATION: &str = "ampacity.dev/release-reason";

/// Annotation of a node, written by the operator: nothing new starts there, for a person's lockout holds it.
pub const LOCKED_OUT_ANNOTATION: &str = "ampacity.dev/locked-out";

/// Taint and toleration key of a leased node: only pods of a lease run there.
pub const LEASE_TAINT: &str = "ampacity.dev/leased";
/// Taint of a node whose caps are not yet proved: nothing new starts there.
pub const UNCAPPED_TAINT: &str = "ampacity.dev/uncapped";

/// Finalizer of a ControllableLoad: released on proof of 0 W or a named person's word alone.
pub const LOAD_FINALIZER: &str = "ampacity.dev/proof-of-zero";
/// Finalizer of a PowerBudget: its status keeps the nameplate sums.
pub const BUDGET_FINALIZER: &str = "ampacity.dev/nameplates";

/// Field manager of the operator's spec writes.
pub const OPERATOR_MANAGER: &str = "ampacity-operator";
/// Field manager of the operator's status writes.
pub const REPORT_MANAGER: &str = "ampacity-report";
/// Field manager of an agent's status writes.
pub const AGENT_MANAGER: &str = "ampacity-agent";
