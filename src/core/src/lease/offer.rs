//! Answering requests: an offer with its price, acceptance, or a refusal with what would fit.

use super::{
    Book, Contract, Delivery, Ground, Lease, LeaseState, Occupancy, Offer, Promise, Refusal, RefusalReason, Terms,
};
use crate::units::{Span, Time};

/// How long an offer stands, and its place in the book with it.
pub const OFFER_STANDS: Span = Span::minutes(60);

/// A digest of bytes, as text that fits a field: the same for the same bytes, wherever and whenever it is taken. The shell
/// brings it: SHA-256, in hexadecimal digits.
pub type Digest = fn(&[u8]) -> String;

/// What became of a request, beside the state it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Accepted now.
    Accepted,
    /// An offer waits for the tenant, or for the class's approver.
    AwaitsAcceptance,
    /// So it does, and the hash given is not that offer's.
    OtherHash,
    /// Refused, until things change.
    Refused(RefusalReason),
    /// It was answered before: nothing to consider.
    Settled,
}

/// One request, considered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered {
    /// Where it stands now.
    pub state: LeaseState,
    /// Why.
    pub answer: Answer,
}

impl Offer {
    /// Every offered term, one a line: what the hash is of. `expires` is left out, so that an offer that is renewed
    /// on the same terms keeps its hash and an approval that comes late is still one of these very terms.
    ///
    /// `lease`: to whom (`namespace/name`); `place`: the pool's or feeder's name, for positions are not for keeps.
    pub fn canonical(&self, lease: &str, place: &str) -> Vec<u8> {
        let Self { terms, delivery, start, end, hash: _, expires: _ } = self;
        let unit = if matches!(delivery, Delivery::Jobs { .. }) { "gpus" } else { "watts" };
        let allowance = &terms.allowance;
        let numbers = [
            (unit, delivery.amount()),
            ("start_ms", start.get()),
            ("end_ms", end.get()),
            ("firm", i64::from(terms.firm)),
            ("price_micro_usd", terms.price.get()),
            ("notice_ms", terms.notice.get()),
            ("curtailed_ms", allowance.curtailed.get()),
            ("per_ms", allowance.per.get()),
            ("events_per_day", i64::from(allowance.events_per_day)),
            ("longest_ms", allowance.longest.get()),
            ("minimum_run_ms", allowance.minimum_run.get()),
            ("credit_micro_usd_per_mwh", terms.credit.get()),
            ("stop_cost_micro_usd", terms.stop_cost.get()),
            ("least_throughput_ppm", terms.least_throughput.get()),
            ("accepts_itself", i64::from(terms.accepts_itself)),
            ("longest_term_ms", terms.longest_term.get()),
        ];
        // Names cannot hold a line's end; escaped all the same, so that no two offers write alike.
        let mut text = format!("ampacity offer 1\nlease={lease:?}\nplace={place:?}\n");
        for (name, value) in numbers {
            text.push_str(&format!("{name}={value}\n"));
        }
        text.into_bytes()
    }
}

/// Considers every lease that is not accepted yet; the others are left as they are. Returned by position.
///
/// First the offers that stand, for they are kept while they stand; then first come, first served by when it was asked
/// for, then by name. What was refused is considered again, so that a lease written before its class, or before its
/// pool's nodes were seen, is not lost; its refusal stays as it is while the reason does.
///
/// An offer holds its place in the book until it expires. It is then made anew on the terms of that day.
pub fn consider_all(
    leases: &[Lease],
    book: &Book,
    ground: Ground<'_>,
    now: Time,
    digest: Digest,
) -> Vec<(u32, Considered)> {
    let open = |lease: &Lease| !matches!(lease.state, LeaseState::Accepted(_) | LeaseState::Ended(_));
    let mut order: Vec<(u32, &Lease)> = (0..).zip(leases).filter(|(_, lease)| open(lease)).collect();
    if order.is_empty() {
        return Vec::new();
    }
    order.sort_by_key(|(_, lease)| (standing(lease, now).is_none(), lease.request.asked, lease.name.as_str()));
    let coming: Vec<Promise<'_>> = order.iter().filter_map(|(_, lease)| promise(lease, &ground, now).ok()).collect();
    let mut occupancy = Occupancy::new(ground, &Occupancy::promises(book, leases), &coming);
    let mut considered = Vec::with_capacity(order.len());
    for (position, lease) in order {
        considered.push((position, consider(lease, &ground, &mut occupancy, now, digest)));
    }
    considered.sort_by_key(|(position, _)| *position);
    considered
}

