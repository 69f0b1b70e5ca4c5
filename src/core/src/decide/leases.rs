//! The leases of one decision: what each is wanted at, what limits force, and what its terms allow.
//!
//! Three passes. Economics clears every lease against the miners at today's price: that is what notices are given for.
//! Limits look ahead as far as the longest notice and find what will not fit, in shed order: flexible leases by what
//! their stop costs per watt (first to a lower cap where the terms allow one), then firm ones. Then each contract is
//! served, and keeps whatever its terms say.

mod bid;
mod placed;
mod reserve;
mod shed;

pub(super) use placed::{placed, reserved};

use super::limits::{Limits, stages};
use super::obligations::{self, Duty};
use super::range::{Cap, Range};
use crate::bid::Bid;
use crate::clear::{Award, clear};
use crate::lease::{
    Answer, Barred, Book, Contract, Delivery, Digest, Ground, Lease, LeaseState, Level, NoticeReason, Stance, Wanted,
    consider_all, serve,
};
use crate::plan::{LeaseAward, Reason};
use crate::snapshot::{Member, Pool, Snapshot};
use crate::tree::NodeId;
use crate::units::{Span, Time, UsdPerMwh, Watts, mul_div_up};

const MS_PER_MINUTE: i64 = 60_000;

/// An accepted lease in its term, as a consumer of watts.
pub(super) struct Claim<'a> {
    /// Its position in `Snapshot::leases`.
    pub(super) at: usize,
    pub(super) contract: &'a Contract,
    /// Its pool; none for a hall.
    pub(super) pool: Option<&'a Pool>,
    /// Where it draws.
    pub(super) node: NodeId,
    pub(super) gpus: u32,
    pub(super) stance: Stance,
    /// It has Jobs, or pods that have not gone: it uses what it is granted. An idle lease's watts are free for others.
    pub(super) busy: bool,
    /// From a grant to the running Jobs, at the worst.
    pub(super) lead: Span,
    /// What withholding a MWh costs in allowance used up.
    pub(super) allowance: UsdPerMwh,
}

impl Claim<'_> {
    /// The level at `watts` above must-run: whole caps, a few watts apart, so that no breeze moves a grant.
    fn level(&self, watts: Watts) -> Level {
        const CAP_STEP: Watts = Watts::new(10);
        let full = self.contract.full;
        if watts >= full.watts {
            return full;
        }
        let Some(pool) = self.pool else { return Level::default() };
        let each = Watts::new(watts.get().checked_div(i64::from(self.gpus)).unwrap_or(0)).floor_to(CAP_STEP);
        let least = bid::lowest_cap(pool, self.contract).map_or(Watts::MAX, |cap| cap - pool.min_cap);
        if each < least || each <= Watts::ZERO {
            return Level::default();
        }
        Level { watts: Watts::new(each.get().saturating_mul(i64::from(self.gpus))), cap: pool.min_cap + each }
    }

    /// Its pool's position; none such for a hall.
    fn pool_at(&self) -> usize {
        match self.contract.offer.delivery {
            Delivery::Jobs { pool, .. } => pool as usize,
            Delivery::Power { .. } => usize::MAX,
        }
    }

    fn runs(&self) -> bool {
        self.contract.grant.watts > Watts::ZERO
    }
}

/// What a lease is wanted at, and by whom.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) wanted: Wanted,
    /// Why not all of it.
    pub(super) reason: Option<Reason>,
}

/// The leases after this decision.
pub(super) struct Leases {
    /// By lease.
    pub(super) awards: Vec<LeaseAward>,
    /// By lease: what it may use now above must-run, with the cap of each GPU; nothing for one that is idle.
    pub(super) levels: Vec<Level>,
    /// By lease: what a MWh is worth to it; the most for a firm one.
    pub(super) values: Vec<UsdPerMwh>,
    /// By lease: it runs, and may be given notice now.
    free: Vec<bool>,
    /// When one of them changes by time alone.
    pub(super) wake: Option<Time>,
}

