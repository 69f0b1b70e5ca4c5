//! What power is worth to a lease, with its holds.

use super::Claim;
use crate::bid::{Bid, LeaseDraw, LeaseOffer};
use crate::curve::{CapCurve, CapPoint};
use crate::hold::{Hysteresis, shifted};
use crate::lease::{Contract, Delivery, Stance, budget_price};
use crate::snapshot::{Pool, Snapshot};
use crate::units::{Ppm, Span, Usd, UsdPerMwh, Watts, mul_div_up};

const HOUR: Span = Span::minutes(60);

/// The lowest cap that the terms allow while it runs, W; none where they allow none but the highest.
pub(super) fn lowest_cap(pool: &Pool, contract: &Contract) -> Option<Watts> {
    let least = contract.offer.terms.least_throughput;
    if least >= Ppm::percent(100) {
        return None;
    }
    let vertices = pool.curve.vertices();
    let mut below: Option<&CapPoint> = None;
    for point in vertices {
        if point.throughput >= least {
            let cap = below.map_or(point.cap, |below| {
                let (rise, cap) = ((point.throughput - below.throughput).get(), (point.cap - below.cap).get());
                below.cap + Watts::new(mul_div_up(cap, (least - below.throughput).get(), rise))
            });
            return Some(cap.max(pool.min_cap)).filter(|cap| *cap < contract.full.cap);
        }
        below = Some(point);
    }
    None
}

/// The curve between the lowest cap that the terms allow and the highest that was promised.
fn allowed(pool: &Pool, contract: &Contract) -> Option<CapCurve> {
    let (lowest, highest) = (lowest_cap(pool, contract)?, contract.full.cap);
    let at = |cap: Watts| CapPoint { cap, throughput: pool.curve.throughput_at(cap) };
    let between = pool.curve.vertices().iter().filter(|p| p.cap > lowest && p.cap < highest).copied();
    let points: Vec<CapPoint> = [at(lowest)].into_iter().chain(between).chain([at(highest)]).collect();
    CapCurve::new(&points).ok()
}

/// The bid of a lease for GPUs, for the watts above their lowest caps.
pub(super) fn jobs(snapshot: &Snapshot, claim: &Claim<'_>) -> Option<Bid> {
    let (contract, pool) = (claim.contract, claim.pool?);
    let Delivery::Jobs { gpus, .. } = contract.offer.delivery else { return None };
    let terms = &contract.offer.terms;
    let curve = allowed(pool, contract);
    let offer = LeaseOffer {
        node: pool.node,
        floor: Watts::ZERO,
        draw: match &curve {
            Some(curve) => LeaseDraw::Caps { gpus, lowest_cap: pool.min_cap, curve },
            None => LeaseDraw::Whole(contract.full.watts),
        },
        rent_per_hour: Usd::new(terms.price.get().saturating_mul(i64::from(gpus))),
        credit_per_hour: contract.full.watts.over(HOUR).at(terms.credit + claim.allowance),
        stop: UsdPerMwh::ZERO,
    };
    if matches!(claim.stance, Stance::MustRun(_)) {
        return Bid::firm(&offer).ok();
    }
    let bid = Bid::flexible(&offer).ok()?;
    let first = bid.segments().first().map_or(Watts::ZERO, |s| s.watts);
    let segments = shifted(bid.segments(), Watts::ZERO, runs_at(claim), &holds(snapshot, contract, first));
    Bid::new(pool.node, Watts::ZERO, segments).ok()
}

/// What a MWh is worth to a hall's lease, with its holds: the price at or above which it is given notice.
pub(super) fn hall(snapshot: &Snapshot, claim: &Claim<'_>) -> UsdPerMwh {
    let contract = claim.contract;
    let holds = holds(snapshot, contract, contract.full.watts);
    let value = worth_flexible(contract) + claim.allowance;
    if runs_at(claim) > Watts::ZERO { value + holds.half_band + holds.stop } else { value - holds.half_band }
}

/// What a lease's watts are worth when loads are put in order, its allowance with them: the most for a firm one.
pub(super) fn worth(contract: &Contract, allowance: UsdPerMwh) -> UsdPerMwh {
    if contract.offer.terms.firm { UsdPerMwh::MAX } else { worth_flexible(contract) + allowance }
}

/// What withholding a MWh of a lease costs in allowance used up: nothing for a firm one, which has none to use.
pub(super) fn allowance(snapshot: &Snapshot, contract: &Contract) -> UsdPerMwh {
    if contract.offer.terms.firm {
        return UsdPerMwh::ZERO;
    }
    budget_price(contract, snapshot.policy.allowance_price.at_least_zero(), snapshot.now)
}

fn worth_flexible(contract: &Contract) -> UsdPerMwh {
    contract.rent_per_mwh() + contract.offer.terms.credit
}

/// The watts that count as running. On notice those it falls to: a notice is taken back only when that is worth half
/// the dead band, so that a price that wavers does not call and recall.
fn runs_at(claim: &Claim<'_>) -> Watts {
    match claim.stance {
        Stance::OnNotice(notice) => notice.to.watts,
        _ => claim.contract.grant.watts,
    }
}

fn holds(snapshot: &Snapshot, contract: &Contract, first: Watts) -> Hysteresis {
    let policy = &snapshot.policy;
    Hysteresis::new(policy.dead_band, Usd::ZERO, contract.stop_cost(), first, policy.expected_excursion)
}
