//! Obligations: draw that was sold as a reserve stays on, for only what draws can be shed.
//!
//! What counts is what a shed can take within the event's response time: miners above their floors, and flexible leases
//! whose notice is no longer than that. Sold reserve stands above economics and below everything else: limits,
//! lockouts, floors, firm leases, stale meters and minimum times leave room for it or do not, and what is missing is
//! reported with the reason.
//!
//! Where money alone holds enough, nothing is done. Where it does not, every consumer that may serve is favoured by the
//! same premium, the smallest with which enough of them clear: the multiplier of the obligation, exact for divisible
//! bids. The watts that clear so are then held, whatever the price. Obligations that overlap share the same watts, so of
//! several on one target the largest counts; the one of higher priority chooses first.

mod told;

pub(super) use told::awards;

use super::Limits;
use super::leases::Leases;
use super::range::Range;
use super::settle::{Move, Settled};
use crate::bid::Bid;
use crate::clear::{self, Clearer};
use crate::snapshot::{Load, LoadKind, Member, Obligation, Policy, Snapshot};
use crate::tree::{NodeId, Tree};
use crate::units::{Span, Time, UsdPerMwh, Watts, mul_div};
use std::cmp::Reverse;

const MS_PER_MINUTE: i64 = 60_000;
/// What has to be on is planned to be on this much earlier, so that the last raises need not hurry.
const PLANNED_LEAD: Span = Span::seconds(15);
/// Held watts are worth this much and more: above what a hold keeps ([`crate::hold::HELD_WORTH`]), below
/// [`crate::bid::VALUE_LIMIT`], so that limits cut them last of all that is not firm.
const OBLIGED_WORTH: UsdPerMwh = UsdPerMwh::dollars(120_000);
/// What one step of priority is worth more; what the watts themselves are worth counts up to this, to order them.
const PRIORITY_WORTH: i64 = 1_000;
/// A premium leaves everything just below what is held for an obligation already.
const FAVOURED_MOST: UsdPerMwh = UsdPerMwh::dollars(119_999);
/// With this premium whoever may serve goes before everybody that need not.
const PREMIUM_MOST: i64 = 110_000_000_000;
/// Premiums are found to a cent.
const PREMIUM_STEP: i64 = 10_000;
/// Stands for the price where there is none: above all that is not held, below all that is.
pub(super) const UNKNOWN_PRICE: UsdPerMwh = UsdPerMwh::dollars(50_000);

/// One obligation that counts now.
pub(super) struct Duty<'a> {
    /// Its position in `Snapshot::obligations`.
    pub(super) at: usize,
    pub(super) obligation: &'a Obligation,
    /// What is planned to be on now, W: with the margin by which a load may use less than its award.
    pub(super) planned: Watts,
    /// Without that margin, W.
    required: Watts,
}

impl Obligation {
    /// From when it is kept: its start less the slowest answer and the clock skew. One that comes late is kept at once:
    /// the ramp sets how fast, and its response time says when that is late.
    fn kept_from(&self, policy: &Policy) -> Time {
        self.from.before(policy.slowest_shed).before(policy.clock_skew)
    }

    /// Until when it is kept: its end plus the clock skew.
    fn kept_until(&self, policy: &Policy) -> Time {
        self.until.after(policy.clock_skew)
    }

    /// What of `watts` has to be on at `now`: all of it, less what the ramp can still raise until it is kept.
    fn due_watts(&self, watts: Watts, policy: &Policy, now: Time) -> Watts {
        let ahead = self.kept_from(policy).before(PLANNED_LEAD).since(now).at_least_zero();
        if ahead == Span::ZERO {
            return watts;
        }
        let rate = policy.up_watts_per_minute.at_least_zero();
        let raised = if rate == Watts::ZERO { i64::MAX } else { mul_div(rate.get(), ahead.get(), MS_PER_MINUTE) };
        (watts - Watts::new(raised)).at_least_zero()
    }

    /// Whether loads at `node` of this kind serve it.
    fn takes(&self, tree: &Tree, node: NodeId, kind: LoadKind) -> bool {
        self.kind.is_none_or(|own| own == kind) && tree.path(node).any(|n| n == self.node)
    }

