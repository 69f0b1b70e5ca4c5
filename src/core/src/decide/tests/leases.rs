//! Leases within a decision: notice, emergencies, returns, reserves.

mod chance;
mod halls;
mod held;

use super::world::{HALL_B, World, class, contract, digest, event, kw, lease, minutes, snapshot, terms};
use crate::decide::decide;
use crate::guard::LoadId;
use crate::guard::ledger::Metered;
use crate::lease::{Delivery, LeaseState, Notice, NoticeReason, RefusalReason, Request, Terms};
use crate::plan::Reason;
use crate::snapshot::{LoadKind, Lockout, LockoutTarget, Snapshot, TimedLimit};
use crate::tree::NodeId;
use crate::units::{Ppm, Span, Time, Usd, UsdPerMwh, Watts};

/// Two containers and four GPU nodes; a flexible lease on two of those, a firm one on the others.
fn two_leases() -> Snapshot {
    let mut site = snapshot(2, 4);
    let now = site.now;
    site.leases = vec![lease(now, "tenant/flex", 16, terms(false)), lease(now, "tenant/firm", 16, terms(true))];
    site
}

fn settled(price: i64) -> World {
    let mut world = World::new(two_leases());
    world.price(price);
    // Long enough to have run its minimum.
    world.run(minutes(40), Span::seconds(10));
    world
}

fn granted(world: &World) -> [Watts; 2] {
    [0, 1].map(|at| contract(&world.snapshot.leases[at]).grant.watts)
}

/// 0.50 USD an hour and 500 W above must-run: 1000 USD/MWh, 100 of credit, 2 of half the dead band, and 500 for a stop:
/// 1 USD for 16 GPUs, spread over a quarter of an hour of 8 kW.
const CURTAILS_AT: i64 = 1_700;

#[test]
fn a_granted_lease_runs_its_nodes_at_its_caps_and_the_others_at_lowest() {
    let world = settled(60);
    assert_eq!(granted(&world), [kw(8), kw(8)]);
    let full = Watts::new(7_600);
    assert_eq!(world.watts()[2..], [full; 4]);
    let reasons: Vec<&Reason> = world.plan.loads[2..].iter().map(|l| &l.reason).collect();
    let on = [0, 0, 1, 1].map(|lease| Reason::Leased { lease });
    assert_eq!(reasons, on.each_ref());
}

#[test]
fn a_dear_hour_curtails_the_flexible_lease_after_its_notice_and_the_firm_one_never() {
    let mut world = settled(60);
    world.price(CURTAILS_AT);
    world.run(Span::seconds(1), Span::seconds(1));
    let (given, deadline) = (world.snapshot.now, world.snapshot.now.after(minutes(10)));
    let notice = Notice { given, deadline, to: Default::default(), reason: NoticeReason::Economics };
    assert_eq!(contract(&world.snapshot.leases[0]).notice, Some(notice));
    assert_eq!(world.plan.leases[0].reason, Reason::Notice { deadline });
    world.run(minutes(10).min(Span::seconds(598)), Span::seconds(1));
    assert_eq!(granted(&world), [kw(8), kw(8)]);
    world.run(Span::seconds(5), Span::seconds(1));
    assert_eq!(granted(&world), [Watts::ZERO, kw(8)]);
    assert!(matches!(world.plan.leases[0].reason, Reason::Curtailed { .. }));
    assert!(!world.plan.leases[0].urgent);
    let (low, full) = (Watts::new(3_600), Watts::new(7_600));
    assert_eq!(world.watts()[2..], [low, low, full, full]);
    world.price(60);
    world.run(minutes(1), Span::seconds(1));
    assert_eq!(granted(&world), [kw(8), kw(8)]);
}

