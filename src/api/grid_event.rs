//! `GridEvent`: what a utility, an aggregator or a person on call asks of a site.

use super::common::{Conditioned, LoadKind, words};
use super::quantity::WattsQuantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A limit or an obligation on a site, a feeder or a kind of load. Of many limits the strictest wins.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "ampacity.dev",
    version = "v1alpha1",
    kind = "GridEvent",
    plural = "gridevents",
    shortname = "ge",
    category = "ampacity",
    status = "GridEventStatus",
    derive = "PartialEq",
    doc = "A limit or an obligation on a site, a feeder or a kind of load, with owner, reason, priority, response time, start and end. Of many limits the strictest wins.",
    printcolumn(name = "Budget", type_ = "string", json_path = ".spec.target.budget"),
    printcolumn(name = "Feeder", type_ = "string", json_path = ".spec.target.feeder"),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type"),
    printcolumn(name = "Limit", type_ = "string", json_path = ".spec.limitWatts"),
    printcolumn(name = "Minimum", type_ = "string", json_path = ".spec.minimumWatts"),
    printcolumn(name = "Active", type_ = "string", json_path = ".status.conditions[?(@.type=='Active')].status"),
    printcolumn(name = "Met", type_ = "string", json_path = ".status.conditions[?(@.type=='Met')].status"),
    printcolumn(name = "Start", type_ = "string", json_path = ".spec.start"),
    printcolumn(name = "End", type_ = "string", json_path = ".spec.end"),
    printcolumn(name = "Loads", type_ = "string", priority = 1, json_path = ".spec.target.kind"),
    printcolumn(name = "Priority", type_ = "integer", priority = 1, json_path = ".spec.priority"),
    printcolumn(name = "Response", type_ = "integer", priority = 1, json_path = ".spec.responseSeconds"),
    printcolumn(name = "Owner", type_ = "string", priority = 1, json_path = ".spec.owner"),
    printcolumn(name = "Reason", type_ = "string", priority = 1, json_path = ".spec.reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "self.type == 'Limit' ? has(self.limitWatts) && !has(self.minimumWatts) : !has(self.limitWatts) && has(self.minimumWatts)",
    "type Limit needs limitWatts, type Obligation needs minimumWatts, and neither may have the other's"
))]
#[x_kube(validation = ("!has(self.end) || !has(self.start) || self.end > self.start", "end must be later than start"))]
#[x_kube(validation = ("self.target == oldSelf.target", "target is immutable: create another GridEvent"))]
#[x_kube(validation = ("self.type == oldSelf.type", "type is immutable: create another GridEvent"))]
#[x_kube(validation = ("self.owner == oldSelf.owner", "owner is immutable: create another GridEvent"))]
pub struct GridEventSpec {
    /// What it is about. Immutable.
    pub target: EventTarget,
    /// Limit: draw no more than limitWatts. Obligation: keep minimumWatts of draw on and ready to be shed. Immutable.
    #[serde(rename = "type", default)]
    pub type_: EventType,
    /// The most that the target may draw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_watts: Option<WattsQuantity>,
    /// The least that the target must draw above what no shed takes (floors of containers, lowest caps, firm leases):
    /// power that was sold as a reserve can only be shed while it is on. Miners serve it, and flexible leases whose notice
    /// is no longer than responseSeconds. It stands above prices and below every limit, lockout and firm lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_watts: Option<WattsQuantity>,
    /// Who asks: the utility, the aggregator, a person. Immutable.
    #[schemars(length(min = 1, max = 253))]
    pub owner: String,
    /// Why, for the people who read the site's log.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
    /// Which of two obligations goes first when both cannot be met; the higher one. Limits are all obeyed.
    #[serde(default = "fifty")]
    #[schemars(range(min = 0, max = 100))]
    pub priority: i32,
    /// Time from the start, or from when it is seen if that is later, until the target must do what is asked, seconds.
    #[serde(default = "ten_minutes")]
    #[schemars(range(min = 0, max = 86_400))]
    pub response_seconds: i64,
    /// First moment, RFC 3339; left out, at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Time>,
    /// End, RFC 3339; left out, until this object is deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Time>,
}

fn fifty() -> i32 {
    50
}
fn ten_minutes() -> i64 {
    600
}

/// What an event asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EventType {
    /// Draw no more.
    #[default]
    Limit,
    /// Draw no less.
    Obligation,
}

/// A site, one of its feeders, or one kind of load there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventTarget {
    /// Name of the PowerBudget.
    #[schemars(length(min = 1, max = 253))]
    pub budget: String,
    /// A feeder; left out, the whole site.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub feeder: Option<String>,
    /// One kind of load; left out, everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<LoadKind>,
}

/// What became of an event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GridEventStatus {
    /// Generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, Active, Met, and what is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// When the operator first saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen_time: Option<Time>,
    /// When the target first did what is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub met_time: Option<Time>,
    /// The target's bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_watts: Option<WattsQuantity>,
    /// Obligation, in its time: what is seen to draw of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drawn_watts: Option<WattsQuantity>,
    /// Obligation, in its time: what is missing of minimumWatts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_watts: Option<WattsQuantity>,
}

words! {
    /// Conditions of a `GridEvent`.
    GridEventCondition {
        /// The spec makes sense and its target exists.
        Accepted,
        /// It is in force.
        Active,
        /// The target does what is asked.
        Met,
        /// responseSeconds passed before the target did what is asked.
        Late,
    }
}

words! {
    /// Reasons of a `GridEvent`'s conditions.
    GridEventReason {
        /// Nothing is wrong with the spec.
        Valid,
        /// A rule that the API server cannot check does not hold.
        Invalid,
        /// There is no such budget.
        BudgetNotFound,
        /// The budget has no such feeder.
        FeederNotFound,
        /// It has not started.
        Pending,
        /// It is in force.
        InForce,
        /// It is over.
        Over,
        /// Bounds are under the limit.
        UnderLimit,
        /// Sheds are under way.
        Shedding,
        /// As much draws as an obligation asks for.
        Held,
        /// Raises for an obligation are under way.
        Raising,
        /// A limit, a lockout or a lack of loads keeps watts from an obligation.
        Short,
        /// It took longer than responseSeconds.
        ResponseOverrun,
    }
}

impl Conditioned for GridEvent {
    type Type = GridEventCondition;
    type Reason = GridEventReason;
}
