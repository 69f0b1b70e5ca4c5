mod overruns;
mod shouts;
mod trees;
mod worst;

use super::*;
use crate::guard::{Basis, Heartbeat, HolderId, Statement, Want, Write};
use crate::tree::Node;
use crate::units::Ppm;

const EPOCH: u64 = 7;
const T: Time = Time::seconds(1_000);
const FAR: Time = Time::seconds(100_000);

fn at(seconds: i64) -> Time {
    T.after(Span::seconds(seconds))
}

fn w(watts: i64) -> Watts {
    Watts::new(watts)
}

fn node(name: &str, parent: Option<u32>, limit: i64) -> Node {
    let (reserve, auxiliary, loss) = (Watts::ZERO, Watts::ZERO, Ppm::ZERO);
    Node { name: name.into(), parent: parent.map(NodeId), limit: w(limit), reserve, auxiliary, loss }
}

fn tree(site: i64, a: i64, b: i64) -> Tree {
    Tree::new(vec![node("site", None, site), node("a", Some(0), a), node("b", Some(0), b)]).unwrap()
}

fn facts(node: u32) -> LoadFacts {
    LoadFacts { node: NodeId(node), nameplate: w(100), proof_within: Span::seconds(30) }
}

fn order(epoch: u64, sequence: u64) -> Order {
    Order { epoch, sequence }
}

/// A load as it stands after this order, its ceiling stated under the same epoch.
fn view(setpoint: i64, ceiling: i64, order: Order, revision: u64) -> LoadView {
    let stated = Statement { ceiling: Some(w(ceiling)), order, holder: HolderId(1), proof_expires: FAR };
    LoadView {
        setpoint: w(setpoint),
        order,
        nameplate: w(100),
        fallback: w(10),
        schedule: vec![],
        stated: Some(stated),
        revision,
    }
}

fn see(ledger: &mut Ledger, load: u32, view: LoadView, now: Time) {
    ledger.learn(Seen::Load(LoadId(load), Some(view)), now).unwrap();
}

/// Two loads under one site, claimed and proved at these setpoints.
fn proved(limit: i64, setpoints: [i64; 2]) -> Ledger {
    let mut ledger = Ledger::new(EPOCH, tree(limit, 1_000, 1_000), [facts(1), facts(2)], T);
    for (load, setpoint) in setpoints.into_iter().enumerate() {
        see(&mut ledger, load as u32, view(setpoint, setpoint, order(EPOCH, 0), 1), T);
    }
    ledger
}

fn want(load: u32, watts: i64) -> Want {
    Want { load: LoadId(load), watts: w(watts), step: Watts::ZERO }
}

fn raise(load: u32, sequence: u64, setpoint: i64) -> Write {
    Write::Raise { load: LoadId(load), order: order(EPOCH, sequence), setpoint: w(setpoint) }
}

fn lower(load: u32, sequence: u64, setpoint: i64) -> Write {
    Write::Lower { load: LoadId(load), order: order(EPOCH, sequence), setpoint: w(setpoint) }
}

fn answer(ledger: &mut Ledger, load: u32, sequence: u64, outcome: Outcome, now: Time) {
    ledger.learn(Seen::Answer { load: LoadId(load), order: order(EPOCH, sequence), outcome }, now).unwrap();
}

fn counts(ledger: &Ledger, load: u32, now: Time) -> (i64, Basis) {
    let bound = ledger.bound(LoadId(load), now);
    (bound.watts.get(), bound.basis)
}

#[test]
fn a_leader_that_has_seen_nothing_counts_every_load_at_nameplate_and_writes_nothing() {
    let mut ledger = Ledger::new(EPOCH, tree(500, 500, 500), [facts(1), facts(2)], T);
    assert_eq!(ledger.sums(T), [200, 100, 100].map(w));
    assert_eq!(ledger.steps(&[want(0, 50), want(1, 50)], T), []);
}

#[test]
fn an_older_leaders_load_counts_at_nameplate_and_is_claimed_and_not_raised() {
    let mut ledger = Ledger::new(EPOCH, tree(500, 500, 500), [facts(1)], T);
    see(&mut ledger, 0, view(40, 40, order(EPOCH - 1, 9), 1), T);
    assert_eq!(counts(&ledger, 0, T), (100, Basis::Unclaimed));
    let claim = Write::Claim { load: LoadId(0), order: order(EPOCH, 0) };
    assert_eq!(ledger.steps(&[want(0, 50)], T), [claim]);
    assert_eq!(ledger.steps(&[want(0, 50)], at(1)), [], "one write without an answer");
}

