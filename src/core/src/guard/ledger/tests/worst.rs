//! What counts, where less would be convenient: each of these is what a leader might forget.

use super::shouts::shout;
use super::*;

#[test]
fn a_load_on_a_node_that_is_not_in_the_tree_counts_at_the_site() {
    let ledger = Ledger::new(EPOCH, tree(500, 500, 500), [facts(9)], T);
    assert_eq!(ledger.sums(T), [100, 0, 0].map(w));
}

#[test]
fn a_raise_that_landed_counts_in_full_before_the_agent_has_stated_it() {
    let mut ledger = proved(500, [40, 40]);
    let landed = LoadView { stated: view(40, 40, order(EPOCH, 0), 1).stated, ..view(90, 0, order(EPOCH, 1), 2) };
    see(&mut ledger, 0, landed, T);
    assert_eq!(counts(&ledger, 0, T), (90, Basis::Known));
}

#[test]
fn nameplate_is_the_most_that_was_ever_said_and_a_ceiling_above_it_counts_all_the_same() {
    let mut ledger = Ledger::new(EPOCH, tree(500, 500, 500), [facts(1), facts(1), facts(2)], T);
    let claimed = |nameplate, ceiling| LoadView { nameplate: w(nameplate), ..view(40, ceiling, order(6, 1), 1) };
    for (load, seen) in [claimed(150, 40), claimed(80, 40), view(130, 40, order(6, 1), 1)].into_iter().enumerate() {
        see(&mut ledger, load as u32, seen, T);
    }
    assert_eq!([0, 1, 2].map(|load| counts(&ledger, load, T).0), [150, 100, 130]);
}

#[test]
fn what_is_wanted_is_kept_between_nothing_and_nameplate() {
    let mut ledger = proved(500, [40, 40]);
    assert_eq!(ledger.steps(&[want(0, -5), want(1, 170)], T), [lower(0, 1, 0), raise(1, 1, 100)]);
}

#[test]
fn a_raise_within_what_a_load_counts_for_takes_no_room_and_makes_none() {
    let mut ledger = proved(100, [60, 10]);
    let lowered = LoadView { stated: view(60, 60, order(EPOCH, 0), 1).stated, ..view(20, 0, order(EPOCH, 1), 2) };
    see(&mut ledger, 0, lowered, T);
    assert_eq!(ledger.steps(&[want(0, 30), want(1, 90)], T), [raise(0, 2, 30), raise(1, 1, 40)]);
    assert_eq!(ledger.sums(T), [100, 60, 40].map(w));
}

#[test]
fn one_write_at_a_time_whatever_else_is_seen_of_the_load_or_answered_of_earlier_ones() {
    let mut ledger = proved(500, [40, 40]);
    assert_eq!(ledger.steps(&[want(0, 90)], T), [raise(0, 1, 90)]);
    see(&mut ledger, 0, view(40, 40, order(EPOCH, 0), 2), at(1));
    assert_eq!(ledger.steps(&[want(0, 20)], at(1)), [shout(0, 2, 20)], "only its status was written");
    assert_eq!(ledger.steps(&[want(0, 90)], at(2)), [], "what is shouted is no write, and waits for one");
    assert_eq!(ledger.steps(&[want(0, 90)], at(10)), [lower(0, 3, 40)]);
    answer(&mut ledger, 0, 1, Outcome::Unknown, at(11));
    assert_eq!(ledger.steps(&[want(0, 20)], at(11)), [shout(0, 4, 20)], "that was the first's answer");
    see(&mut ledger, 0, view(40, 40, order(EPOCH, 3), 3), at(12));
    assert_eq!(ledger.steps(&[want(0, 20)], at(12)), [lower(0, 5, 20)], "read back: that is an answer too");
}

#[test]
fn an_answer_to_another_leaders_write_says_nothing() {
    let mut ledger = proved(500, [40, 40]);
    assert_eq!(ledger.steps(&[want(0, 90)], T), [raise(0, 1, 90)]);
    let before = ledger.clone();
    let foreign = Seen::Answer { load: LoadId(0), order: order(EPOCH - 1, 1), outcome: Outcome::Refused };
    ledger.learn(foreign, at(1)).unwrap();
    assert_eq!(ledger, before);
}

#[test]
fn an_earlier_leaders_write_answers_no_claim_and_numbers_none_of_this_leaders() {
    let mut ledger = Ledger::new(EPOCH, tree(500, 500, 500), [facts(1)], T);
    see(&mut ledger, 0, view(40, 40, order(EPOCH - 1, 9), 1), T);
    assert_eq!(ledger.steps(&[], T).len(), 1);
    see(&mut ledger, 0, view(50, 50, order(EPOCH - 1, 10), 2), at(1));
    assert_eq!(ledger.steps(&[], at(1)), [], "the claim is on its way");
    see(&mut ledger, 0, view(50, 50, order(EPOCH, 0), 3), at(2));
    assert_eq!(ledger.steps(&[want(0, 60)], at(2)), [raise(0, 1, 60)]);
}

#[test]
fn the_next_order_is_above_every_one_seen() {
    let mut ledger = proved(500, [40, 40]);
    see(&mut ledger, 0, view(40, 40, order(EPOCH, 3), 2), T);
    assert_eq!(ledger.steps(&[want(0, 30)], T), [lower(0, 4, 30)]);
}

#[test]
fn a_load_whose_limits_to_come_have_changed_is_written_again_once_where_it_stands() {
    let mut ledger = proved(500, [40, 40]);
    ledger.renew(LoadId(0));
    assert_eq!(ledger.steps(&[want(0, 40)], T), [lower(0, 1, 40)]);
    answer(&mut ledger, 0, 1, Outcome::Accepted(view(40, 40, order(EPOCH, 1), 2)), at(1));
    assert_eq!(ledger.steps(&[want(0, 40)], at(1)), []);
}

