//! What must not move an agent, and what it must not forget.

use super::*;

/// [`holding`], asked to rise to 70 W by order (7, 2) at 21 s and about to hear that its statement was accepted.
fn rising() -> (Agent, LoadView) {
    let mut agent = holding();
    let said = agent.step(read(view(70, order(7, 2), 4, stated(40, order(7, 1), 1))), at(21));
    assert_eq!(said, [state(3, 70, order(7, 2), Precondition::Order(order(7, 2)))]);
    (agent, view(70, order(7, 2), 5, stated(70, order(7, 2), 1)))
}

#[test]
fn an_answer_to_an_earlier_write_permits_nothing() {
    let (mut agent, accepting) = rising();
    assert_eq!(agent.step(accepted(2, accepting.clone()), at(22)), []);
    assert_eq!(agent.step(accepted(3, accepting), at(22)), [device(4, 70, Some(at(29)))]);
}

#[test]
fn a_permit_counts_from_the_sending_of_the_statement_and_ends() {
    let (mut agent, accepting) = rising();
    assert_eq!(agent.step(leader(7, at(25)), at(25)), []);
    assert_eq!(agent.step(accepted(3, accepting), at(25)), [device(4, 70, Some(at(31)))]);
    assert_eq!(agent.step(Input::Tick, at(25)), [], "once is enough");
    let again = agent.step(leader(7, at(32)), at(32));
    assert_eq!(again, [state(4, 70, order(7, 2), Precondition::Revision(5))], "stated again first");
}

#[test]
fn a_renewal_seen_by_a_clock_ahead_lasts_no_longer_than_one_seen_now() {
    let (mut agent, accepting) = rising();
    assert_eq!(agent.step(leader(7, at(500)), at(21)), []);
    assert_eq!(agent.step(accepted(3, accepting), at(22)), [device(4, 70, Some(at(31)))]);
    assert_eq!(agent.step(read(view(90, order(7, 3), 6, stated(70, order(7, 2), 1))), at(32)), []);
}

#[test]
fn a_renewal_by_an_earlier_leader_heard_late_changes_nothing() {
    let (mut agent, accepting) = rising();
    assert_eq!(agent.step(leader(6, at(22)), at(22)), []);
    assert_eq!(agent.step(leader(7, at(12)), at(22)), []);
    assert_eq!(agent.step(accepted(3, accepting), at(22)), [device(4, 70, Some(at(29)))]);
}

#[test]
fn a_permit_under_one_order_raises_nothing_under_another_even_below_what_was_stated() {
    let (mut agent, accepting) = rising();
    assert_eq!(agent.step(accepted(3, accepting), at(22)), [device(4, 70, Some(at(29)))]);
    assert_eq!(agent.step(Input::Devices { command: 4, proof: proof(70) }, at(22)), []);
    let under = |setpoint, sequence, revision| view(setpoint, order(7, sequence), revision, stated(70, order(7, 2), 1));
    assert_eq!(agent.step(read(under(50, 3, 6)), at(23)), [device(5, 50, None)]);
    let said = agent.step(read(under(60, 4, 7)), at(24));
    assert_eq!(said, [state(4, 70, order(7, 4), Precondition::Revision(7))]);
}

#[test]
fn while_a_status_write_is_unanswered_no_other_is_sent_whatever_is_read() {
    let (mut agent, _) = rising();
    assert_eq!(agent.step(read(view(80, order(7, 3), 5, stated(40, order(7, 1), 1))), at(22)), []);
    let late = agent.step(read(view(80, order(7, 3), 6, stated(40, order(7, 1), 1))), at(31));
    assert_eq!(late, [], "no leader was seen for so long");
    let given_up = agent.step(leader(7, at(31)), at(31));
    assert_eq!(given_up, [state(4, 80, order(7, 3), Precondition::Order(order(7, 3)))]);
}

#[test]
fn nothing_is_written_of_a_deleted_load_and_nothing_raised_by_a_permit_from_before() {
    let mut agent = holding();
    assert_eq!(agent.step(Input::Load(None), at(21)), []);
    let lost = Input::Devices { command: 3, proof: Proof { settled: false, ..proof(75) } };
    assert_eq!(agent.step(lost, at(21)), [], "there is no status to write");
    let (mut agent, accepting) = rising();
    let mut unled = agent.clone();
    assert_eq!(agent.step(accepted(3, accepting.clone()), at(22)), [device(4, 70, Some(at(29)))]);
    assert_eq!(unled.step(accepted(3, accepting.clone()), at(29)), [], "the leader was last seen 10 s ago");
    assert_eq!(unled.step(Input::Load(None), at(29)), []);
    assert_eq!(unled.step(leader(7, at(30)), at(30)), [], "the permit lives until 31 s, the load does not");
    let back = unled.step(read(LoadView { revision: 9, ..accepting }), at(30));
    assert_eq!(back, [state(4, 70, order(7, 2), Precondition::Revision(9)), device(4, 70, Some(at(31)))]);
}

