//! What a decision was made of: the bids around an award, and what would change it.

use super::world::{HALL_A, World, digest, kw, lease, limit, minutes, snapshot, terms};
use crate::decide::decide;
use crate::decide::explain::{Bidder, Room, Tranche, explain};
use crate::guard::LoadId;
use crate::snapshot::Quote;
use crate::tree::NodeId;
use crate::units::{Span, UsdPerMwh, Watts};

const FIRST: Bidder = Bidder::Load(LoadId(0));
const SECOND: Bidder = Bidder::Load(LoadId(1));

/// What the second step of the ladder must be worth more than: 44.64 less half the dead band.
const SECOND_STEP: UsdPerMwh = UsdPerMwh::new(42_642_857);

fn settled(price: i64, hall: Option<Watts>) -> World {
    let mut world = World::new(snapshot(2, 1));
    world.price(price);
    if let Some(watts) = hall {
        limit(&mut world.snapshot, HALL_A, watts);
    }
    world.run(minutes(10), Span::seconds(1));
    world
}

fn cents(price: UsdPerMwh) -> i64 {
    price.get() / 10_000
}

#[test]
fn the_plan_that_is_explained_is_the_one_that_was_decided() {
    let mut world = World::new(snapshot(2, 4));
    world.snapshot.leases = vec![lease(world.snapshot.now, "tenant/flex", 16, terms(false))];
    for price in [60, 20, 2_000, 60] {
        world.price(price);
        world.run(minutes(12), Span::seconds(30));
        assert_eq!(explain(&world.snapshot, digest).plan, decide(&world.snapshot, digest));
    }
    world.snapshot.price = Quote::Missing;
    let held = explain(&world.snapshot, digest);
    assert_eq!((held.loads.more_below(FIRST), held.loads.less_from(FIRST)), (None, None));
}

#[test]
fn a_step_that_is_not_worth_its_price_comes_just_below_what_it_is_worth_and_not_before() {
    let mut world = settled(60, None);
    let told = explain(&world.snapshot, digest);
    let steps: Vec<(i64, i64, i64)> = told
        .loads
        .steps(FIRST)
        .iter()
        .map(|Tranche { watts, taken, merit, .. }| (watts.get() / 1_000, taken.get() / 1_000, cents(*merit)))
        .collect();
    // The first step holds on by half the dead band and by a stop and a start spread over a quarter of an hour.
    assert_eq!(steps, [(690, 690, 11_774), (448, 0, 4_264)]);
    assert_eq!(told.loads.more_below(FIRST), Some((SECOND_STEP, kw(448))));
    assert_eq!(told.loads.more_with_room(FIRST), None);
    let (from, loss) = told.loads.less_from(FIRST).unwrap();
    assert_eq!((cents(from), loss), (11_774, kw(690)));
    // And so the decision goes.
    world.price(43);
    assert_eq!(explain(&world.snapshot, digest).targets[0], kw(740));
    world.price(42);
    assert_eq!(explain(&world.snapshot, digest).targets[0], kw(1_188));
}

#[test]
fn a_limit_that_binds_names_who_goes_next_who_comes_next_and_the_room_that_is_missing() {
    // Both containers would run whole; 300 kW are missing.
    let mut world = settled(20, Some(kw(2_076)));
    let told = explain(&world.snapshot, digest);
    assert_eq!(told.targets[..2], [kw(1_188), kw(888)]);
    assert_eq!(told.loads.more_below(SECOND), None);
    let room = Room { nodes: vec![HALL_A], watts: kw(300), gain: kw(300) };
    assert_eq!(told.loads.more_with_room(SECOND), Some(room));
    let next = told.loads.next_out(HALL_A, Some(SECOND)).unwrap();
    assert_eq!((next.bidder, next.taken), (FIRST, kw(448)));
    assert_eq!(told.loads.next_in(HALL_A, Some(SECOND)), None);
    assert_eq!(told.loads.next_in(HALL_A, None).map(|step| step.bidder), Some(SECOND));
    limit(&mut world.snapshot, HALL_A, kw(2_376));
    assert_eq!(explain(&world.snapshot, digest).targets[1], kw(1_188));
}

#[test]
fn where_two_limits_bind_the_room_is_asked_of_both() {
    let mut world = settled(20, Some(kw(2_076)));
    // The GPU node's lowest caps take 3.6 kW of the site.
    limit(&mut world.snapshot, NodeId::SITE, Watts::new(2_079_600));
    let told = explain(&world.snapshot, digest);
    let mut room = told.loads.more_with_room(SECOND).unwrap();
    room.nodes.sort();
    assert_eq!(room, Room { nodes: vec![NodeId::SITE, HALL_A], watts: kw(300), gain: kw(300) });
}

#[test]
fn a_lease_is_explained_among_the_miners_it_competes_with() {
    let mut world = World::new(snapshot(2, 4));
    world.snapshot.leases = vec![lease(world.snapshot.now, "tenant/flex", 16, terms(false))];
    world.run(minutes(40), Span::seconds(10));
    let told = explain(&world.snapshot, digest);
    let auction = told.leases.unwrap();
    let (from, loss) = auction.less_from(Bidder::Lease(0)).unwrap();
    // 1000 of rent, 100 of credit, 2 of half the dead band, 500 for a stop.
    assert_eq!((cents(from), loss), (160_200, kw(8)));
    assert_eq!(told.loads.award(Bidder::Lease(0)), None);
    // Rent of 16 GPUs at half a dollar; the power of all.
    assert_eq!((told.hourly.rent.get(), told.hourly.credits.get()), (8_000_000, 0));
}
