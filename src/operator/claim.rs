//! One site, one namespace: which operators may lead a budget.
//!
//! Budgets belong to the whole cluster, the leader's Lease and the loads to one namespace. Operators of two namespaces
//! would each elect a leader, and both would make loads and agents for the same machines. So a budget's status says in
//! which namespace it is led (`status.leader.namespace`). The first operator that leads writes it, on the resource version
//! at which it read that there is none; who finds another namespace there leads no such site and is not ready.
//!
//! It is never given back by an operator: a site moves to another namespace by a person's hand. Stop the operators of the
//! old namespace, release its loads, then take the field out of the status (`kubectl edit pb NAME --subresource status`).

use super::purpose::{Purpose, Purposed};
use super::site::Site;
use super::{Exit, Operator};
use crate::api::power_budget::Leader;
use crate::store::{Key, Status, Write};
use ampacity_core::units::Time;

/// How a site stands to the operators of one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// They lead it, or it makes no sense and nobody does.
    Ours,
    /// Nobody has it yet.
    Free,
    /// Those of this namespace do.
    Theirs(String),
}

/// How the site stands to the operators of `namespace`, by what its budget's status said last.
pub(super) fn of(site: &Site, namespace: &str) -> Claim {
    let Some(tables) = &site.tables else { return Claim::Ours };
    let leader = tables.budget.status.as_ref().and_then(|status| status.leader.as_ref());
    match leader.and_then(|leader| leader.namespace.as_deref()) {
        None => Claim::Free,
        Some(name) if name == namespace => Claim::Ours,
        Some(name) => Claim::Theirs(name.into()),
    }
}

/// The write by which a site becomes ours, if nobody has written its budget since it was read.
fn take(site: &Site, namespace: &str, id: &str, epoch: u64) -> Option<Purposed> {
    let budget = &site.tables.as_ref()?.budget;
    let mut status = budget.status.clone().unwrap_or_default();
    let epoch = i64::try_from(epoch).unwrap_or(i64::MAX);
    status.leader = Some(Leader { id: id.into(), epoch, namespace: Some(namespace.into()) });
    let revision = Some(budget.metadata.resource_version.clone()?);
    Some((Write::Status { key: site.key(), status: Box::new(Status::PowerBudget(status)), revision }, Purpose::Other))
}

impl Operator {
    /// Starts to lead every site that is this namespace's and is not led yet, or all of them `afresh`. Gives the claims on
    /// those that are nobody's.
    pub(super) fn lead_claimed(&mut self, epoch: u64, afresh: bool, now: Time) -> Result<Vec<Purposed>, Exit> {
        let unled = self.sites.values().filter(|site| afresh || site.ledger.is_none());
        let mut writes = Vec::new();
        for name in unled.map(|site| site.name.clone()).collect::<Vec<_>>() {
            let ours = self.claimed(&name, epoch, &mut writes);
            if let Some(site) = self.sites.get_mut(&name).filter(|_| ours) {
                site.lead(epoch, &self.cache, now)?;
                self.stale_leases = true;
            }
        }
        Ok(writes)
    }

    /// Whether this leader may lead the site; what is to be written where it does not know yet, or may not.
    fn claimed(&mut self, name: &str, epoch: u64, writes: &mut Vec<Purposed>) -> bool {
        let Some(site) = self.sites.get(name) else { return false };
        let own = &self.options.namespace;
        match of(site, own) {
            Claim::Ours => true,
            Claim::Free => {
                writes.extend(take(site, own, &self.options.name, epoch));
                false
            }
            Claim::Theirs(namespace) => {
                if self.told_elsewhere.insert(name.to_owned()) {
                    tracing::error!(
                        budget = name,
                        namespace,
                        own,
                        "led from another namespace (status.leader.namespace): not led here; run one operator a cluster"
                    );
                    writes.push((elsewhere(site.key(), &namespace, own), Purpose::Other));
                }
                false
            }
        }
    }

    /// A site that the operators of another namespace lead: this one is then one too many.
    pub(super) fn led_elsewhere(&self) -> Option<&Site> {
        self.sites.values().find(|site| matches!(of(site, &self.options.namespace), Claim::Theirs(_)))
    }
}

fn elsewhere(regarding: Key, namespace: &str, own: &str) -> Write {
    let note = format!(
        "led from namespace {namespace} (status.leader.namespace): the operators in {own} leave it alone; run one operator a cluster"
    );
    Write::Event { regarding, warning: true, reason: "LedElsewhere", action: "Lead", note }
}

#[cfg(test)]
mod tests {
    use crate::operator::report::tests::world::World;
    use crate::store::Kind;
    use serde_json::json;

    #[test]
    fn a_site_that_another_namespace_leads_is_left_alone_and_nobody_is_ready() {
        let mut world = World::new("");
        world.led_from("elsewhere");
        world.run(60);
        let leader = json!({"id": "ampacity-9", "epoch": 7, "namespace": "elsewhere"});
        assert_eq!(world.status(Kind::PowerBudget, "west"), json!({"leader": leader}));
        assert_eq!((world.loads(), world.is_ready()), (0, false));
        let note = "west !LedElsewhere: led from namespace elsewhere (status.leader.namespace): the operators in ampacity leave it alone; run one operator a cluster";
        assert_eq!(world.told(), [note], "once");
        // Its own namespace is no other: as after a restart.
        world.led_from("ampacity");
        world.run(60);
        assert_eq!((world.loads(), world.is_ready()), (4, true));
    }

    #[test]
    fn of_two_namespaces_that_find_a_site_free_the_first_to_write_has_it() {
        let mut world = World::new("");
        world.claim_first("elsewhere");
        world.run(60);
        assert_eq!(world.status(Kind::PowerBudget, "west")["leader"]["namespace"], json!("elsewhere"));
        assert_eq!((world.loads(), world.is_ready()), (0, false));
    }
}
