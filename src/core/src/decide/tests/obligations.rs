//! Draw that was sold as a reserve: held against economics, yielding to everything else, and told when it is short.

use super::world::{HALL_A, HALL_B, World, contract, event, kw, lease, limit, minutes, snapshot, terms};
use crate::guard::LoadId;
use crate::lease::Terms;
use crate::plan::{ObligationAward, Reason};
use crate::snapshot::{Fleet, LoadKind, Lockout, LockoutTarget, Member, Obligation, Ownership, Quote};
use crate::tree::NodeId;
use crate::units::{Span, Time, UsdPerMwh, UsdPerPhDay, Watts};
use proptest::prelude::*;

/// So much at a node, at once and for good, to be answered within ten minutes.
fn reserve(world: &World, node: NodeId, minimum: Watts) -> Obligation {
    let now = world.snapshot.now;
    Obligation {
        name: "rrs".into(),
        node,
        kind: None,
        minimum,
        from: now,
        until: Time::MAX,
        response: minutes(10),
        seen: now,
        priority: 50,
    }
}

/// Containers that run at a price of 60, before it goes up.
fn running(containers: u32, gpu_nodes: u32) -> World {
    let mut world = World::new(snapshot(containers, gpu_nodes));
    world.price(60);
    world.run(minutes(10), Span::seconds(1));
    world
}

fn only(world: &World) -> &ObligationAward {
    assert_eq!(world.plan.obligations.len(), 1);
    &world.plan.obligations[0]
}

#[test]
fn a_price_that_would_stop_all_leaves_on_what_was_sold_as_a_reserve_and_says_what_it_costs() {
    let mut world = running(2, 0);
    world.snapshot.obligations = vec![reserve(&world, HALL_A, kw(600))];
    world.price(500);
    world.run(minutes(10), Span::seconds(1));
    // 600 kW, and the 5 % by which a load may use less than its award, above floors of 50 kW.
    assert_eq!(world.watts(), [kw(680), kw(50)]);
    // The first step of the ladder: 50 USD a day for 76 TH/s at the 1825 W above sleep.
    let value = UsdPerMwh::new(86_757_990);
    let reason = Reason::Obligation { name: "rrs".into(), until: Time::MAX, price: UsdPerMwh::dollars(500) - value };
    assert_eq!(world.plan.loads[0].reason, reason);
    assert!(matches!(world.plan.loads[1].reason, Reason::BelowPrice { .. }), "{:?}", world.plan.loads[1]);
    let award = only(&world).clone();
    // 500 less 86.76, half the dead band and a stop and a start for 690 kW in a quarter of an hour: to the cent.
    assert_eq!(award.price.get() / 10_000, 38_225);
    let want = ObligationAward { required: kw(600), held: kw(630), drawn: kw(630), price: award.price, short: None };
    assert_eq!(award, want);
}

#[test]
fn where_money_holds_enough_an_obligation_changes_nothing_and_costs_nothing() {
    let mut world = running(2, 0);
    let before = world.plan.loads.clone();
    world.snapshot.obligations = vec![reserve(&world, HALL_A, kw(600))];
    world.run(minutes(1), Span::seconds(1));
    assert_eq!(world.plan.loads, before);
    let held = kw(2 * 690);
    let want = ObligationAward { required: kw(600), held, drawn: held, price: UsdPerMwh::ZERO, short: None };
    assert_eq!(*only(&world), want);
}

#[test]
fn what_sleeps_is_raised_for_an_obligation_and_rests_again_when_it_is_over() {
    let mut world = running(2, 0);
    world.price(500);
    world.run(minutes(20), Span::seconds(1));
    assert_eq!(world.watts(), [kw(50), kw(50)]);
    let from = world.snapshot.now.after(minutes(30));
    let until = from.after(minutes(60));
    world.snapshot.obligations = vec![Obligation { from, until, ..reserve(&world, NodeId::SITE, kw(600)) }];
    world.run(minutes(28), Span::seconds(1));
    assert_eq!(world.watts(), [kw(50), kw(50)]);
    assert_eq!(*only(&world), ObligationAward::default());
    while world.snapshot.now < from {
        world.run(Span::seconds(1), Span::seconds(1));
    }
    assert_eq!((world.watts(), only(&world).drawn), (vec![kw(680), kw(50)], kw(630)));
    world.run(minutes(59), Span::seconds(1));
    assert_eq!(world.watts(), [kw(680), kw(50)]);
    world.run(minutes(10), Span::seconds(1));
    assert_eq!(world.watts(), [kw(50), kw(50)]);
}

