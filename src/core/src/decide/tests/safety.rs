//! What no hold, price or ramp may delay.

use super::world::{HALL_A, HALL_B, World, digest, event, kw, minutes, snapshot};
use crate::decide::decide;
use crate::guard::ledger::Metered;
use crate::guard::{Basis, Bound, LoadId};
use crate::memory::{LoadMemory, Ramp, Trimmed};
use crate::plan::{LoadAward, Reason};
use crate::snapshot::{LoadKind, Lockout, LockoutTarget, Quote, TimedLimit, Unread};
use crate::tree::NodeId;
use crate::units::{Span, Time, UsdPerMwh, Watts};
use proptest::prelude::*;

fn lockout(target: LockoutTarget, limit: Watts) -> Lockout {
    Lockout { name: "fan-swap".into(), holder: "ana".into(), target, limit, since: Time::ZERO }
}

fn settled(containers: u32, gpu_nodes: u32, price: i64) -> World {
    let mut world = World::new(snapshot(containers, gpu_nodes));
    world.price(price);
    world.run(minutes(10), Span::seconds(1));
    world
}

#[test]
fn a_lockout_lowers_at_once_below_floor_and_minimum_time_and_nothing_raises_it() {
    let mut world = settled(2, 0, 20);
    world.snapshot.fleets[0].minimum_on = minutes(600);
    world.snapshot.policy.down_watts_per_minute = Watts::new(1);
    world.snapshot.lockouts =
        vec![lockout(LockoutTarget::Node(HALL_A), kw(900)), lockout(LockoutTarget::Load(LoadId(0)), Watts::ZERO)];
    world.run(Span::seconds(1), Span::seconds(1));
    let reason = || Reason::Lockout { name: "fan-swap".into(), holder: "ana".into(), since: Time::ZERO };
    let award = |watts| LoadAward { watts, reason: reason(), urgent: true };
    assert_eq!(world.plan.loads, [award(Watts::ZERO), award(kw(900))]);
    world.snapshot.price = Quote::Missing;
    world.run(minutes(5), Span::seconds(1));
    assert_eq!(world.watts(), [Watts::ZERO, kw(900)]);
}

#[test]
fn a_limit_without_time_is_met_in_one_step_from_the_least_worth_and_no_further() {
    let mut world = settled(3, 0, 20);
    assert_eq!(world.watts(), [kw(1_188); 3]);
    world.snapshot.limits = vec![event(world.snapshot.now, NodeId::SITE, kw(3_000))];
    world.run(Span::seconds(1), Span::seconds(1));
    let said = |watts, urgent, reason| LoadAward { watts, reason, urgent };
    let cut = Reason::Event { name: "utility".into(), until: Time::MAX };
    // The last steps of all three are worth the same: the order of the loads decides.
    assert_eq!(
        world.plan.loads,
        [said(kw(1_188), false, Reason::Full), said(kw(1_072), true, cut.clone()), said(kw(740), true, cut),]
    );
    assert_eq!(world.plan.nodes[0].awarded, kw(3_000));
}

#[test]
fn a_shed_whose_write_is_lost_stays_urgent() {
    let mut world = settled(1, 0, 20);
    world.snapshot.limits = vec![event(world.snapshot.now, NodeId::SITE, kw(800))];
    world.run(Span::seconds(1), Span::seconds(1));
    world.snapshot.loads[0].setpoint = kw(1_188);
    let plan = decide(&world.snapshot, digest);
    assert_eq!((plan.loads[0].watts, plan.loads[0].urgent), (kw(800), true));
}

#[test]
fn to_a_limit_that_is_known_the_site_walks_and_is_there_in_time() {
    let mut world = settled(4, 0, 20);
    world.snapshot.policy.down_watts_per_minute = kw(400);
    let from = world.snapshot.now.after(minutes(30));
    let until = from.after(minutes(60));
    world.snapshot.limits = vec![TimedLimit { from, until, ..event(world.snapshot.now, HALL_A, kw(2_000)) }];
    let binds = from.before(Span::seconds(35));
    let mut before = world.watts().into_iter().sum::<Watts>();
    while world.snapshot.now < until.after(Span::seconds(5)) {
        world.run(Span::seconds(1), Span::seconds(1));
        let total: Watts = world.watts().into_iter().sum();
        assert!(world.plan.loads.iter().all(|l| !l.urgent), "{:?}", world.snapshot.now);
        assert!(before - total <= kw(400), "{before} to {total}");
        assert!(
            world.snapshot.now < binds || total <= kw(2_000) || world.snapshot.now >= until.after(Span::seconds(5))
        );
        before = total;
    }
    world.run(minutes(5), Span::seconds(1));
    assert_eq!(world.watts(), [kw(1_188); 4]);
}