/// Considers one lease, and enters what it is offered.
pub fn consider<'a>(
    lease: &'a Lease,
    ground: &Ground<'_>,
    occupancy: &mut Occupancy<'a>,
    now: Time,
    digest: Digest,
) -> Considered {
    if matches!(lease.state, LeaseState::Accepted(_) | LeaseState::Ended(_)) {
        return Considered { state: lease.state.clone(), answer: Answer::Settled };
    }
    let promise = match promise(lease, ground, now) {
        Ok(promise) => promise,
        Err(reason) => return refused(lease, reason, || (0, None)),
    };
    if let Err(reason) = occupancy.fits(&promise) {
        let longest = class_of(lease, ground).map_or(Span::ZERO, |class| class.terms.longest_term);
        return refused(lease, reason, || (occupancy.would_fit(&promise), occupancy.earliest(&promise, longest)));
    }
    let price = terms_of(lease, ground, now).map(|terms| terms.price);
    if let Some(least) = price.filter(|price| lease.request.max_price.is_some_and(|most| most < *price)) {
        return refused(lease, RefusalReason::Price { least }, || (promise.delivery.amount(), None));
    }
    let Some(offer) = standing(lease, now).cloned().or_else(|| offered(lease, ground, now, digest)) else {
        return refused(lease, RefusalReason::NoClass, || (0, None));
    };
    occupancy.enter(&promise);
    let by_hash = lease.request.accepted_hash.as_ref().map(|hash| *hash == offer.hash);
    let by_itself = offer.terms.accepts_itself && lease.request.max_price.is_some();
    if by_itself || by_hash == Some(true) {
        let full = ground.full(offer.delivery).unwrap_or_default();
        let contract = Contract::new(offer, full, now);
        return Considered { state: LeaseState::Accepted(Box::new(contract)), answer: Answer::Accepted };
    }
    let answer = if by_hash == Some(false) { Answer::OtherHash } else { Answer::AwaitsAcceptance };
    Considered { state: LeaseState::Offered(offer), answer }
}

/// The offer that stands for `lease`, if it is still for what is asked.
fn standing(lease: &Lease, now: Time) -> Option<&Offer> {
    let LeaseState::Offered(offer) = &lease.state else { return None };
    let asked = lease.request.delivery?;
    let request = &lease.request;
    let same = offer.delivery == asked && offer.start == request.start && offer.end == request.end;
    (same && now < offer.expires).then_some(offer)
}

fn class_of<'a>(lease: &Lease, ground: &Ground<'a>) -> Option<&'a super::Class> {
    ground.classes.get(lease.request.class? as usize)
}

/// The terms for `lease`: of the offer that stands, else what its class publishes now.
fn terms_of<'a>(lease: &'a Lease, ground: &Ground<'a>, now: Time) -> Option<&'a Terms> {
    standing(lease, now).map(|offer| &offer.terms).or_else(|| class_of(lease, ground).map(|class| &class.terms))
}

/// What the request asks to be promised, checked against its class.
fn promise<'a>(lease: &'a Lease, ground: &Ground<'_>, now: Time) -> Result<Promise<'a>, RefusalReason> {
    let request = &lease.request;
    let class = class_of(lease, ground).ok_or(RefusalReason::NoClass)?;
    let delivery = request.delivery.ok_or(RefusalReason::WrongDelivery)?;
    if delivery.amount() <= 0 || delivery.with_amount(0) != class.delivery.with_amount(0) {
        return Err(RefusalReason::WrongDelivery);
    }
    let terms = terms_of(lease, ground, now).ok_or(RefusalReason::NoClass)?;
    let over = request.end <= now || request.end <= request.start;
    if over || request.end.since(request.start) > terms.longest_term {
        return Err(RefusalReason::Term);
    }
    let watts = ground.full(delivery).ok_or(RefusalReason::Capacity)?.watts;
    let (start, end) = (request.start.max(now), request.end);
    let (class, namespace, firm) = (request.class, lease.namespace.as_str(), terms.firm);
    Ok(Promise { class, namespace, delivery, watts, start, end, firm })
}

/// A new offer on the terms published now. Its start is the one asked for, also where that is past: so its hash does
/// not change with the time of day. Nothing is charged for what is past.
fn offered(lease: &Lease, ground: &Ground<'_>, now: Time, digest: Digest) -> Option<Offer> {
    let class = class_of(lease, ground)?;
    let delivery = lease.request.delivery?;
    let (start, end) = (lease.request.start, lease.request.end);
    let expires = now.after(OFFER_STANDS).min(end);
    let mut offer = Offer { terms: class.terms.clone(), delivery, start, end, hash: String::new(), expires };
    let place = match delivery {
        Delivery::Jobs { pool, .. } => ground.pools.get(pool as usize).map(|pool| pool.name.as_str())?,
        Delivery::Power { node, .. } => ground.tree.node(node).map(|node| node.name.as_str())?,
    };
    offer.hash = digest(&offer.canonical(&lease.name, place));
    Some(offer)
}

/// A refusal; the one that stands, where its reason does.
fn refused(lease: &Lease, reason: RefusalReason, fits: impl FnOnce() -> (i64, Option<Time>)) -> Considered {
    let refusal = match lease.state {
        LeaseState::Refused(refusal) if refusal.reason == reason => refusal,
        _ => {
            let (would_fit, would_fit_from) = fits();
            Refusal { reason, would_fit, would_fit_from }
        }
    };
    Considered { state: LeaseState::Refused(refusal), answer: Answer::Refused(reason) }
}
