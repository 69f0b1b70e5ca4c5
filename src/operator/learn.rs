//! What an operator takes in: what the API server shows and answers, and what agents report.

use super::apply;
use super::cache::Change;
use super::purpose::Purpose;
use super::site::Site;
use super::tenants::Usage;
use super::{Exit, Operator, Ports, pods};
use crate::store::{Answer, Kind, Object, Seen, WriteId};
use ampacity_core::units::Time;
use kube::ResourceExt;
use std::collections::BTreeSet;

impl Operator {
    /// Brings Jobs, pods and leases up to what was shown.
    pub(super) fn read_tenants(&mut self) {
        let (usage, leases) = (std::mem::take(&mut self.stale_usage), std::mem::take(&mut self.stale_leases));
        if usage {
            self.usage = Usage::read(&self.cache);
        }
        if leases {
            let known: BTreeSet<String> = self.cache.classes().map(|class| class.name_any()).collect();
            for (at, site) in self.sites.values_mut().enumerate() {
                site.follow_leases(&self.cache, at == 0, &|class| known.contains(class));
            }
        }
        if usage || leases {
            self.usage.find_unleased(&self.cache, &self.sites);
        }
    }

    /// Folds what the API server and the agents showed.
    pub(super) fn take_in(&mut self, ports: &mut Ports<'_>, now: Time) -> Result<(), Exit> {
        for seen in ports.store.poll() {
            if let Seen::Answer(id, answer) = &seen {
                self.answered(*id, answer, now)?;
            }
            if let Seen::Listed(Kind::Leadership) = seen {
                self.leader.listed();
            }
            for change in self.cache.take(&seen) {
                if change.key.kind == Kind::ControllableLoad {
                    ports.link.know(&change.key.name, self.cache.load(&change.key).map(|load| pods::speaker(load)));
                }
                self.changed(&change, now)?;
            }
        }
        for report in ports.link.poll() {
            let ours = self.sites.values_mut().find_map(|site| site.id(&report.load).map(|id| (site, id)));
            if let Some((site, load)) = ours {
                site.hear(load, report, now)?;
            }
        }
        Ok(())
    }

    fn changed(&mut self, change: &Change, now: Time) -> Result<(), Exit> {
        let key = &change.key;
        match key.kind {
            Kind::Leadership => {
                let facts = match self.cache.get(key) {
                    Some(Object::Leadership(facts)) => Some(facts.as_ref()),
                    _ => None,
                };
                self.leader.saw(facts, now);
            }
            Kind::ControllableLoad => {
                let load = self.cache.load(key).cloned();
                if let Some(load) = &load {
                    self.leader.saw_epoch(u64::try_from(load.spec.order.epoch).unwrap_or(0));
                }
                for site in self.sites.values_mut() {
                    let ours = load.as_ref().map_or(site.id(&key.name).is_some(), |l| l.spec.budget == site.name);
                    if ours && site.ledger.is_some() {
                        site.see_load(&key.name, load.as_deref(), now)?;
                    }
                }
            }
            Kind::Job | Kind::Pod => self.stale_usage = true,
            Kind::ComputeLease => self.stale_leases = true,
            _ if change.status_only => self.stale_statuses = true,
            _ => self.stale_tables = true,
        }
        Ok(())
    }

    /// Reads the tables of every site again where something that people write has changed.
    pub(super) fn read_sites(&mut self, now: Time) -> Result<(), Exit> {
        let statuses = std::mem::take(&mut self.stale_statuses);
        if std::mem::take(&mut self.stale_tables) {
            for budget in self.cache.budgets() {
                let name = budget.name_any();
                let site = self.sites.entry(name.clone()).or_insert_with(|| Site::new(&name));
                site.read(&self.cache, budget, now);
                self.stale_leases = true;
                site.follow_tree();
                site.learn_tombstones(now)?;
            }
            return Ok(());
        }
        for site in self.sites.values_mut() {
            let budget = self.cache.budget(&site.key()).filter(|_| statuses);
            if let Some(budget) = budget {
                site.read_status(budget);
            }
            site.follow_tree();
            if budget.is_some() {
                site.learn_tombstones(now)?;
            }
        }
        Ok(())
    }

    fn answered(&mut self, id: WriteId, answer: &Answer, now: Time) -> Result<(), Exit> {
        if self.leader.answered(id, answer, now) {
            return Ok(());
        }
        let Some((purpose, token)) = self.purposes.remove(&id) else { return Ok(()) };
        if let Some(token) = token {
            self.under_way.remove(&token);
        }
        match purpose {
            Purpose::Order { site, load, order, .. } => {
                if let Some(site) = self.sites.get_mut(&site) {
                    apply::answered(site, load, order, answer, now)?;
                }
            }
            Purpose::Release { site, load } => {
                let row = self.sites.get_mut(&site).and_then(|site| site.rows.get_mut(load.index()));
                if let (Some(row), Answer::Accepted(_)) = (row, answer) {
                    row.released = true;
                }
            }
            Purpose::Agent { load } => {
                if let Answer::Refused(why) = answer {
                    tracing::warn!(load, ?why, "the pod of its agent was refused");
                }
            }
            Purpose::Tenancy { site, lease, uid } => {
                if let Some(row) = self.sites.get_mut(&site).and_then(|site| site.leases.get_mut(&lease)) {
                    let same = row.object.metadata.uid == uid;
                    row.answered(same && matches!(answer, Answer::Accepted(_)));
                }
            }
            Purpose::Other => {}
        }
        Ok(())
    }
}
