use super::booking::{hour, must_run, world};
use super::*;
use Answer::{Accepted, AwaitsAcceptance, OtherHash, Refused};

/// Anything that tells offers apart.
fn digest(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// `gpus` of class 1 (flexible, pool 0) from hour 10 to hour 20, for at most `dollars`.
fn lease(name: &str, gpus: u32, dollars: Option<i64>) -> Lease {
    Lease {
        name: name.into(),
        namespace: "a".into(),
        request: Request {
            class: Some(1),
            delivery: Some(Delivery::Jobs { pool: 0, gpus }),
            start: hour(10),
            end: hour(20),
            max_price: dollars.map(Usd::dollars),
            accepted_hash: None,
            asked: hour(0),
        },
        state: LeaseState::Requested,
        placed: vec![],
        has_work: false,
        has_pods: false,
        acknowledged: None,
    }
}

/// Considers `leases` at `now` and puts the answers in their place.
fn consider_at(now: Time, leases: &mut [Lease], change: impl FnOnce(&mut booking::World)) -> Vec<Answer> {
    let (mut world, must_run) = (world(), must_run());
    change(&mut world);
    let book = Book::of(leases);
    let considered = consider_all(leases, &book, world.ground(&must_run), now, digest);
    let mut answers = Vec::new();
    for (position, one) in considered {
        leases[position as usize].state = one.state;
        answers.push(one.answer);
    }
    answers
}

fn at(now: i64, leases: &mut [Lease]) -> Vec<Answer> {
    consider_at(hour(now), leases, |_| {})
}

fn hash(lease: &Lease) -> String {
    match &lease.state {
        LeaseState::Offered(offer) => offer.hash.clone(),
        LeaseState::Accepted(contract) => contract.offer.hash.clone(),
        other => panic!("no offer: {other:?}"),
    }
}

#[test]
fn what_cannot_be_is_refused_by_its_reason() {
    let power = Delivery::Power { node: crate::tree::NodeId(3), watts: Watts::new(1) };
    type Change<'a> = &'a dyn Fn(&mut Request);
    let change: [(Change<'_>, RefusalReason); 8] = [
        (&|r| r.class = None, RefusalReason::NoClass),
        (&|r| r.class = Some(77), RefusalReason::NoClass),
        (&|r| r.delivery = None, RefusalReason::WrongDelivery),
        (&|r| r.delivery = Some(power), RefusalReason::WrongDelivery),
        (&|r| r.delivery = Some(Delivery::Jobs { pool: 1, gpus: 1 }), RefusalReason::WrongDelivery),
        (&|r| r.end = r.start, RefusalReason::Term),
        (&|r| (r.start, r.end) = (hour(-9), hour(1)), RefusalReason::Term),
        (&|r| r.end = r.start.after(Span::minutes(90 * 1440 + 1)), RefusalReason::Term),
    ];
    for (change, reason) in change {
        let mut leases = [lease("a/x", 4, Some(2))];
        change(&mut leases[0].request);
        assert_eq!(at(1, &mut leases), [Refused(reason)]);
    }
}

#[test]
fn a_refusal_says_how_much_would_fit_and_from_when_all_would() {
    let mut leases = [lease("a/first", 12, Some(2)), lease("a/second", 8, Some(2))];
    leases[1].request.asked = hour(1);
    assert_eq!(at(1, &mut leases), [Accepted, Refused(RefusalReason::Capacity)]);
    let refusal = Refusal { reason: RefusalReason::Capacity, would_fit: 4, would_fit_from: Some(hour(20)) };
    assert_eq!(leases[1].state, LeaseState::Refused(refusal));
}

#[test]
fn a_price_below_the_class_s_is_refused_with_the_price() {
    let mut leases = [lease("a/x", 4, Some(1))];
    assert_eq!(at(1, &mut leases), [Refused(RefusalReason::Price { least: Usd::dollars(2) })]);
}

#[test]
fn a_namespace_gets_its_share_and_no_more() {
    let mut leases = [lease("a/x", 6, Some(2))];
    leases[0].request.class = Some(0);
    let mut answers = consider_at(hour(1), &mut leases, |world| world.share(0, 5));
    assert_eq!(answers, [Refused(RefusalReason::NamespaceShare)]);
    let LeaseState::Refused(refusal) = &leases[0].state else { panic!() };
    assert_eq!((refusal.would_fit, refusal.would_fit_from), (5, None));
    // What was refused is considered again: the share grew.
    answers = at(2, &mut leases);
    assert_eq!(answers, [Accepted]);
}

#[test]
fn who_asked_first_is_served_first_then_by_name() {
    let mut leases = [lease("a/late", 16, Some(2)), lease("a/y", 16, Some(2)), lease("a/x", 16, Some(2))];
    leases[0].request.asked = hour(1);
    leases[0].namespace = "b".into();
    let refused = [Refused(RefusalReason::Capacity), Refused(RefusalReason::NamespaceShare)];
    assert_eq!(at(2, &mut leases), [refused[0], refused[1], Accepted]);
}

#[test]
fn without_a_price_an_offer_waits_holds_its_place_and_is_accepted_by_its_hash_alone() {
    let mut leases = [lease("a/waits", 16, None), lease("a/later", 4, Some(2))];
    leases[1].request.asked = hour(1);
    let refused = Refused(RefusalReason::Capacity);
    assert_eq!(at(1, &mut leases), [AwaitsAcceptance, refused]);
    leases[0].request.accepted_hash = Some("another".into());
    assert_eq!(at(1, &mut leases), [OtherHash, refused]);
    leases[0].request.accepted_hash = Some(hash(&leases[0]));
    assert_eq!(at(1, &mut leases), [Accepted, refused]);
    let LeaseState::Accepted(contract) = &leases[0].state else { panic!() };
    let full = Level { watts: Watts::new(16 * 500), cap: Watts::new(700) };
    assert_eq!((contract.accepted, contract.full, contract.grant.watts), (hour(1), full, Watts::ZERO));
}

#[test]
fn a_class_that_wants_approval_waits_for_it_within_the_tenant_s_price_too() {
    let manual = |world: &mut booking::World| world.terms(1).accepts_itself = false;
    let mut leases = [lease("a/x", 4, Some(2))];
    assert_eq!(consider_at(hour(1), &mut leases, manual), [AwaitsAcceptance]);
    leases[0].request.accepted_hash = Some(hash(&leases[0]));
    assert_eq!(consider_at(hour(1), &mut leases, manual), [Accepted]);
}

#[test]
fn a_standing_offer_keeps_its_terms_and_a_renewed_one_has_those_of_the_day() {
    let dearer = |world: &mut booking::World| world.terms(1).price = Usd::dollars(3);
    let mut leases = [lease("a/x", 4, None)];
    at(1, &mut leases);
    let first = hash(&leases[0]);
    consider_at(minute(119), &mut leases, dearer);
    assert_eq!(hash(&leases[0]), first);
    leases[0].request.accepted_hash = Some(first.clone());
    assert_eq!(consider_at(minute(120), &mut leases, dearer), [OtherHash]);
    assert_ne!(hash(&leases[0]), first);
}

#[test]
fn a_standing_offer_is_not_lost_to_a_request_that_was_asked_for_earlier_and_refused_until_now() {
    let mut leases = [lease("a/refused", 16, Some(1)), lease("a/waits", 16, None)];
    leases[1].request.asked = hour(1);
    at(1, &mut leases);
    leases[0].request.max_price = Some(Usd::dollars(2));
    assert_eq!(at(1, &mut leases), [Refused(RefusalReason::NamespaceShare), AwaitsAcceptance]);
}

#[test]
fn an_offer_renewed_on_the_same_terms_keeps_its_hash() {
    let mut leases = [lease("a/x", 4, None)];
    leases[0].request.start = hour(-5);
    at(1, &mut leases);
    let first = hash(&leases[0]);
    at(4, &mut leases);
    let LeaseState::Offered(offer) = &leases[0].state else { panic!() };
    assert_eq!((&offer.hash, offer.expires), (&first, hour(5)));
}

#[test]
fn a_request_changed_after_its_offer_is_offered_anew() {
    let mut leases = [lease("a/x", 4, None)];
    at(1, &mut leases);
    leases[0].request.accepted_hash = Some(hash(&leases[0]));
    leases[0].request.delivery = Some(Delivery::Jobs { pool: 0, gpus: 5 });
    assert_eq!(at(1, &mut leases), [OtherHash]);
}

#[test]
fn every_offered_term_is_in_the_hash() {
    let base = contract(flexible()).offer;
    let changes: [&dyn Fn(&mut Offer); 19] = [
        &|o| o.delivery = Delivery::Jobs { pool: 0, gpus: 63 },
        &|o| o.delivery = Delivery::Power { node: crate::tree::NodeId(0), watts: Watts::new(64) },
        &|o| o.start = minute(1),
        &|o| o.end = minute(9),
        &|o| o.terms.firm = true,
        &|o| o.terms.price = Usd::new(1),
        &|o| o.terms.notice = Span::ZERO,
        &|o| o.terms.allowance.curtailed = Span::ZERO,
        &|o| o.terms.allowance.per = Span::ZERO,
        &|o| o.terms.allowance.events_per_day = 9,
        &|o| o.terms.allowance.longest = Span::ZERO,
        &|o| o.terms.allowance.minimum_run = Span::ZERO,
        &|o| o.terms.credit = UsdPerMwh::ZERO,
        &|o| o.terms.stop_cost = Usd::ZERO,
        &|o| o.terms.least_throughput = Ppm::ZERO,
        &|o| o.terms.accepts_itself = false,
        &|o| o.terms.longest_term = Span::ZERO,
        &|_| {},
        &|o| o.expires = minute(7),
    ];
    let mut texts: Vec<_> = changes
        .iter()
        .map(|change| {
            let mut offer = base.clone();
            change(&mut offer);
            offer.canonical("a/x", "pool")
        })
        .chain([base.canonical("a/y", "pool"), base.canonical("a/x", "other")])
        .collect();
    texts.sort();
    texts.dedup();
    // All differ but the last of the table: when it expires is no term.
    assert_eq!(texts.len(), 20);
}
