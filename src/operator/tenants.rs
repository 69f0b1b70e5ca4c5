//! Tenants: their leases as they stand, and the Jobs that run under them.
//!
//! A lease's Jobs are created suspended and run while its grant covers them. Nobody but the operator flips the switch:
//! whatever else flipped it is flipped back in the next turn. The state of a Job frees no watt; node caps do.

mod grace;
mod measure;

use super::cache::Cache;
use super::leases;
use super::reason::{Names, sentence};
use super::site::Site;
use super::tables::PoolRow;
use super::{Purpose, Purposed};
use crate::api::{
    CHECKPOINT_DONE_ANNOTATION, CHECKPOINT_REQUEST_ANNOTATION, ComputeLease, NOTICE_DEADLINE_ANNOTATION,
    SUSPEND_REASON_ANNOTATION,
};
use crate::store::{JobFacts, Key, Kind, PodFacts, Status, Write, api_time, time};
use ampacity_core::guard::LoadId;
use ampacity_core::lease::{Contract, Delivery, Lease, LeaseState, NoticeReason};
use ampacity_core::plan::{LeaseAward, Plan};
use ampacity_core::snapshot::Member;
use ampacity_core::units::{Span, Time, Watts};
use kube::ResourceExt;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Grace of a pod that the operator deletes itself: in an emergency nothing waits longer.
const URGENT_GRACE: Span = Span::seconds(5);

/// One lease of a site, as it stands while this operator leads.
#[derive(Clone, Debug)]
pub struct LeaseRow {
    /// The object.
    pub key: Key,
    /// As it was last shown.
    pub object: Arc<ComputeLease>,
    /// Where it stands, as it was last written down: nothing is done to its Jobs that a successor could not read.
    pub state: LeaseState,
    /// Where it stands once the write that is under way has landed.
    pub coming: Option<LeaseState>,
    /// This leader has written or confirmed it: what a former leader wrote last has been seen.
    pub confirmed: bool,
    /// When the running notice's checkpoint was acknowledged by every Job.
    pub acknowledged: Option<Time>,
}

/// Jobs and pods by lease, read again when one of them changes.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    jobs: BTreeMap<Key, Vec<Arc<JobFacts>>>,
    pods: BTreeMap<(String, String), Vec<Arc<PodFacts>>>,
    /// Jobs that run under a lease that is gone or has ended.
    unleased: Vec<Arc<JobFacts>>,
}

impl Usage {
    /// Reads all Jobs and pods.
    pub fn read(cache: &Cache) -> Self {
        let mut usage = Self::default();
        for job in cache.jobs() {
            let lease = Key::namespaced(Kind::ComputeLease, &job.namespace, &job.lease);
            usage.jobs.entry(lease).or_default().push(job.clone());
        }
        for jobs in usage.jobs.values_mut() {
            jobs.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
        }
        for pod in cache.pods().filter(|pod| !pod.finished) {
            if let Some(job) = &pod.job {
                usage.pods.entry((pod.namespace.clone(), job.clone())).or_default().push(pod.clone());
            }
        }
        usage
    }

    /// Finds the running Jobs whose lease is gone or has ended. One that cannot be read, or that no site knows as ended,
    /// may well stand.
    pub(super) fn find_unleased(&mut self, cache: &Cache, sites: &BTreeMap<String, Site>) {
        let ended = |name: &String| {
            let rows = sites.values().filter_map(|site| site.leases.get(name));
            rows.into_iter().any(|row| matches!(row.state, LeaseState::Ended(_)))
        };
        let over = |lease: &Key| match cache.lease(lease) {
            Some(_) => ended(&format!("{}/{}", lease.namespace.as_deref().unwrap_or_default(), lease.name)),
            None => cache.unreadable(lease).is_none(),
        };
        let jobs = self.jobs.iter().filter(|(lease, _)| over(lease)).flat_map(|(_, jobs)| jobs);
        let runs = |job: &&Arc<JobFacts>| !job.suspended && !job.finished && !job.managed_elsewhere;
        self.unleased = jobs.filter(runs).cloned().collect();
    }

    /// Stops the Jobs that nothing is granted any more.
    pub(super) fn stop_unleased(&self) -> Vec<Purposed> {
        self.unleased.iter().filter_map(|job| switch(job, false, None, None)).collect()
    }

    fn jobs(&self, row: &LeaseRow) -> &[Arc<JobFacts>] {
        self.jobs.get(&row.key).map(Vec::as_slice).unwrap_or_default()
    }

    fn pods(&self, job: &JobFacts) -> &[Arc<PodFacts>] {
        self.pods.get(&(job.namespace.clone(), job.name.clone())).map(Vec::as_slice).unwrap_or_default()
    }
}

