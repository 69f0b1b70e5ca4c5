//! What stands at a site and is worth telling when it begins or ends.

use super::{Scene, budget, obligations, seen};
use crate::operator::cache::Cache;
use crate::operator::reason::{money, price, sentence, short};
use crate::operator::tables::since;
use crate::store::{Key, Kind};
use ampacity_core::guard::ledger::Verdict;
use ampacity_core::lease::{Contract, LeaseState, NoticeReason};
use ampacity_core::plan::{LeaseAward, Reason};
use ampacity_core::snapshot::{Member, Obligation};
use ampacity_core::units::Watts;
use kube::ResourceExt;
use std::collections::BTreeMap;

/// What sort of fact; the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    OverLimit,
    NotProved,
    AgentLost,
    EventLate,
    ReserveShort,
    MeterStale,
    PriceStale,
    PricedOut,
    Leading,
    Locked,
    EventActive,
    EventMet,
    Notice,
    Curtailed,
    Granted,
    Offered,
    Refused,
    Ended,
}

/// How a beginning or an end is told.
pub(super) struct Form {
    pub(super) reason: &'static str,
    pub(super) action: &'static str,
    pub(super) warning: bool,
    /// With what its line in the feed begins.
    pub(super) topic: &'static str,
}

impl What {
    /// How it is told that it begins, or that it ends; none: it is not.
    pub(super) const fn form(self, begins: bool) -> Option<Form> {
        let (reason, action, warning, topic) = match (self, begins) {
            (Self::OverLimit, true) => ("OverLimit", "Shed", true, "alarm"),
            (Self::OverLimit, false) => ("WithinLimit", "Shed", false, "alarm"),
            (Self::NotProved, true) => ("NotProved", "MakeRoom", true, "alarm"),
            (Self::NotProved, false) => ("Proved", "MakeRoom", false, "alarm"),
            (Self::AgentLost, true) => ("AgentLost", "Count", true, "alarm"),
            (Self::AgentLost, false) => ("AgentBack", "Count", false, "alarm"),
            (Self::EventLate, true) => ("Late", "Shed", true, "alarm"),
            (Self::ReserveShort, true) => ("ReserveShort", "Raise", true, "alarm"),
            (Self::MeterStale, true) => ("MeterStale", "Hold", true, "alarm"),
            (Self::MeterStale, false) => ("MeterBack", "Hold", false, "alarm"),
            (Self::PriceStale, true) => ("PriceStale", "Price", true, "price"),
            (Self::PriceStale, false) => ("PriceBack", "Price", false, "price"),
            (Self::PricedOut, true) => ("PricedOut", "Price", false, "price"),
            (Self::PricedOut, false) => ("PaysAgain", "Price", false, "price"),
            (Self::Leading, true) => ("TookOver", "Lead", false, "leader"),
            (Self::Locked, true) => ("LockedOut", "Lockout", false, "lockout"),
            (Self::EventActive, true) => ("InForce", "Limit", false, "event"),
            (Self::EventActive, false) => ("Over", "Limit", false, "event"),
            (Self::EventMet, true) => ("Met", "Limit", false, "event"),
            (Self::Notice, true) => ("NoticeGiven", "Notify", true, "notice"),
            (Self::Notice, false) => ("NoticeWithdrawn", "Notify", false, "notice"),
            (Self::Curtailed, true) => ("Curtailed", "Curtail", true, "lease"),
            (Self::Granted, true) => ("Granted", "Grant", false, "lease"),
            (Self::Offered, true) => ("Offered", "Offer", false, "lease"),
            (Self::Refused, true) => ("Refused", "Offer", true, "lease"),
            (Self::Ended, true) => ("Ended", "End", false, "lease"),
            _ => return None,
        };
        Some(Form { reason, action, warning, topic })
    }

    /// It is done to tenants alone, and so is not done at all in Shadow.
    pub(super) const fn is_done_to_tenants(self) -> bool {
        matches!(self, Self::Notice | Self::Curtailed | Self::Granted | Self::Offered | Self::Refused | Self::Ended)
    }
}

/// One thing that is so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fact {
    pub(super) what: What,
    /// The object that it is told of.
    pub(super) regarding: Key,
    /// The node, load, event, lockout or lease.
    pub(super) who: String,
}

/// What is to be told of a fact when it begins.
pub(super) struct Stands {
    pub(super) note: String,
    /// Its object's status says that a leader before this one knew: it is no news.
    pub(super) told_before: bool,
}

type Standing = BTreeMap<Fact, Stands>;

