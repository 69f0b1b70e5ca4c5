//! Devices and wires that mislead: none of it may count as a proof.

use super::rules::{cap, counts, one, proved_at_1000, reading, stock};
use super::*;
use Limiter::Asleep;

fn answer(inventory: &mut Inventory, number: u64, written: Written, second: i64) {
    let answer = WriteAnswer { device: 0, number, written, answered_at: at(second) };
    inventory.observe(&DeviceAnswer::Write(answer), at(second));
}

/// The limiters that the first device is told.
fn told(asked: &[DeviceCommand]) -> Vec<Limiter> {
    let limiter = |command: &DeviceCommand| match command.ask {
        Ask::Set { limiter, .. } => Some(limiter),
        Ask::Read => None,
    };
    asked.iter().filter_map(limiter).collect()
}

#[test]
fn an_answer_without_a_counter_or_with_one_that_stands_is_no_sample() {
    let blind = |second| DeviceReading { counter: None, ..reading(second, cap(1000), 990) };
    assert_eq!(counts(&mut one(miner()), &[reading(0, cap(1000), 990), blind(5), blind(6), blind(7)]), 3000);
    let frozen = |second| DeviceReading { counter: Some(1_000), ..reading(second, cap(1000), 990) };
    assert_eq!(counts(&mut one(miner()), &[0, 5, 6, 7].map(frozen)), 3000);
}

#[test]
fn an_answer_from_before_its_question_changes_nothing() {
    let mut inventory = proved_at_1000();
    let odd = DeviceReading { asked_at: at(12), answered_at: at(9), ..reading(9, cap(2000), 1990) };
    assert_eq!(counts(&mut inventory, &[odd]), 1050);
}

#[test]
fn after_a_reboot_the_limiter_has_to_settle_again_and_be_sampled_again() {
    let mut inventory = proved_at_1000();
    let since = |second| DeviceReading { boot: Some(2), ..reading(second, cap(1000), 900) };
    assert_eq!(counts(&mut inventory, &[8, 9, 10, 11].map(since)), 3000);
    assert_eq!(counts(&mut inventory, &[12].map(since)), 3000);
    assert_eq!(counts(&mut inventory, &[13].map(since)), 1050);
}

#[test]
fn after_a_contradiction_one_sample_is_not_enough() {
    let mut inventory = proved_at_1000();
    assert_eq!(counts(&mut inventory, &[reading(8, cap(1000), 1051), reading(9, cap(1000), 900)]), 3000);
    assert_eq!(counts(&mut inventory, &[reading(10, cap(1000), 900)]), 1050);
}

#[test]
fn a_write_answered_after_a_lost_one_does_not_shorten_the_wait_for_the_lost() {
    let mut inventory = proved_at_1000();
    assert_eq!(told(&inventory.command(Watts::new(3500), Some(at(9)), false, at(8))), [cap(2800)]);
    assert_eq!(told(&inventory.command(Watts::new(1550), None, false, at(9))), [cap(1000)], "a lower overtakes");
    answer(&mut inventory, 1, Written::Lost, 10);
    answer(&mut inventory, 2, Written::Done, 11);
    assert_eq!(counts(&mut inventory, &[12, 16, 17].map(|second| reading(second, cap(1000), 990))), 2940);
    assert_eq!(counts(&mut inventory, &[20, 21].map(|second| reading(second, cap(1000), 990))), 1050);
}

#[test]
fn an_answer_to_a_write_that_was_overtaken_takes_back_nothing_of_the_newer() {
    for late in [Written::Lost, Written::Refused(Refusal::Busy)] {
        let mut inventory = proved_at_1000();
        assert_eq!(told(&inventory.command(Watts::new(3500), Some(at(9)), false, at(8))), [cap(2800)]);
        assert_eq!(told(&inventory.command(Watts::new(1550), None, false, at(9))), [cap(1000)]);
        answer(&mut inventory, 1, late, 10);
        assert_eq!(told(&inventory.due(at(11))), [], "{late:?}: the newer is on its way");
        assert_eq!(inventory.standing(0, at(11)), Some(Standing::Proved));
    }
}

#[test]
fn a_second_rise_waits_for_the_answer_to_the_first() {
    let mut inventory = proved_at_1000();
    assert_eq!(told(&inventory.command(Watts::new(2600), Some(at(99)), false, at(8))), [cap(2000)]);
    assert_eq!(told(&inventory.command(Watts::new(3500), Some(at(99)), false, at(9))), []);
    answer(&mut inventory, 1, Written::Done, 10);
    counts(&mut inventory, &[reading(10, cap(2000), 1990)]);
    assert_eq!(told(&inventory.due(at(10))), [cap(2800)]);
}

