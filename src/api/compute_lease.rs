//! `ComputeLease`: a tenant's request and contract for GPU power.

use super::common::{Conditioned, words};
use super::lease_class::{Curtailable, Delivery, Service};
use super::quantity::{Money, Percent, SignedMoney, WattsQuantity, WholeWatts};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A tenant's request under a LeaseClass, for GPUs or for watts, for a term.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "ampacity.dev",
    version = "v1alpha1",
    kind = "ComputeLease",
    plural = "computeleases",
    shortname = "cl",
    category = "ampacity",
    namespaced,
    status = "ComputeLeaseStatus",
    derive = "PartialEq",
    doc = "A request under a LeaseClass, for GPUs (Jobs) or watts (Power), for a term. Its status is the offer, the pinned terms, the grant, the notices and the account. Label a Job ampacity.dev/lease with its name to run under it.",
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.terms) || self.spec.className == oldSelf.spec.className")
        .message("spec.className is fixed once the terms are accepted: end this lease and ask for another"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.terms) || (has(self.spec.gpus) == has(oldSelf.spec.gpus) && (!has(self.spec.gpus) || self.spec.gpus == oldSelf.spec.gpus) && has(self.spec.watts) == has(oldSelf.spec.watts) && (!has(self.spec.watts) || self.spec.watts == oldSelf.spec.watts))")
        .message("spec.gpus and spec.watts are fixed once the terms are accepted: end this lease and ask for another"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.terms) || self.spec.term.start == oldSelf.spec.term.start")
        .message("spec.term.start is fixed once the terms are accepted"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.terms) || self.spec.term.end <= oldSelf.spec.term.end")
        .message("spec.term.end may only come earlier once the terms are accepted: ask for another lease to go on"),
    printcolumn(name = "Class", type_ = "string", json_path = ".spec.className"),
    printcolumn(name = "GPUs", type_ = "integer", json_path = ".spec.gpus"),
    printcolumn(name = "Watts", type_ = "string", json_path = ".spec.watts"),
    printcolumn(name = "Granted", type_ = "string", json_path = ".status.grant.watts"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Notice", type_ = "string", json_path = ".status.notice.deadline"),
    printcolumn(name = "Offer", type_ = "string", priority = 1, json_path = ".status.offer.reason"),
    printcolumn(name = "Price", type_ = "string", priority = 1, json_path = ".status.offer.price"),
    printcolumn(name = "Fits-GPUs", type_ = "integer", priority = 1, json_path = ".status.offer.wouldFit.gpus"),
    printcolumn(name = "Fits-Watts", type_ = "string", priority = 1, json_path = ".status.offer.wouldFit.watts"),
    printcolumn(name = "Curtailed", type_ = "integer", priority = 1, json_path = ".status.account.curtailedSeconds"),
    printcolumn(name = "Credit", type_ = "string", priority = 1, json_path = ".status.account.creditUsd"),
    printcolumn(name = "End", type_ = "string", priority = 1, json_path = ".spec.term.end"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.gpus) != has(self.watts)", "exactly one of gpus and watts must be set"))]
#[x_kube(validation = ("!has(self.maxPricePerGpuHour) || has(self.gpus)", "maxPricePerGpuHour goes with gpus, maxPricePerKwMonth with watts"))]
#[x_kube(validation = ("!has(self.maxPricePerKwMonth) || has(self.watts)", "maxPricePerKwMonth goes with watts, maxPricePerGpuHour with gpus"))]
pub struct ComputeLeaseSpec {
    /// The LeaseClass. Fixed once the terms are accepted.
    #[schemars(length(min = 1, max = 253))]
    pub class_name: String,
    /// GPUs, under a class that delivers Jobs. Exactly one of gpus and watts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub gpus: Option<i32>,
    /// Power, under a class that delivers Power, as a quantity: 5M. Exactly one of gpus and watts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watts: Option<WattsQuantity>,
    /// From when to when. The end may come earlier later, never later.
    pub term: Term,
    /// The most that you pay for a GPU-hour, USD. An offer within it accepts itself unless the class wants approval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_price_per_gpu_hour: Option<Money>,
    /// The most that you pay for a kW and month, USD. An offer within it accepts itself unless the class wants approval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_price_per_kw_month: Option<Money>,
    /// The hash in status.offer: setting it accepts that offer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 8, max = 64), regex(pattern = "^[0-9a-f]+$"))]
    pub accepted_offer_hash: Option<String>,
}

/// From when to when a lease runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("self.end > self.start", "end must be later than start"))]
pub struct Term {
    /// First moment, RFC 3339: 2026-12-01T00:00:00Z.
    pub start: Time,
    /// End, RFC 3339: 2027-03-01T00:00:00Z.
    pub end: Time,
}

/// What the operator offers, promised and gives.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComputeLeaseStatus {
    /// Generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, Ready, and what is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// What is offered, or why nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offer: Option<Offer>,
    /// The terms as accepted. They never change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terms: Option<Terms>,
    /// What is given now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<Grant>,
    /// The notice that is being served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notice: Option<Notice>,
    /// Time and energy withheld, against what the terms allow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<Account>,
}

