use super::ramp::{Credit, Rates};
use super::trim::{Trim, trim};
use super::*;
use crate::guard::{Basis, Bound, LoadId};
use crate::memory::Ramp;
use crate::memory::Trimmed;
use crate::snapshot::{Load, Member, Policy, Reading};
use crate::tree::NodeId;
use crate::units::Ppm;

const NOW: Time = Time::seconds(1_000_000);

fn kw(kilowatts: i64) -> Watts {
    Watts::kilo(kilowatts)
}

fn usd(dollars: i64) -> UsdPerMwh {
    UsdPerMwh::dollars(dollars)
}

#[test]
fn a_switch_holds_for_its_own_minimum_and_what_is_not_remembered_holds_nothing() {
    let on = |on| LoadMemory { switched: NOW, on, ..LoadMemory::default() };
    let at = |memory: &LoadMemory, seconds| {
        switch(Some(memory), Span::seconds(600), Span::seconds(300), NOW.after(Span::seconds(seconds)))
    };
    assert_eq!(at(&on(true), 599), Some(SwitchHold::On(NOW.after(Span::seconds(600)))));
    assert_eq!(at(&on(true), 600), None);
    assert_eq!(at(&on(false), 299), Some(SwitchHold::Off(NOW.after(Span::seconds(300)))));
    assert_eq!(at(&on(false), 300), None);
    assert_eq!(switch(None, Span::seconds(600), Span::seconds(300), NOW), None);
}

#[test]
fn what_runs_is_worth_more_and_what_stands_less_by_band_and_costs() {
    // A megawatt for half an hour: 3 USD are 6 USD/MWh, 5 USD are 10.
    let cost = Hysteresis::new(usd(4), Usd::dollars(2), Usd::dollars(3), kw(1_000), Span::minutes(30));
    assert_eq!(cost, Hysteresis { half_band: usd(2), stop: usd(10), start: usd(4), keep: Keep::Nothing });
    let segments = [Segment::new(kw(1_000), usd(80)), Segment::new(kw(400), usd(40))];
    let at = |present| shifted(&segments, kw(50), kw(present), &cost);
    let seg = |watts, value| Segment::new(kw(watts), usd(value));
    assert_eq!(at(0), [seg(1_000, 74), seg(400, 38)]);
    assert_eq!(at(650), [seg(600, 92), seg(400, 74), seg(400, 38)]);
    assert_eq!(at(1_250), [seg(1_000, 92), seg(200, 42), seg(200, 38)]);
    assert_eq!(at(9_999), [seg(1_000, 92), seg(400, 42)]);
}

#[test]
fn values_still_fall_where_a_start_costs_more_than_the_next_step_is_worth() {
    let cost = Hysteresis { start: usd(30), ..Hysteresis::default() };
    let segments = [Segment::new(kw(100), usd(50)), Segment::new(kw(100), usd(40))];
    let values: Vec<UsdPerMwh> = shifted(&segments, kw(0), kw(0), &cost).iter().map(|s| s.value).collect();
    assert_eq!(values, [usd(20), usd(20)]);
}

#[test]
fn a_part_of_a_step_that_runs_counts_as_running_whole() {
    let cost = Hysteresis { half_band: usd(1), ..Hysteresis::default() };
    let block = Segment { watts: kw(300), value: usd(50), step: kw(100) };
    let parts = shifted(&[block], kw(0), kw(101), &cost);
    let part = |watts, value| Segment { watts: kw(watts), value: usd(value), step: kw(100) };
    assert_eq!(parts, [part(200, 51), part(100, 49)]);
}

const RATES: Rates = Rates { up: Watts::kilo(600), down: Watts::kilo(1_200), largest: Watts::ZERO };

#[test]
fn a_ramp_earns_by_time_spends_by_watts_and_saves_a_minute_at_most() {
    let start = Ramp { up_since: NOW, down_since: NOW };
    let later = |seconds| NOW.after(Span::seconds(seconds));
    let credit = |ramp, seconds| RATES.credit(Some(ramp), later(seconds));
    assert_eq!(RATES.credit(None, NOW), Credit::default());
    assert_eq!(credit(start, 1), Credit { up: kw(10), down: kw(20) });
    assert_eq!(credit(start, 3_600), Credit { up: kw(600), down: kw(1_200) });
    let spent = RATES.advance(Some(start), Credit { up: kw(300), down: Watts::ZERO }, later(3_600));
    assert_eq!(credit(spent, 3_600), Credit { up: kw(300), down: kw(1_200) });
    assert_eq!(credit(spent, 3_601), Credit { up: kw(310), down: kw(1_200) });
}

