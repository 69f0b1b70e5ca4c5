//! Leases: a tenant's contract for GPU power, from the request to the last minute of its account.

use crate::guard::LoadId;
use crate::tree::NodeId;
use crate::units::{Ppm, Span, Time, Usd, UsdPerMwh, WattSeconds, Watts};

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
    /// What one stop costs: work lost since the checkpoint, restart.
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
    /// A hash of all that, by which it is accepted.
    pub hash: String,
    /// Stands until then.
    pub expires: Time,
}

/// Why a request cannot be met, and what could.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
    Price,
}

/// An accepted lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contract {
    /// What was accepted: pinned.
    pub offer: Offer,
    /// When.
    pub accepted: Time,
    /// What it may use now.
    pub grant: Grant,
    /// A notice that runs or was served.
    pub notice: Option<Notice>,
    /// What was withheld so far.
    pub account: Account,
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
    /// To what the grant falls, W.
    pub to: Watts,
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

/// What was withheld: checkpointed on changes of grant, with elapsed time derived, so that no restart forgets a minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Account {
    /// Start of the allowance window that `curtailed` is for.
    pub window: Time,
    /// Curtailed in this window, closed curtailments only, outside emergencies.
    pub curtailed: Span,
    /// Start of the day that `events` is for.
    pub day: Time,
    /// Curtailments begun in this day.
    pub events: u32,
    /// Curtailed over the whole term, closed ones only, emergencies included.
    pub total: Span,
    /// Energy withheld over the whole term, closed ones only.
    pub withheld: WattSeconds,
    /// Credited to the tenant so far.
    pub credited: Usd,
    /// Charged to the tenant so far.
    pub charged: Usd,
    /// Up to when all of the above is added up.
    pub at: Time,
    /// Since when the running curtailment stands, if one does, and whether it is an emergency's.
    pub running: Option<(Time, bool)>,
}

/// What was promised already, for booking: no firm watt is promised twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    /// (lease, delivery, start, end, firm) of every accepted lease that has not ended.
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
    /// Watts that it may take at its feeder, must-run included.
    pub watts: Watts,
    /// From when.
    pub start: Time,
    /// Until when.
    pub end: Time,
    /// Whether it is firm.
    pub firm: bool,
}
