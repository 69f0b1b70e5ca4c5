//! Leases between the API and the core: what a status says, and what it is to say.

use super::tables::{ClassRow, Tables};
use crate::api::common::{Statement, set_condition};
use crate::api::compute_lease::{
    Account as ApiAccount, ComputeLeaseCondition as Type, ComputeLeaseReason as Word, Grant as ApiGrant,
    Notice as ApiNotice, Offer as ApiOffer, Terms as ApiTerms, WouldFit,
};
use crate::api::lease_class::{Curtailable, Delivery as ApiDelivery, Service};
use crate::api::quantity::{Money, SignedMoney, WattsQuantity, WholeWatts};
use crate::api::{ComputeLease, ComputeLeaseStatus};
use crate::store::{api_time, time};
use ampacity_core::lease::{
    Account, Allowance, Contract, Curtailment, Delivery, Grant, Integral, LeaseState, Level, Notice, NoticeReason,
    Offer, Refusal, RefusalReason, Request, Terms,
};
use ampacity_core::tree::{NodeId, Tree};
use ampacity_core::units::{Ppm, Span, Time, WattSeconds, Watts};
use kube::ResourceExt;

/// The window that an allowance is for: 30 days from the lease's start.
pub const WINDOW: Span = Span::seconds(30 * 86_400);

/// What a lease asks for, at this site.
pub fn request(lease: &ComputeLease, tables: &Tables, asked: Time) -> Request {
    let namespace = lease.namespace().unwrap_or_default();
    let class = tables.classes.iter().position(|row| row.core.name == lease.spec.class_name);
    let open = class.filter(|at| tables.classes.get(*at).is_some_and(|row| row.open_to(&namespace)));
    let delivery = class.and_then(|at| tables.classes.get(at)).and_then(|row| delivery(lease, row));
    let price = lease.spec.max_price_per_gpu_hour.or(lease.spec.max_price_per_kw_month);
    Request {
        class: open.and_then(|at| u32::try_from(at).ok()),
        delivery,
        start: time(&lease.spec.term.start),
        end: time(&lease.spec.term.end),
        max_price: price.map(|p| p.usd()),
        accepted_hash: lease.spec.accepted_offer_hash.clone(),
        asked,
    }
}

/// GPUs at the class's pool, watts at its feeder; the wrong one of the two stays wrong, for the refusal to say so.
fn delivery(lease: &ComputeLease, class: &ClassRow) -> Option<Delivery> {
    let gpus = lease.spec.gpus.and_then(|gpus| u32::try_from(gpus).ok());
    let watts = lease.spec.watts.map(|watts| watts.watts());
    match class.core.delivery {
        Delivery::Jobs { pool, .. } => Some(match gpus {
            Some(gpus) => Delivery::Jobs { pool, gpus },
            None => Delivery::Power { node: NodeId::SITE, watts: watts? },
        }),
        Delivery::Power { node, .. } => Some(match watts {
            Some(watts) => Delivery::Power { node, watts },
            None => Delivery::Jobs { pool: 0, gpus: gpus? },
        }),
    }
}

/// Where a lease stood when its status was last written. What was offered or refused is considered anew.
pub fn state(lease: &ComputeLease, tables: &Tables, tree: &Tree) -> LeaseState {
    let Some(status) = &lease.status else { return LeaseState::Requested };
    let Some(terms) = &status.terms else { return LeaseState::Requested };
    let Some(contract) = contract(lease, status, terms, tables, tree) else { return LeaseState::Requested };
    let ended = status.conditions.iter().any(|c| c.type_ == "Ended" && c.status == "True");
    if ended { LeaseState::Ended(Box::new(contract)) } else { LeaseState::Accepted(Box::new(contract)) }
}

/// The name by which pinned terms say where they are delivered.
pub fn place(delivery: Delivery, tables: &Tables) -> String {
    match delivery {
        Delivery::Jobs { pool, .. } => tables.pools.get(pool as usize).map(|row| row.core.name.clone()),
        Delivery::Power { node, .. } => tables.tree.node(node).map(|n| format!("{}/{}", tables.site(), n.name)),
    }
    .unwrap_or_default()
}