#[test]
fn what_a_meter_near_its_limit_shows_above_all_bounds_stops_the_flexible_lease_at_once_and_keeps_its_place() {
    let mut world = settled(60);
    let said = |sheds| {
        let unexplained = world.snapshot.tree.capacity(HALL_B) - kw(26);
        vec![Metered { node: HALL_B, unexplained, sheds }]
    };
    let (near, fallen) = (said(true), said(false));
    world.snapshot.metered = near;
    world.run(Span::seconds(1), Span::seconds(1));
    assert_eq!(granted(&world), [Watts::ZERO, kw(8)]);
    assert!(world.plan.leases[0].urgent);
    // Had it its grant back now, its Jobs would start on nodes that cannot be raised.
    world.snapshot.metered = fallen;
    world.run(minutes(60), Span::seconds(10));
    assert_eq!(granted(&world), [Watts::ZERO, kw(8)]);
}

#[test]
fn what_a_meter_shows_near_its_limit_waits_for_no_event_that_leaves_time() {
    let mut world = settled(60);
    let now = world.snapshot.now;
    let limit = world.snapshot.tree.capacity(HALL_B) - kw(1);
    world.snapshot.limits = vec![TimedLimit { response: minutes(30), ..event(now, HALL_B, limit) }];
    world.run(Span::seconds(1), Span::seconds(1));
    assert_eq!(granted(&world), [kw(8), kw(8)]);
    world.snapshot.metered = vec![Metered { node: HALL_B, unexplained: limit - kw(26), sheds: true }];
    world.run(Span::seconds(1), Span::seconds(1));
    assert_eq!((granted(&world), world.plan.leases[0].urgent), ([Watts::ZERO, kw(8)], true));
}

#[test]
fn a_checkpoint_that_is_acknowledged_frees_the_watts_before_the_deadline() {
    let mut world = settled(60);
    world.price(CURTAILS_AT);
    world.run(minutes(1), Span::seconds(1));
    world.snapshot.leases[0].acknowledged = Some(world.snapshot.now);
    world.run(Span::seconds(1), Span::seconds(1));
    assert_eq!(granted(&world), [Watts::ZERO, kw(8)]);
}

#[test]
fn an_emergency_takes_miners_then_the_flexible_lease_and_only_then_the_firm_one() {
    // Floors: two containers of 50 kW, four nodes of 3.6 kW; each lease draws 8 kW above.
    for (limit, want) in [(131_000, [8, 8]), (125_000, [0, 8]), (115_000, [0, 0])] {
        let mut world = settled(20);
        world.snapshot.limits = vec![event(world.snapshot.now, NodeId::SITE, Watts::new(limit))];
        world.run(Span::seconds(1), Span::seconds(1));
        assert_eq!(granted(&world), want.map(kw), "under {limit} W");
        let urgent = [0, 1].map(|at| world.plan.leases[at].urgent);
        assert_eq!(urgent, [0, 1].map(|at| want[at] == 0), "under {limit} W");
        assert!(world.plan.nodes[0].awarded <= Watts::new(limit));
        for (at, award) in world.plan.leases.iter().enumerate().filter(|(at, _)| want[*at] == 0) {
            assert!(matches!(award.reason, Reason::Event { .. }), "{at}: {:?}", award.reason);
        }
        world.snapshot.limits.clear();
        world.run(minutes(2), Span::seconds(1));
        assert_eq!(granted(&world), [kw(8), kw(8)]);
    }
}

#[test]
fn a_limit_that_leaves_time_for_the_notice_is_told_in_time_and_is_no_emergency() {
    let mut world = settled(20);
    let from = world.snapshot.now.after(minutes(60));
    let limit = event(world.snapshot.now, NodeId::SITE, Watts::new(125_000));
    world.snapshot.limits = vec![TimedLimit { from, ..limit }];
    let binds = from.before(Span::seconds(35));
    world.run(minutes(45), Span::seconds(1));
    assert_eq!(contract(&world.snapshot.leases[0]).notice, None);
    world.run(minutes(10), Span::seconds(1));
    let notice = contract(&world.snapshot.leases[0]).notice.unwrap();
    assert_eq!((notice.deadline, notice.reason), (binds, NoticeReason::Limit));
    while world.snapshot.now < binds {
        world.run(Span::seconds(1), Span::seconds(1));
    }
    assert_eq!(granted(&world), [Watts::ZERO, kw(8)]);
    assert!(contract(&world.snapshot.leases[0]).account.running.is_some_and(|c| !c.emergency));
    assert!(world.plan.nodes[0].awarded <= Watts::new(125_000));
}