impl LeaseRow {
    /// A lease as it is found.
    fn found(key: Key, object: Arc<ComputeLease>, state: LeaseState) -> Self {
        Self { key, object, state, coming: None, confirmed: false, acknowledged: None }
    }

    /// The write that was under way is answered.
    pub(super) fn answered(&mut self, accepted: bool) {
        let coming = self.coming.take();
        if accepted {
            self.confirmed = true;
            self.state = coming.unwrap_or_else(|| self.state.clone());
        }
    }

    /// What is decided on.
    fn latest(&self) -> &LeaseState {
        self.coming.as_ref().unwrap_or(&self.state)
    }
}

impl Site {
    /// Brings the site's lease rows up to what the cache shows. A lease is this site's if its class is, or if its
    /// pinned terms are delivered here; one whose class nobody knows is told so by the first site.
    pub fn follow_leases(&mut self, cache: &Cache, first: bool, known_classes: &dyn Fn(&str) -> bool) {
        let (Some(tables), Some(tree)) = (&self.tables, self.ledger.as_ref().map(|l| l.tree().clone())) else { return };
        let ours = |lease: &ComputeLease| {
            let class = &lease.spec.class_name;
            let here = tables.classes.iter().any(|row| row.core.name == *class);
            let pinned = lease.status.as_ref().and_then(|s| s.terms.as_ref());
            let delivered = pinned.is_some_and(|terms| tables.delivers(&terms.place));
            here || delivered || (first && pinned.is_none() && !known_classes(class))
        };
        let mut rows = BTreeMap::new();
        for lease in cache.leases().filter(|lease| ours(lease)) {
            let namespace = lease.namespace().unwrap_or_default();
            let name = format!("{namespace}/{}", lease.name_any());
            let key = Key::namespaced(Kind::ComputeLease, &namespace, &lease.name_any());
            let row = match self.leases.remove(&name) {
                Some(old) if old.object.uid() == lease.uid() => {
                    let stored = leases::state(lease, tables, &tree);
                    let state = if is_later(&stored, &old.state) { stored } else { old.state };
                    LeaseRow { object: lease.clone(), state, ..old }
                }
                _ => LeaseRow::found(key, lease.clone(), leases::state(lease, tables, &tree)),
            };
            rows.insert(name, row);
        }
        self.leases = rows;
    }

    /// The leases as a decision knows them, by name; those that have ended are left out.
    pub fn core_leases(&mut self, usage: &Usage, now: Time) -> Vec<Lease> {
        let Some(tables) = &self.tables else { return Vec::new() };
        let is_node = |id: &LoadId| matches!(self.rows.get(id.index()).map(|r| r.member), Some(Member::Pool(_)));
        let place = |name: &str| self.ids.get(name).copied().filter(is_node);
        // Nothing is offered or refused while the loads that could carry it are still being born.
        let coming_up = self.wanted().any(|(_, id)| id.is_none());
        let mut core = Vec::with_capacity(self.leases.len());
        for (name, row) in &mut self.leases {
            let unborn = coming_up && !matches!(row.latest(), LeaseState::Accepted(_));
            if matches!(row.state, LeaseState::Ended(_)) || unborn {
                continue;
            }
            let asked = row.object.metadata.creation_timestamp.as_ref().map_or(now, time);
            let jobs = usage.jobs(row);
            let working = jobs.iter().filter(|job| !job.finished);
            // Asked of what is written down: its notice runs, and so do its Jobs, until the fall is written too.
            row.acknowledged = acknowledged(&row.state, jobs, row.acknowledged, now);
            core.push(Lease {
                name: name.clone(),
                namespace: row.key.namespace.as_deref().unwrap_or_default().into(),
                request: leases::request(&row.object, tables, asked),
                state: row.latest().clone(),
                placed: placed(row, usage, tables.pool_of(row.latest()), &place),
                has_work: working.count() > 0,
                has_pods: jobs.iter().any(|job| !usage.pods(job).is_empty() || job.terminating > 0),
                acknowledged: row.acknowledged,
            });
        }
        core
    }
}

/// Whether what a status holds is later than what is remembered: a write landed whose answer was lost, or another
/// leader's did.
fn is_later(stored: &LeaseState, known: &LeaseState) -> bool {
    let moments = |state: &LeaseState| match state {
        LeaseState::Accepted(contract) | LeaseState::Ended(contract) => {
            let ended = matches!(state, LeaseState::Ended(_));
            // The account runs to the last change of the grant, or of what lockouts leave it short of.
            Some((ended, contract.grant.since, contract.account.at, contract.notice.map(|notice| notice.given)))
        }
        _ => None,
    };
    moments(stored) > moments(known)
}