/// What is offered, or why nothing is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Offer {
    /// The price: USD for a GPU-hour or for a kW and month; left out where nothing is offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Money>,
    /// Hash of the offered terms, for spec.acceptedOfferHash; left out where nothing is offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 8, max = 64))]
    pub hash: Option<String>,
    /// Until when the offer stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Time>,
    /// Why this price, or why nothing is offered.
    #[schemars(length(max = 1024))]
    pub reason: String,
    /// What would fit instead, where nothing is offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_fit: Option<WouldFit>,
}

/// What would fit in place of a request that does not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WouldFit {
    /// The most GPUs that fit for the whole term.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub gpus: Option<i32>,
    /// The most power that fits for the whole term.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watts: Option<WattsQuantity>,
    /// The first start at which the request fits as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Time>,
}

/// The terms as accepted: a copy, so that a class edited later changes nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("self == oldSelf", "accepted terms are immutable"))]
pub struct Terms {
    /// Hash of these terms, as in the offer.
    #[schemars(length(min = 8, max = 64))]
    pub hash: String,
    /// When they were accepted.
    pub accepted_time: Time,
    /// The class that they were copied from.
    #[schemars(length(min = 1, max = 253))]
    pub class_name: String,
    /// Generation of the class that they were copied from.
    #[schemars(range(min = 0))]
    pub class_generation: i64,
    /// Jobs or Power.
    pub delivery: Delivery,
    /// Where it is delivered: the pool (Jobs) or budget/feeder (Power).
    #[schemars(length(min = 1, max = 512))]
    pub place: String,
    /// GPUs leased.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub gpus: Option<i32>,
    /// Power leased: the tenant's watts, or what the GPUs need above must-run.
    pub watts: WattsQuantity,
    /// First moment.
    pub start: Time,
    /// End as accepted; spec.term.end may end the lease earlier.
    pub end: Time,
    /// USD for a GPU-hour or for a kW and month.
    pub price: Money,
    /// Firm or Flexible.
    pub service: Service,
    /// Time from a notice to the stop, seconds.
    #[schemars(range(min = 0, max = 604_800))]
    pub notice_seconds: i64,
    /// How much and how often it may be curtailed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub curtailable: Option<Curtailable>,
    /// Credited for each hour that one GPU is withheld, USD.
    #[serde(default)]
    pub credit_per_gpu_hour: Money,
    /// Credited for each MWh that is withheld, USD.
    #[serde(default)]
    pub credit_per_mwh: Money,
    /// The least throughput that a cap may leave; left out, no cap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_throughput_percent: Option<Percent>,
    /// What stopping one GPU or one kW costs, USD.
    #[serde(default)]
    pub stop_cost_usd: Money,
}

/// What is given now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// Power given.
    pub watts: WattsQuantity,
    /// GPUs given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub gpus: Option<i32>,
    /// Cap of each GPU, W, where one is in force below the highest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap_watts: Option<WholeWatts>,
    /// Since when this grant stands.
    pub since: Time,
    /// Why it is what it is.
    #[schemars(length(max = 1024))]
    pub reason: String,
}

