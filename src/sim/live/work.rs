//! What tenants do and what their pods mean to the plant, as the API server shows them.

use crate::operator::cache::Cache;
use crate::sim::cluster::{Node, STARTS_AFTER, STOPS_AFTER, TRAINING, Work};
use crate::sim::plant::SharedPlant;
use crate::store::{JobFacts, Key, Kind};
use ampacity_core::units::{Span, Time};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

/// The processes of a pod, which start after it is shown running and end after it is gone.
#[derive(Clone, Copy, Debug)]
struct Process {
    load: usize,
    gpus: u32,
    since: Time,
    gone: Option<Time>,
}

/// The tenants of a site.
#[derive(Debug)]
pub(super) struct Tenants {
    plant: SharedPlant,
    work: BTreeMap<Key, Work>,
    processes: BTreeMap<Key, Process>,
    /// Checkpoints that are written and not acknowledged yet.
    written: BTreeMap<Key, String>,
    /// By load: GPUs at work, as the plant was last told.
    told: BTreeMap<usize, u32>,
}

impl Tenants {
    pub(super) fn new(plant: SharedPlant) -> Self {
        Self {
            plant,
            work: BTreeMap::new(),
            processes: BTreeMap::new(),
            written: BTreeMap::new(),
            told: BTreeMap::new(),
        }
    }

    /// A Job was submitted.
    pub(super) fn submitted(&mut self, job: Key, work: Work) {
        self.work.insert(job, work);
    }

    /// A checkpoint's acknowledgement was accepted.
    pub(super) fn acknowledged(&mut self, job: &Key) {
        self.written.remove(job);
    }

    /// One tick; gives the Jobs whose checkpoints are to be acknowledged, by id.
    pub(super) fn step(&mut self, cache: &Cache, nodes: &[Node], now: Time, tick: Span) -> Vec<(Key, String)> {
        self.follow(cache, nodes, now);
        for job in cache.jobs() {
            let key = Key::namespaced(Kind::Job, &job.namespace, &job.name);
            if let Some(id) = self.work.get_mut(&key).and_then(|work| work.checkpoint(job, now)) {
                self.written.insert(key.clone(), id);
            }
            self.toil(&key, job, cache, now, tick);
        }
        self.tell(now);
        self.written.iter().map(|(key, id)| (key.clone(), id.clone())).collect()
    }

    /// Brings the processes up to what the API server shows of pods.
    fn follow(&mut self, cache: &Cache, nodes: &[Node], now: Time) {
        for pod in cache.pods().filter(|pod| pod.running && pod.job.is_some()) {
            let node = nodes.iter().find(|node| Some(&node.name) == pod.node.as_ref());
            let Some(node) = node else { continue };
            let key = Key::namespaced(Kind::Pod, &pod.namespace, &pod.name);
            let fresh = Process { load: node.load, gpus: pod.gpus, since: now, gone: None };
            self.processes.entry(key).or_insert(fresh);
        }
        self.processes.retain(|key, process| {
            if cache.pod(key).is_none_or(|pod| pod.finished) {
                process.gone.get_or_insert(now);
            }
            process.gone.is_none_or(|gone| now.since(gone) < STOPS_AFTER)
        });
    }

    /// Work gets done as fast as the slowest of a Job's nodes allows.
    fn toil(&mut self, key: &Key, job: &Arc<JobFacts>, cache: &Cache, now: Time, tick: Span) {
        let Some(work) = self.work.get_mut(key).filter(|_| !job.suspended && !job.finished) else { return };
        let own = cache.pods().filter(|pod| pod.namespace == job.namespace && pod.job.as_ref() == Some(&job.name));
        let at_work = |process: &&Process| process.gone.is_none() && now.since(process.since) >= STARTS_AFTER;
        let processes: Vec<Process> = own
            .filter_map(|pod| self.processes.get(&Key::namespaced(Kind::Pod, &pod.namespace, &pod.name)))
            .filter(at_work)
            .copied()
            .collect();
        if processes.len() < job.parallelism as usize {
            return;
        }
        let plant = self.plant.lock().unwrap_or_else(PoisonError::into_inner);
        let slowest = processes.iter().map(|one| plant.throughput(one.load).get()).min().unwrap_or(0);
        work.toil(processes.iter().map(|one| i64::from(one.gpus)).sum(), slowest, tick);
    }

    /// Tells the plant which GPUs have work.
    fn tell(&mut self, now: Time) {
        let mut busy: BTreeMap<usize, u32> = self.told.keys().map(|load| (*load, 0)).collect();
        for process in self.processes.values().filter(|process| now.since(process.since) >= STARTS_AFTER) {
            *busy.entry(process.load).or_default() += process.gpus;
        }
        let mut plant = self.plant.lock().unwrap_or_else(PoisonError::into_inner);
        for (load, gpus) in busy {
            if self.told.insert(load, gpus) != Some(gpus) {
                plant.set_job(load, gpus as usize, TRAINING, now);
            }
        }
    }

    /// The work of the Jobs of one lease: its sum.
    pub(super) fn progress(&self, cache: &Cache, namespace: &str, lease: &str) -> Option<Work> {
        let own = cache.jobs().filter(|job| job.namespace == namespace && job.lease == lease);
        let keys = own.map(|job| Key::namespaced(Kind::Job, &job.namespace, &job.name));
        Work::sum(keys.filter_map(|key| self.work.get(&key)))
    }
}
