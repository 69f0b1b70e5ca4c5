//! `LeaseClass`: published terms that tenants lease under.

use super::common::{Conditioned, words};
use super::quantity::{Money, Percent, WattsQuantity};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Published terms over a pool of GPUs or over one feeder, as a StorageClass is to a claim.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "ampacity.dev",
    version = "v1alpha1",
    kind = "LeaseClass",
    plural = "leaseclasses",
    shortname = "lc",
    category = "ampacity",
    status = "LeaseClassStatus",
    derive = "PartialEq",
    doc = "Published terms over a pool of GPUs (Jobs) or one feeder (Power): price, firm or flexible, notice, curtailable hours, credits, who may ask and how much. A running lease keeps the terms it accepted; an edit changes only what is offered from then on.",
    printcolumn(name = "Delivery", type_ = "string", json_path = ".spec.delivery"),
    printcolumn(name = "Service", type_ = "string", json_path = ".spec.service"),
    printcolumn(name = "GPU-Hour", type_ = "string", json_path = ".spec.pricePerGpuHour"),
    printcolumn(name = "kW-Month", type_ = "string", json_path = ".spec.pricePerKwMonth"),
    printcolumn(name = "Notice", type_ = "integer", json_path = ".spec.noticeSeconds"),
    printcolumn(name = "Leases", type_ = "integer", json_path = ".status.leases"),
    printcolumn(name = "Free-GPUs", type_ = "integer", json_path = ".status.freeGpus"),
    printcolumn(name = "Accepted", type_ = "string", json_path = ".status.conditions[?(@.type=='Accepted')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Accepted')].reason"),
    printcolumn(name = "Free-Watts", type_ = "string", priority = 1, json_path = ".status.freeWatts"),
    printcolumn(name = "Pool", type_ = "string", priority = 1, json_path = ".spec.pool"),
    printcolumn(name = "Feeder", type_ = "string", priority = 1, json_path = ".spec.feeder"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("self.delivery == oldSelf.delivery", "delivery is immutable: create another LeaseClass"))]
#[x_kube(validation = (
    "has(self.pool) == has(oldSelf.pool) && (!has(self.pool) || self.pool == oldSelf.pool)",
    "pool is immutable: create another LeaseClass"
))]
#[x_kube(validation = (
    "has(self.budget) == has(oldSelf.budget) && (!has(self.budget) || self.budget == oldSelf.budget)",
    "budget is immutable: create another LeaseClass"
))]
#[x_kube(validation = (
    "has(self.feeder) == has(oldSelf.feeder) && (!has(self.feeder) || self.feeder == oldSelf.feeder)",
    "feeder is immutable: create another LeaseClass"
))]
#[x_kube(validation = (
    "self.delivery == 'Jobs' ? has(self.pool) && !has(self.budget) && !has(self.feeder) : !has(self.pool) && has(self.budget) && has(self.feeder)",
    "delivery Jobs needs pool, delivery Power needs budget and feeder, and neither may have the other's"
))]
#[x_kube(validation = (
    "self.delivery == 'Jobs' ? has(self.pricePerGpuHour) && !has(self.pricePerKwMonth) : !has(self.pricePerGpuHour) && has(self.pricePerKwMonth)",
    "delivery Jobs is priced by pricePerGpuHour, delivery Power by pricePerKwMonth"
))]
#[x_kube(validation = (
    "(self.service == 'Flexible') == has(self.curtailable)",
    "curtailable must be set if service is Flexible, and only then"
))]
#[x_kube(validation = (
    "self.delivery == 'Jobs' ? !has(self.maxWattsPerNamespace) && !has(self.capacityWatts) : !has(self.maxGpusPerNamespace) && !has(self.capacityGpus) && !has(self.caps)",
    "delivery Jobs is limited in GPUs (maxGpusPerNamespace, capacityGpus, caps), delivery Power in watts (maxWattsPerNamespace, capacityWatts)"
))]
pub struct LeaseClassSpec {
    /// Jobs: GPUs for the tenant's Jobs. Power: watts for a hall that the tenant runs. Immutable.
    pub delivery: Delivery,
    /// The GpuPool that Jobs are delivered from. Immutable.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub pool: Option<String>,
    /// The PowerBudget that Power is delivered from. Immutable.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub budget: Option<String>,
    /// The feeder of the tenant's hall. Immutable.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub feeder: Option<String>,
    /// Rent for one GPU for one hour, USD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_per_gpu_hour: Option<Money>,
    /// Rent for one kW for a month of 730 hours, USD; paid whether used or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_per_kw_month: Option<Money>,
    /// Firm: shed in an emergency alone. Flexible: may be curtailed for economics within `curtailable`.
    pub service: Service,
    /// Time from a notice to the stop, for a checkpoint, seconds. Only an emergency may be faster.
    #[serde(default = "five_minutes")]
    #[schemars(range(min = 0, max = 604_800))]
    pub notice_seconds: i64,
    /// How much and how often a flexible lease may be curtailed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub curtailable: Option<Curtailable>,
    /// Credited for each hour that one leased GPU is withheld, USD.
    #[serde(default)]
    pub credit_per_gpu_hour: Money,
    /// Credited for each leased MWh that is withheld, USD.
    #[serde(default)]
    pub credit_per_mwh: Money,
    /// Whether GPUs may be capped before they are stopped; left out, they may not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caps: Option<Caps>,
    /// What stopping costs: one GPU (Jobs) or one kW (Power), once, in lost work, USD.
    #[serde(default)]
    pub stop_cost_usd: Money,
    /// Automatic: an offer within the tenant's maximum price accepts itself. Manual: each offer is accepted by its hash.
    #[serde(default)]
    pub approval: Approval,
    /// The namespaces that may ask; left out, all may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<AllowedNamespaces>,
    /// The most GPUs that one namespace may lease under this class; left out, all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_gpus_per_namespace: Option<i32>,
    /// The most power that one namespace may lease under this class; left out, all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_watts_per_namespace: Option<WattsQuantity>,
    /// GPUs that this class sells in all; left out, the pool's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub capacity_gpus: Option<i32>,
    /// Power that this class sells in all; left out, the feeder's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_watts: Option<WattsQuantity>,
    /// The longest term, seconds.
    #[serde(default = "a_year")]
    #[schemars(range(min = 60, max = 315_360_000))]
    pub max_term_seconds: i64,
    /// How long an offer stands, seconds.
    #[serde(default = "a_quarter_hour")]
    #[schemars(range(min = 60, max = 604_800))]
    pub offer_seconds: i64,
}

