//! What an operator does beside another version of itself.

use super::Exit;
use super::report::tests::world::World;
use crate::api::controllable_load::PROTOCOL;

#[test]
fn an_operator_older_than_its_loads_protocol_stops_leading_and_then_follows_and_is_not_ready() {
    let mut world = World::new("");
    world.run(60);
    assert_eq!((world.leads(), world.is_ready()), (true, true));
    world.speak(PROTOCOL + 1);
    let exit = (0..3).find_map(|_| world.second().err());
    let load = "h100-gpu-0".to_owned();
    assert_eq!(exit, Some(Exit::Outdated { load, protocol: PROTOCOL + 1 }));
    // Started afresh while nobody leads, it leaves the lead to a newer one.
    world.take_over();
    world.run(60);
    assert_eq!((world.leads(), world.is_ready()), (false, false));
    world.speak(PROTOCOL);
    world.run(60);
    assert_eq!((world.leads(), world.is_ready()), (true, true));
}
