//! Which device is told what.

use super::*;
use Limiter::{Asleep, Unlimited, Watts as Cap};

const fn cap(watts: i64) -> Limiter {
    Cap(Watts::new(watts))
}

/// Half the yield of [`miner`] for the same watts.
fn old_miner() -> DeviceClass {
    let steps = [(1000, 25), (1500, 40), (2000, 52), (2500, 62), (2800, 67)];
    let steps = steps.map(|(w, value)| Step { watts: Watts::new(w), value }).to_vec();
    DeviceClass { limiters: Limiters::Ladder(steps), ..miner() }
}

fn limiters(rig: &Rig) -> Vec<Limiter> {
    rig.units.iter().map(|unit| unit.limiter).collect()
}

#[test]
fn old_models_go_to_sleep_first_and_wake_last() {
    let mut rig = Rig::new(load(vec![old_miner(), miner()], &[0, 1, 0, 1]), &[cap(2800); 4]);
    rig.run(10);
    assert_eq!(rig.ceiling(), 4 * 2940 + 500);
    rig.command(2 * 2940 + 42 + 500, false);
    rig.run(20);
    assert_eq!(limiters(&rig), [Asleep, cap(2800), Asleep, cap(2800)]);
    assert!(rig.inventory.proof(rig.now).settled);
    rig.command(2 * 2940 + 21 + 1575 + 500, true);
    rig.run(20);
    assert_eq!(limiters(&rig), [cap(1500), cap(2800), Asleep, cap(2800)]);
}

#[test]
fn a_small_cut_moves_one_device_and_no_further_than_it_must() {
    let mut rig = Rig::new(load(vec![miner()], &[0; 20]), &[cap(2500); 20]);
    rig.run(10);
    rig.command(20 * 2625 + 500 - 100, false);
    rig.run(20);
    assert_eq!(rig.told, [(19, cap(2000))]);
    assert_eq!(rig.ceiling(), 19 * 2625 + 2100 + 500);
    rig.command(20 * 2625 + 500, true);
    rig.run(20);
    assert_eq!(rig.told, [(19, cap(2000)), (19, cap(2500))]);
}

#[test]
fn a_step_that_is_not_worth_running_at_is_still_better_than_sleep_for_a_small_cut() {
    // Between sleep and 1500 W the step at 1000 W lies under the hull.
    let mut rig = Rig::new(load(vec![miner()], &[0; 2]), &[cap(1500); 2]);
    rig.run(10);
    rig.command(2 * 1575 + 500 - 100, false);
    rig.run(20);
    assert_eq!(rig.told, [(1, cap(1000))]);
    rig.command(1575 + 21 + 500, false);
    rig.run(20);
    assert_eq!(limiters(&rig), [cap(1500), Asleep]);
}

#[test]
fn gpus_of_a_node_share_alike() {
    let mut rig = Rig::new(load(vec![gpu()], &[0; 4]), &[cap(700); 4]);
    rig.run(10);
    rig.command(4 * 408 + 500, false);
    rig.run(10);
    assert_eq!(limiters(&rig), [cap(400); 4]);
    rig.command(4 * 408 + 25 + 500, true);
    rig.run(10);
    assert_eq!(limiters(&rig), [cap(410), cap(410), cap(400), cap(400)]);
}

#[test]
fn nobody_is_raised_to_having_no_limiter() {
    let class = DeviceClass { power_on_watts: Watts::new(800), ..gpu() };
    let mut rig = Rig::new(
        load(vec![class.clone(), DeviceClass { power_on_watts: Watts::new(3200), ..miner() }], &[0, 1]),
        &[cap(300), cap(1000)],
    );
    rig.command(5_000, true);
    rig.run(30);
    assert_eq!(limiters(&rig), [cap(700), cap(2800)]);
    assert_eq!(rig.inventory.usable(rig.now), Watts::new(714 + 2940 + 500));
}

#[test]
fn what_was_found_between_two_steps_is_left_there_while_it_fits() {
    let mut rig = Rig::new(load(vec![miner()], &[0, 0]), &[cap(2650), cap(2500)]);
    rig.command(6500, false);
    rig.run(20);
    assert_eq!((rig.told.clone(), rig.ceiling()), (vec![], 2783 + 2625 + 500));
    rig.command(5600, false);
    rig.run(20);
    assert_eq!(limiters(&rig), [cap(2500), cap(2000)]);
}

