//! Whatever is wanted, and however often the operator restarts: no notice is shorter than the terms, nothing of the
//! allowance is overdrawn, and the account is that of a clerk who wrote down every minute.

use super::*;
use proptest::prelude::*;

/// One call: minutes since the last, what is wanted, whether the Jobs acknowledge, whether the account is stored.
type Step = (i64, Wanted, bool, bool);

fn terms() -> impl Strategy<Value = Terms> {
    let allowance = (0..300_i64, prop::sample::select(vec![0, 300, 1440]), 0..4_u32, 0..240_i64, 0..120_i64);
    let rest = (0..60_i64, prop::bool::weighted(0.1), prop::sample::select(vec![50, 100]));
    (allowance, rest).prop_map(|((curtailed, per, events_per_day, longest, run), (notice, firm, least))| Terms {
        firm,
        notice: Span::minutes(notice),
        least_throughput: Ppm::percent(least),
        allowance: Allowance {
            curtailed: Span::minutes(curtailed),
            per: Span::minutes(per),
            events_per_day,
            longest: Span::minutes(longest),
            minimum_run: Span::minutes(run),
        },
        ..flexible()
    })
}

fn step() -> impl Strategy<Value = Step> {
    use NoticeReason::{Economics, Emergency, Limit};
    let why = prop::sample::select(vec![Economics, Economics, Economics, Limit, Emergency]);
    let watts = prop::sample::select(vec![0, 0, 0, 20_000, 32_000]);
    (1..120_i64, watts, why, prop::option::of(0..40_i64), any::<bool>(), any::<bool>()).prop_map(
        |(minutes, watts, why, by, acknowledges, stores)| {
            let level = Level { watts: Watts::new(watts), cap: Watts::new(watts / 64) };
            // `by` is made a moment when the call is made.
            let wanted = Wanted { level, why, by: by.map(minute) };
            (minutes, wanted, acknowledges, stores)
        },
    )
}

/// What one minute of the lease was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Was {
    Full,
    Withheld(i64),
    Emergency(i64),
    /// Not granted yet, as nobody called in time.
    Late(i64),
}

/// A clerk: knows only what a tenant sees, minute by minute.
#[derive(Default)]
struct Clerk {
    minutes: Vec<Was>,
    begun: Vec<i64>,
}

impl Clerk {
    fn write(&mut self, contract: &Contract, upto: i64) {
        let short = (contract.full.watts - contract.grant.watts).get();
        let was = match contract.account.running {
            None if short == 0 => Was::Full,
            None => Was::Late(short),
            Some(running) if !running.emergency => Was::Withheld(short),
            Some(_) => Was::Emergency(short),
        };
        while (self.minutes.len() as i64) < upto.min(3 * 1440) {
            self.minutes.push(was);
        }
    }

    /// The longest stretch of withheld minutes, and the most in one window.
    fn withheld(&self, per: i64) -> (i64, i64) {
        let is = |was: &&Was| matches!(was, Was::Withheld(_));
        let longest = self.minutes.split(|was| !is(&was)).map(<[Was]>::len).max().unwrap_or(0);
        let per = if per == 0 { usize::MAX } else { per as usize };
        let most = self.minutes.chunks(per).map(|window| window.iter().filter(is).count()).max().unwrap_or(0);
        (longest as i64, most as i64)
    }
}

/// Checks what fell in this call against the notice that stood before it.
fn check_fall(before: &Contract, served: &Served, wanted: &Wanted, acknowledged: Option<Time>, told: i64, now: i64) {
    let terms = &before.offer.terms;
    if served.happened == Some(Happened::Ended) || served.contract.grant.watts >= before.grant.watts {
        return;
    }
    let emergency = wanted.why == NoticeReason::Emergency;
    assert!(!terms.firm || emergency, "a firm lease fell without an emergency");
    if emergency {
        return;
    }
    let notice = served.contract.notice.expect("a fall has its notice");
    assert!(notice.deadline >= notice.given.after(terms.notice), "short notice: {notice:?}");
    assert!(notice.given <= minute(told), "told at {told}, dated {notice:?}");
    let saved = acknowledged.is_some_and(|at| at >= notice.given);
    assert!(saved || minute(now) >= minute(told).after(terms.notice), "fell at {now}, told at {told}: {notice:?}");
}

