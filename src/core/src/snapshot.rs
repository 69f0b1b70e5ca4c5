//! Everything that one decision may know: one immutable value, every reading with its time.
//!
//! References between parts are positions in the snapshot's own lists, checked when it is built at the edge.

use crate::curve::{CapCurve, MinerCurve};
use crate::guard::ledger::Metered;
use crate::guard::{Bound, LoadId};
use crate::lease::{Book, Class, Lease};
use crate::memory::Memory;
use crate::tree::{NodeId, Tree};
use crate::units::{Ppm, Span, Time, Usd, UsdPerMwh, UsdPerPhDay, Watts};
use std::sync::Arc;

/// What is known at one moment about one site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The moment. All ages are counted from here.
    pub now: Time,
    /// The limit tree as configured: limits, reserves, auxiliaries, losses.
    pub tree: Tree,
    /// Limits from grid events, in force or to come.
    pub limits: Vec<TimedLimit>,
    /// Draw that was sold as a reserve, in force or to come.
    pub obligations: Vec<Obligation>,
    /// People's holds.
    pub lockouts: Vec<Lockout>,
    /// Lockouts and events that exist and cannot be read: what they concern is raised by nothing.
    pub unread: Vec<Unread>,
    /// What meters say against their nodes, as the ledger has it.
    pub metered: Vec<Metered>,
    /// The price of power, with every adder.
    pub price: Quote<UsdPerMwh>,
    /// Expected mining revenue, before the pool's fee.
    pub hashprice: Quote<UsdPerPhDay>,
    /// How the site wants to be run.
    pub policy: Policy,
    /// Alike containers of miners.
    pub fleets: Vec<Fleet>,
    /// Pools of GPU nodes.
    pub pools: Vec<Pool>,
    /// Every load, by [`LoadId`]: position and id are the same.
    pub loads: Vec<Load>,
    /// Published terms.
    pub classes: Vec<Class>,
    /// Every lease that has not ended.
    pub leases: Vec<Lease>,
    /// What was promised already, per pool and feeder.
    pub book: Book,
    /// Per node of the tree: the meter's last sample, if it has a meter and one was ever read.
    pub meters: Vec<Option<Reading>>,
    /// Per node of the tree: how old its own meter's sample may be; where it is shorter, [`Policy::meter_stale`] counts.
    pub meter_stale: Vec<Span>,
    /// What the decision before this one left to be remembered.
    pub memory: Memory,
}

/// A value that somebody publishes, as old as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quote<T> {
    /// Known, and recent enough to act on.
    Fresh {
        /// The value.
        value: T,
        /// The moment or the start of the interval that it is for.
        since: Time,
    },
    /// Too old for a fresh one: the stale policy supplied this value instead.
    Substituted {
        /// The value to act on.
        value: T,
        /// When the last real one was for; none if there never was one.
        last: Option<Time>,
    },
    /// Unknown and nothing to put in its place: whatever needs it holds.
    Missing,
}

impl<T: Copy> Quote<T> {
    /// The value to act on, if there is one.
    pub const fn value(&self) -> Option<T> {
        match self {
            Self::Fresh { value, .. } | Self::Substituted { value, .. } => Some(*value),
            Self::Missing => None,
        }
    }
}

/// A measurement and when it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// W.
    pub watts: Watts,
    /// The most it may be off, W.
    pub error: Watts,
    /// The sample's own time, not the query's.
    pub time: Time,
}

/// A limit that somebody with the right to do so sets on a node for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimedLimit {
    /// The event's name, for reasons.
    pub name: String,
    /// Where it binds.
    pub node: NodeId,
    /// Which loads it binds; none: everything below the node.
    pub kind: Option<LoadKind>,
    /// The most that may flow there, W.
    pub limit: Watts,
    /// From when.
    pub from: Time,
    /// Until when; `Time::MAX` until withdrawn.
    pub until: Time,
    /// How long the site has to comply, counted from the later of `from` and when it was first seen.
    pub response: Span,
    /// When this site first saw it: an order that comes late cannot be obeyed earlier.
    pub seen: Time,
    /// Higher wins in what is said; the strictest always wins in watts.
    pub priority: u8,
}

/// Draw that was sold as a reserve: so much has to be on, and ready to be shed, for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obligation {
    /// The event's name, for reasons.
    pub name: String,
    /// Where it is counted.
    pub node: NodeId,
    /// Which loads serve it; none: all that can be shed below the node.
    pub kind: Option<LoadKind>,
    /// The least that has to be drawn above what no shed takes (floors, firm leases), W.
    pub minimum: Watts,
    /// From when.
    pub from: Time,
    /// Until when; `Time::MAX` until withdrawn.
    pub until: Time,
    /// How long the site has to comply, counted from the later of `from` and when it was first seen; and how fast the
    /// reserve has to answer: leases whose notice is longer are none.
    pub response: Span,
    /// When this site first saw it.
    pub seen: Time,
    /// Of two that cannot both be met the higher goes first.
    pub priority: u8,
}

/// A person's hold on a load or on everything below a feeder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lockout {
    /// The object's name, for reasons.
    pub name: String,
    /// Who holds it.
    pub holder: String,
    /// On what.
    pub target: LockoutTarget,
    /// The most each load concerned may draw, W.
    pub limit: Watts,
    /// Since when it stands, as its holder says or as it was made.
    pub since: Time,
}