#[test]
fn an_order_shorter_than_the_notice_tells_what_time_there_is() {
    let mut world = settled(20);
    let now = world.snapshot.now;
    let limit = event(now, NodeId::SITE, Watts::new(125_000));
    world.snapshot.limits = vec![TimedLimit { response: minutes(3), ..limit }];
    world.run(Span::seconds(1), Span::seconds(1));
    let notice = contract(&world.snapshot.leases[0]).notice.unwrap();
    let deadline = now.after(minutes(3)).before(Span::seconds(35));
    assert_eq!((notice.deadline, notice.reason), (deadline, NoticeReason::Emergency));
    world.run(minutes(3), Span::seconds(1));
    assert_eq!(granted(&world), [Watts::ZERO, kw(8)]);
}

#[test]
fn where_the_terms_allow_caps_a_limit_lowers_the_cap_before_it_stops_anything() {
    let mut site = two_leases();
    let capped = Terms { least_throughput: Ppm::percent(80), notice: Span::ZERO, ..terms(false) };
    site.leases[0] = lease(site.now, "tenant/flex", 16, capped);
    let mut world = World::new(site);
    world.price(20);
    world.run(minutes(40), Span::seconds(1));
    // 80 % at 400 W: 3.2 kW above must-run instead of 8.
    world.snapshot.limits = vec![event(world.snapshot.now, NodeId::SITE, Watts::new(127_000))];
    world.run(Span::seconds(1), Span::seconds(1));
    assert_eq!(granted(&world), [Watts::new(3_200), kw(8)]);
    assert_eq!(world.watts()[2..4], [Watts::new(5_200); 2]);
}

#[test]
fn a_lockout_on_a_node_leaves_the_leases_other_nodes_running_and_says_what_is_missing() {
    let mut world = settled(60);
    let target = LockoutTarget::Load(LoadId(2));
    world.snapshot.lockouts =
        vec![Lockout { name: "psu".into(), holder: "ana".into(), target, limit: Watts::ZERO, since: Time::ZERO }];
    world.run(Span::seconds(1), Span::seconds(1));
    assert_eq!(world.watts()[2], Watts::ZERO);
    assert!(world.plan.loads[2].urgent);
    // Its pods there are gone, and no other node is free.
    world.snapshot.leases[0].placed.remove(0);
    let plan = decide(&world.snapshot, digest);
    let held = Reason::Lockout { name: "psu".into(), holder: "ana".into(), since: Time::ZERO };
    assert_eq!((&plan.leases[0].reason, &plan.leases[1].reason), (&held, &Reason::Full));
    let full = Watts::new(7_600);
    assert_eq!(plan.loads[2..].iter().map(|l| l.watts).collect::<Vec<_>>(), [Watts::ZERO, full, full, full]);
}

/// A flexible lease that may be capped to 80 % (3.2 kW of 8 above must-run), beside a firm one.
fn capped() -> World {
    let mut site = two_leases();
    let capped = Terms { least_throughput: Ppm::percent(80), ..terms(false) };
    site.leases[0] = lease(site.now, "tenant/flex", 16, capped);
    let mut world = World::new(site);
    world.price(20);
    world.run(minutes(40), Span::seconds(10));
    world
}

