//! The operator: observe, decide, apply, report, once a second and on every change.
//!
//! One [`Operator`] follows every site of a cluster. Followers observe; the leader decides. It reaches the world through
//! three ports alone ([`Ports`]), so that the same code runs in a cluster, in the demo and in the simulation.

pub mod apply;
pub mod cache;
mod claim;
pub mod explain;
pub mod http;
pub mod leader;
mod learn;
pub mod leases;
mod lockouts;
pub mod metrics;
pub mod observe;
pub mod own;
pub mod pods;
pub mod problem;
mod purpose;
pub mod reason;
pub mod report;
pub mod run;
pub mod site;
pub mod tables;
pub mod tenants;

use crate::api::controllable_load::PROTOCOL;
use crate::digest::sha256_hex;
use crate::link::Uplink;
use crate::market::Feeds;
use crate::store::{Key, Seen, Store, Write, WriteId};
use ampacity_core::decide::decide;
use ampacity_core::units::{Span, Time};
use cache::Cache;
use kube::ResourceExt;
use leader::{Leader, Standing};
use own::AgentPods;
use purpose::{Purpose, Purposed, Token, token};
use site::Site;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tenants::Usage;

/// A shed that is not answered within this means that this leader cannot write: it stops renewing its Lease.
const SHED_ANSWERED_WITHIN: Span = Span::seconds(6);

/// The operator's ways to the world.
pub struct Ports<'a> {
    /// The API server.
    pub store: &'a mut dyn Store,
    /// The agents.
    pub link: &'a mut dyn Uplink,
    /// Prices, hashprice, meters.
    pub feeds: &'a mut dyn Feeds,
}

/// How an operator is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its own name: the pod's.
    pub name: String,
    /// Where loads and agents live.
    pub namespace: String,
    /// How the agents of containers are run.
    pub agents: AgentPods,
    /// Where agents reach its link while it leads, `host:port`; empty: it has none.
    pub link: String,
}

