//! `Lockout`: a person's hold on a load or feeder.

use super::common::{Conditioned, words};
use super::quantity::WattsQuantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// A person's hold on a load or feeder.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "ampacity.dev",
    version = "v1alpha1",
    kind = "Lockout",
    plural = "lockouts",
    shortname = "lo",
    category = "ampacity",
    status = "LockoutStatus",
    derive = "PartialEq",
    doc = "A person's hold on a load or feeder: lowered at once to limitWatts, raised by nothing while any lockout stands. Each holder releases their own by deleting it. Never proof of isolation: open, lock and try the breaker.",
    printcolumn(name = "Load", type_ = "string", json_path = ".spec.target.load"),
    printcolumn(name = "Feeder", type_ = "string", json_path = ".spec.target.feeder"),
    printcolumn(name = "Limit", type_ = "string", json_path = ".spec.limitWatts"),
    printcolumn(name = "Bound", type_ = "string", json_path = ".status.boundWatts"),
    printcolumn(name = "Met", type_ = "string", json_path = ".status.conditions[?(@.type=='Met')].status"),
    printcolumn(name = "Holder", type_ = "string", json_path = ".spec.holder"),
    printcolumn(name = "Budget", type_ = "string", priority = 1, json_path = ".spec.target.budget"),
    printcolumn(name = "Since", type_ = "string", priority = 1, json_path = ".spec.since"),
    printcolumn(name = "Reason", type_ = "string", priority = 1, json_path = ".spec.reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("self.target == oldSelf.target", "target is immutable: create another Lockout"))]
#[x_kube(validation = ("self.holder == oldSelf.holder", "holder is immutable: each holder has their own Lockout"))]
pub struct LockoutSpec {
    /// The load or feeder that is held. Immutable.
    pub target: LockoutTarget,
    /// The person who holds it, and who alone releases it. Immutable.
    #[schemars(length(min = 1, max = 253))]
    pub holder: String,
    /// Why, for the next shift.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
    /// What the target may draw meanwhile.
    #[serde(default)]
    pub limit_watts: WattsQuantity,
    /// Since when it is meant to stand; left out, since its creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}

/// One load, or one feeder of a budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.load) != has(self.feeder)",
    "exactly one of load and feeder must be set; the budget's own name as feeder means the whole site"
))]
pub struct LockoutTarget {
    /// Name of the PowerBudget.
    #[schemars(length(min = 1, max = 253))]
    pub budget: String,
    /// Name of one ControllableLoad. Exactly one of load and feeder.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub load: Option<String>,
    /// Name of one feeder. Exactly one of load and feeder.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub feeder: Option<String>,
}

/// What became of a lockout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LockoutStatus {
    /// Generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, Met, and what is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The target's bound. Never proof of isolation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_watts: Option<WattsQuantity>,
    /// When the target was first proved under the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub met_time: Option<Time>,
}

words! {
    /// Conditions of a `Lockout`.
    LockoutCondition {
        /// Its target exists.
        Accepted,
        /// The target is proved under the limit.
        Met,
    }
}

words! {
    /// Reasons of a `Lockout`'s conditions.
    LockoutReason {
        /// Nothing is wrong with the spec.
        Valid,
        /// There is no such budget.
        BudgetNotFound,
        /// The budget has no such feeder.
        FeederNotFound,
        /// There is no such load.
        LoadNotFound,
        /// Every limiter was read back.
        Proved,
        /// The shed is under way.
        Shedding,
    }
}

impl Conditioned for Lockout {
    type Type = LockoutCondition;
    type Reason = LockoutReason;
}
