use super::*;
use NoticeReason::{Economics, Emergency, Limit, TermEnds};

const LEAD: Span = Span::minutes(5);

/// Serves `contract` at `now` and puts what comes out in its place.
fn at(contract: &mut Contract, now: i64, wanted: Wanted, acknowledged: Option<i64>) -> Served {
    let served = serve(contract.clone(), wanted, acknowledged.map(minute), LEAD, minute(now));
    *contract = served.contract.clone();
    served
}

/// Curtailed for money from minute 130 to at most 215, after notice at 100.
fn curtailed() -> Contract {
    let mut lease = contract(flexible());
    at(&mut lease, 0, Wanted::all(&contract(flexible())), None);
    at(&mut lease, 100, nothing(Economics), None);
    let served = at(&mut lease, 130, nothing(Economics), None);
    assert_eq!(served.happened, Some(Happened::Curtailed { emergency: false }));
    lease
}

#[test]
fn an_emergency_curtails_at_once_marks_it_and_eats_no_allowance() {
    let mut lease = contract(firm());
    at(&mut lease, 0, nothing(Economics), None);
    let served = at(&mut lease, 10, nothing(Emergency), None);
    assert_eq!(served.happened, Some(Happened::Curtailed { emergency: true }));
    assert_eq!(lease.grant, Grant { watts: Watts::ZERO, cap: Watts::ZERO, since: minute(10) });
    assert_eq!(lease.notice.map(|n| (n.given, n.deadline, n.reason)), Some((minute(10), minute(10), Emergency)));
    let account = lease.account_at(minute(400));
    assert_eq!(
        (account.total, account.emergency, account.curtailed, account.events),
        (Span::minutes(390), Span::minutes(390), Span::ZERO, 0)
    );
}

#[test]
fn what_lockouts_leave_a_lease_short_of_is_credited_not_charged_and_eats_no_allowance() {
    for terms in [firm(), flexible()] {
        let mut lease = contract(terms);
        at(&mut lease, 0, Wanted::all(&contract(firm())), None);
        let granted = lease.grant;
        lease.lack(Watts::kilo(8), minute(60));
        let lacks = lease.clone();
        lease.lack(Watts::kilo(8), minute(100));
        assert_eq!(lease, lacks, "nothing is written where nothing changed");
        lease.lack(Watts::ZERO, minute(180));
        let integral = |watts: Watts, hours: i64| Watts::over(watts, Span::minutes(60 * hours));
        let (all, missed) = (integral(Watts::kilo(32), 4), integral(Watts::kilo(8), 2));
        let account = Account {
            at: minute(240),
            granted: Integral { whole: all - missed, thousandths: 0 },
            withheld: Integral { whole: missed, thousandths: 0 },
            ..Account::opened(&lease.offer.terms.allowance, minute(0), minute(0))
        };
        assert_eq!(lease.account_at(minute(240)), account);
        assert_eq!(lease.grant, granted);
        // 64 GPUs at 2 USD for four hours, less a quarter of them for two; 16 kWh at 300 USD/MWh.
        let money = (lease.charged(minute(240)), lease.credited(minute(240)));
        assert_eq!(money, (Usd::dollars(512 - 64), Usd::new(4_800_000)));
    }
}

#[test]
fn a_lease_is_never_short_of_more_than_its_grant() {
    let mut lease = contract(firm());
    lease.lack(Watts::kilo(8), minute(-10));
    assert_eq!(lease.missing, Watts::ZERO, "nothing is granted yet");
    at(&mut lease, 0, Wanted::all(&contract(firm())), None);
    lease.lack(Watts::kilo(40), minute(10));
    assert_eq!(lease.missing, Watts::kilo(32));
    lease.lack(Watts::kilo(-1), minute(20));
    assert_eq!(lease.missing, Watts::ZERO);
    lease.lack(Watts::kilo(8), minute(30));
    at(&mut lease, 40, nothing(Emergency), None);
    assert_eq!((lease.grant.watts, lease.missing), (Watts::ZERO, Watts::ZERO));
    let ten = |watts: i64| Watts::kilo(watts).over(Span::minutes(10));
    let account = lease.account_at(minute(50));
    assert_eq!(account.granted.whole, ten(32) + ten(32) + ten(24));
    assert_eq!(account.withheld.whole, ten(32) + ten(8) + ten(32));
    let ended = finish(Contract { missing: Watts::kilo(1), ..lease }, minute(60));
    assert_eq!(ended.contract.missing, Watts::ZERO);
}

#[test]
fn a_lease_returns_when_its_emergency_passes_although_power_is_dear() {
    let mut lease = contract(flexible());
    at(&mut lease, 0, nothing(Emergency), None);
    assert_eq!(lease.stance(LEAD, minute(50)), Stance::MustRun(Barred::Due));
    assert_eq!(at(&mut lease, 50, nothing(Economics), None).happened, Some(Happened::Granted));
    let served = at(&mut lease, 51, nothing(Economics), None);
    assert_eq!((served.happened, served.held), (None, Some(Barred::MinimumRun { until: minute(110) })));
}