/// Serves every lease. `loads`: the bids of all loads, GPU nodes at their floors, and the obligations on them.
pub(super) fn serve_all(
    snapshot: &Snapshot,
    limits: &Limits<'_>,
    ranges: &[Range],
    (loads, duties): (&[Bid], &[Duty<'_>]),
    price: Option<UsdPerMwh>,
    digest: Digest,
) -> Leases {
    let claims = claims(snapshot);
    let wanted = economics(snapshot, limits, &claims, (loads, duties), price);
    let notice = claims.iter().map(|c| c.contract.offer.terms.notice).max().unwrap_or_default();
    // Limits that fall within one notice of each other are told of together.
    let stages = stages(snapshot, Span::new(notice.get().saturating_mul(2)));
    let forced = shed::forced(snapshot, &stages, &claims, &wanted, loads);
    let mut leases = considered(snapshot, ranges, digest);
    let locked = locked(snapshot, ranges);
    let asks = wanted.into_iter().zip(forced);
    for (claim, (wanted, forced)) in claims.iter().zip(asks) {
        let ask = forced.unwrap_or(wanted);
        let Some(lease) = snapshot.leases.get(claim.at) else { continue };
        let served = serve(claim.contract.clone(), ask.wanted, lease.acknowledged, claim.lead, snapshot.now);
        leases.take(claim, lease, &ask, served, snapshot.now);
        let full = leases.awards.get_mut(claim.at).filter(|award| award.reason == Reason::Full);
        let lockout = locked.get(claim.pool_at()).and_then(Option::as_ref);
        if let (Some(award), Some(lockout)) = (full, lockout)
            && claim.busy
            && lease.placed.iter().map(|(_, gpus)| gpus).sum::<u32>() < claim.gpus
        {
            award.reason = lockout.clone();
        }
    }
    leases
}

/// By pool: the lockout that leaves a node of it too little to run anything; what a lease has there waits.
fn locked(snapshot: &Snapshot, ranges: &[Range]) -> Vec<Option<Reason>> {
    let mut locked = vec![None; if snapshot.lockouts.is_empty() { 0 } else { snapshot.pools.len() }];
    for (load, range) in snapshot.loads.iter().zip(ranges) {
        let Member::Pool(pool) = load.member else { continue };
        let held = range.capped.filter(|cap| matches!(cap, Cap::Lockout(_)) && range.most < range.natural_floor);
        if let (Some(slot), Some(cap)) = (locked.get_mut(pool as usize), held) {
            *slot = Some(cap.reason(snapshot));
        }
    }
    locked
}

/// Every accepted lease, in or out of its term.
fn claims(snapshot: &Snapshot) -> Vec<Claim<'_>> {
    let proof = snapshot.loads.iter().filter(|l| matches!(l.member, Member::Pool(_))).map(|l| l.proof_within).max();
    let rate = snapshot.policy.down_watts_per_minute.get();
    let mut claims = Vec::with_capacity(snapshot.leases.len());
    for (at, lease) in snapshot.leases.iter().enumerate() {
        let LeaseState::Accepted(contract) = &lease.state else { continue };
        let (pool, node, gpus) = match contract.offer.delivery {
            Delivery::Jobs { pool, gpus } => {
                let pool = snapshot.pools.get(pool as usize);
                // A pool that is gone has no node: nothing can be had there.
                (pool, pool.map_or(NodeId(u32::MAX), |p| p.node), gpus)
            }
            Delivery::Power { node, .. } => (None, node, 0),
        };
        let ramped = mul_div_up(contract.full.watts.get(), MS_PER_MINUTE, rate);
        let shed = snapshot.policy.slowest_shed.get().saturating_add(proof.unwrap_or_default().get());
        let lead = Span::new(shed.saturating_add(ramped));
        let busy = pool.is_some() && (lease.has_work || lease.has_pods);
        let stance = contract.stance(lead, snapshot.now);
        let allowance = bid::allowance(snapshot, contract);
        claims.push(Claim { at, contract, pool, node, gpus, stance, busy, lead, allowance });
    }
    claims
}

/// What each lease is wanted at for money.
fn economics(
    snapshot: &Snapshot,
    limits: &Limits<'_>,
    claims: &[Claim<'_>],
    (loads, duties): (&[Bid], &[Duty<'_>]),
    price: Option<UsdPerMwh>,
) -> Vec<Ask> {
    let all = |claim: &Claim<'_>| Ask { wanted: Wanted::all(claim.contract), reason: None };
    let mut asks: Vec<Ask> = claims.iter().map(all).collect();
    let free = |c: &Claim<'_>| matches!(c.stance, Stance::Free | Stance::OnNotice(_) | Stance::Down { .. });
    let Some(price) = price else {
        // No price, no change: what runs runs on, what stands stands as long as it may.
        for (claim, ask) in claims.iter().zip(&mut asks).filter(|(c, _)| matches!(c.stance, Stance::Down { .. })) {
            let grant = claim.contract.grant;
            ask.wanted.level = Level { watts: grant.watts, cap: grant.cap };
            ask.reason = Some(Reason::NoPrice);
        }
        return asks;
    };
    for (claim, ask) in claims.iter().zip(&mut asks).filter(|(c, _)| c.pool.is_none() || c.busy) {
        ask.reason = barred(claim, price);
    }
    for (claim, ask) in claims.iter().zip(&mut asks).filter(|(c, _)| c.pool.is_none() && free(c)) {
        let value = bid::hall(snapshot, claim);
        if value <= price {
            (ask.wanted.level, ask.reason) = (Level::default(), Some(Reason::Curtailed { value, price }));
        }
    }
    let concerned =
        |c: &Claim<'_>| c.pool.is_some() && c.busy && !matches!(c.stance, Stance::Ended | Stance::NotYet { .. });
    if !claims.iter().any(|c| concerned(c) && free(c)) {
        return asks;
    }
    let mut bids = Vec::with_capacity(loads.len() + claims.len());
    bids.extend_from_slice(loads);
    bids.extend(claims.iter().map(|claim| {
        let bid = if concerned(claim) { bid::jobs(snapshot, claim) } else { None };
        bid.unwrap_or_else(|| Bid::must_run(claim.node, Watts::ZERO))
    }));
    let serves = |claim: &Claim<'_>, duty: &Duty<'_>| {
        let terms = &claim.contract.offer.terms;
        concerned(claim) && free(claim) && duty.obligation.takes_lease(&snapshot.tree, claim.node, terms.notice)
    };
    let members = |duty: &Duty<'_>| {
        let own = claims.iter().enumerate().filter(|(_, claim)| serves(claim, duty)).map(|(at, _)| loads.len() + at);
        obligations::containers(snapshot, duty).into_iter().chain(own).collect()
    };
    obligations::hold(duties, (&limits.tree, price), &mut bids, members, |_| Watts::ZERO);
    let cleared = clear(&limits.tree, &bids, price);
    let awards = cleared.awards.get(loads.len()..).unwrap_or_default();
    for ((claim, ask), award) in claims.iter().zip(&mut asks).zip(awards).filter(|((c, _), _)| concerned(c) && free(c))
    {
        ask.wanted.level = claim.level(award.watts);
        if ask.wanted.level.watts < claim.contract.full.watts {
            ask.reason = Some(why(award, price));
        }
    }
    asks
}

/// What keeps a flexible lease on although power is worth more than it: its terms.
fn barred(claim: &Claim<'_>, price: UsdPerMwh) -> Option<Reason> {
    let Stance::MustRun(barred) = claim.stance else { return None };
    match barred {
        _ if bid::worth(claim.contract, UsdPerMwh::ZERO) > price => None,
        Barred::Events { until } | Barred::Allowance { until } => Some(Reason::AllowanceSpent { until }),
        Barred::MinimumRun { until } => Some(Reason::MinimumOn { until }),
        Barred::Firm | Barred::NotYet { .. } | Barred::TermEnds { .. } | Barred::Due => None,
    }
}

fn why(award: &Award, price: UsdPerMwh) -> Reason {
    match award.reason {
        crate::clear::Reason::BelowPrice { value } => Reason::Curtailed { value, price },
        crate::clear::Reason::Limit { node, shadow_price } => Reason::Limit { node, shadow_price },
        crate::clear::Reason::Indivisible { node, .. } => Reason::Limit { node, shadow_price: UsdPerMwh::ZERO },
        crate::clear::Reason::Full | crate::clear::Reason::Unplaced => Reason::Curtailed { value: price, price },
    }
}

/// Every lease as it stands before it is served: requests answered, the rest as they are.
fn considered(snapshot: &Snapshot, ranges: &[Range], digest: Digest) -> Leases {
    let open = |l: &Lease| !matches!(l.state, LeaseState::Accepted(_) | LeaseState::Ended(_));
    let mut awards: Vec<LeaseAward> = snapshot.leases.iter().map(standing).collect();
    let count = snapshot.leases.len();
    if snapshot.leases.iter().any(open) {
        let mut pool_nodes = vec![0_u32; snapshot.pools.len()];
        for load in &snapshot.loads {
            if let Member::Pool(pool) = load.member
                && let Some(nodes) = pool_nodes.get_mut(pool as usize)
            {
                *nodes = nodes.saturating_add(1);
            }
        }
        let floors = snapshot.loads.iter().zip(ranges).map(|(load, range)| (load.node, range.natural_floor));
        let must_run = snapshot.tree.sums(floors);
        let ground = Ground {
            classes: &snapshot.classes,
            pools: &snapshot.pools,
            pool_nodes: &pool_nodes,
            tree: &snapshot.tree,
            must_run: &must_run,
        };
        let book: &Book = &snapshot.book;
        for (at, answer) in consider_all(&snapshot.leases, book, ground, snapshot.now, digest) {
            let Some(award) = awards.get_mut(at as usize) else { continue };
            award.reason = match answer.answer {
                Answer::Accepted | Answer::Settled => Reason::Full,
                Answer::AwaitsAcceptance | Answer::OtherHash => Reason::AwaitsAcceptance,
                Answer::Refused(reason) => Reason::Refused(match &answer.state {
                    LeaseState::Refused(refusal) => *refusal,
                    _ => crate::lease::Refusal { reason, would_fit: 0, would_fit_from: None },
                }),
            };
            award.state = answer.state;
        }
    }
    Leases {
        awards,
        levels: vec![Level::default(); count],
        values: vec![UsdPerMwh::ZERO; count],
        free: vec![false; count],
        wake: None,
    }
}

fn standing(lease: &Lease) -> LeaseAward {
    // What is accepted is put in its place once it is served: here it stays empty, for contracts are large.
    let (state, reason) = match &lease.state {
        LeaseState::Accepted(_) => (LeaseState::Requested, Reason::Full),
        LeaseState::Ended(contract) => (LeaseState::Ended(contract.clone()), Reason::Ended),
        other => (other.clone(), Reason::AwaitsAcceptance),
    };
    LeaseAward { state, reason, urgent: false }
}

impl Leases {
    /// Enters one lease as it was served.
    fn take(&mut self, claim: &Claim<'_>, lease: &Lease, ask: &Ask, served: crate::lease::Served, now: Time) {
        let crate::lease::Served { contract, held, wake, happened: _ } = served;
        let ended = now >= contract.offer.end;
        let reason = reason(&contract, held, ask, now);
        let emergency = contract.account.running.is_some_and(|running| running.emergency);
        let urgent = emergency && contract.grant.watts == Watts::ZERO && lease.has_pods;
        if let Some(level) = self.levels.get_mut(claim.at).filter(|_| claim.busy && !ended) {
            *level = Level { watts: contract.grant.watts, cap: contract.grant.cap };
        }
        if let Some(value) = self.values.get_mut(claim.at) {
            *value = bid::worth(&contract, claim.allowance);
        }
        if let Some(free) = self.free.get_mut(claim.at) {
            *free = claim.busy && contract.stance(claim.lead, now) == Stance::Free;
        }
        self.wake = [self.wake, wake].into_iter().flatten().min();
        if let Some(award) = self.awards.get_mut(claim.at) {
            let contract = Box::new(contract);
            let state = if ended { LeaseState::Ended(contract) } else { LeaseState::Accepted(contract) };
            *award = LeaseAward { state, reason, urgent };
        }
    }
}

/// Why a served lease has what it has.
fn reason(contract: &Contract, held: Option<Barred>, ask: &Ask, now: Time) -> Reason {
    let (offer, less) = (&contract.offer, contract.grant.watts < contract.full.watts);
    if now >= offer.end {
        return Reason::Ended;
    }
    if now < offer.start {
        return Reason::NotYet { start: offer.start };
    }
    if let Some(notice) = contract.running_notice() {
        return Reason::Notice { deadline: notice.deadline };
    }
    match held {
        Some(Barred::MinimumRun { until }) if !less => return Reason::MinimumOn { until },
        Some(Barred::Events { until } | Barred::Allowance { until }) if !less => {
            return Reason::AllowanceSpent { until };
        }
        _ => {}
    }
    match &ask.reason {
        Some(reason @ (Reason::AllowanceSpent { .. } | Reason::MinimumOn { .. })) if !less => reason.clone(),
        Some(reason) if less => reason.clone(),
        // Curtailed by nothing that stands now: it comes back as soon as its terms and the room allow.
        None if less => Reason::Ramp,
        _ => Reason::Full,
    }
}

/// The reason that a lease was forced down: an event's, or the limit of a node.
pub(super) fn limit_reason(event: Option<(&str, Time)>, node: NodeId) -> Reason {
    match event {
        Some((name, until)) => Reason::Event { name: name.to_owned(), until },
        None => Reason::Limit { node, shadow_price: UsdPerMwh::ZERO },
    }
}

/// A wish for less because of a limit.
pub(super) fn forced(level: Level, why: NoticeReason, by: Option<Time>, reason: Reason) -> Ask {
    Ask { wanted: Wanted { level, why, by }, reason: Some(reason) }
}
