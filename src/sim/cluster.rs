//! The rest of a Kubernetes cluster, as far as a lease's Jobs need it: the job controller, the scheduler, the nodes'
//! kubelets, and the work itself with its checkpoints.
//!
//! Constants: a pod starts within seconds and stops within its grace (`control-plane.md`); a checkpoint is written in
//! 30 s to 5 min (`markets.md` 5.3, not verified; one minute here).

use super::ground::{Submission, created};
use super::plant::SharedPlant;
use crate::api::{CHECKPOINT_DONE_ANNOTATION, CHECKPOINT_REQUEST_ANNOTATION};
use crate::store::memory::SharedServer;
use crate::store::{JobFacts, Key, Kind, Object, PodFacts};
use ampacity_core::units::{Span, Time, Watts};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

/// From being bound to a node until a pod works.
pub(super) const STARTS_AFTER: Span = Span::seconds(8);
/// From being told to stop until a pod's processes are gone.
pub(super) const STOPS_AFTER: Span = Span::seconds(12);
/// From the request to a written checkpoint.
const CHECKPOINT_TAKES: Span = Span::seconds(60);
/// Without a request a Job checkpoints so often.
const CHECKPOINT_EVERY: Span = Span::minutes(20);
/// What a GPU draws in training, W: it would use all it gets.
pub(super) const TRAINING: Watts = Watts::new(700);

/// One node of the cluster.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its place in the plant.
    pub load: usize,
    /// Its GPUs.
    pub gpus: u32,
    /// Its pool.
    pub pool: String,
}

/// A pod's life, besides what the API server shows.
#[derive(Clone, Debug)]
struct Life {
    since: Time,
    stopping: Option<Time>,
    load: usize,
    gpus: u32,
}

/// The work of one Job, in GPU-milliseconds at full throughput.
#[derive(Clone, Debug, Default)]
pub struct Work {
    /// All of it.
    pub total: i64,
    /// Done.
    pub done: i64,
    /// Done up to the last checkpoint.
    pub saved: i64,
    /// Lost at stops.
    pub lost: i64,
    saved_at: Time,
    writing: Option<(String, Time)>,
}

impl Work {
    /// So many GPU hours of it, none done.
    pub(super) fn new(gpu_hours: u32) -> Self {
        Self { total: i64::from(gpu_hours) * GPU_HOUR, ..Self::default() }
    }

    /// All of them together: total, done and lost; none, if there are none.
    pub(super) fn sum<'a>(of: impl Iterator<Item = &'a Self>) -> Option<Self> {
        of.fold(None, |sum: Option<Self>, work| {
            let mut sum = sum.unwrap_or_default();
            sum.total += work.total;
            sum.done += work.done;
            sum.lost += work.lost;
            Some(sum)
        })
    }

    /// So many GPUs work through a tick, at `throughput` millionths of full speed.
    pub(super) fn toil(&mut self, gpus: i64, throughput: i64, tick: Span) {
        self.done = (self.done + gpus * tick.get() * throughput / 1_000_000).min(self.total);
    }

    /// The tenant's side: gives the id of a checkpoint that was asked for and is written now, to be acknowledged.
    pub(super) fn checkpoint(&mut self, job: &JobFacts, now: Time) -> Option<String> {
        if job.suspended {
            // What was done since the last checkpoint is lost at the stop.
            self.lost += self.done - self.saved;
            (self.done, self.writing) = (self.saved, None);
            return None;
        }
        if now.since(self.saved_at) >= CHECKPOINT_EVERY {
            (self.saved, self.saved_at) = (self.done, now);
        }
        let asked = job.annotations.get(CHECKPOINT_REQUEST_ANNOTATION);
        let done = job.annotations.get(CHECKPOINT_DONE_ANNOTATION);
        match (asked, &self.writing) {
            (Some(id), _) if done == Some(id) => self.writing = None,
            (Some(id), Some((writing, since))) if writing == id => {
                if now.since(*since) >= CHECKPOINT_TAKES {
                    (self.saved, self.saved_at, self.writing) = (self.done, now, None);
                    return Some(id.clone());
                }
            }
            (Some(id), _) => self.writing = Some((id.clone(), now)),
            (None, _) => self.writing = None,
        }
        None
    }
}

/// The cluster around the API server.
#[derive(Debug)]
pub struct Cluster {
    server: SharedServer,
    plant: SharedPlant,
    nodes: Vec<Node>,
    lives: BTreeMap<Key, Life>,
    work: BTreeMap<Key, Work>,
    pods_made: u64,
    /// By load: GPUs at work, as the plant was last told.
    told: BTreeMap<usize, u32>,
}

