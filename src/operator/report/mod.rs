//! Report: what people see of a site. Statuses, Events, and the feed of decisions.
//!
//! Every status is a pure function of what is known: the site, its last plan, prices, and the object as it stands. Most are
//! looked at every two seconds and written only where they differ, at most every ten seconds unless a condition (or a
//! nameplate sum) changed.

mod budget;
mod events;
mod facts;
mod feed;
mod leases;
mod obligations;
mod owners;
mod pools;
mod seen;
#[cfg(test)]
pub(super) mod tests;
mod unowned;

pub use events::Told;
pub use feed::feed;
pub(super) use unowned::unowned;

use super::cache::Cache;
use super::observe::Prices;
use super::problem::{Cause, Problem};
use super::reason::Names;
use super::site::{LoadRow, Site};
use super::tables::Tables;
use super::{Purpose, Purposed};
use crate::api::common::{Conditioned, Statement, clear_condition, set_condition};
use crate::link::Report;
use crate::store::{Key, Status, Write};
use ampacity_core::guard::ledger::Overrun;
use ampacity_core::guard::{Basis, Bound, Ledger, LoadId};
use ampacity_core::plan::Plan;
use ampacity_core::snapshot::TimedLimit;
use ampacity_core::tree::NodeId;
use ampacity_core::units::{Span, Time, UsdPerMwh};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time as ApiTime};
use std::cell::OnceCell;
use std::collections::BTreeMap;

/// A status is written at most so often unless something in it matters at once.
const EVERY: Span = Span::seconds(10);
/// One that is not to wait is written at most so often: a limit's state may change with every turn.
const AT_ONCE: Span = Span::seconds(1);
/// Statuses are looked at so often, and one that matters is written then: to make them all takes a sixth of a turn, and
/// nobody reads faster. What tenants are promised waits for none of this (`tenants::apply`).
const LOOK: Span = Span::seconds(2);
/// An agent that was not heard of for so long is silent.
const SILENT: Span = Span::seconds(30);
/// A new load, or one of a new leader, may take this much longer than its proof until it counts as silent.
const STARTING: Span = Span::seconds(60);

/// What one turn of the loop knows besides the site.
pub(super) struct Turn<'a> {
    /// What was decided.
    pub(super) plan: &'a Plan,
    /// The prices that it was decided by.
    pub(super) prices: &'a Prices,
    /// What could not be read.
    pub(super) errors: &'a [String],
    /// The leases of that decision, `namespace/name` by position.
    pub(super) leases: &'a [String],
    /// Who leads, with its epoch and its namespace.
    pub(super) leader: Option<(&'a str, u64, &'a str)>,
    /// The moment.
    pub(super) now: Time,
}

/// Every status, Event and line of the feed that is due after a turn of a site.
pub(super) fn all(site: &mut Site, cache: &Cache, turn: &Turn<'_>) -> Vec<Purposed> {
    let mut told = std::mem::take(&mut site.told);
    let mut writes = Vec::new();
    let mut feed = Vec::new();
    if let Some(scene) = Scene::of(site, turn) {
        // When a limit was met is kept to the second: it is what a utility pays by.
        let mut drafts = seen::drafts(&scene, cache);
        if told.reported.looks(turn.now) {
            let tallies = owners::tallies(&scene);
            drafts.extend(budget::draft(&scene, cache));
            drafts.extend(owners::drafts(&scene, cache, &tallies));
            drafts.extend(pools::drafts(&scene, cache, &tallies));
            drafts.extend(leases::drafts(&scene, cache));
        }
        writes.extend(told.reported.due(drafts.into_iter(), turn.now));
        let news = told.news(&scene, cache);
        feed = told.feed(&scene, &news);
        writes.extend(events::writes(&scene, news));
    }
    (site.told, site.feed) = (told, feed);
    writes
}

/// A status that differs from what stands.
struct Draft {
    key: Key,
    status: Status,
    /// A condition or a nameplate sum is another: it is not to wait.
    urgent: bool,
}

