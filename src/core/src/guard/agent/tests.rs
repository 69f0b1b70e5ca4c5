mod faults;

use super::*;
use crate::guard::KnownLimit;

const T: Time = Time::seconds(1_000);
const FAR: Time = Time::seconds(100_000);

fn at(seconds: i64) -> Time {
    T.after(Span::seconds(seconds))
}

fn w(watts: i64) -> Watts {
    Watts::new(watts)
}

fn order(epoch: u64, sequence: u64) -> Order {
    Order { epoch, sequence }
}

fn agent(holder: u64) -> Agent {
    let (settle, hold) = (Span::seconds(5), Span::seconds(300));
    Agent::new(Config { holder: HolderId(holder), settle, hold, down_per_minute: w(60), renewal: PROOF_RENEWAL }, T)
}

fn view(setpoint: i64, order: Order, revision: u64, stated: Option<Statement>) -> LoadView {
    let (nameplate, fallback) = (w(100), w(10));
    LoadView { setpoint: w(setpoint), order, nameplate, fallback, schedule: vec![], stated, revision }
}

fn stated(ceiling: i64, order: Order, holder: u64) -> Option<Statement> {
    Some(Statement { ceiling: Some(w(ceiling)), order, holder: HolderId(holder), proof_expires: FAR })
}

fn proof(ceiling: i64) -> Proof {
    Proof { ceiling: w(ceiling), expires: FAR, settled: true, rising: true }
}

fn read(view: LoadView) -> Input {
    Input::Load(Some(view))
}

fn accepted(write: u64, view: LoadView) -> Input {
    Input::Answer { write, outcome: Outcome::Accepted(view) }
}

fn leader(epoch: u64, seen: Time) -> Input {
    Input::Leader { epoch, seen }
}

fn state(write: u64, ceiling: i64, order: Order, only_if: Precondition) -> Act {
    let statement = stated(ceiling, order, 1).unwrap();
    Act::State { write, statement, only_if }
}

fn device(command: u64, limit: i64, raise_until: Option<Time>) -> Act {
    Act::Device { command, limit: w(limit), raise_until, afresh: false }
}

/// Holds a load at 40 W under order (7, 1), proved and stated at revision 3, the leader just seen: at 20 s.
fn holding() -> Agent {
    let mut agent = agent(1);
    let _ = agent.step(read(view(40, order(7, 1), 1, None)), T);
    let swapped = Statement { ceiling: None, proof_expires: T, ..stated(0, order(7, 1), 1).unwrap() };
    let _ = agent.step(accepted(1, view(40, order(7, 1), 2, Some(swapped))), T);
    let _ = agent.step(Input::Tick, at(15));
    let said = agent.step(Input::Devices { command: 2, proof: proof(40) }, at(15));
    assert_eq!(said, [state(2, 40, order(7, 1), Precondition::Revision(2))]);
    let _ = agent.step(accepted(2, view(40, order(7, 1), 3, stated(40, order(7, 1), 1))), at(15));
    // Started in the dark: the devices might stand lower than 40 W, so one raise to it is due.
    assert_eq!(agent.step(leader(7, at(19)), at(19)), [device(2 + 1, 40, Some(at(25)))]);
    assert_eq!(agent.step(Input::Devices { command: 3, proof: proof(40) }, at(20)), []);
    agent
}

