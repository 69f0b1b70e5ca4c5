//! What metrics say of tenants: who holds watts past the end of a notice, and how much of an allowance is spent.

use super::{LeaseRow, Usage};
use crate::operator::site::Site;
use ampacity_core::lease::{Contract, Delivery, LeaseState};
use ampacity_core::tree::NodeId;
use ampacity_core::units::{Ppm, Span, Time, Watts};
use std::collections::BTreeMap;

/// What a hall may draw above its grant, of what its lease is for: lights, fans and the supplies of machines that are
/// off draw on after the last term too, and a page that no tenant can end wakes people for nothing.
const STANDBY: Ppm = Ppm::percent(2);

/// The leases of one class together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::operator) struct Tenancy {
    /// The longest that one of them has held watts after a notice's deadline or its term's end. The grace that its
    /// Jobs' pods have is not counted: it is at most the class's notice.
    pub(in crate::operator) overrun: Span,
    /// The largest share, 0 to 1, of its allowance that one of them was withheld in its window; none: all are firm.
    pub(in crate::operator) spent: Option<f64>,
}

impl Site {
    /// By class: what tenants were promised and what they do. Only the leader knows of leases.
    pub(in crate::operator) fn tenancies(&self, usage: &Usage, now: Time) -> BTreeMap<&str, Tenancy> {
        let mut found: BTreeMap<&str, Tenancy> = BTreeMap::new();
        let halls = self.halls();
        for row in self.leases.values() {
            let (LeaseState::Accepted(contract) | LeaseState::Ended(contract)) = &row.state else { continue };
            let pinned = row.object.status.as_ref().and_then(|status| status.terms.as_ref());
            let class = pinned.map_or(row.object.spec.class_name.as_str(), |terms| terms.class_name.as_str());
            let of_class = found.entry(class).or_default();
            let since = holds_since(row, contract, usage, &|node, full, from| {
                let reading = self.meters.get(node.index()).copied().flatten();
                let granted = halls.get(&node).copied().unwrap_or_default() + full.part(STANDBY);
                reading.is_some_and(|reading| reading.time >= from && reading.watts - reading.error > granted)
            });
            let overrun = since.map_or(Span::ZERO, |since| now.since(since).at_least_zero());
            of_class.overrun = of_class.overrun.max(overrun);
            if matches!(row.state, LeaseState::Accepted(_)) {
                of_class.spent = max(of_class.spent, spent(contract, now));
            }
        }
        found
    }

    /// By hall: the sum of what is granted there.
    fn halls(&self) -> BTreeMap<NodeId, Watts> {
        let mut halls = BTreeMap::new();
        for row in self.leases.values() {
            let LeaseState::Accepted(contract) = &row.state else { continue };
            if let Delivery::Power { node, .. } = contract.offer.delivery {
                *halls.entry(node).or_insert(Watts::ZERO) += contract.grant.watts;
            }
        }
        halls
    }
}

/// From when on a lease holds watts that it should have given back; it may lie ahead. `draws` says whether a hall was
/// seen to draw more than is granted there, by more than its meter's error and what a lease of so many watts leaves on
/// when all is off, at that moment or later.
fn holds_since(
    row: &LeaseRow,
    contract: &Contract,
    usage: &Usage,
    draws: &dyn Fn(NodeId, Watts, Time) -> bool,
) -> Option<Time> {
    let ended = matches!(row.state, LeaseState::Ended(_));
    let by = match (ended, contract.notice) {
        (true, _) => contract.grant.since,
        // Its fall is not written down: its Jobs are not stopped either.
        (false, Some(notice)) if contract.grant.watts > notice.to.watts => return Some(notice.deadline),
        (false, Some(notice)) if notice.to.watts == Watts::ZERO => notice.deadline,
        _ => return None,
    };
    match contract.offer.delivery {
        Delivery::Power { node, watts } => draws(node, watts, by).then_some(by),
        Delivery::Jobs { .. } => {
            let jobs = usage.jobs(row).iter().filter(|job| !usage.pods(job).is_empty() || job.terminating > 0);
            jobs.map(|job| by.after(job.grace)).max()
        }
    }
}

/// The share of its allowance that a flexible lease was withheld in the window of `now`.
fn spent(contract: &Contract, now: Time) -> Option<f64> {
    let allowed = contract.offer.terms.allowance.curtailed;
    let used = contract.account_at(now).curtailed;
    let flexible = !contract.offer.terms.firm && allowed > Span::ZERO;
    flexible.then(|| used.get() as f64 / allowed.get() as f64)
}

