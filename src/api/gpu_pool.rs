//! `GpuPool`: alike GPU nodes on one feeder.

use super::common::{Conditioned, words};
use super::mining_fleet::SetpointRetention;
use super::quantity::{Percent, WattsQuantity, WholeWatts};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Alike GPU nodes on one feeder.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "ampacity.dev",
    version = "v1alpha1",
    kind = "GpuPool",
    plural = "gpupools",
    shortname = "gp",
    category = "ampacity",
    status = "GpuPoolStatus",
    derive = "PartialEq",
    doc = "Alike GPU nodes on one feeder, chosen by labels: nameplate, overhead, power caps. Each node becomes one load. A node is in one pool.",
    printcolumn(name = "Feeder", type_ = "string", json_path = ".spec.feeder"),
    printcolumn(name = "Nodes", type_ = "integer", json_path = ".status.nodes"),
    printcolumn(name = "GPUs", type_ = "integer", json_path = ".status.gpus"),
    printcolumn(name = "Granted", type_ = "integer", json_path = ".status.grantedGpus"),
    printcolumn(name = "Setpoint", type_ = "string", json_path = ".status.setpointWatts"),
    printcolumn(name = "Measured", type_ = "string", json_path = ".status.measuredWatts"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Budget", type_ = "string", priority = 1, json_path = ".spec.budget"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("self.budget == oldSelf.budget", "budget is immutable: create another GpuPool"))]
#[x_kube(validation = ("self.feeder == oldSelf.feeder", "feeder is immutable: a node does not move between breakers; create another GpuPool"))]
#[x_kube(validation = ("self.minCapWatts <= self.maxCapWatts", "minCapWatts must not be above maxCapWatts"))]
#[x_kube(validation = (
    "self.throughput.all(p, p.capWatts >= self.minCapWatts && p.capWatts <= self.maxCapWatts)",
    "throughput[].capWatts must lie between minCapWatts and maxCapWatts"
))]
pub struct GpuPoolSpec {
    /// Name of the PowerBudget.
    #[schemars(length(min = 1, max = 253))]
    pub budget: String,
    /// The feeder that the nodes hang on; the budget's own name for the site itself. Immutable.
    #[schemars(length(min = 1, max = 253))]
    pub feeder: String,
    /// Labels that choose the nodes; all must match.
    #[schemars(schema_with = "super::common::labels")]
    pub node_labels: BTreeMap<String, String>,
    /// GPUs in each node.
    #[schemars(range(min = 1, max = 128))]
    pub gpus_per_node: i32,
    /// The lowest cap that a GPU accepts, W.
    #[schemars(range(min = 1, max = 100_000))]
    pub min_cap_watts: WholeWatts,
    /// The highest cap that a GPU accepts, W.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_cap_watts: WholeWatts,
    /// The most that one node draws besides its GPUs: processors, memory, fans, network.
    pub overhead_watts: WattsQuantity,
    /// The most that one node can draw; left out, GPUs at their highest cap and the overhead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nameplate_watts: Option<WattsQuantity>,
    /// Throughput of training against the cap, with rising caps; left out, in proportion.
    #[serde(default)]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[x_kube(validation = (
        "self.map(p, p.capWatts).isSorted() && self.all(p, self.exists_one(q, q.capWatts == p.capWatts))",
        "throughput[].capWatts must rise from point to point"
    ))]
    pub throughput: Vec<ThroughputPoint>,
    /// What a node falls back to when no operator leads; left out, its present setpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback_watts: Option<WattsQuantity>,
    /// Whether a cap survives a reload of the driver. NVML's does not.
    #[serde(default)]
    pub setpoint_retention: SetpointRetention,
    /// The least time from a reload of the driver to full power, seconds.
    #[serde(default = "twenty_seconds")]
    #[schemars(range(min = 1, max = 3600))]
    pub boot_to_full_seconds: i64,
    /// How long proving a node takes at most, seconds.
    #[serde(default = "ten_seconds")]
    #[schemars(range(min = 1, max = 3600))]
    pub proof_seconds: i64,
}

fn ten_seconds() -> i64 {
    10
}
fn twenty_seconds() -> i64 {
    20
}

/// Throughput under one cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ThroughputPoint {
    /// Cap of one GPU, W.
    #[schemars(range(min = 1, max = 100_000))]
    pub cap_watts: WholeWatts,
    /// Throughput, percent of that under the highest cap.
    pub throughput_percent: Percent,
}

/// What the operator last saw of a pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GpuPoolStatus {
    /// Generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, Ready, and what is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Nodes in the pool.
    #[serde(default)]
    #[schemars(range(min = 0, max = 20_000))]
    pub nodes: i32,
    /// GPUs in the pool.
    #[serde(default)]
    #[schemars(range(min = 0, max = 2_000_000))]
    pub gpus: i32,
    /// GPUs that leases hold.
    #[serde(default)]
    #[schemars(range(min = 0, max = 2_000_000))]
    pub granted_gpus: i32,
    /// Σ setpoints.
    #[serde(default)]
    pub setpoint_watts: WattsQuantity,
    /// Σ what the nodes draw.
    #[serde(default)]
    pub measured_watts: WattsQuantity,
}

words! {
    /// Conditions of a `GpuPool`.
    GpuPoolCondition {
        /// The spec makes sense and its budget and feeder exist.
        Accepted,
        /// Every load is under orders.
        Ready,
        /// A node is in another pool too.
        NodeConflict,
        /// An agent does not answer: its load counts at nameplate.
        AgentLost,
    }
}

words! {
    /// Reasons of a `GpuPool`'s conditions.
    GpuPoolReason {
        /// Nothing is wrong with the spec.
        Valid,
        /// A rule that the API server cannot check does not hold.
        Invalid,
        /// There is no such budget.
        BudgetNotFound,
        /// The budget has no such feeder.
        FeederNotFound,
        /// No node has the labels.
        NoNodes,
        /// A node has the labels of two pools.
        NodeInTwoPools,
        /// Every load is under orders.
        Operating,
        /// Loads are being created or claimed.
        Starting,
        /// An agent was not heard of for too long.
        Silent,
    }
}

impl Conditioned for GpuPool {
    type Type = GpuPoolCondition;
    type Reason = GpuPoolReason;
}