impl Draft {
    /// None where nothing differs.
    fn of<S: PartialEq>(
        key: Key,
        new: S,
        old: Option<&S>,
        conditions: fn(&S) -> &[Condition],
        wrap: fn(S) -> Status,
    ) -> Option<Self> {
        if old == Some(&new) {
            return None;
        }
        let urgent = old.is_none_or(|old| !conditions(old).iter().map(edge).eq(conditions(&new).iter().map(edge)));
        Some(Self { key, status: wrap(new), urgent })
    }
}

/// What of a condition is not to wait when it changes: all but its words and times.
fn edge(condition: &Condition) -> (&str, &str, &str, Option<i64>) {
    (&condition.type_, &condition.status, &condition.reason, condition.observed_generation)
}

/// When each status was last written, and when they were last looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Reported {
    written: BTreeMap<Key, Time>,
    looked: Option<Time>,
}

impl Reported {
    /// Whether the statuses are to be made now.
    fn looks(&mut self, now: Time) -> bool {
        let looks = self.looked.is_none_or(|last| now.since(last) >= LOOK);
        if looks {
            self.looked = Some(now);
        }
        looks
    }

    /// The drafts that may be written now.
    fn due(&mut self, drafts: impl Iterator<Item = Draft>, now: Time) -> Vec<Purposed> {
        let mut writes = Vec::new();
        for Draft { key, status, urgent } in drafts {
            let every = if urgent { AT_ONCE } else { EVERY };
            if self.written.get(&key).is_some_and(|last| now.since(*last) < every) {
                continue;
            }
            self.written.insert(key.clone(), now);
            writes.push((Write::Status { key, status: Box::new(status), revision: None }, Purpose::Other));
        }
        // What is gone is forgotten: it is told of no more, and names come back.
        if self.written.len() > 2 * KEPT {
            self.written.retain(|_, last| now.since(*last) < EVERY);
        }
        writes
    }
}

/// So many times of writing are kept without looking which are of use.
const KEPT: usize = 512;

/// A site while it is led, and what its last turn knew.
struct Scene<'a> {
    site: &'a Site,
    tables: &'a Tables,
    ledger: &'a Ledger,
    turn: &'a Turn<'a>,
    now: Time,
    /// By load: what it counts for now. Every status asks for it.
    bounds: Vec<Bound>,
    /// By fleet: what its best watts are worth, made when it is first asked for.
    break_evens: OnceCell<Vec<Option<UsdPerMwh>>>,
}

impl<'a> Scene<'a> {
    fn of(site: &'a Site, turn: &'a Turn<'a>) -> Option<Self> {
        let (tables, ledger) = (site.tables.as_ref()?, site.ledger.as_ref()?);
        let ids = (0_u32..).map(LoadId).take(site.rows.len());
        let bounds = ids.map(|load| ledger.bound(load, turn.now)).collect();
        Some(Self { site, tables, ledger, turn, now: turn.now, bounds, break_evens: OnceCell::new() })
    }

