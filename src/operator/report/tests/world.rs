//! A site in memory: the API server, agents that do as they are told, prices that a test sets.

use super::parts::{Counted, Prices, SITE, led_from};
use crate::api::controllable_load::{Holder, PROTOCOL};
use crate::api::manifest::Object as Manifest;
use crate::api::{WholeWatts, manifest};
use crate::link::memory::{Exchange, MemoryDownlink, MemoryUplink, SharedExchange};
use crate::link::{Devices, Downlink, Report};
use crate::operator::own::AgentPods;
use crate::operator::{Exit, Operator, Options, Ports};
use crate::store::memory::{Recorded, Server, SharedServer};
use crate::store::{JobFacts, Key, Kind, NodeFacts, Object, PodFacts, api_time};
use ampacity_core::guard::HolderId;
use ampacity_core::units::{Span, Time, Watts};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// 2026-12-01T12:00:00Z.
const START: Time = Time::seconds(1_796_126_400);

/// A site with agents that do as they are told at once.
pub(in crate::operator) struct World {
    server: SharedServer,
    exchange: SharedExchange,
    pub(in crate::operator) store: Counted,
    link: MemoryUplink,
    pub(in crate::operator) prices: Prices,
    operator: Operator,
    pub(in crate::operator) now: Time,
    agents: BTreeMap<String, MemoryDownlink>,
    pub(in crate::operator) silent: BTreeSet<String>,
    pub(in crate::operator) feed: Vec<String>,
}

impl World {
    /// What the operator knows now.
    pub(in crate::operator) fn view(&self) -> crate::operator::explain::View {
        self.operator.view(self.now)
    }

    /// The lines of its metrics that begin so.
    pub(in crate::operator) fn metrics(&self, name: &str) -> Vec<String> {
        let metrics = crate::operator::metrics::Metrics::default();
        metrics.ticked(std::time::Duration::from_millis(3));
        metrics.written("accepted", Some(std::time::Duration::from_millis(4)));
        metrics.look(&self.operator, self.now);
        metrics.text().unwrap().lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
    }

    pub(in crate::operator) fn new(more: &str) -> Self {
        let server = Server::new(1, START);
        let exchange = Exchange::new(1, START);
        let mut world = Self {
            store: Counted::new(&server, "ampacity-0"),
            link: MemoryUplink::join(&exchange, "ampacity-0"),
            server,
            exchange,
            prices: Prices { energy: Some((4_000, START)), hash: (6_000, START), metered: None },
            operator: operator("ampacity-0"),
            now: START,
            agents: BTreeMap::new(),
            silent: BTreeSet::new(),
            feed: Vec::new(),
        };
        let labels = BTreeMap::from([("pool".to_owned(), "h100".to_owned())]);
        let node = NodeFacts { name: "gpu-0".into(), labels, gpus: 8, ready: true, ..NodeFacts::default() };
        world.server.borrow_mut().put(Object::Node(Arc::new(node)));
        world.apply(SITE);
        world.apply(more);
        world
    }

    pub(in crate::operator) fn apply(&mut self, yaml: &str) {
        for value in manifest::values("test", yaml).unwrap() {
            self.server.borrow_mut().put(object(value));
        }
    }

    /// A pod of some lease's Job that runs on a node.
    pub(in crate::operator) fn start_pod(&mut self, name: &str, node: &str) {
        let pod = PodFacts {
            namespace: "tenant-a".into(),
            name: name.into(),
            uid: name.into(),
            job: Some("train".into()),
            node: Some(node.into()),
            running: true,
            ..PodFacts::default()
        };
        self.server.borrow_mut().put(Object::Pod(Arc::new(pod)));
    }

    /// The last of that pod's processes is gone.
    pub(in crate::operator) fn end_pod(&mut self, name: &str) {
        self.server.borrow_mut().vanish(&Key::namespaced(Kind::Pod, "tenant-a", name));
    }

    /// What the operator wrote on a Job.
    pub(in crate::operator) fn told_job(&self, job: &str) -> BTreeMap<String, String> {
        let server = self.server.borrow();
        match server.get(&Key::namespaced(Kind::Job, "tenant-a", job)) {
            Some(Object::Job(job)) => job.annotations.clone(),
            _ => BTreeMap::new(),
        }
    }

    /// What the operator wrote on a pod for its processes to read.
    pub(in crate::operator) fn noted(&self, pod: &str) -> BTreeMap<String, String> {
        let server = self.server.borrow();
        match server.get(&Key::namespaced(Kind::Pod, "tenant-a", pod)) {
            Some(Object::Pod(pod)) => pod.annotations.clone(),
            _ => BTreeMap::new(),
        }
    }

    pub(super) fn terminating(&self, pod: &str) -> bool {
        let server = self.server.borrow();
        let key = Key::namespaced(Kind::Pod, "tenant-a", pod);
        matches!(server.get(&key), Some(Object::Pod(pod)) if pod.terminating)
    }