/// The notice that is being served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// When it was given.
    pub issued: Time,
    /// When the grant ends, or sooner once every Job has acknowledged its checkpoint.
    pub deadline: Time,
    /// What is left after it.
    #[serde(default)]
    pub watts: WattsQuantity,
    /// Why.
    #[schemars(length(max = 1024))]
    pub reason: String,
}

/// Time and energy withheld. Checkpointed on changes of the grant; what passed since `checkpointTime` follows from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// The moment that these sums run to.
    pub checkpoint_time: Time,
    /// Power that was withheld at that moment; it goes on until the next checkpoint.
    #[serde(default)]
    pub withheld_watts: WattsQuantity,
    /// Of that, what lockouts on its nodes or feeder hold of the grant; left out where none do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_watts: Option<WattsQuantity>,
    /// Seconds curtailed since the term began, emergencies included.
    #[schemars(range(min = 0))]
    pub curtailed_seconds: i64,
    /// Energy withheld since the term began, Wh.
    #[schemars(range(min = 0))]
    pub curtailed_watt_hours: i64,
    /// Energy granted since the term began, Wh.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub granted_watt_hours: i64,
    /// Credited since the term began, USD.
    #[serde(default)]
    pub credit_usd: SignedMoney,
    /// Charged since the term began, USD.
    #[serde(default)]
    pub charged_usd: SignedMoney,
    /// First moment of the 30 days, counted from the term's start, that the allowance runs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_start: Option<Time>,
    /// Seconds curtailed in them outside emergencies: what counts against curtailable.hoursPerMonth.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub window_seconds: i64,
    /// First moment of the 24 hours, counted from the term's start, that events are counted in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<Time>,
    /// Curtailments that started in them outside emergencies.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub day_events: i64,
    /// When the curtailment under way began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_start: Option<Time>,
    /// An emergency holds it down: it counts against no allowance.
    #[serde(default)]
    pub event_emergency: bool,
    /// Of the seconds curtailed, those in emergencies.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub emergency_seconds: i64,
}

words! {
    /// Conditions of a `ComputeLease`.
    ComputeLeaseCondition {
        /// Its terms are accepted.
        Accepted,
        /// What was leased is given in full.
        Ready,
        /// Less than what was leased is given.
        Curtailed,
        /// A notice runs.
        NoticeServed,
        /// The term is over.
        Ended,
        /// A Job's grace period is longer than the notice.
        GraceExceedsDeadline,
    }
}

words! {
    /// Reasons of a `ComputeLease`'s conditions.
    ComputeLeaseReason {
        /// An offer within the maximum price accepted itself.
        OfferAccepted,
        /// The tenant accepted the offer by its hash.
        OfferAcceptedByHash,
        /// An offer stands and awaits spec.acceptedOfferHash.
        OfferAwaitsAcceptance,
        /// The offer is above the maximum price.
        PriceAboveMaximum,
        /// The request does not fit for the whole term.
        DoesNotFit,
        /// There is no such class.
        ClassNotFound,
        /// The class is not offered.
        ClassNotAccepted,
        /// The class does not allow this namespace.
        NamespaceNotAllowed,
        /// The namespace would hold more than the class allows.
        NamespaceLimit,
        /// The term is longer than the class allows.
        TermTooLong,
        /// GPUs under a Power class, or watts under a Jobs class.
        DeliveryMismatch,
        /// The term has not begun.
        NotStarted,
        /// All of it is given.
        Granted,
        /// Power is worth more elsewhere.
        Economics,
        /// An event limits the site.
        GridEvent,
        /// A limit was passed or about to be.
        Emergency,
        /// A person's lockout holds nodes or the feeder that it needs.
        LockedOut,
        /// Caps and proofs are under way.
        Starting,
        /// The term is over.
        TermOver,
        /// terminationGracePeriodSeconds is longer than the notice.
        GraceTooLong,
    }
}

impl Conditioned for ComputeLease {
    type Type = ComputeLeaseCondition;
    type Reason = ComputeLeaseReason;
}