/// Where the pods of a lease's Jobs stand: (load, GPUs in use there).
fn placed(
    row: &LeaseRow,
    usage: &Usage,
    pool: Option<&PoolRow>,
    place: &dyn Fn(&str) -> Option<LoadId>,
) -> Vec<(LoadId, u32)> {
    let Some(pool) = pool else { return Vec::new() };
    let mut sums: BTreeMap<LoadId, u32> = BTreeMap::new();
    let mut name = String::with_capacity(pool.core.name.len() + 64);
    for pod in usage.jobs(row).iter().flat_map(|job| usage.pods(job)) {
        let Some(node) = &pod.node else { continue };
        // In one buffer: this is asked for every pod of the site every second.
        name.clear();
        name.extend([&pool.core.name, "-", node]);
        if let Some(load) = place(&name) {
            *sums.entry(load).or_default() += pod.gpus;
        }
    }
    sums.into_iter().collect()
}

/// The id under which the running notice asks for a checkpoint.
fn checkpoint_id(contract: &Contract) -> Option<String> {
    let notice = contract.running_notice()?;
    (notice.reason != NoticeReason::TermEnds).then(|| (notice.given.get() / 1_000).to_string())
}

/// Since when every running Job has acknowledged the checkpoint that the running notice asked for.
fn acknowledged(state: &LeaseState, jobs: &[Arc<JobFacts>], before: Option<Time>, now: Time) -> Option<Time> {
    let LeaseState::Accepted(contract) = state else { return None };
    let id = checkpoint_id(contract)?;
    let running = || jobs.iter().filter(|job| !job.finished && !job.suspended);
    let done = |job: &Arc<JobFacts>| job.annotations.get(CHECKPOINT_DONE_ANNOTATION) == Some(&id);
    (running().count() > 0 && running().all(done)).then(|| before.unwrap_or(now))
}

/// Gives what is to be written of the plan's leases: statuses that changed, Jobs whose switch or notice is wrong, pods
/// that an urgent shed does not wait for.
///
/// A lease's status is written before its Jobs feel it, and only over the status that was read: a leader that takes
/// over finds every promise that was acted on, and one that is deposed can take none back.
pub(super) fn apply(site: &mut Site, plan: &Plan, names: &[String], usage: &Usage, now: Time) -> Vec<Purposed> {
    let mut writes = Vec::new();
    let (Some(tables), Some(ledger)) = (&site.tables, &site.ledger) else { return writes };
    let told = Names { tree: ledger.tree(), loads: &site.rows, leases: names, now };
    for (name, award) in names.iter().zip(&plan.leases) {
        let Some(row) = site.leases.get_mut(name) else { continue };
        let mut work = Vec::new();
        jobs(row, (award, tables.pool_of(&row.state)), usage, now, &mut work);
        let old = row.object.status.as_ref();
        let trouble = grace::trouble(row, usage.jobs(row));
        let untold = old.and_then(grace::told) != trouble.as_deref();
        let wrong =
            untold || row.state != award.state || old.is_none() || stale(row) || !(row.confirmed || work.is_empty());
        if row.coming.is_none() && wrong {
            let why = sentence(&award.reason, &told);
            let mut status = leases::status(&row.object, &award.state, &why, tables, old, now);
            grace::say(&mut status, trouble, row.object.metadata.generation, now);
            if old == Some(&status) && row.confirmed {
                row.state = award.state.clone();
            } else {
                row.coming = Some(award.state.clone());
                let (site, lease, uid) = (site.name.clone(), name.clone(), row.object.metadata.uid.clone());
                let status = Box::new(Status::ComputeLease(status));
                let write = Write::Status { key: row.key.clone(), status, revision: row.object.resource_version() };
                writes.push((write, Purpose::Tenancy { site, lease, uid }));
            }
        }
        if row.confirmed || award.urgent {
            writes.append(&mut work);
        }
    }
    writes
}

/// Whether what stands in a lease's status is not what is remembered here: a write that was lost.
fn stale(row: &LeaseRow) -> bool {
    let Some(status) = &row.object.status else { return true };
    let observed = status.observed_generation == row.object.metadata.generation;
    let grant = match &row.state {
        LeaseState::Accepted(contract) | LeaseState::Ended(contract) => {
            let told = status.grant.as_ref().map(|g| (g.watts.watts(), time(&g.since)));
            let notice = status.notice.as_ref().map(|n| time(&n.deadline));
            let missing = status.account.as_ref().map_or(Watts::ZERO, leases::missing);
            told == Some((contract.grant.watts, contract.grant.since))
                && notice == contract.notice.map(|n| n.deadline)
                && missing == contract.missing
        }
        _ => true,
    };
    !observed || !grant
}