#[test]
fn one_that_boots_slowly_is_not_sent_back_to_sleep_when_leave_to_raise_ends_and_is_told_again_under_new_leave() {
    let mut inventory = one(miner());
    counts(&mut inventory, &[0, 4, 6, 7].map(|second| reading(second, Asleep, 20)));
    assert_eq!(told(&inventory.command(Watts::new(1550), Some(at(12)), false, at(8))), [cap(1000)]);
    answer(&mut inventory, 1, Written::Done, 9);
    // It says that it sleeps for as long as it boots.
    counts(&mut inventory, &[10, 14, 20, 30].map(|second| reading(second, Asleep, 20)));
    assert_eq!((told(&inventory.due(at(30))), inventory.proof(at(30)).rising), (vec![], false));
    assert_eq!((told(&inventory.due(at(38))), inventory.proof(at(38)).rising), (vec![], true), "after its time");
    let again = inventory.command(Watts::new(1550), Some(at(49)), false, at(39));
    assert_eq!((told(&again), inventory.proof(at(39)).rising), (vec![cap(1000)], false));
}

#[test]
fn a_device_that_says_yes_and_keeps_its_limiter_is_stubborn() {
    let mut inventory = proved_at_1000();
    assert_eq!(told(&inventory.command(Watts::new(600), None, false, at(8))), [Asleep]);
    answer(&mut inventory, 1, Written::Done, 9);
    let kept = [10, 20, 38].map(|second| reading(second, cap(1000), 990));
    assert_eq!(counts(&mut inventory, &kept), 1050, "it counts what it reads");
    assert_eq!(told(&inventory.due(at(38))), [Asleep], "told again");
    assert_eq!(inventory.standing(0, at(38)), Some(Standing::Stubborn));
}

#[test]
fn the_larger_error_of_limiter_and_sensor_counts() {
    let class = DeviceClass { sensor_error: Ppm::percent(10), ..miner() };
    assert_eq!(counts(&mut one(class), &[0, 4, 5].map(|second| reading(second, cap(1000), 990))), 1100);
}

#[test]
fn a_limiter_that_a_reboot_loses_lives_no_longer_than_any_other_however_slow_the_boot() {
    let mut inventory = one(DeviceClass { boot_to_full: Span::minutes(60), ..gpu() });
    assert_eq!(counts(&mut inventory, &[0, 2, 3].map(|second| reading(second, cap(400), 390))), 408);
    let ends = at(3).after(Span::minutes(10));
    assert_eq!(inventory.proof(ends.before(Span::seconds(3))).ceiling, Watts::new(700 + 500));
}

#[test]
fn an_answer_that_says_nothing_of_hash_rows_proves_no_sleep_and_rows_end_one() {
    let asleep = |second, working| DeviceReading {
        watts: Some((Watts::new(150), Source::Outlet)),
        working,
        ..reading(second, Asleep, 0)
    };
    for by in [SleepProof::Outlet, SleepProof::LoadMeter] {
        let mut inventory = one(stock(by));
        assert_eq!(counts(&mut inventory, &[0, 4, 5].map(|second| asleep(second, None))), 3000, "{by:?}");
        inventory.metered(Watts::new(600), Watts::ZERO, at(5), at(5));
        assert_eq!(inventory.proof(at(5)).ceiling, Watts::new(3500), "{by:?}");
    }
    let mut inventory = one(stock(SleepProof::Outlet));
    assert_eq!(counts(&mut inventory, &[0, 4, 5].map(|second| asleep(second, Some(false)))), 210);
    assert_eq!(counts(&mut inventory, &[asleep(6, Some(true))]), 3000);
}

#[test]
fn sleep_by_the_word_of_the_loads_meter_lives_from_that_word_not_from_the_devices() {
    let asleep = |second| DeviceReading { watts: None, working: Some(false), ..reading(second, Asleep, 0) };
    let proved = || {
        let mut inventory = one(stock(SleepProof::LoadMeter));
        counts(&mut inventory, &[0, 4, 5].map(asleep));
        inventory.metered(Watts::new(730), Watts::new(20), at(5), at(6));
        assert_eq!(inventory.proof(at(6)).ceiling, Watts::new(210 + 500), "it agrees within its error");
        inventory
    };
    let mut inventory = proved();
    assert_eq!(counts(&mut inventory, &[100, 400, 600].map(asleep)), 210);
    assert_eq!(inventory.proof(at(5).after(Span::minutes(10))).ceiling, Watts::new(3500));
    let mut ahead = one(stock(SleepProof::LoadMeter));
    counts(&mut ahead, &[0, 4, 5].map(asleep));
    ahead.metered(Watts::new(600), Watts::ZERO, at(500), at(6));
    assert_eq!(ahead.proof(at(6)).ceiling, Watts::new(3500), "a sample from the future agrees with nothing");
}