    /// Whether nothing new starts on a node, and whether that is the operator's doing.
    pub(super) fn cordon(&self, node: &str) -> (bool, bool) {
        match self.server.borrow().get(&Key::cluster(Kind::Node, node)) {
            Some(Object::Node(node)) => (node.unschedulable, node.locked_out),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn cordon_by_hand(&mut self, node: &str) {
        self.server.borrow_mut().update(&Key::cluster(Kind::Node, node), |object| {
            let Object::Node(node) = object else { return };
            Arc::make_mut(node).unschedulable = true;
        });
    }

    pub(in crate::operator) fn remove(&mut self, kind: Kind, name: &str) {
        self.server.borrow_mut().remove(&Key::cluster(kind, name)).unwrap();
    }

    /// The operator dies, and another takes over once the leadership has run out.
    pub(in crate::operator) fn take_over(&mut self) {
        self.store = Counted::new(&self.server, "ampacity-1");
        self.link = MemoryUplink::join(&self.exchange, "ampacity-1");
        self.operator = operator("ampacity-1");
    }

    /// A lease's Job, as its tenant or anybody else leaves it.
    pub(in crate::operator) fn job(&mut self, name: &str, lease: &str, suspended: bool) {
        let facts = JobFacts {
            namespace: "tenant-a".into(),
            name: name.into(),
            lease: lease.into(),
            suspended,
            parallelism: 1,
            gpus_per_pod: 8,
            ..JobFacts::default()
        };
        self.server.borrow_mut().put(Object::Job(Arc::new(facts)));
    }

    /// Somebody else flips a Job's switch.
    pub(in crate::operator) fn flip(&mut self, name: &str, suspended: bool) {
        let key = Key::namespaced(Kind::Job, "tenant-a", name);
        self.server.borrow_mut().update(&key, |object| {
            if let Object::Job(job) = object {
                Arc::make_mut(job).suspended = suspended;
            }
        });
    }

    /// The pods of a Job may go on for so long once they are stopped, seconds.
    pub(in crate::operator) fn grace(&mut self, name: &str, seconds: i64) {
        let key = Key::namespaced(Kind::Job, "tenant-a", name);
        self.server.borrow_mut().update(&key, |object| {
            if let Object::Job(job) = object {
                Arc::make_mut(job).grace = Span::seconds(seconds);
            }
        });
    }

    /// What the Job's pods ask of their node.
    pub(in crate::operator) fn node_selector(&self, name: &str) -> BTreeMap<String, String> {
        let server = self.server.borrow();
        match server.get(&Key::namespaced(Kind::Job, "tenant-a", name)) {
            Some(Object::Job(job)) => job.node_selector.clone(),
            _ => BTreeMap::new(),
        }
    }

    /// The Job asks for nodes itself.
    pub(in crate::operator) fn select(&mut self, name: &str, label: &str, value: &str) {
        let key = Key::namespaced(Kind::Job, "tenant-a", name);
        self.server.borrow_mut().update(&key, |object| {
            if let Object::Job(job) = object {
                Arc::make_mut(job).node_selector.insert(label.into(), value.into());
            }
        });
    }

    /// Whether a Job runs.
    pub(in crate::operator) fn job_runs(&self, name: &str) -> bool {
        let key = Key::namespaced(Kind::Job, "tenant-a", name);
        matches!(self.server.borrow().get(&key), Some(Object::Job(job)) if !job.suspended)
    }

    /// Somebody deletes a lease.
    pub(in crate::operator) fn delete_lease(&mut self, name: &str) {
        self.server.borrow_mut().vanish(&Key::namespaced(Kind::ComputeLease, "tenant-a", name));
    }

    /// The status of a lease, as the API shows it.
    pub(in crate::operator) fn lease(&self, name: &str) -> Value {
        let server = self.server.borrow();
        match server.get(&Key::namespaced(Kind::ComputeLease, "tenant-a", name)).unwrap() {
            Object::ComputeLease(lease) => serde_json::to_value(&lease.status).unwrap(),
            _ => panic!("no such lease"),
        }
    }

    /// How many loads there are.
    pub(in crate::operator) fn loads(&self) -> usize {
        self.server.borrow().of_kind(Kind::ControllableLoad).count()
    }

    pub(in crate::operator) fn is_ready(&self) -> bool {
        self.operator.is_ready()
    }

    /// Another namespace's operator writes its claim on the site at the moment at which this one hands its own over.
    pub(in crate::operator) fn claim_first(&mut self, namespace: &str) {
        self.store.rival = Some((self.server.clone(), namespace.into()));
    }

    /// The site is led from this namespace.
    pub(in crate::operator) fn led_from(&mut self, namespace: &str) {
        led_from(&self.server, namespace);
    }

    /// Lets time pass, a second at a time.
    pub(in crate::operator) fn run(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.second().unwrap();
        }
    }

    /// Lets a second pass.
    pub(in crate::operator) fn second(&mut self) -> Result<(), Exit> {
        self.now = self.now.after(Span::seconds(1));
        self.server.borrow_mut().advance(self.now);
        self.exchange.borrow_mut().advance(self.now);
        self.agents();
        let mut ports = Ports { store: &mut self.store, link: &mut self.link, feeds: &mut self.prices };
        self.operator.step(&mut ports, self.now)?;
        self.feed.extend(self.operator.sites().flat_map(|site| site.feed.clone()));
        Ok(())
    }

    /// A newer version has led: the orders of every load speak this protocol.
    pub(in crate::operator) fn speak(&mut self, protocol: i32) {
        let mut server = self.server.borrow_mut();
        let keys: Vec<Key> = server.of_kind(Kind::ControllableLoad).map(|object| object.key()).collect();
        for key in keys {
            server.update(&key, |object| {
                if let Object::ControllableLoad(load) = object {
                    Arc::make_mut(load).spec.protocol = protocol;
                }
            });
        }
    }

    /// Whether the operator leads.
    pub(in crate::operator) fn leads(&self) -> bool {
        self.operator.leads().is_some()
    }

    fn agents(&mut self) {
        let loads: Vec<_> = self.server.borrow().of_kind(Kind::ControllableLoad).cloned().collect();
        for object in loads {
            let (key, load) = (object.key(), object.load().unwrap().clone());
            let name = load.name_any();
            if self.silent.contains(&name) {
                continue;
            }
            let setpoint = load.spec.setpoint_watts.watts();
            let expires = Time::seconds((START.get() / 1_000) + 100_000);
            let stands = load.status.as_ref().and_then(|s| s.order) == Some(load.spec.order);
            if !stands {
                self.server.borrow_mut().update(&key, |object| {
                    let Object::ControllableLoad(load) = object else { return };
                    let load = Arc::make_mut(load);
                    let mut status = load.status.clone().unwrap_or_default();
                    status.ceiling_watts = Some(WholeWatts(setpoint.get()));
                    status.order = Some(load.spec.order);
                    status.protocol = Some(PROTOCOL);
                    status.holder = Some(Holder { uid: "7".into(), pod: "agent".into(), since: api_time(START) });
                    status.proof_expires = Some(api_time(expires));
                    load.status = Some(status);
                });
            }
            let exchange = &self.exchange;
            let down = self.agents.entry(name.clone()).or_insert_with(|| MemoryDownlink::join(exchange, &name));
            down.report(Report {
                load: name.into(),
                holder: HolderId(7),
                order: crate::store::order(load.spec.order),
                ceiling: Some(setpoint),
                proof_expires: expires,
                measured: Some(setpoint),
                error: Watts::ZERO,
                sampled: self.now,
                unused: Watts::ZERO,
                devices: Devices::default(),
                wants_more: true,
                note: String::new(),
            });
        }
    }

    /// The status of an object, as the API shows it.
    pub(in crate::operator) fn status(&self, kind: Kind, name: &str) -> Value {
        let server = self.server.borrow();
        server.get(&Key::cluster(kind, name)).unwrap().shown().unwrap()["status"].take()
    }

    /// The conditions of an object: `Type=Status Reason: message`.
    pub(in crate::operator) fn conditions(&self, kind: Kind, name: &str) -> Vec<String> {
        let of = |c: &Condition| format!("{}={} {}: {}", c.type_, c.status, c.reason, c.message);
        self.raw_conditions(kind, name).iter().map(of).collect()
    }

    fn raw_conditions(&self, kind: Kind, name: &str) -> Vec<Condition> {
        serde_json::from_value(self.status(kind, name)["conditions"].clone()).unwrap()
    }

    pub(in crate::operator) fn since(&self, kind: Kind, name: &str, type_: &str) -> Time {
        let conditions = self.raw_conditions(kind, name);
        crate::store::time(&conditions.iter().find(|c| c.type_ == type_).unwrap().last_transition_time)
    }

    /// How many statuses were written so far.
    pub(in crate::operator) fn written(&self) -> u32 {
        self.store.statuses
    }

    /// The Events since the last call: `name Reason: note`.
    pub(in crate::operator) fn told(&self) -> Vec<String> {
        let of = |r: Recorded| {
            let mark = if r.warning { "!" } else { "" };
            format!("{} {mark}{}: {}", r.regarding.name, r.reason, r.note)
        };
        self.server.borrow_mut().take_recorded().into_iter().map(of).collect()
    }
}

fn operator(name: &str) -> Operator {
    let options =
        Options { name: name.into(), namespace: "ampacity".into(), agents: AgentPods::Elsewhere, link: String::new() };
    Operator::new(options)
}

fn object(mut value: Value) -> Object {
    value["apiVersion"] = "ampacity.dev/v1alpha1".into();
    Manifest::from_value(value).unwrap().into()
}