const GPU_HOUR: i64 = 3_600_000;

impl Cluster {
    /// A cluster of these nodes.
    pub fn new(server: &SharedServer, plant: &SharedPlant, nodes: Vec<Node>) -> Self {
        Self {
            server: server.clone(),
            plant: plant.clone(),
            nodes,
            lives: BTreeMap::new(),
            work: BTreeMap::new(),
            pods_made: 0,
            told: BTreeMap::new(),
        }
    }

    /// A tenant submits a Job, created suspended: pods of one node's GPUs each.
    pub fn submit(&mut self, submission: &Submission<'_>) {
        let job = created(submission, &self.nodes);
        self.work.insert(Key::namespaced(Kind::Job, &job.namespace, &job.name), Work::new(submission.gpu_hours));
        self.server.borrow_mut().put(Object::Job(Arc::new(job)));
    }

    /// The work of the Jobs of one lease: done and total, and lost at stops, in GPU-milliseconds.
    pub fn progress(&self, namespace: &str, lease: &str) -> Option<Work> {
        let server = self.server.borrow();
        let own = |key: &Key| match server.get(key) {
            Some(Object::Job(job)) => job.namespace == namespace && job.lease == lease,
            _ => false,
        };
        Work::sum(self.work.iter().filter(|(key, _)| own(key)).map(|(_, work)| work))
    }

    /// One turn of every controller.
    pub fn step(&mut self, now: Time, tick: Span) {
        let jobs: Vec<Arc<JobFacts>> = {
            let server = self.server.borrow();
            let of = |object: &Object| match object {
                Object::Job(job) => Some(job.clone()),
                _ => None,
            };
            server.of_kind(Kind::Job).filter_map(of).collect()
        };
        if jobs.is_empty() {
            return;
        }
        self.kubelets(now);
        for job in &jobs {
            self.control(job, now);
            self.checkpoint(job, now);
        }
        self.toil(&jobs, tick);
        self.tell(now);
    }

    fn pods_of(&self, job: &JobFacts) -> Vec<(Key, Arc<PodFacts>)> {
        let server = self.server.borrow();
        let of = |(key, object): (&Key, &Object)| match object {
            Object::Pod(pod) if is_of(pod, job) => Some((key.clone(), pod.clone())),
            _ => None,
        };
        server.entries_of(Kind::Pod).filter_map(of).collect()
    }

    /// The job controller: pods that are missing are made and bound, those of a suspended Job are told to stop.
    fn control(&mut self, job: &JobFacts, now: Time) {
        let pods = self.pods_of(job);
        let living = pods.iter().filter(|(_, pod)| !pod.terminating).count();
        let leaving = pods.len() - living;
        let wanted = if job.suspended || job.finished { 0 } else { job.parallelism as usize };
        if living > wanted {
            for (key, _) in pods.iter().filter(|(_, pod)| !pod.terminating) {
                self.server.borrow_mut().update(key, |object| {
                    if let Object::Pod(pod) = object {
                        Arc::make_mut(pod).terminating = true;
                    }
                });
            }
        }
        for _ in living..wanted {
            if !self.bind(job, now) {
                break;
            }
        }
        let (active, terminating) = (wanted.min(living), leaving);
        let key = Key::namespaced(Kind::Job, &job.namespace, &job.name);
        if (job.active, job.terminating) != (active as u32, terminating as u32) {
            self.server.borrow_mut().update(&key, |object| {
                if let Object::Job(job) = object {
                    let job = Arc::make_mut(job);
                    (job.active, job.terminating) = (active as u32, terminating as u32);
                }
            });
        }
    }

    /// The scheduler: the first node that the Job's `nodeSelector` names, with enough GPUs free.
    fn bind(&mut self, job: &JobFacts, now: Time) -> bool {
        let used = |load: usize| self.lives.values().filter(|l| l.load == load).map(|l| l.gpus).sum::<u32>();
        let takes = |node: &Node| {
            let server = self.server.borrow();
            let Some(Object::Node(facts)) = server.get(&Key::cluster(Kind::Node, &node.name)) else { return false };
            let named = job.node_selector.iter().all(|(label, value)| facts.labels.get(label) == Some(value));
            named && !facts.unschedulable
        };
        let fits = |node: &&Node| takes(node) && node.gpus.saturating_sub(used(node.load)) >= job.gpus_per_pod;
        let Some(node) = self.nodes.iter().find(fits).cloned() else { return false };
        self.pods_made += 1;
        let pod = PodFacts {
            namespace: job.namespace.clone(),
            name: format!("{}-{:05x}", job.name, self.pods_made),
            job: Some(job.name.clone()),
            node: Some(node.name.clone()),
            gpus: job.gpus_per_pod,
            ..PodFacts::default()
        };
        let object = Object::Pod(Arc::new(pod));
        let life = Life { since: now, stopping: None, load: node.load, gpus: job.gpus_per_pod };
        self.lives.insert(object.key(), life);
        self.server.borrow_mut().put(object);
        true
    }

