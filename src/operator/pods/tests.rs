use super::*;
use crate::link::memory::{Exchange, MemoryUplink, SharedExchange};
use crate::market::Market;
use crate::operator::{Operator, Ports};
use crate::store::memory::{MemoryStore, Server, SharedServer};
use crate::store::{Filter, Object};
use std::sync::Arc;

const START: Time = Time::seconds(1_796_126_400);

fn options(image: &str) -> PodOptions {
    PodOptions {
        image: image.into(),
        service_account: "ampacity-agent".into(),
        device: "simulated".into(),
        link: Some("ampacity-operator.ampacity.svc".into()),
        priority_class: Some("system-cluster-critical".into()),
    }
}

#[test]
fn an_agents_pod_may_do_nothing_but_its_work() {
    let owner = LoadOwner { fleet: Some("s21".into()), index: Some(0), pool: None, node: None };
    let made = template("s21-0", "west", &owner, "ampacity", &options("registry.example/ampacity:1"));
    let form = form("ampacity", &options("registry.example/ampacity:1"));
    let expected = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "s21-0-agent",
            "namespace": "ampacity",
            "labels": {
                "app.kubernetes.io/name": "ampacity",
                "app.kubernetes.io/component": "agent",
                "app.kubernetes.io/managed-by": "ampacity-operator",
                "ampacity.dev/budget": "west",
                "ampacity.dev/owner": "s21",
                "ampacity.dev/load": "s21-0",
            },
            "annotations": {"ampacity.dev/agent-template": form},
        },
        "spec": {
            "serviceAccountName": "ampacity-agent",
            "priorityClassName": "system-cluster-critical",
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 15,
            "enableServiceLinks": false,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "agent",
                "image": "registry.example/ampacity:1",
                "args": [
                    "agent", "miner", "--load", "s21-0", "--device", "simulated",
                    "--device-state", "/var/lib/ampacity/devices.json",
                    "--http-address", "0.0.0.0:8080", "--log-format", "json",
                    "--link", "--link-tls-dir", "/var/run/ampacity-link",
                    "--link-token-file", "/var/run/ampacity-link/token",
                    "--link-server-name", "ampacity-operator.ampacity.svc",
                ],
                "env": [
                    {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
                    {"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
                ],
                "ports": [{"name": "http", "containerPort": 8080}],
                "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 5, "timeoutSeconds": 2},
                "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 5, "timeoutSeconds": 2},
                "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [
                    {"name": "state", "mountPath": "/var/lib/ampacity"},
                    {"name": "link", "mountPath": "/var/run/ampacity-link", "readOnly": true},
                ],
            }],
            "volumes": [
                {"name": "state", "emptyDir": {"sizeLimit": "16Mi"}},
                {"name": "link", "projected": {"sources": [
                    {"serviceAccountToken": {"audience": "ampacity-link", "expirationSeconds": 3600, "path": "token"}},
                    {"secret": {"name": "ampacity-link-agent", "optional": true}},
                ]}},
            ],
        },
    });
    assert_eq!(made, expected);
    // What Kubernetes would drop in silence is no part of a pod.
    let pod: k8s_openapi::api::core::v1::Pod = serde_json::from_value(made.clone()).unwrap();
    assert_eq!(serde_json::to_value(pod).unwrap(), made);
}

#[test]
fn an_agents_own_command_line_takes_what_its_pod_gives_it() {
    use clap::Parser;
    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        of: crate::cli::agent::AgentCommand,
    }
    let args = spec("s21-0", &options("i"))["containers"][0]["args"].clone();
    let args: Vec<String> = serde_json::from_value(args).unwrap();
    // POD_NAME comes from the environment in a pod.
    let line = Line::try_parse_from(args.iter().map(String::as_str).chain(["--name", "p"]));
    assert!(matches!(line.map(|line| line.of), Ok(crate::cli::agent::AgentCommand::Miner(_))));
}