impl Fact {
    /// What is to be told when it is so no more; empty: nothing, for something else says it.
    pub(super) fn over(&self, scene: &Scene<'_>, standing: &Standing) -> String {
        let who = short(&self.who);
        let now = |what| standing.keys().any(|fact| fact.what == what && fact.regarding == self.regarding);
        match self.what {
            What::OverLimit => format!("{who} is within its limit again"),
            What::NotProved => format!("{who} proved its order"),
            What::AgentLost => format!("the agent of {who} is back"),
            What::MeterStale => format!("the meter of {who} is read again"),
            What::PricedOut => {
                scene.turn.prices.energy.value().map_or_else(String::new, |energy| {
                    format!("power costs {} USD/MWh: {who} pays again", price(energy))
                })
            }
            What::PriceStale => "prices are fresh again".into(),
            What::EventActive => format!("grid event {who} is over"),
            What::Notice if now(What::Granted) => format!("{who}: notice withdrawn, it runs on"),
            _ => String::new(),
        }
    }
}

/// Everything that stands now.
pub(super) fn standing(scene: &Scene<'_>, cache: &Cache) -> Standing {
    let mut facts = Standing::new();
    site(scene, &mut facts);
    priced_out(scene, &mut facts);
    loads(scene, &mut facts);
    asked(scene, cache, &mut facts);
    for (name, award) in scene.turn.leases.iter().zip(&scene.turn.plan.leases) {
        lease(scene, name, award, &mut facts);
    }
    facts
}

fn put(facts: &mut Standing, what: What, regarding: &Key, who: &str, note: String, told_before: bool) {
    let fact = Fact { what, regarding: regarding.clone(), who: who.into() };
    facts.insert(fact, Stands { note, told_before });
}

fn site(scene: &Scene<'_>, facts: &mut Standing) {
    let key = scene.site.key();
    for over in scene.overruns() {
        let node = scene.node(over.node);
        let why = if over.verdict == Verdict::Known { "known" } else { "for all that is not known" };
        let note = format!("{node}: bounds of {} pass {}, {why}", over.bounds, over.capacity.at_least_zero());
        put(facts, What::OverLimit, &key, &node, note, false);
    }
    for (node, last) in scene.stale_meters() {
        let node = scene.node(node);
        let last = last.map_or("never read".into(), |at| format!("last sample at {} UTC", scene.names().time(at)));
        put(facts, What::MeterStale, &key, &node, format!("meter of {node}: {last}; nothing is raised there"), false);
    }
    if let Some(note) = budget::price_stale(scene) {
        put(facts, What::PriceStale, &key, &scene.site.name, note, false);
    }
    if let Some((name, epoch, _)) = scene.turn.leader {
        let note = format!("{} leads {} with epoch {epoch}", short(name), short(&scene.site.name));
        put(facts, What::Leading, &key, &epoch.to_string(), note, false);
    }
}

/// Fleets that earn less with power than it costs.
fn priced_out(scene: &Scene<'_>, facts: &mut Standing) {
    let prices = scene.turn.prices;
    let Some(energy) = prices.energy.value() else { return };
    for (row, earns) in scene.tables.fleets.iter().zip(scene.break_evens()) {
        let Some(earns) = earns.filter(|earns| energy > *earns) else { continue };
        let name = &row.core.name;
        let note = format!("power costs {} USD/MWh: {} earns {} with it", price(energy), short(name), price(earns));
        put(facts, What::PricedOut, &row.key, name, note, false);
    }
}

fn loads(scene: &Scene<'_>, facts: &mut Standing) {
    for (load, row) in scene.loads() {
        let owner = match row.member {
            Member::Fleet(at) => scene.tables.fleets.get(at as usize).map(|row| row.key.clone()),
            Member::Pool(at) => scene.tables.pools.get(at as usize).map(|row| row.key.clone()),
            Member::Kept | Member::Retired => None,
        };
        let owner = owner.unwrap_or_else(|| scene.site.key());
        let (name, bound) = (&row.name, scene.bound(load).watts);
        if let Some(since) = scene.lost(load, row) {
            let since = scene.names().time(since);
            let note = if scene.heard(row).is_some() {
                format!("the agent of {} proves nothing since {since} UTC: counts {bound}", short(name))
            } else {
                format!("the agent of {} is silent since {since} UTC: counts {bound}", short(name))
            };
            put(facts, What::AgentLost, &owner, name, note, false);
        } else if let Some(Reason::NotProved { bound }) = scene.turn.plan.load(load).map(|award| &award.reason) {
            let note = format!("{} has not proved its order in time: counts {bound}, others make room", short(name));
            put(facts, What::NotProved, &owner, name, note, false);
        }
    }
}

