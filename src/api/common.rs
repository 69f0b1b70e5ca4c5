//! What several kinds share: sources of values, limits, conditions.

use super::quantity::{Money, SignedMoney, WattsQuantity};
use ampacity_core::units::{Watts, mul_div};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What a load is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum LoadKind {
    /// A container of mining machines.
    Miner,
    /// A node with GPUs.
    Gpu,
}

/// The schema of labels that must all match: one to sixteen of them.
pub(super) fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "minProperties": 1,
        "maxProperties": 16,
        "additionalProperties": {"type": "string", "maxLength": 63},
    })
}

/// The nameplate of a breaker, transformer or connection, from which its limit follows:
/// amperes × volts × √3 (three phases) × power factor × continuous share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rating {
    /// Rated current of each phase, A.
    #[schemars(range(min = 1, max = 100_000))]
    pub amperes: i32,
    /// Voltage, V: between lines for three phases.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub volts: i32,
    /// 1 or 3.
    #[serde(default = "three")]
    #[schemars(extend("enum" = [1, 3]))]
    pub phases: i32,
    /// Power factor of what hangs below, percent.
    #[serde(default = "hundred")]
    #[schemars(range(min = 50, max = 100))]
    pub power_factor_percent: i32,
    /// Share of the rating that a continuous load may use, percent: 80, or 100 for an assembly that is listed for it.
    #[serde(default = "eighty")]
    #[schemars(range(min = 1, max = 100))]
    pub continuous_percent: i32,
}

fn three() -> i32 {
    3
}
fn eighty() -> i32 {
    80
}
fn hundred() -> i32 {
    100
}

/// √3 × 10⁷, rounded down: a limit errs on the low side.
const SQRT_3: i64 = 17_320_508;

impl Rating {
    /// The most that may flow for good, W, rounded down.
    pub fn watts(&self) -> Watts {
        let volt_amperes = i64::from(self.amperes) * i64::from(self.volts);
        let apparent = if self.phases == 3 { mul_div(volt_amperes, SQRT_3, 10_000_000) } else { volt_amperes };
        let shares = i64::from(self.power_factor_percent) * i64::from(self.continuous_percent);
        Watts::new(mul_div(apparent, shares, 10_000))
    }
}

/// A fixed value, for trials and contracts at one price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StaticValue {
    /// The value, in the unit of the field that holds this source; it never grows old.
    pub value: SignedMoney,
}

/// Rows of time and value in a CSV file, read again when it changes. A row holds until the next one; a missing row is
/// missing, never zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileSource {
    /// Path in the operator's file system; relative to the manifest's folder in the demo and back-tests. A name that
    /// ends in .gz is unpacked.
    #[schemars(length(min = 1, max = 512))]
    pub path: String,
    /// Header of the column with the value; by default the second column.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub column: Option<String>,
    /// Header of the column with the time that the value is for; by default the first column.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_column: Option<String>,
    /// Header of a column that marks the second of two equal local hours at the end of summer time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub repeat_column: Option<String>,
    /// IANA name of the zone of times without an offset, such as America/Chicago.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
}

fn utc() -> String {
    "UTC".into()
}

/// Where a price comes from: exactly one of its fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.static) != has(self.file)", "exactly one of static and file must be set"))]
pub struct PriceSource {
    /// A fixed value.
    #[serde(rename = "static", skip_serializing_if = "Option::is_none")]
    pub static_: Option<StaticValue>,
    /// A CSV file of time and value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<FileSource>,
}

/// A fixed reading of power, for trials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StaticWatts {
    /// The reading, W.
    pub watts: WattsQuantity,
}

/// Where a reading of power comes from: exactly one of its fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.static) != has(self.file)", "exactly one of static and file must be set"))]
pub struct PowerSource {
    /// A fixed reading.
    #[serde(rename = "static", skip_serializing_if = "Option::is_none")]
    pub static_: Option<StaticWatts>,
    /// A CSV file of time and watts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<FileSource>,
}

/// What happens when a value has grown old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StaleAction {
    /// Keep the last award of every load; nothing moves for economics.
    Hold,
    /// Go on with the value in `assume`.
    Assume,
    /// Go on with the day-ahead price for the hour.
    DayAhead,
}

