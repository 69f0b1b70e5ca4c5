//! What the demo shows of one moment: the stable JSON of `--output json`, one object a tick, one a line, and the last
//! line's account. The live view draws the same values.
//!
//! Names and units are kept stable: fields may be added, never renamed, removed or given another unit.

use serde::Serialize;
use std::collections::BTreeMap;

/// One tick.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Frame {
    /// Virtual time, RFC 3339 in UTC.
    pub time: String,
    /// What power costs now with adders, USD/MWh; null while there is no price to act on.
    pub price_usd_per_mwh: Option<f64>,
    /// Expected mining revenue, USD per PH/s per day; null while unknown.
    pub hashprice_usd_per_ph_day: Option<f64>,
    /// What the next watt is worth on each side, USD/MWh: the last step that runs; null where a side is empty.
    pub value_usd_per_mwh: Sides<Option<f64>>,
    /// What each side was told to stay under, W.
    pub allocation_watts: Sides<i64>,
    /// The leader: its name and epoch; null while nobody leads.
    pub leader: Option<Leader>,
    /// By node, the site first by its own name, feeders as `site/feeder`.
    pub nodes: BTreeMap<String, NodeFrame>,
    /// By load.
    pub loads: BTreeMap<String, LoadFrame>,
    /// By lease, `namespace/name`.
    pub leases: BTreeMap<String, LeaseFrame>,
    /// What happened in this tick, in order. Each begins with its kind and a colon: `decision`, `price`, `lease`,
    /// `notice`, `event` (a grid's), `lockout`, `leader`, `fault` or `alarm`.
    pub events: Vec<String>,
}

impl Frame {
    /// The site: the node that is below no other.
    pub fn site(&self) -> Option<(&str, &NodeFrame)> {
        self.nodes.iter().find(|(name, _)| !name.contains('/')).map(|(name, node)| (name.as_str(), node))
    }
}

/// A value for each side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sides<T> {
    /// Mining containers.
    pub mining: T,
    /// GPU nodes.
    pub gpu: T,
    /// Halls that tenants run.
    pub power: T,
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Leader {
    /// The operator's name.
    pub name: String,
    /// Its epoch.
    pub epoch: u64,
}

/// One node of the limit tree. `measured_watts` is what its meter says; the truth that the run is judged by is `true_watts`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NodeFrame {
    /// The limit in force, W.
    pub limit_watts: i64,
    /// Σ bounds below with losses and auxiliaries, W.
    pub bound_watts: i64,
    /// The meter's last sample, W; null while there is none that is fresh.
    pub measured_watts: Option<i64>,
    /// What really flows, W: only a simulation knows.
    pub true_watts: i64,
}

/// One load.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LoadFrame {
    /// `miner` or `gpu`.
    pub kind: &'static str,
    /// Its node's name as in `nodes`.
    pub node: String,
    /// What it was told to stay under, W.
    pub setpoint_watts: i64,
    /// What its agent stated that its devices can draw at most, W; null while unstated or void.
    pub ceiling_watts: Option<i64>,
    /// What safety counts it with, W.
    pub bound_watts: i64,
    /// What it draws by its agent's telemetry, W; null while silent.
    pub measured_watts: Option<i64>,
    /// Its nameplate, W.
    pub nameplate_watts: i64,
    /// Why it has what it has.
    pub reason: String,
}

/// One lease.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LeaseFrame {
    /// `Offered`, `Refused`, `Waiting`, `Running`, `Capped`, `Notice`, `Curtailed`, `Ended`.
    pub state: String,
    /// Whether it is firm.
    pub firm: bool,
    /// What it may use above its nodes' must-run share, W.
    pub granted_watts: i64,
    /// Curtailed so far over the whole term, s.
    pub curtailed_seconds: i64,
    /// What the class allows in the present window, s; null where nothing may be curtailed.
    pub allowance_seconds: Option<i64>,
    /// When a running notice falls due, RFC 3339.
    pub notice_deadline: Option<String>,
    /// Share of its work done, 0..=1; null where nobody knows.
    pub progress: Option<f64>,
    /// Why it stands so.
    pub reason: String,
}