#[test]
fn several_that_overlap_ask_for_the_largest_of_them_and_not_for_their_sum() {
    let mut world = running(2, 0);
    let of = |world: &World, minimum| reserve(world, HALL_A, kw(minimum));
    world.snapshot.obligations = vec![of(&world, 300), of(&world, 600), of(&world, 100)];
    world.price(500);
    world.run(minutes(10), Span::seconds(1));
    assert_eq!(world.watts(), [kw(680), kw(50)]);
    let held: Vec<(Watts, Option<Reason>)> = world.plan.obligations.iter().map(|o| (o.held, o.short.clone())).collect();
    assert_eq!(held, vec![(kw(630), None); 3]);
}

#[test]
fn a_limit_goes_before_an_obligation_which_says_what_is_missing_and_why() {
    let mut world = running(2, 0);
    world.snapshot.obligations = vec![reserve(&world, HALL_A, kw(600))];
    world.price(500);
    world.run(minutes(10), Span::seconds(1));
    world.snapshot.limits = vec![event(world.snapshot.now, HALL_A, kw(400))];
    world.run(Span::seconds(2), Span::seconds(1));
    assert_eq!(world.watts(), [kw(350), kw(50)]);
    let award = only(&world);
    assert_eq!((award.required, award.held), (kw(600), kw(300)));
    assert_eq!(award.short, Some(Reason::Event { name: "utility".into(), until: Time::MAX }));
}

#[test]
fn more_than_can_be_drawn_is_served_as_far_as_possible() {
    let mut world = running(2, 0);
    world.snapshot.obligations = vec![reserve(&world, HALL_A, kw(5_000))];
    world.price(500);
    world.run(minutes(10), Span::seconds(1));
    assert_eq!(world.watts(), [kw(1_188), kw(1_188)]);
    let award = only(&world);
    assert_eq!((award.held, award.short.clone()), (kw(2 * 1_138), Some(Reason::Full)));
}

#[test]
fn a_lockout_takes_its_load_out_and_another_takes_its_place() {
    let mut world = running(2, 0);
    world.snapshot.obligations = vec![reserve(&world, HALL_A, kw(600))];
    world.price(500);
    world.run(minutes(10), Span::seconds(1));
    let lockout = |target| Lockout {
        name: "fan-swap".into(),
        holder: "ana".into(),
        target,
        limit: Watts::ZERO,
        since: Time::ZERO,
    };
    world.snapshot.lockouts = vec![lockout(LockoutTarget::Load(LoadId(0)))];
    world.run(Span::seconds(1), Span::seconds(1));
    assert_eq!(world.watts()[0], Watts::ZERO);
    world.run(minutes(1), Span::seconds(1));
    assert_eq!((world.watts(), only(&world).short.clone()), (vec![Watts::ZERO, kw(680)], None));
    world.snapshot.lockouts = vec![lockout(LockoutTarget::Node(HALL_A))];
    world.run(minutes(1), Span::seconds(1));
    assert_eq!(world.watts(), [Watts::ZERO; 2]);
    let held = Reason::Lockout { name: "fan-swap".into(), holder: "ana".into(), since: Time::ZERO };
    assert_eq!(only(&world).short, Some(held));
}

#[test]
fn without_a_price_what_sleeps_rises_as_far_as_the_obligation_takes_and_no_further() {
    let mut world = running(2, 0);
    world.price(500);
    world.run(minutes(20), Span::seconds(1));
    world.snapshot.price = Quote::Missing;
    world.snapshot.obligations = vec![reserve(&world, HALL_A, kw(600))];
    world.run(minutes(10), Span::seconds(1));
    assert_eq!((world.watts(), only(&world).short.clone()), (vec![kw(680), kw(50)], None));
}

#[test]
fn what_is_told_and_not_drawn_is_no_reserve() {
    let mut world = running(2, 0);
    world.snapshot.obligations = vec![reserve(&world, HALL_A, kw(600))];
    world.usable = vec![kw(250); 2];
    world.price(500);
    world.run(minutes(2), Span::seconds(1));
    // One container draws 250 kW of what it was told, and nobody knows yet that it never will draw more.
    assert_eq!((only(&world).held, only(&world).drawn), (kw(630), kw(200)));
    world.run(minutes(20), Span::seconds(1));
    // By now its trim says so: the other one is told as well, and still too little is drawn.
    let award = only(&world);
    assert_eq!(award.drawn, kw(400));
    assert!(matches!(award.short, Some(Reason::Trimmed { .. })), "{:?}", award.short);
}

