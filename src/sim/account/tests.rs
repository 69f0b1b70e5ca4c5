use super::*;
use crate::api::check::Schemas;
use crate::sim::day;
use crate::sim::plant::faults::Rates;
use crate::sim::spec::Mishaps;
use ampacity_core::lease::Allowance;
use std::path::PathBuf;

mod obligations;

const NONE: &[&str] = &[];

fn at(seconds: i64) -> Time {
    Time::seconds(seconds)
}

fn judge() -> Judge {
    Judge::new(Setting { seed: 7, from: at(0), pool_fee: Ppm::percent(2), ..Setting::default() })
}

fn quiet(now: i64) -> Observation<'static> {
    Observation {
        now: at(now),
        nodes: &[],
        events: &[],
        obligations: &[],
        side_watts: Sides::default(),
        hashrate: None,
        hosting: Hosting::default(),
        price: None,
        hashprice: None,
        leases: &[],
        faults: NONE,
        in_doubt: false,
        locked_out: false,
        orders: 0,
    }
}

fn terms() -> Terms {
    Terms {
        firm: false,
        price: ampacity_core::units::Usd::dollars(1),
        notice: Span::seconds(60),
        allowance: Allowance {
            curtailed: Span::seconds(100),
            per: Span::seconds(1_000),
            events_per_day: 2,
            longest: Span::seconds(80),
            minimum_run: Span::seconds(30),
        },
        credit: UsdPerMwh::dollars(100),
        stop_cost: ampacity_core::units::Usd::ZERO,
        least_throughput: Ppm::percent(100),
        accepts_itself: true,
        longest_term: Span::seconds(1_000_000),
    }
}

/// What a test lease does at one moment.
#[derive(Clone, Copy, Default)]
struct Does {
    granted: i64,
    notice: Option<(i64, i64)>,
    acknowledged: bool,
    emergency: bool,
}

/// A lease of 1 MW at 900 USD/MWh, second by second.
fn judged(terms: &Terms, seconds: i64, does: impl Fn(i64) -> Does) -> Judge {
    judged_under(terms, seconds, true, does)
}

/// The same; `locked_out`: a person's lockout stands, so that emergencies have their reason.
fn judged_under(terms: &Terms, seconds: i64, locked_out: bool, does: impl Fn(i64) -> Does) -> Judge {
    let mut judge = judge();
    for now in 1..=seconds {
        let does = does(now);
        let lease = LeaseSeen {
            name: "a/l",
            terms,
            hall: false,
            start: at(0),
            end: at(100_000),
            full: Watts::mega(1),
            granted: Watts::new(does.granted),
            rent: UsdPerMwh::dollars(900),
            notice: does.notice.map(|(given, due)| (at(given), at(due))),
            acknowledged: does.acknowledged,
            emergency: does.emergency,
            lost_gpu_hours: 0.0,
        };
        judge.observe(&Observation {
            leases: &[lease],
            price: Some(UsdPerMwh::dollars(1_500)),
            locked_out,
            ..quiet(now)
        });
    }
    judge
}

fn broken(terms: &Terms, seconds: i64, does: impl Fn(i64) -> Does) -> Vec<String> {
    judged(terms, seconds, does).account(at(seconds)).broken_terms
}

const ALL: i64 = 1_000_000;

/// Runs, is told at `given`, is down from `down` until `back`.
fn cut(now: i64, given: i64, down: i64, back: i64) -> Does {
    let granted = if (down..back).contains(&now) { 0 } else { ALL };
    let notice = (now >= given && now < back).then_some((given, given + 60));
    Does { granted, notice, ..Does::default() }
}

#[test]
fn a_node_over_its_breaker_counts_at_once_and_two_at_a_time_count_once() {
    let mut judge = judge();
    let node = |watts| NodeSeen { limit: Watts::new(100), true_watts: Watts::new(watts) };
    judge.observe(&Observation { nodes: &[node(100), node(100)], ..quiet(1) });
    assert_eq!(judge.over(), Span::ZERO);
    judge.observe(&Observation { nodes: &[node(101), node(101)], ..quiet(3) });
    let account = judge.account(at(3));
    assert_eq!((account.seconds_over_limit, account.clean(), account.ticks), (2.0, false, 2));
}

