//! `PowerBudget`: a site, its limit tree, and how its power is bought, measured and shared out.

pub use super::pricing::{CoincidentPeak, Currency, EnergyPrice, FixedBlock, Hashprice, Supply};

use super::common::{Conditioned, Meter, Rating, Relay, words};
use super::quantity::{Money, Percent, SignedMoney, WattsQuantity};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A site: one facility behind one grid connection, with every breaker and transformer that limits it, the reserve
/// that is never given out, how fast it may move, and where prices and readings come from.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "ampacity.dev",
    version = "v1alpha1",
    kind = "PowerBudget",
    plural = "powerbudgets",
    shortname = "pb",
    category = "ampacity",
    status = "PowerBudgetStatus",
    derive = "PartialEq",
    doc = "A site: one facility behind one grid connection. Its limit tree, reserve, ramps, meter, supply contract, price and hashprice sources, and policy.",
    validation = Rule::new("!has(self.spec.feeders) || !self.spec.feeders.exists(f, f.name == self.metadata.name)")
        .message("spec.feeders[].name must differ from the budget's own name, which stands for the site"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.policy.mode"),
    printcolumn(name = "Limit", type_ = "string", json_path = ".status.nodes[0].limitWatts"),
    printcolumn(name = "Bound", type_ = "string", json_path = ".status.nodes[0].boundWatts"),
    printcolumn(name = "Measured", type_ = "string", json_path = ".status.nodes[0].measuredWatts"),
    printcolumn(name = "Mining", type_ = "string", json_path = ".status.split.miningWatts"),
    printcolumn(name = "Leased", type_ = "string", json_path = ".status.split.leasedWatts"),
    printcolumn(name = "Price", type_ = "string", json_path = ".status.energyPrice.value"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", priority = 1, json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Hashprice", type_ = "string", priority = 1, json_path = ".status.hashprice.value"),
    printcolumn(name = "Leader", type_ = "string", priority = 1, json_path = ".status.leader.id"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.limitWatts) != has(self.rating)", "exactly one of limitWatts and rating must be set"))]
#[x_kube(validation = (
    "!has(self.energyPrice) || !has(self.energyPrice.stale) || self.energyPrice.stale.then != 'DayAhead' || has(self.energyPrice.dayAhead)",
    "energyPrice.dayAhead must be set if energyPrice.stale.then is DayAhead"
))]
#[x_kube(validation = (
    "!has(self.hashprice) || !has(self.hashprice.stale) || self.hashprice.stale.then != 'DayAhead'",
    "hashprice.stale.then must be Hold or Assume: hashprice has no day-ahead market"
))]
pub struct PowerBudgetSpec {
    /// The most that the site may draw at its grid connection, as a quantity: 100M. Exactly one of limitWatts and rating.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_watts: Option<WattsQuantity>,
    /// The connection's nameplate, from which the limit follows. Exactly one of limitWatts and rating.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rating: Option<Rating>,
    /// Kept free below the limit, at least: the meter's class, unmetered bias and the largest step that nobody
    /// controls may widen it. Never given out.
    #[serde(default)]
    pub reserve_watts: WattsQuantity,
    /// Lost between the loads and the meter of the site, percent of the loads' sum.
    #[serde(default)]
    pub loss_percent: Percent,
    /// Drawn at the site by what is no load: lighting, substation service, offices.
    #[serde(default)]
    pub auxiliary_watts: WattsQuantity,
    /// Breakers and transformers below the site, from the top down: a parent stands before its children.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = FEEDERS_MAX))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[x_kube(validation = Rule::new(parents_first()).message(Message::Expression(which_parent())))]
    pub feeders: Vec<Feeder>,
    /// How fast the site moves for economics. Emergencies are not ramped.
    #[serde(default)]
    pub ramp: Ramp,
    /// What agents do when no operator leads.
    #[serde(default)]
    pub leader_loss: LeaderLoss,
    /// The supply contract.
    #[serde(default)]
    pub supply: Supply,
    /// The price of energy at the site's node, USD per MWh. Without it nothing moves for economics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy_price: Option<EnergyPrice>,
    /// Expected mining revenue, USD per PH/s per day. Without it miners run whenever there is room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hashprice: Option<Hashprice>,
    /// Whether the operator orders anything, and how it decides.
    pub policy: Policy,
    /// The meter of the site. It may only tighten: it never makes room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meter: Option<Meter>,
}