fn play(terms: Terms, lead: i64, steps: Vec<Step>) {
    let mut lease = contract(terms.clone());
    let mut restarted = lease.clone();
    let (mut clerk, mut now, mut acknowledged, mut told) = (Clerk::default(), 0_i64, None, 0);
    let mut wake = Some(0);
    for (minutes, wanted, acknowledges, stores) in steps {
        // Not later than asked to be woken, and the lead.
        now = wake.map_or(now + minutes, |wake: i64| (now + minutes).min(wake.max(now) + minutes % (lead + 1)));
        let wanted = Wanted { by: wanted.by.map(|by| minute(now).after(by.since(minute(0)))), ..wanted };
        clerk.write(&lease, now);
        if acknowledges && lease.running_notice().is_some() {
            acknowledged = Some(minute(now));
        }
        let served = serve(lease.clone(), wanted, acknowledged, Span::minutes(lead), minute(now));
        if served.contract.notice.is_some_and(|notice| notice.given == minute(now)) {
            told = now;
        }
        check_fall(&lease, &served, &wanted, acknowledged, told, now);
        let began = served.contract.account.running.filter(|running| !running.emergency);
        if let Some(began) = began.filter(|_| lease.account.running.is_none()) {
            assert_eq!(began.since, minute(now));
            let ran = lease.grant.since.after(terms.allowance.minimum_run);
            assert!(ran <= minute(now), "curtailed before its minimum run");
            clerk.begun.push(now);
        }
        let emergency = served.contract.account.running.is_some_and(|running| running.emergency);
        assert!(!emergency || wanted.why == NoticeReason::Emergency, "an emergency outlived its call");
        if stores {
            restarted.settle(minute(now));
        }
        let again = serve(restarted, wanted, acknowledged, Span::minutes(lead), minute(now));
        assert_eq!((again.happened, again.wake), (served.happened, served.wake));
        assert_eq!(again.contract.account_at(minute(now)), served.contract.account_at(minute(now)));
        restarted = again.contract;
        wake = served.wake.map(|wake| wake.since(minute(0)).whole_seconds() / 60);
        lease = served.contract;
        if served.happened == Some(Happened::Ended) {
            break;
        }
    }
    check_terms(&terms, &clerk);
    check_account(&lease, &clerk, now);
}

fn check_terms(terms: &Terms, clerk: &Clerk) {
    let allowance = &terms.allowance;
    let (longest, most) = clerk.withheld(allowance.per.whole_seconds() / 60);
    assert!(Span::minutes(longest) <= allowance.longest, "{longest} minutes at once");
    assert!(Span::minutes(most) <= allowance.curtailed, "{most} minutes in a window");
    for day in 0..3 {
        let begun = clerk.begun.iter().filter(|begun| **begun / 1440 == day).count();
        assert!(begun <= allowance.events_per_day as usize, "{begun} events on day {day}");
    }
}

fn check_account(lease: &Contract, clerk: &Clerk, now: i64) {
    let account = lease.account_at(minute(now));
    let watts = |was: &Was| match was {
        Was::Full => 0,
        Was::Withheld(watts) | Was::Emergency(watts) | Was::Late(watts) => *watts,
    };
    let withheld: i64 = clerk.minutes.iter().map(watts).sum::<i64>() * 60;
    let all = lease.full.watts.get() * 60 * clerk.minutes.len() as i64;
    assert_eq!(account.withheld.whole.get(), withheld);
    assert_eq!(account.granted.whole.get(), all - withheld);
    let emergency = clerk.minutes.iter().filter(|was| matches!(was, Was::Emergency(_))).count() as i64;
    let short = clerk.minutes.iter().filter(|was| matches!(was, Was::Withheld(_) | Was::Emergency(_))).count() as i64;
    assert_eq!((account.emergency, account.total), (Span::minutes(emergency), Span::minutes(short)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_term_is_broken_whatever_is_wanted(
        terms in terms(),
        lead in 0..15_i64,
        steps in prop::collection::vec(step(), 1..150),
    ) {
        play(terms, lead, steps);
    }

    #[test]
    fn an_account_is_the_same_wherever_it_is_cut(
        watts in 0..50_000_i64,
        missing in 0..60_000_i64,
        running in prop::option::of(any::<bool>()),
        mut cuts in prop::collection::vec(-10_000_000..300_000_000_i64, 1..8),
    ) {
        let mut lease = contract(flexible());
        lease.grant.watts = Watts::new(watts);
        lease.missing = Watts::new(missing);
        lease.account.running = running.map(|emergency| Curtailment { since: minute(0), emergency });
        cuts.sort_unstable();
        let last = Time::new(*cuts.last().unwrap());
        let whole = lease.account_at(last);
        let mut pieces = lease.clone();
        for cut in cuts {
            pieces.settle(Time::new(cut));
        }
        prop_assert_eq!(pieces.account_at(last), whole);
    }
}