    /// Whether a container serves it.
    fn takes_container(&self, tree: &Tree, load: &Load) -> bool {
        matches!(load.member, Member::Fleet(_)) && self.takes(tree, load.node, LoadKind::Miner)
    }

    /// Whether a lease with this notice serves it where it draws at `node`: one that may be shed in time.
    pub(super) fn takes_lease(&self, tree: &Tree, node: NodeId, notice: Span) -> bool {
        notice <= self.response && self.takes(tree, node, LoadKind::Gpu)
    }
}

/// The obligations that count at `snapshot.now`, in the order in which they are served.
pub(super) fn in_force(snapshot: &Snapshot) -> Vec<Duty<'_>> {
    let (policy, now) = (&snapshot.policy, snapshot.now);
    let duty = |(at, obligation): (usize, &'_ Obligation)| {
        let minimum = obligation.minimum.at_least_zero();
        let due = |watts| obligation.due_watts(watts, policy, now);
        let (planned, required) = (due(minimum.plus(policy.trim_margin)), due(minimum));
        (planned > Watts::ZERO).then_some((at, planned, required))
    };
    let mut duties: Vec<Duty<'_>> = snapshot
        .obligations
        .iter()
        .enumerate()
        .filter(|(_, obligation)| now < obligation.kept_until(policy))
        .filter_map(|(at, obligation)| {
            let (at, planned, required) = duty((at, obligation))?;
            Some(Duty { at, obligation, planned, required })
        })
        .collect();
    duties.sort_by_key(|duty| (Reverse(duty.obligation.priority), duty.at));
    duties
}

/// When the next obligation begins to count, or one ends.
pub(super) fn wake(snapshot: &Snapshot) -> Option<Time> {
    let (policy, now) = (&snapshot.policy, snapshot.now);
    let moments = snapshot.obligations.iter().flat_map(|obligation| {
        let watts = obligation.minimum.at_least_zero().plus(policy.trim_margin);
        let rate = policy.up_watts_per_minute.at_least_zero();
        let ramp = Span::new(mul_div(watts.get(), MS_PER_MINUTE, rate.get().max(1)));
        let begins = obligation.kept_from(policy).before(PLANNED_LEAD);
        [begins.before(ramp), begins, obligation.kept_until(policy)]
    });
    moments.filter(|at| *at > now && *at < Time::MAX).min()
}

/// What one load, or one bid, is held at for an obligation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hold {
    /// Floor and what is held above it, W; 0: nothing is.
    pub(super) watts: Watts,
    /// Position of the obligation in `Snapshot::obligations`.
    pub(super) obligation: usize,
}

/// What holding the obligations took.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    /// By bid.
    pub(super) holds: Vec<Hold>,
    /// By duty: the premium with which enough clears.
    pub(super) premiums: Vec<UsdPerMwh>,
    /// By duty: what leases draw of it already, W.
    pub(super) leased: Vec<Watts>,
    /// By duty: who has how much less than could be had of it, and why, where whoever may serve goes before all economics.
    /// Empty where there is enough.
    pub(super) short: Vec<Vec<(usize, Watts, clear::Reason)>>,
}

