//! The agents' pods: one for each container of a fleet, made again where it vanished, replaced one at a time where its
//! template has changed, deleted once its load was released.
//!
//! Two agents never act on one device: a load's pod has one name, so that the API server lets no second one be while the
//! first is, and an object goes only when its node says that its processes have ended (where somebody deletes one by
//! force, the guard's change of holder stands between them). A pod that is replaced voids its load's ceiling until its
//! successor has proved anew; so the next waits until that one is ready, which an agent is while a ceiling of its own
//! stands.
//!
//! A pod has no owner reference: agents outlive their loads and fleets, until a load is released (guard rule 6). Whoever
//! deletes an owner would take every agent with it.

use super::cache::Cache;
use super::site::Site;
use super::{Options, Purpose, Purposed};
use crate::api::common::LoadKind;
use crate::api::controllable_load::LoadOwner;
use crate::api::{AGENT_TEMPLATE_ANNOTATION, BUDGET_LABEL, ControllableLoad, LOAD_LABEL, OWNER_LABEL};
use crate::digest::sha256_hex;
use crate::link::AgentOf;
use crate::link::grpc::certificates::AGENT_SECRET;
use crate::link::grpc::identity::AUDIENCE;
use crate::store::{Key, Kind, PodFacts, Write};
use ampacity_core::units::{Span, Time};
use kube::ResourceExt;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Pods are looked over so often: kubelets and people are slower.
const LOOK_EVERY: Span = Span::seconds(2);
/// What was written and has not shown is written again after this.
const TRY_AGAIN: Span = Span::seconds(10);
/// Pods made in one look: a new site of a thousand containers has its agents within two minutes, and the scheduler its
/// breath.
const MADE_A_LOOK: usize = 20;
/// A stop of an agent takes less, by far: it waits 6 s for answers at most.
const GRACE_SECONDS: i64 = 15;
/// Nobody's user: the number that distroless images use.
const USER: i64 = 65_532;
/// Where simulated devices are kept while their agent restarts. They go with their pod.
const STATE_FOLDER: &str = "/var/lib/ampacity";
/// Where the certificate and the token for the link are mounted.
const LINK_FOLDER: &str = "/var/run/ampacity-link";
/// How long such a token lives; the kubelet renews it before.
const TOKEN_SECONDS: i64 = 3_600;
/// Where an agent answers.
const PORT: i32 = 8_080;

/// How the agents of containers are run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AgentPods {
    /// Somebody else runs them: this process, a person, a DaemonSet.
    #[default]
    Elsewhere,
    /// One pod each.
    Pods(PodOptions),
}

/// What the pods of agents are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodOptions {
    /// The image: its entry point is `ampacity`.
    pub image: String,
    /// Its ServiceAccount.
    pub service_account: String,
    /// What drives the devices: the agent's `--device`.
    pub device: String,
    /// Its PriorityClass; none: the cluster's default.
    pub priority_class: Option<String>,
    /// The name in the operator's certificate, by which agents know the link; none: there is no link.
    pub link: Option<String>,
}

/// When what was last tried.
#[derive(Debug, Default)]
pub struct Pace {
    looked: Option<Time>,
    tried: BTreeMap<Key, Time>,
}

/// The key of an agent's pod.
pub fn agent_key(namespace: &str, load: &str) -> Key {
    Key::namespaced(Kind::Pod, namespace, &format!("{load}-agent"))
}

/// Who may speak for a load over the link: the pod that the operator makes for a container, the agents' pod on a GPU
/// node. The same rule keeps statuses apart at the API server (the chart's policy ampacity-agent-status).
pub fn speaker(load: &ControllableLoad) -> AgentOf {
    match &load.spec.owner.node {
        Some(node) if load.spec.kind == LoadKind::Gpu => AgentOf::Node(node.as_str().into()),
        _ => AgentOf::Pod(agent_key("", &load.name_any()).name),
    }
}

/// The pod of the agent of a container's load.
pub fn template(load: &str, budget: &str, owner: &LoadOwner, namespace: &str, options: &PodOptions) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": &*agent_key(namespace, load).name,
            "namespace": namespace,
            "labels": {
                "app.kubernetes.io/name": "ampacity",
                "app.kubernetes.io/component": "agent",
                "app.kubernetes.io/managed-by": "ampacity-operator",
                BUDGET_LABEL: budget,
                OWNER_LABEL: owner.fleet.as_deref().unwrap_or_default(),
                LOAD_LABEL: load,
            },
            "annotations": {AGENT_TEMPLATE_ANNOTATION: form(namespace, options)},
        },
        "spec": spec(load, options),
    });
    if let (Some(class), Some(spec)) = (&options.priority_class, pod.get_mut("spec").and_then(Value::as_object_mut)) {
        spec.insert("priorityClassName".into(), json!(class));
    }
    pod
}