#[test]
fn an_event_counts_only_after_it_had_its_response_time_from_when_it_was_seen() {
    let event = EventSeen {
        limit: Watts::new(10),
        true_watts: Watts::new(11),
        from: at(100),
        until: at(400),
        seen: at(150),
        response: Span::seconds(60),
    };
    let mut judge = judge();
    for now in 1..=500 {
        judge.observe(&Observation { events: &[event], ..quiet(now) });
    }
    // From 210 on, up to 400.
    assert_eq!(judge.over(), Span::seconds(190));
    let mut early = Judge::new(Setting::default());
    for now in 1..=500 {
        early.observe(&Observation { events: &[EventSeen { seen: at(0), ..event }], ..quiet(now) });
    }
    assert_eq!(early.over(), Span::seconds(240));
}

#[test]
fn a_curtailment_as_the_terms_say_breaks_nothing_and_is_credited() {
    let account = judged(&terms(), 300, |now| cut(now, 100, 160, 220)).account(at(300));
    assert_eq!(account.broken_terms, Vec::<String>::new());
    let lease = &account.leases["a/l"];
    assert_eq!((lease.curtailed_seconds, lease.emergency_seconds, lease.notices), (60, 0, 1));
    assert_eq!(lease.allowance_seconds, Some(100));
    let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
    assert!(close(lease.energy_mwh, 240.0 / 3_600.0), "{lease:?}");
    assert!(close(lease.rent_usd, 60.0) && close(lease.credit_usd, 60.0 / 36.0), "{lease:?}");
    // Not using 1 MW for a minute at 1500 saved 25 USD; it cost 15 of rent and the credit.
    assert!(close(account.against_always_on_usd, 25.0 - 15.0 - 60.0 / 36.0), "{account:?}");
    assert!(close(account.revenue_usd.gpu, 60.0));
}

#[test]
fn a_notice_shorter_than_the_class_says_is_a_broken_term() {
    let late = broken(&terms(), 300, |now| cut(now, 120, 160, 200));
    assert_eq!(late, ["a/l: notice of 40 s, class says 60 s at 1970-01-01T00:02:40Z"]);
    let none = broken(&terms(), 300, |now| Does { notice: None, ..cut(now, 0, 160, 200) });
    assert_eq!(none, ["a/l: curtailed without notice, class says 60 s at 1970-01-01T00:02:40Z"]);
}

#[test]
fn a_notice_that_was_served_is_no_notice_for_the_next_curtailment() {
    let again = broken(&terms(), 400, |now| {
        let first = cut(now, 100, 160, 200);
        let granted = if (300..310).contains(&now) { 0 } else { first.granted };
        Does { granted, notice: (now >= 100).then_some((100, 160)), ..first }
    });
    assert_eq!(again, ["a/l: curtailed without notice, class says 60 s at 1970-01-01T00:05:00Z"]);
}

#[test]
fn an_acknowledged_checkpoint_or_an_emergency_may_be_faster() {
    let acknowledged = broken(&terms(), 300, |now| Does { acknowledged: true, ..cut(now, 120, 130, 150) });
    assert_eq!(acknowledged, Vec::<String>::new());
    let account = judged(&terms(), 300, |now| Does { emergency: true, notice: None, ..cut(now, 0, 130, 290) });
    let account = account.account(at(300));
    assert_eq!(account.broken_terms, Vec::<String>::new());
    assert_eq!((account.leases["a/l"].curtailed_seconds, account.leases["a/l"].emergency_seconds), (0, 160));
}

#[test]
fn an_acknowledged_notice_that_was_too_short_from_the_start_is_broken_all_the_same() {
    let short = broken(&terms(), 300, |now| Does {
        acknowledged: true,
        notice: (now >= 120).then_some((120, 150)),
        ..cut(now, 120, 130, 150)
    });
    assert_eq!(short, ["a/l: notice of 30 s, class says 60 s at 1970-01-01T00:02:10Z"]);
}