#[test]
fn an_agent_in_the_dark_takes_over_by_revision_waits_and_only_then_proves() {
    let mut agent = agent(1);
    assert_eq!(agent.step(leader(7, T), T), []);
    let taking = agent.step(read(view(40, order(7, 1), 1, stated(90, order(7, 1), 9))), T);
    let void = Statement { ceiling: None, order: order(7, 1), holder: HolderId(1), proof_expires: T };
    assert_eq!(taking, [Act::State { write: 1, statement: void, only_if: Precondition::Revision(1) }]);
    let taken = agent.step(accepted(1, view(40, order(7, 1), 2, Some(void))), at(1));
    assert_eq!(taken, [Act::Device { command: 1, limit: w(40), raise_until: None, afresh: true }]);
    assert_eq!(
        agent.step(Input::Devices { command: 1, proof: proof(40) }, at(15)),
        [],
        "a permit and a command may live"
    );
    let waited = agent.step(Input::Tick, at(16));
    assert_eq!(waited, [Act::Device { command: 2, limit: w(40), raise_until: None, afresh: true }]);
    assert_eq!(
        agent.step(Input::Devices { command: 1, proof: proof(40) }, at(17)),
        [],
        "read back before the wait was over"
    );
    let proved = agent.step(Input::Devices { command: 2, proof: proof(40) }, at(18));
    assert_eq!(proved, [state(2, 40, order(7, 1), Precondition::Revision(2))]);
}

#[test]
fn a_raise_is_stated_first_and_made_once_that_is_accepted() {
    let mut agent = holding();
    let up = order(7, 2);
    let said = agent.step(read(view(70, up, 4, stated(40, order(7, 1), 1))), at(21));
    assert_eq!(said, [state(3, 70, up, Precondition::Order(up))]);
    assert_eq!(agent.step(Input::Tick, at(22)), []);
    let acted = agent.step(accepted(3, view(70, up, 5, stated(70, up, 1))), at(23));
    assert_eq!(acted, [device(4, 70, Some(at(29)))], "10 s from the last Lease renewal, the earlier of both");
}

#[test]
fn a_raise_that_takes_longer_repeats_the_statement_and_ends_with_the_proof() {
    let mut agent = holding();
    let up = order(7, 2);
    let _ = agent.step(read(view(70, up, 4, stated(40, order(7, 1), 1))), at(21));
    let _ = agent.step(accepted(3, view(70, up, 5, stated(70, up, 1))), at(21));
    assert_eq!(
        agent.step(leader(7, at(26)), at(26)),
        [state(4, 70, up, Precondition::Revision(5)), device(4, 70, Some(at(31))),]
    );
    let renewed = agent.step(accepted(4, view(70, up, 6, stated(70, up, 1))), at(27));
    assert_eq!(renewed, [device(4, 70, Some(at(36)))], "the same command, for longer");
    assert_eq!(agent.step(Input::Devices { command: 4, proof: proof(68) }, at(28)), []);
    assert_eq!(agent.step(leader(7, at(40)), at(40)), [], "nothing is written once it is done");
}

#[test]
fn while_all_that_were_told_are_on_their_way_nothing_is_written_until_one_is_to_be_told_again() {
    let mut agent = holding();
    let (up, boots) = (order(7, 2), Proof { settled: false, rising: false, ..proof(70) });
    let _ = agent.step(read(view(70, up, 4, stated(40, order(7, 1), 1))), at(21));
    let _ = agent.step(accepted(3, view(70, up, 5, stated(70, up, 1))), at(21));
    let _ = agent.step(Input::Devices { command: 4, proof: boots }, at(22));
    assert_eq!(agent.step(leader(7, at(40)), at(40)), []);
    let failed = agent.step(Input::Devices { command: 4, proof: Proof { rising: true, ..boots } }, at(41));
    assert_eq!(failed, [state(4, 70, up, Precondition::Revision(5))]);
    let renewed = agent.step(accepted(4, view(70, up, 6, stated(70, up, 1))), at(42));
    assert_eq!(renewed, [device(4, 70, Some(at(50)))], "the same command");
}

#[test]
fn nothing_is_raised_without_a_lease_renewal_under_the_orders_own_epoch() {
    let mut agent = holding();
    let said = agent.step(read(view(70, order(7, 2), 4, stated(40, order(7, 1), 1))), at(30));
    assert_eq!(said, [], "seen 11 s ago");
    assert_eq!(agent.step(leader(8, at(30)), at(30)), []);
    let claimed = agent.step(read(view(70, order(8, 0), 5, stated(40, order(7, 1), 1))), at(31));
    assert_eq!(claimed, [state(3, 70, order(8, 0), Precondition::Order(order(8, 0)))], "the new epoch is told");
    let answered = agent.step(accepted(3, view(70, order(8, 0), 6, stated(70, order(8, 0), 1))), at(31));
    assert_eq!(answered, [], "a claim raises nothing");
}