#[test]
fn a_mine_that_runs_without_limiters_is_left_alone_at_its_nameplate() {
    let mut rig = Rig::new(load(vec![miner()], &[0, 0, 0]), &[Unlimited; 3]);
    rig.command(9500, true);
    rig.run(60);
    assert_eq!((rig.told.clone(), rig.ceiling()), (vec![], 9500));
    assert!(rig.inventory.proof(rig.now).settled);
    assert_eq!(rig.inventory.count(Standing::Proved, rig.now), 3);
    rig.units[1].silent = true;
    rig.run(300);
    assert_eq!(rig.inventory.which(Standing::Silent, rig.now).collect::<Vec<_>>(), [1]);
    assert_eq!(rig.inventory.usable(rig.now), Watts::new(2940 + 3000 + 2940 + 500));
}

#[test]
fn nothing_rises_before_the_lowers_that_make_room_are_proved() {
    // The second is found above its share; the first may only have what the second is proved to have given up.
    let mut rig = Rig::new(load(vec![miner(), old_miner()], &[0, 1]), &[Asleep, cap(2800)]);
    rig.run(10);
    rig.command(2940 + 21 + 500, true);
    rig.run(20);
    assert_eq!(rig.told, [], "it stands within its limit: nothing is switched for nothing");
    rig.command(21 + 2100 + 500, true);
    rig.run(1);
    assert_eq!(rig.told, [(1, cap(2000))]);
    rig.command(2940 + 1575 + 500, true);
    assert_eq!(rig.told, [(1, cap(2000))], "counts 2940 W until it is proved lower");
    rig.run(30);
    assert_eq!((rig.told.clone(), rig.ceiling()), (vec![(1, cap(2000)), (0, cap(2000))], 2100 + 2100 + 500));
}

#[test]
fn without_leave_nothing_is_raised_and_an_unread_device_is_told_nothing() {
    let mut rig = Rig::new(load(vec![miner()], &[0, 0]), &[Asleep, cap(1000)]);
    rig.units[0].silent = true;
    rig.command(6500, false);
    rig.run(60);
    rig.units[0].silent = false;
    rig.run(60);
    assert_eq!((rig.told.clone(), rig.ceiling()), (vec![], 21 + 1050 + 500));
}

#[test]
fn a_leave_to_raise_ends_by_itself() {
    let mut rig = Rig::new(load(vec![miner()], &[0; 2]), &[cap(2500), Asleep]);
    rig.run(10);
    rig.inventory.command(Watts::new(2 * 2625 + 500), Some(rig.now), false, rig.now);
    rig.run(10);
    let proof = rig.inventory.proof(rig.now);
    assert_eq!((rig.told.len(), proof.rising, proof.settled), (0, true, false), "and is wanted again");
    let asked =
        rig.inventory.command(Watts::new(2 * 2625 + 500), Some(rig.now.after(Span::seconds(5))), false, rig.now);
    rig.take(asked);
    rig.run(10);
    let proof = rig.inventory.proof(rig.now);
    assert_eq!((limiters(&rig), proof.rising, proof.settled), (vec![cap(2500); 2], false, true));
}

#[test]
fn leave_to_raise_is_of_use_until_the_last_device_was_told() {
    let mut rig = Rig::new(load(vec![miner()], &[0; 4]), &[Asleep; 4]);
    let slowly = Policy { wakes_per_second: Ppm::percent(25), ..policy() };
    rig.inventory = Inventory::new(load(vec![miner()], &[0; 4]), slowly, at(0)).unwrap();
    rig.units[3].silent = true;
    rig.command(3 * 2940 + 3000 + 500, true);
    rig.run(10);
    assert_eq!((rig.told.len(), rig.inventory.proof(rig.now).rising), (3, true), "one was not read yet");
    rig.units[3].silent = false;
    let seen = [1, 1, 1].map(|seconds| {
        rig.run(seconds);
        (rig.told.len(), rig.inventory.proof(rig.now).rising)
    });
    assert_eq!(seen, [(3, true), (4, false), (4, false)], "though nothing has settled yet");
}

#[test]
fn leave_that_ended_before_the_last_was_told_is_wanted_again_and_a_lower_limit_wants_none() {
    let mut rig = Rig::new(load(vec![miner()], &[0; 4]), &[Asleep; 4]);
    let slowly = Policy { wakes_per_second: Ppm::percent(25), ..policy() };
    rig.inventory = Inventory::new(load(vec![miner()], &[0; 4]), slowly, at(0)).unwrap();
    rig.run(10);
    let limit = Watts::new(4 * 2940 + 500);
    let asked = rig.inventory.command(limit, Some(rig.now.after(Span::new(1_500))), false, rig.now);
    rig.take(asked);
    rig.run(60);
    let proof = rig.inventory.proof(rig.now);
    assert_eq!((rig.told.len(), proof.rising, proof.settled), (2, true, false));
    rig.command(2 * 2940 + 2 * 21 + 500, false);
    rig.run(10);
    let proof = rig.inventory.proof(rig.now);
    assert_eq!((rig.told.len(), proof.rising, proof.settled), (2, false, true));
}

