//! When ignorance is waited out, when it sheds, and from when that is counted.

use super::*;

fn verdict(ledger: &Ledger, now: Time) -> Vec<(NodeId, Verdict)> {
    ledger.overrun(now).into_iter().map(|over| (over.node, over.verdict)).collect()
}

fn site(verdict: Verdict) -> Vec<(NodeId, Verdict)> {
    vec![(NodeId::SITE, verdict)]
}

/// Load 0 as an older leader left it, load 1 proved at 40 W, under this limit.
fn unclaimed(limit: i64, setpoint: i64, ceiling: i64) -> Ledger {
    let mut ledger = Ledger::new(EPOCH, tree(limit, 1_000, 1_000), [facts(1), facts(2)], T);
    see(&mut ledger, 0, view(setpoint, ceiling, order(6, 1), 1), T);
    see(&mut ledger, 1, view(40, 40, order(EPOCH, 0), 1), T);
    ledger
}

#[test]
fn an_overrun_is_known_where_the_setpoint_or_the_last_ceiling_of_any_epoch_does_not_fit() {
    let wait = site(Verdict::Wait { until: at(90) });
    assert_eq!(verdict(&unclaimed(100, 30, 70), T), site(Verdict::Known));
    assert_eq!(verdict(&unclaimed(100, 70, 30), T), site(Verdict::Known));
    assert_eq!(verdict(&unclaimed(110, 70, 30), T), wait, "it fits to the watt");
    assert_eq!(verdict(&unclaimed(100, 30, 50), T), wait);
    let mut voided = unclaimed(100, 30, 70);
    let mut swapped = view(30, 0, order(6, 1), 2);
    swapped.stated = swapped.stated.map(|s| Statement { ceiling: None, ..s });
    see(&mut voided, 0, swapped, T);
    assert_eq!(verdict(&voided, T), site(Verdict::Known), "the ceiling was voided, what it spoke of was not");
}

#[test]
fn an_overrun_is_known_where_a_raise_without_an_answer_or_a_load_never_seen_does_not_fit() {
    let mut ledger = proved(130, [40, 40]);
    assert_eq!(ledger.steps(&[want(0, 90)], T), [raise(0, 1, 90)]);
    ledger.learn(Seen::Load(LoadId(0), None), T).unwrap();
    assert_eq!(verdict(&ledger, T), site(Verdict::Wait { until: at(90) }));
    ledger.set_limits(vec![(NodeId::SITE, w(120))]);
    assert_eq!(verdict(&ledger, T), site(Verdict::Known));
    let mut unseen = Ledger::new(EPOCH, tree(130, 1_000, 1_000), [facts(1), facts(2)], T);
    see(&mut unseen, 1, view(40, 40, order(EPOCH, 0), 1), T);
    assert_eq!(verdict(&unseen, T), site(Verdict::Known));
}

#[test]
fn ignorance_is_counted_from_where_it_began_and_from_the_claim_whatever_came_between() {
    let mut ledger = proved(130, [40, 40]);
    let mut short = view(40, 40, order(EPOCH, 0), 2);
    short.stated = short.stated.map(|s| Statement { proof_expires: at(30), ..s });
    see(&mut ledger, 0, short, T);
    assert_eq!(verdict(&ledger, at(40)), site(Verdict::Wait { until: at(120) }), "it expired in silence");
    ledger.learn(Seen::Load(LoadId(0), None), at(50)).unwrap();
    assert_eq!(verdict(&ledger, at(50)), site(Verdict::Wait { until: at(120) }), "now it is missing, too");
    assert_eq!(ledger.bound(LoadId(0), at(51)).since, at(50));
    let mut ledger = unclaimed(110, 30, 30);
    let claimed = LoadView { stated: view(30, 30, order(6, 1), 1).stated, ..view(30, 0, order(EPOCH, 0), 2) };
    see(&mut ledger, 0, claimed, at(20));
    assert_eq!(verdict(&ledger, at(20)), site(Verdict::Wait { until: at(110) }), "its agent has its time from here");
}