fn contract(
    lease: &ComputeLease,
    status: &ComputeLeaseStatus,
    terms: &ApiTerms,
    tables: &Tables,
    tree: &Tree,
) -> Option<Contract> {
    let full_watts = terms.watts.watts();
    let (delivery, top) = match terms.delivery {
        ApiDelivery::Jobs => {
            let pool = tables.pools.iter().position(|row| row.core.name == terms.place)?;
            let top = tables.pools.get(pool)?.core.max_cap;
            let gpus = u32::try_from(terms.gpus?).ok()?;
            (Delivery::Jobs { pool: u32::try_from(pool).ok()?, gpus }, top)
        }
        ApiDelivery::Power => {
            let node = tree.find(terms.place.rsplit('/').next()?)?;
            (Delivery::Power { node, watts: full_watts }, Watts::ZERO)
        }
    };
    let full = Level { watts: full_watts, cap: top };
    let offer = Offer {
        terms: core_terms(terms, delivery, tables),
        delivery,
        start: time(&terms.start),
        end: time(&terms.end).min(time(&lease.spec.term.end)),
        hash: terms.hash.clone(),
        expires: Time::MAX,
    };
    let accepted = time(&terms.accepted_time);
    let mut contract = Contract::new(offer, full, accepted);
    if let Some(grant) = &status.grant {
        let level = level(grant.watts.watts(), full, delivery);
        contract.grant = Grant { watts: level.watts, cap: level.cap, since: time(&grant.since) };
    }
    contract.notice = status.notice.as_ref().map(|notice| Notice {
        given: time(&notice.issued),
        deadline: time(&notice.deadline),
        to: level(notice.watts.watts(), full, delivery),
        reason: notice_reason(&notice.reason),
    });
    if let Some(told) = &status.account {
        contract.account = account(told, contract.account);
        contract.missing = missing(told).min(contract.grant.watts);
    }
    Some(contract)
}

/// A level by its watts: the cap follows, for all of a lease's GPUs are capped alike.
fn level(watts: Watts, full: Level, delivery: Delivery) -> Level {
    match delivery {
        Delivery::Jobs { gpus, .. } if watts > Watts::ZERO => {
            let below = (full.watts - watts).get() / i64::from(gpus.max(1));
            Level { watts, cap: full.cap - Watts::new(below) }
        }
        _ => Level { watts, cap: Watts::ZERO },
    }
}

fn core_terms(terms: &ApiTerms, delivery: Delivery, tables: &Tables) -> Terms {
    let seconds = |f: fn(&Curtailable) -> i64| terms.curtailable.as_ref().map_or(Span::ZERO, |c| Span::seconds(f(c)));
    Terms {
        firm: terms.service == Service::Firm,
        price: terms.price.usd(),
        notice: Span::seconds(terms.notice_seconds),
        allowance: Allowance {
            curtailed: seconds(|c| i64::from(c.hours_per_month) * 3_600),
            per: WINDOW,
            events_per_day: terms.curtailable.as_ref().map_or(0, |c| u32::try_from(c.events_per_day).unwrap_or(0)),
            longest: seconds(|c| c.max_event_seconds),
            minimum_run: seconds(|c| c.minimum_run_seconds),
        },
        credit: tables.credit(terms.credit_per_mwh, terms.credit_per_gpu_hour, delivery),
        stop_cost: terms.stop_cost_usd.usd(),
        least_throughput: terms.min_throughput_percent.map_or(Ppm::percent(100), |p| p.ppm()),
        accepts_itself: true,
        longest_term: Span::MAX,
    }
}

const REASONS: [(NoticeReason, &str); 4] = [
    (NoticeReason::Economics, "Economics"),
    (NoticeReason::Limit, "Limit"),
    (NoticeReason::Emergency, "Emergency"),
    (NoticeReason::TermEnds, "TermEnds"),
];

fn notice_reason(word: &str) -> NoticeReason {
    REASONS.iter().find(|(_, w)| *w == word).map_or(NoticeReason::Economics, |(reason, _)| *reason)
}

/// What lockouts left it short of as that was written; one of an older release says nothing of it.
pub fn missing(told: &ApiAccount) -> Watts {
    told.missing_watts.map_or(Watts::ZERO, |watts| watts.watts().at_least_zero())
}

fn account(told: &ApiAccount, fresh: Account) -> Account {
    let watt_hours = |wh: i64| Integral { whole: WattSeconds::new(wh.saturating_mul(3_600)), thousandths: 0 };
    Account {
        at: time(&told.checkpoint_time),
        window: told.window_start.as_ref().map_or(fresh.window, time),
        curtailed: Span::seconds(told.window_seconds),
        day: told.day.as_ref().map_or(fresh.day, time),
        events: u32::try_from(told.day_events).unwrap_or(u32::MAX),
        total: Span::seconds(told.curtailed_seconds),
        emergency: Span::seconds(told.emergency_seconds),
        granted: watt_hours(told.granted_watt_hours),
        withheld: watt_hours(told.curtailed_watt_hours),
        running: told
            .event_start
            .as_ref()
            .map(|since| Curtailment { since: time(since), emergency: told.event_emergency }),
    }
}

