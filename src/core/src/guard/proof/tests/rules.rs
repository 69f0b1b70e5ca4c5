//! What a proof is.

use super::*;
use Limiter::{Asleep, Unlimited, Watts as Cap};

pub(super) const fn cap(watts: i64) -> Limiter {
    Cap(Watts::new(watts))
}

/// One miner, told nothing, of which the next reading is made by hand.
pub(super) fn one(class: DeviceClass) -> Inventory {
    Inventory::new(load(vec![class], &[0]), policy(), at(0)).unwrap()
}

pub(super) fn reading(second: i64, limiter: Limiter, watts: i64) -> DeviceReading {
    DeviceReading {
        device: 0,
        identity: Identity(100),
        boot: Some(1),
        counter: Some(1_000 + second as u64),
        asked_at: at(second),
        answered_at: at(second),
        limiter: Some(limiter),
        watts: Some((Watts::new(watts), Source::Measured)),
        working: Some(limiter != Asleep),
    }
}

/// What the inventory counts, overhead of 500 W left out, after these readings.
pub(super) fn counts(inventory: &mut Inventory, readings: &[DeviceReading]) -> i64 {
    let mut last = at(0);
    for reading in readings {
        last = last.max(reading.answered_at);
        inventory.observe(&DeviceAnswer::Read(*reading), reading.answered_at);
    }
    inventory.proof(last).ceiling.get() - 500
}

/// Proves one miner at a 1000 W cap at second 7.
pub(super) fn proved_at_1000() -> Inventory {
    let mut inventory = one(miner());
    let readings = [0, 4, 6, 7].map(|second| reading(second, cap(1000), 990));
    assert_eq!(counts(&mut inventory, &readings), 1050);
    inventory
}

#[test]
fn what_is_not_known_counts_its_nameplate() {
    let mut rig = Rig::new(load(vec![miner(), gpu()], &[0, 0, 1]), &[Asleep, Asleep, cap(200)]);
    rig.units.iter_mut().for_each(|unit| unit.silent = true);
    rig.run(3600);
    let capped = rig.now.after(Span::minutes(10));
    let nameplate =
        Proof { ceiling: Watts::new(3000 + 3000 + 700 + 500), expires: capped, settled: true, rising: false };
    assert_eq!(rig.inventory.proof(rig.now), nameplate);
    assert_eq!(rig.inventory.count(Standing::Silent, rig.now), 3);
}

#[test]
fn an_idle_gpu_without_a_cap_is_a_loaded_gun() {
    let mut rig = Rig::new(load(vec![gpu()], &[0, 0]), &[cap(700), cap(300)]);
    rig.units.iter_mut().for_each(|unit| unit.demand = Watts::new(90));
    rig.run(30);
    assert_eq!(rig.ceiling(), 700 + 306 + 500);
    assert_eq!(rig.inventory.draws_up_to(), Watts::new(92 + 92 + 500));
    rig.units.iter_mut().for_each(|unit| unit.demand = Watts::new(700));
    rig.run(30);
}

#[test]
fn a_proof_takes_a_settled_limiter_and_then_distinct_samples_under_it() {
    let mut inventory = one(miner());
    assert_eq!(counts(&mut inventory, &[reading(0, cap(1000), 990), reading(3, cap(1000), 990)]), 3000, "settling");
    assert_eq!(counts(&mut inventory, &[reading(4, cap(1000), 990)]), 3000, "one sample of two");
    assert_eq!(counts(&mut inventory, &[reading(5, cap(1000), 1050)]), 1050);
}

#[test]
fn the_same_sample_read_again_is_no_second_sample() {
    let again = |second| DeviceReading { counter: Some(5), ..reading(second, cap(1000), 990) };
    let blind = |second| DeviceReading { counter: None, ..reading(second, cap(1000), 990) };
    assert_eq!(counts(&mut one(miner()), &[reading(0, cap(1000), 990), again(5), again(6), again(7)]), 3000);
    assert_eq!(counts(&mut one(miner()), &[0, 5, 6, 7].map(blind)), 3000);
}