#[test]
fn lowering_goes_to_the_devices_first_and_is_stated_on_proof_by_revision() {
    let mut agent = holding();
    let down = order(7, 2);
    let acted = agent.step(read(view(20, down, 4, stated(40, order(7, 1), 1))), at(21));
    assert_eq!(acted, [device(4, 20, None)]);
    let early = Input::Devices { command: 3, proof: proof(20) };
    assert_eq!(agent.step(early, at(22)), [], "made before the last raise was called off");
    let unsettled = Proof { settled: false, ..proof(20) };
    assert_eq!(agent.step(Input::Devices { command: 4, proof: unsettled }, at(22)), []);
    let half = agent.step(Input::Devices { command: 4, proof: proof(35) }, at(22));
    assert_eq!(half, [state(3, 35, down, Precondition::Revision(4))]);
    let _ = agent.step(accepted(3, view(20, down, 5, stated(35, down, 1))), at(22));
    assert_eq!(agent.step(Input::Devices { command: 4, proof: proof(30) }, at(23)), [], "on its way: not too often");
    let done = agent.step(Input::Devices { command: 4, proof: proof(15) }, at(24));
    assert_eq!(done, [state(4, 20, down, Precondition::Revision(5))], "never below the setpoint");
}

#[test]
fn a_refused_write_waits_for_something_new_and_a_lost_one_for_the_next_tick() {
    for (outcome, on_tick, on_news) in [(Outcome::Refused, 0, 1), (Outcome::Unknown, 1, 1)] {
        let mut agent = holding();
        let up = order(7, 2);
        let _ = agent.step(read(view(70, up, 4, stated(40, order(7, 1), 1))), at(21));
        assert_eq!(agent.step(Input::Answer { write: 3, outcome: outcome.clone() }, at(22)), []);
        assert_eq!(agent.clone().step(Input::Tick, at(23)).len(), on_tick, "{outcome:?}");
        let news = read(view(70, order(7, 3), 5, stated(40, order(7, 1), 1)));
        assert_eq!(agent.step(news, at(23)).len(), on_news, "{outcome:?}");
    }
}

#[test]
fn nothing_older_than_the_newest_seen_is_obeyed() {
    let mut agent = holding();
    let before = agent.clone();
    assert_eq!(agent.step(read(view(5, order(6, 99), 9, stated(40, order(7, 1), 1))), at(21)), []);
    assert_eq!(agent.step(read(view(5, order(7, 1), 2, None)), at(21)), [], "the same order at an older revision");
    assert_eq!(agent, before);
}

#[test]
fn a_shouted_shed_lowers_at_once_and_stands_until_its_order_is_seen() {
    let mut agent = holding();
    let shed = |sequence, setpoint| Input::Shed { order: order(7, sequence), setpoint: w(setpoint) };
    assert_eq!(agent.step(shed(1, 5), at(21)), [], "the order obeyed is no older");
    assert_eq!(agent.step(shed(4, 20), at(21)), [device(4, 20, None)]);
    assert_eq!(agent.step(shed(3, 30), at(21)), [], "a shout never raises");
    let between = read(view(80, order(7, 3), 4, stated(40, order(7, 1), 1)));
    assert_eq!(agent.step(between, at(21)), [], "an order before the shed raises nothing");
    let later = agent.step(read(view(50, order(7, 5), 5, stated(40, order(7, 1), 1))), at(22));
    assert_eq!(later, [state(3, 50, order(7, 5), Precondition::Order(order(7, 5)))]);
}