fn jobs(
    row: &LeaseRow,
    (award, pool): (&LeaseAward, Option<&PoolRow>),
    usage: &Usage,
    now: Time,
    writes: &mut Vec<Purposed>,
) {
    let contract = match &row.state {
        LeaseState::Accepted(contract) => Some(contract.as_ref()),
        _ => None,
    };
    let gpus = match contract.map(|c| c.offer.delivery) {
        Some(Delivery::Jobs { gpus, .. }) => gpus,
        _ => 0,
    };
    let given = contract.is_some_and(|c| c.grant.watts > Watts::ZERO && now >= c.offer.start && now < c.offer.end);
    let granted = given && !suffers(&award.state);
    let mut left = if granted { gpus } else { 0 };
    for job in usage.jobs(row).iter().filter(|job| !job.finished && !job.managed_elsewhere) {
        let needs = job.parallelism.saturating_mul(job.gpus_per_pod);
        let runs = granted && needs <= left && !grace::overstays(job, contract);
        if runs {
            left -= needs;
        }
        writes.extend(switch(job, runs, contract, pool));
        if runs {
            let pods = usage.pods(job).iter().filter(|pod| !pod.terminating);
            writes.extend(pods.filter_map(|pod| note(pod, contract)));
        }
        if award.urgent && !runs {
            let pods = usage.pods(job).iter().filter(|pod| !pod.terminating);
            writes.extend(pods.map(|pod| {
                let key = Key::namespaced(Kind::Pod, &pod.namespace, &pod.name);
                (Write::DeletePod { pod: key, uid: pod.uid.clone(), grace: Some(URGENT_GRACE) }, Purpose::Other)
            }));
        }
    }
}

/// Whether an emergency leaves it nothing: that waits for no write.
fn suffers(state: &LeaseState) -> bool {
    let LeaseState::Accepted(contract) = state else { return false };
    contract.grant.watts == Watts::ZERO && contract.account.running.is_some_and(|running| running.emergency)
}

/// What is wrong with a Job's switch, the nodes that its pods ask for and its notice, if anything.
fn switch(job: &JobFacts, runs: bool, contract: Option<&Contract>, pool: Option<&PoolRow>) -> Option<Purposed> {
    let mut wanted = notice(contract.filter(|_| runs));
    let why = match contract {
        None => "NoLease",
        Some(_) if grace::overstays(job, contract) => "GraceTooLong",
        Some(_) => "NotGranted",
    };
    wanted.insert(SUSPEND_REASON_ANNOTATION, (!runs).then(|| why.to_owned()));
    let annotations = wrong(wanted, &job.annotations);
    let suspend = (job.suspended == runs).then_some(!runs);
    // Its pods run on its lease's pool, whatever its template asks for: elsewhere GPUs and watts are another's. What a
    // Job that has started is made of stays as it is.
    let moved = pool.filter(|_| suspend == Some(false) && !job.started);
    let node_selector = moved.map(|pool| pool.labels.clone()).unwrap_or_default();
    if suspend.is_none() && annotations.is_empty() {
        return None;
    }
    let key = Key::namespaced(Kind::Job, &job.namespace, &job.name);
    Some((Write::Job { job: key, uid: job.uid.clone(), suspend, node_selector, annotations }, Purpose::Other))
}

/// What is wrong with the notice on a pod, if anything: its processes read it there, for a Job's own annotations do not
/// reach them.
fn note(pod: &PodFacts, contract: Option<&Contract>) -> Option<Purposed> {
    let annotations = wrong(notice(contract), &pod.annotations);
    let (pod, uid) = (Key::namespaced(Kind::Pod, &pod.namespace, &pod.name), pod.uid.clone());
    (!annotations.is_empty()).then_some((Write::NotePod { pod, uid, annotations }, Purpose::Other))
}

/// What tells of a running notice.
fn notice(contract: Option<&Contract>) -> BTreeMap<&'static str, Option<String>> {
    let notice = contract.and_then(|c| Some((checkpoint_id(c)?, c.running_notice()?.deadline)));
    let id = notice.as_ref().map(|(id, _)| id.clone());
    let deadline = notice.map(|(_, deadline)| api_time(deadline).0.to_string());
    BTreeMap::from([(CHECKPOINT_REQUEST_ANNOTATION, id), (NOTICE_DEADLINE_ANNOTATION, deadline)])
}

/// Those that do not stand as they are wanted.
fn wrong(
    wanted: BTreeMap<&str, Option<String>>,
    stands: &BTreeMap<String, String>,
) -> BTreeMap<String, Option<String>> {
    let differs = |(name, value): &(&str, Option<String>)| stands.get(*name) != value.as_ref();
    wanted.into_iter().filter(differs).map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests;
