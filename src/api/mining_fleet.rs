//! `MiningFleet`: alike containers of ASICs on one feeder.

use super::common::{Conditioned, words};
use super::quantity::{Money, WattsQuantity, WholeWatts};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Alike containers of mining machines on one feeder.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "ampacity.dev",
    version = "v1alpha1",
    kind = "MiningFleet",
    plural = "miningfleets",
    shortname = "mf",
    category = "ampacity",
    status = "MiningFleetStatus",
    derive = "PartialEq",
    doc = "Alike containers of mining machines on one feeder: inventory, power curve, thermal floor, ownership. Each container becomes one load with one agent.",
    printcolumn(name = "Feeder", type_ = "string", json_path = ".spec.feeder"),
    printcolumn(name = "Containers", type_ = "integer", json_path = ".spec.containers"),
    printcolumn(name = "Agents", type_ = "integer", json_path = ".status.agents"),
    printcolumn(name = "Setpoint", type_ = "string", json_path = ".status.setpointWatts"),
    printcolumn(name = "Measured", type_ = "string", json_path = ".status.measuredWatts"),
    printcolumn(name = "Break-Even", type_ = "string", json_path = ".status.breakEvenPerMwh"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Model", type_ = "string", priority = 1, json_path = ".spec.model"),
    printcolumn(name = "Budget", type_ = "string", priority = 1, json_path = ".spec.budget"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("self.budget == oldSelf.budget", "budget is immutable: create another MiningFleet"))]
#[x_kube(validation = ("self.feeder == oldSelf.feeder", "feeder is immutable: a container does not move between breakers; create another MiningFleet"))]
pub struct MiningFleetSpec {
    /// Name of the PowerBudget.
    #[schemars(length(min = 1, max = 253))]
    pub budget: String,
    /// The feeder that the containers hang on; the budget's own name for the site itself. Immutable.
    #[schemars(length(min = 1, max = 253))]
    pub feeder: String,
    /// How many containers there are.
    #[schemars(range(min = 1, max = 2000))]
    pub containers: i32,
    /// Machines in each container.
    #[schemars(range(min = 1, max = 5000))]
    pub miners_per_container: i32,
    /// Make and model, such as S19j Pro.
    #[schemars(length(min = 1, max = 64))]
    pub model: String,
    /// Power presets of one machine, with rising watts and hashrate; the highest is its nameplate.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[x_kube(validation = (
        "self.map(p, p.watts).isSorted() && self.all(p, self.exists_one(q, q.watts == p.watts))",
        "curve[].watts must rise from point to point"
    ))]
    #[x_kube(validation = (
        "self.map(p, p.gigahashPerSecond).isSorted()",
        "curve[].gigahashPerSecond must not fall from point to point"
    ))]
    pub curve: Vec<CurvePoint>,
    /// Pumps, fans and controllers of one container, drawn whenever it is on.
    #[serde(default)]
    pub overhead_watts: WattsQuantity,
    /// The most that one container can draw; left out, machines at their highest preset and the overhead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nameplate_watts_per_container: Option<WattsQuantity>,
    /// What one container must draw to stay safe in its climate. Never sold, never ordered below but by a lockout.
    #[serde(default)]
    pub thermal_floor_watts: WattsQuantity,
    /// The smallest step by which a container's setpoint changes; left out, the step of its presets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_watts: Option<WattsQuantity>,
    /// How long a container stays on at least, seconds.
    #[serde(default = "ten_minutes")]
    #[schemars(range(min = 0, max = 86_400))]
    pub minimum_on_seconds: i64,
    /// How long a container stays off at least, seconds.
    #[serde(default = "five_minutes")]
    #[schemars(range(min = 0, max = 86_400))]
    pub minimum_off_seconds: i64,
    /// What starting one container costs in wear and lost hashing, USD.
    #[serde(default)]
    pub start_cost_usd: Money,
    /// What stopping one container costs, USD.
    #[serde(default)]
    pub stop_cost_usd: Money,
    /// Whose machines these are.
    #[serde(default)]
    pub ownership: Ownership,
    /// What a container falls back to when no operator leads; left out, its thermal floor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback_watts: Option<WattsQuantity>,
    /// Whether a preset survives the machine's reboot.
    #[serde(default)]
    pub setpoint_retention: SetpointRetention,
    /// The least time from a reboot to full power, seconds: no proof lives longer where presets are volatile.
    #[serde(default = "one_minute")]
    #[schemars(range(min = 1, max = 3600))]
    pub boot_to_full_seconds: i64,
    /// How long proving a container takes at most, seconds.
    #[serde(default = "two_minutes")]
    #[schemars(range(min = 1, max = 3600))]
    pub proof_seconds: i64,
}

fn one_minute() -> i64 {
    60
}
fn two_minutes() -> i64 {
    120
}
fn five_minutes() -> i64 {
    300
}
fn ten_minutes() -> i64 {
    600
}

/// One power preset of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CurvePoint {
    /// Power at the wall, W.
    #[schemars(range(min = 1, max = 100_000))]
    pub watts: WholeWatts,
    /// Hashrate, GH/s: 104 TH/s are 104000.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub gigahash_per_second: i64,
}

/// Whether a limit survives a reboot of the device or its driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SetpointRetention {
    /// It survives.
    Persistent,
    /// It is lost: the agent must impose it again faster than the device can rise.
    #[default]
    Volatile,
}

/// Whose machines a fleet holds: exactly one of its fields; left out, the site's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ownership {
    /// Another's machines, hosted under a contract; left out, the machines are the site's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosted: Option<Hosted>,
}

/// A hosting contract.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hosted {
    /// Whose machines.
    #[schemars(length(min = 1, max = 253))]
    pub customer: String,
    /// What the customer pays for each MWh drawn, USD.
    pub hosting_rate_per_mwh: Money,
    /// What the customer is credited for each MWh curtailed, USD.
    #[serde(default)]
    pub curtailment_credit_per_mwh: Money,
}

/// What the operator last saw of a fleet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MiningFleetStatus {
    /// Generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, Ready, and what is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Loads that exist.
    #[serde(default)]
    #[schemars(range(min = 0, max = 2000))]
    pub loads: i32,
    /// Loads whose agent answers.
    #[serde(default)]
    #[schemars(range(min = 0, max = 2000))]
    pub agents: i32,
    /// Σ setpoints.
    #[serde(default)]
    pub setpoint_watts: WattsQuantity,
    /// Σ what the containers draw.
    #[serde(default)]
    pub measured_watts: WattsQuantity,
    /// The price of power at which the first preset stops paying, USD per MWh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub break_even_per_mwh: Option<super::quantity::SignedMoney>,
}

words! {
    /// Conditions of a `MiningFleet`.
    MiningFleetCondition {
        /// The spec makes sense and its budget and feeder exist.
        Accepted,
        /// Every load is under orders.
        Ready,
        /// An agent does not answer: its load counts at nameplate.
        AgentLost,
    }
}

words! {
    /// Reasons of a `MiningFleet`'s conditions.
    MiningFleetReason {
        /// Nothing is wrong with the spec.
        Valid,
        /// A rule that the API server cannot check does not hold.
        Invalid,
        /// There is no such budget.
        BudgetNotFound,
        /// The budget has no such feeder.
        FeederNotFound,
        /// Every load is under orders.
        Operating,
        /// Loads are being created or claimed.
        Starting,
        /// An agent was not heard of for too long.
        Silent,
    }
}

impl Conditioned for MiningFleet {
    type Type = MiningFleetCondition;
    type Reason = MiningFleetReason;
}