#[test]
fn a_known_limit_is_obeyed_in_its_time_with_or_without_a_leader_and_its_end_raises_only_under_one() {
    let mut agent = holding();
    let known = KnownLimit { from: at(30), until: at(60), limit: w(15) };
    let told = LoadView { schedule: vec![known], ..view(40, order(7, 2), 4, stated(40, order(7, 1), 1)) };
    assert_eq!(agent.step(read(told), at(29)), []);
    assert_eq!(agent.step(Input::Tick, at(30)), [device(4, 15, None)]);
    assert_eq!(agent.step(Input::Devices { command: 4, proof: proof(15) }, at(31)), [], "40 W may be wanted again");
    assert_eq!(agent.step(Input::Tick, at(60)), [], "no leader was seen for long");
    let back = agent.step(leader(7, at(61)), at(61));
    assert_eq!(back, [state(3, 40, order(7, 2), Precondition::Revision(4))]);
}

#[test]
fn limits_that_were_shouted_bind_beside_the_specs_until_their_order_is_seen() {
    let mut agent = holding();
    let limit = |watts| KnownLimit { from: at(30), until: at(60), limit: w(watts) };
    let shout = |sequence, limits| Input::Schedule { order: order(7, sequence), limits };
    assert_eq!(agent.step(shout(1, vec![limit(1)]), at(21)), [], "the order obeyed is no older");
    assert_eq!(agent.step(shout(4, vec![limit(15)]), at(21)), []);
    assert_eq!(agent.step(shout(3, vec![limit(25)]), at(21)), [], "those that cross add up");
    assert_eq!(agent.step(Input::Tick, at(30)), [device(4, 15, None)]);
    let full = shout(5, (0..30).map(|more| limit(14 - more.min(10))).collect());
    assert_eq!(agent.step(full, at(31)), [device(5, 7, None)], "eight of a message, and no more than sixteen in all");
    let told = agent.step(read(view(40, order(7, 5), 4, stated(40, order(7, 1), 1))), at(32));
    assert!(!told.iter().any(|act| matches!(act, super::Act::Device { .. })), "no leader was seen for long: {told:?}");
    assert_eq!(agent.allowed(at(32)), Some(w(40)), "the spec of that order has no such limit");
}

#[test]
fn without_a_leader_it_holds_then_falls_by_steps_to_the_fallback_and_never_rises() {
    let mut agent = holding();
    let since = at(19).after(agent.patience());
    assert!(agent.patience() >= Span::seconds(300) && agent.patience() < Span::seconds(450));
    assert_eq!(agent.step(Input::Tick, since.before(Span::new(1))), []);
    assert_eq!(agent.step(Input::Tick, since), []);
    assert_eq!(agent.step(Input::Tick, since.after(Span::seconds(10))), [device(4, 30, None)]);
    assert_eq!(agent.step(Input::Tick, since.after(Span::seconds(900))), [device(5, 10, None)]);
    let mut low = holding();
    let down = view(4, order(7, 2), 4, stated(40, order(7, 1), 1));
    assert_eq!(low.step(read(down), at(21)), [device(4, 4, None)]);
    assert_eq!(low.step(Input::Tick, since.after(Span::seconds(900))), [], "the fallback is no reason to rise");
}

#[test]
fn another_hold_and_another_ramp_count_from_when_they_are_told_and_raise_nothing() {
    let mut agent = holding();
    let late = at(19).after(agent.patience());
    agent.follow_loss(Span::seconds(30), w(120));
    let since = at(19).after(agent.patience());
    assert!(since < late.before(Span::seconds(200)));
    assert_eq!(agent.step(Input::Tick, since), []);
    assert_eq!(agent.step(Input::Tick, since.after(Span::seconds(10))), [device(4, 20, None)]);
    // Slower, then a hold that is not over yet: what was lowered stays where it is.
    agent.follow_loss(Span::seconds(30), w(6));
    assert_eq!(agent.step(Input::Tick, since.after(Span::seconds(20))), []);
    agent.follow_loss(Span::seconds(900), w(6));
    assert_eq!((agent.step(Input::Tick, since.after(Span::seconds(30))), agent.limit()), (vec![], Some(w(20))));
}

