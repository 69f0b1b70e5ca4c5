//! Why a lease has its grant, its refusal, its notice.

use super::answer::{Explanation, Figure, Trouble, usd};
use super::subject::Subject;
use super::view::{Decided, View};
use ampacity_core::decide::explain::Bidder;
use ampacity_core::lease::{
    Contract, Delivery, LeaseState, NoticeReason, Offer, Refusal, RefusalReason, allowance_left,
};
use ampacity_core::plan::Reason;
use ampacity_core::tree::NodeId;
use ampacity_core::units::{Span, Time, Watts};

pub(super) fn explain(view: &View, namespace: &str, name: &str) -> Result<Explanation, Trouble> {
    let subject = Subject::Lease { namespace: namespace.into(), name: name.into() }.to_string();
    let own = format!("{namespace}/{name}");
    let decided = view.decided(&subject, |site| site.leases.contains_key(&own))?;
    let at = decided.leases.iter().position(|lease| *lease == own);
    let Some((at, award)) = at.and_then(|at| Some((at, decided.told.plan.leases.get(at)?))) else {
        return Ok(undecided(&decided, subject, &own));
    };
    let mut answer = decided.answer(subject, &award.reason);
    let node = place(&decided, &award.state, at);
    if let Some(node) = node {
        answer.limits = decided.limits(node);
    }
    match &award.state {
        LeaseState::Requested => {}
        LeaseState::Offered(offer) => offered(&decided, offer, &mut answer),
        LeaseState::Refused(refusal) => refused(&decided, *refusal, at, &mut answer),
        LeaseState::Accepted(contract) | LeaseState::Ended(contract) => {
            granted(&decided, contract, &mut answer);
            competed(&decided, at, &award.reason, node, &mut answer);
        }
    }
    Ok(answer)
}

/// A lease that the last decision did not look at.
fn undecided(decided: &Decided<'_>, subject: String, own: &str) -> Explanation {
    let ended = decided.site.leases.get(own).is_some_and(|row| matches!(row.state, LeaseState::Ended(_)));
    let (reason, why) = if ended {
        ("Ended", "its term is over")
    } else {
        ("Starting", "nothing is offered while loads are being born")
    };
    Explanation { subject, reason: reason.into(), why: why.into(), ..decided.head() }
}

fn place(decided: &Decided<'_>, state: &LeaseState, at: usize) -> Option<NodeId> {
    let asked = || decided.snapshot.leases.get(at).and_then(|lease| lease.request.delivery);
    let delivery = match state {
        LeaseState::Accepted(contract) | LeaseState::Ended(contract) => Some(contract.offer.delivery),
        LeaseState::Offered(offer) => Some(offer.delivery),
        LeaseState::Refused(_) | LeaseState::Requested => asked(),
    };
    match delivery? {
        Delivery::Jobs { pool, .. } => decided.snapshot.pools.get(pool as usize).map(|pool| pool.node),
        Delivery::Power { node, .. } => Some(node),
    }
}

fn unit(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::Jobs { .. } => "USD a GPU hour",
        Delivery::Power { .. } => "USD a kW month",
    }
}

fn amount(delivery: Delivery) -> String {
    match delivery {
        Delivery::Jobs { gpus, .. } => format!("{gpus} GPUs"),
        Delivery::Power { watts, .. } => watts.to_string(),
    }
}

fn offered(decided: &Decided<'_>, offer: &Offer, answer: &mut Explanation) {
    let price =
        format!("{} for {} at {} {}", "offered", amount(offer.delivery), offer.terms.price, unit(offer.delivery));
    answer.figures.push(Figure::told("offer", price));
    answer.figures.push(Figure::told("stands", format!("until {}", decided.names().time(offer.expires))));
    answer.changes.push(format!("is accepted by spec.acceptedOfferHash: {}", offer.hash));
}