fn five_minutes() -> i64 {
    300
}
fn a_year() -> i64 {
    31_536_000
}
fn a_quarter_hour() -> i64 {
    900
}

/// What a lease delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Delivery {
    /// GPUs for the tenant's Jobs.
    Jobs,
    /// Watts for a hall that the tenant runs.
    Power,
}

/// How hard a lease's power is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Service {
    /// Shed in an emergency alone.
    Firm,
    /// May be curtailed for economics, as the class allows.
    Flexible,
}

/// How much and how often a flexible lease may be curtailed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Curtailable {
    /// Hours in every 30 days, counted from the term's start, in all.
    #[schemars(range(min = 1, max = 744))]
    pub hours_per_month: i32,
    /// Curtailments that may start in every 24 hours, counted from the term's start.
    #[serde(default = "four")]
    #[schemars(range(min = 1, max = 96))]
    pub events_per_day: i32,
    /// The longest curtailment, seconds.
    #[serde(default = "four_hours")]
    #[schemars(range(min = 60, max = 2_678_400))]
    pub max_event_seconds: i64,
    /// How long a lease runs at least before it is curtailed again, seconds.
    #[serde(default = "half_an_hour")]
    #[schemars(range(min = 0, max = 604_800))]
    pub minimum_run_seconds: i64,
}

fn four() -> i32 {
    4
}
fn four_hours() -> i64 {
    14_400
}
fn half_an_hour() -> i64 {
    1_800
}

/// How far GPUs may be capped before they are stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Caps {
    /// The least throughput that a cap may leave, percent of that under the highest cap.
    pub min_throughput_percent: Percent,
}

/// Who accepts an offer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Approval {
    /// An offer within the tenant's maximum price accepts itself.
    #[default]
    Automatic,
    /// Each offer is accepted by its hash.
    Manual,
}

/// Which namespaces may ask: those named, and those that carry every label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.names) || has(self.matchLabels)", "one of names and matchLabels must be set"))]
pub struct AllowedNamespaces {
    /// Namespaces by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub names: Vec<String>,
    /// Labels that a namespace must carry, all of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "super::common::labels")]
    pub match_labels: BTreeMap<String, String>,
}

/// What the operator last saw of a class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaseClassStatus {
    /// Generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, and what is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Leases whose terms are accepted and have not ended.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub leases: i32,
    /// GPUs that could still be leased now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_000_000))]
    pub free_gpus: Option<i32>,
    /// Power that could still be leased now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_watts: Option<WattsQuantity>,
}

words! {
    /// Conditions of a `LeaseClass`.
    LeaseClassCondition {
        /// Leases are offered under it.
        Accepted,
        /// More was sold than there now is.
        Oversold,
    }
}

words! {
    /// Reasons of a `LeaseClass`'s conditions.
    LeaseClassReason {
        /// Nothing is wrong with the spec.
        Valid,
        /// A rule that the API server cannot check does not hold.
        Invalid,
        /// There is no such pool.
        PoolNotFound,
        /// There is no such budget.
        BudgetNotFound,
        /// The budget has no such feeder.
        FeederNotFound,
        /// The firm classes of a pool or feeder together promise more than it has.
        SumPassesCapacity,
    }
}

impl Conditioned for LeaseClass {
    type Type = LeaseClassCondition;
    type Reason = LeaseClassReason;
}
