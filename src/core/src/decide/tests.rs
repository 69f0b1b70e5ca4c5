//! Decisions on small sites, whole, and properties over random ones.

mod leases;
mod obligations;
mod safety;
mod world;

use super::decide;
use crate::guard::{LoadId, Want};
use crate::plan::{LoadAward, NodeAward, Plan, Reason};
use crate::snapshot::{Member, Quote, Reading};
use crate::tree::NodeId;
use crate::units::{Span, Time, Usd, UsdPerMwh, UsdPerPhDay, Watts};
use proptest::prelude::*;
use world::{HALL_A, HALL_B, World, digest, kw, minutes, snapshot};

fn award(kilowatts: i64, reason: Reason) -> LoadAward {
    LoadAward { watts: kw(kilowatts), reason, urgent: false }
}

fn node(limit: i64, awarded: i64) -> NodeAward {
    NodeAward { limit: kw(limit), capacity: kw(limit), awarded: kw(awarded), shadow_price: UsdPerMwh::ZERO }
}

fn dollars(price: UsdPerMwh) -> i64 {
    price.get() / 1_000_000
}

#[test]
fn a_settled_site_runs_what_is_worth_more_than_power_and_says_why_not_the_rest() {
    // 86.8 USD/MWh for the first step of the ladder, 44.6 for the second.
    let mut world = World::new(snapshot(2, 1));
    world.price(60);
    world.run(minutes(10), Span::seconds(1));
    let plan = decide(&world.snapshot, digest);
    let next = UsdPerMwh::new(44_642_857);
    let below = Reason::BelowPrice { value: next, price: UsdPerMwh::dollars(60) };
    assert_eq!(
        Plan { wake: None, memory: Default::default(), ..plan },
        Plan {
            wants: vec![
                Want { load: LoadId(0), watts: kw(740), step: Watts::ZERO },
                Want { load: LoadId(1), watts: kw(740), step: Watts::ZERO },
                Want { load: LoadId(2), watts: Watts::new(3_600), step: Watts::ZERO },
            ],
            loads: vec![
                award(740, below.clone()),
                award(740, below),
                LoadAward { watts: Watts::new(3_600), reason: Reason::NoLease, urgent: false },
            ],
            leases: vec![],
            obligations: vec![],
            nodes: vec![
                NodeAward { awarded: Watts::new(1_483_600), ..node(10_000, 0) },
                node(6_000, 1_480),
                NodeAward { awarded: Watts::new(3_600), ..node(4_000, 0) },
            ],
            memory: Default::default(),
            wake: None,
        }
    );
}

#[test]
fn no_price_or_no_hashprice_changes_nothing() {
    let mut world = World::new(snapshot(2, 1));
    world.price(60);
    world.run(minutes(10), Span::seconds(1));
    let before = world.watts();
    world.snapshot.price = Quote::Missing;
    world.run(minutes(5), Span::seconds(1));
    assert_eq!(world.watts(), before);
    assert_eq!(world.plan.loads[0].reason, Reason::NoPrice);
    world.price(500);
    world.snapshot.hashprice = Quote::Missing;
    world.run(minutes(5), Span::seconds(1));
    assert_eq!(world.watts(), before);
}

#[test]
fn nothing_is_raised_below_a_stale_meter_and_the_other_hall_goes_on() {
    let mut world = World::new(snapshot(2, 0));
    world.snapshot.loads[1].node = HALL_B;
    world.price(60);
    world.run(minutes(10), Span::seconds(1));
    world.snapshot.meters[1] =
        Some(Reading { watts: kw(740), error: Watts::ZERO, time: world.snapshot.now.before(minutes(2)) });
    world.price(20);
    world.run(minutes(5), Span::seconds(1));
    assert_eq!(world.watts(), [kw(740), kw(1_188)]);
    assert_eq!(world.plan.loads[0].reason, Reason::StaleMeter { node: HALL_A });
}