#[test]
fn a_claimed_load_counts_at_nameplate_until_its_agent_has_stated_under_this_epoch() {
    let mut ledger = Ledger::new(EPOCH, tree(500, 500, 500), [facts(1)], T);
    let mut claimed = view(40, 40, order(EPOCH - 1, 9), 2);
    claimed.order = order(EPOCH, 0);
    see(&mut ledger, 0, claimed, T);
    assert_eq!(counts(&ledger, 0, T), (100, Basis::Unstated));
    assert_eq!(ledger.steps(&[want(0, 50)], T), []);
    see(&mut ledger, 0, view(40, 45, order(EPOCH, 0), 3), at(1));
    assert_eq!(counts(&ledger, 0, at(1)), (45, Basis::Proving));
    assert_eq!(ledger.steps(&[want(0, 50)], at(1)), [raise(0, 1, 50)]);
}

#[test]
fn an_unanswered_raise_counts_and_is_repeated_under_a_new_sequence_after_a_while() {
    let mut ledger = proved(500, [40, 40]);
    assert_eq!(ledger.steps(&[want(0, 90)], T), [raise(0, 1, 90)]);
    assert_eq!(counts(&ledger, 0, T), (90, Basis::Known));
    assert_eq!(ledger.steps(&[want(0, 90)], at(9)), []);
    assert_eq!(ledger.steps(&[want(0, 90)], at(10)), [raise(0, 2, 90)]);
    see(&mut ledger, 0, view(90, 40, order(EPOCH, 1), 2), at(11));
    assert_eq!(ledger.steps(&[want(0, 90)], at(11)), [], "the second may land yet, and asks for no more");
    see(&mut ledger, 0, view(90, 90, order(EPOCH, 2), 3), at(12));
    assert_eq!(counts(&ledger, 0, at(12)), (90, Basis::Known));
}

#[test]
fn a_lost_raise_that_is_wanted_no_more_counts_until_a_later_order_shuts_it_out() {
    let mut ledger = proved(500, [40, 40]);
    assert_eq!(ledger.steps(&[want(0, 90)], T), [raise(0, 1, 90)]);
    answer(&mut ledger, 0, 1, Outcome::Unknown, at(1));
    assert_eq!(ledger.steps(&[want(0, 40)], at(1)), [lower(0, 2, 40)]);
    assert_eq!(counts(&ledger, 0, at(1)), (90, Basis::Known));
    answer(&mut ledger, 0, 2, Outcome::Accepted(view(40, 40, order(EPOCH, 2), 2)), at(2));
    assert_eq!(counts(&ledger, 0, at(2)), (40, Basis::Known));
}

#[test]
fn a_lower_write_counts_too_since_a_yet_lower_one_before_it_may_have_landed() {
    let mut ledger = proved(500, [90, 40]);
    assert_eq!(ledger.steps(&[want(0, 10)], T), [lower(0, 1, 10)]);
    answer(&mut ledger, 0, 1, Outcome::Unknown, at(1));
    assert_eq!(ledger.steps(&[want(0, 30)], at(1)), [lower(0, 2, 30)]);
    see(&mut ledger, 0, view(10, 10, order(EPOCH, 1), 2), at(2));
    assert_eq!(counts(&ledger, 0, at(2)), (30, Basis::Known), "30 W may land yet");
}

#[test]
fn what_is_freed_is_given_away_only_when_it_is_proved() {
    let mut ledger = proved(100, [60, 40]);
    assert_eq!(ledger.steps(&[want(1, 80), want(0, 20)], T), [lower(0, 1, 20), raise(1, 1, 40)]);
    see(&mut ledger, 1, view(40, 40, order(EPOCH, 1), 2), at(1));
    see(
        &mut ledger,
        0,
        LoadView { stated: view(60, 60, order(EPOCH, 0), 1).stated, ..view(20, 0, order(EPOCH, 1), 2) },
        at(1),
    );
    assert_eq!(counts(&ledger, 0, at(1)), (60, Basis::Proving));
    assert_eq!(ledger.steps(&[want(1, 80), want(0, 20)], at(1)), []);
    see(&mut ledger, 0, view(20, 30, order(EPOCH, 1), 3), at(2));
    assert_eq!(ledger.steps(&[want(1, 80), want(0, 20)], at(2)), [raise(1, 2, 70)]);
}

