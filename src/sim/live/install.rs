//! What a demo makes in a cluster, and how it is taken away again: everything bears one label.

use crate::api::manifest::Object as Manifest;
use crate::api::{
    CHECKPOINT_DONE_ANNOTATION, ComputeLease, ControllableLoad, GROUP, GpuPool, GridEvent, LEASE_LABEL, LeaseClass,
    Lockout, MiningFleet, PowerBudget, VERSION, crd,
};
use crate::sim::ground::{NAMESPACE, Submission};
use crate::store::{Key, Kind, NodeFacts};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Node};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionCondition,
};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Client, Resource, ResourceExt};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// The label of everything that a demo made.
pub const MARK: &str = "ampacity.dev/demo";
/// The field manager of what people apply in a demo.
pub const MANAGER: &str = "ampacity-demo";
/// kwok plays the nodes that bear this annotation; the same key as a taint keeps others' pods away.
const FAKE_NODE: &str = "kwok.x-k8s.io/node";
/// Until a definition is served, a node takes pods, a namespace is gone.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Makes and takes away.
pub(super) struct Installer {
    client: Client,
    namespaces: Mutex<BTreeSet<String>>,
}

fn said(what: &str) -> impl Fn(kube::Error) -> String {
    move |error| match error {
        kube::Error::Api(status) => format!("{what}: {}", status.message),
        other => format!("{what}: {other}"),
    }
}

/// An error that means that there is nothing.
fn missing(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// An object that exists already is as good as made.
fn made<T>(result: kube::Result<T>) -> kube::Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        other => other.map(drop),
    }
}

fn gone<T>(result: kube::Result<T>) -> kube::Result<()> {
    match result {
        Err(error) if missing(&error) => Ok(()),
        other => other.map(drop),
    }
}

