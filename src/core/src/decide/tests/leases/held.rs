//! What leases lack while persons hold GPU nodes.

use super::{granted, settled, two_leases};
use crate::decide::decide;
use crate::decide::tests::world::{HALL_B, World, contract, digest, kw, minutes, snapshot};
use crate::guard::LoadId;
use crate::plan::{Plan, Reason};
use crate::snapshot::{Lockout, LockoutTarget, Reading};
use crate::units::{Span, Time, Watts};

pub(super) fn lockout(name: &str, target: LockoutTarget, limit: Watts) -> Lockout {
    Lockout { name: name.into(), holder: "ana".into(), target, limit, since: Time::ZERO }
}

/// A hold on one GPU node: 2 and 3 are the flexible lease's, 4 and 5 the firm one's.
fn on(load: u32, limit: i64) -> Lockout {
    lockout("psu", LockoutTarget::Load(LoadId(load)), Watts::new(limit))
}

/// What both leases lack after this decision.
fn lacking(plan: &Plan) -> [Watts; 2] {
    [0, 1].map(|at| match &plan.leases[at].state {
        crate::lease::LeaseState::Accepted(contract) => contract.missing,
        other => panic!("{other:?}"),
    })
}

/// Holds, decides, and tells what both leases lack.
fn held(world: &mut World, lockouts: Vec<Lockout>) -> [Watts; 2] {
    world.snapshot.lockouts = lockouts;
    lacking(&decide(&world.snapshot, digest))
}

#[test]
fn a_lease_lacks_the_gpus_of_its_held_nodes_and_keeps_its_grant_firm_or_not() {
    for (load, lacks) in [(2, [kw(4), kw(0)]), (5, [kw(0), kw(4)])] {
        let mut world = settled(60);
        world.snapshot.lockouts = vec![on(load, 0)];
        world.run(Span::seconds(1), Span::seconds(1));
        assert_eq!((lacking(&world.plan), granted(&world)), (lacks, [kw(8), kw(8)]));
        let says = [0, 1].map(|at| matches!(world.plan.leases[at].reason, Reason::Lockout { .. }));
        assert_eq!(says, lacks.map(|lacks| lacks > Watts::ZERO));
    }
    let feeder = lockout("bus", LockoutTarget::Node(HALL_B), Watts::ZERO);
    assert_eq!(held(&mut settled(60), vec![feeder]), [kw(8), kw(8)]);
}

#[test]
fn a_lease_whose_pods_have_a_free_node_to_go_to_lacks_nothing() {
    let mut site = snapshot(2, 5);
    site.leases = two_leases().leases;
    let mut world = World::new(site);
    world.run(minutes(40), Span::seconds(10));
    assert_eq!(held(&mut world, vec![on(2, 0)]), [kw(0); 2], "its pods have not left yet");
    world.snapshot.leases[0].placed = vec![(LoadId(3), 8), (LoadId(6), 8)];
    let plan = decide(&world.snapshot, digest);
    assert_eq!((lacking(&plan), &plan.leases[0].reason), ([kw(0); 2], &Reason::Full));
    // The second one that is held has nowhere to go.
    assert_eq!(held(&mut world, vec![on(2, 0), on(3, 0)]), [kw(4), kw(0)]);
    assert_eq!(held(&mut world, vec![on(6, 0)]), [kw(0); 2], "the node that is held first is free again");
}

#[test]
fn what_no_node_has_because_it_is_gone_is_no_lockouts_doing() {
    let mut world = settled(60);
    let three = &world.snapshot.loads[..5];
    world.snapshot.loads = three.to_vec();
    world.snapshot.leases[1].placed.pop();
    assert_eq!(held(&mut world, vec![]), [kw(0); 2]);
    assert_eq!(held(&mut world, vec![on(2, 0)]).iter().copied().sum::<Watts>(), kw(4));
}

#[test]
fn a_lease_with_jobs_has_what_room_is_left_before_one_without() {
    let mut world = settled(60);
    world.snapshot.leases[0].placed.clear();
    (world.snapshot.leases[0].has_work, world.snapshot.leases[0].has_pods) = (false, false);
    assert_eq!(held(&mut world, vec![on(4, 0)]), [kw(4), kw(0)]);
}

#[test]
fn a_hold_that_leaves_a_node_some_watts_takes_only_the_others() {
    // 3.6 kW at lowest caps, 4 kW above them: at 5.6 kW half of those are left.
    let mut world = settled(60);
    assert_eq!(held(&mut world, vec![on(2, 5_600)]), [kw(2), kw(0)]);
    assert_eq!(held(&mut world, vec![on(2, 3_600)]), [kw(4), kw(0)]);
    assert_eq!(held(&mut world, vec![on(2, 7_600)]), [kw(0), kw(0)]);
}

#[test]
fn a_stale_meter_does_not_hide_what_is_held() {
    let mut world = settled(60);
    world.snapshot.lockouts = vec![on(2, 0)];
    world.run(minutes(1), Span::seconds(1));
    let time = world.snapshot.now.before(minutes(60));
    world.snapshot.meters[HALL_B.index()] = Some(Reading { watts: Watts::ZERO, error: Watts::ZERO, time });
    assert_eq!(lacking(&decide(&world.snapshot, digest)), [kw(4), kw(0)]);
}

#[test]
fn a_hold_changes_a_lease_when_it_begins_and_when_it_ends_and_is_accounted_for_between() {
    let mut world = settled(60);
    let before = contract(&world.snapshot.leases[0]).clone();
    world.snapshot.lockouts = vec![on(2, 0)];
    world.run(Span::seconds(10), Span::seconds(10));
    let lacks = contract(&world.snapshot.leases[0]).clone();
    assert_eq!((before.missing, lacks.missing, lacks.account.at), (kw(0), kw(4), world.snapshot.now));
    world.run(minutes(60), Span::seconds(10));
    assert_eq!(contract(&world.snapshot.leases[0]), &lacks);
    world.snapshot.lockouts.clear();
    world.run(Span::seconds(10), Span::seconds(10));
    let after = contract(&world.snapshot.leases[0]);
    let (was, account) = (before.account_at(world.snapshot.now), after.account);
    let lost = kw(4).over(minutes(60)) + kw(4).over(Span::seconds(10));
    assert_eq!((after.missing, after.grant), (kw(0), before.grant));
    assert_eq!(account.withheld.whole - was.withheld.whole, lost);
    assert_eq!(crate::lease::Account { granted: was.granted, withheld: was.withheld, ..account }, was);
}