/// Makes bids on `tree` hold what is obliged at `price`. `members`: who serves a duty, by position among the bids.
/// `leased`: what draws for it already and bids here no more, W.
pub(super) fn hold(
    duties: &[Duty<'_>],
    (tree, price): (&Tree, UsdPerMwh),
    bids: &mut [Bid],
    members: impl Fn(&Duty<'_>) -> Vec<usize>,
    leased: impl Fn(&Duty<'_>) -> Watts,
) -> Held {
    let mut held = Held { holds: vec![Hold::default(); bids.len()], ..Held::default() };
    let mut clearer = Clearer::new();
    for duty in duties {
        let leased = leased(duty);
        let goal = (duty.planned - leased).at_least_zero();
        let mut trial = Trial { clearer: &mut clearer, tree, price, members: members(duty), bids, short: Vec::new() };
        let (premium, watts) = trial.settle(goal);
        held.short.push(std::mem::take(&mut trial.short));
        let worth = |value: UsdPerMwh| obliged_worth(duty.obligation, value);
        for (at, watts) in trial.members.iter().zip(watts) {
            let (Some(bid), Some(hold)) = (bids.get_mut(*at), held.holds.get_mut(*at)) else { continue };
            if watts > Watts::ZERO {
                *bid = bid.clone().revalued(watts, |value| value.max(worth(value)));
                let upto = bid.floor() + watts;
                if upto > hold.watts {
                    *hold = Hold { watts: upto, obligation: duty.at };
                }
            }
        }
        held.premiums.push(premium);
        held.leased.push(leased);
    }
    held
}

/// What held watts are worth in merit order: first by priority, then by their own value.
fn obliged_worth(obligation: &Obligation, value: UsdPerMwh) -> UsdPerMwh {
    let own = value.max(UsdPerMwh::ZERO).min(UsdPerMwh::dollars(PRIORITY_WORTH - 1));
    OBLIGED_WORTH + UsdPerMwh::dollars(PRIORITY_WORTH * i64::from(obligation.priority.min(100))) + own
}

/// Clearings with and without a premium for those who may serve.
struct Trial<'a> {
    clearer: &'a mut Clearer,
    tree: &'a Tree,
    price: UsdPerMwh,
    members: Vec<usize>,
    bids: &'a [Bid],
    short: Vec<(usize, Watts, clear::Reason)>,
}

impl Trial<'_> {
    /// The smallest premium with which `goal` W clear above the floors, and the watts by member that it takes; the most
    /// that can be had where that is less. Nothing where the price alone gives enough.
    fn settle(&mut self, goal: Watts) -> (UsdPerMwh, Vec<Watts>) {
        let total = |watts: &[Watts]| -> Watts { watts.iter().copied().sum() };
        let (mut low, mut below) = (0, self.above_floors(0));
        if goal <= Watts::ZERO || total(&below) >= goal {
            return (UsdPerMwh::ZERO, Vec::new());
        }
        let (mut high, mut above) = (PREMIUM_MOST, self.above_floors(PREMIUM_MOST));
        if total(&above) < goal {
            let awards = &self.clearer.clearing().awards;
            let of = |at: &usize| Some((*at, awards.get(*at)?.watts, awards.get(*at)?.reason));
            self.short = self.members.iter().filter_map(of).collect();
        }
        let goal = goal.min(total(&above));
        let mut next = 1_000_000;
        while high - low > PREMIUM_STEP {
            let premium = if next < high { next } else { low + (high - low) / 2 };
            let watts = self.above_floors(premium);
            if total(&watts) >= goal {
                (high, above, next) = (premium, watts, i64::MAX);
            } else {
                (low, below) = (premium, watts);
                next = next.saturating_mul(2);
            }
        }
        (UsdPerMwh::new(high), between(goal, &below, above))
    }

    /// By member, what clears above its floor with a premium in µUSD/MWh.
    fn above_floors(&mut self, premium: i64) -> Vec<Watts> {
        let mut bids = self.bids.to_vec();
        if premium > 0 {
            for at in &self.members {
                if let Some(bid) = bids.get_mut(*at) {
                    let all = bid.most() - bid.floor();
                    let favoured = |value: UsdPerMwh| value.max((value + UsdPerMwh::new(premium)).min(FAVOURED_MOST));
                    *bid = bid.clone().revalued(all, favoured);
                }
            }
        }
        let cleared = self.clearer.clear(self.tree, &bids, self.price);
        let of = |at: &usize| match (cleared.awards.get(*at), bids.get(*at)) {
            (Some(award), Some(bid)) => award.watts - bid.floor(),
            _ => Watts::ZERO,
        };
        self.members.iter().map(of).collect()
    }
}

/// Of two outcomes that a cent of premium lies between, as much of the larger as `goal` takes.
fn between(goal: Watts, below: &[Watts], above: Vec<Watts>) -> Vec<Watts> {
    if below.iter().zip(&above).any(|(below, above)| above < below) {
        return above;
    }
    let mut left = goal - below.iter().copied().sum();
    let take = |(below, above): (&Watts, &Watts)| {
        let more = (*above - *below).min(left).at_least_zero();
        left -= more;
        *below + more
    };
    below.iter().zip(&above).map(take).collect()
}

/// Makes the bids of all loads hold what is obliged and no lease draws.
pub(super) fn hold_loads(
    snapshot: &Snapshot,
    limits: &Limits<'_>,
    duties: &[Duty<'_>],
    leases: &Leases,
    price: Option<UsdPerMwh>,
    bids: &mut [Bid],
) -> Held {
    let market = (&limits.tree, price.unwrap_or(UNKNOWN_PRICE));
    hold(duties, market, bids, |duty| containers(snapshot, duty), |duty| leases.draw_for(snapshot, duty.obligation))
}

/// The containers that serve a duty.
pub(super) fn containers(snapshot: &Snapshot, duty: &Duty<'_>) -> Vec<usize> {
    let takes = |load: &Load| duty.obligation.takes_container(&snapshot.tree, load);
    snapshot.loads.iter().enumerate().filter(|(_, load)| takes(load)).map(|(at, _)| at).collect()
}

/// Whether some obligation that counts now is served by this container.
pub(super) fn concerns(snapshot: &Snapshot, duties: &[Duty<'_>], load: &Load) -> bool {
    duties.iter().any(|duty| duty.obligation.takes_container(&snapshot.tree, load))
}

/// What may still be lowered for money before an obligation is not met.
pub(super) struct Spare {
    members: Vec<bool>,
    /// W; negative where it is not met already.
    watts: Watts,
}

/// What of a load draws and may be shed where it is told `watts`: no more than it was told already.
fn standing(load: &Load, range: &Range, watts: Watts) -> Watts {
    if range.stuck.is_some() {
        return Watts::ZERO;
    }
    (watts.min(load.setpoint) - range.natural_floor).at_least_zero()
}

/// By duty, what of what stands now is more than it takes; where limits or another duty leave it less than it is
/// planned at, more than it will have.
pub(super) fn spares(
    snapshot: &Snapshot,
    duties: &[Duty<'_>],
    held: &Held,
    ranges: &[Range],
    (moves, settled): (&[Move], &[Settled]),
) -> Vec<Spare> {
    let of = |(duty, leased): (&Duty<'_>, &Watts)| {
        let mut spare = Spare { members: vec![false; snapshot.loads.len()], watts: *leased };
        let mut cleared = *leased;
        for at in containers(snapshot, duty) {
            let row = snapshot.loads.get(at).zip(ranges.get(at)).zip(settled.get(at)).zip(moves.get(at));
            let Some((((load, range), settled), to)) = row else { continue };
            cleared += (to.target - range.natural_floor).at_least_zero();
            spare.watts += standing(load, range, settled.watts);
            if let Some(member) = spare.members.get_mut(at) {
                *member = true;
            }
        }
        spare.watts -= duty.planned.min(cleared);
        spare
    };
    duties.iter().zip(&held.leased).map(of).collect()
}

/// How far the load at `at` may fall from `from` W for money, at most `part`: what of it lies above its floor is kept
/// where an obligation needs it.
pub(super) fn allowed(spares: &[Spare], at: usize, (load, range): (&Load, &Range), from: Watts, part: Watts) -> Watts {
    let least = spares.iter().filter(|spare| spare.members.get(at).is_some_and(|own| *own)).map(|s| s.watts).min();
    let Some(spare) = least else { return part };
    let now = standing(load, range, from);
    // What stands above the order was never drawn, and what lies below the floor is not counted: both are free.
    let undrawn = (from - load.setpoint).at_least_zero();
    if now <= spare.at_least_zero() { part } else { part.min(undrawn + spare.at_least_zero()) }
}

/// Takes a fall of `part` W off what may be lowered.
pub(super) fn spend(spares: &mut [Spare], at: usize, (load, range): (&Load, &Range), from: Watts, part: Watts) {
    let less = standing(load, range, from) - standing(load, range, from - part);
    for spare in spares.iter_mut().filter(|spare| spare.members.get(at).is_some_and(|own| *own)) {
        spare.watts -= less;
    }
}