#[test]
fn what_the_leader_before_granted_is_granted_anew_since_a_claim_permits_no_rise() {
    let mut ledger = proved(100, [40, 40]);
    assert_eq!(ledger.steps(&[want(0, 40)], T), [raise(0, 1, 40)]);
    see(&mut ledger, 0, view(40, 40, order(EPOCH, 1), 2), at(1));
    assert_eq!(ledger.steps(&[want(0, 40)], at(1)), [], "once");
    let mut over = proved(70, [40, 40]);
    assert_eq!(over.steps(&[want(0, 40), want(1, 40)], T), [], "not while all that is counted does not fit");
}

#[test]
fn raises_go_to_the_most_valuable_first_in_whole_steps_and_under_every_ancestor() {
    let mut ledger = Ledger::new(EPOCH, tree(150, 75, 1_000), [facts(1), facts(2)], T);
    see(&mut ledger, 0, view(40, 40, order(EPOCH, 0), 1), T);
    see(&mut ledger, 1, view(40, 40, order(EPOCH, 0), 1), T);
    let steps = [Want { step: w(10), ..want(0, 100) }, want(1, 100)];
    assert_eq!(ledger.steps(&steps, T), [raise(0, 1, 70), raise(1, 1, 80)]);
    assert_eq!(ledger.headroom(T), [0, 5, 920].map(w));
}

#[test]
fn nothing_is_raised_under_a_node_that_is_over_not_even_within_what_a_load_counts_for() {
    let mut ledger = proved(100, [60, 40]);
    see(
        &mut ledger,
        0,
        LoadView { stated: view(80, 80, order(EPOCH, 0), 1).stated, ..view(20, 0, order(EPOCH, 0), 2) },
        T,
    );
    assert_eq!(ledger.headroom(T)[0], w(-20));
    assert_eq!(ledger.steps(&[want(0, 30)], T), []);
}

#[test]
fn a_missing_load_counts_at_nameplate_and_so_does_what_the_budget_remembers() {
    let mut ledger = proved(500, [40, 40]);
    ledger.learn(Seen::Load(LoadId(0), None), at(1)).unwrap();
    assert_eq!(counts(&ledger, 0, at(1)), (100, Basis::Absent));
    assert_eq!(ledger.bound(LoadId(0), at(1)).since, at(1));
    ledger.learn(Seen::Tombstone(NodeId(1), w(250)), at(1)).unwrap();
    assert_eq!(ledger.sums(at(1)), [290, 250, 40].map(w));
    ledger.learn(Seen::Released(LoadId(0)), at(2)).unwrap();
    ledger.learn(Seen::Tombstone(NodeId(1), w(150)), at(2)).unwrap();
    assert_eq!(ledger.sums(at(2)), [190, 150, 40].map(w));
}

#[test]
fn an_answer_that_comes_after_the_deletion_does_not_bring_the_load_back() {
    let mut ledger = proved(500, [40, 40]);
    assert_eq!(ledger.steps(&[want(0, 30)], T), [lower(0, 1, 30)]);
    ledger.learn(Seen::Load(LoadId(0), None), at(1)).unwrap();
    answer(&mut ledger, 0, 1, Outcome::Accepted(view(30, 40, order(EPOCH, 1), 2)), at(2));
    assert_eq!(counts(&ledger, 0, at(2)), (100, Basis::Absent));
}

#[test]
fn an_expired_proof_counts_at_nameplate_from_its_end_and_a_heartbeat_renews_it() {
    let mut ledger = proved(500, [40, 40]);
    let mut short = view(40, 40, order(EPOCH, 0), 2);
    short.stated = short.stated.map(|s| Statement { proof_expires: at(30), ..s });
    see(&mut ledger, 0, short, T);
    assert_eq!(counts(&ledger, 0, at(29)), (40, Basis::Known));
    assert_eq!(ledger.bound(LoadId(0), at(31)), Bound { watts: w(100), basis: Basis::Expired, since: at(30) });
    let beat = Heartbeat { order: order(EPOCH, 0), holder: HolderId(1), ceiling: w(40), proof_expires: at(60) };
    for other in [Heartbeat { order: order(EPOCH, 1), ..beat }, Heartbeat { holder: HolderId(2), ..beat }] {
        ledger.learn(Seen::Heartbeat(LoadId(0), other), at(31)).unwrap();
        assert_eq!(counts(&ledger, 0, at(31)), (100, Basis::Expired), "{other:?} speaks of another statement");
    }
    ledger.learn(Seen::Heartbeat(LoadId(0), beat), at(32)).unwrap();
    assert_eq!(counts(&ledger, 0, at(32)), (40, Basis::Known));
}

