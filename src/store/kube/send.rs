//! One write as requests, and what the API server's answer means.

use super::facts::Shown;
use super::patch::{cordon_patch, job_patch, lease_patch, new_lease, note_patch, order_patch, put, statement_patch};
use crate::api::{
    AGENT_MANAGER, BUDGET_FINALIZER, ComputeLease, ControllableLoad, GROUP, GpuPool, GridEvent, LOAD_FINALIZER,
    LeaseClass, Lockout, MiningFleet, OPERATOR_MANAGER, PowerBudget, REPORT_MANAGER, VERSION,
};
use crate::store::{Answer, Key, Kind, LEADERSHIP_NAME, LeadershipFacts, Object, Refusal, Status, Write};
use ampacity_core::units::Span;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A finalizer is put into a list that others write too: so often it is tried again when one of them was faster.
const FINALIZER_TRIES: usize = 4;
/// The longest note that the API server takes in an Event, bytes.
const NOTE_MAX: usize = 1024;
/// So much of its object's name begins an Event's: names end at 253 characters.
const EVENT_NAME_MAX: usize = 200;
type Sent = Result<Option<Object>, Failure>;

/// Why a write was not accepted.
enum Failure {
    Refused(Refusal),
    Kube(kube::Error),
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        Self::Kube(error)
    }
}

/// Makes requests of writes.
pub(super) struct Sender {
    pub(super) client: Client,
    /// The operator's own.
    pub(super) namespace: Arc<str>,
    /// Whose Events they are.
    pub(super) instance: String,
    pub(super) events: AtomicU64,
}

impl Sender {
    /// One write, with no time-out of its own. `about` is the UID of what an Event is about.
    pub(super) async fn send(&self, write: Write, about: Option<String>) -> Answer {
        match self.try_send(write, about).await {
            Ok(object) => Answer::Accepted(object),
            Err(Failure::Refused(refusal)) => Answer::Refused(refusal),
            Err(Failure::Kube(error)) => answer(&error),
        }
    }

    async fn try_send(&self, write: Write, about: Option<String>) -> Sent {
        match write {
            Write::CreateLoad(load) => {
                let api: Api<ControllableLoad> = self.within(load.metadata.namespace.as_deref());
                self.shown(api.create(&by(OPERATOR_MANAGER), &load).await?)
            }
            Write::CreateAgent { load, pod } => {
                let pod: Pod = serde_json::from_value(*pod)
                    .map_err(|e| Failure::Refused(Refusal::Invalid(format!("the agent's pod: {e}"))))?;
                let api: Api<Pod> = self.within(load.namespace.as_deref());
                self.shown(api.create(&by(OPERATOR_MANAGER), &pod).await?)
            }
            Write::Order { load, order, setpoint, fallback, schedule } => {
                let spec = order_patch(order, setpoint, fallback, schedule.as_deref());
                let api: Api<ControllableLoad> = self.within(load.namespace.as_deref());
                self.merge(&api, &load, OPERATOR_MANAGER, &json!({ "spec": spec })).await
            }
            Write::State { load, status, revision } => {
                let api: Api<ControllableLoad> = self.within(load.namespace.as_deref());
                let patch = Patch::Merge(statement_patch(&status, revision.as_deref()));
                self.shown(api.patch_status(&load.name, &PatchParams::apply(AGENT_MANAGER), &patch).await?)
            }
            Write::Status { key, status, revision } => self.status(&key, *status, revision.as_deref()).await,
            Write::Lead { facts, revision } => self.lead(&facts, revision.as_deref()).await,
            Write::Job { job, uid, suspend, node_selector, annotations } => {
                let api: Api<Job> = self.within(job.namespace.as_deref());
                let patch = job_patch(&uid, suspend, &node_selector, &annotations);
                self.merge(&api, &job, OPERATOR_MANAGER, &patch).await.map_err(another_one)
            }
            Write::NotePod { pod, uid, annotations } => {
                let api: Api<Pod> = self.within(pod.namespace.as_deref());
                let patch = note_patch(&uid, &annotations);
                self.merge(&api, &pod, OPERATOR_MANAGER, &patch).await.map_err(another_one)
            }
            Write::DeletePod { pod, uid, grace } => self.delete_pod(&pod, uid, grace).await,
            Write::Cordon { node, on } => {
                let api: Api<Node> = Api::all(self.client());
                self.merge(&api, &node, OPERATOR_MANAGER, &cordon_patch(on)).await
            }
            Write::Finalizer { key, present } => match key.kind {
                Kind::PowerBudget => self.finalizer::<PowerBudget>(&Api::all(self.client()), &key, present).await,
                Kind::ControllableLoad => {
                    let api = self.within(key.namespace.as_deref());
                    self.finalizer::<ControllableLoad>(&api, &key, present).await
                }
                _ => Err(refused(format!("{key}: this kind has no finalizer of ours"))),
            },
            Write::Delete(key) => self.delete(&key).await,
            Write::Event { regarding, warning, reason, action, note } => {
                let regarding = ObjectReference { uid: about, ..reference(&regarding, &self.namespace) };
                self.event(regarding, warning, reason, action, &note).await
            }
        }
    }

