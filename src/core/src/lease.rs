//! Leases: a tenant's contract for GPU power, from the request to the last minute of its account.
//!
//! Four steps, each pure: `offer` answers requests, `book` knows what is promised already, `contract` serves one
//! accepted lease, `account` adds up what it got and did not get; `allowance` says what may still be withheld.

mod account;
mod allowance;
mod book;
mod contract;
mod offer;
mod profile;
#[cfg(test)]
mod tests;

pub use account::Integral;
pub use allowance::{Barred, Left, Stance, allowance_left, budget_price};
pub use book::{Ground, Occupancy, Promise};
pub use contract::{Happened, Served, Wanted, finish, serve};
pub use offer::{Answer, Considered, Digest, OFFER_STANDS, consider, consider_all};

use crate::guard::LoadId;
use crate::tree::NodeId;
use crate::units::{Ppm, Span, Time, Usd, UsdPerMwh, Watts};

/// What a lease delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// GPUs of a pool, for the tenant's Jobs.
    Jobs {
        /// Position in `Snapshot::pools`.
        pool: u32,
        /// How many GPUs.
        gpus: u32,
    },
    /// Watts at a feeder, for a hall that the tenant runs.
    Power {
        /// The hall's feeder.
        node: NodeId,
        /// How many watts.
        watts: Watts,
    },
}

/// The terms of a class as published, and of a lease as pinned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Terms {
    /// Never curtailed for money.
    pub firm: bool,
    /// Rent of one GPU for an hour (`Jobs`), or of one kW for a month of 730 hours (`Power`).
    pub price: Usd,
    /// How long before a curtailment the tenant is told, outside emergencies.
    pub notice: Span,
    /// How much may be curtailed.
    pub allowance: Allowance,
    /// Credited to the tenant for energy withheld, per MWh of what was granted.
    pub credit: UsdPerMwh,
    /// What one stop costs, for each GPU (`Jobs`) or kW (`Power`): work lost since the checkpoint, restart.
    pub stop_cost: Usd,
    /// The least share of full throughput to which GPUs may be capped instead of stopped; a million: no caps.
    pub least_throughput: Ppm,
    /// Who may refuse an offer that is within the tenant's price: nobody (`true`), or a person (`false`).
    pub accepts_itself: bool,
    /// The longest term.
    pub longest_term: Span,
}

/// How much of a lease may be withheld outside emergencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Allowance {
    /// In one calendar window of `per`.
    pub curtailed: Span,
    /// The window that the allowance is for, counted from the lease's start.
    pub per: Span,
    /// Curtailments begun in a day of 24 h counted from the lease's start.
    pub events_per_day: u32,
    /// Longest single curtailment.
    pub longest: Span,
    /// Once running, runs this long before the next curtailment.
    pub minimum_run: Span,
}

/// A class as published now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// The object's name.
    pub name: String,
    /// What it delivers: the pool or feeder; the amount here is all that the class may promise.
    pub delivery: Delivery,
    /// The terms offered from now on.
    pub terms: Terms,
    /// The most that one namespace may hold: GPUs, or watts.
    pub per_namespace: i64,
}

/// One lease as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// `namespace/name`.
    pub name: String,
    /// The tenant.
    pub namespace: String,
    /// What is asked for, or what was accepted.
    pub request: Request,
    /// Where it stands: what its status holds.
    pub state: LeaseState,
    /// Where its Jobs run: (node, GPUs in use there). By load.
    pub placed: Vec<(LoadId, u32)>,
    /// It has Jobs that are not finished.
    pub has_work: bool,
    /// Its Jobs still have pods, terminating ones too.
    pub has_pods: bool,
    /// When its Jobs acknowledged the checkpoint that the running notice asked for.
    pub acknowledged: Option<Time>,
}

/// What a tenant asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// Position of the class in `Snapshot::classes`; none: no class of that name, or not for this namespace.
    pub class: Option<u32>,
    /// GPUs or watts, at the class's pool or feeder.
    pub delivery: Option<Delivery>,
    /// From when.
    pub start: Time,
    /// Until when.
    pub end: Time,
    /// The most the tenant pays, in the unit of [`Terms::price`]; none: any offer waits for the tenant.
    pub max_price: Option<Usd>,
    /// The hash of the offer that the tenant (or, for a class that wants approval, the approver) accepted.
    pub accepted_hash: Option<String>,
    /// When it was asked for: first come, first served.
    pub asked: Time,
}

/// Where a lease stands. Persisted whole in its status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LeaseState {
    /// Not looked at yet.
    #[default]
    Requested,
    /// An offer that waits for acceptance.
    Offered(Offer),
    /// Cannot be had.
    Refused(Refusal),
    /// Accepted: from here on the pinned terms count.
    Accepted(Box<Contract>),
    /// Over: the term ended or the tenant let go.
    Ended(Box<Contract>),
}