#[test]
fn an_emergency_with_time_left_lets_the_jobs_save_their_work_and_is_taken_back_if_it_passes() {
    let mut lease = contract(firm());
    at(&mut lease, 0, nothing(Economics), None);
    let wanted = Wanted { by: Some(minute(20)), ..nothing(Emergency) };
    at(&mut lease, 10, wanted, None);
    assert_eq!(lease.grant.watts, Watts::kilo(32));
    let spared = at(&mut lease.clone(), 19, nothing(Economics), Some(15));
    assert_eq!((spared.happened, spared.contract.notice), (Some(Happened::Withdrawn), None));
    assert_eq!(at(&mut lease, 15, wanted, Some(15)).happened, Some(Happened::Curtailed { emergency: true }));
}

#[test]
fn an_emergency_overtakes_a_curtailment_and_its_time_is_not_charged_to_the_allowance() {
    let mut lease = curtailed();
    assert_eq!(at(&mut lease, 150, nothing(Emergency), None).happened, Some(Happened::Overtaken));
    assert_eq!(lease.curtailed_so_far(minute(500)), Span::minutes(20));
    assert_eq!(at(&mut lease, 500, nothing(Economics), None).happened, Some(Happened::Granted));
}

#[test]
fn an_acknowledgement_of_an_earlier_notice_shortens_no_later_one() {
    let mut lease = contract(flexible());
    at(&mut lease, 0, nothing(Economics), None);
    at(&mut lease, 100, nothing(Economics), None);
    assert_eq!(at(&mut lease, 101, Wanted::all(&contract(flexible())), None).happened, Some(Happened::Withdrawn));
    at(&mut lease, 102, nothing(Economics), Some(101));
    assert_eq!(at(&mut lease, 103, nothing(Economics), Some(101)).happened, None);
    let served = at(&mut lease, 104, nothing(Economics), Some(104));
    assert_eq!(served.happened, Some(Happened::Curtailed { emergency: false }));
}

#[test]
fn an_acknowledged_notice_is_served_although_power_is_cheap_again() {
    let mut lease = contract(flexible());
    at(&mut lease, 0, nothing(Economics), None);
    at(&mut lease, 100, nothing(Limit), None);
    let all = Wanted::all(&lease);
    assert_eq!(at(&mut lease, 110, all, Some(110)).happened, Some(Happened::Curtailed { emergency: false }));
    assert_eq!(at(&mut lease, 111, all, Some(110)).happened, Some(Happened::Granted));
}

#[test]
fn a_lease_runs_again_a_lead_before_its_longest_curtailment_ends_whatever_is_wanted() {
    let mut lease = curtailed();
    assert_eq!(lease.stance(LEAD, minute(214)), Stance::Down { back_by: minute(215) });
    let served = at(&mut lease, 214, nothing(Economics), None);
    assert_eq!((served.happened, served.wake), (None, Some(minute(215))));
    assert_eq!(at(&mut lease, 215, nothing(Economics), None).happened, Some(Happened::Granted));
}

#[test]
fn the_rest_of_an_allowance_ends_the_next_curtailment_early() {
    let mut lease = curtailed();
    at(&mut lease, 215, nothing(Economics), None);
    // 85 of 120 minutes are gone; minimum run to 275.
    at(&mut lease, 245, nothing(Economics), None);
    at(&mut lease, 275, nothing(Economics), None);
    assert_eq!(lease.stance(LEAD, minute(276)), Stance::Down { back_by: minute(305) });
    at(&mut lease, 305, nothing(Economics), None);
    let served = at(&mut lease, 400, nothing(Economics), None);
    assert_eq!((served.happened, served.held), (None, Some(Barred::Events { until: minute(1440) })));
    let left = allowance_left(&lease, LEAD, minute(400));
    assert_eq!(
        (left.may_begin, left.curtailed, left.events, left.until),
        (Err(Barred::Events { until: minute(1440) }), Span::minutes(5), 0, minute(1440))
    );
}

#[test]
fn a_new_day_and_a_new_window_bring_events_and_allowance_back() {
    let mut lease = curtailed();
    at(&mut lease, 215, nothing(Economics), None);
    let left = allowance_left(&lease, LEAD, minute(1450));
    assert_eq!(
        (left.may_begin, left.curtailed, left.events, left.longest, left.until),
        (Ok(()), Span::minutes(120), 2, Span::minutes(85), minute(2880))
    );
    assert_eq!(lease.stance(LEAD, minute(1450)), Stance::Free);
}

#[test]
fn too_little_allowance_to_come_back_in_time_bars_a_curtailment() {
    let mut lease =
        contract(Terms { allowance: Allowance { curtailed: Span::minutes(5), ..flexible().allowance }, ..flexible() });
    at(&mut lease, 0, nothing(Economics), None);
    let served = at(&mut lease, 100, nothing(Economics), None);
    assert_eq!(served.held, Some(Barred::Allowance { until: minute(1440) }));
}

#[test]
fn a_firm_lease_is_never_curtailed_for_money_or_for_a_limit_that_leaves_time() {
    let mut lease = contract(firm());
    at(&mut lease, 0, nothing(Economics), None);
    for (now, why) in [(200, Economics), (201, Limit)] {
        let served = at(&mut lease, now, nothing(why), Some(now));
        assert_eq!((served.happened, served.held), (None, Some(Barred::Firm)));
    }
}