    fn client(&self) -> Client {
        self.client.clone()
    }

    fn within<K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>>(&self, namespace: Option<&str>) -> Api<K> {
        Api::namespaced(self.client(), namespace.unwrap_or(&self.namespace))
    }

    /// The object that was returned. One that its last finalizer just left is gone, though it was returned once more.
    fn shown<K: Shown>(&self, object: K) -> Sent {
        let meta = object.meta();
        if meta.deletion_timestamp.is_some() && object.finalizers().is_empty() && K::KIND != Kind::Pod {
            return Ok(None);
        }
        // Accepted, but not to be understood: the watch says so too.
        Ok(object.object(&self.namespace).ok())
    }

    async fn merge<K: Shown>(&self, api: &Api<K>, key: &Key, manager: &str, patch: &Value) -> Sent {
        let params = PatchParams { field_manager: Some(manager.into()), ..PatchParams::default() };
        self.shown(api.patch(&key.name, &params, &Patch::Merge(patch)).await?)
    }

    async fn status(&self, key: &Key, status: Status, at: Option<&str>) -> Sent {
        let all = self.client();
        match status {
            Status::PowerBudget(status) => self.apply::<PowerBudget>(&Api::all(all), key, &status, at).await,
            Status::MiningFleet(status) => self.apply::<MiningFleet>(&Api::all(all), key, &status, at).await,
            Status::GpuPool(status) => self.apply::<GpuPool>(&Api::all(all), key, &status, at).await,
            Status::LeaseClass(status) => self.apply::<LeaseClass>(&Api::all(all), key, &status, at).await,
            Status::ComputeLease(status) => {
                self.apply::<ComputeLease>(&self.within(key.namespace.as_deref()), key, &status, at).await
            }
            Status::GridEvent(status) => self.apply::<GridEvent>(&Api::all(all), key, &status, at).await,
            Status::Lockout(status) => self.apply::<Lockout>(&Api::all(all), key, &status, at).await,
        }
    }