/// Events and lockouts.
fn asked(scene: &Scene<'_>, cache: &Cache, facts: &mut Standing) {
    for limit in scene.tables.limits.iter().filter(|l| l.from <= scene.now && scene.now < l.until) {
        let key = Key::cluster(Kind::GridEvent, &limit.name);
        let status = cache.event(&key).and_then(|event| event.status.as_ref());
        let (told, name, most) = (status.is_some(), short(&limit.name), limit.limit);
        let until = (limit.until < ampacity_core::units::Time::MAX)
            .then(|| format!(" until {} UTC", scene.names().time(limit.until)));
        let note = format!("grid event {name}: {} under {most}{}", scene.node(limit.node), until.unwrap_or_default());
        put(facts, What::EventActive, &key, &limit.name, note, told);
        let standing = seen::standing(scene, limit);
        let was_met = status.is_some_and(|status| status.met_time.is_some());
        if standing.met || was_met {
            let note = format!("grid event {name} met: bound of {} is within {most}", standing.bound);
            put(facts, What::EventMet, &key, &limit.name, note, was_met);
        } else if scene.now > seen::due(limit) {
            let note = format!("grid event {name} is late: bound of {} passes {most}", standing.bound);
            put(facts, What::EventLate, &key, &limit.name, note, false);
        }
    }
    for obligation in &scene.tables.obligations {
        obliged(scene, cache, obligation, facts);
    }
    for lockout in cache.lockouts().filter(|l| l.spec.target.budget == scene.site.name) {
        let Some(loads) = seen::held(scene, lockout) else { continue };
        if !seen::proved(scene, lockout, &loads) {
            continue;
        }
        let (name, key) = (lockout.name_any(), Key::cluster(Kind::Lockout, &lockout.name_any()));
        let most = lockout.spec.limit_watts.watts();
        let (holder, at) = (short(&lockout.spec.holder), scene.names().time(since(lockout)));
        let note = format!("{} held by {holder} since {at} UTC: proved at or under {most}", short(&name));
        let told = lockout.status.as_ref().is_some_and(|status| status.met_time.is_some());
        put(facts, What::Locked, &key, &name, note, told);
    }
}

/// An obligation in its time: that it began, that it is met, late, or short of what a limit or a lockout takes.
fn obliged(scene: &Scene<'_>, cache: &Cache, obligation: &Obligation, facts: &mut Standing) {
    let Some(stands) = obligations::standing(scene, obligation) else { return };
    let key = Key::cluster(Kind::GridEvent, &obligation.name);
    let status = cache.event(&key).and_then(|event| event.status.as_ref());
    let (name, minimum) = (short(&obligation.name), obligation.minimum);
    let until = (obligation.until < ampacity_core::units::Time::MAX)
        .then(|| format!(" until {} UTC", scene.names().time(obligation.until)));
    let place = scene.node(obligation.node);
    let note = format!("grid event {name}: {minimum} of {place} stay on{}", until.unwrap_or_default());
    put(facts, What::EventActive, &key, &obligation.name, note, status.is_some());
    let was_met = status.is_some_and(|status| status.met_time.is_some());
    let words = stands.words(scene, obligation);
    if stands.met() || was_met {
        put(facts, What::EventMet, &key, &obligation.name, format!("grid event {name} met: {words}"), was_met);
    } else if scene.now > obligations::due(obligation) {
        put(facts, What::EventLate, &key, &obligation.name, format!("grid event {name} is late: {words}"), false);
    }
    if stands.is_short() {
        put(facts, What::ReserveShort, &key, &obligation.name, format!("grid event {name} is short: {words}"), false);
    }
}

fn lease(scene: &Scene<'_>, name: &str, award: &LeaseAward, facts: &mut Standing) {
    let Some(row) = scene.site.leases.get(name) else { return };
    let told = row.object.status.is_some();
    let who = short(name);
    let why = sentence(&award.reason, &scene.names());
    let mut tell = |what, note| put(facts, what, &row.key, name, note, told);
    match &row.state {
        LeaseState::Requested => {}
        LeaseState::Offered(offer) => {
            tell(What::Offered, format!("{who}: offered at {} USD, awaits acceptance", money(offer.terms.price)));
        }
        LeaseState::Refused(_) => tell(What::Refused, format!("{who}: {why}")),
        LeaseState::Ended(_) => tell(What::Ended, format!("{who}: {why}")),
        LeaseState::Accepted(contract) => {
            if scene.now < contract.offer.start {
                return;
            }
            if let Some(notice) = contract.running_notice() {
                let at = scene.names().time(notice.deadline);
                let to = if notice.to.watts == Watts::ZERO {
                    "stops".into()
                } else {
                    format!("falls to {}", notice.to.watts)
                };
                tell(What::Notice, format!("{who} {to} at {at} UTC: {}", in_words(notice.reason)));
            }
            if contract.account.running.is_some() {
                tell(What::Curtailed, curtailed(&who, contract, &why));
            } else if contract.grant.watts > Watts::ZERO {
                tell(What::Granted, format!("{who} runs at {}", contract.grant.watts));
            }
        }
    }
}

fn curtailed(who: &str, contract: &Contract, why: &str) -> String {
    match contract.grant.watts {
        Watts::ZERO => format!("{who} stopped: {why}"),
        watts => format!("{who} capped at {watts} of {}: {why}", contract.full.watts),
    }
}

const fn in_words(reason: NoticeReason) -> &'static str {
    match reason {
        NoticeReason::Economics => "power is worth more elsewhere",
        NoticeReason::Limit => "a limit leaves no room",
        NoticeReason::Emergency => "an emergency",
        NoticeReason::TermEnds => "its term ends",
    }
}
