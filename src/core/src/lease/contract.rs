//! Serving one accepted lease: granted, given notice, curtailed, returned, ended.
//!
//! One call makes at most one change, and changes nothing where nothing changed: a contract is written only when its
//! grant, its notice or the mark of its curtailment is another. Late calls do what is overdue at once.

use super::{Account, Barred, Contract, Curtailment, Delivery, Grant, Level, Notice, NoticeReason, Offer};
use crate::units::{Ppm, Span, Time, Usd, Watts};

/// What clearing wants a lease to run at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// At what: [`Contract::full`], nothing, or (where the terms allow caps, or in an emergency) something between.
    pub level: Level,
    /// Why it is not all: of no meaning where it is. `Emergency` is what is to be said only while nothing but the
    /// emergency keeps the lease down: it eats no allowance, and the lease returns as soon as it passes.
    pub why: NoticeReason,
    /// When an emergency has to have it down: until then its Jobs may save their work. None: now.
    pub by: Option<Time>,
}

/// What one call did to a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// Notice was given, or the one that ran was changed.
    Noticed(Notice),
    /// The notice that ran was taken back.
    Withdrawn,
    /// All of it is granted: for the first time or again.
    Granted,
    /// More of it is granted, not all.
    Raised,
    /// A curtailment began: the grant fell.
    Curtailed {
        /// In an emergency.
        emergency: bool,
    },
    /// The grant fell further within a curtailment.
    Lowered,
    /// An emergency holds down what was curtailed for another reason.
    Overtaken,
    /// The term ended.
    Ended,
}

/// One lease, served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// As it stands now.
    pub contract: Contract,
    /// What changed.
    pub happened: Option<Happened>,
    /// Why it keeps what clearing would have taken.
    pub held: Option<Barred>,
    /// When it changes by time alone.
    pub wake: Option<Time>,
}

impl Wanted {
    /// All of `contract`.
    pub const fn all(contract: &Contract) -> Self {
        Self { level: contract.full, why: NoticeReason::Economics, by: None }
    }
}

impl Contract {
    /// What stopping all of it costs.
    pub fn stop_cost(&self) -> Usd {
        let units = match self.offer.delivery {
            Delivery::Jobs { gpus, .. } => i64::from(gpus),
            Delivery::Power { watts, .. } => watts.get() / 1_000,
        };
        Usd::new(self.offer.terms.stop_cost.get().saturating_mul(units))
    }

    /// A contract on `offer`, accepted `now`. Nothing is granted yet.
    pub fn new(offer: Offer, full: Level, now: Time) -> Self {
        let account = Account::opened(&offer.terms.allowance, offer.start, now);
        let grant = Grant { since: now, ..Grant::default() };
        Self { offer, accepted: now, full, grant, missing: Watts::ZERO, notice: None, account }
    }
}

/// Serves one accepted lease at `now`.
///
/// `acknowledged`: when its Jobs acknowledged the checkpoint that the running notice asked for. `lead`: how long it
/// takes from a grant until the lease really runs (orders, proofs, the Jobs' start): it is granted again that much
/// before the longest allowed curtailment ends, and no curtailment shorter than that begins.
///
/// Outside emergencies a grant falls at the deadline of a notice as long as the terms say, or at its acknowledgement;
/// and no allowance, number of events, longest curtailment or minimum run is overdrawn, whatever is wanted, as long as
/// the next call is not later than [`Served::wake`] and `lead`.
pub fn serve(contract: Contract, wanted: Wanted, acknowledged: Option<Time>, lead: Span, now: Time) -> Served {
    let now = now.max(contract.grant.since);
    if now >= contract.offer.end {
        return finish(contract, now);
    }
    let target = contract.permitted(wanted);
    let emergency = wanted.why == NoticeReason::Emergency && target.watts < contract.full.watts;
    let mut turn = Turn { contract, target, emergency, wanted, acknowledged, lead, now, happened: None, held: None };
    if now >= turn.contract.offer.start {
        turn.take();
    }
    let wake = turn.contract.wake(lead, now);
    Served { contract: turn.contract, happened: turn.happened, held: turn.held, wake }
}