/// What a lease's status is to say. `old` is what it says, for what does not change and for transition times.
pub fn status(
    lease: &ComputeLease,
    state: &LeaseState,
    why: &str,
    tables: &Tables,
    old: Option<&ComputeLeaseStatus>,
    now: Time,
) -> ComputeLeaseStatus {
    let mut status = old.cloned().unwrap_or_default();
    status.observed_generation = lease.metadata.generation;
    match state {
        LeaseState::Requested => {}
        LeaseState::Offered(offer) => status.offer = Some(offered(offer, why)),
        LeaseState::Refused(refusal) => status.offer = Some(refused(refusal, lease, why)),
        LeaseState::Accepted(contract) | LeaseState::Ended(contract) => {
            let pinned = status.terms.take();
            status.terms = pinned.or_else(|| pin(lease, contract, tables));
            status.offer = Some(offered(&contract.offer, "accepted"));
            status.grant = Some(granted(contract, why));
            status.notice = contract.notice.map(|notice| noticed(&notice));
            status.account = Some(told(contract));
        }
    }
    conditions(&mut status, lease, state, why, now);
    status
}

fn offered(offer: &Offer, why: &str) -> ApiOffer {
    ApiOffer {
        price: Some(Money::new(offer.terms.price.get())),
        hash: Some(offer.hash.clone()),
        expires: (offer.expires < Time::MAX).then(|| api_time(offer.expires)),
        reason: why.into(),
        would_fit: None,
    }
}

fn refused(refusal: &Refusal, lease: &ComputeLease, why: &str) -> ApiOffer {
    let fits = refusal.would_fit > 0 || refusal.would_fit_from.is_some();
    let would_fit = fits.then(|| WouldFit {
        gpus: lease.spec.gpus.and_then(|_| i32::try_from(refusal.would_fit).ok()),
        watts: lease.spec.watts.map(|_| WattsQuantity::new(refusal.would_fit)),
        start: refusal.would_fit_from.map(api_time),
    });
    ApiOffer { price: None, hash: None, expires: None, reason: why.into(), would_fit }
}

/// The terms of a contract as they are pinned: of the class as it stood when they were accepted.
fn pin(lease: &ComputeLease, contract: &Contract, tables: &Tables) -> Option<ApiTerms> {
    let class = tables.classes.iter().find(|row| row.core.name == lease.spec.class_name)?;
    let (offer, spec) = (&contract.offer, &class.object.spec);
    let terms = &offer.terms;
    let allowance = &terms.allowance;
    Some(ApiTerms {
        hash: offer.hash.clone(),
        accepted_time: api_time(contract.accepted),
        class_name: class.core.name.clone(),
        class_generation: class.object.metadata.generation.unwrap_or(0),
        delivery: spec.delivery,
        place: place(offer.delivery, tables),
        gpus: match offer.delivery {
            Delivery::Jobs { gpus, .. } => i32::try_from(gpus).ok(),
            Delivery::Power { .. } => None,
        },
        watts: WattsQuantity::new(contract.full.watts.get()),
        start: api_time(offer.start),
        end: api_time(offer.end),
        price: Money::new(terms.price.get()),
        service: if terms.firm { Service::Firm } else { Service::Flexible },
        notice_seconds: terms.notice.whole_seconds(),
        curtailable: (!terms.firm).then(|| Curtailable {
            hours_per_month: i32::try_from(allowance.curtailed.whole_seconds() / 3_600).unwrap_or(i32::MAX),
            events_per_day: i32::try_from(allowance.events_per_day).unwrap_or(i32::MAX),
            max_event_seconds: allowance.longest.whole_seconds(),
            minimum_run_seconds: allowance.minimum_run.whole_seconds(),
        }),
        credit_per_gpu_hour: spec.credit_per_gpu_hour,
        credit_per_mwh: spec.credit_per_mwh,
        min_throughput_percent: spec.caps.as_ref().map(|caps| caps.min_throughput_percent),
        stop_cost_usd: spec.stop_cost_usd,
    })
}

fn granted(contract: &Contract, why: &str) -> ApiGrant {
    let gpus = match contract.offer.delivery {
        Delivery::Jobs { gpus, .. } => {
            Some(if contract.grant.watts > Watts::ZERO { i32::try_from(gpus).unwrap_or(i32::MAX) } else { 0 })
        }
        Delivery::Power { .. } => None,
    };
    let capped = contract.grant.watts > Watts::ZERO && contract.grant.cap < contract.full.cap;
    ApiGrant {
        watts: WattsQuantity::new(contract.grant.watts.get()),
        gpus,
        cap_watts: capped.then(|| WholeWatts(contract.grant.cap.get())),
        since: api_time(contract.grant.since),
        reason: why.into(),
    }
}