#[test]
fn low_watts_without_a_limiter_prove_nothing() {
    let silent_on_it = |second| DeviceReading { limiter: None, ..reading(second, Asleep, 12) };
    assert_eq!(counts(&mut one(miner()), &[0, 5, 6, 7, 8].map(silent_on_it)), 3000);
    assert_eq!(counts(&mut one(miner()), &[0, 5, 6, 7, 8].map(|s| reading(s, Unlimited, 12))), 3000);
}

#[test]
fn a_limiter_without_watts_proves_nothing() {
    let blind = |second| DeviceReading { watts: None, ..reading(second, cap(1000), 0) };
    assert_eq!(counts(&mut one(miner()), &[0, 5, 6, 7, 8].map(blind)), 3000);
}

#[test]
fn another_device_in_its_place_proves_nothing_and_voids_what_was_proved() {
    let mut inventory = proved_at_1000();
    let other = |second| DeviceReading { identity: Identity(7), ..reading(second, cap(1000), 990) };
    assert_eq!(counts(&mut inventory, &[8, 13, 14, 15].map(other)), 3000);
    assert_eq!(inventory.standing(0, at(15)), Some(Standing::Foreign));
}

#[test]
fn a_yes_is_no_proof_and_neither_is_what_was_asked_before_it() {
    let mut inventory = proved_at_1000();
    let told = inventory.command(Watts::new(600), None, false, at(8));
    let set = DeviceCommand { device: 0, ask: Ask::Set { number: 1, limiter: Asleep } };
    assert_eq!(told.first(), Some(&set));
    let early = [9, 14, 15, 16].map(|second| reading(second, Asleep, 10));
    assert_eq!(counts(&mut inventory, &early), 1050, "the write is not answered yet");
    let done = WriteAnswer { device: 0, number: 1, written: Written::Done, answered_at: at(20) };
    inventory.observe(&DeviceAnswer::Write(done), at(20));
    assert_eq!(counts(&mut inventory, &[reading(19, Asleep, 10)]), 1050, "asked before the answer");
    assert_eq!(counts(&mut inventory, &[21, 25, 26].map(|second| reading(second, Asleep, 10))), 21);
}

#[test]
fn a_lost_write_may_still_land_and_is_waited_out() {
    let mut inventory = proved_at_1000();
    let rise = DeviceCommand { device: 0, ask: Ask::Set { number: 1, limiter: cap(2800) } };
    assert_eq!(inventory.command(Watts::new(3500), Some(at(9)), false, at(8)).first(), Some(&rise));
    let lost = WriteAnswer { device: 0, number: 1, written: Written::Lost, answered_at: at(10) };
    inventory.observe(&DeviceAnswer::Write(lost), at(10));
    // It may yet land until second 16: what is read before says nothing of what it can rise to.
    assert_eq!(counts(&mut inventory, &[10, 14, 15].map(|second| reading(second, cap(1000), 990))), 2940);
    assert_eq!(counts(&mut inventory, &[16, 20, 21].map(|second| reading(second, cap(1000), 990))), 1050);
}

#[test]
fn a_rise_on_its_way_counts_before_it_is_answered() {
    let mut inventory = proved_at_1000();
    inventory.command(Watts::new(2600), Some(at(9)), false, at(8));
    assert_eq!(inventory.proof(at(8)).ceiling, Watts::new(2100 + 500));
}

#[test]
fn watts_above_the_limiter_refute_it() {
    let mut inventory = proved_at_1000();
    assert_eq!(counts(&mut inventory, &[reading(8, cap(1000), 1051)]), 3000);
    assert_eq!(inventory.standing(0, at(8)), Some(Standing::Contradicting));
    assert_eq!(counts(&mut inventory, &[9, 10].map(|second| reading(second, cap(1000), 900))), 1050, "proved anew");
}