/// Why an operator must exit: whoever starts it again starts it afresh.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exit {
    /// It led and must not any more.
    #[error("leadership lost: {0}")]
    Leadership(&'static str),
    /// The guard's account does not hold any more.
    #[error("guard: {0}")]
    Guard(#[from] ampacity_core::guard::ledger::Exit),
    /// A newer version has led: what it ordered may mean what this one does not know (guard, rule 10).
    #[error("load {load:?}: spec.protocol is {protocol}; this operator speaks {PROTOCOL}: run a newer one")]
    Outdated {
        /// The load.
        load: String,
        /// What its spec speaks.
        protocol: i32,
    },
}

/// One operator of a cluster.
pub struct Operator {
    options: Options,
    cache: Cache,
    leader: Leader,
    leading: Option<u64>,
    sites: BTreeMap<String, Site>,
    /// What is written and not answered: what for, and what about.
    purposes: BTreeMap<WriteId, (Purpose, Option<Token>)>,
    stale_tables: bool,
    /// Statuses have changed of what the tables are read from, and perhaps nothing else.
    stale_statuses: bool,
    usage: Usage,
    stale_usage: bool,
    stale_leases: bool,
    /// The tokens of `purposes`: nothing is written twice at a time.
    under_way: BTreeSet<Token>,
    /// When which agent pod was last made or deleted.
    agents: pods::Pace,
    /// When the statuses that no site answers for were last written.
    reported: report::Reported,
    /// Objects whose author was told that they cannot be read, and why.
    told_unreadable: BTreeMap<Key, String>,
    /// Where people ask why.
    desk: Arc<explain::Desk>,
    /// Sites of which it was told that another namespace's operators lead them.
    told_elsewhere: BTreeSet<String>,
}

impl Operator {
    /// A follower that knows nothing yet.
    pub fn new(options: Options) -> Self {
        Self {
            leader: Leader::new(&options.name, &options.link),
            options,
            cache: Cache::default(),
            leading: None,
            sites: BTreeMap::new(),
            purposes: BTreeMap::new(),
            stale_tables: true,
            stale_statuses: false,
            usage: Usage::default(),
            stale_usage: true,
            stale_leases: true,
            under_way: BTreeSet::new(),
            agents: pods::Pace::default(),
            reported: report::Reported::default(),
            told_unreadable: BTreeMap::new(),
            desk: Arc::default(),
            told_elsewhere: BTreeSet::new(),
        }
    }

    /// Where it stands.
    pub fn standing(&self, now: Time) -> Standing {
        self.leader.standing(now)
    }

    /// Its name and epoch, while it leads.
    pub fn leads(&self) -> Option<(String, u64)> {
        self.leading.map(|epoch| (self.options.name.clone(), epoch))
    }

    /// Whether everything there is has been shown to it at least once, no other namespace's operators lead a site, and no
    /// newer version has led.
    pub fn is_ready(&self) -> bool {
        self.cache.is_complete() && self.led_elsewhere().is_none() && self.outdated().is_none()
    }

    /// While it stops: how the leader's Lease stands, and nothing else.
    pub fn note_leadership(&mut self, seen: &Seen, now: Time) {
        match seen {
            Seen::Object(crate::store::Object::Leadership(facts)) => self.leader.saw(Some(facts), now),
            Seen::Answer(id, answer) => drop(self.leader.answered(*id, answer, now)),
            _ => {}
        }
    }

    /// The write that gives the leadership back; none where it does not lead. It leads no more whatever is answered.
    pub fn release(&mut self, now: Time) -> Option<Write> {
        self.leading = None;
        self.leader.release(now)
    }

    /// Its sites.
    pub fn sites(&self) -> impl Iterator<Item = &Site> {
        self.sites.values()
    }

    /// One turn of the loop.
    ///
    /// # Errors
    /// It must exit; nothing was written in this turn.
    pub fn step(&mut self, ports: &mut Ports<'_>, now: Time) -> Result<(), Exit> {
        let outcome = self.turn_all(ports, now);
        let desk = self.desk.clone();
        desk.answer(|| self.view(now));
        outcome
    }

    fn turn_all(&mut self, ports: &mut Ports<'_>, now: Time) -> Result<(), Exit> {
        for site in self.sites.values_mut() {
            site.feed.clear();
        }
        self.take_in(ports, now)?;
        self.read_sites(now)?;
        let elected = self.elect(ports, now);
        ports.link.lead(self.leading.filter(|_| elected.is_ok()));
        elected?;
        if self.leading.is_none() {
            return Ok(());
        }
        self.read_tenants();
        let names: Vec<String> = self.sites.keys().cloned().collect();
        for name in names {
            self.turn(&name, ports, now)?;
        }
        // Another namespace's operators know leases of theirs: what is none here may be one there.
        if self.led_elsewhere().is_none() && self.sites.values().any(Site::is_active) {
            let writes = self.usage.stop_unleased();
            self.submit(ports, writes);
        }
        let writes = pods::due(&self.cache, &self.sites, &self.options, &mut self.agents, now);
        self.submit(ports, writes);
        let writes = report::unowned(&self.cache, &self.sites, &mut self.reported, now);
        self.submit(ports, writes);
        let told = self.cache.untold(&mut self.told_unreadable);
        self.submit(ports, told);
        Ok(())
    }

    /// Observe, decide, apply, report: one site.
    fn turn(&mut self, name: &str, ports: &mut Ports<'_>, now: Time) -> Result<(), Exit> {
        let Some(site) = self.sites.get_mut(name) else { return Ok(()) };
        let Some(budget) = site.tables.as_ref().map(|t| t.budget.clone()) else { return Ok(()) };
        let spec = &budget.spec;
        let mut errors = Vec::new();
        let prices = observe::prices(name, spec, ports.feeds, now, &mut errors);
        site.read_meters(ports.feeds, now, &mut errors)?;
        let leases = site.core_leases(&self.usage, now);
        let tenants: Vec<String> = leases.iter().map(|lease| lease.name.clone()).collect();
        let Some(snapshot) = site.snapshot(&prices, leases, now) else { return Ok(()) };
        let plan = decide(&snapshot, sha256_hex);
        site.foresee(&snapshot, &plan);
        site.memory = plan.memory.clone();
        site.decided = Some(Arc::new(snapshot));
        site.prices = Some(prices);

        let mut writes = own::births(site, &self.options, now);
        if site.is_active() {
            writes.extend(apply::orders(site, &plan, ports.link, now));
            writes.extend(tenants::apply(site, &plan, &tenants, &self.usage, now));
            writes.extend(lockouts::apply(site, &self.cache));
        }
        let leader = self.leader.holder().map(|(id, epoch)| (id, epoch, self.options.namespace.as_str()));
        let turn = report::Turn { plan: &plan, prices: &prices, errors: &errors, leases: &tenants, leader, now };
        writes.extend(report::all(site, &self.cache, &turn));
        site.plan = Some(plan);
        self.submit(ports, writes);
        Ok(())
    }

    /// Hands the writes over, but for those whose like is still on its way.
    fn submit(&mut self, ports: &mut Ports<'_>, writes: Vec<Purposed>) {
        for (write, purpose) in writes {
            let token = token(&write);
            if token.as_ref().is_some_and(|token| self.under_way.contains(token)) {
                continue;
            }
            let id = ports.store.submit(write);
            self.under_way.extend(token.clone());
            self.purposes.insert(id, (purpose, token));
        }
    }

    /// A load whose orders are of a newer protocol than this operator speaks, if there is one.
    fn outdated(&self) -> Option<Exit> {
        let newer = self.cache.loads().find(|load| load.spec.protocol > PROTOCOL)?;
        Some(Exit::Outdated { load: newer.name_any(), protocol: newer.spec.protocol })
    }

    /// Takes part in the election; a new leader claims everything that is known.
    fn elect(&mut self, ports: &mut Ports<'_>, now: Time) -> Result<(), Exit> {
        if !self.cache.is_complete() {
            return Ok(());
        }
        if let Some(outdated) = self.outdated() {
            // Who follows goes on following: it may be the old one of an upgrade that is under way.
            return if self.leading.is_some() { Err(outdated) } else { Ok(()) };
        }
        for site in self.sites.values() {
            let led = site.tables.as_ref().and_then(|t| t.budget.status.as_ref()?.leader.as_ref());
            self.leader.saw_epoch(led.and_then(|l| u64::try_from(l.epoch).ok()).unwrap_or(0));
        }
        let healthy = !self.purposes.values().any(|(purpose, _)| {
            matches!(purpose, Purpose::Order { shed: true, sent, .. } if now.since(*sent) > SHED_ANSWERED_WITHIN)
        });
        if let Some(write) = self.leader.step(now, healthy) {
            let id = ports.store.submit(write);
            self.leader.submitted(id);
        }
        match self.leader.standing(now) {
            Standing::Lost(why) => Err(Exit::Leadership(why)),
            Standing::Following => Ok(()),
            Standing::Leading { epoch } => {
                let fresh = self.leading.is_none();
                self.leading = Some(epoch);
                let writes = self.lead_claimed(epoch, fresh, now)?;
                self.submit(ports, writes);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