/// The most feeders that a site may have.
pub const FEEDERS_MAX: usize = 128;

/// The rule that a parent stands before its child: it refuses missing parents and every cycle. A comprehension knows
/// no position and the API server cannot bound what a mapped list costs, so the positions are written out. The search
/// ends at the parent, which makes it cheap for the flat trees that sites have: it runs at every write of the status.
fn parents_first() -> String {
    let positions: Vec<String> = (0..FEEDERS_MAX).map(|i| i.to_string()).collect();
    let all = format!("[{}]", positions.join(","));
    format!(
        "{all}.all(i, i >= size(self) || !has(self[i].parent) || \
         {all}.exists(j, j < i && self[j].name == self[i].parent))"
    )
}

/// What is said of a parent that does not stand before its child: whether it is nowhere, or further down.
fn which_parent() -> String {
    "self.all(f, !has(f.parent) || self.exists(p, p.name == f.parent)) \
     ? 'feeders[].parent must stand before its child in the list, so that no feeder can be above itself' \
     : 'feeders[].parent must be the name of another feeder; leave it out for a feeder that hangs on the site itself'"
        .into()
}

/// A breaker or transformer below the site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.limitWatts) != has(self.rating)", "exactly one of limitWatts and rating must be set"))]
pub struct Feeder {
    /// Unique in the site.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// The feeder above; left out, the site itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub parent: Option<String>,
    /// The most that may flow here, as a quantity: 60M. Exactly one of limitWatts and rating.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_watts: Option<WattsQuantity>,
    /// The nameplate, from which the limit follows. Exactly one of limitWatts and rating.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rating: Option<Rating>,
    /// Kept free below the limit. Never given out.
    #[serde(default)]
    pub reserve_watts: WattsQuantity,
    /// Lost between the loads and this feeder's meter, percent of the loads' sum.
    #[serde(default)]
    pub loss_percent: Percent,
    /// Drawn here by what is no load.
    #[serde(default)]
    pub auxiliary_watts: WattsQuantity,
    /// The meter of this feeder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meter: Option<Meter>,
    /// A read-back breaker or relay: what a hall that a tenant runs can draw at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay: Option<Relay>,
}

/// How fast the site moves for economics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ramp {
    /// The most that the site's draw may rise in a minute; left out, a tenth of its limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up_watts_per_minute: Option<WattsQuantity>,
    /// The most that the site's draw may fall in a minute for economics; left out, a fifth of its limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub economic_down_watts_per_minute: Option<WattsQuantity>,
    /// The largest single step for economics, percent of the site's limit: a whole site never drops at once on price.
    #[serde(default = "quarter")]
    #[schemars(range(min = 1, max = 100))]
    pub max_economic_step_percent: i32,
}

fn quarter() -> i32 {
    25
}

impl Default for Ramp {
    fn default() -> Self {
        Self { up_watts_per_minute: None, economic_down_watts_per_minute: None, max_economic_step_percent: quarter() }
    }
}

/// What agents do when no operator leads: hold, then ramp down to each load's fallback.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaderLoss {
    /// How long agents hold their setpoints before they ramp down, seconds.
    #[serde(default = "five_minutes")]
    #[schemars(range(min = 10, max = 86_400))]
    pub hold_seconds: i64,
    /// How fast the site's loads then ramp down together; left out, a tenth of the site's limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub down_watts_per_minute: Option<WattsQuantity>,
}

fn five_minutes() -> i64 {
    300
}

impl Default for LeaderLoss {
    fn default() -> Self {
        Self { hold_seconds: five_minutes(), down_watts_per_minute: None }
    }
}

/// Whether the operator orders anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// Decides and orders.
    Active,
    /// Decides and reports; orders nothing.
    Shadow,
}

/// How the operator decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Active orders; Shadow decides and reports, and orders nothing.
    pub mode: Mode,
    /// How far a price must pass a value before an award changes, USD per MWh.
    #[serde(default = "five_dollars")]
    pub dead_band_per_mwh: Money,
    /// What a MWh of a lease's curtailment allowance is worth, USD: what power fetched on average above the lease's value
    /// in the hours that were worth curtailing. Counts in full while allowances are used up as evenly as time passes, up
    /// to twenty times as much as one drains faster, and for nothing where it would expire unused.
    #[serde(default = "forty_dollars")]
    pub allowance_price_per_mwh: Money,
    /// What a load keeps above what it draws when it cannot use its award, percent of that draw.
    #[serde(default = "five_percent")]
    pub trim_margin_percent: Percent,
}