fn max(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.max(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::SPOT;
    use crate::operator::report::tests::LEASE;
    use crate::operator::report::tests::world::World;

    /// A lease that runs under terms which let an hour of a window be withheld, with a pod of its Job.
    fn running() -> World {
        let mut world = World::new(&SPOT.replace("hoursPerMonth: 40", "hoursPerMonth: 1"));
        world.apply(&LEASE.replace("className: flex", "className: spot"));
        world.job("train", "llm", true);
        world.grace("train", 20);
        world.run(120);
        world.start_pod("train-0", "gpu-0");
        world
    }

    /// Power is dear, for so many seconds.
    fn dear(world: &mut World, seconds: i64) {
        for _ in 0..seconds {
            world.prices.energy = Some((300_000, world.now));
            world.run(1);
        }
    }

    /// Power is dear until notice is served, and for its 60 s.
    fn on_notice(world: &mut World) {
        for _ in 0..600 {
            if world.lease("llm")["notice"].is_object() {
                return dear(world, 60);
            }
            dear(world, 1);
        }
        panic!("{:?}", world.feed);
    }

    /// The longest overrun of the class in seconds, and the largest share of an allowance that is spent.
    fn measured(world: &World, class: &str) -> (f64, Option<f64>) {
        let value = |name: &str| {
            let line = format!("ampacity_{name}{{site=\"west\",class=\"{class}\"}} ");
            let found = world.metrics(&line);
            assert!(found.len() < 2, "{found:?}");
            found.first().map(|found| found[line.len()..].parse::<f64>().unwrap())
        };
        (value("notice_overrun_seconds").unwrap(), value("allowance_spent_ratio"))
    }

    #[test]
    fn processes_that_outlive_notice_and_grace_are_overrun_until_the_last_is_gone() {
        let mut world = running();
        assert_eq!(measured(&world, "spot"), (0.0, Some(0.0)));
        on_notice(&mut world);
        assert_eq!(measured(&world, "spot").0, 0.0);
        dear(&mut world, 20);
        assert!(!world.job_runs("train") && measured(&world, "spot").0 <= 2.0, "within the grace of its pods");
        dear(&mut world, 40);
        let overrun = measured(&world, "spot").0;
        assert!((38.0..=42.0).contains(&overrun), "{overrun}");
        world.end_pod("train-0");
        dear(&mut world, 1);
        assert_eq!(measured(&world, "spot").0, 0.0);
    }

    #[test]
    fn a_grant_whose_fall_cannot_be_written_down_is_overrun() {
        let mut world = running();
        for _ in 0..600 {
            if world.lease("llm")["notice"].is_object() {
                break;
            }
            dear(&mut world, 1);
        }
        world.store.leases_refused = true;
        dear(&mut world, 90);
        let overrun = measured(&world, "spot").0;
        assert!(world.job_runs("train") && (28.0..=32.0).contains(&overrun), "{overrun}");
    }

    #[test]
    fn what_of_an_allowance_is_spent_is_its_share_of_the_window() {
        let mut world = running();
        on_notice(&mut world);
        world.end_pod("train-0");
        dear(&mut world, 900);
        let (overrun, spent) = measured(&world, "spot");
        assert!(overrun == 0.0 && spent.is_some_and(|spent| (0.245..=0.255).contains(&spent)), "{spent:?}");
    }

    #[test]
    fn a_hall_that_draws_on_after_its_term_is_overrun_until_standby_is_left_and_firm_terms_have_no_allowance() {
        let mut world = World::new("");
        let hall = "{name: hall-t, limitWatts: 100k, meter: {source: {static: {watts: 0}}}}";
        let site = crate::operator::report::tests::parts::SITE.split("---").next().unwrap();
        world.apply(&site.replace("feeders: [", &format!("feeders: [{hall}, ")));
        world.apply(
            "{kind: LeaseClass, metadata: {name: hall}, spec: {delivery: Power, budget: west, feeder: hall-t, \
             pricePerKwMonth: \"140.00\", service: Firm}}",
        );
        let lease = LEASE.replace("className: flex", "className: hall").replace("gpus: 8", "watts: 50k");
        let lease = lease.replace("maxPricePerGpuHour: \"2.10\"", "maxPricePerKwMonth: \"150.00\"");
        world.apply(&lease.replace("2026-12-02T12:00:00Z", "2026-12-01T12:03:00Z"));
        world.prices.metered = Some(50_000);
        world.run(150);
        assert_eq!(measured(&world, "hall"), (0.0, None), "{}", world.lease("llm"));
        world.run(90);
        let overrun = measured(&world, "hall").0;
        assert!((58.0..=62.0).contains(&overrun), "{overrun}");
        world.prices.metered = Some(1_001);
        world.run(1);
        assert!(measured(&world, "hall").0 > overrun, "more than 2 % of its 50 kW is no standby");
        world.prices.metered = Some(500);
        world.run(1);
        assert_eq!(measured(&world, "hall").0, 0.0, "1 % is");
    }
}
