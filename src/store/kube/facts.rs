//! From what the API server shows to the port's objects: the eight kinds whole, of the others what we use.

use crate::api::{
    AGENT_TEMPLATE_ANNOTATION, ComputeLease, ControllableLoad, GpuPool, GridEvent, LEASE_LABEL, LOAD_LABEL,
    LOCKED_OUT_ANNOTATION, LeaseClass, Lockout, MiningFleet, PowerBudget,
};
use crate::store::{
    JobFacts, Key, Kind, LEADERSHIP_NAME, LeadershipFacts, NodeFacts, Object, PodFacts, time as core_time,
};
use ampacity_core::units::{Span, Time};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

/// Annotation of the leader's Lease: its epoch. A Lease has no field for it.
pub const EPOCH_ANNOTATION: &str = "ampacity.dev/epoch";

/// Annotation of the leader's Lease: where its link is reached, `host:port`. Agents watch this Lease anyway, so a new
/// leader's address reaches them with its first renewal, and nothing has to find out which of several pods leads.
pub const LINK_ANNOTATION: &str = "ampacity.dev/link-address";

/// The prefix of our own annotations.
const PREFIX: &str = "ampacity.dev/";
/// The extended resource of NVIDIA's device plugin.
const GPU_RESOURCE: &str = "nvidia.com/gpu";
/// A Job with this label is Kueue's to suspend.
const QUEUE_LABEL: &str = "kueue.x-k8s.io/queue-name";
/// The Job controller's own name in `spec.managedBy`.
const JOB_CONTROLLER: &str = "kubernetes.io/job-controller";

/// A kind of the API server that the port shows.
pub(super) trait Shown: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + 'static {
    /// Its sort.
    const KIND: Kind;

    /// What the port shows of it. `namespace` is the operator's own.
    ///
    /// # Errors
    /// It cannot be made sense of: the field, the value and what would be right.
    fn object(self, namespace: &str) -> Result<Object, String>;
}

/// The port's key of an object with this metadata.
pub(super) fn key(kind: Kind, meta: &ObjectMeta) -> Key {
    let namespace = meta.namespace.as_deref().filter(|_| kind != Kind::Leadership);
    Key { kind, namespace: namespace.map(Into::into), name: meta.name.as_deref().unwrap_or_default().into() }
}

macro_rules! whole {
    ($($kind:ident),*) => {$(
        impl Shown for $kind {
            const KIND: Kind = Kind::$kind;

            fn object(mut self, _: &str) -> Result<Object, String> {
                // Who wrote which field is nobody's business here, and half of an object's size.
                self.metadata.managed_fields = None;
                Ok(Object::$kind(Arc::new(self)))
            }
        }
    )*};
}
whole!(PowerBudget, MiningFleet, GpuPool, LeaseClass, ComputeLease, GridEvent, Lockout, ControllableLoad);

impl Shown for Job {
    const KIND: Kind = Kind::Job;

    fn object(self, _: &str) -> Result<Object, String> {
        let (meta, spec, status) = (self.metadata, self.spec.unwrap_or_default(), self.status.unwrap_or_default());
        let labels = meta.labels.unwrap_or_default();
        let ended = |c: &k8s_openapi::api::batch::v1::JobCondition| {
            matches!(c.type_.as_str(), "Complete" | "Failed") && c.status == "True"
        };
        let other_manager = spec.managed_by.as_deref().is_some_and(|by| by != JOB_CONTROLLER);
        let mut annotations = meta.annotations.unwrap_or_default();
        annotations.retain(|name, _| name.starts_with(PREFIX));
        Ok(Object::Job(Arc::new(JobFacts {
            namespace: meta.namespace.unwrap_or_default(),
            name: meta.name.unwrap_or_default(),
            uid: meta.uid.unwrap_or_default(),
            lease: labels.get(LEASE_LABEL).cloned().unwrap_or_default(),
            suspended: spec.suspend.unwrap_or(false),
            started: status.start_time.is_some(),
            parallelism: count(spec.parallelism.or(Some(1))),
            gpus_per_pod: spec.template.spec.as_ref().map_or(0, gpus),
            grace: grace(spec.template.spec.as_ref()),
            node_selector: spec.template.spec.and_then(|spec| spec.node_selector).unwrap_or_default(),
            active: count(status.active),
            terminating: count(status.terminating),
            finished: status.conditions.unwrap_or_default().iter().any(ended),
            annotations,
            managed_elsewhere: other_manager || labels.contains_key(QUEUE_LABEL),
            created: meta.creation_timestamp.as_ref().map(core_time),
            revision: meta.resource_version.unwrap_or_default(),
        })))
    }
}