#[test]
fn two_limits_within_one_notice_are_told_of_in_one_and_kept_at_the_first() {
    let mut world = capped();
    let now = world.snapshot.now;
    // The first asks for a cap, the second, five minutes later, for a stop.
    let at =
        |after, watts| TimedLimit { from: now.after(minutes(after)), ..event(now, NodeId::SITE, Watts::new(watts)) };
    world.snapshot.limits = vec![at(35, 124_000), at(30, 127_000)];
    let binds = now.after(minutes(30)).before(Span::seconds(35));
    world.run(minutes(25), Span::seconds(1));
    let notice = contract(&world.snapshot.leases[0]).notice.unwrap();
    assert_eq!((notice.deadline, notice.to, notice.reason), (binds, Default::default(), NoticeReason::Limit));
    world.run(minutes(15), Span::seconds(1));
    assert_eq!(granted(&world), [Watts::ZERO, kw(8)]);
    let account = contract(&world.snapshot.leases[0]).account;
    assert_eq!(account.events, 1);
}

#[test]
fn a_second_limit_that_comes_while_a_notice_runs_does_not_put_off_the_first() {
    let mut world = capped();
    let now = world.snapshot.now;
    let at =
        |after, watts| TimedLimit { from: now.after(minutes(after)), ..event(now, NodeId::SITE, Watts::new(watts)) };
    world.snapshot.limits = vec![at(30, 127_000)];
    world.run(minutes(25), Span::seconds(1));
    let told = contract(&world.snapshot.leases[0]).notice.unwrap();
    assert_eq!(told.to.watts, Watts::new(3_200));
    world.snapshot.limits.push(at(34, 124_000));
    let binds = now.after(minutes(30)).before(Span::seconds(35));
    while world.snapshot.now < binds {
        assert_eq!(granted(&world), [kw(8), kw(8)]);
        world.run(Span::seconds(1), Span::seconds(1));
    }
    assert_eq!(granted(&world), [Watts::new(3_200), kw(8)]);
    // The second one leaves less than a notice: it is an emergency's, with all the time that there is.
    let second = now.after(minutes(34)).before(Span::seconds(35));
    while world.snapshot.now < second {
        assert_eq!(granted(&world), [Watts::new(3_200), kw(8)]);
        world.run(Span::seconds(1), Span::seconds(1));
    }
    assert_eq!(granted(&world), [Watts::ZERO, kw(8)]);
}

#[test]
fn an_allowance_that_runs_out_makes_its_lease_dearer_to_curtail() {
    // 1602 USD/MWh as above, and 100 of allowance more while it is used up evenly.
    for (allowance, curtails) in [(0, true), (100, false)] {
        let mut world = settled(60);
        world.snapshot.policy.allowance_price = UsdPerMwh::dollars(allowance);
        world.price(1_650);
        world.run(minutes(12), Span::seconds(1));
        assert_eq!(granted(&world) == [Watts::ZERO, kw(8)], curtails, "{allowance}");
    }
    let value = |spent: i64| {
        let mut world = settled(60);
        world.snapshot.policy.allowance_price = UsdPerMwh::dollars(100);
        if let LeaseState::Accepted(contract) = &mut world.snapshot.leases[0].state {
            contract.account.curtailed = minutes(spent);
        }
        world.price(20_000);
        world.run(minutes(12), Span::seconds(1));
        match world.plan.leases[0].reason {
            Reason::Curtailed { value, .. } => value.get() / 1_000_000,
            ref other => panic!("{other:?}"),
        }
    };
    // Of 240 minutes a week 120 are left, then 48: less two since it stopped, and nearly all of the week is ahead.
    let values = [0, 120, 192].map(value);
    assert_eq!([values[1] - values[0], values[2] - values[0]], [102, 418]);
}

#[test]
fn a_lease_that_runs_on_because_its_allowance_is_spent_says_until_when() {
    let mut world = settled(60);
    let start = contract(&world.snapshot.leases[0]).offer.start;
    if let LeaseState::Accepted(contract) = &mut world.snapshot.leases[0].state {
        contract.account.curtailed = minutes(240);
    }
    world.price(20_000);
    world.run(minutes(12), Span::seconds(1));
    assert_eq!(granted(&world), [kw(8), kw(8)]);
    assert_eq!(world.plan.leases[0].reason, Reason::AllowanceSpent { until: start.after(minutes(7 * 24 * 60)) });
}

