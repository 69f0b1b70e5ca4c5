//! A copy of what the operator knows, and the same with something applied.

use super::answer::Trouble;
use crate::api::manifest::Object as Manifest;
use crate::digest::sha256_hex;
use crate::operator::cache::Cache;
use crate::operator::observe::Prices;
use crate::operator::reason::Names;
use crate::operator::site::Site;
use crate::operator::tenants::Usage;
use crate::operator::{Operator, Options, own};
use crate::store::{Object, Seen};
use ampacity_core::decide::explain::{Explained, explain};
use ampacity_core::guard::{Ledger, LoadId};
use ampacity_core::lease::Book;
use ampacity_core::snapshot::Snapshot;
use ampacity_core::units::Time;
use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What an operator knows at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// The moment.
    pub now: Time,
    pub(super) epoch: Option<u64>,
    /// Who leads, as far as is seen.
    pub(super) leader: Option<String>,
    pub(super) sites: BTreeMap<String, Site>,
    pub(super) cache: Cache,
    usage: Usage,
    options: Options,
}

impl Operator {
    /// Where people ask why.
    pub fn desk(&self) -> Arc<super::Desk> {
        self.desk.clone()
    }

    /// A copy of all that it knows.
    pub(in crate::operator) fn view(&self, now: Time) -> View {
        View {
            now,
            epoch: self.leading,
            leader: self.leader.holder().map(|(name, _)| name.to_owned()),
            sites: self.sites.clone(),
            cache: self.cache.clone(),
            usage: self.usage.clone(),
            options: self.options.clone(),
        }
    }
}

/// One site's last decision, with all that it was made of.
pub(super) struct Decided<'a> {
    pub(super) view: &'a View,
    pub(super) site: &'a Site,
    pub(super) ledger: &'a Ledger,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) told: Explained,
    /// The leases of it, `namespace/name` by position.
    pub(super) leases: Vec<String>,
}

impl View {
    /// # Errors
    /// It does not lead.
    pub(super) fn leads(&self) -> Result<u64, Trouble> {
        self.epoch.ok_or_else(|| Trouble::NotLeading(self.leader.clone()))
    }

    /// The site that `is` answers for, decided once more as it last was.
    ///
    /// # Errors
    /// No site does, or it has not decided yet.
    pub(super) fn decided(&self, what: &str, is: impl Fn(&Site) -> bool) -> Result<Decided<'_>, Trouble> {
        let unknown = || Trouble::Unknown(format!("{what}: no site that is led here has it"));
        let site = self.sites.values().find(|site| is(site)).ok_or_else(unknown)?;
        let undecided = || Trouble::Unknown(format!("{what}: nothing was decided on {} yet", site.name));
        let ledger = site.ledger.as_ref().ok_or_else(undecided)?;
        let snapshot = site.decided.clone().ok_or_else(undecided)?;
        let told = explain(&snapshot, sha256_hex);
        let leases = snapshot.leases.iter().map(|lease| lease.name.clone()).collect();
        Ok(Decided { view: self, site, ledger, snapshot, told, leases })
    }

    /// The same, with objects applied: what a person would apply, over what stands.
    pub(super) fn with(&self, objects: Vec<Manifest>) -> Self {
        let mut view = self.clone();
        for object in objects {
            view.cache.take(&Seen::Object(over(&self.cache, object, self.now)));
        }
        view.read();
        view
    }

    /// Reads every site again, as the loop does where something has changed.
    fn read(&mut self) {
        let epoch = self.epoch.unwrap_or_default();
        let budgets: Vec<_> = self.cache.budgets().cloned().collect();
        for budget in &budgets {
            let name = budget.name_any();
            let fresh = !self.sites.contains_key(&name);
            let site = self.sites.entry(name.clone()).or_insert_with(|| Site::new(&name));
            site.read(&self.cache, budget, self.now);
            // Once to set another tree, once to accept it.
            site.follow_tree();
            site.follow_tree();
            // One that is known and not led here is led from another namespace.
            if fresh {
                // A copy exits nothing: where the guard would, the copy stays as it is.
                let _left = site.lead(epoch, &self.cache, self.now);
            }
            for load in own::unborn(site, &self.options) {
                let _left = site.see_load(&load.name_any(), Some(&load), self.now);
            }
        }
        let known: BTreeSet<String> = self.cache.classes().map(|class| class.name_any()).collect();
        for (at, site) in self.sites.values_mut().enumerate() {
            site.follow_leases(&self.cache, at == 0, &|class| known.contains(class));
        }
    }

    /// What would be decided now on one site at these prices, with what follows at once from it: a lease that is
    /// accepted is granted, a notice that is due is given.
    pub(super) fn decide(&mut self, site: &str, prices: &Prices) -> Option<(Snapshot, Explained)> {
        /// Accepted, granted, and what that moves.
        const ROUNDS: usize = 3;
        let (now, usage) = (self.now, &self.usage);
        let site = self.sites.get_mut(site)?;
        let leases = site.core_leases(usage, now);
        let mut snapshot = site.snapshot(prices, leases, now)?;
        let mut told = explain(&snapshot, sha256_hex);
        for _ in 1..ROUNDS {
            for (lease, award) in snapshot.leases.iter_mut().zip(&told.plan.leases) {
                lease.state = award.state.clone();
            }
            snapshot.book = Book::of(&snapshot.leases);
            told = explain(&snapshot, sha256_hex);
        }
        Some((snapshot, told))
    }
}

impl Decided<'_> {
    /// What the numbers in reasons stand for.
    pub(super) fn names(&self) -> Names<'_> {
        Names { tree: self.ledger.tree(), loads: &self.site.rows, leases: &self.leases, now: self.view.now }
    }

    /// The load's place in the decision.
    pub(super) fn load(&self, name: &str) -> Option<LoadId> {
        self.site.id(name).filter(|id| id.index() < self.snapshot.loads.len())
    }
}

/// An object as it would stand once applied: its spec, labels and annotations over what the server keeps.
fn over(cache: &Cache, object: Manifest, now: Time) -> Object {
    let mut new = Object::from(object);
    let old = cache.get(&new.key());
    if let (Some(old), Some(meta)) = (old.and_then(Object::meta).cloned(), new.meta_mut()) {
        let (labels, annotations) = (meta.labels.take(), meta.annotations.take());
        *meta = old;
        meta.labels = labels.or(meta.labels.take());
        meta.annotations = annotations.or(meta.annotations.take());
    } else if let Some(meta) = new.meta_mut() {
        meta.creation_timestamp = Some(crate::store::api_time(now));
        meta.uid = Some("applied".into());
    }
    keep_status(&mut new, old);
    new
}

/// Nobody applies a status.
fn keep_status(new: &mut Object, old: Option<&Object>) {
    macro_rules! keep {
        ($($kind:ident),*) => {
            match new {
                $(Object::$kind(own) => {
                    let status = match old {
                        Some(Object::$kind(old)) => old.status.clone(),
                        _ => None,
                    };
                    Arc::make_mut(own).status = status;
                })*
                _ => {}
            }
        };
    }
    keep!(PowerBudget, MiningFleet, GpuPool, LeaseClass, ComputeLease, GridEvent, Lockout, ControllableLoad);
}