/// The account of a whole run: the last line.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Account {
    /// Virtual time from, RFC 3339.
    pub from: String,
    /// Virtual time to, RFC 3339.
    pub to: String,
    /// The seed that repeats this run.
    pub seed: u64,
    /// Energy by side, MWh.
    pub energy_mwh: Sides<f64>,
    /// Revenue by side (mining revenue after the pool's fee; rent), USD.
    pub revenue_usd: Sides<f64>,
    /// Cost of the energy at the price of each moment, by side, USD.
    pub energy_cost_usd: Sides<f64>,
    /// Losses of transformers and cables, and what else the site's meter counts that no side draws, MWh.
    pub losses_mwh: f64,
    /// Their cost at the price of each moment, USD.
    pub losses_cost_usd: f64,
    /// Credits owed to tenants and hosted customers, USD.
    pub credits_usd: f64,
    /// What was earned by not using power that could be sold, against running everything flat out, USD.
    pub against_always_on_usd: f64,
    /// By lease.
    pub leases: BTreeMap<String, LeaseAccount>,
    /// By grid event that obliges, and was in its time.
    pub obligations: BTreeMap<String, ObligationAccount>,
    /// Each fault, in order.
    pub faults: Vec<FaultAccount>,
    /// True seconds over any limit past that limit's `responseSeconds`. 0, or the run failed.
    pub seconds_over_limit: f64,
    /// Notices shorter than their class says outside emergencies, allowances overdrawn, firm leases curtailed outside
    /// emergencies, obligations told as met that were not, or left short with nothing in their way: each in words. Empty,
    /// or the run failed.
    pub broken_terms: Vec<String>,
    /// Setpoint writes that were accepted.
    pub orders: u64,
    /// Ticks decided.
    pub ticks: u64,
}

/// One lease's account.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LeaseAccount {
    /// Seconds curtailed outside emergencies.
    pub curtailed_seconds: i64,
    /// Seconds curtailed in emergencies.
    pub emergency_seconds: i64,
    /// Seconds that its class allows over the run; null where nothing may be curtailed.
    pub allowance_seconds: Option<i64>,
    /// Energy delivered, MWh.
    pub energy_mwh: f64,
    /// Rent charged, USD.
    pub rent_usd: f64,
    /// Credits, USD.
    pub credit_usd: f64,
    /// Notices given.
    pub notices: u32,
    /// Work lost since the last checkpoint at its stops, GPU hours.
    pub lost_gpu_hours: f64,
}

/// One obligation's account, by what the plant truly drew.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ObligationAccount {
    /// `Served`; `Late`: served from later than its response time; `Short`: less drew for a while after that; `NotDue`:
    /// the run ended before.
    pub outcome: String,
    /// What was to draw, W.
    pub minimum_watts: i64,
    /// Seconds in its time.
    pub in_force_seconds: i64,
    /// Seconds past its response time with less drawn than was asked for, beyond what sensors can tell apart.
    pub short_seconds: i64,
    /// What was missing in them, MWh.
    pub short_mwh: f64,
    /// How long after its response time as much drew for the first time, s; 0 in time; null where it never did.
    pub late_seconds: Option<i64>,
    /// Seconds in which its status said that it is met and it was not: what is told may be minutes behind.
    pub wrongly_met_seconds: i64,
    /// Seconds in which its status said that it is not met and it was.
    pub wrongly_short_seconds: i64,
}

/// One fault and how long it took to be safe.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FaultAccount {
    /// When, RFC 3339.
    pub time: String,
    /// What.
    pub fault: String,
    /// From the fault until every bound fitted every limit again without the faulty part's word; 0 where nothing was
    /// ever in doubt; null where the run ended before.
    pub safe_after_seconds: Option<f64>,
}

impl Account {
    /// Whether the run kept every limit and every term: the demo's exit code.
    pub fn clean(&self) -> bool {
        self.seconds_over_limit == 0.0 && self.broken_terms.is_empty()
    }
}
