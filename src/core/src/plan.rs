//! What is decided: a value, with the reason for every part of it.

use crate::guard::{LoadId, Want};
use crate::lease::{LeaseState, Refusal};
use crate::memory::Memory;
use crate::tree::NodeId;
use crate::units::{Time, UsdPerMwh, Watts};

/// One decision on one site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Setpoints wanted, most valuable first: what the guard's ledger turns into writes.
    pub wants: Vec<Want>,
    /// By load.
    pub loads: Vec<LoadAward>,
    /// By lease.
    pub leases: Vec<LeaseAward>,
    /// By node.
    pub nodes: Vec<NodeAward>,
    /// By obligation of the snapshot.
    pub obligations: Vec<ObligationAward>,
    /// To be remembered for the next decision.
    pub memory: Memory,
    /// When something changes by time alone, if nothing is seen before: a deadline, a hold that ends, an event.
    pub wake: Option<Time>,
}

/// What one load got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadAward {
    /// The setpoint wanted, W.
    pub watts: Watts,
    /// Why not more (or why at all).
    pub reason: Reason,
    /// A safety move: not ramped, shouted over the link.
    pub urgent: bool,
}

/// What one lease got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseAward {
    /// Where it stands from now on.
    pub state: LeaseState,
    /// Why.
    pub reason: Reason,
    /// Its Jobs are to be stopped without waiting: cap first, then delete their pods.
    pub urgent: bool,
}

/// How one node came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeAward {
    /// The limit in force, events included, W.
    pub limit: Watts,
    /// What the loads below may draw together, W.
    pub capacity: Watts,
    /// What was awarded below, W.
    pub awarded: Watts,
    /// What one more MWh here would be worth; zero where the limit does not bind.
    pub shadow_price: UsdPerMwh,
}

/// How one obligation is served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObligationAward {
    /// What is to be on now, W: rises to the minimum as its time comes, and is 0 before and after.
    pub required: Watts,
    /// What is awarded above what no shed takes, W.
    pub held: Watts,
    /// What was last seen to be drawn of that, W. Who is not heard draws nothing.
    pub drawn: Watts,
    /// What holding the dearest of these watts loses, per MWh; zero where they pay for themselves.
    pub price: UsdPerMwh,
    /// Why less than required is held; none where it is not less.
    pub short: Option<Reason>,
}

/// Why somebody has what they have. One enum for loads and leases: it is what `explain`, conditions and events show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// All it can use.
    Full,
    /// Its owner exists and cannot be read: it stays as it is.
    Unreadable,
    /// Nothing wants it any more: lowered to nothing until it is released.
    Retired,
    /// The next step is worth less than power costs now.
    BelowPrice {
        /// What the next step is worth.
        value: UsdPerMwh,
        /// What power costs.
        price: UsdPerMwh,
    },
    /// A limit leaves no more room.
    Limit {
        /// Which.
        node: NodeId,
        /// What one more MWh there would be worth.
        shadow_price: UsdPerMwh,
    },
    /// A block or step is larger than the room that is left.
    Indivisible {
        /// Where it is short.
        node: NodeId,
        /// What is left there, W.
        room: Watts,
        /// What the block or step needs, W.
        needs: Watts,
    },
    /// A grid event leaves no more room.
    Event {
        /// Its name.
        name: String,
        /// When it ends, if it says.
        until: Time,
    },
    /// A person holds it.
    Lockout {
        /// The object's name.
        name: String,
        /// Who.
        holder: String,
        /// Since when.
        since: Time,
    },
    /// A lockout or an event that concerns it exists and cannot be read: nothing is raised.
    UnreadHold {
        /// The object's kind and name.
        name: String,
    },
    /// Started so recently that it runs on.
    MinimumOn {
        /// Until when.
        until: Time,
    },
    /// Stopped so recently that it stays off.
    MinimumOff {
        /// Until when.
        until: Time,
    },
    /// The meter there is stale: nothing is raised below it.
    StaleMeter {
        /// Which node's.
        node: NodeId,
    },
    /// The site's ramp allows no more yet.
    Ramp,
    /// A change would be worth less than the dead band or than a stop and a start cost.
    DeadBand {
        /// What the change would be worth.
        gain: UsdPerMwh,
    },
    /// Only the floor that is never sold.
    Floor,
    /// A GPU node without a lease: lowest caps.
    NoLease,
    /// A GPU node that runs a lease's Jobs.
    Leased {
        /// Position of the (most valuable) lease.
        lease: u32,
    },
    /// It uses less than it could have; the rest went to others.
    Trimmed {
        /// What it had and did not use, W.
        unused: Watts,
        /// Since when.
        since: Time,
    },
    /// A notice runs; the grant falls at its deadline.
    Notice {
        /// When.
        deadline: Time,
    },
    /// Curtailed; it comes back when power is worth less than this.
    Curtailed {
        /// The price at or above which it stays off.
        value: UsdPerMwh,
        /// What power costs.
        price: UsdPerMwh,
    },
    /// The allowance for curtailment is used up (or reserved): it runs on although power is worth more.
    AllowanceSpent {
        /// When the next window or day begins; `Time::MAX`: not within its term.
        until: Time,
    },
    /// Power that was sold as a reserve: it stays on although it is worth less than power costs.
    Obligation {
        /// The event's name.
        name: String,
        /// When it ends, if it says.
        until: Time,
        /// What a MWh of the last watts held so loses.
        price: UsdPerMwh,
    },
    /// Its term has not begun.
    NotYet {
        /// When it begins.
        start: Time,
    },
    /// An offer waits for acceptance.
    AwaitsAcceptance,
    /// The request was refused.
    Refused(Refusal),
    /// Its term is over.
    Ended,
    /// No price, or no hashprice, that may be acted on: it holds.
    NoPrice,
    /// Its agent has not proved what it was told: it counts at its bound and others make room.
    NotProved {
        /// What it counts at, W.
        bound: Watts,
    },
}

impl Plan {
    /// The award of one load.
    pub fn load(&self, id: LoadId) -> Option<&LoadAward> {
        self.loads.get(id.index())
    }
}