#[test]
fn a_spike_of_five_minutes_puts_no_miner_to_sleep_for_a_dollar() {
    let mut world = World::new(snapshot(2, 0));
    world.price(60);
    world.run(minutes(10), Span::seconds(1));
    // 12 USD/MWh above the value, for a quarter of an hour on 690 kW: 2 USD, and a stop and a start cost 5.
    world.price(99);
    world.run(minutes(5), Span::seconds(1));
    assert_eq!(world.watts(), [kw(740), kw(740)]);
    let value = UsdPerMwh::new(86_805_555);
    let said = &world.plan.loads[0].reason;
    assert!(matches!(said, Reason::DeadBand { gain } if dollars(*gain) == 12), "{said:?} at {value}");
    // 60 above: 10 USD.
    world.price(147);
    world.run(minutes(5), Span::seconds(1));
    assert_eq!(world.watts(), [kw(50), kw(50)]);
}

#[test]
fn what_started_runs_for_its_minimum_and_what_stopped_stays_off_for_its() {
    let mut world = World::new(snapshot(1, 0));
    world.snapshot.fleets[0].minimum_on = minutes(10);
    world.snapshot.fleets[0].minimum_off = minutes(5);
    world.price(1_000);
    // Nothing was known of it: it counts as just begun.
    world.run(minutes(9), Span::seconds(1));
    assert_eq!(world.watts(), [kw(740)]);
    let until = Time::seconds(1_700_000_001).after(minutes(10));
    assert_eq!(world.plan.loads[0].reason, Reason::MinimumOn { until });
    world.run(minutes(3), Span::seconds(1));
    assert_eq!(world.watts(), [kw(50)]);
    world.price(20);
    world.run(minutes(1), Span::seconds(1));
    assert_eq!(world.watts(), [kw(50)]);
    assert!(matches!(world.plan.loads[0].reason, Reason::MinimumOff { .. }));
    world.run(minutes(6), Span::seconds(1));
    assert_eq!(world.watts(), [kw(1_188)]);
}

#[test]
fn watts_that_a_container_does_not_use_go_to_another_until_it_asks() {
    let mut snapshot = snapshot(2, 0);
    world::limit(&mut snapshot, HALL_A, kw(1_500));
    let mut world = World::new(snapshot);
    world.price(20);
    world.run(minutes(5), Span::seconds(1));
    assert_eq!(world.watts(), [kw(760), kw(740)]);
    // Half of the first one's miners are dead: 5 % above what it draws is kept for it.
    world.usable[0] = kw(400);
    world.run(minutes(20), Span::seconds(1));
    assert_eq!(world.watts(), [kw(420), kw(1_080)]);
    let since = Time::seconds(1_700_000_000).after(Span::seconds(302));
    assert_eq!(world.plan.loads[0].reason, Reason::Trimmed { unused: kw(340), since });
    world.usable[0] = Watts::MAX;
    world.run(minutes(5), Span::seconds(1));
    assert_eq!(world.watts(), [kw(740), kw(760)]);
}

#[test]
fn a_container_that_is_stuck_counts_at_its_bound_and_the_other_makes_room() {
    let mut snapshot = snapshot(2, 0);
    world::limit(&mut snapshot, HALL_A, kw(1_500));
    let mut world = World::new(snapshot);
    world.price(60);
    world.run(minutes(5), Span::seconds(1));
    assert_eq!(world.watts(), [kw(740), kw(740)]);
    world.stuck[1] = Some(kw(1_188));
    world.run(minutes(5), Span::seconds(1));
    assert_eq!(world.watts(), [kw(312), kw(740)]);
    assert_eq!(world.plan.loads[1].reason, Reason::NotProved { bound: kw(1_188) });
}

#[test]
fn a_load_whose_owner_cannot_be_read_stays_as_it_is_and_only_a_lockout_lowers_it() {
    let mut world = World::new(snapshot(2, 0));
    world.snapshot.loads[0].member = Member::Kept;
    for price in [20, 500, 20] {
        world.price(price);
        world.run(minutes(10), Span::seconds(1));
        assert_eq!(world.plan.loads[0], award(740, Reason::Unreadable), "at {price}");
    }
    let target = crate::snapshot::LockoutTarget::Load(LoadId(0));
    world.snapshot.lockouts = vec![crate::snapshot::Lockout {
        name: "a".into(),
        holder: "b".into(),
        target,
        limit: kw(5),
        since: Time::ZERO,
    }];
    world.run(Span::seconds(1), Span::seconds(1));
    assert_eq!(world.plan.loads[0].watts, kw(5));
}

