//! What devices leave unused: who falls first for it, and how it is asked for again.

use super::rules::cap;
use super::*;
use Limiter::Asleep;

const TOP: i64 = 2_940;
/// Three miners at their top and the overhead.
const FULL: i64 = 3 * TOP + 500;

/// Three miners at their top, proved; the last stops itself, and keeps its limiter.
fn one_of_three_stops() -> Rig {
    let mut rig = Rig::new(load(vec![miner()], &[0, 0, 0]), &[cap(2800); 3]);
    rig.command(FULL, true);
    rig.run(30);
    assert_eq!((rig.ceiling(), rig.inventory.usable(rig.now)), (FULL, Watts::new(FULL)));
    rig.units[2].demand = Watts::new(20);
    rig
}

/// What lies unused, what the load could use, how many devices are idle.
fn stands(rig: &Rig) -> (i64, i64, usize) {
    (rig.inventory.unused().get(), rig.inventory.usable(rig.now).get(), rig.inventory.idle(rig.now))
}

#[test]
fn a_miner_that_stopped_itself_is_idle_after_its_time_and_counts_its_limiter_all_along() {
    let mut rig = one_of_three_stops();
    rig.run(19 * 60);
    assert_eq!((stands(&rig), rig.ceiling()), ((0, FULL, 0), FULL));
    rig.run(4 * 60);
    assert_eq!((stands(&rig), rig.ceiling()), ((TOP - 21, FULL - TOP + 21, 1), FULL), "21: 20 W and 5 % of error");
    // It comes back by itself, under the limiter that counted all along.
    rig.units[2].demand = Watts::new(3_000);
    rig.run(150);
    assert_eq!((stands(&rig), rig.ceiling()), ((0, FULL, 0), FULL));
    assert_eq!(rig.told, []);
}

#[test]
fn who_leaves_watts_unused_falls_first_and_asks_for_them_again_after_a_rest() {
    let mut rig = one_of_three_stops();
    rig.run(23 * 60);
    rig.command(2 * TOP + 500 + 300, false);
    rig.run(30);
    assert_eq!(rig.told, [(2, Asleep)], "the others work on");
    assert_eq!((stands(&rig), rig.ceiling()), ((0, 2 * TOP + 500 + 21, 1), 2 * TOP + 500 + 21));
    // A raise meanwhile is not for it.
    rig.command(FULL, true);
    rig.run(28 * 60);
    assert_eq!((rig.told.len(), stands(&rig).2), (1, 1));
    rig.command(2 * TOP + 500 + 300, false);
    rig.run(2 * 60);
    assert_eq!(stands(&rig), (0, FULL, 0), "it asks");
    rig.units[2].demand = Watts::new(3_000);
    rig.command(FULL, true);
    rig.run(30);
    assert_eq!(rig.told.get(1..), Some(&[(2, cap(2800))][..]));
    assert_eq!((rig.ceiling(), rig.truth()), (FULL, Watts::new(FULL)));
}

#[test]
fn a_gpu_that_waits_for_work_leaves_nothing_unused() {
    let mut rig = Rig::new(load(vec![gpu()], &[0, 0]), &[cap(700); 2]);
    rig.units.iter_mut().for_each(|unit| unit.demand = Watts::new(90));
    rig.command(1_900, true);
    rig.run(40 * 60);
    assert_eq!(stands(&rig), (0, 1_900, 0));
}

#[test]
fn with_leave_to_raise_the_others_have_what_an_idle_one_holds() {
    let mut rig = one_of_three_stops();
    rig.command(2 * TOP + 500 + 300, false);
    rig.run(30);
    let stood = rig.told.len();
    assert_eq!(stands(&rig).2, 0);
    rig.run(24 * 60);
    assert_eq!(stands(&rig).2, 1);
    rig.command(2 * TOP + 500 + 301, true);
    rig.run(30);
    let limiters: Vec<Limiter> = rig.units.iter().map(|unit| unit.limiter).collect();
    assert_eq!(limiters, [cap(2800), cap(2800), Asleep], "{:?}", rig.told.get(stood..));
}
