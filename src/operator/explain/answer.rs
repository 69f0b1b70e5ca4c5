//! What is answered. Field names are for programs, and stay.

use crate::operator::reason::{self, price};
use ampacity_core::units::{Usd, UsdPerMwh, Watts};
use serde::{Deserialize, Serialize};

/// Why somebody has what they have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Of what: `load/s21-0`, `cl/tenant-a/llm-pretrain`.
    pub subject: String,
    /// The site's name.
    pub site: String,
    /// When the decision was made, RFC 3339.
    pub time: String,
    /// Who decided, and under which epoch.
    pub leader: String,
    /// The epoch.
    pub epoch: u64,
    /// `Active`, or `Shadow`: decided and not ordered.
    pub mode: String,
    /// What power cost in that decision, USD/MWh; none: no price that may be acted on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_usd_per_mwh: Option<String>,
    /// The reason, of a closed list.
    pub reason: String,
    /// The reason, in words.
    pub why: String,
    /// What it has.
    pub figures: Vec<Figure>,
    /// The bids around it.
    pub bids: Vec<Bid>,
    /// The limits above it, nearest first.
    pub limits: Vec<Limit>,
    /// Loads that this is about, where it is about several.
    pub members: Vec<Member>,
    /// What would change it.
    pub changes: Vec<String>,
}

/// One figure, with a word on it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figure {
    /// What of it.
    pub name: String,
    /// W.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watts: Option<i64>,
    /// What else there is to say.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub note: String,
}

/// Where a step of a bid stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stands {
    /// Its own, awarded in full.
    Runs,
    /// Its own, awarded in part.
    Part,
    /// Its own, not awarded.
    Waits,
    /// Somebody else's, the first that would be taken.
    NextOut,
    /// Somebody else's, the first that would be given.
    NextIn,
}

/// One step of a bid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bid {
    /// Whose.
    pub who: String,
    /// Where it stands.
    pub stands: Stands,
    /// How wide it is, W.
    pub watts: i64,
    /// How much of it was awarded, W.
    pub awarded_watts: i64,
    /// What it is worth, with what a change would have to be worth; none: it is kept on, or firm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd_per_mwh: Option<String>,
    /// Why there is no number.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub note: String,
}

/// One limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limit {
    /// The site or feeder.
    pub node: String,
    /// The limit in force, W.
    pub limit_watts: i64,
    /// What loads below it may draw together, W.
    pub capacity_watts: i64,
    /// What was awarded below it, W.
    pub awarded_watts: i64,
    /// What safety counts below it, W.
    pub bound_watts: i64,
    /// What may still be raised below it, W.
    pub room_watts: i64,
    /// What a MWh more there would gain, where it binds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow_price_usd_per_mwh: Option<String>,
    /// The grid event that sets it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// Σ of what is raised below it and not answered yet, W.
    #[serde(default)]
    pub raising_watts: i64,
}

/// One load of several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// The load, or how many alike.
    pub name: String,
    /// How many loads this line is of.
    pub count: usize,
    /// What they were told, W.
    pub setpoint_watts: i64,
    /// What is wanted for them, W.
    pub wanted_watts: i64,
    /// What safety counts them with, W.
    pub bound_watts: i64,
    /// Why.
    pub why: String,
}

/// What would be done if something were applied.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WhatIf {
    /// When it was asked, RFC 3339.
    pub time: String,
    /// What was applied: `created`, `changed` or `unchanged` with each subject.
    pub applied: Vec<String>,
    /// What each request would be answered.
    pub admissions: Vec<Admission>,
    /// Setpoints that would change.
    pub loads: Vec<LoadChange>,
    /// Grants that would change, and notices.
    pub leases: Vec<Amount>,
    /// Money an hour, by site.
    pub money: Vec<Money>,
    /// What the operator would say of the objects.
    pub problems: Vec<String>,
    /// What to know of this answer.
    pub notes: Vec<String>,
}

/// What a request would be answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Admission {
    /// The lease.
    pub lease: String,
    /// `Accepted`, `Offered`, `Refused`, or why not yet.
    pub answer: String,
    /// In words: at what price, or why not and what would fit.
    pub why: String,
}

/// A load whose setpoint would change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadChange {
    /// The load, or the first of several alike.
    pub load: String,
    /// How many alike.
    pub count: usize,
    /// Where each is to go as things are, W; none: it does not exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_watts: Option<i64>,
    /// Where each would go, W; none: it would be gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_watts: Option<i64>,
    /// Why.
    pub why: String,
}

/// A lease whose grant or notice would change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Amount {
    /// The lease.
    pub lease: String,
    /// Granted as things are, W.
    pub from_watts: i64,
    /// Granted then, W.
    pub to_watts: i64,
    /// The deadline of a notice that would be given, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notice_deadline: Option<String>,
    /// Why.
    pub why: String,
}

/// What an hour is worth to a site: mining and rent, less credits and power at its price.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Money {
    /// The site.
    pub site: String,
    /// As things are, USD an hour.
    pub before_usd_per_hour: String,
    /// Then.
    pub after_usd_per_hour: String,
    /// The difference.
    pub difference_usd_per_hour: String,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Another operator leads.
    #[error("this operator does not lead{}", .0.as_ref().map(|name| format!(": {name} does")).unwrap_or_default())]
    NotLeading(Option<String>),
    /// The operator does not know it.
    #[error("{0}")]
    Unknown(String),
    /// The object cannot be applied.
    #[error("{0}")]
    Refused(String),
}

impl Figure {
    /// Watts, and a word.
    pub(super) fn watts(name: &str, watts: Watts, note: impl Into<String>) -> Self {
        Self { name: name.into(), watts: Some(watts.get()), note: note.into() }
    }

    /// No watts.
    pub(super) fn told(name: &str, note: impl Into<String>) -> Self {
        Self { name: name.into(), watts: None, note: note.into() }
    }
}

/// A price as answers hold it.
pub(super) fn usd_per_mwh(value: UsdPerMwh) -> String {
    price(value)
}

/// A sum as answers hold it.
pub(super) fn usd(value: Usd) -> String {
    reason::money(value)
}