#[test]
fn a_hosted_fleet_runs_by_its_contract_whatever_hashing_earns() {
    let mut site = snapshot(1, 0);
    let (rate, credit) = (UsdPerMwh::dollars(60), UsdPerMwh::dollars(20));
    site.fleets[0].ownership = crate::snapshot::Ownership::Hosted { rate, credit };
    let mut world = World::new(site);
    for (price, hashprice, want) in [(70, 5, 1_188), (70, 90, 1_188), (130, 90, 50), (130, 5, 50), (60, 5, 1_188)] {
        world.price(price);
        world.snapshot.hashprice = Quote::Fresh { value: UsdPerPhDay::dollars(hashprice), since: world.snapshot.now };
        world.run(minutes(10), Span::seconds(1));
        assert_eq!(world.watts(), [kw(want)], "power at {price}, hashing at {hashprice}");
    }
    // At 130 it says what a MWh is worth: the rate and the credit that withholding it would cost.
    world.price(130);
    world.run(minutes(10), Span::seconds(1));
    let worth = Reason::BelowPrice { value: UsdPerMwh::dollars(80), price: UsdPerMwh::dollars(130) };
    assert_eq!(world.plan.loads[0].reason, worth);
}

#[test]
fn a_container_behind_one_breaker_runs_whole_or_not_at_all_and_says_what_room_it_needs() {
    let mut site = snapshot(2, 0);
    site.fleets[0].indivisible = true;
    for load in &mut site.loads {
        load.setpoint = kw(1_188);
    }
    world::limit(&mut site, HALL_A, kw(1_500));
    let mut world = World::new(site);
    world.price(20);
    world.run(minutes(10), Span::seconds(1));
    assert_eq!(world.watts(), [kw(1_188), kw(50)]);
    let indivisible = Reason::Indivisible { node: HALL_A, room: kw(262), needs: kw(1_138) };
    assert_eq!(world.plan.loads[1].reason, indivisible);
    // An obligation of less than a block takes the block.
    world.price(500);
    let now = world.snapshot.now;
    world.snapshot.obligations = vec![crate::snapshot::Obligation {
        name: "rrs".into(),
        node: HALL_A,
        kind: None,
        minimum: kw(100),
        from: now,
        until: Time::MAX,
        response: minutes(10),
        seen: now,
        priority: 50,
    }];
    world.run(minutes(10), Span::seconds(1));
    assert_eq!(world.watts(), [kw(1_188), kw(50)]);
    world.snapshot.obligations.clear();
    world.run(minutes(10), Span::seconds(1));
    assert_eq!(world.watts(), [kw(50); 2]);
}

#[test]
fn an_empty_site_has_an_empty_plan() {
    let mut empty = snapshot(0, 0);
    empty.fleets.clear();
    empty.pools.clear();
    let plan = decide(&empty, digest);
    assert_eq!((plan.wants, plan.loads, plan.leases), (vec![], vec![], vec![]));
}