#[test]
fn what_takes_over_an_obligation_is_on_before_what_held_it_falls() {
    let mut site = snapshot(2, 0);
    let hosted = Ownership::Hosted { rate: UsdPerMwh::dollars(60), credit: UsdPerMwh::ZERO };
    site.fleets.push(Fleet { ownership: hosted, ..site.fleets[0].clone() });
    site.loads[1].member = Member::Fleet(1);
    site.policy.up_watts_per_minute = kw(100);
    let mut world = World::new(site);
    world.price(40);
    world.run(minutes(20), Span::seconds(1));
    world.snapshot.obligations = vec![reserve(&world, HALL_A, kw(600))];
    world.price(500);
    world.run(minutes(10), Span::seconds(1));
    assert_eq!(world.watts(), [kw(680), kw(50)]);
    // Now it is the hosted ones that lose less by running.
    world.snapshot.hashprice = Quote::Fresh { value: UsdPerPhDay::dollars(5), since: world.snapshot.now };
    let mut held = false;
    for _ in 0..600 {
        world.run(Span::seconds(1), Span::seconds(1));
        let on: Watts = world.watts().into_iter().map(|watts| watts - kw(50)).sum();
        assert!(on >= kw(630), "{on}");
        held |= matches!(world.plan.loads[0].reason, Reason::Obligation { .. });
    }
    assert!(held);
    assert_eq!(world.watts(), [kw(50), kw(680)]);
}

#[test]
fn of_two_that_cannot_both_be_met_the_one_of_higher_priority_goes_first() {
    for (first, second, want) in [(50, 60, [260, 890]), (60, 50, [680, 470])] {
        let mut site = snapshot(2, 0);
        site.loads[1].node = HALL_B;
        limit(&mut site, NodeId::SITE, kw(1_150));
        let mut world = World::new(site);
        let of = |node, minimum, priority| Obligation { priority, ..reserve(&world, node, kw(minimum)) };
        let obligations = vec![of(HALL_A, 600, first), of(HALL_B, 800, second)];
        world.snapshot.obligations = obligations;
        world.price(500);
        world.run(minutes(10), Span::seconds(1));
        assert_eq!(world.watts(), want.map(kw), "{first} against {second}");
    }
}

#[test]
fn flexible_leases_that_can_be_shed_in_time_are_a_reserve_and_the_others_are_none() {
    for (notice, draws) in [(minutes(5), 32), (minutes(30), 0)] {
        let mut site = snapshot(0, 4);
        let flexible = Terms { notice, ..terms(false) };
        site.leases =
            vec![lease(site.now, "tenant/flex", 16, flexible.clone()), lease(site.now, "tenant/firm", 16, terms(true))];
        let mut world = World::new(site);
        world.price(60);
        world.run(minutes(40), Span::seconds(10));
        let reserve = Obligation { kind: Some(LoadKind::Gpu), ..reserve(&world, NodeId::SITE, kw(6)) };
        world.snapshot.obligations = vec![reserve];
        // Dear enough to curtail it for money.
        world.price(1_700);
        world.run(minutes(60), Span::seconds(10));
        let granted = contract(&world.snapshot.leases[0]).grant.watts;
        let award = only(&world);
        let (kept, short) = if draws > 0 { (kw(8), None) } else { (Watts::ZERO, Some(Reason::Full)) };
        assert_eq!((granted, award.held, award.drawn, award.short.clone()), (kept, kept, kept, short), "{notice:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_price_and_no_hashprice_lowers_what_is_on_below_an_obligation(
        prices in proptest::collection::vec((-50_i64..900, 10_i64..90), 12),
        minimum in 100_i64..2_500,
        ramp in 50_i64..5_000,
        switched in any::<bool>(),
    ) {
        let mut site = snapshot(4, 1);
        site.policy.up_watts_per_minute = kw(ramp);
        if switched {
            site.fleets[0].minimum_off = minutes(5);
        }
        // Two halls, and a second fleet that is worth less.
        let mut old = site.fleets[0].clone();
        old.pool_fee = crate::units::Ppm::percent(30);
        site.fleets.push(old);
        for at in [1, 3] {
            site.loads[at].member = Member::Fleet(1);
        }
        site.loads[2].node = HALL_B;
        site.loads[3].node = HALL_B;
        let mut world = World::new(site);
        world.price(40);
        world.run(minutes(10), Span::seconds(1));
        let above = |world: &World| -> Watts {
            let loads = world.snapshot.loads.iter().filter(|load| load.nameplate > kw(100));
            loads.map(|load| (load.setpoint - kw(50)).at_least_zero()).sum()
        };
        prop_assert!(above(&world) >= kw(2_700));
        world.snapshot.obligations = vec![reserve(&world, NodeId::SITE, kw(minimum))];
        for (price, hashprice) in prices {
            world.price(price);
            world.snapshot.hashprice =
                Quote::Fresh { value: UsdPerPhDay::dollars(hashprice), since: world.snapshot.now };
            for _ in 0..40 {
                world.run(Span::seconds(5), Span::seconds(5));
                prop_assert!(above(&world) >= kw(minimum), "{} of {minimum} kW", above(&world));
                prop_assert!(world.plan.obligations[0].short.is_none());
            }
        }
    }
}
