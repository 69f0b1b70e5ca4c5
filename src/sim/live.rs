//! A simulated site on a real cluster: the plant, the operators and the agents of the demo, in the same thread and the
//! same virtual time, as clients of an API server; Jobs, their scheduling and their pods are the cluster's own.
//!
//! Virtual time waits for the API server: no second of it begins while a write of one before the last is unanswered, or
//! its writer's own watch has not shown what came of it.
//! Leases of ten virtual seconds live at any speed that way, and a slow API server makes a slow run, not a wrong one.

mod install;
mod line;
mod work;

pub use install::{MANAGER, MARK};

use super::cluster::{Node, Work};
use super::ground::{Ground, NAMESPACE, Setting, Submission};
use crate::api::GridEvent;
use crate::api::manifest::Object as Manifest;
use crate::operator::cache::Cache;
use crate::store::kube::{KubeStore, control};
use crate::store::memory::SharedServer;
use crate::store::{Filter, Key, Kind, NodeFacts, Store};
use ampacity_core::units::{Span, Time};
use install::Installer;
use kube::{Client, Config, ResourceExt};
use line::{LiveStore, SharedLine};
use std::collections::BTreeSet;
use std::rc::Weak;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use work::Tenants;

/// A write may be unanswered for so many virtual seconds; then time stands until it is answered. Less than an operator
/// waits until it renews its leadership anew, as it is on a real clock.
const UNANSWERED_MAX: u64 = 1;
/// How often a time that stands is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// What a person or a tenant does is answered within this, or has failed.
const PEOPLE_WAIT: Duration = Duration::from_secs(30);

/// How a site is run on a cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// The cluster, and who the demo is there.
    pub config: Config,
    /// Virtual seconds in a second, at most.
    pub speed_max: u32,
    /// Whether what was made stays.
    pub keep: bool,
}

/// The cluster that a site is run on.
pub struct Live {
    installer: Installer,
    /// Where loads are read by and writes of nobody's are made from.
    client: Client,
    lines: Vec<Weak<SharedLine>>,
    seen: KubeStore,
    cache: Cache,
    tenants: Tenants,
    nodes: Vec<Node>,
    applied: BTreeSet<Key>,
    tick: u64,
    began: Instant,
    least: Duration,
    keep: bool,
    /// Last: clients live on it.
    runtime: Runtime,
}

impl Live {
    /// Applies the definitions and waits until they are served; clears what an earlier demo left.
    ///
    /// # Errors
    /// What the API server said; or that the cluster has a site of its own, which a demo must not touch.
    pub fn start(options: Options, setting: &Setting) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| format!("no runtime for the cluster's clients: {error}"))?;
        let (client, seen) = {
            let _inside = runtime.enter();
            let client = Client::try_from(control(options.config)).map_err(|error| error.to_string())?;
            let installer = Installer::new(client.clone());
            runtime.block_on(installer.install())?;
            let seen = KubeStore::connect(client.clone(), NAMESPACE, Filter::All);
            (client, seen)
        };
        Ok(Self {
            installer: Installer::new(client.clone()),
            client,
            lines: Vec::new(),
            seen,
            cache: Cache::default(),
            tenants: Tenants::new(setting.plant.clone()),
            nodes: setting.nodes.clone(),
            applied: BTreeSet::new(),
            tick: 0,
            began: Instant::now(),
            least: Duration::from_secs(1) / options.speed_max.max(1),
            keep: options.keep,
            runtime,
        })
    }

    /// Takes what came: answers to everybody's writes, and what there is.
    fn pump(&mut self) {
        self.lines.retain(|line| match line.upgrade() {
            Some(line) => {
                line.borrow_mut().pump();
                true
            }
            None => false,
        });
        for seen in self.seen.poll() {
            self.cache.take(&seen);
        }
    }

    /// Whether somebody waits for an answer for too long.
    fn is_behind(&self) -> bool {
        let oldest = self.lines.iter().filter_map(Weak::upgrade).filter_map(|line| line.borrow_mut().oldest()).min();
        oldest.is_some_and(|tick| tick + UNANSWERED_MAX <= self.tick)
    }

    /// Waits for what a person or a tenant does.
    fn wait<T>(&self, request: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        let bounded = async { tokio::time::timeout(PEOPLE_WAIT, request).await };
        let late = |_| format!("the API server did not answer within {} s", PEOPLE_WAIT.as_secs());
        self.runtime.block_on(bounded).map_err(late)?
    }
}

impl Ground for Live {
    fn advance(&mut self, _: Time) {
        let due = self.began + self.least;
        loop {
            self.pump();
            if Instant::now() >= due && !self.is_behind() {
                break;
            }
            if Instant::now() >= due {
                self.lines.iter().filter_map(Weak::upgrade).for_each(|line| line.borrow_mut().stands());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        self.began = Instant::now();
        self.tick += 1;
        for line in self.lines.iter().filter_map(Weak::upgrade) {
            line.borrow_mut().begin(self.tick);
        }
    }

    fn step(&mut self, now: Time, tick: Span) {
        for (key, id) in self.tenants.step(&self.cache, &self.nodes, now, tick) {
            let acknowledged = self.wait(install::acknowledge(&self.client, &key, &id));
            if acknowledged.is_ok() {
                self.tenants.acknowledged(&key);
            }
        }
    }

    fn connect(&mut self, _: &str, filter: Filter) -> Box<dyn Store> {
        let _inside = self.runtime.enter();
        let store = LiveStore::new(KubeStore::connect(self.client.clone(), NAMESPACE, filter), self.tick);
        self.lines.push(store.line());
        Box::new(store)
    }

    fn apply(&mut self, object: Manifest) -> Result<(), String> {
        self.wait(self.installer.apply(&object))?;
        self.applied.insert(install::key(&object));
        Ok(())
    }

    fn delete(&mut self, key: &Key) -> Result<(), String> {
        self.applied.remove(key);
        self.wait(self.installer.delete(key))
    }

    fn has(&self, key: &Key) -> bool {
        self.applied.contains(key)
    }

    fn join(&mut self, node: NodeFacts) -> Result<(), String> {
        self.wait(self.installer.join(&node))
    }

    fn submit(&mut self, job: &Submission<'_>) -> Result<(), String> {
        self.wait(self.installer.submit(job, job.pods(&self.nodes)))?;
        self.tenants.submitted(Key::namespaced(Kind::Job, job.namespace, job.name), Work::new(job.gpu_hours));
        Ok(())
    }

    fn progress(&self, namespace: &str, lease: &str) -> Option<Work> {
        self.tenants.progress(&self.cache, namespace, lease)
    }

    fn orders(&self) -> Vec<(String, (i64, i64))> {
        self.cache.loads().map(|load| (load.name_any(), (load.spec.order.epoch, load.spec.order.sequence))).collect()
    }

    fn events(&self) -> Vec<Arc<GridEvent>> {
        self.cache.events().cloned().collect()
    }

    fn memory(&self) -> Option<&SharedServer> {
        None
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Err(why) = self.runtime.block_on(self.installer.clear()) {
            eprintln!("error: not all that the demo made could be deleted (label {MARK}): {why}");
        }
    }
}