#[test]
fn a_snapshot_that_points_nowhere_still_gives_a_plan() {
    let mut wild = snapshot(2, 1);
    wild.loads[0].member = Member::Fleet(9);
    wild.loads[1].node = NodeId(77);
    wild.loads[2].member = Member::Pool(9);
    let plan = decide(&wild, digest);
    assert_eq!(plan.loads.len(), 3);
    assert_eq!(plan.loads[1].watts, wild.loads[1].setpoint.min(kw(1_188)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_same_snapshot_gives_the_same_bytes_and_awards_keep_every_capacity(
        price in -50_i64..200,
        hashprice in 10_i64..90,
        limits in proptest::array::uniform3(300_i64..9_000),
        setpoints in proptest::collection::vec(0_i64..1_200, 6),
        awarded in proptest::collection::vec(0_i64..1_200, 6),
        remembered in any::<bool>(),
    ) {
        let mut snapshot = snapshot(6, 1);
        for (node, limit) in limits.into_iter().enumerate() {
            world::limit(&mut snapshot, NodeId(node as u32), kw(limit));
        }
        snapshot.price = Quote::Fresh { value: UsdPerMwh::dollars(price), since: snapshot.now };
        snapshot.hashprice = Quote::Fresh { value: UsdPerPhDay::dollars(hashprice), since: snapshot.now };
        for (load, setpoint) in snapshot.loads.iter_mut().zip(setpoints) {
            load.setpoint = kw(setpoint);
        }
        if remembered {
            let memory = awarded.into_iter().map(|w| crate::memory::LoadMemory { awarded: kw(w), ..Default::default() });
            snapshot.memory.loads = memory.collect();
        }
        let plan = decide(&snapshot, digest);
        prop_assert_eq!(format!("{plan:?}"), format!("{:?}", decide(&snapshot.clone(), digest)));
        // Six floors of 50 kW, and a node of 3.6: they fit wherever the limit is at least that.
        for (node, award) in plan.nodes.iter().enumerate() {
            if award.capacity >= kw(304) {
                prop_assert!(award.awarded <= award.capacity, "node {node}: {award:?}");
            }
        }
    }

    #[test]
    fn a_price_that_wavers_inside_the_dead_band_moves_nothing_back_and_forth(
        centre in 0_i64..150,
        noise in proptest::collection::vec(-1_900_000_i64..1_900_000, 60),
    ) {
        let mut world = World::new(snapshot(4, 1));
        world.snapshot.fleets[0].start_cost = Usd::ZERO;
        world.snapshot.fleets[0].stop_cost = Usd::ZERO;
        world.price(centre);
        world.run(minutes(12), Span::seconds(10));
        let mut moved = [false; 2];
        for wave in noise {
            // A dead band of 4 USD/MWh is 2 either way.
            let before = world.watts();
            let value = UsdPerMwh::dollars(centre) + UsdPerMwh::new(wave);
            world.snapshot.price = Quote::Fresh { value, since: world.snapshot.now };
            world.run(Span::seconds(10), Span::seconds(10));
            moved[0] |= world.watts().iter().zip(&before).any(|(new, old)| new > old);
            moved[1] |= world.watts().iter().zip(&before).any(|(new, old)| new < old);
        }
        prop_assert!(!(moved[0] && moved[1]));
    }

    #[test]
    fn economic_moves_never_pass_the_ramp_either_way(
        prices in proptest::collection::vec(-50_i64..400, 12),
        hashprices in proptest::collection::vec(20_i64..90, 12),
    ) {
        let mut world = World::new(snapshot(5, 1));
        world.snapshot.policy.up_watts_per_minute = kw(600);
        world.snapshot.policy.down_watts_per_minute = kw(900);
        let mut ups = Vec::new();
        let mut downs = Vec::new();
        for (price, hashprice) in prices.into_iter().zip(hashprices) {
            world.price(price);
            world.snapshot.hashprice =
                Quote::Fresh { value: UsdPerPhDay::dollars(hashprice), since: world.snapshot.now };
            for _ in 0..180 {
                let before = world.watts();
                world.run(Span::seconds(1), Span::seconds(1));
                let change = |(new, old): (&Watts, &Watts)| (*new - *old).get();
                let changes: Vec<i64> = world.watts().iter().zip(&before).map(change).collect();
                ups.push(changes.iter().filter(|c| **c > 0).sum::<i64>());
                downs.push(-changes.iter().filter(|c| **c < 0).sum::<i64>());
            }
        }
        // In any minute no more than two minutes' worth: one saved up, one earned.
        for (moves, rate) in [(ups, 600_000), (downs, 900_000)] {
            for minute in moves.windows(60) {
                prop_assert!(minute.iter().sum::<i64>() <= 2 * rate, "{minute:?}");
            }
        }
    }
}