#[test]
fn watts_above_all_that_it_may_be_on_its_way_to_refute_it_too() {
    let mut inventory = proved_at_1000();
    inventory.command(Watts::new(2600), Some(at(9)), false, at(8));
    assert_eq!(counts(&mut inventory, &[reading(9, cap(1000), 2101)]), 3000);
    assert_eq!(inventory.standing(0, at(9)), Some(Standing::Contradicting));
}

#[test]
fn a_limiter_that_rose_without_us_voids_the_proof() {
    let mut inventory = proved_at_1000();
    assert_eq!(counts(&mut inventory, &[reading(8, cap(2000), 990)]), 3000);
    assert_eq!(counts(&mut inventory, &[12, 13].map(|second| reading(second, cap(2000), 1900))), 2100);
}

#[test]
fn a_reboot_voids_the_proof_by_boot_number_or_by_a_counter_that_fell() {
    let rebooted = DeviceReading { boot: Some(2), ..reading(8, cap(1000), 0) };
    assert_eq!(counts(&mut proved_at_1000(), &[rebooted]), 3000);
    let restarted = DeviceReading { counter: Some(1), boot: None, ..reading(8, cap(1000), 0) };
    assert_eq!(counts(&mut proved_at_1000(), &[restarted]), 3000);
}

#[test]
fn a_proof_ends_with_its_life_and_is_never_stated_closer_than_it_can_be_renewed() {
    let mut inventory = proved_at_1000();
    let ends = at(7).after(Span::minutes(10));
    // The sums remember the first reading that proved it, until they are looked over.
    let known = at(6).after(Span::minutes(10));
    assert_eq!(
        inventory.proof(at(8)),
        Proof { ceiling: Watts::new(1550), expires: known, settled: true, rising: false }
    );
    assert_eq!(
        inventory.proof(at(400)),
        Proof { ceiling: Watts::new(1550), expires: ends, settled: true, rising: false }
    );
    assert_eq!(inventory.proof(ends.before(Span::new(3_001))).ceiling, Watts::new(1550));
    assert_eq!(inventory.proof(ends.before(Span::seconds(3))).ceiling, Watts::new(3500));
}

#[test]
fn where_a_reboot_loses_the_limiter_a_proof_lives_no_longer_than_the_boot() {
    let mut inventory = one(gpu());
    assert_eq!(counts(&mut inventory, &[0, 2, 3].map(|second| reading(second, cap(400), 390))), 408);
    assert_eq!(inventory.proof(at(3)).expires, at(13));
    assert_eq!(inventory.proof(at(10)).ceiling, Watts::new(700 + 500));
}

#[test]
fn an_old_answer_that_comes_late_or_from_the_future_changes_nothing() {
    let mut inventory = proved_at_1000();
    let late = DeviceReading { answered_at: at(9), ..reading(3, cap(2800), 2790) };
    assert_eq!(counts(&mut inventory, &[late]), 1050);
    inventory.observe(&DeviceAnswer::Read(reading(5_000, cap(2800), 2790)), at(10));
    assert_eq!(inventory.proof(at(10)).ceiling, Watts::new(1550));
}

#[test]
fn frozen_answers_do_not_renew_a_proof() {
    let mut inventory = proved_at_1000();
    let frozen = |second| DeviceReading { counter: Some(1_007), ..reading(second, cap(1000), 990) };
    assert_eq!(counts(&mut inventory, &[100, 300, 500].map(frozen)), 1050);
    assert_eq!(inventory.proof(at(7).after(Span::minutes(10))).ceiling, Watts::new(3500));
}

