//! The part of a `PowerBudget` that is about money: supply contract, price of energy, hashprice.

use super::common::{FileSource, PriceSource, Stale};
use super::quantity::{Money, Percent, SignedMoney, WattsQuantity};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Money that the site is settled in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Currency {
    /// US dollars.
    #[default]
    USD,
}

/// The supply contract.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Supply {
    /// What every price here is in.
    #[serde(default)]
    pub currency: Currency,
    /// Blocks of power at a fixed price. Their strike is sunk: it moves the account, never a decision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub fixed_blocks: Vec<FixedBlock>,
}

/// A block of power at a fixed price.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.from) || !has(self.until) || self.from < self.until", "until must be later than from"))]
pub struct FixedBlock {
    /// Size of the block.
    pub watts: WattsQuantity,
    /// What each MWh of the block costs, USD.
    pub strike_per_mwh: SignedMoney,
    /// Whether power of the block that is not drawn is sold at the market price.
    #[serde(default)]
    pub resale: bool,
    /// What the retailer keeps of a sale, percent.
    #[serde(default)]
    pub resale_haircut_percent: Percent,
    /// First moment of the block; left out, always was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Time>,
    /// End of the block; left out, without end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

/// The price of energy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnergyPrice {
    /// Where the market price comes from, USD per MWh; it may be negative.
    pub source: PriceSource,
    /// Where the day-ahead price comes from, USD per MWh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day_ahead: Option<PriceSource>,
    /// Paid for each MWh on top of the market price, USD: delivery, losses, retailer.
    #[serde(default)]
    pub adder_per_mwh: SignedMoney,
    /// A charge by the draw at the system's peaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coincident_peak: Option<CoincidentPeak>,
    /// When the price is too old; left out, it holds from 900 seconds on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale: Option<Stale>,
}

/// A charge by the draw at the system's peaks, such as ERCOT's four summer peaks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CoincidentPeak {
    /// What a kW, drawn at every peak, costs in a year, USD.
    pub usd_per_kw_year: Money,
    /// How many peaks are averaged.
    #[serde(default = "four")]
    #[schemars(range(min = 1, max = 12))]
    pub peaks: i32,
    /// Length of the interval that a peak is measured over, seconds.
    #[serde(default = "quarter_hour")]
    #[schemars(range(min = 60, max = 7200))]
    pub interval_seconds: i64,
    /// Months that have a peak, 1 to 12.
    #[serde(default = "summer")]
    #[schemars(length(min = 1, max = 12), inner(range(min = 1, max = 12)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub months: Vec<i32>,
    /// Probability in percent that the present interval is a peak, as rows of time and value.
    pub probability_percent: FileSource,
}

fn four() -> i32 {
    4
}
fn quarter_hour() -> i64 {
    900
}
fn summer() -> Vec<i32> {
    vec![6, 7, 8, 9]
}

/// Expected mining revenue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hashprice {
    /// Where hashprice comes from, USD per PH/s per day.
    pub source: PriceSource,
    /// What the pool keeps, percent.
    #[serde(default = "two_percent")]
    pub pool_fee_percent: Percent,
    /// Wear of machines, USD for each MWh mined.
    #[serde(default)]
    pub wear_per_mwh: Money,
    /// When hashprice is too old; left out, it holds from 86400 seconds on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale: Option<Stale>,
}

fn two_percent() -> Percent {
    Percent::whole(2)
}