/// What the site offers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Offer {
    /// The terms.
    pub terms: Terms,
    /// What is delivered.
    pub delivery: Delivery,
    /// From when.
    pub start: Time,
    /// Until when.
    pub end: Time,
    /// The digest of [`Offer::canonical`], by which it is accepted.
    pub hash: String,
    /// Stands until then.
    pub expires: Time,
}

/// Why a request cannot be met, and what could.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Refusal {
    /// The reason.
    pub reason: RefusalReason,
    /// The most GPUs or watts that would fit that term; 0: none.
    pub would_fit: i64,
    /// The earliest start at which all of it would fit, if there is one within the class's longest term.
    pub would_fit_from: Option<Time>,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// No such class, or it is not open to this namespace.
    NoClass,
    /// GPUs from a class that delivers power, or watts from one that delivers GPUs.
    WrongDelivery,
    /// The term is over, ends before it starts, or is longer than the class allows.
    Term,
    /// More than one namespace may hold.
    NamespaceShare,
    /// The pool, feeder or class has not that much left in that term.
    Capacity,
    /// The tenant's price is below the class's.
    Price {
        /// The class's price: what would be accepted.
        least: Usd,
    },
}

/// An accepted lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contract {
    /// What was accepted: pinned.
    pub offer: Offer,
    /// When.
    pub accepted: Time,
    /// All of it: what it runs at when nothing is withheld. Pinned, for energy, credits and rent are counted by it.
    pub full: Level,
    /// What it may use now.
    pub grant: Grant,
    /// Watts of the grant that it is short of through lockouts, 0 to the grant: [`Contract::lack`].
    pub missing: Watts,
    /// A notice that runs (the grant is above what it falls to) or that was served.
    pub notice: Option<Notice>,
    /// What was withheld so far.
    pub account: Account,
}

/// How much a lease runs at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Level {
    /// Watts above the must-run share (`Jobs`), or at the feeder (`Power`). 0: stopped.
    pub watts: Watts,
    /// The cap of each of its GPUs, W; 0 for `Power` and for none.
    pub cap: Watts,
}

/// What an accepted lease may use now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Grant {
    /// Watts above the must-run share (`Jobs`), or at the feeder (`Power`). 0: its Jobs are suspended.
    pub watts: Watts,
    /// The cap of each of its GPUs, W; 0 for `Power` and for none.
    pub cap: Watts,
    /// Since when it is this.
    pub since: Time,
}

/// A tenant was told that its grant will fall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Notice {
    /// When it was given.
    pub given: Time,
    /// When the grant falls, unless acknowledged earlier.
    pub deadline: Time,
    /// To what the grant falls.
    pub to: Level,
    /// Why.
    pub reason: NoticeReason,
}

/// Why a lease's grant falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoticeReason {
    /// Power is worth more elsewhere.
    Economics,
    /// A limit that leaves no room, with time enough for the class's notice.
    Limit,
    /// A limit or a fault that leaves no time: the notice may be shorter than the class says.
    Emergency,
    /// The term ends.
    TermEnds,
}

/// What was given and withheld: checkpointed on changes of grant, with elapsed time derived, so that no restart
/// forgets a minute. Money is derived from the two energies and the pinned terms, never added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Account {
    /// Up to when all of this is added up: the last change of the grant or of what it lacks. Later moments: [`Contract::account_at`].
    pub at: Time,
    /// Start of the allowance window that `curtailed` is for.
    pub window: Time,
    /// Curtailed in this window up to `at`, outside emergencies.
    pub curtailed: Span,
    /// Start of the day that `events` is for.
    pub day: Time,
    /// Curtailments begun in this day, outside emergencies.
    pub events: u32,
    /// Curtailed over the whole term up to `at`, emergencies included.
    pub total: Span,
    /// Of that, in emergencies.
    pub emergency: Span,
    /// Energy granted over the whole term up to `at`, less what lockouts left the lease short of.
    pub granted: Integral,
    /// Energy withheld over the whole term up to `at`: all of it less what was granted.
    pub withheld: Integral,
    /// The curtailment that stands, if one does.
    pub running: Option<Curtailment>,
}

/// A curtailment that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Curtailment {
    /// Since when (for an emergency that overtook another curtailment: since the emergency).
    pub since: Time,
    /// An emergency holds it down: it eats no allowance, and ends as soon as there is room.
    pub emergency: bool,
}

/// What was promised already, for booking: no firm watt is promised twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    /// Every accepted lease that has not ended. [`Book::of`] derives them.
    pub entries: Vec<Booking>,
}

/// One promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Booking {
    /// Position of the lease in `Snapshot::leases`.
    pub lease: u32,
    /// Position of its class in `Snapshot::classes`; none: that class is gone, its promise is not.
    pub class: Option<u32>,
    /// What.
    pub delivery: Delivery,
    /// Watts that it may take at its feeder above the must-run share (`Jobs`), or in all (`Power`).
    pub watts: Watts,
    /// From when.
    pub start: Time,
    /// Until when.
    pub end: Time,
    /// Whether it is firm.
    pub firm: bool,
}
