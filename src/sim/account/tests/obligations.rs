//! Obligations: what is counted against them, and what against the operator.

use super::*;
use crate::sim::frame::ObligationAccount;

/// From 100 s on, to be met by 160 s.
fn reserve(drawn: i64) -> ObligationSeen {
    ObligationSeen {
        name: "reserve".into(),
        minimum: Watts::new(1_000),
        true_watts: Watts::new(drawn),
        tolerance: Watts::new(30),
        spare: Watts::ZERO,
        from: at(100),
        until: at(10_000),
        seen: at(0),
        response: Span::seconds(60),
        told_met: Some(drawn >= 1_000),
        excused: false,
    }
}

fn run(until: i64, does: impl Fn(i64) -> ObligationSeen) -> Account {
    let mut judge = judge();
    for now in 1..=until {
        judge.observe(&Observation { obligations: &[does(now)], ..quiet(now) });
    }
    judge.account(at(until))
}

#[test]
fn one_that_is_told_as_met_for_longer_than_a_driver_may_be_behind_and_is_not_fails_the_run_once() {
    let short = |told_met| move |now| ObligationSeen { told_met, ..reserve(if now < 500 { 1_000 } else { 969 }) };
    assert_eq!(run(799, short(Some(true))).broken_terms, Vec::<String>::new());
    let told = run(2_000, short(Some(true)));
    let want = "obligation reserve: told as met, and 969 W of 1.00 kW have drawn for 300 s at 1970-01-01T00:13:20Z";
    assert_eq!((told.broken_terms, told.obligations["reserve"].wrongly_met_seconds), (vec![want.to_owned()], 1_501));
    // Nobody who leads says so, or it is within what sensors add.
    assert_eq!(run(2_000, short(None)).broken_terms, Vec::<String>::new());
    let near = run(2_000, |_| ObligationSeen { told_met: Some(true), ..reserve(970) });
    assert_eq!((near.clean(), near.obligations["reserve"].outcome.as_str()), (true, "Served"));
    // It is true again in between.
    let wavers = |now| ObligationSeen { told_met: Some(true), ..reserve(if now % 300 == 0 { 1_000 } else { 0 }) };
    assert_eq!(run(2_000, wavers).broken_terms, Vec::<String>::new());
}

#[test]
fn one_that_cannot_be_served_is_short_of_so_many_megawatt_hours_and_breaks_nothing() {
    let account = run(3_760, |_| reserve(400));
    assert_eq!(account.broken_terms, Vec::<String>::new());
    let want = ObligationAccount {
        outcome: "Short".into(),
        minimum_watts: 1_000,
        in_force_seconds: 3_661,
        short_seconds: 3_601,
        short_mwh: 600.0 * 3_601.0 / 3.6e9,
        late_seconds: None,
        wrongly_met_seconds: 0,
        wrongly_short_seconds: 0,
    };
    let got = account.obligations["reserve"].clone();
    assert!((got.short_mwh - want.short_mwh).abs() < 1e-9, "{}", got.short_mwh);
    assert_eq!(ObligationAccount { short_mwh: want.short_mwh, ..got }, want);
}

#[test]
fn one_that_is_left_short_for_half_an_hour_with_nothing_in_its_way_fails_the_run() {
    let idle = |now| ObligationSeen { spare: Watts::new(630), ..reserve(if now < 300 { 1_000 } else { 400 }) };
    assert_eq!(run(2_099, idle).broken_terms, Vec::<String>::new());
    let want = "obligation reserve: 600 W of 1.00 kW missing, and 630 W could have drawn with nothing in their way at \
                1970-01-01T00:35:00Z";
    assert_eq!(run(9_000, idle).broken_terms, [want]);
    // Less than is missing could draw; or something was the matter within that time.
    let little = |now| ObligationSeen { spare: Watts::new(629), ..idle(now) };
    assert_eq!(run(9_000, little).broken_terms, Vec::<String>::new());
    let troubled = |now| ObligationSeen { excused: now % 1_800 == 0, ..idle(now) };
    assert_eq!(run(9_000, troubled).broken_terms, Vec::<String>::new());
}

#[test]
fn one_that_is_met_after_its_response_time_is_late_by_so_much_and_before_it_is_served() {
    let from = |met: i64| run(1_000, move |now| reserve(if now < met { 0 } else { 1_000 }));
    let outcome = |met| {
        let account = from(met);
        let one = &account.obligations["reserve"];
        (one.outcome.clone(), one.late_seconds, one.short_seconds, account.clean())
    };
    assert_eq!(outcome(160), ("Served".into(), Some(0), 0, true));
    assert_eq!(outcome(200), ("Late".into(), Some(40), 40, true));
    assert_eq!(run(159, |_| reserve(0)).obligations["reserve"].outcome, "NotDue");
    assert_eq!(run(99, |_| reserve(0)).obligations.len(), 0);
}