#[test]
fn a_candidate_takes_over_no_load_that_is_missing() {
    let mut agent = agent(1);
    let taking = agent.step(read(view(40, order(7, 1), 1, stated(90, order(7, 1), 9))), T);
    assert_eq!(taking.len(), 1);
    assert_eq!(agent.step(Input::Answer { write: 1, outcome: Outcome::Unknown }, at(1)), []);
    assert_eq!(agent.step(Input::Load(None), at(2)), []);
    assert_eq!(agent.step(Input::Tick, at(20)), []);
}

#[test]
fn a_status_that_was_wiped_is_taken_over_again_from_the_start() {
    let mut agent = holding();
    let taking = agent.step(read(view(40, order(7, 2), 4, None)), at(21));
    let void = Statement { ceiling: None, order: order(7, 2), holder: HolderId(1), proof_expires: at(21) };
    assert_eq!(taking, [Act::State { write: 3, statement: void, only_if: Precondition::Revision(4) }]);
}

#[test]
fn a_shed_ends_with_its_own_order() {
    let mut agent = holding();
    assert_eq!(agent.step(Input::Shed { order: order(7, 4), setpoint: w(20) }, at(21)), [device(4, 20, None)]);
    let own = agent.step(read(view(30, order(7, 4), 4, stated(40, order(7, 1), 1))), at(22));
    assert_eq!(own, [state(3, 40, order(7, 4), Precondition::Revision(4))]);
}

#[test]
fn the_heartbeat_says_what_the_devices_may_be_raised_to_whatever_they_prove_meanwhile() {
    let (mut agent, accepting) = rising();
    assert_eq!(agent.step(accepted(3, accepting), at(22)), [device(4, 70, Some(at(29)))]);
    let beat = Heartbeat { order: order(7, 2), holder: HolderId(1), ceiling: w(70), proof_expires: FAR };
    assert_eq!(agent.heartbeat(at(22)), Some(beat));
    assert_eq!(agent.step(Input::Devices { command: 4, proof: proof(50) }, at(23)), []);
    assert_eq!(agent.heartbeat(at(23)), Some(beat), "they may rise yet");
    let mut low = holding();
    let down = low.step(read(view(20, order(7, 2), 4, stated(40, order(7, 1), 1))), at(21));
    assert_eq!(down, [device(4, 20, None)]);
    let unsettled = Input::Devices { command: 4, proof: Proof { settled: false, ..proof(20) } };
    assert_eq!(low.step(unsettled, at(21)), []);
    assert_eq!(low.heartbeat(at(21)).unwrap().ceiling, w(40), "what has not settled lowers nothing");
}

#[test]
fn a_raise_goes_on_until_a_proof_made_after_it_has_settled() {
    let (mut agent, accepting) = rising();
    assert_eq!(agent.step(accepted(3, accepting), at(22)), [device(4, 70, Some(at(29)))]);
    assert_eq!(agent.step(Input::Devices { command: 3, proof: proof(40) }, at(23)), [], "made before it");
    let on = agent.step(leader(7, at(27)), at(27));
    assert_eq!(on, [state(4, 70, order(7, 2), Precondition::Revision(5)), device(4, 70, Some(at(31)))]);
}

#[test]
fn a_fall_goes_by_its_own_steps_and_ends_when_a_leader_is_back() {
    let mut agent = holding();
    let since = at(19).after(agent.patience());
    let after = |seconds| since.after(Span::seconds(seconds));
    assert_eq!(agent.step(Input::Tick, after(0)), []);
    assert_eq!(agent.step(Input::Tick, after(10)), [device(4, 30, None)]);
    assert_eq!(agent.step(Input::Tick, after(15)), []);
    assert_eq!(agent.step(Input::Tick, after(20)), [device(5, 20, None)]);
    let back = agent.step(leader(7, after(25)), after(25));
    assert_eq!(back, [state(3, 40, order(7, 1), Precondition::Revision(3))], "up again, stated first");
}

#[test]
fn a_known_limit_binds_from_its_first_moment_and_no_longer_at_its_last() {
    let known = KnownLimit { from: at(30), until: at(60), limit: w(15) };
    let told = LoadView { schedule: vec![known], ..view(40, order(7, 2), 4, stated(40, order(7, 1), 1)) };
    let mut agent = holding();
    assert_eq!(agent.step(read(told), at(29)), []);
    assert_eq!(agent.step(Input::Tick, at(30)), [device(4, 15, None)]);
    let end = agent.step(leader(7, at(60)), at(60));
    assert_eq!(end.len(), 1, "40 W are stated again: {end:?}");
}
