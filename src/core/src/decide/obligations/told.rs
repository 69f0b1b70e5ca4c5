//! What is told of the obligations: how much is held and drawn, what it costs, what is missing and why.

use super::containers;
use crate::clear;
use crate::decide::leases::Leases;
use crate::decide::range::Range;
use crate::plan::{LoadAward, ObligationAward, Reason};
use crate::snapshot::Load;
use crate::units::Watts;

/// What is told of the obligations: `why` says of a load what clearing's reason for no more stands for.
pub(in crate::decide) fn awards(
    facts: &crate::decide::Facts<'_>,
    loads: &[LoadAward],
    leases: &Leases,
    why: impl Fn(usize, &clear::Reason) -> Reason,
) -> Vec<ObligationAward> {
    let snapshot = facts.snapshot;
    let mut awards = vec![ObligationAward::default(); snapshot.obligations.len()];
    let held = &facts.held;
    let duties = facts.duties.iter().zip(&held.premiums).zip(&held.leased).zip(&held.short);
    for (((duty, premium), leased), short) in duties {
        let Some(award) = awards.get_mut(duty.at) else { continue };
        let own: Vec<usize> = containers(snapshot, duty);
        let rows = || own.iter().filter_map(|at| Some((*at, facts.ranges.get(*at)?, snapshot.loads.get(*at)?)));
        let above = |range: &Range, watts: Watts| {
            if range.stuck.is_some() { Watts::ZERO } else { (watts - range.natural_floor).at_least_zero() }
        };
        let told = |at: usize| loads.get(at).map_or(Watts::ZERO, |award| award.watts);
        let cleared: Watts = rows().map(|(at, range, _)| above(range, facts.target(at))).sum();
        let drawn = |(at, range, load): (usize, &Range, &Load)| {
            above(range, load.drawn.unwrap_or_default().min(told(at).max(load.setpoint)))
        };
        award.required = duty.required;
        award.held = *leased + rows().map(|(at, range, _)| above(range, told(at))).sum();
        award.drawn = leases.drawn_for(snapshot, duty.obligation, &facts.ranges) + rows().map(drawn).sum();
        award.price = *premium;
        award.short = if *leased + cleared < duty.required {
            {
                let missing = short.iter().filter_map(|(at, watts, reason)| {
                    Some((snapshot.loads.get(*at)?.nameplate - *watts, why(*at, reason)))
                });
                Some(scarcest(missing))
            }
        } else if award.held < duty.required {
            Some(Reason::Ramp)
        } else {
            None
        };
    }
    awards
}

/// The reason that keeps the most watts from an obligation; that there is no more, where nothing does.
fn scarcest(missing: impl Iterator<Item = (Watts, Reason)>) -> Reason {
    let mut sums: Vec<(Reason, Watts)> = Vec::new();
    for (watts, reason) in missing.filter(|(watts, _)| *watts > Watts::ZERO) {
        match sums.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, sum)) => *sum += watts,
            None => sums.push((reason, watts)),
        }
    }
    let most = sums.into_iter().reduce(|best, next| if next.1 > best.1 { next } else { best });
    most.map_or(Reason::Full, |(reason, _)| reason)
}