#[test]
fn a_late_operator_serves_what_is_overdue_and_charges_what_was_used() {
    let mut lease = contract(flexible());
    at(&mut lease, 0, nothing(Economics), None);
    at(&mut lease, 100, nothing(Economics), None);
    // Deadline 130; the next operator comes at 160: its Jobs ran until then.
    at(&mut lease, 160, nothing(Economics), None);
    assert_eq!(lease.grant.since, minute(160));
    // 64 GPUs × 2 USD × 160 min, and 32 kW × 40 min × 300 USD/MWh.
    assert_eq!(lease.charged(minute(200)), Usd::new(341_333_333));
    assert_eq!(lease.credited(minute(200)), Usd::new(6_400_000));
}

#[test]
fn before_its_start_a_lease_is_neither_granted_nor_withheld() {
    let mut lease = contract(flexible());
    let served = at(&mut lease, -1, nothing(Economics), None);
    assert_eq!((served.happened, served.wake), (None, Some(minute(0))));
    assert_eq!(lease.account_at(minute(0)), lease.account);
    assert_eq!(at(&mut lease, 0, nothing(Economics), None).happened, Some(Happened::Granted));
}

#[test]
fn the_end_of_the_term_is_told_in_time_and_closes_the_account_there() {
    let mut lease = contract(flexible());
    at(&mut lease, 0, nothing(Economics), None);
    let notice = Notice { given: minute(4290), deadline: minute(4320), to: Level::default(), reason: TermEnds };
    let all = Wanted::all(&lease);
    assert_eq!(at(&mut lease, 4289, all, None).wake, Some(minute(4290)));
    assert_eq!(at(&mut lease, 4290, all, None).happened, Some(Happened::Noticed(notice)));
    assert_eq!(at(&mut lease, 4291, nothing(Economics), Some(4291)).happened, None);
    assert_eq!(at(&mut lease, 4400, all, Some(4291)).happened, Some(Happened::Ended));
    assert_eq!((lease.account.at, lease.grant.watts), (minute(4320), Watts::ZERO));
    assert_eq!(lease.charged(minute(9999)), Usd::dollars(64 * 2 * 72));
}

#[test]
fn a_class_without_caps_is_stopped_where_one_with_caps_is_slowed() {
    let half = Wanted { level: Level { watts: Watts::kilo(16), cap: Watts::new(450) }, ..nothing(Economics) };
    let slowed = Terms { least_throughput: Ppm::percent(80), ..flexible() };
    let grants = [flexible(), slowed].map(|terms| {
        let mut lease = contract(terms);
        at(&mut lease, 0, half, None);
        at(&mut lease, 100, half, None);
        at(&mut lease, 130, half, None);
        (lease.grant.watts, lease.grant.cap, lease.account_at(minute(190)).withheld.whole)
    });
    let hour = Span::minutes(60);
    assert_eq!(
        grants,
        [
            (Watts::ZERO, Watts::ZERO, Watts::kilo(32).over(hour)),
            (Watts::kilo(16), Watts::new(450), Watts::kilo(16).over(hour))
        ]
    );
}

#[test]
fn a_stop_after_a_cap_needs_its_own_notice_and_is_the_same_curtailment() {
    let half = Wanted { level: Level { watts: Watts::kilo(16), cap: Watts::new(450) }, ..nothing(Economics) };
    let mut lease = contract(Terms { least_throughput: Ppm::percent(80), ..flexible() });
    at(&mut lease, 0, half, None);
    at(&mut lease, 100, half, None);
    at(&mut lease, 130, half, None);
    at(&mut lease, 140, nothing(Economics), None);
    assert_eq!(at(&mut lease, 169, nothing(Economics), None).happened, None);
    assert_eq!(at(&mut lease, 170, nothing(Economics), None).happened, Some(Happened::Lowered));
    assert_eq!((lease.account.events, lease.stance(LEAD, minute(171))), (1, Stance::Down { back_by: minute(215) }));
}

#[test]
fn an_allowance_gets_dearer_as_it_drains_and_cheaper_as_its_window_runs_out() {
    let base = UsdPerMwh::dollars(40);
    let mut lease = contract(flexible());
    at(&mut lease, 0, nothing(Economics), None);
    assert_eq!(budget_price(&lease, base, minute(0)), base);
    assert_eq!(budget_price(&lease, base, minute(720)), UsdPerMwh::dollars(20));
    let mut lease = curtailed();
    at(&mut lease, 190, nothing(Economics), None);
    // 60 minutes left of 120, three quarters of the day: 40 × 0.75 ÷ 0.5.
    assert_eq!(lease.curtailed_so_far(minute(190)), Span::minutes(60));
    assert_eq!(budget_price(&curtailed(), base, minute(190)), UsdPerMwh::new(69_444_444));
    at(&mut lease, 215, nothing(Economics), None);
    assert_eq!(budget_price(&contract(firm()), base, minute(0)), UsdPerMwh::dollars(800));
}