/// Ends `contract`: its term is over, or the tenant let go. The account closes at the earlier of `now` and the term's
/// end.
pub fn finish(mut contract: Contract, now: Time) -> Served {
    contract.settle(now);
    contract.grant = Grant { since: now, ..Grant::default() };
    contract.missing = Watts::ZERO;
    contract.account.running = None;
    contract.notice = None;
    Served { contract, happened: Some(Happened::Ended), held: None, wake: None }
}

/// One call of [`serve`] in a running term.
struct Turn {
    contract: Contract,
    target: Level,
    emergency: bool,
    wanted: Wanted,
    acknowledged: Option<Time>,
    lead: Span,
    now: Time,
    happened: Option<Happened>,
    held: Option<Barred>,
}

impl Turn {
    /// Takes the one step that is due.
    fn take(&mut self) {
        let full = self.contract.runs_in_full();
        if self.emergency {
            self.suffer();
        } else if !full && self.contract.back_by(self.lead, self.now).is_none_or(|back_by| self.now >= back_by) {
            // Its first grant, its return after an emergency, or it was down as long as it may be.
            self.raise(self.contract.full);
        } else if self.ending() {
            let (given, deadline) = (self.now, self.contract.offer.end);
            self.tell(Notice { given, deadline, to: Level::default(), reason: NoticeReason::TermEnds });
        } else {
            self.follow();
        }
    }

    /// An emergency leaves it less than all.
    fn suffer(&mut self) {
        match self.contract.account.running {
            Some(Curtailment { emergency: false, .. }) => self.overtake(),
            _ if self.target.watts > self.contract.grant.watts => self.raise(self.target),
            // It was not granted yet, and there is nothing that could be.
            None if !self.contract.runs_in_full() => self.fall(self.target),
            _ => self.follow(),
        }
    }

    /// It may be where it is: up as wanted, down by notice.
    fn follow(&mut self) {
        let have = self.contract.grant.watts;
        match self.target.watts {
            wanted if wanted > have => self.raise(self.target),
            wanted if wanted < have => self.lower(),
            _ => self.keep(),
        }
    }

    /// Nothing less is wanted than it has: a notice that runs is taken back, unless its Jobs have acknowledged it.
    fn keep(&mut self) {
        match self.contract.running_notice() {
            None | Some(Notice { reason: NoticeReason::TermEnds, .. }) => {}
            Some(notice) if notice.reason != NoticeReason::Emergency && self.is_acknowledged(notice) => {
                self.fall_if_due(notice);
            }
            Some(_) => self.withdraw(None),
        }
    }

    /// Less is wanted than it has: gives notice, or serves the one that runs.
    fn lower(&mut self) {
        let now = self.now;
        let Some(running) = self.contract.running_notice() else { return self.give() };
        if self.emergency {
            let deadline = self.wanted.by.unwrap_or(now).max(now);
            let notice = Notice { given: running.given, deadline, to: self.target, reason: NoticeReason::Emergency };
            // An acknowledgement of the notice before it stands: the work is saved.
            if notice != running {
                self.tell(notice);
            }
            return self.fall_if_due(notice);
        }
        match running.reason {
            NoticeReason::TermEnds => self.held = Some(Barred::TermEnds { end: self.contract.offer.end }),
            NoticeReason::Emergency => self.withdraw(None),
            NoticeReason::Economics | NoticeReason::Limit => {
                let mut notice = running;
                if self.target.watts > running.to.watts && !self.is_acknowledged(running) {
                    notice.to = self.target;
                    self.tell(notice);
                }
                self.fall_if_due(notice);
            }
        }
    }

    /// Gives a notice, if the terms allow one now.
    fn give(&mut self) {
        let (now, to, reason) = (self.now, self.target, self.wanted.why);
        let deadline = match self.emergency {
            true => self.wanted.by.unwrap_or(now).max(now),
            false => now.after(self.contract.offer.terms.notice.at_least_zero()),
        };
        let allowed = if self.emergency { Ok(()) } else { self.may_fall(deadline) };
        match allowed {
            Ok(()) => {
                let notice = Notice { given: now, deadline, to, reason };
                self.tell(notice);
                if deadline <= now {
                    self.fall_if_due(notice);
                }
            }
            Err(barred) => self.held = Some(barred),
        }
    }

