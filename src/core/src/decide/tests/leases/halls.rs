//! Leases of power: halls that their tenants run.

use super::granted_first;
use crate::decide::tests::world::{HALL_B, World, event, kw, lease, minutes, snapshot, terms};
use crate::lease::{Delivery, LeaseState, Terms};
use crate::plan::Reason;
use crate::units::{Span, Usd, Watts};

/// A hall of 2 MW that a tenant runs, on the containers' feeder: it counts there whatever it is granted.
fn hall(flexible: bool) -> World {
    let mut site = snapshot(2, 0);
    let mut nodes = site.tree.nodes().to_vec();
    nodes[2].auxiliary = kw(2_000);
    site.tree = crate::tree::Tree::new(nodes).unwrap();
    // 73 USD per kW and month are 100 USD/MWh; with 100 of credit, half a dead band and no stop: 202.
    let terms = Terms { price: Usd::dollars(73), stop_cost: Usd::ZERO, ..terms(!flexible) };
    let mut lease = lease(site.now, "tenant/hall", 0, terms);
    let delivery = Delivery::Power { node: HALL_B, watts: kw(2_000) };
    lease.request.delivery = Some(delivery);
    if let LeaseState::Accepted(contract) = &mut lease.state {
        contract.offer.delivery = delivery;
        contract.full = crate::lease::Level { watts: kw(2_000), cap: Watts::ZERO };
    }
    lease.has_work = false;
    site.leases = vec![lease];
    let mut world = World::new(site);
    world.price(60);
    world.run(minutes(40), Span::seconds(10));
    world
}

#[test]
fn a_hall_is_granted_whole_curtailed_after_its_notice_and_frees_no_watt_by_it() {
    let mut world = hall(true);
    assert_eq!(granted_first(&world), kw(2_000));
    world.price(201);
    world.run(minutes(20), Span::seconds(1));
    assert_eq!(granted_first(&world), kw(2_000));
    let room = |world: &World| world.plan.nodes.iter().map(|node| node.capacity).collect::<Vec<_>>();
    let before = room(&world);
    world.price(203);
    world.run(Span::seconds(1), Span::seconds(1));
    let deadline = world.snapshot.now.after(minutes(10));
    assert_eq!(world.plan.leases[0].reason, Reason::Notice { deadline });
    world.run(minutes(11), Span::seconds(1));
    assert_eq!((granted_first(&world), room(&world)), (Watts::ZERO, before));
    assert!(matches!(world.plan.leases[0].reason, Reason::Curtailed { .. }));
    world.price(60);
    world.run(minutes(1), Span::seconds(1));
    assert_eq!(granted_first(&world), kw(2_000));
}

#[test]
fn a_firm_hall_is_curtailed_by_no_price_and_told_where_a_limit_takes_even_what_it_counts_for() {
    let mut world = hall(false);
    world.price(50_000);
    world.run(minutes(60), Span::seconds(10));
    assert_eq!(granted_first(&world), kw(2_000));
    world.snapshot.limits = vec![event(world.snapshot.now, HALL_B, kw(1_000))];
    world.run(Span::seconds(2), Span::seconds(1));
    assert_eq!(granted_first(&world), Watts::ZERO);
    let until = crate::units::Time::MAX;
    assert_eq!(world.plan.leases[0].reason, Reason::Event { name: "utility".into(), until });
}