#[test]
fn afresh_nothing_read_so_far_counts() {
    let mut inventory = proved_at_1000();
    let asked = inventory.command(Watts::new(600), None, true, at(8));
    assert_eq!(asked, [DeviceCommand { device: 0, ask: Ask::Read }], "told nothing before it is read again");
    let before = DeviceReading { answered_at: at(9), ..reading(7, cap(1000), 990) };
    assert_eq!(counts(&mut inventory, &[before, reading(9, cap(1000), 990), reading(12, cap(1000), 990)]), 3000);
    assert_eq!(counts(&mut inventory, &[13, 14].map(|second| reading(second, cap(1000), 990))), 1050);
}

pub(super) fn stock(verified_by: SleepProof) -> DeviceClass {
    let sleep = Some(Sleep { watts: Watts::new(200), verified_by });
    DeviceClass { limiters: Limiters::Unreadable { value: 100 }, sleep, ..miner() }
}

#[test]
fn without_a_readable_limiter_only_verified_sleep_counts() {
    let outlet = |second, watts, working| DeviceReading {
        watts: Some((Watts::new(watts), Source::Outlet)),
        working: Some(working),
        ..reading(second, Asleep, 0)
    };
    let own = |second| DeviceReading { working: Some(false), ..reading(second, Asleep, 100) };
    assert_eq!(counts(&mut one(stock(SleepProof::Outlet)), &[0, 4, 5].map(|s| reading(s, cap(1000), 900))), 3000);
    assert_eq!(counts(&mut one(stock(SleepProof::Outlet)), &[0, 4, 5].map(own)), 3000, "no outlet meter");
    assert_eq!(counts(&mut one(stock(SleepProof::Outlet)), &[0, 4, 5].map(|s| outlet(s, 150, true))), 3000, "rows");
    assert_eq!(counts(&mut one(stock(SleepProof::Outlet)), &[0, 4, 5].map(|s| outlet(s, 900, false))), 3000, "draws");
    assert_eq!(counts(&mut one(stock(SleepProof::Outlet)), &[0, 4, 5].map(|s| outlet(s, 150, false))), 210);
}

#[test]
fn sleep_by_the_word_of_the_loads_meter_ends_when_the_meter_disagrees() {
    let mut inventory = one(stock(SleepProof::LoadMeter));
    let asleep = |second| DeviceReading { watts: None, working: Some(false), ..reading(second, Asleep, 0) };
    assert_eq!(counts(&mut inventory, &[0, 4, 5].map(asleep)), 3000);
    inventory.metered(Watts::new(600), Watts::new(20), at(3), at(5));
    assert_eq!(inventory.proof(at(5)).ceiling, Watts::new(3500), "a sample from before it settled");
    inventory.metered(Watts::new(600), Watts::new(20), at(5), at(6));
    assert_eq!(inventory.proof(at(6)).ceiling, Watts::new(210 + 500));
    inventory.metered(Watts::new(731), Watts::new(20), at(8), at(9));
    assert_eq!(inventory.proof(at(9)).ceiling, Watts::new(3500));
}

#[test]
fn an_inventory_that_cannot_be_names_the_field() {
    let say = |load| Inventory::new(load, policy(), at(0)).unwrap_err().to_string();
    let falling = Limiters::Ladder([2000, 1500].map(|w| Step { watts: Watts::new(w), value: 1 }).to_vec());
    let mut twice = load(vec![miner()], &[0, 0]);
    twice.devices[1].identity = Identity(100);
    let said = [
        say(load(vec![miner()], &[0, 1])),
        say(twice),
        say(load(vec![DeviceClass { limiters: falling, ..miner() }], &[0])),
        say(load(vec![DeviceClass { settle: Span::seconds(-1), ..miner() }], &[0])),
    ];
    let want = [
        "devices[1].class is 1: must be below 1, the number of classes",
        "devices[1].identity is 64: an earlier device has the same",
        "classes[0].limiters: 1.50 kW must be positive and above the step before it",
        "settle is negative: must be 0 or more",
    ];
    assert_eq!(said, want);
}