fn refused(decided: &Decided<'_>, refusal: Refusal, at: usize, answer: &mut Explanation) {
    let Some(lease) = decided.snapshot.leases.get(at) else { return };
    let request = &lease.request;
    if let Some(delivery) = request.delivery {
        answer.figures.push(Figure::told("asked", amount(delivery)));
        let term = format!("{} to {}", decided.names().time(request.start), decided.names().time(request.end));
        answer.figures.push(Figure::told("term", term));
        if refusal.would_fit > 0 && !matches!(refusal.reason, RefusalReason::Price { .. }) {
            let fits = amount(delivery.with_amount(refusal.would_fit));
            answer.changes.push(format!("{fits} would fit in that term"));
        }
    }
    if let Some(from) = refusal.would_fit_from {
        answer.changes.push(format!("all of it would fit from {}", decided.names().time(from)));
    }
    if let (RefusalReason::Price { least }, Some(delivery)) = (refusal.reason, request.delivery) {
        answer.changes.push(format!("a maximum price of {least} {} would be accepted", unit(delivery)));
    }
}

fn hours(span: Span) -> String {
    let minutes = span.at_least_zero().whole_seconds() / 60;
    format!("{} h {:02} min", minutes / 60, minutes % 60)
}

fn granted(decided: &Decided<'_>, contract: &Contract, answer: &mut Explanation) {
    let (names, now, terms) = (decided.names(), decided.snapshot.now, &contract.offer.terms);
    let service = if terms.firm { "firm" } else { "flexible" };
    let price =
        format!("{}, {service}, {} {}", amount(contract.offer.delivery), terms.price, unit(contract.offer.delivery));
    answer.figures.push(Figure::told("terms", price));
    let since = format!("since {}", names.time(contract.grant.since));
    let capped = contract.grant.watts > Watts::ZERO && contract.grant.cap < contract.full.cap;
    let cap = if capped { format!(", each GPU capped at {}", contract.grant.cap) } else { String::new() };
    answer.figures.push(Figure::watts("granted", contract.grant.watts, format!("{since}{cap}")));
    answer.figures.push(Figure::watts("full", contract.full.watts, "above lowest caps"));
    if let Some(notice) = contract.running_notice() {
        let why = match notice.reason {
            NoticeReason::Economics => "power is worth more elsewhere",
            NoticeReason::Limit => "a limit leaves no room",
            NoticeReason::Emergency => "an emergency",
            NoticeReason::TermEnds => "its term ends",
        };
        let (given, by) = (names.time(notice.given), names.time(notice.deadline));
        answer.figures.push(Figure::watts(
            "notice",
            notice.to.watts,
            format!("falls to this at {by}; given {given}, {why}"),
        ));
        answer
            .changes
            .push("falls as soon as every Job acknowledged its checkpoint; is taken back if that pays".into());
    }
    if !terms.firm {
        let left = allowance_left(contract, Span::ZERO, now);
        let until = if left.until == Time::MAX { String::new() } else { format!(", until {}", names.time(left.until)) };
        let note = format!("{} and {} curtailments today are left{until}", hours(left.curtailed), left.events);
        answer.figures.push(Figure::told("allowance", note));
    }
    let credit = contract.credited(now);
    answer
        .figures
        .push(Figure::told("account", format!("charged {}, credited {} USD", usd(contract.charged(now)), usd(credit))));
    answer.figures.push(Figure::told("ends", names.time(contract.offer.end)));
}

/// Its bid among the others, where it made one; else what runs around it.
fn competed(decided: &Decided<'_>, at: usize, reason: &Reason, node: Option<NodeId>, answer: &mut Explanation) {
    let bidder = Bidder::Lease(u32::try_from(at).unwrap_or(u32::MAX));
    match decided.told.leases.as_ref().filter(|auction| !auction.steps(bidder).is_empty()) {
        Some(auction) => {
            answer.bids = decided.bids(auction, bidder, decided.stops(auction, bidder));
            answer.changes.extend(decided.ends(reason));
            answer.changes.extend(decided.changes(auction, bidder));
        }
        None => {
            let auction = &decided.told.loads;
            answer.bids = decided.bids(auction, bidder, node.unwrap_or(NodeId::SITE));
            answer.changes.extend(decided.ends(reason));
        }
    }
    if !decided.snapshot.leases.get(at).is_some_and(|lease| lease.has_work || lease.has_pods) {
        answer.changes.push("has no Jobs: its watts are used by others until it has".into());
    }
}