#[test]
fn another_image_account_device_class_or_link_is_another_form_and_another_load_is_not() {
    let of = |change: &dyn Fn(&mut PodOptions)| {
        let mut options = options("a");
        change(&mut options);
        form("ampacity", &options)
    };
    let forms = BTreeSet::from([
        of(&|_| {}),
        of(&|o| o.image = "b".into()),
        of(&|o| o.service_account = "b".into()),
        of(&|o| o.device = "asic".into()),
        of(&|o| o.priority_class = None),
        of(&|o| o.link = None),
    ]);
    assert_eq!(forms.len(), 6);
}

/// A pod of the form `f` that is ready, but for what `change` does to it.
fn pod(name: &str, change: impl FnOnce(&mut PodFacts)) -> PodFacts {
    let mut pod = PodFacts { name: name.into(), ready: true, template: Some("f".into()), ..PodFacts::default() };
    change(&mut pod);
    pod
}

fn decided(pods: &[Option<PodFacts>]) -> Vec<String> {
    let names = ["a", "b", "c"];
    let rows: Vec<Row<'_>> = names.iter().zip(pods).map(|(load, pod)| Row { load, pod: pod.as_ref() }).collect();
    let said = |one: Do<'_>| match one {
        Do::Make(load) => format!("make {load}"),
        Do::Delete(pod) => format!("delete {}", pod.name),
    };
    decide(&rows, "f").into_iter().map(said).collect()
}

#[test]
fn agents_are_replaced_one_at_a_time_and_what_proves_nothing_goes_first() {
    let current = |name: &str| Some(pod(name, |_| {}));
    let old = |name: &str| Some(pod(name, |p| p.template = Some("e".into())));
    let with = |name: &str, change: fn(&mut PodFacts)| Some(pod(name, change));
    let none: [&str; 0] = [];
    assert_eq!(decided(&[current("a"), current("b"), current("c")]), none);
    assert_eq!(decided(&[old("a"), old("b"), old("c")]), ["delete a"]);
    // Each of these waits for what is on its way.
    assert_eq!(decided(&[with("a", |p| p.terminating = true), old("b"), old("c")]), none);
    assert_eq!(decided(&[None, old("b"), old("c")]), ["make a"]);
    assert_eq!(decided(&[with("a", |p| p.ready = false), old("b"), old("c")]), none);
    assert_eq!(decided(&[current("a"), old("b"), old("c")]), ["delete b"]);
    // A template that does no good is replaced by the next: its one victim first.
    let stuck = Some(pod("b", |p| (p.template, p.ready) = (Some("e".into()), false)));
    assert_eq!(decided(&[old("a"), stuck, old("c")]), ["delete b"]);
}

#[test]
fn a_pod_that_will_not_run_again_makes_way_and_one_that_another_made_is_left_alone() {
    let evicted = Some(pod("a", |p| (p.finished, p.ready) = (true, false)));
    let foreign = Some(pod("b", |p| (p.template, p.ready) = (None, false)));
    assert_eq!(decided(&[evicted, foreign, None]), ["delete a", "make c"]);
}

const SITE: &str = r#"
kind: PowerBudget
metadata: {name: west, finalizers: [ampacity.dev/nameplates]}
spec:
  limitWatts: 10M
  feeders: [{name: hall-a, limitWatts: 6M}]
  energyPrice: {source: {static: {value: "40.00"}}}
  hashprice: {source: {static: {value: "60.00"}}}
  policy: {mode: Active}
---
kind: MiningFleet
metadata: {name: s21}
spec:
  budget: west
  feeder: hall-a
  containers: 2
  minersPerContainer: 100
  model: S21
  curve: [{watts: 2000, gigahashPerSecond: 80000}, {watts: 3000, gigahashPerSecond: 104000}]
---
kind: GpuPool
metadata: {name: h100}
spec:
  budget: west
  feeder: hall-a
  nodeLabels: {pool: h100}
  gpusPerNode: 8
  minCapWatts: 200
  maxCapWatts: 700
  overheadWatts: "4600"
"#;