#[test]
fn wakes_are_staggered() {
    let mut rig = Rig::new(load(vec![miner()], &[0; 100]), &[Asleep; 100]);
    rig.inventory =
        Inventory::new(load(vec![miner()], &[0; 100]), Policy { wakes_per_second: Ppm::percent(4), ..policy() }, at(0))
            .unwrap();
    rig.run(10);
    rig.command(400_000, true);
    let mut woken = vec![rig.told.len()];
    for _ in 0..5 {
        rig.run(1);
        woken.push(rig.told.len());
    }
    assert_eq!(woken, [4, 8, 12, 16, 20, 24]);
    rig.run(40);
    assert_eq!(rig.ceiling(), 100 * 2940 + 500);
}

#[test]
fn others_make_room_for_a_dead_miner() {
    let mut rig = Rig::new(load(vec![miner()], &[0; 10]), &[cap(2500); 10]);
    rig.units[3].silent = true;
    rig.command(10 * 2625 + 500, true);
    rig.run(120);
    assert_eq!(rig.stands(3), Standing::Silent);
    assert_eq!(rig.inventory.count(Standing::Proved, rig.now), 9);
    let proof = rig.inventory.proof(rig.now);
    assert!(proof.settled && proof.ceiling <= Watts::new(10 * 2625 + 500), "{proof:?}");
    assert_eq!(rig.told, [(9, cap(2000))], "3000 W for the dead one, 375 W from another");
    rig.units[3].silent = false;
    rig.run(60);
    assert_eq!(rig.told, [(9, cap(2000)), (9, cap(2500))], "and are given them back");
}

#[test]
fn a_device_that_says_ok_and_keeps_drawing_is_named_and_made_room_for() {
    let mut rig = Rig::new(load(vec![miner()], &[0; 4]), &[cap(2500); 4]);
    rig.run(10);
    rig.units[3].wedged = Some(Watts::new(2500));
    rig.command(3 * 2625 + 2100 + 500, false);
    rig.run(20);
    assert_eq!(rig.inventory.which(Standing::Contradicting, rig.now).collect::<Vec<_>>(), [3]);
    rig.run(60);
    assert!(rig.ceiling() <= 3 * 2625 + 2100 + 500);
    assert_eq!(rig.units[3].limiter, Asleep, "told to fall as far as it can");
    rig.units[3].wedged = None;
    rig.run(60);
    assert_eq!(rig.inventory.count(Standing::Proved, rig.now), 4);
}

#[test]
fn a_device_that_refuses_to_be_lowered_keeps_what_it_proved_and_others_make_room() {
    let mut rig = Rig::new(load(vec![miner()], &[0; 4]), &[cap(2500); 4]);
    rig.run(10);
    rig.units[3].refuses = true;
    rig.command(3 * 2625 + 2100 + 500, false);
    rig.run(30);
    assert_eq!((rig.stands(3), rig.ceiling()), (Standing::Stubborn, 3 * 2625 + 2100 + 500));
    assert_eq!(limiters(&rig), [cap(2500), cap(2500), cap(2000), cap(2500)]);
}

#[test]
fn a_refused_rise_is_let_go_and_is_no_fault() {
    let mut rig = Rig::new(load(vec![miner()], &[0; 2]), &[cap(1000); 2]);
    rig.run(10);
    rig.units[0].refuses = true;
    rig.command(2 * 1050 + 525 + 500, true);
    rig.run(30);
    assert_eq!(limiters(&rig), [cap(1000), cap(1500)]);
    assert_eq!(rig.stands(0), Standing::Proved);
    assert!(rig.inventory.proof(rig.now).settled);
}

#[test]
fn a_cap_that_a_reload_lost_is_imposed_again_at_once() {
    let mut rig = Rig::new(load(vec![gpu()], &[0; 2]), &[cap(700); 2]);
    rig.command(2 * 408 + 500, false);
    rig.run(20);
    assert_eq!(rig.ceiling(), 2 * 408 + 500);
    let now = rig.now;
    rig.units[1].reboot(now);
    rig.run(5);
    assert_eq!(limiters(&rig), [cap(400); 2], "before it can be back at full draw");
    rig.run(20);
    assert_eq!(rig.ceiling(), 2 * 408 + 500);
}
