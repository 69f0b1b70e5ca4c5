//! `ControllableLoad`: one dispatchable load: order in, ceiling out.
//!
//! The operator writes the spec, the load's agent the status. The rules of the guard that an API server can keep are
//! rules here: orders rise, a claim raises nothing, a ceiling is stated under the order that stands. The schema of the
//! spec is frozen: a later version may add to the status alone.

use super::common::{Conditioned, LoadKind, words};
use super::quantity::WholeWatts;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The protocol that this version speaks.
pub const PROTOCOL: i32 = 1;

/// The highest epoch, and the largest leaps of epoch (ten years of seconds) and sequence.
pub const EPOCH_MAX: i64 = 100_000_000_000;
/// The most that an epoch may rise at once.
pub const EPOCH_LEAP: i64 = 315_360_000;
/// The most that a sequence may rise at once.
pub const SEQUENCE_LEAP: i64 = 1_000_000;

/// One dispatchable load: order in, ceiling out.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "ampacity.dev",
    version = "v1alpha1",
    kind = "ControllableLoad",
    plural = "controllableloads",
    shortname = "load",
    category = "ampacity",
    namespaced,
    status = "ControllableLoadStatus",
    derive = "PartialEq",
    doc = "One dispatchable load: a mining container or a GPU node. The operator writes the order (setpoint, epoch, sequence), the load's agent answers with its ceiling. Not for hand-written objects.",
    validation = Rule::new("!has(self.status) || !has(self.status.ceilingWatts) || (has(self.status.order) && self.status.order.epoch == self.spec.order.epoch && self.status.order.sequence == self.spec.order.sequence) || (has(self.status.order) && has(oldSelf.status) && has(oldSelf.status.ceilingWatts) && self.status.ceilingWatts <= oldSelf.status.ceilingWatts && self.status.order.epoch == oldSelf.status.order.epoch)")
        .message("status.ceilingWatts may rise, or be stated under another epoch, only while status.order equals spec.order: read the load again"),
    validation = Rule::new("!has(self.status) || !has(self.status.holder) || !has(self.status.ceilingWatts) || (has(oldSelf.status) && has(oldSelf.status.holder) && self.status.holder.uid == oldSelf.status.holder.uid) || self.status.ceilingWatts >= self.spec.nameplateWatts")
        .message("status.ceilingWatts is void under a new holder: leave it out, or state the nameplate"),
    printcolumn(name = "Feeder", type_ = "string", json_path = ".spec.feeder"),
    printcolumn(name = "Setpoint", type_ = "integer", json_path = ".spec.setpointWatts"),
    printcolumn(name = "Ceiling", type_ = "integer", json_path = ".status.ceilingWatts"),
    printcolumn(name = "Measured", type_ = "integer", json_path = ".status.measuredWatts"),
    printcolumn(name = "Proved", type_ = "integer", json_path = ".status.devices.proved"),
    printcolumn(name = "Devices", type_ = "integer", json_path = ".status.devices.total"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Kind", type_ = "string", priority = 1, json_path = ".spec.kind"),
    printcolumn(name = "Nameplate", type_ = "integer", priority = 1, json_path = ".spec.nameplateWatts"),
    printcolumn(name = "Epoch", type_ = "integer", priority = 1, json_path = ".spec.order.epoch"),
    printcolumn(name = "Sequence", type_ = "integer", priority = 1, json_path = ".spec.order.sequence"),
    printcolumn(name = "Holder", type_ = "string", priority = 1, json_path = ".status.holder.pod"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "self == oldSelf || self.order.epoch > oldSelf.order.epoch || (self.order.epoch == oldSelf.order.epoch && self.order.sequence > oldSelf.order.sequence)",
    "order must rise with every change: a later epoch, or a higher sequence of the same epoch"
))]
#[x_kube(validation = (
    "self.order.epoch <= oldSelf.order.epoch || (self.order.sequence == 0 && self.setpointWatts <= oldSelf.setpointWatts)",
    "the first order of an epoch is a claim: order.sequence must be 0 and setpointWatts no higher than it stands"
))]
#[x_kube(validation = (
    "self.order.epoch - oldSelf.order.epoch <= 315360000",
    "order.epoch leaps: it may rise by at most 315360000 (ten years of seconds) at once"
))]
#[x_kube(validation = (
    "self.order.epoch != oldSelf.order.epoch || self.order.sequence - oldSelf.order.sequence <= 1000000",
    "order.sequence leaps: it may rise by at most 1000000 at once"
))]
#[x_kube(validation = ("self.budget == oldSelf.budget", "budget is immutable: release this load and create another"))]
#[x_kube(validation = ("self.feeder == oldSelf.feeder", "feeder is immutable: release this load and create another"))]
#[x_kube(validation = ("self.kind == oldSelf.kind", "kind is immutable: release this load and create another"))]
#[x_kube(validation = ("self.owner == oldSelf.owner", "owner is immutable: release this load and create another"))]
#[x_kube(validation = ("self.setpointWatts <= self.nameplateWatts", "setpointWatts must not be above nameplateWatts"))]
#[x_kube(validation = ("self.fallbackWatts <= self.nameplateWatts", "fallbackWatts must not be above nameplateWatts"))]
pub struct ControllableLoadSpec {
    /// Version of the rules between operator and agent. A higher one makes an older operator or agent refuse.
    #[schemars(range(min = 1, max = 1000))]
    pub protocol: i32,
    /// Name of the PowerBudget. Immutable.
    #[schemars(length(min = 1, max = 253))]
    pub budget: String,
    /// The feeder that the load hangs on; the budget's own name for the site itself. Immutable.
    #[schemars(length(min = 1, max = 253))]
    pub feeder: String,
    /// Miner or Gpu. Immutable.
    pub kind: LoadKind,
    /// What it belongs to, and which part of it this is. Immutable.
    pub owner: LoadOwner,
    /// The most that the load can draw with every device at its highest, W: what it counts at while unknown.
    pub nameplate_watts: WholeWatts,
    /// What the load is told to stay under, W.
    pub setpoint_watts: WholeWatts,
    /// What the agent ramps down to when no operator leads, W, if its setpoint is higher.
    pub fallback_watts: WholeWatts,
    /// The setpoint's place in order.
    pub order: Order,
    /// Limits that are known to be coming: the agent obeys them with or without an operator.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub schedule: Vec<ScheduledLimit>,
}