/// An operator over a server in memory, whose kubelets are this test.
struct World {
    server: SharedServer,
    exchange: SharedExchange,
    store: MemoryStore,
    link: MemoryUplink,
    operator: Operator,
    now: Time,
}

impl World {
    fn new(site: &str) -> Self {
        let server = Server::new(1, START);
        let exchange = Exchange::new(1, START);
        for value in crate::api::manifest::values("test", site).unwrap() {
            let mut value = value;
            value["apiVersion"] = "ampacity.dev/v1alpha1".into();
            let object = crate::api::manifest::Object::from_value(value).unwrap().into();
            server.borrow_mut().put(object);
        }
        let labels = BTreeMap::from([("pool".to_owned(), "h100".to_owned())]);
        let node = crate::store::NodeFacts { name: "n1".into(), labels, gpus: 8, ready: true, ..Default::default() };
        server.borrow_mut().put(Object::Node(Arc::new(node)));
        let store = MemoryStore::connect(&server, "op", Filter::All);
        let link = MemoryUplink::join(&exchange, "op");
        let operator = operator("1");
        Self { server, exchange, store, link, operator, now: START }
    }

    fn run(&mut self, seconds: i64) {
        let mut feeds = Market::new(std::path::Path::new("."));
        for _ in 0..seconds {
            self.now = self.now.after(Span::seconds(1));
            self.server.borrow_mut().advance(self.now);
            self.exchange.borrow_mut().advance(self.now);
            let mut ports = Ports { store: &mut self.store, link: &mut self.link, feeds: &mut feeds };
            self.operator.step(&mut ports, self.now).unwrap();
        }
    }

    /// The agents' pods: name, form, and whether they are being deleted.
    fn pods(&self) -> Vec<(String, String, bool)> {
        let server = self.server.borrow();
        let of = |object: &Object| match object {
            Object::Pod(pod) => Some((pod.name.clone(), pod.template.clone().unwrap_or_default(), pod.terminating)),
            _ => None,
        };
        server.of_kind(Kind::Pod).filter_map(of).collect()
    }

    /// A person gives their word for a load, or takes it back.
    fn word(&self, load: &Key, by: Option<&str>) {
        self.server.borrow_mut().update(load, |object| {
            if let Object::ControllableLoad(load) = object {
                let annotations = Arc::make_mut(load).metadata.annotations.get_or_insert_default();
                annotations.remove(crate::api::RELEASED_BY_ANNOTATION);
                annotations.extend(by.map(|by| (crate::api::RELEASED_BY_ANNOTATION.to_owned(), by.to_owned())));
            }
        });
    }

    /// A kubelet reports.
    fn kubelet(&self, pod: &str, change: impl FnOnce(&mut PodFacts)) {
        self.server.borrow_mut().update(&Key::namespaced(Kind::Pod, "ampacity", pod), |object| {
            if let Object::Pod(pod) = object {
                change(Arc::make_mut(pod));
            }
        });
    }

    fn vanish(&self, pod: &str) {
        self.server.borrow_mut().vanish(&Key::namespaced(Kind::Pod, "ampacity", pod));
    }
}

fn operator(image: &str) -> Operator {
    let agents = AgentPods::Pods(options(image));
    Operator::new(Options { name: "op".into(), namespace: "ampacity".into(), agents, link: String::new() })
}

fn shown(image: &str, pods: &[(&str, bool)]) -> Vec<(String, String, bool)> {
    let form = form("ampacity", &options(image));
    pods.iter().map(|(name, terminating)| ((*name).to_owned(), form.clone(), *terminating)).collect()
}

#[test]
fn each_container_has_one_agent_pod_and_one_that_vanished_is_made_again() {
    let mut world = World::new(SITE);
    world.run(30);
    let both = shown("1", &[("s21-0-agent", false), ("s21-1-agent", false)]);
    assert_eq!(world.pods(), both, "and none for the node: a DaemonSet runs that");
    world.vanish("s21-1-agent");
    assert_eq!(world.pods(), both[..1]);
    world.run(15);
    assert_eq!(world.pods(), both);
}