#[test]
fn agents_of_one_site_do_not_fall_all_at_once() {
    let starts: std::collections::BTreeSet<i64> =
        (0..100).map(|holder| agent(holder).patience().get() / 10_000).collect();
    assert!(starts.len() >= 14, "{starts:?}");
}

#[test]
fn whoever_sees_another_holder_changes_nothing_ever_after() {
    let mut agent = holding();
    assert_eq!(agent.step(read(view(5, order(7, 2), 4, stated(40, order(7, 1), 2))), at(21)), []);
    assert!(agent.is_overtaken());
    assert_eq!(agent.step(Input::Shed { order: order(9, 9), setpoint: w(0) }, at(21)), []);
    assert_eq!(agent.step(Input::Tick, at(9_000)), []);
}

#[test]
fn a_deleted_load_is_held_where_it_is_and_raised_no_more() {
    let mut agent = holding();
    assert_eq!(agent.step(Input::Load(None), at(21)), []);
    assert!(agent.is_orphaned());
    assert_eq!((agent.step(leader(7, at(22)), at(22)), agent.limit()), (vec![], Some(w(40))));
}

#[test]
fn limiters_that_were_lost_are_stated_at_once_and_no_heartbeat_says_otherwise() {
    let mut agent = holding();
    let good = Heartbeat { order: order(7, 1), holder: HolderId(1), ceiling: w(40), proof_expires: FAR };
    assert_eq!(agent.heartbeat(at(21)), Some(good));
    let lost = agent.step(Input::Devices { command: 3, proof: Proof { settled: false, ..proof(75) } }, at(21));
    assert_eq!(lost, [state(3, 75, order(7, 1), Precondition::Order(order(7, 1)))]);
    assert_eq!(agent.heartbeat(at(21)), Some(Heartbeat { ceiling: w(75), ..good }));
}

#[test]
fn without_heartbeats_the_status_carries_the_life_of_the_proof_as_often_as_it_was_set_up_to() {
    let mut agent = holding();
    agent.config.renewal = Span::seconds(3);
    let said = |agent: &mut Agent, seconds| {
        let lives = Proof { expires: FAR.after(Span::seconds(seconds)), ..proof(40) };
        agent.step(Input::Devices { command: 3, proof: lives }, at(seconds))
    };
    // The last statement is of second 15; its answer keeps the pace from there.
    agent.stated_at = at(20);
    assert_eq!(said(&mut agent, 22), []);
    let statement = Statement { proof_expires: FAR.after(Span::seconds(23)), ..stated(40, order(7, 1), 1).unwrap() };
    let write = Act::State { write: 3, statement, only_if: Precondition::Revision(3) };
    assert_eq!(said(&mut agent, 23), [write]);
}

#[test]
fn the_life_of_a_proof_is_written_once_a_minute_and_an_expired_one_neither_beats_nor_raises() {
    let mut agent = holding();
    let lives = |seconds| Proof { expires: FAR.after(Span::seconds(seconds)), ..proof(40) };
    assert_eq!(agent.step(Input::Devices { command: 3, proof: lives(1) }, at(74)), []);
    assert_eq!(agent.step(Input::Devices { command: 3, proof: lives(2) }, at(75)).len(), 1);
    let mut agent = holding();
    let short = Proof { expires: at(30), ..proof(40) };
    assert_eq!(agent.step(Input::Devices { command: 3, proof: short }, at(21)), []);
    assert_eq!(agent.heartbeat(at(30)), None);
    let _ = agent.step(leader(7, at(30)), at(30));
    assert_eq!(agent.step(read(view(70, order(7, 2), 4, stated(40, order(7, 1), 1))), at(30)), []);
}