fn spec(load: &str, options: &PodOptions) -> Value {
    json!({
        "serviceAccountName": options.service_account,
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "enableServiceLinks": false,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container(load, options)],
        "volumes": volumes(options),
    })
}

fn volumes(options: &PodOptions) -> Vec<Value> {
    let mut volumes = vec![json!({"name": "state", "emptyDir": {"sizeLimit": "16Mi"}})];
    if options.link.is_some() {
        let token = json!({"audience": AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": "token"});
        // An agent need not wait for certificates: it begins without a link, and dials when they are there.
        let sources = json!([{"serviceAccountToken": token}, {"secret": {"name": AGENT_SECRET, "optional": true}}]);
        volumes.push(json!({"name": "link", "projected": {"sources": sources}}));
    }
    volumes
}

/// What an agent is told on its command line.
fn arguments(load: &str, options: &PodOptions) -> Vec<String> {
    let state = format!("{STATE_FOLDER}/devices.json");
    let (http, token) = (format!("0.0.0.0:{PORT}"), format!("{LINK_FOLDER}/token"));
    let mut arguments = vec![
        "agent",
        "miner",
        "--load",
        load,
        "--device",
        &options.device,
        "--device-state",
        &state,
        "--http-address",
        &http,
        "--log-format",
        "json",
    ];
    if let Some(name) = &options.link {
        arguments.extend([
            "--link",
            "--link-tls-dir",
            LINK_FOLDER,
            "--link-token-file",
            &token,
            "--link-server-name",
            name,
        ]);
    }
    arguments.into_iter().map(str::to_owned).collect()
}

fn container(load: &str, options: &PodOptions) -> Value {
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let probe = |path: &str| json!({"httpGet": {"path": path, "port": PORT}, "periodSeconds": 5, "timeoutSeconds": 2});
    let mut mounts = vec![json!({"name": "state", "mountPath": STATE_FOLDER})];
    if options.link.is_some() {
        mounts.push(json!({"name": "link", "mountPath": LINK_FOLDER, "readOnly": true}));
    }
    json!({
        "name": "agent",
        "image": options.image,
        "args": arguments(load, options),
        "env": [
            field("POD_NAME", "metadata.name"),
            field("POD_NAMESPACE", "metadata.namespace"),
            field("POD_UID", "metadata.uid"),
        ],
        "ports": [{"name": "http", "containerPort": PORT}],
        "livenessProbe": probe("/healthz"),
        "readinessProbe": probe("/readyz"),
        // No limit of processor time: an agent that is throttled sheds late.
        "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    })
}

/// Tells one form of the template from another; what differs from load to load never changes.
fn form(namespace: &str, options: &PodOptions) -> String {
    let any = json!([namespace, options.priority_class, spec("", options)]);
    sha256_hex(any.to_string().as_bytes()).chars().take(16).collect()
}

/// A load as its pod is decided on.
#[derive(Clone, Debug)]
struct Row<'a> {
    load: &'a str,
    pod: Option<&'a PodFacts>,
}

/// What is to be done about the pod of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Do<'a> {
    Make(&'a str),
    Delete(&'a PodFacts),
}

/// What is due for the loads of one site that need an agent.
fn decide<'a>(rows: &[Row<'a>], form: &str) -> Vec<Do<'a>> {
    let mut due = Vec::new();
    let mut outdated = Vec::new();
    let mut changing = false;
    for row in rows {
        let Some(pod) = row.pod else {
            changing = true;
            due.push(Do::Make(row.load));
            continue;
        };
        match &pod.template {
            // Another made it, for reasons of their own: its name is taken.
            None => {}
            Some(_) if pod.terminating => changing = true,
            // Evicted, or its node went down in order: it will not run again.
            Some(_) if pod.finished => {
                changing = true;
                due.push(Do::Delete(pod));
            }
            Some(made) if made == form => changing |= !pod.ready,
            Some(_) => outdated.push(pod),
        }
    }
    // What proves nothing goes first: it costs nothing.
    outdated.sort_by(|a, b| (a.ready, &a.name).cmp(&(b.ready, &b.name)));
    due.extend(outdated.first().filter(|_| !changing).map(|pod| Do::Delete(pod)));
    due
}

/// The pods that are due to be made and deleted. A site in Shadow has none made: without a leader an agent acts by itself.
pub(super) fn due(
    cache: &Cache,
    sites: &BTreeMap<String, Site>,
    options: &Options,
    pace: &mut Pace,
    now: Time,
) -> Vec<Purposed> {
    let AgentPods::Pods(pods) = &options.agents else { return Vec::new() };
    if pace.looked.is_some_and(|at| now.since(at) < LOOK_EVERY) {
        return Vec::new();
    }
    pace.looked = Some(now);
    pace.tried.retain(|_, at| now.since(*at) < TRY_AGAIN);
    let form = form(&options.namespace, pods);
    let mut writes = Vec::new();
    let mut made = 0;
    let active = sites.values().filter(|site| site.ledger.is_some() && site.is_active());
    for one in active.flat_map(|site| decide(&rows(site, cache, &options.namespace), &form)) {
        let Some((key, write)) = write(one, cache, options, pods) else { continue };
        let makes = matches!(one, Do::Make(_));
        if pace.tried.contains_key(&key) || (makes && made == MADE_A_LOOK) {
            continue;
        }
        made += usize::from(makes);
        pace.tried.insert(key, now);
        writes.push(write);
    }
    for pod in left_over(cache, sites, &options.namespace) {
        let key = Key::namespaced(Kind::Pod, &pod.namespace, &pod.name);
        if pace.tried.insert(key, now).is_none() {
            writes.push(deletion(pod));
        }
    }
    writes
}

/// The loads of a site that need an agent pod: containers that are there and not released. One that no fleet wants any
/// more needs it until its devices are proved at 0 W.
fn rows<'a>(site: &'a Site, cache: &'a Cache, namespace: &str) -> Vec<Row<'a>> {
    let needs = |key: &Key| cache.load(key).is_some_and(|load| load.spec.kind == LoadKind::Miner);
    let own = site.rows.iter().filter(|row| !row.released && needs(&row.key));
    own.map(|row| Row { load: &row.name, pod: cache.pod(&agent_key(namespace, &row.name)).map(AsRef::as_ref) })
        .collect()
}

/// The agents of loads that are no more: released, and wanted by nobody. An agent whose load vanished otherwise stays.
fn left_over<'a>(cache: &'a Cache, sites: &BTreeMap<String, Site>, namespace: &str) -> Vec<&'a PodFacts> {
    let ours = |pod: &&PodFacts| pod.namespace == namespace && pod.template.is_some() && !pod.terminating;
    let gone = |load: &str| {
        let held = |site: &Site| match site.id(load).and_then(|id| site.row(id)) {
            Some(row) => !row.released,
            None => site.tables.is_none(),
        };
        cache.load(&Key::namespaced(Kind::ControllableLoad, namespace, load)).is_none() && !sites.values().any(held)
    };
    let pods = cache.pods().map(AsRef::as_ref).filter(ours);
    let orphans: Vec<&PodFacts> = pods.filter(|pod| pod.agent_of.as_deref().is_some_and(gone)).collect();
    if orphans.is_empty() {
        return orphans;
    }
    let tables = sites.values().filter_map(|site| site.tables.as_ref());
    let wanted: BTreeSet<String> =
        tables.flat_map(|tables| tables.wanted.iter().map(|want| want.name.clone())).collect();
    orphans.into_iter().filter(|pod| pod.agent_of.as_ref().is_none_or(|load| !wanted.contains(load))).collect()
}

fn write(one: Do<'_>, cache: &Cache, options: &Options, pods: &PodOptions) -> Option<(Key, Purposed)> {
    match one {
        Do::Make(name) => {
            let key = Key::namespaced(Kind::ControllableLoad, &options.namespace, name);
            let spec = &cache.load(&key)?.spec;
            let pod = template(name, &spec.budget, &spec.owner, &options.namespace, pods);
            let write = Write::CreateAgent { load: key.clone(), pod: Box::new(pod) };
            Some((key, (write, Purpose::Agent { load: name.into() })))
        }
        Do::Delete(pod) => Some((Key::namespaced(Kind::Pod, &pod.namespace, &pod.name), deletion(pod))),
    }
}

fn deletion(pod: &PodFacts) -> Purposed {
    let key = Key::namespaced(Kind::Pod, &pod.namespace, &pod.name);
    let load = pod.agent_of.clone().unwrap_or_default();
    (Write::DeletePod { pod: key, uid: pod.uid.clone(), grace: None }, Purpose::Agent { load })
}

#[cfg(test)]
mod tests;