#[test]
fn a_released_load_counts_nothing_and_no_view_from_before_brings_it_back() {
    let mut ledger = proved(500, [40, 40]);
    ledger.learn(Seen::Released(LoadId(0)), T).unwrap();
    assert_eq!(ledger.sums(T), [40, 0, 40].map(w));
    assert_eq!((ledger.view(LoadId(0)), ledger.census(T)), (None, [(Basis::Known, 1)].into()));
    see(&mut ledger, 0, view(40, 40, order(EPOCH, 0), 1), T);
    assert_eq!(ledger.sums(T), [40, 0, 40].map(w), "the watch that lags shows it as it last stood");
    see(&mut ledger, 0, view(40, 40, order(EPOCH, 0), 2), T);
    assert_eq!(ledger.sums(T), [80, 40, 40].map(w), "it is there after all");
}

#[test]
fn a_load_that_is_made_again_may_start_its_orders_anew_and_is_claimed_anew() {
    let mut ledger = proved(500, [40, 40]);
    ledger.learn(Seen::Load(LoadId(0), None), at(1)).unwrap();
    see(&mut ledger, 0, view(40, 40, order(0, 0), 2), at(2));
    assert_eq!(counts(&ledger, 0, at(2)), (100, Basis::Unclaimed));
    assert_eq!(ledger.steps(&[], at(2)), [Write::Claim { load: LoadId(0), order: order(EPOCH, 0) }]);
}

/// Load 0 proved until 30 s, and what its agent says over the link.
fn beating() -> (Ledger, Heartbeat) {
    let mut ledger = proved(500, [40, 40]);
    let mut short = view(40, 40, order(EPOCH, 0), 2);
    short.stated = short.stated.map(|s| Statement { proof_expires: at(30), ..s });
    see(&mut ledger, 0, short, T);
    let beat = Heartbeat { order: order(EPOCH, 0), holder: HolderId(1), ceiling: w(40), proof_expires: at(60) };
    (ledger, beat)
}

fn hear(ledger: &mut Ledger, beat: Heartbeat, now: Time) {
    ledger.learn(Seen::Heartbeat(LoadId(0), beat), now).unwrap();
}

#[test]
fn a_proof_has_ended_at_its_very_end() {
    let (ledger, _) = beating();
    assert_eq!(counts(&ledger, 0, at(30).before(Span::new(1))), (40, Basis::Known));
    assert_eq!(counts(&ledger, 0, at(30)), (100, Basis::Expired));
}

#[test]
fn a_heartbeat_lowers_nothing_and_one_that_says_more_than_was_stated_renews_nothing() {
    let (mut ledger, beat) = beating();
    hear(&mut ledger, Heartbeat { ceiling: w(20), ..beat }, T);
    assert_eq!(counts(&ledger, 0, T), (40, Basis::Known), "what was stated is what may be counted with");
    assert_eq!(counts(&ledger, 0, at(31)), (40, Basis::Known));
    let mut lowered = ledger.clone();
    let stands = lowered.view(LoadId(0)).and_then(|view| view.stated);
    see(&mut lowered, 0, LoadView { stated: stands, ..view(10, 0, order(EPOCH, 1), 3) }, T);
    assert_eq!(counts(&lowered, 0, T), (40, Basis::Proving), "20 W are proved, 40 W are stated");
    hear(&mut ledger, Heartbeat { ceiling: w(70), proof_expires: at(61), ..beat }, T);
    assert_eq!(counts(&ledger, 0, T), (70, Basis::Proving));
    assert_eq!(counts(&ledger, 0, at(31)), (100, Basis::Expired));
}

#[test]
fn a_heartbeat_that_comes_late_takes_back_nothing_that_a_newer_one_said() {
    let (mut ledger, beat) = beating();
    hear(&mut ledger, Heartbeat { ceiling: w(70), ..beat }, T);
    hear(&mut ledger, Heartbeat { proof_expires: at(50), ..beat }, at(1));
    assert_eq!(counts(&ledger, 0, at(1)), (70, Basis::Proving));
}

#[test]
fn a_heartbeat_that_ends_before_the_statement_shortens_nothing_and_a_successors_is_heard_whatever_it_ends() {
    let (mut ledger, beat) = beating();
    hear(&mut ledger, Heartbeat { proof_expires: at(10), ..beat }, T);
    assert_eq!(counts(&ledger, 0, at(11)), (40, Basis::Known));
    hear(&mut ledger, Heartbeat { proof_expires: FAR, ..beat }, T);
    let mut taken = view(40, 40, order(EPOCH, 0), 3);
    taken.stated = taken.stated.map(|s| Statement { holder: HolderId(2), proof_expires: at(30), ..s });
    see(&mut ledger, 0, taken, at(2));
    assert_eq!(counts(&ledger, 0, at(31)), (100, Basis::Expired), "its predecessor's proof is not its own");
    hear(&mut ledger, Heartbeat { holder: HolderId(2), ..beat }, at(32));
    assert_eq!(counts(&ledger, 0, at(32)), (40, Basis::Known));
}

#[test]
fn what_was_heard_of_a_load_before_it_was_missing_renews_nothing_after() {
    let (mut ledger, beat) = beating();
    hear(&mut ledger, beat, T);
    ledger.learn(Seen::Load(LoadId(0), None), at(1)).unwrap();
    let mut back = view(40, 40, order(EPOCH, 0), 3);
    back.stated = back.stated.map(|s| Statement { proof_expires: at(30), ..s });
    see(&mut ledger, 0, back, at(2));
    assert_eq!(counts(&ledger, 0, at(31)), (100, Basis::Expired));
}
