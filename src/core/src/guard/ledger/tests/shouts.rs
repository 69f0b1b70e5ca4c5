//! Sheds that go on while a write has no answer, or was refused.

use super::*;

pub(super) fn shout(load: u32, sequence: u64, setpoint: i64) -> Write {
    Write::Shout { load: LoadId(load), order: order(EPOCH, sequence), setpoint: w(setpoint) }
}

#[test]
fn a_shed_that_goes_on_while_its_write_has_no_answer_is_shouted_and_written_after_the_answer() {
    let mut ledger = proved(500, [40, 40]);
    assert_eq!(ledger.steps(&[want(0, 30)], T), [lower(0, 1, 30)]);
    assert_eq!(ledger.steps(&[want(0, 30)], at(1)), []);
    assert_eq!(ledger.steps(&[want(0, 10)], at(2)), [shout(0, 2, 10)]);
    assert_eq!(ledger.steps(&[want(0, 10)], at(3)), [], "once");
    assert_eq!(ledger.steps(&[want(0, 5)], at(3)), [shout(0, 3, 5)]);
    assert_eq!(counts(&ledger, 0, at(3)), (40, Basis::Known), "a shout frees nothing");
    answer(&mut ledger, 0, 1, Outcome::Accepted(view(30, 40, order(EPOCH, 1), 2)), at(4));
    assert_eq!(ledger.steps(&[want(0, 5)], at(4)), [lower(0, 4, 5)]);
}

#[test]
fn what_was_only_shouted_is_taken_back_by_a_write_even_if_the_setpoint_stays() {
    let mut ledger = proved(500, [40, 40]);
    assert_eq!(ledger.steps(&[want(0, 30)], T), [lower(0, 1, 30)]);
    assert_eq!(ledger.steps(&[want(0, 10)], at(1)), [shout(0, 2, 10)]);
    answer(&mut ledger, 0, 1, Outcome::Accepted(view(30, 30, order(EPOCH, 1), 2)), at(2));
    assert_eq!(ledger.steps(&[want(0, 30)], at(2)), [lower(0, 3, 30)], "agents keep a shed until a later order");
    answer(&mut ledger, 0, 3, Outcome::Accepted(view(30, 30, order(EPOCH, 3), 3)), at(3));
    assert_eq!(ledger.steps(&[want(0, 30)], at(3)), []);
}

#[test]
fn a_raise_without_an_answer_and_a_refused_shed_are_both_called_back_by_a_shout() {
    let mut ledger = proved(500, [40, 40]);
    assert_eq!(ledger.steps(&[want(0, 90), want(1, 30)], T), [lower(1, 1, 30), raise(0, 1, 90)]);
    answer(&mut ledger, 1, 1, Outcome::Refused, at(1));
    let calls = ledger.steps(&[want(0, 60), want(1, 20)], at(1));
    assert_eq!(calls, [shout(0, 2, 60), shout(1, 2, 20)]);
    assert_eq!(counts(&ledger, 0, at(1)), (90, Basis::Known), "it may land yet");
    let writes = ledger.steps(&[want(0, 60), want(1, 20)], at(10));
    assert_eq!(writes, [lower(0, 3, 40), lower(1, 3, 20)]);
}