#[test]
fn a_limit_on_gpus_alone_stops_a_lease_and_no_miner() {
    let mut world = settled(20);
    let limit = event(world.snapshot.now, NodeId::SITE, kw(23));
    world.snapshot.limits = vec![TimedLimit { kind: Some(LoadKind::Gpu), ..limit }];
    world.run(minutes(1), Span::seconds(1));
    assert_eq!(granted(&world), [Watts::ZERO, kw(8)]);
    assert_eq!(world.watts()[..2], [kw(1_188); 2]);
}

#[test]
fn watts_of_a_lease_whose_pods_have_not_landed_are_kept_free_on_its_feeder() {
    let mut site = two_leases();
    for load in &mut site.loads {
        load.node = HALL_B;
    }
    // Room for the floors, both leases and 100 kW of miners above their floors.
    super::world::limit(&mut site, HALL_B, Watts::new(100_000 + 14_400 + 16_000 + 100_000));
    let mut world = World::new(site);
    world.price(20);
    world.run(minutes(40), Span::seconds(1));
    for lease in &mut world.snapshot.leases {
        lease.placed.clear();
    }
    let plan = decide(&world.snapshot, digest);
    let miners: Watts = plan.loads[..2].iter().map(|l| l.watts).sum();
    assert_eq!(miners, kw(200));
    assert!(plan.loads[2..].iter().all(|l| l.reason == Reason::NoLease));
}

#[test]
fn watts_of_an_idle_lease_go_to_miners_and_come_back_with_its_next_job() {
    let mut site = two_leases();
    for load in &mut site.loads {
        load.node = HALL_B;
    }
    super::world::limit(&mut site, HALL_B, Watts::new(100_000 + 14_400 + 16_000 + 100_000));
    let mut world = World::new(site);
    world.price(20);
    world.run(minutes(40), Span::seconds(1));
    world.snapshot.leases[0].has_work = false;
    world.run(minutes(1), Span::seconds(1));
    assert_eq!(world.watts()[..2].iter().copied().sum::<Watts>(), kw(208));
    world.snapshot.leases[0].has_work = true;
    world.run(minutes(1), Span::seconds(1));
    assert_eq!(world.watts()[..2].iter().copied().sum::<Watts>(), kw(200));
    assert_eq!(granted(&world), [kw(8), kw(8)]);
}

#[test]
fn a_request_is_answered_with_an_offer_accepted_or_refused_with_what_would_fit() {
    let mut site = snapshot(1, 2);
    let class = class(Delivery::Jobs { pool: 0, gpus: 16 }, terms(false));
    site.classes = vec![class];
    let mut asked = lease(site.now, "tenant/a", 8, terms(false));
    asked.state = LeaseState::Requested;
    let (start, end) = (site.now, site.now.after(minutes(600)));
    let request = Request { class: Some(0), start, end, max_price: Some(Usd::dollars(1)), ..asked.request.clone() };
    asked.request = request.clone();
    let mut large = asked.clone();
    large.name = "tenant/b".into();
    large.request.delivery = Some(Delivery::Jobs { pool: 0, gpus: 12 });
    site.leases = vec![asked, large];
    let mut world = World::new(site);
    world.run(Span::seconds(2), Span::seconds(1));
    let offer = &contract(&world.snapshot.leases[0]).offer;
    assert_eq!(offer.hash, digest(&offer.canonical("tenant/a", &world.snapshot.pools[0].name)));
    assert_eq!(granted_first(&world), kw(4));
    let LeaseState::Refused(refusal) = world.snapshot.leases[1].state else { panic!() };
    assert_eq!((refusal.reason, refusal.would_fit), (RefusalReason::Capacity, 8));
    let Reason::Refused(refusal) = &world.plan.leases[1].reason else { panic!("{:?}", world.plan.leases[1]) };
    assert_eq!(refusal.reason, RefusalReason::Capacity);
}

fn granted_first(world: &World) -> Watts {
    contract(&world.snapshot.leases[0]).grant.watts
}