impl Shown for Pod {
    const KIND: Kind = Kind::Pod;

    fn object(self, namespace: &str) -> Result<Object, String> {
        let (meta, spec) = (self.metadata, self.spec.unwrap_or_default());
        let status = self.status.unwrap_or_default();
        let phase = status.phase.unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let mut annotations = meta.annotations.unwrap_or_default();
        let template = annotations.remove(AGENT_TEMPLATE_ANNOTATION);
        annotations.retain(|name, _| name.starts_with(PREFIX));
        let owners = meta.owner_references.unwrap_or_default();
        let job = owners.into_iter().find(|owner| owner.kind == "Job" && owner.controller == Some(true));
        let own = meta.namespace.as_deref() == Some(namespace);
        Ok(Object::Pod(Arc::new(PodFacts {
            // A tenant's pod is nobody's agent, whatever label it wears.
            agent_of: meta.labels.and_then(|mut labels| labels.remove(LOAD_LABEL)).filter(|_| own),
            namespace: meta.namespace.unwrap_or_default(),
            name: meta.name.unwrap_or_default(),
            uid: meta.uid.unwrap_or_default(),
            job: job.map(|owner| owner.name),
            gpus: gpus(&spec),
            node: spec.node_name,
            running: phase == "Running",
            finished: phase == "Succeeded" || phase == "Failed",
            terminating: meta.deletion_timestamp.is_some(),
            ready: conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True"),
            template: template.filter(|_| own),
            annotations,
            revision: meta.resource_version.unwrap_or_default(),
        })))
    }
}

impl Shown for Node {
    const KIND: Kind = Kind::Node;

    fn object(self, _: &str) -> Result<Object, String> {
        let status = self.status.unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let annotations = self.metadata.annotations.unwrap_or_default();
        Ok(Object::Node(Arc::new(NodeFacts {
            name: self.metadata.name.unwrap_or_default(),
            labels: self.metadata.labels.unwrap_or_default(),
            gpus: status.allocatable.as_ref().map_or(0, gpu_count),
            ready: conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True"),
            unschedulable: self.spec.is_some_and(|spec| spec.unschedulable == Some(true)),
            locked_out: annotations.contains_key(LOCKED_OUT_ANNOTATION),
        })))
    }
}

impl Shown for Lease {
    const KIND: Kind = Kind::Leadership;

    fn object(self, _: &str) -> Result<Object, String> {
        let (meta, spec) = (self.metadata, self.spec.unwrap_or_default());
        let epoch = match meta.annotations.as_ref().and_then(|all| all.get(EPOCH_ANNOTATION)) {
            None => 0,
            Some(text) => text.parse().map_err(|_| {
                format!("Lease {LEADERSHIP_NAME}: annotation {EPOCH_ANNOTATION} is {text:?}, not a whole number")
            })?,
        };
        let link = meta.annotations.as_ref().and_then(|all| all.get(LINK_ANNOTATION)).cloned();
        Ok(Object::Leadership(Arc::new(LeadershipFacts {
            link: link.unwrap_or_default(),
            holder: spec.holder_identity.unwrap_or_default(),
            epoch,
            renewed: spec.renew_time.map_or(Time::ZERO, |at| Time::new(at.0.as_millisecond())),
            duration: Span::seconds(i64::from(spec.lease_duration_seconds.unwrap_or(0))),
            transitions: count(spec.lease_transitions),
            revision: meta.resource_version.unwrap_or_default(),
        })))
    }
}