    /// Server-side apply: fields that an earlier report set and this one does not are taken out; nobody else's are.
    async fn apply<K: Shown>(&self, api: &Api<K>, key: &Key, status: &impl Serialize, at: Option<&str>) -> Sent {
        if key.kind != K::KIND {
            return Err(refused("this status is of another kind".into()));
        }
        let status = serde_json::to_value(status).map_err(kube::Error::SerdeError)?;
        let mut body = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": K::kind(&()),
            "metadata": {"name": &*key.name},
            "status": status,
        });
        if let Some(revision) = at {
            put(&mut body, "metadata", "resourceVersion", revision.into());
        }
        let params = PatchParams::apply(REPORT_MANAGER).force();
        self.shown(api.patch_status(&key.name, &params, &Patch::Apply(&body)).await?)
    }

    /// A patch and not a replacement: a PUT on a Lease that is not there would create it.
    async fn lead(&self, facts: &LeadershipFacts, revision: Option<&str>) -> Sent {
        let api: Api<Lease> = self.within(None);
        match revision {
            None => {
                let lease = new_lease(facts).map_err(kube::Error::SerdeError)?;
                self.shown(api.create(&by(OPERATOR_MANAGER), &lease).await?)
            }
            Some(revision) => {
                let mut body = lease_patch(facts);
                put(&mut body, "metadata", "resourceVersion", revision.into());
                let key = Key::cluster(Kind::Leadership, LEADERSHIP_NAME);
                self.merge(&api, &key, OPERATOR_MANAGER, &body).await
            }
        }
    }

    async fn delete_pod(&self, pod: &Key, uid: String, grace: Option<Span>) -> Sent {
        let api: Api<Pod> = self.within(pod.namespace.as_deref());
        let seconds = grace.map(|grace| u32::try_from(grace.whole_seconds().max(0)).unwrap_or(u32::MAX));
        let params = DeleteParams {
            grace_period_seconds: seconds,
            preconditions: Some(Preconditions { uid: Some(uid), resource_version: None }),
            ..DeleteParams::default()
        };
        match api.delete(&pod.name, &params).await?.left() {
            // Without grace the pod goes at once, and what is returned is how it last stood.
            Some(gone) if gone.metadata.deletion_grace_period_seconds == Some(0) => Ok(None),
            Some(pod) => self.shown(pod),
            None => Ok(None),
        }
    }

    async fn delete(&self, key: &Key) -> Sent {
        let params = DeleteParams::background();
        match key.kind {
            Kind::ControllableLoad => {
                let api: Api<ControllableLoad> = self.within(key.namespace.as_deref());
                api.delete(&key.name, &params).await?;
            }
            Kind::Pod => {
                let api: Api<Pod> = self.within(key.namespace.as_deref());
                api.delete(&key.name, &params).await?;
            }
            _ => return Err(refused(format!("{key} is not the operator's to delete"))),
        }
        Ok(None)
    }

    async fn finalizer<K: Shown>(&self, api: &Api<K>, key: &Key, present: bool) -> Sent {
        let ours = if key.kind == Kind::PowerBudget { BUDGET_FINALIZER } else { LOAD_FINALIZER };
        let mut tries = FINALIZER_TRIES;
        loop {
            tries -= 1;
            let object = api.get(&key.name).await?;
            let mut list = object.finalizers().to_vec();
            if list.iter().any(|one| one == ours) == present {
                return self.shown(object);
            }
            list.retain(|one| one != ours);
            if present {
                list.push(ours.into());
            }
            let body = json!({"metadata": {"resourceVersion": object.resource_version(), "finalizers": list}});
            match self.merge(api, key, OPERATOR_MANAGER, &body).await {
                Err(Failure::Kube(kube::Error::Api(status))) if status.is_conflict() && tries > 0 => {}
                done => return done,
            }
        }
    }

    async fn event(&self, about: ObjectReference, warning: bool, reason: &str, action: &str, note: &str) -> Sent {
        let now = k8s_openapi::jiff::Timestamp::now();
        let serial = self.events.fetch_add(1, Ordering::Relaxed);
        let namespace = about.namespace.clone().unwrap_or_else(|| "default".into());
        let start: String = about.name.iter().flat_map(|name| name.chars()).take(EVENT_NAME_MAX).collect();
        let name = format!("{}.{:x}.{serial:x}", start.trim_end_matches(['-', '.']), now.as_microsecond());
        let mut event = Event {
            action: Some(action.into()),
            event_time: Some(MicroTime(now)),
            note: Some(note.chars().scan(0, within).collect()),
            reason: Some(reason.into()),
            regarding: Some(about),
            reporting_controller: Some("ampacity.dev/operator".into()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(if warning { "Warning" } else { "Normal" }.into()),
            ..Event::default()
        };
        event.metadata.name = Some(name);
        event.metadata.namespace = Some(namespace.clone());
        Api::<Event>::namespaced(self.client(), &namespace).create(&by(OPERATOR_MANAGER), &event).await?;
        Ok(None)
    }
}