/// A place in order: later epochs go before, then higher sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Of the leader: Unix seconds when it took over, or one more than any seen.
    #[schemars(range(min = 0, max = 100_000_000_000_i64))]
    pub epoch: i64,
    /// Of this load within the epoch: 0 is the claim.
    #[schemars(range(min = 0, max = 1_000_000_000_000_i64))]
    pub sequence: i64,
}

/// What a load belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.fleet) ? has(self.index) && !has(self.pool) && !has(self.node) : has(self.pool) && has(self.node) && !has(self.index)",
    "exactly fleet and index, or pool and node, must be set"
))]
pub struct LoadOwner {
    /// Name of the MiningFleet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub fleet: Option<String>,
    /// Which container of the fleet, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1999))]
    pub index: Option<i32>,
    /// Name of the GpuPool.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub pool: Option<String>,
    /// Name of the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub node: Option<String>,
}

/// A limit that is known to be coming.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.to) || self.to > self.from", "to must be later than from"))]
pub struct ScheduledLimit {
    /// First moment.
    pub from: Time,
    /// End; left out, until it is taken out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Time>,
    /// The most that the load may draw then, W.
    pub limit_watts: WholeWatts,
}

/// What the agent states of its load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.ceilingWatts) || (has(self.order) && has(self.protocol) && has(self.holder) && has(self.bootId) && has(self.readBackTime) && has(self.proofExpires))",
    "ceilingWatts needs order, protocol, holder, bootId, readBackTime and proofExpires beside it"
))]
pub struct ControllableLoadStatus {
    /// Generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, and what is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The most that the load's devices can draw by limiters that were read back, W; left out, the nameplate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ceiling_watts: Option<WholeWatts>,
    /// The order that the ceiling was stated under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// The protocol that the ceiling was stated in. Another one's ceiling counts as the nameplate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub protocol: Option<i32>,
    /// The one agent of this load. It changes by compare-and-swap and voids the ceiling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
    /// Changes when the machine that the agent runs on starts anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub boot_id: Option<String>,
    /// When the limiters were last read back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_back_time: Option<Time>,
    /// When the ceiling's proof expires: from then on the load counts at nameplate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof_expires: Option<Time>,
    /// What the load draws, W.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured_watts: Option<WholeWatts>,
    /// How many devices there are, and how many answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub devices: Option<Devices>,
}

/// The one agent of a load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// UID of the agent's pod.
    #[schemars(length(min = 1, max = 64))]
    pub uid: String,
    /// Name of the agent's pod.
    #[schemars(length(min = 1, max = 253))]
    pub pod: String,
    /// When it took the load.
    pub since: Time,
}

/// The devices of a load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Devices {
    /// In the inventory.
    #[schemars(range(min = 0, max = 100_000))]
    pub total: i32,
    /// With a limiter read back at or under its share.
    #[schemars(range(min = 0, max = 100_000))]
    pub proved: i32,
    /// That do not answer: each counts at its nameplate.
    #[schemars(range(min = 0, max = 100_000))]
    pub silent: i32,
}

words! {
    /// Conditions of a `ControllableLoad`.
    ControllableLoadCondition {
        /// Its agent obeys its order.
        Ready,
        /// Its agent holds without an operator.
        Leaderless,
        /// A device keeps drawing above its limiter.
        Disobeys,
        /// Not every device answers.
        DevicesSilent,
    }
}

words! {
    /// Reasons of a `ControllableLoad`'s conditions.
    ControllableLoadReason {
        /// Every limiter is proved under the setpoint.
        Proved,
        /// The order is being carried out.
        Moving,
        /// Limiters are being read back.
        Proving,
        /// The agent refuses the order.
        Refused,
        /// No operator leads: the agent holds.
        Holding,
        /// No operator leads: the agent ramps down.
        FallingBack,
        /// Watts contradict the limiter.
        Contradicted,
        /// Devices do not answer.
        Silent,
        /// The order is of a newer protocol.
        ProtocolTooNew,
    }
}

impl Conditioned for ControllableLoad {
    type Type = ControllableLoadCondition;
    type Reason = ControllableLoadReason;
}