#[test]
fn an_order_that_allows_ten_minutes_is_walked_and_one_that_allows_none_is_not() {
    for (response, urgent) in [(minutes(10), false), (Span::ZERO, true)] {
        let mut world = settled(4, 0, 20);
        world.snapshot.policy.down_watts_per_minute = kw(400);
        world.snapshot.limits = vec![TimedLimit { response, ..event(world.snapshot.now, HALL_A, kw(2_000)) }];
        let due = world.snapshot.now.after(response);
        let mut stepped = false;
        loop {
            world.run(Span::seconds(1), Span::seconds(1));
            stepped |= world.plan.loads.iter().any(|l| l.urgent);
            if world.snapshot.now >= due {
                break;
            }
        }
        assert_eq!(stepped, urgent);
        assert!(world.plan.nodes[1].awarded <= kw(2_000));
    }
}

#[test]
fn a_limit_on_miners_leaves_the_gpus_of_the_same_hall_alone() {
    let mut world = settled(2, 2, 20);
    for load in &mut world.snapshot.loads {
        load.node = HALL_B;
    }
    let limit = event(world.snapshot.now, HALL_B, kw(1_000));
    world.snapshot.limits = vec![TimedLimit { kind: Some(LoadKind::Miner), ..limit }];
    world.run(Span::seconds(1), Span::seconds(1));
    let node = Watts::new(3_600);
    assert_eq!(world.watts(), [kw(740), kw(260), node, node]);
    assert!(world.plan.loads[1].urgent);
}

#[test]
fn thermal_floors_give_way_to_a_limit_and_only_as_many_as_must() {
    let mut world = settled(4, 0, 20);
    world.snapshot.limits = vec![event(world.snapshot.now, HALL_A, kw(130))];
    world.run(Span::seconds(1), Span::seconds(1));
    // Two that sleep make room for two floors, and 10 kW are left.
    assert_eq!(world.watts(), [kw(60), kw(50), kw(10), kw(10)]);
}

#[test]
fn what_comes_back_after_an_emergency_comes_back_by_the_ramp() {
    let mut world = settled(4, 0, 20);
    world.snapshot.policy.up_watts_per_minute = kw(600);
    world.snapshot.limits = vec![event(world.snapshot.now, NodeId::SITE, kw(800))];
    world.run(minutes(10), Span::seconds(1));
    world.snapshot.limits.clear();
    let mut total: Watts = world.watts().into_iter().sum();
    assert_eq!(total, kw(800));
    for minute in 1..=6 {
        world.run(minutes(1), Span::seconds(1));
        let now: Watts = world.watts().into_iter().sum();
        // A minute's worth is saved up.
        assert!(now >= total && now <= kw(800 + 600 * (minute + 1)), "minute {minute}: {now}");
        total = now;
    }
    assert_eq!(total, kw(4_752).min(kw(800 + 600 * 7)));
}

#[test]
fn what_cannot_be_read_holds_every_raise_on_what_it_was_on_and_lowers_nothing() {
    let held = || Reason::UnreadHold { name: "Lockout fan-swap".into() };
    let unread = |target| vec![Unread { name: "Lockout fan-swap".into(), target }];
    let reasons = |world: &World| world.plan.loads.iter().map(|load| load.reason.clone()).collect::<Vec<_>>();
    let mut world = settled(2, 0, 500);
    assert_eq!(world.watts(), [kw(50), kw(50)]);
    world.price(20);
    world.snapshot.unread = unread(LockoutTarget::Load(LoadId(1)));
    world.run(minutes(20), Span::seconds(1));
    assert_eq!(world.watts(), [kw(1_188), kw(50)]);
    assert_eq!(reasons(&world), [Reason::Full, held()]);
    // On the whole site: nobody rises, and what is worth less than its power falls as ever.
    world.snapshot.unread = unread(LockoutTarget::Node(NodeId::SITE));
    world.run(minutes(5), Span::seconds(1));
    assert_eq!(reasons(&world), [Reason::Full, held()]);
    world.price(500);
    world.run(minutes(20), Span::seconds(1));
    assert_eq!(world.watts(), [kw(50), kw(50)]);
    world.price(20);
    world.run(minutes(20), Span::seconds(1));
    assert_eq!(world.watts(), [kw(50), kw(50)]);
    // Once it can be read, or is gone, all is as before.
    world.snapshot.unread.clear();
    world.run(minutes(20), Span::seconds(1));
    assert_eq!(world.watts(), [kw(1_188), kw(1_188)]);
}