#[test]
fn a_heartbeat_that_proves_less_well_than_was_stated_is_believed_and_renews_nothing() {
    let mut ledger = proved(500, [40, 40]);
    let beat = Heartbeat { order: order(EPOCH, 0), holder: HolderId(1), ceiling: w(70), proof_expires: FAR };
    ledger.learn(Seen::Heartbeat(LoadId(0), beat), T).unwrap();
    assert_eq!(counts(&ledger, 0, T), (70, Basis::Proving));
}

#[test]
fn a_refused_load_counts_at_nameplate_is_asked_again_and_does_not_stop_the_others() {
    let mut ledger = proved(500, [40, 40]);
    assert_eq!(ledger.steps(&[want(0, 30)], T), [lower(0, 1, 30)]);
    answer(&mut ledger, 0, 1, Outcome::Refused, T);
    assert_eq!(counts(&ledger, 0, T), (100, Basis::Refusing));
    assert_eq!(ledger.steps(&[want(0, 50), want(1, 50)], at(1)), [raise(1, 1, 50)]);
    assert_eq!(ledger.steps(&[want(0, 50)], at(5)), [lower(0, 2, 40)], "not raised: only heard");
    answer(&mut ledger, 0, 2, Outcome::Accepted(view(40, 40, order(EPOCH, 2), 2)), at(6));
    assert_eq!(counts(&ledger, 0, at(6)), (40, Basis::Known));
}

#[test]
fn an_order_that_falls_and_a_later_leader_both_say_exit_and_nothing_is_written_any_more() {
    let mut ledger = proved(500, [40, 40]);
    let fell = ledger.learn(Seen::Load(LoadId(0), Some(view(40, 40, order(3, 9), 5))), T);
    assert_eq!(fell, Err(Exit::Fell { load: LoadId(0), from: order(EPOCH, 0), to: order(3, 9) }));
    assert_eq!((ledger.steps(&[want(1, 10)], T), ledger.exit()), (vec![], fell.err()));
    let mut ledger = proved(500, [40, 40]);
    let later = ledger.learn(Seen::Load(LoadId(1), Some(view(40, 40, order(8, 0), 5))), T);
    assert_eq!(later, Err(Exit::Superseded { load: LoadId(1), seen: order(8, 0), epoch: EPOCH }));
}

#[test]
fn a_view_from_a_watch_that_lags_changes_nothing() {
    let mut ledger = proved(500, [40, 40]);
    see(&mut ledger, 0, view(50, 50, order(EPOCH, 3), 9), T);
    let before = ledger.clone();
    see(&mut ledger, 0, view(5, 5, order(EPOCH, 2), 8), T);
    assert_eq!(ledger, before);
}

#[test]
fn ignorance_waits_for_a_minute_and_the_loads_proof_time_and_a_meter_near_the_limit_does_not() {
    let mut ledger = proved(120, [40, 40]);
    ledger.learn(Seen::Load(LoadId(0), None), at(1)).unwrap();
    let over = |verdict| Overrun { node: NodeId::SITE, bounds: w(140), capacity: w(120), verdict };
    assert_eq!(ledger.overrun(at(2)), [over(Verdict::Wait { until: at(91) })]);
    assert!(!ledger.overrun(at(2))[0].must_shed());
    let sample = |watts, time| Seen::Meter { node: NodeId::SITE, watts: w(watts), error: w(5), time };
    let mut near = ledger.clone();
    near.learn(sample(118, at(2)), at(3)).unwrap();
    assert_eq!(near.overrun(at(3)), [over(Verdict::Meter)]);
    let ignorance = Metered { node: NodeId::SITE, unexplained: w(0), sheds: true };
    assert_eq!((near.metered(at(3)), near.metered(at(33))), (vec![ignorance], vec![]));
    assert_eq!(near.overrun(at(33)), [over(Verdict::Wait { until: at(91) })], "the sample is stale");
    assert_eq!(ledger.overrun(at(91)), [over(Verdict::Overdue)]);
}

#[test]
fn what_is_known_not_to_fit_sheds_at_once() {
    let mut ledger = proved(120, [40, 40]);
    ledger.set_limits(vec![(NodeId::SITE, w(70))]);
    let known = Overrun { node: NodeId::SITE, bounds: w(80), capacity: w(70), verdict: Verdict::Known };
    assert_eq!(ledger.overrun(T), [known]);
    ledger.set_limits(vec![]);
    assert_eq!(ledger.overrun(T), []);
}