/// A character while the text before it leaves room for it.
fn within(bytes: &mut usize, c: char) -> Option<char> {
    *bytes += c.len_utf8();
    (*bytes <= NOTE_MAX).then_some(c)
}

fn reference(about: &Key, own: &str) -> ObjectReference {
    let (version, kind) = match about.kind {
        Kind::Job => ("batch/v1".into(), "Job".into()),
        Kind::Pod | Kind::Node => ("v1".into(), format!("{:?}", about.kind)),
        Kind::Leadership => ("coordination.k8s.io/v1".into(), "Lease".into()),
        ours => (format!("{GROUP}/{VERSION}"), format!("{ours:?}")),
    };
    let namespace = if about.kind == Kind::Leadership { Some(own) } else { about.namespace.as_deref() };
    ObjectReference {
        api_version: Some(version),
        kind: Some(kind),
        name: Some(about.name.to_string()),
        namespace: namespace.map(Into::into),
        ..ObjectReference::default()
    }
}

fn by(manager: &str) -> PostParams {
    PostParams { field_manager: Some(manager.into()), ..PostParams::default() }
}

fn refused(why: String) -> Failure {
    Failure::Refused(Refusal::Invalid(why))
}

/// A patch of another UID is no conflict to the API server but a change of what cannot be changed.
fn another_one(failure: Failure) -> Failure {
    match failure {
        Failure::Kube(kube::Error::Api(status)) if status.is_invalid() => {
            let causes = status.details.iter().flat_map(|details| &details.causes);
            if causes.into_iter().any(|cause| cause.field == "metadata.uid") {
                return Failure::Refused(Refusal::Conflict("another one of this name".into()));
            }
            Failure::Kube(kube::Error::Api(status))
        }
        other => other,
    }
}

/// What an error means for the write. Whatever cannot be told apart from a write that landed is unknown.
fn answer(error: &kube::Error) -> Answer {
    let status = match error {
        kube::Error::Api(status) => status,
        kube::Error::BuildRequest(why) => return Answer::Refused(Refusal::Invalid(why.to_string())),
        _ => return Answer::Unknown,
    };
    let said = status.message.clone();
    Answer::Refused(match status.code {
        404 => Refusal::NotFound,
        409 if status.is_already_exists() => Refusal::Exists,
        409 => Refusal::Conflict(said),
        401 | 403 => Refusal::Forbidden(said),
        429 => Refusal::Busy,
        400..=499 => Refusal::Invalid(said),
        _ => return Answer::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status as Said;

    fn api(code: u16, reason: &str) -> kube::Error {
        kube::Error::Api(Box::new(Said { code, reason: reason.into(), message: "m".into(), ..Said::default() }))
    }

    #[test]
    fn what_may_have_landed_is_unknown_and_what_did_not_is_refused() {
        let refused = |refusal| Answer::Refused(refusal);
        let expected = [
            (404, "NotFound", refused(Refusal::NotFound)),
            (409, "AlreadyExists", refused(Refusal::Exists)),
            (409, "Conflict", refused(Refusal::Conflict("m".into()))),
            (403, "Forbidden", refused(Refusal::Forbidden("m".into()))),
            (422, "Invalid", refused(Refusal::Invalid("m".into()))),
            (429, "TooManyRequests", refused(Refusal::Busy)),
            (500, "InternalError", Answer::Unknown),
            (504, "Timeout", Answer::Unknown),
        ];
        for (code, reason, is) in expected {
            assert_eq!(answer(&api(code, reason)), is, "{code} {reason}");
        }
        assert_eq!(answer(&kube::Error::ReadEvents(std::io::Error::other("cut"))), Answer::Unknown);
    }
}