#[test]
fn in_shadow_no_agent_is_made_that_would_act_without_a_leader() {
    let mut world = World::new(&SITE.replace("mode: Active", "mode: Shadow"));
    world.run(60);
    assert!(world.server.borrow().of_kind(Kind::ControllableLoad).count() == 3);
    assert_eq!(world.pods(), []);
}

#[test]
fn a_new_image_goes_from_agent_to_agent_and_each_waits_for_the_one_before() {
    let mut world = World::new(SITE);
    world.run(30);
    for pod in ["s21-0-agent", "s21-1-agent"] {
        world.kubelet(pod, |facts| (facts.running, facts.ready) = (true, true));
    }
    world.run(5);
    // The operator stops and starts anew with another image.
    let release = world.operator.release(world.now).unwrap();
    let _ = crate::store::Store::submit(&mut world.store, release);
    world.store = MemoryStore::connect(&world.server, "op-2", Filter::All);
    world.operator = operator("2");
    world.run(40);
    let old = shown("1", &[("s21-0-agent", true), ("s21-1-agent", false)]);
    assert_eq!(world.pods(), old, "one is told to end, the other waits for as long as that takes");
    world.vanish("s21-0-agent");
    world.run(30);
    let between = [shown("2", &[("s21-0-agent", false)]), shown("1", &[("s21-1-agent", false)])].concat();
    assert_eq!(world.pods(), between, "and until its successor is ready");
    world.kubelet("s21-0-agent", |facts| (facts.running, facts.ready) = (true, true));
    world.run(15);
    assert_eq!(world.pods()[1], shown("1", &[("s21-1-agent", true)])[0]);
}

#[test]
fn an_agent_stays_until_its_load_is_released() {
    let mut world = World::new(SITE);
    world.run(30);
    world.server.borrow_mut().remove(&Key::cluster(Kind::MiningFleet, "s21")).unwrap();
    let load = Key::namespaced(Kind::ControllableLoad, "ampacity", "s21-0");
    world.run(60);
    assert_eq!(world.pods(), shown("1", &[("s21-0-agent", false), ("s21-1-agent", false)]), "the devices are there");
    // A person's word: what nobody wants goes, and its agent with it.
    world.word(&load, Some("jo"));
    // Another load vanishes without any: its agent holds its devices where they are.
    world.server.borrow_mut().vanish(&Key::namespaced(Kind::ControllableLoad, "ampacity", "s21-1"));
    world.run(30);
    assert!(world.server.borrow().get(&load).is_none());
    assert_eq!(world.pods(), shown("1", &[("s21-0-agent", true), ("s21-1-agent", false)]));
}

#[test]
fn a_word_for_a_load_that_is_wanted_frees_nothing_and_is_taken_back() {
    let mut world = World::new(SITE);
    world.run(30);
    let load = Key::namespaced(Kind::ControllableLoad, "ampacity", "s21-0");
    let both = shown("1", &[("s21-0-agent", false), ("s21-1-agent", false)]);
    let nameplates = |world: &World| match world.server.borrow().get(&Key::cluster(Kind::PowerBudget, "west")) {
        Some(Object::PowerBudget(budget)) => budget.status.as_ref().map(|status| status.nameplates.clone()),
        _ => None,
    };
    let kept = nameplates(&world);
    assert!(kept.as_ref().is_some_and(|kept| !kept.is_empty()));
    world.word(&load, Some("jo"));
    world.run(30);
    assert!(world.server.borrow().get(&load).is_some());
    assert_eq!((world.pods(), nameplates(&world)), (both.clone(), kept.clone()));
    world.word(&load, None);
    world.run(5);
    world.server.borrow_mut().remove(&Key::cluster(Kind::MiningFleet, "s21")).unwrap();
    world.run(60);
    assert!(world.server.borrow().get(&load).is_some(), "it goes on proof again, and there is none");
    assert_eq!((world.pods(), nameplates(&world)), (both, kept));
}