    /// Whether the grant may fall at `at` outside emergencies.
    fn may_fall(&self, at: Time) -> Result<(), Barred> {
        match self.contract.back_by(self.lead, self.now) {
            // Further down within a curtailment: as long as that may last.
            Some(back_by) if at < back_by && at < self.contract.offer.end => Ok(()),
            Some(_) => Err(Barred::Due),
            None => self.contract.may_begin(at, self.lead),
        }
    }

    /// Lets the grant fall if the deadline has passed or the work is saved; takes the notice back if it came to its
    /// deadline and may not be served.
    fn fall_if_due(&mut self, notice: Notice) {
        if self.now < notice.deadline && !self.is_acknowledged(notice) {
            return;
        }
        let allowed = if self.emergency { Ok(()) } else { self.may_fall(self.now) };
        match allowed {
            Ok(()) => self.fall(notice.to),
            Err(barred) if self.now >= notice.deadline => self.withdraw(Some(barred)),
            Err(barred) => self.held = Some(barred),
        }
    }

    /// The grant falls to `to`.
    fn fall(&mut self, to: Level) {
        let (now, emergency) = (self.now, self.emergency);
        self.contract.settle(now);
        if self.contract.account.running.is_some() {
            self.happened = Some(Happened::Lowered);
        } else {
            self.contract.account.running = Some(Curtailment { since: now, emergency });
            if !emergency {
                self.contract.account.events = self.contract.account.events.saturating_add(1);
            }
            self.happened = Some(Happened::Curtailed { emergency });
        }
        self.contract.grant = Grant { watts: to.watts, cap: to.cap, since: now };
        self.contract.missing = self.contract.missing.min(to.watts);
    }

    /// More of it is granted.
    fn raise(&mut self, to: Level) {
        let now = self.now;
        self.contract.settle(now);
        self.contract.grant = Grant { watts: to.watts, cap: to.cap, since: now };
        // What was served is over; that the term ends is not.
        self.contract.notice = self.contract.notice.filter(|notice| notice.reason == NoticeReason::TermEnds);
        if to.watts >= self.contract.full.watts {
            self.contract.account.running = None;
            self.happened = Some(Happened::Granted);
            return;
        }
        if self.contract.account.running.is_none() {
            self.contract.account.running = Some(Curtailment { since: now, emergency: self.emergency });
        }
        self.happened = Some(Happened::Raised);
    }

    /// From now on an emergency keeps it down.
    fn overtake(&mut self) {
        self.contract.settle(self.now);
        self.contract.account.running = Some(Curtailment { since: self.now, emergency: true });
        self.happened = Some(Happened::Overtaken);
    }

    fn tell(&mut self, notice: Notice) {
        self.contract.notice = Some(notice);
        self.happened = Some(Happened::Noticed(notice));
    }

    fn withdraw(&mut self, held: Option<Barred>) {
        self.contract.notice = None;
        self.happened = Some(Happened::Withdrawn);
        self.held = held;
    }

    fn is_acknowledged(&self, notice: Notice) -> bool {
        self.acknowledged.is_some_and(|at| at >= notice.given)
    }

    /// Whether the notice of the term's end is to be given now: late only for a lease that came back later.
    fn ending(&self) -> bool {
        let offer = &self.contract.offer;
        let granted = self.contract.grant.watts > Watts::ZERO;
        granted && self.contract.running_notice().is_none() && self.now >= offer.end.before(offer.terms.notice)
    }
}

impl Contract {
    /// What of `wanted` the terms allow: all, nothing, or a cap between where there may be one.
    fn permitted(&self, wanted: Wanted) -> Level {
        let caps = self.offer.terms.least_throughput < Ppm::percent(100);
        match wanted.level {
            level if level.watts >= self.full.watts => self.full,
            level if level.watts > Watts::ZERO && (caps || wanted.why == NoticeReason::Emergency) => level,
            _ => Level::default(),
        }
    }

    /// When it changes by time alone.
    fn wake(&self, lead: Span, now: Time) -> Option<Time> {
        let Offer { start, end, terms, .. } = &self.offer;
        let notice = self.running_notice();
        let ending = if notice.is_none() { Some(end.before(terms.notice)) } else { None };
        let moments = [Some(*start), Some(*end), notice.map(|n| n.deadline), ending, self.back_by(lead, now)];
        moments.into_iter().flatten().filter(|at| *at > now).min()
    }
}