#[test]
fn a_firm_lease_curtailed_outside_an_emergency_is_a_broken_term_and_in_one_it_is_not() {
    let firm = Terms { firm: true, ..terms() };
    let cut_down = |emergency| move |now| Does { emergency, ..cut(now, 40, 100, 200) };
    assert_eq!(
        broken(&firm, 300, cut_down(false)),
        ["a/l: firm, and curtailed outside an emergency at 1970-01-01T00:01:40Z"]
    );
    assert_eq!(broken(&firm, 300, cut_down(true)), Vec::<String>::new());
    assert_eq!(judged(&firm, 300, cut_down(true)).account(at(300)).leases["a/l"].allowance_seconds, None);
}

#[test]
fn allowances_are_held_by_window_by_day_and_by_curtailment() {
    let longest = broken(&terms(), 400, |now| cut(now, 100, 160, 250));
    assert_eq!(longest, ["a/l: curtailed for longer than the 80 s that its class says at 1970-01-01T00:04:01Z"]);
    let three = |now: i64| match now {
        ..200 => cut(now, 100, 160, 170),
        200..300 => cut(now, 210, 270, 280),
        _ => cut(now, 310, 370, 380),
    };
    assert_eq!(broken(&terms(), 400, three), ["a/l: curtailment 3 of a day, class says 2 at 1970-01-01T00:06:10Z"]);
    let twice = |now: i64| if now < 300 { cut(now, 100, 160, 230) } else { cut(now, 310, 370, 430) };
    assert_eq!(
        broken(&terms(), 500, twice),
        ["a/l: more than the 100 s that its class allows were curtailed at 1970-01-01T00:06:41Z"]
    );
    let next_window = |now: i64| if now < 300 { cut(now, 100, 160, 230) } else { cut(now, 960, 1_020, 1_080) };
    assert_eq!(broken(&terms(), 1_200, next_window), Vec::<String>::new());
    let restless = |now: i64| if now < 180 { cut(now, 100, 160, 170) } else { cut(now, 120, 185, 190) };
    assert!(broken(&terms(), 300, restless)[0].contains("curtailed after running for 15 s, class says 30 s"));
}

#[test]
fn an_emergency_with_nothing_the_matter_is_a_broken_term_for_whoever_is_stopped() {
    let called = |_| Does { emergency: true, granted: 0, notice: None, acknowledged: false };
    let does =
        move |now| if (100..200).contains(&now) { called(now) } else { Does { granted: ALL, ..Does::default() } };
    let broken = judged_under(&terms(), 300, false, does).account(at(300)).broken_terms;
    assert_eq!(broken, ["a/l: stopped in an emergency with nothing the matter at 1970-01-01T00:01:40Z"]);
    assert_eq!(judged_under(&terms(), 300, true, does).account(at(300)).broken_terms, Vec::<String>::new());
}

#[test]
fn customers_pay_their_rate_for_what_they_draw_and_are_credited_for_the_rest_and_losses_cost_the_site() {
    let mut judge = judge();
    for hour in 1..=10 {
        judge.observe(&Observation {
            price: Some(UsdPerMwh::dollars(30)),
            side_watts: Sides { mining: Watts::mega(1), ..Sides::default() },
            nodes: &[NodeSeen { limit: Watts::mega(2), true_watts: Watts::kilo(1_050) }],
            hosting: Hosting { paid: 68.0, credited: 6.0 },
            ..quiet(hour * 3_600)
        });
    }
    let account = judge.account(at(36_000));
    let round = |x: f64| (x * 1e6).round() / 1e6;
    assert_eq!((round(account.revenue_usd.mining), round(account.credits_usd)), (680.0, 60.0));
    assert_eq!((round(account.losses_mwh), round(account.losses_cost_usd)), (0.5, 15.0));
    assert_eq!(round(account.against_always_on_usd), 680.0 - 300.0 - 60.0);
}

#[test]
fn what_was_never_granted_is_not_curtailed() {
    let waits = judged(&terms(), 300, |now| Does { granted: if now < 200 { 0 } else { ALL }, ..Does::default() });
    let account = waits.account(at(300));
    assert_eq!((account.leases["a/l"].curtailed_seconds, account.broken_terms.len()), (0, 0));
}