#[test]
fn a_meter_above_the_bounds_narrows_the_room_and_one_below_widens_nothing() {
    let mut ledger = proved(120, [40, 40]);
    let sample = |watts, time| Seen::Meter { node: NodeId::SITE, watts: w(watts), error: w(5), time };
    ledger.learn(sample(20, at(1)), at(1)).unwrap();
    assert_eq!((ledger.headroom(at(1))[0], ledger.unexplained(NodeId::SITE)), (w(40), w(0)));
    ledger.learn(sample(100, at(2)), at(2)).unwrap();
    assert_eq!((ledger.headroom(at(2))[0], ledger.unexplained(NodeId::SITE)), (w(25), w(15)));
    ledger.learn(sample(10, at(1)), at(3)).unwrap();
    assert_eq!(ledger.unexplained(NodeId::SITE), w(15), "an older sample says nothing");
    let said = |unexplained, sheds| Metered { node: NodeId::SITE, unexplained: w(unexplained), sheds };
    assert_eq!(ledger.metered(at(3)), [said(15, false)]);
    ledger.learn(sample(118, at(4)), at(4)).unwrap();
    assert_eq!(ledger.metered(at(4)), [said(33, false)], "80 W are known, 33 W are not, and 120 W may be");
    ledger.learn(sample(126, at(5)), at(5)).unwrap();
    assert_eq!(ledger.metered(at(5)), [said(41, true)]);
    ledger.learn(sample(90, at(6)), at(6)).unwrap();
    assert_eq!(ledger.metered(at(6)), [said(5, false)], "less is shed, and the margin stays");
}

#[test]
fn a_late_sample_is_held_against_what_was_drawn_then() {
    let mut ledger = proved(200, [90, 40]);
    assert_eq!(ledger.steps(&[want(0, 10)], T), [lower(0, 1, 10)]);
    see(&mut ledger, 0, view(10, 10, order(EPOCH, 1), 2), at(5));
    let sample = Seen::Meter { node: NodeId::SITE, watts: w(130), error: w(0), time: at(1) };
    ledger.learn(sample, at(6)).unwrap();
    assert_eq!(ledger.unexplained(NodeId::SITE), w(0));
}

#[test]
fn until_a_new_tree_is_accepted_the_lower_of_both_holds_and_nothing_is_raised() {
    let mut ledger = proved(100, [40, 40]);
    let new = Tree::new(vec![node("site", None, 300), node("b", Some(0), 60), node("a", Some(0), 2_000)]).unwrap();
    ledger.set_tree(new).unwrap();
    assert_eq!(ledger.capacities(), [100, 60, 1_000].map(w));
    assert_eq!(ledger.sums(T), [80, 40, 40].map(w));
    assert_eq!(ledger.steps(&[want(0, 50), want(1, 30)], T), [lower(1, 1, 30)]);
    ledger.accept_tree();
    assert_eq!(ledger.capacities(), [300, 60, 2_000].map(w));
    assert_eq!(ledger.steps(&[want(0, 50)], T), [raise(0, 1, 50)]);
}

#[test]
fn a_tree_without_a_node_that_has_loads_is_refused_by_name() {
    let mut ledger = proved(100, [40, 40]);
    let before = ledger.clone();
    let new = Tree::new(vec![node("site", None, 300), node("a", Some(0), 60)]).unwrap();
    assert_eq!(ledger.set_tree(new), Err(MissingNode("b".into())));
    assert_eq!(ledger, before);
}

#[test]
fn ten_thousand_loads_are_written_in_one_pass_and_fit_although_none_is_answered() {
    let loads: Vec<LoadFacts> = (0..10_000).map(|i| facts(1 + i % 2)).collect();
    let mut ledger = Ledger::new(EPOCH, tree(500_000, 400_000, 200_000), loads, T);
    for load in 0..10_000 {
        see(&mut ledger, load, view(40, 40, order(EPOCH, 0), 1), T);
    }
    let wants: Vec<Want> = (0..10_000).map(|load| want(load, if load % 3 == 0 { 20 } else { 70 })).collect();
    let writes = ledger.steps(&wants, T);
    let lowers = writes.iter().filter(|write| matches!(write, Write::Lower { .. })).count();
    // Below b there is no room at all, and what stands is granted anew; below a, 100 kW at the site for 30 W each, and
    // 10 W for the last.
    assert_eq!((lowers, writes.len() - lowers), (3_334, 6_666));
    assert_eq!(ledger.sums(T), [499_990, 299_990, 200_000].map(w));
}