    /// The kubelets: pods come up, and go within their grace.
    fn kubelets(&mut self, now: Time) {
        let mut gone = Vec::new();
        for (key, life) in &mut self.lives {
            let state = match self.server.borrow().get(key) {
                Some(Object::Pod(pod)) => Some((pod.running, pod.terminating)),
                _ => None,
            };
            match state {
                Some((_, true)) => {
                    let since = *life.stopping.get_or_insert(now);
                    if now.since(since) >= STOPS_AFTER {
                        gone.push(key.clone());
                    }
                }
                Some((false, false)) if now.since(life.since) >= STARTS_AFTER => {
                    self.server.borrow_mut().update(key, |object| {
                        if let Object::Pod(pod) = object {
                            Arc::make_mut(pod).running = true;
                        }
                    });
                }
                Some(_) => {}
                // Deleted from the API server by force: its processes run on for a while all the same.
                None => {
                    let since = *life.stopping.get_or_insert(now);
                    if now.since(since) >= STOPS_AFTER {
                        gone.push(key.clone());
                    }
                }
            }
        }
        for key in gone {
            self.lives.remove(&key);
            self.server.borrow_mut().vanish(&key);
        }
    }

    /// The tenant's side: a checkpoint that is asked for is written and acknowledged.
    fn checkpoint(&mut self, job: &JobFacts, now: Time) {
        let key = Key::namespaced(Kind::Job, &job.namespace, &job.name);
        let Some(id) = self.work.get_mut(&key).and_then(|work| work.checkpoint(job, now)) else { return };
        self.server.borrow_mut().update(&key, |object| {
            if let Object::Job(job) = object {
                Arc::make_mut(job).annotations.insert(CHECKPOINT_DONE_ANNOTATION.into(), id);
            }
        });
    }

    /// Work gets done as fast as the slowest of a Job's nodes allows.
    fn toil(&mut self, jobs: &[Arc<JobFacts>], tick: Span) {
        let plant = self.plant.lock().unwrap_or_else(PoisonError::into_inner);
        let server = self.server.borrow();
        let running = |(key, life)| match server.get(key) {
            Some(Object::Pod(pod)) if pod.running => Some((pod, life)),
            _ => None,
        };
        let running: Vec<(&Arc<PodFacts>, &Life)> = self.lives.iter().filter_map(running).collect();
        for job in jobs.iter().filter(|job| !job.suspended && !job.finished) {
            let key = Key::namespaced(Kind::Job, &job.namespace, &job.name);
            let pods: Vec<&Life> = running.iter().filter(|(pod, _)| is_of(pod, job)).map(|(_, life)| *life).collect();
            if pods.len() < job.parallelism as usize {
                continue;
            }
            let slowest = pods.iter().map(|life| plant.throughput(life.load).get()).min().unwrap_or(0);
            let gpus: i64 = pods.iter().map(|life| i64::from(life.gpus)).sum();
            if let Some(work) = self.work.get_mut(&key) {
                work.toil(gpus, slowest, tick);
            }
        }
    }

    /// Tells the plant which GPUs have work: those of every pod whose processes run.
    fn tell(&mut self, now: Time) {
        let mut busy: BTreeMap<usize, u32> = self.told.keys().map(|load| (*load, 0)).collect();
        for life in self.lives.values().filter(|life| now.since(life.since) >= STARTS_AFTER) {
            *busy.entry(life.load).or_default() += life.gpus;
        }
        let mut plant = self.plant.lock().unwrap_or_else(PoisonError::into_inner);
        for (load, gpus) in busy {
            if self.told.get(&load) != Some(&gpus) {
                plant.set_job(load, gpus as usize, TRAINING, now);
                self.told.insert(load, gpus);
            }
        }
    }
}

/// Whether a pod is one of this Job's.
fn is_of(pod: &PodFacts, job: &JobFacts) -> bool {
    pod.job.as_ref() == Some(&job.name) && pod.namespace == job.namespace
}