#[test]
fn mining_earns_hashprice_less_the_fee_on_what_it_truly_yields_and_pays_the_price_of_the_moment() {
    let mut judge = Judge::new(Setting {
        flat_out_watts: Watts::mega(2),
        flat_out_hashrate: GigahashPerSecond::new(40_000_000),
        ..judge().setting
    });
    for hour in 1..=24 {
        judge.observe(&Observation {
            hashrate: (hour == 1).then_some(GigahashPerSecond::new(20_000_000)),
            hashprice: Some(UsdPerPhDay::dollars(50)),
            price: Some(UsdPerMwh::dollars(30)),
            side_watts: Sides { mining: Watts::mega(1), gpu: Watts::kilo(100), power: Watts::ZERO },
            orders: 9,
            ..quiet(hour * 3_600)
        });
    }
    let account = judge.account(at(86_400));
    let round = |x: f64| (x * 1e6).round() / 1e6;
    assert_eq!(round(account.energy_mwh.mining), 24.0);
    assert_eq!((round(account.revenue_usd.mining), round(account.energy_cost_usd.mining)), (980.0, 720.0));
    assert_eq!(round(account.energy_cost_usd.gpu), 72.0);
    // Flat out: 1960 less 1440.
    assert_eq!(round(account.against_always_on_usd), 260.0 - 520.0);
    assert_eq!((account.orders, account.ticks, account.seed), (9, 24, 7));
}

#[test]
fn a_fault_is_safe_once_nothing_is_in_doubt_and_at_once_where_nothing_ever_was() {
    let mut judge = judge();
    for now in 1..=3_000 {
        let faults: &[&str] = match now {
            100 => &["fault: an agent dies"],
            2_000 => &["fault: a meter stops"],
            2_999 => &["fault: the leader is killed"],
            _ => NONE,
        };
        let in_doubt = (160..190).contains(&now) || now >= 2_999;
        judge.observe(&Observation { faults, in_doubt, ..quiet(now) });
    }
    let told: Vec<(String, Option<f64>)> =
        judge.account(at(3_000)).faults.into_iter().map(|f| (f.fault, f.safe_after_seconds)).collect();
    let want = [("an agent dies", Some(90.0)), ("a meter stops", Some(0.0)), ("the leader is killed", None)];
    assert_eq!(told, want.map(|(what, after)| (what.to_owned(), after)));
}

#[test]
fn flat_out_means_as_many_miners_as_fit_beside_gpus_and_halls() {
    let spec = WorldSpec {
        seed: 3,
        start: day::MIDNIGHT,
        objects: day::site(day::MIDNIGHT, &Schemas::new().unwrap()).unwrap(),
        folder: PathBuf::new(),
        prices: None,
        hashprice: None,
        script: Vec::new(),
        mishaps: Mishaps::None,
        weather: day::WEATHER,
        rates: Rates::NONE,
    };
    let setting = Setting::of(&spec);
    // 3 × (84 × 3068 + 9000) + 2 × (84 × 3500 + 9000), which fits.
    assert_eq!(setting.flat_out_watts, Watts::new(1_406_136));
    assert_eq!(setting.flat_out_hashrate, GigahashPerSecond::new(84 * (3 * 104_000 + 2 * 200_000)));
    assert_eq!(setting.pool_fee, Ppm::percent(2));
}

#[test]
fn a_tick_of_thirty_loads_costs_the_judge_next_to_nothing() {
    let terms = terms();
    let lease = |name| LeaseSeen {
        name,
        terms: &terms,
        hall: false,
        start: at(0),
        end: at(10_000_000),
        full: Watts::mega(1),
        granted: Watts::mega(1),
        rent: UsdPerMwh::dollars(900),
        notice: None,
        acknowledged: false,
        emergency: false,
        lost_gpu_hours: 0.0,
    };
    let leases = ["a/a", "a/b", "a/c", "b/a"].map(lease);
    let nodes = [NodeSeen::default(); 6];
    let mut judge = judge();
    let began = std::time::Instant::now();
    for now in 1..=20_000 {
        judge.observe(&Observation { nodes: &nodes, leases: &leases, ..quiet(now) });
    }
    let each = began.elapsed() / 20_000;
    // 2 µs in release; a debug build on a busy machine is given more.
    assert!(each < std::time::Duration::from_micros(50), "{each:?}");
}