/// Looks until it is so. An error is "not yet": an API server that is busy says so.
async fn until<F: Future<Output = kube::Result<bool>>>(what: &str, mut look: impl FnMut() -> F) -> Result<(), String> {
    let started = Instant::now();
    loop {
        let looked = look().await;
        match looked {
            Ok(true) => return Ok(()),
            Err(error) if started.elapsed() > PATIENCE => return Err(said(what)(error)),
            Ok(false) if started.elapsed() > PATIENCE => {
                return Err(format!("{what}: not so after {} s", PATIENCE.as_secs()));
            }
            _ => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// The key of a manifest's object.
pub(super) fn key(object: &Manifest) -> Key {
    let (kind, meta) = (kind(object).0, object.meta());
    let namespace = meta.namespace.as_deref().map(Into::into);
    Key { kind, namespace, name: meta.name.as_deref().unwrap_or_default().into() }
}

fn kind(object: &Manifest) -> (Kind, ApiResource) {
    match object {
        Manifest::PowerBudget(_) => (Kind::PowerBudget, ApiResource::erase::<PowerBudget>(&())),
        Manifest::MiningFleet(_) => (Kind::MiningFleet, ApiResource::erase::<MiningFleet>(&())),
        Manifest::GpuPool(_) => (Kind::GpuPool, ApiResource::erase::<GpuPool>(&())),
        Manifest::LeaseClass(_) => (Kind::LeaseClass, ApiResource::erase::<LeaseClass>(&())),
        Manifest::ComputeLease(_) => (Kind::ComputeLease, ApiResource::erase::<ComputeLease>(&())),
        Manifest::GridEvent(_) => (Kind::GridEvent, ApiResource::erase::<GridEvent>(&())),
        Manifest::Lockout(_) => (Kind::Lockout, ApiResource::erase::<Lockout>(&())),
        Manifest::ControllableLoad(_) => (Kind::ControllableLoad, ApiResource::erase::<ControllableLoad>(&())),
    }
}

fn value(object: &Manifest) -> Result<Value, serde_json::Error> {
    match object {
        Manifest::PowerBudget(it) => serde_json::to_value(it),
        Manifest::MiningFleet(it) => serde_json::to_value(it),
        Manifest::GpuPool(it) => serde_json::to_value(it),
        Manifest::LeaseClass(it) => serde_json::to_value(it),
        Manifest::ComputeLease(it) => serde_json::to_value(it),
        Manifest::GridEvent(it) => serde_json::to_value(it),
        Manifest::Lockout(it) => serde_json::to_value(it),
        Manifest::ControllableLoad(it) => serde_json::to_value(it),
    }
}

/// A tenant acknowledges a checkpoint.
pub(super) async fn acknowledge(client: &Client, job: &Key, id: &str) -> Result<(), String> {
    let jobs: Api<Job> = Api::namespaced(client.clone(), job.namespace.as_deref().unwrap_or_default());
    let patch = json!({"metadata": {"annotations": {CHECKPOINT_DONE_ANNOTATION: id}}});
    let patched = jobs.patch(&job.name, &PatchParams::default(), &Patch::Merge(&patch)).await;
    gone(patched).map_err(said("acknowledging a checkpoint"))
}

impl Installer {
    pub(super) fn new(client: Client) -> Self {
        Self { client, namespaces: Mutex::default() }
    }

    /// Definitions, the operators' namespace, and nothing left of an earlier demo.
    pub(super) async fn install(&self) -> Result<(), String> {
        let crds: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let all = crd::all().map_err(|error| error.to_string())?;
        self.refuse_foreign().await?;
        for crd in &all {
            let params = PatchParams::apply(MANAGER).force();
            let applied = crds.patch(&crd.name_any(), &params, &Patch::Apply(crd)).await;
            applied.map_err(said("applying the definitions"))?;
        }
        for crd in &all {
            let kind = GroupVersionKind::gvk(GROUP, VERSION, &crd.spec.names.kind);
            let resource = ApiResource::from_gvk_with_plural(&kind, &crd.spec.names.plural);
            let objects: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
            let (name, objects, crds) = (crd.name_any(), &objects, &crds);
            until(&format!("{name} to be served"), || async {
                let established = crds.get(&crd.name_any()).await?.status.and_then(|status| status.conditions);
                let is_so =
                    |one: &CustomResourceDefinitionCondition| one.type_ == "Established" && one.status == "True";
                // Established is served a moment later.
                Ok(established.is_some_and(|all| all.iter().any(is_so))
                    && objects.list_metadata(&ListParams::default().limit(1)).await.is_ok())
            })
            .await?;
        }
        self.clear().await?;
        self.namespace(NAMESPACE).await
    }

    /// The demo's operators would decide over every site of the cluster: there must be none but the demo's.
    async fn refuse_foreign(&self) -> Result<(), String> {
        let budgets: Api<PowerBudget> = Api::all(self.client.clone());
        let all = match budgets.list_metadata(&ListParams::default()).await {
            Err(error) if missing(&error) => return Ok(()),
            other => other.map_err(said("reading the cluster's sites"))?,
        };
        match all.items.iter().find(|budget| !budget.labels().contains_key(MARK)) {
            None => Ok(()),
            Some(budget) => Err(format!(
                "this cluster has a site of its own, PowerBudget {:?}: a demo belongs on a cluster without one",
                budget.name_any()
            )),
        }
    }

    async fn namespace(&self, name: &str) -> Result<(), String> {
        if !self.namespaces.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned()) {
            return Ok(());
        }
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(name.into());
        namespace.metadata.labels = Some([(MARK.into(), "true".into())].into());
        let api: Api<Namespace> = Api::all(self.client.clone());
        made(api.create(&PostParams::default(), &namespace).await).map_err(said(&format!("making namespace {name}")))
    }

    /// A person applies an object.
    pub(super) async fn apply(&self, object: &Manifest) -> Result<(), String> {
        let (kind, resource) = kind(object);
        let mut value = value(object).map_err(|error| error.to_string())?;
        let name = object.meta().name.clone().unwrap_or_default();
        let what = format!("applying {} {name}", resource.kind);
        let namespace = match (&object.meta().namespace, kind) {
            (None, Kind::ControllableLoad) => Some(NAMESPACE.to_owned()),
            (namespace, _) => namespace.clone(),
        };
        let api: Api<DynamicObject> = match &namespace {
            Some(namespace) => {
                self.namespace(namespace).await?;
                Api::namespaced_with(self.client.clone(), namespace, &resource)
            }
            None => Api::all_with(self.client.clone(), &resource),
        };
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            let labels = metadata.entry("labels").or_insert_with(|| json!({}));
            if let Some(labels) = labels.as_object_mut() {
                labels.insert(MARK.into(), "true".into());
            }
        }
        if let Some(fields) = value.as_object_mut() {
            fields.remove("status");
        }
        let params = PatchParams::apply(MANAGER).force();
        api.patch(&name, &params, &Patch::Apply(&value)).await.map(drop).map_err(said(&what))
    }

    /// A person deletes an object of ours.
    pub(super) async fn delete(&self, key: &Key) -> Result<(), String> {
        let (client, name) = (self.client.clone(), &*key.name);
        let at = key.namespace.as_deref().unwrap_or(NAMESPACE);
        let params = DeleteParams::background();
        let deleted = match key.kind {
            Kind::PowerBudget => Api::<PowerBudget>::all(client).delete(name, &params).await.map(drop),
            Kind::MiningFleet => Api::<MiningFleet>::all(client).delete(name, &params).await.map(drop),
            Kind::GpuPool => Api::<GpuPool>::all(client).delete(name, &params).await.map(drop),
            Kind::LeaseClass => Api::<LeaseClass>::all(client).delete(name, &params).await.map(drop),
            Kind::GridEvent => Api::<GridEvent>::all(client).delete(name, &params).await.map(drop),
            Kind::Lockout => Api::<Lockout>::all(client).delete(name, &params).await.map(drop),
            Kind::ComputeLease => Api::<ComputeLease>::namespaced(client, at).delete(name, &params).await.map(drop),
            Kind::ControllableLoad => {
                Api::<ControllableLoad>::namespaced(client, at).delete(name, &params).await.map(drop)
            }
            Kind::Job => Api::<Job>::namespaced(client, at).delete(name, &params).await.map(drop),
            Kind::Pod | Kind::Node | Kind::Leadership => return Err(format!("{key}: nobody deletes these here")),
        };
        deleted.map_err(said(&format!("deleting {key}")))
    }

    /// A node that kwok plays, unless there is one of its name; returns when it takes pods.
    pub(super) async fn join(&self, facts: &NodeFacts) -> Result<(), String> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let mut labels: BTreeMap<&str, &str> =
            facts.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        labels.extend([("kubernetes.io/hostname", facts.name.as_str()), ("kubernetes.io/os", "linux"), (MARK, "true")]);
        let gpus = facts.gpus.to_string();
        let resources = json!({"cpu": "128", "memory": "2Ti", "pods": "256", "nvidia.com/gpu": gpus});
        let node = json!({
            "metadata": {"name": facts.name, "labels": labels, "annotations": {FAKE_NODE: "fake"}},
            "spec": {"taints": [{"key": FAKE_NODE, "value": "fake", "effect": "NoSchedule"}]},
            "status": {"capacity": resources, "allocatable": resources},
        });
        let node: Node = serde_json::from_value(node).map_err(|error| error.to_string())?;
        let what = format!("making node {}", facts.name);
        made(nodes.create(&PostParams::default(), &node).await).map_err(said(&what))
    }

    /// A tenant submits a Job, suspended: `pods.1` pods of `pods.0` GPUs each. On which nodes is the operator's to say.
    pub(super) async fn submit(&self, job: &Submission<'_>, pods: (u32, u32)) -> Result<(), String> {
        self.namespace(job.namespace).await?;
        let labels = json!({LEASE_LABEL: job.lease, MARK: "true"});
        let manifest = json!({
            "metadata": {"name": job.name, "labels": labels},
            "spec": {
                "suspend": true, "parallelism": pods.1, "completions": pods.1,
                "template": {
                    "metadata": {"labels": {LEASE_LABEL: job.lease}},
                    "spec": {
                        "restartPolicy": "Never",
                        "tolerations": [{"key": FAKE_NODE, "operator": "Exists"}],
                        "containers": [{
                            "name": "train", "image": "none",
                            "resources": {"limits": {"nvidia.com/gpu": pods.0.to_string()}},
                        }],
                    },
                },
            },
        });
        let manifest: Job = serde_json::from_value(manifest).map_err(|error| error.to_string())?;
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), job.namespace);
        let what = format!("submitting Job {}/{}", job.namespace, job.name);
        made(jobs.create(&PostParams::default(), &manifest).await).map_err(said(&what))
    }

    /// Takes away everything that bears the label, and the loads that came of it. The definitions stay: others' objects
    /// would go with them.
    pub(super) async fn clear(&self) -> Result<(), String> {
        let ours = ListParams::default().labels(MARK);
        self.clear_kind::<ComputeLease>(None, &ours).await?;
        self.clear_kind::<GridEvent>(None, &ours).await?;
        self.clear_kind::<Lockout>(None, &ours).await?;
        self.clear_kind::<LeaseClass>(None, &ours).await?;
        self.clear_kind::<MiningFleet>(None, &ours).await?;
        self.clear_kind::<GpuPool>(None, &ours).await?;
        let had_a_site = self.clear_kind::<PowerBudget>(None, &ours).await?;
        self.clear_kind::<Job>(None, &ours).await?;
        if had_a_site {
            // The operators made them for the demo's site: there is no other.
            self.clear_kind::<ControllableLoad>(Some(NAMESPACE), &ListParams::default()).await?;
        }
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let list = namespaces.list_metadata(&ours).await.map_err(said("reading namespaces"))?;
        for namespace in &list.items {
            let deleted = namespaces.delete(&namespace.name_any(), &DeleteParams::background()).await;
            gone(deleted).map_err(said("deleting a namespace"))?;
        }
        // With their nodes gone first, nobody would end the pods.
        until("the demo's namespaces to be gone", || async {
            Ok(namespaces.list_metadata(&ours).await?.items.is_empty())
        })
        .await?;
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.clear_kind::<Node>(None, &ours).await.map(drop)
    }

    /// Deletes all of one kind, whatever holds it; whether there was one.
    async fn clear_kind<K>(&self, within: Option<&str>, which: &ListParams) -> Result<bool, String>
    where
        K: Resource<DynamicType = ()>,
    {
        let resource = ApiResource::erase::<K>(&());
        let what = format!("deleting the demo's {}", resource.plural);
        let all: Api<DynamicObject> = match within {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let list = all.list_metadata(which).await.map_err(said(&what))?;
        for object in &list.items {
            let one: Api<DynamicObject> = match object.namespace() {
                Some(namespace) => Api::namespaced_with(self.client.clone(), &namespace, &resource),
                None => Api::all_with(self.client.clone(), &resource),
            };
            let name = object.name_any();
            if !object.finalizers().is_empty() {
                let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
                gone(one.patch_metadata(&name, &PatchParams::default(), &patch).await).map_err(said(&what))?;
            }
            gone(one.delete(&name, &DeleteParams::background()).await).map_err(said(&what))?;
        }
        Ok(!list.items.is_empty())
    }
}