    fn names(&self) -> Names<'a> {
        Names { tree: self.ledger.tree(), loads: &self.site.rows, leases: self.turn.leases, now: self.now }
    }

    /// The loads that count, with their places.
    fn loads(&self) -> impl Iterator<Item = (LoadId, &'a LoadRow)> {
        let rows = self.site.rows.iter().enumerate().filter(|(_, row)| !row.released);
        rows.filter_map(|(at, row)| Some((LoadId(u32::try_from(at).ok()?), row)))
    }

    fn bound(&self, load: LoadId) -> Bound {
        self.bounds.get(load.index()).copied().unwrap_or_else(|| self.ledger.bound(load, self.now))
    }

    /// The agent's report, while it is not silent.
    fn heard(&self, row: &'a LoadRow) -> Option<&'a Report> {
        row.report.as_ref().filter(|(_, at)| self.now.since(*at) <= SILENT).map(|(report, _)| report.as_ref())
    }

    /// Since when a load's agent is lost, if it is.
    fn lost(&self, load: LoadId, row: &LoadRow) -> Option<Time> {
        let bound = self.bound(load);
        match bound.basis {
            Basis::Expired | Basis::Absent | Basis::Refusing => Some(bound.since),
            Basis::Unstated | Basis::Unclaimed => {
                let patience = Span::new(row.terms.proof_within.get().saturating_add(STARTING.get()));
                (self.now.since(bound.since) > patience).then_some(bound.since)
            }
            // An agent that was never heard may state all the same: without a stream it is proved, not lost.
            Basis::Known | Basis::Proving => {
                row.report.as_ref().map(|(_, at)| *at).filter(|at| self.now.since(*at) > SILENT)
            }
        }
    }

    /// Whether the load has stated a ceiling under this leader.
    fn under_orders(&self, load: LoadId) -> bool {
        matches!(self.bound(load).basis, Basis::Known | Basis::Proving)
    }

    /// What the best watts of each fleet are worth at today's hashprice, USD/MWh; none without one.
    fn break_evens(&self) -> &[Option<UsdPerMwh>] {
        let of = |row| owners::break_even(row, self.turn.prices.hashprice.value()?);
        self.break_evens.get_or_init(|| self.tables.fleets.iter().map(of).collect())
    }

    fn node(&self, node: NodeId) -> String {
        self.names().node(node)
    }

    /// The nodes whose meter is too old to raise by, with the last sample's time.
    fn stale_meters(&self) -> Vec<(NodeId, Option<Time>)> {
        let read = |node: NodeId| self.site.meters.get(node.index()).copied().flatten().map(|reading| reading.time);
        let last = self.tables.metered().map(|(node, after)| (node, after, read(node)));
        let stale = last.filter(|(_, after, time)| time.is_none_or(|time| self.now.since(time) > *after));
        stale.map(|(node, _, time)| (node, time)).collect()
    }

    /// Nodes whose bounds pass what they may be, but for those that only a grid event asks less of, in its time.
    fn overruns(&self) -> Vec<Overrun> {
        let late = |node: NodeId| {
            let below =
                |limit: &&TimedLimit| limit.node == node && seen::due(limit) < self.now && self.now < limit.until;
            self.tables.limits.iter().any(|limit| below(&limit))
        };
        let passes = |over: &Overrun| over.bounds > self.ledger.tree().capacity(over.node) || late(over.node);
        self.ledger.overrun(self.now).into_iter().filter(passes).collect()
    }

    fn problems(&self, key: &Key) -> Vec<&'a Problem> {
        self.site.problems.iter().filter(|problem| problem.key == *key).collect()
    }
}

/// What one condition is to say: whether it holds, why, and why for a person. None: it is to be absent.
type Said<Reason> = Option<(bool, Reason, String)>;

/// The conditions of one object, while they are being said.
struct Conditions<'a> {
    list: &'a mut Vec<Condition>,
    generation: Option<i64>,
    now: Time,
}

impl Conditions<'_> {
    fn say<K: Conditioned>(&mut self, type_: K::Type, said: Said<K::Reason>) {
        match said {
            Some((holds, reason, message)) => {
                let say = Statement::<K> { type_, status: Some(holds), reason, message: cut(message) };
                set_condition(self.list, say, self.generation, &whole(self.now));
            }
            None => clear_condition::<K>(self.list, type_),
        }
    }
}

/// The first problem that keeps an object out, with every message.
fn rejection(problems: &[&Problem]) -> Option<(Cause, String)> {
    let first = problems.first()?;
    let messages: Vec<&str> = problems.iter().map(|p| p.message.as_str()).collect();
    Some((first.cause, cut(messages.join("; "))))
}

/// A condition's message holds 32 768 characters; nobody reads so many.
fn cut(message: String) -> String {
    const MESSAGE_MAX: usize = 1_024;
    if message.chars().count() <= MESSAGE_MAX {
        return message;
    }
    message.chars().take(MESSAGE_MAX - 1).chain(['…']).collect()
}

/// A moment as a status holds it: whole seconds, as the API server gives them back.
fn whole(at: Time) -> ApiTime {
    crate::store::api_time(Time::seconds(at.get().div_euclid(1_000)))
}

/// So many of something.
fn many(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The first few of many, for a message.
fn few(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