/// When a value is too old, and what happens then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("(self.then == 'Assume') == has(self.assume)", "assume must be set if then is Assume, and only then"))]
pub struct Stale {
    /// Age at which a value is stale, in seconds since the time it was known.
    #[schemars(range(min = 1, max = 604_800))]
    pub after_seconds: i64,
    /// What happens then.
    pub then: StaleAction,
    /// The value to go on with, in the unit of the stale value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assume: Option<SignedMoney>,
}

/// A reading of power that a person or a meter stands behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Meter {
    /// Where the reading comes from.
    pub source: PowerSource,
    /// Age at which a reading is stale, seconds. A stale meter grants nothing.
    #[serde(default = "ninety_seconds")]
    #[schemars(range(min = 1, max = 3600))]
    pub stale_seconds: i64,
    /// Error of the meter, percent of its reading.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_percent: Option<super::quantity::Percent>,
}

fn ninety_seconds() -> i64 {
    90
}

/// A breaker's or relay's setpoint that is read back: with a tenant's own hall, the only thing that frees its watts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Relay {
    /// Where the setpoint comes from, W: an open breaker reads 0.
    pub source: PowerSource,
    /// Age at which a reading is stale, seconds. Stale counts as closed, at the feeder's limit.
    #[serde(default = "thirty_seconds")]
    #[schemars(range(min = 1, max = 3600))]
    pub stale_seconds: i64,
}

fn thirty_seconds() -> i64 {
    30
}

/// Money that was paid or earned; a sum in a status, which may be negative.
pub type Sum = SignedMoney;

/// A price that is never negative.
pub type Price = Money;

/// A condition's type or reason: one word of a closed list.
pub trait Word: Copy {
    /// The word as the API shows it.
    fn as_str(self) -> &'static str;
}

/// Defines a closed list of words for conditions.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $word:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$about])* $word),* }

        impl $name {
            /// Every word of the list.
            pub const ALL: &'static [Self] = &[$(Self::$word),*];
        }

        impl $crate::api::common::Word for $name {
            fn as_str(self) -> &'static str {
                match self { $(Self::$word => stringify!($word)),* }
            }
        }
    };
}
pub(crate) use words;

/// A kind's conditions: their types and the reasons that each may carry.
pub trait Conditioned {
    /// The list of condition types.
    type Type: Word;
    /// The list of reasons.
    type Reason: Word;
}

/// What is to be said in one condition of kind `K`.
#[derive(Clone, Debug)]
pub struct Statement<K: Conditioned> {
    /// Which condition.
    pub type_: K::Type,
    /// True, False, or not known.
    pub status: Option<bool>,
    /// Why.
    pub reason: K::Reason,
    /// Why, for a person: the field, the value and what would be right.
    pub message: String,
}

/// Sets one condition: the transition time moves only with the status, the list stays sorted by type.
pub fn set_condition<K: Conditioned>(
    list: &mut Vec<Condition>,
    say: Statement<K>,
    generation: Option<i64>,
    now: &Time,
) {
    let type_ = say.type_.as_str();
    let status = match say.status {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    let reason = say.reason.as_str();
    match list.iter_mut().find(|c| c.type_ == type_) {
        // Said every second and mostly as before: what stands is kept where it is.
        Some(stands) => {
            if stands.status != status {
                (stands.status, stands.last_transition_time) = (status.into(), now.clone());
            }
            if stands.reason != reason {
                stands.reason = reason.into();
            }
            (stands.message, stands.observed_generation) = (say.message, generation);
        }
        None => list.push(Condition {
            type_: type_.into(),
            status: status.into(),
            reason: reason.into(),
            message: say.message,
            observed_generation: generation,
            last_transition_time: now.clone(),
        }),
    }
    list.sort_by(|a, b| a.type_.cmp(&b.type_));
}

/// Takes a condition out: negative ones stand only while they are true.
pub fn clear_condition<K: Conditioned>(list: &mut Vec<Condition>, type_: K::Type) {
    list.retain(|c| c.type_ != type_.as_str());
}