/// A lockout or an event of unknown content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// The object, for reasons: its kind and name.
    pub name: String,
    /// What it was on when it could be read; the site where it never could.
    pub target: LockoutTarget,
}

/// What a person's hold is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockoutTarget {
    /// One load.
    Load(LoadId),
    /// Every load at or below a node, each of them.
    Node(NodeId),
}

/// How the site wants to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Economic rises of the whole site, W per minute.
    pub up_watts_per_minute: Watts,
    /// Economic falls of the whole site, W per minute. Emergencies are not ramped.
    pub down_watts_per_minute: Watts,
    /// An economic choice is changed only when it is worth at least this much more.
    pub dead_band: UsdPerMwh,
    /// What a MWh withheld from a lease fetched on average above what the lease is worth: the base of the price of
    /// allowance ([`crate::lease::budget_price`]).
    pub allowance_price: UsdPerMwh,
    /// How long a price excursion is taken to last when a stop's cost is weighed against it.
    pub expected_excursion: Span,
    /// The share by which an award may exceed what the load has shown it uses, before it is trimmed.
    pub trim_margin: Ppm,
    /// How long a load must use less than its award before the rest is taken back.
    pub trim_after: Span,
    /// How old a meter's sample may be, beyond which nothing is raised below that meter.
    pub meter_stale: Span,
    /// How much a clock here may be off from the utility's.
    pub clock_skew: Span,
    /// Slowest time in which a load below proves a shed: known limits bind this much earlier.
    pub slowest_shed: Span,
}

/// Which side a load is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LoadKind {
    /// A mining container.
    Miner,
    /// A GPU node.
    Gpu,
}

/// Alike containers of miners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fleet {
    /// The object's name.
    pub name: String,
    /// One miner's power curve.
    pub ladder: MinerCurve,
    /// Miners in one container.
    pub miners: u32,
    /// Pumps and fans of one container while any miner runs, W.
    pub overhead: Watts,
    /// Never sold, W a container: below this the loop freezes or the boards suffer. Not in an emergency either.
    pub thermal_floor: Watts,
    /// Setpoints are whole multiples of this above the floor, W; 0: any.
    pub step: Watts,
    /// All of a container or nothing: one breaker.
    pub indivisible: bool,
    /// Once running, runs this long unless in an emergency.
    pub minimum_on: Span,
    /// Once stopped, stays so this long.
    pub minimum_off: Span,
    /// What a start of one container costs in wear and lost tuning.
    pub start_cost: Usd,
    /// What a stop of one container costs.
    pub stop_cost: Usd,
    /// Who earns what.
    pub ownership: Ownership,
    /// The pool's share of revenue.
    pub pool_fee: Ppm,
    /// Wear, per MWh.
    pub wear: UsdPerMwh,
}

/// Whose miners they are, and so what their power is worth to the site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// The site's own: worth what they mine.
    Own,
    /// A customer's: worth the hosting rate and the credit that a curtailment would cost.
    Hosted {
        /// What the customer pays for power used.
        rate: UsdPerMwh,
        /// What the customer is credited for power withheld.
        credit: UsdPerMwh,
    },
}

/// GPU nodes of one kind on one feeder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The object's name.
    pub name: String,
    /// Their feeder.
    pub node: NodeId,
    /// GPUs in one node.
    pub gpus_per_node: u32,
    /// Lowest cap of one GPU, W.
    pub min_cap: Watts,
    /// Highest cap of one GPU, W.
    pub max_cap: Watts,
    /// Everything else in one node, at most, W.
    pub overhead: Watts,
    /// Throughput by cap.
    pub curve: CapCurve,
}

/// One load as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// Its place.
    pub id: LoadId,
    /// The object's name.
    pub name: Arc<str>,
    /// Its feeder.
    pub node: NodeId,
    /// What it is one of.
    pub member: Member,
    /// The most it could ever draw, W.
    pub nameplate: Watts,
    /// What it was last told to stay under, W.
    pub setpoint: Watts,
    /// What safety counts it with, and why.
    pub bound: Bound,
    /// How long its agent may take to prove an order.
    pub proof_within: Span,
    /// What its agent last measured; none: never, or not believed.
    pub measured: Option<Reading>,
    /// What its agent last saw it draw, whatever its limiters let through, W; none: not heard.
    pub drawn: Option<Watts>,
    /// The agent says that the load would use more than its setpoint allows.
    pub wants_more: bool,
}

/// What a load is one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Member {
    /// A container of `Snapshot::fleets` at this position.
    Fleet(u32),
    /// A node of `Snapshot::pools` at this position.
    Pool(u32),
    /// Something whose owner exists and cannot be read: it stays as it is until it can.
    Kept,
    /// Nothing that is wanted any more: lowered to nothing and kept until it is released.
    Retired,
}

impl Snapshot {
    /// How old the sample of a node's meter may be.
    pub fn meter_stale(&self, node: NodeId) -> Span {
        self.meter_stale.get(node.index()).copied().unwrap_or(self.policy.meter_stale)
    }
}

impl Member {
    /// The side; none for what has no owner that is known.
    pub const fn kind(self) -> Option<LoadKind> {
        match self {
            Self::Fleet(_) => Some(LoadKind::Miner),
            Self::Pool(_) => Some(LoadKind::Gpu),
            Self::Kept | Self::Retired => None,
        }
    }
}