#[test]
fn a_proof_that_ran_out_did_so_at_its_end_however_late_that_is_noticed() {
    let mut ledger = proved(130, [40, 40]);
    let mut short = view(40, 40, order(EPOCH, 0), 2);
    short.stated = short.stated.map(|s| Statement { proof_expires: at(30), ..s });
    see(&mut ledger, 0, short.clone(), T);
    see(&mut ledger, 0, LoadView { revision: 3, ..short }, at(70));
    assert_eq!(ledger.bound(LoadId(0), at(70)), Bound { watts: w(100), basis: Basis::Expired, since: at(30) });
    assert_eq!(verdict(&ledger, at(70)), site(Verdict::Wait { until: at(120) }));
}

#[test]
fn a_node_waits_for_the_loads_below_it_and_for_no_others() {
    let mut ledger = Ledger::new(EPOCH, tree(1_000, 90, 90), [facts(1), facts(2)], T);
    see(&mut ledger, 0, view(40, 40, order(EPOCH, 0), 1), T);
    see(&mut ledger, 1, view(40, 40, order(EPOCH, 0), 1), T);
    ledger.learn(Seen::Load(LoadId(0), None), at(5)).unwrap();
    ledger.learn(Seen::Load(LoadId(1), None), at(9)).unwrap();
    let wait = |node, until| (NodeId(node), Verdict::Wait { until });
    assert_eq!(verdict(&ledger, at(10)), [wait(1, at(95)), wait(2, at(99))]);
    assert_eq!(verdict(&ledger, at(96)), [(NodeId(1), Verdict::Overdue), wait(2, at(99))]);
}

#[test]
fn near_the_limit_means_the_lowest_limit_in_force() {
    let mut ledger = proved(300, [40, 40]);
    ledger.set_limits(vec![(NodeId::SITE, w(120))]);
    ledger.learn(Seen::Load(LoadId(0), None), T).unwrap();
    ledger.learn(Seen::Meter { node: NodeId::SITE, watts: w(118), error: w(5), time: at(1) }, at(1)).unwrap();
    assert_eq!(verdict(&ledger, at(1)), site(Verdict::Meter));
}

#[test]
fn a_meter_whose_clock_runs_ahead_silences_no_later_sample() {
    let mut ledger = proved(120, [40, 40]);
    let sample = |watts, time| Seen::Meter { node: NodeId::SITE, watts: w(watts), error: w(0), time };
    ledger.learn(sample(80, at(500)), at(1)).unwrap();
    ledger.learn(sample(95, at(2)), at(2)).unwrap();
    assert_eq!(ledger.unexplained(NodeId::SITE), w(15));
}

#[test]
fn what_the_site_draws_beside_its_loads_and_loses_on_the_way_is_no_contradiction() {
    let feeder = Node { auxiliary: w(10), loss: Ppm::percent(10), ..node("site", None, 200) };
    let mut ledger = Ledger::new(EPOCH, Tree::new(vec![feeder]).unwrap(), [facts(0)], T);
    see(&mut ledger, 0, view(90, 90, order(EPOCH, 0), 1), T);
    let sample = |watts, time| Seen::Meter { node: NodeId::SITE, watts: w(watts), error: w(0), time };
    ledger.learn(sample(110, at(1)), at(1)).unwrap();
    assert_eq!(ledger.unexplained(NodeId::SITE), w(0));
    ledger.learn(sample(113, at(2)), at(2)).unwrap();
    assert_eq!(ledger.unexplained(NodeId::SITE), w(3));
}

#[test]
fn a_sample_is_held_against_the_highest_sum_since_the_sample_but_one() {
    let mut ledger = proved(300, [90, 40]);
    let sample = |watts, time| Seen::Meter { node: NodeId::SITE, watts: w(watts), error: w(0), time };
    assert_eq!(ledger.steps(&[want(0, 10)], T), [lower(0, 1, 10)]);
    see(&mut ledger, 0, view(10, 10, order(EPOCH, 1), 2), at(1));
    assert_eq!(ledger.steps(&[], at(1)), []);
    ledger.learn(sample(50, at(2)), at(2)).unwrap();
    ledger.learn(sample(130, at(3)), at(3)).unwrap();
    assert_eq!(ledger.unexplained(NodeId::SITE), w(0), "taken before the one before it came");
    ledger.learn(sample(130, at(4)), at(4)).unwrap();
    assert_eq!(ledger.unexplained(NodeId::SITE), w(80));
}