/// How long a pod of this template may go on once it is stopped: what the API server fills in where nothing is said.
fn grace(spec: Option<&PodSpec>) -> Span {
    const USUAL_SECONDS: i64 = 30;
    Span::seconds(spec.and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(USUAL_SECONDS))
}

fn count(number: Option<i32>) -> u32 {
    number.and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
}

/// The GPUs of a pod as the scheduler counts them: its containers' together, or one init container's if that is more.
fn gpus(spec: &PodSpec) -> u32 {
    let limits = |c: &k8s_openapi::api::core::v1::Container| {
        c.resources.as_ref().and_then(|r| r.limits.as_ref()).map_or(0, gpu_count)
    };
    let together = spec.containers.iter().map(limits).fold(0, u32::saturating_add);
    let first = spec.init_containers.iter().flatten().map(limits).max().unwrap_or(0);
    together.max(first)
}

/// GPUs are whole; what is written otherwise is none, and the API server refuses it.
fn gpu_count(resources: &BTreeMap<String, Quantity>) -> u32 {
    resources.get(GPU_RESOURCE).and_then(|quantity| quantity.0.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn shown<K: Shown>(value: Value) -> Result<Object, String> {
        serde_json::from_value::<K>(value).map_err(|e| e.to_string())?.object("ampacity")
    }

    #[test]
    fn a_job_is_read_for_its_switch_its_size_and_whose_it_is() {
        let container = json!({"name": "a", "resources": {"limits": {"nvidia.com/gpu": "4"}}});
        let job = json!({
            "metadata": {"name": "train", "namespace": "tenant-a", "uid": "u", "resourceVersion": "7",
                "labels": {"ampacity.dev/lease": "llm", "kueue.x-k8s.io/queue-name": "q"},
                "annotations": {"ampacity.dev/checkpoint-done": "3", "other": "x"}},
            "spec": {"suspend": true, "parallelism": 2, "template": {"spec":
                {"containers": [container, container], "terminationGracePeriodSeconds": 900,
                    "nodeSelector": {"ampacity.dev/pool": "h100"}}}},
            "status": {"startTime": "2026-12-01T12:00:00Z", "active": 2, "terminating": 1, "conditions": [{"type": "Failed", "status": "True"}]},
        });
        let facts = JobFacts {
            namespace: "tenant-a".into(),
            name: "train".into(),
            uid: "u".into(),
            lease: "llm".into(),
            suspended: true,
            started: true,
            node_selector: [("ampacity.dev/pool".into(), "h100".into())].into(),
            parallelism: 2,
            gpus_per_pod: 8,
            grace: Span::seconds(900),
            active: 2,
            terminating: 1,
            finished: true,
            annotations: [("ampacity.dev/checkpoint-done".into(), "3".into())].into(),
            managed_elsewhere: true,
            created: None,
            revision: "7".into(),
        };
        assert_eq!(shown::<Job>(job), Ok(Object::Job(Arc::new(facts))));
    }

    #[test]
    fn a_pod_outside_the_operators_namespace_is_no_agent_whatever_label_it_wears() {
        let pod = |namespace: &str| json!({"metadata": {"name": "p", "namespace": namespace, "labels": {"ampacity.dev/load": "hall-a-0"}}});
        let agent_of = |namespace| match shown::<Pod>(pod(namespace)) {
            Ok(Object::Pod(facts)) => facts.agent_of.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(agent_of("ampacity"), Some("hall-a-0".into()));
        assert_eq!(agent_of("tenant-a"), None);
    }

    #[test]
    fn a_lease_whose_epoch_is_no_number_cannot_be_read() {
        let lease = json!({"metadata": {"name": LEADERSHIP_NAME, "annotations": {"ampacity.dev/epoch": "x"}}});
        let said = "Lease ampacity-operator: annotation ampacity.dev/epoch is \"x\", not a whole number";
        assert_eq!(shown::<Lease>(lease), Err(said.into()));
    }
}