fn five_dollars() -> Money {
    Money::new(5_000_000)
}
fn forty_dollars() -> Money {
    Money::new(40_000_000)
}
fn five_percent() -> Percent {
    Percent::whole(5)
}

/// What the operator last saw and decided of a site.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PowerBudgetStatus {
    /// Generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, Ready, and what is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Who leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<Leader>,
    /// Per feeder the nameplate of every load that was ever created there and not released. Raised before a load is
    /// created, lowered by a release alone: what is missing from it still counts as drawn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 129))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["feeder".into()]))]
    pub nameplates: Vec<FeederNameplate>,
    /// Every node of the limit tree, the site first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 129))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub nodes: Vec<NodeStatus>,
    /// The price in use, USD per MWh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy_price: Option<ValueStatus>,
    /// The hashprice in use, USD per PH/s per day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hashprice: Option<ValueStatus>,
    /// How the site's power is split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
}

/// Who leads a site.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Leader {
    /// Name of the leading operator's pod.
    #[schemars(length(max = 253))]
    pub id: String,
    /// The epoch of its orders.
    #[schemars(range(min = 0, max = 100_000_000_000_i64))]
    pub epoch: i64,
    /// The namespace of the operators that lead this site, and of its loads. The first to write it has it: operators of
    /// another namespace do not lead the site while this stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// The nameplate sum of one feeder's loads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FeederNameplate {
    /// The feeder; the budget's own name for the site itself.
    #[schemars(length(min = 1, max = 253))]
    pub feeder: String,
    /// Σ nameplates.
    pub nameplate_watts: WattsQuantity,
}

/// One node of the limit tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// The feeder; the budget's own name for the site itself.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The limit in force, the strictest of spec, events and lockouts.
    pub limit_watts: WattsQuantity,
    /// The most that can be drawn whatever messages were lost, with losses and auxiliaries.
    pub bound_watts: WattsQuantity,
    /// What the meter shows; left out where there is none or it is stale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured_watts: Option<WattsQuantity>,
    /// What could still be given out: limit less reserve less bound, never below zero.
    pub headroom_watts: WattsQuantity,
}

/// A value in use, and when it was known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ValueStatus {
    /// The value, in the unit of the field that holds this.
    pub value: SignedMoney,
    /// The time that the value is for.
    pub time: Time,
    /// When the value was known.
    pub known_time: Time,
    /// Whether the stale policy is in force.
    #[serde(default)]
    pub stale: bool,
}

/// How a site's power is split, by setpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Split {
    /// Mining containers.
    pub mining_watts: WattsQuantity,
    /// Leased GPUs and halls.
    pub leased_watts: WattsQuantity,
}

words! {
    /// Conditions of a `PowerBudget`.
    PowerBudgetCondition {
        /// The spec makes sense.
        Accepted,
        /// The site is observed, within its limits and under orders.
        Ready,
        /// Bounds pass a limit.
        OverLimit,
        /// The meter is stale: nothing is granted.
        MeterStale,
        /// A price is stale: its stale policy is in force.
        PriceStale,
        /// A load does not answer.
        AgentLost,
    }
}

words! {
    /// Reasons of a `PowerBudget`'s conditions.
    PowerBudgetReason {
        /// Nothing is wrong with the spec.
        Valid,
        /// A rule that the API server cannot check does not hold.
        Invalid,
        /// A file cannot be read.
        SourceUnreadable,
        /// Orders flow.
        Operating,
        /// Decides and reports, orders nothing.
        Shadow,
        /// A leader took over and has not yet claimed and proved every load.
        TakingOver,
        /// Bounds pass a limit only because loads are unknown.
        Ignorance,
        /// Bounds are known to pass a limit.
        Overrun,
        /// The last reading is too old.
        Stale,
        /// A load was not heard of for too long.
        Silent,
    }
}

impl Conditioned for PowerBudget {
    type Type = PowerBudgetCondition;
    type Reason = PowerBudgetReason;
}