#[test]
fn a_ramp_pays_once_a_second_however_often_it_is_asked_and_loses_nothing_by_it() {
    let mut ramp = Ramp { up_since: NOW, down_since: NOW };
    let mut moved = Vec::new();
    for ms in (50..=3_000).step_by(50) {
        let now = NOW.after(Span::new(ms));
        let credit = RATES.credit(Some(ramp), now);
        ramp = RATES.advance(Some(ramp), credit, now);
        moved.extend((credit != Credit::default()).then_some((ms, credit.down)));
    }
    assert_eq!(moved, [(1_000, kw(20)), (2_000, kw(20)), (3_000, kw(20))]);
    assert_eq!(RATES.credit(Some(ramp), NOW.after(Span::new(4_999))).down, kw(20));
}

#[test]
fn a_block_above_a_minutes_worth_moves_once_it_is_earned() {
    let rates = Rates { largest: kw(1_800), ..RATES };
    let start = Ramp { up_since: NOW, down_since: NOW };
    let credit = |seconds| rates.credit(Some(start), NOW.after(Span::seconds(seconds))).up;
    assert_eq!([179, 180, 9_999].map(credit), [kw(1_790), kw(1_800), kw(1_800)]);
    assert_eq!(Rates { up: Watts::ZERO, ..rates }.credit(Some(start), NOW.after(Span::minutes(9))).up, kw(0));
}

fn policy() -> Policy {
    Policy {
        up_watts_per_minute: kw(1),
        down_watts_per_minute: kw(1),
        dead_band: UsdPerMwh::ZERO,
        allowance_price: UsdPerMwh::ZERO,
        expected_excursion: Span::ZERO,
        trim_margin: Ppm::percent(10),
        trim_after: Span::minutes(5),
        meter_stale: Span::seconds(60),
        clock_skew: Span::ZERO,
        slowest_shed: Span::ZERO,
    }
}

fn load(measured: Option<i64>, wants_more: bool) -> Load {
    Load {
        id: LoadId(0),
        name: "a".into(),
        node: NodeId::SITE,
        member: Member::Fleet(0),
        nameplate: kw(1_000),
        setpoint: kw(1_000),
        bound: Bound { watts: kw(1_000), basis: Basis::Known, since: NOW },
        proof_within: Span::ZERO,
        drawn: None,
        measured: measured.map(|watts| Reading { watts: kw(watts), error: Watts::ZERO, time: NOW }),
        wants_more,
    }
}

fn at(before: LoadMemory, load: &Load, now: Time) -> Trim {
    trim(Some(&before), load, kw(60), &policy(), now)
}

#[test]
fn a_trim_waits_leaves_a_margin_and_ends_when_the_load_asks() {
    let before = LoadMemory { awarded: kw(1_000), on: true, ..LoadMemory::default() };
    let idle = LoadMemory { idle_since: Some(NOW.before(Span::minutes(5))), ..before };
    let half = load(Some(500), false);
    assert_eq!(at(before, &half, NOW), Trim { idle_since: Some(NOW), trimmed: None });
    let left = |most| Trimmed { most: kw(most), of: kw(1_000), since: NOW.before(Span::minutes(5)) };
    let trim = |most| Trim { idle_since: None, trimmed: Some(left(most)) };
    assert_eq!(at(idle, &half, NOW), trim(550));
    assert_eq!(at(idle, &load(Some(0), false), NOW), trim(60));
    assert_eq!(at(idle, &load(Some(950), false), NOW), Trim::default());
    let trimmed = LoadMemory { awarded: kw(550), trimmed: Some(left(550)), ..before };
    assert_eq!(at(trimmed, &load(Some(540), false), NOW), trim(594), "it left so much since it did at first");
    assert_eq!(at(trimmed, &load(Some(540), true), NOW), Trim::default());
}

#[test]
fn an_old_or_a_missing_measurement_neither_starts_a_trim_nor_ends_one() {
    let idle = LoadMemory { awarded: kw(1_000), on: true, idle_since: Some(NOW), ..LoadMemory::default() };
    let later = NOW.after(Span::minutes(6));
    let kept = Trim { idle_since: Some(NOW), trimmed: None };
    assert_eq!(at(idle, &load(Some(500), false), later), kept);
    assert_eq!(at(idle, &load(None, false), later), kept);
    assert_eq!(at(idle, &load(Some(500), false), NOW.before(Span::seconds(6))), kept);
    assert_eq!(at(LoadMemory { on: false, ..idle }, &load(Some(500), false), later), Trim::default());
}