#[test]
fn what_a_meter_shows_above_all_bounds_widens_the_margin_and_near_the_limit_is_shed_by_no_ramp() {
    let mut world = settled(2, 0, 20);
    assert_eq!(world.watts(), [kw(1_188), kw(1_188)]);
    world.snapshot.policy.down_watts_per_minute = kw(1);
    let unexplained = world.snapshot.tree.capacity(HALL_A) - kw(1_000);
    let said = |sheds| vec![Metered { node: HALL_A, unexplained, sheds }];
    world.snapshot.metered = said(false);
    world.run(Span::seconds(1), Span::seconds(1));
    assert!(world.plan.loads.iter().all(|load| !load.urgent), "{:?}", world.plan.loads);
    world.snapshot.metered = said(true);
    world.run(Span::seconds(1), Span::seconds(1));
    let total: Watts = world.watts().into_iter().sum();
    assert!(total <= kw(1_000) && total > kw(800), "{total}");
    assert!(world.plan.loads.iter().any(|load| load.urgent), "{:?}", world.plan.loads);
    // The meter has fallen with it: what it still shows keeps its place.
    world.snapshot.metered = said(false);
    world.run(minutes(20), Span::seconds(1));
    assert!(world.watts().into_iter().sum::<Watts>() <= kw(1_000), "{:?}", world.watts());
}

#[test]
fn near_a_limit_who_is_not_known_about_counts_at_its_worst_without_a_wait() {
    let mut world = settled(2, 0, 20);
    let room = world.snapshot.tree.capacity(HALL_A);
    world.snapshot.limits = vec![event(world.snapshot.now.before(minutes(60)), HALL_A, kw(2_400))];
    world.run(Span::seconds(1), Span::seconds(1));
    assert!(room > kw(2_400));
    let now = world.snapshot.now;
    let load = &mut world.snapshot.loads[0];
    load.bound = Bound { watts: load.nameplate + kw(1_000), basis: Basis::Absent, since: now };
    let waits = decide(&world.snapshot, digest).loads[1].watts;
    world.snapshot.metered = vec![Metered { node: HALL_A, unexplained: Watts::ZERO, sheds: true }];
    let sheds = decide(&world.snapshot, digest).loads[1].clone();
    assert_eq!((waits, sheds.urgent), (kw(1_188), true));
    assert!(sheds.watts <= kw(2_400) - world.snapshot.loads[0].bound.watts, "{}", sheds.watts);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_hold_delays_an_urgent_shed_and_a_lockout_always_wins(
        price in -100_i64..300,
        limit in 400_i64..6_000,
        locked in 0_usize..6,
        lock_watts in 0_i64..1_000,
        awarded in proptest::collection::vec(50_i64..1_188, 6),
        switched in proptest::collection::vec(0_i64..900, 6),
        priced in any::<bool>(),
        trimmed in proptest::option::of(60_i64..1_188),
    ) {
        let mut snapshot = snapshot(6, 0);
        let now = snapshot.now;
        snapshot.fleets[0].minimum_on = minutes(15);
        snapshot.fleets[0].minimum_off = minutes(15);
        snapshot.policy.down_watts_per_minute = Watts::new(1);
        snapshot.price = if priced {
            Quote::Fresh { value: UsdPerMwh::dollars(price), since: now }
        } else {
            Quote::Missing
        };
        snapshot.memory.ramp = Some(Ramp { up_since: now, down_since: now });
        for (load, (watts, ago)) in snapshot.loads.iter_mut().zip(awarded.iter().zip(switched)) {
            load.setpoint = kw(*watts);
            snapshot.memory.loads.push(LoadMemory {
                awarded: kw(*watts),
                switched: now.before(Span::seconds(ago)),
                on: *watts > 50,
                idle_since: None,
                trimmed: trimmed.map(|most| Trimmed { most: kw(most), of: kw(1_188), since: Time::seconds(1_700_000_000) }),
            });
        }
        snapshot.limits = vec![event(now, HALL_A, kw(limit))];
        snapshot.lockouts = vec![lockout(LockoutTarget::Load(LoadId(locked as u32)), kw(lock_watts))];
        let plan = decide(&snapshot, digest);
        prop_assert!(plan.loads[locked].watts <= kw(lock_watts));
        prop_assert!(plan.nodes[1].awarded <= kw(limit), "{:?}", plan.loads);
        for (load, award) in snapshot.loads.iter().zip(&plan.loads) {
            // Without credit nothing moves but what must, and that is marked.
            prop_assert!(award.watts == load.setpoint || award.urgent, "{award:?} from {:?}", load.setpoint);
        }
    }
}

#[test]
fn the_plan_looks_again_when_a_limit_begins_or_ends() {
    let mut site = snapshot(1, 0);
    let from = site.now.after(minutes(30));
    site.limits = vec![TimedLimit { from, until: from.after(minutes(5)), ..event(site.now, HALL_A, kw(5_000)) }];
    site.memory = decide(&site, digest).memory;
    site.price = Quote::Fresh { value: UsdPerMwh::dollars(60), since: site.now };
    assert_eq!(decide(&site, digest).wake, Some(from.before(Span::seconds(35))));
}