fn noticed(notice: &Notice) -> ApiNotice {
    ApiNotice {
        issued: api_time(notice.given),
        deadline: api_time(notice.deadline),
        watts: WattsQuantity::new(notice.to.watts.get()),
        reason: REASONS.iter().find(|(r, _)| *r == notice.reason).map_or("", |(_, word)| word).into(),
    }
}

fn told(contract: &Contract) -> ApiAccount {
    let account = &contract.account;
    let withheld = (contract.full.watts - contract.grant.watts).at_least_zero() + contract.missing;
    ApiAccount {
        checkpoint_time: api_time(account.at),
        withheld_watts: WattsQuantity::new(withheld.get()),
        missing_watts: (contract.missing > Watts::ZERO).then(|| WattsQuantity::new(contract.missing.get())),
        curtailed_seconds: account.total.whole_seconds(),
        curtailed_watt_hours: account.withheld.whole.watt_hours(),
        granted_watt_hours: account.granted.whole.watt_hours(),
        credit_usd: SignedMoney::new(contract.credited(account.at).get()),
        charged_usd: SignedMoney::new(contract.charged(account.at).get()),
        window_start: Some(api_time(account.window)),
        window_seconds: account.curtailed.whole_seconds(),
        day: Some(api_time(account.day)),
        day_events: i64::from(account.events),
        event_start: account.running.map(|running| api_time(running.since)),
        event_emergency: account.running.is_some_and(|running| running.emergency),
        emergency_seconds: account.emergency.whole_seconds(),
    }
}

fn conditions(status: &mut ComputeLeaseStatus, lease: &ComputeLease, state: &LeaseState, why: &str, now: Time) {
    let at = api_time(now);
    let generation = lease.metadata.generation;
    let mut say = |type_, holds: Option<bool>, reason, message: &str| {
        let say = Statement::<ComputeLease> { type_, status: holds, reason, message: message.into() };
        set_condition(&mut status.conditions, say, generation, &at);
    };
    match state {
        LeaseState::Requested => say(Type::Accepted, None, Word::Starting, why),
        LeaseState::Offered(_) => {
            say(Type::Accepted, Some(false), Word::OfferAwaitsAcceptance, why);
            say(Type::Ready, Some(false), Word::OfferAwaitsAcceptance, why);
        }
        LeaseState::Refused(refusal) => {
            let word = refusal_word(refusal.reason);
            say(Type::Accepted, Some(false), word, why);
            say(Type::Ready, Some(false), word, why);
        }
        LeaseState::Ended(_) => {
            say(Type::Ready, Some(false), Word::TermOver, why);
            say(Type::Ended, Some(true), Word::TermOver, why);
        }
        LeaseState::Accepted(contract) => {
            let by_hash = lease.spec.accepted_offer_hash.is_some();
            let word = if by_hash { Word::OfferAcceptedByHash } else { Word::OfferAccepted };
            say(Type::Accepted, Some(true), word, "the terms are pinned in status.terms");
            let begun = now >= contract.offer.start;
            let granted = contract.grant.watts >= contract.full.watts;
            let whole = granted && contract.missing == Watts::ZERO;
            let word = match (begun, whole, contract.notice.map(|n| n.reason)) {
                (false, ..) => Word::NotStarted,
                (_, true, _) => Word::Granted,
                _ if granted => Word::LockedOut,
                (.., Some(NoticeReason::Emergency)) => Word::Emergency,
                (.., Some(NoticeReason::Limit)) => Word::GridEvent,
                (.., Some(NoticeReason::Economics)) => Word::Economics,
                (.., Some(NoticeReason::TermEnds)) => Word::TermOver,
                (.., None) => Word::Starting,
            };
            say(Type::Ready, Some(begun && whole), word, why);
        }
    }
}

const fn refusal_word(reason: RefusalReason) -> Word {
    match reason {
        RefusalReason::NoClass => Word::ClassNotFound,
        RefusalReason::WrongDelivery => Word::DeliveryMismatch,
        RefusalReason::Term => Word::TermTooLong,
        RefusalReason::NamespaceShare => Word::NamespaceLimit,
        RefusalReason::Capacity => Word::DoesNotFit,
        RefusalReason::Price { .. } => Word::PriceAboveMaximum,
    }
}
