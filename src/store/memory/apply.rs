//! What the server does with a write: the same rules as the real one's schema and policies.

use super::rules::{above_nameplate, fence, invalid, state_rules, still};
use super::server::{Recorded, Server};
use crate::api::{ControllableLoad, ControllableLoadSpec, ControllableLoadStatus, WholeWatts};
use crate::store::object::{api_limit, api_order, api_time};
use crate::store::{Answer, JobFacts, Key, Kind, LeadershipFacts, Object, PodFacts, Refusal, Status, Write};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Object {
    /// Sets the resource version, where the kind carries one.
    pub(super) fn set_revision(&mut self, revision: &str) {
        match self {
            Self::Job(job) => Arc::make_mut(job).revision = revision.into(),
            Self::Pod(pod) => Arc::make_mut(pod).revision = revision.into(),
            Self::Leadership(facts) => Arc::make_mut(facts).revision = revision.into(),
            own => {
                if let Some(meta) = own.meta_mut() {
                    meta.resource_version = Some(revision.into());
                }
            }
        }
    }
}

type Applied = Result<Option<Object>, Refusal>;

impl Server {
    /// Does one write, now.
    pub(super) fn apply(&mut self, write: Write) -> Answer {
        match self.try_apply(write) {
            Ok(object) => Answer::Accepted(object),
            Err(refusal) => Answer::Refused(refusal),
        }
    }

    fn try_apply(&mut self, write: Write) -> Applied {
        match write {
            Write::CreateLoad(load) => self.create(Object::ControllableLoad(Arc::from(load))),
            Write::CreateAgent { load, pod } => self.create(agent_pod(&load, &pod)),
            Write::Order { load, order, setpoint, fallback, schedule } => self.change_load(&load, |old, _| {
                let mut spec = old.spec.clone();
                spec.order = api_order(order);
                if let Some(watts) = setpoint {
                    spec.setpoint_watts = WholeWatts(watts.get());
                }
                if let Some(watts) = fallback {
                    spec.fallback_watts = WholeWatts(watts.get());
                }
                if let Some(limits) = &schedule {
                    spec.schedule = limits.iter().map(api_limit).collect();
                }
                fence(&old.spec, &spec)?;
                Ok((spec, old.status.clone()))
            }),
            Write::State { load, status, revision } => self.change_load(&load, |old, stands| {
                still(stands, revision.as_deref())?;
                state_rules(old, &status)?;
                Ok((old.spec.clone(), Some((*status).clone())))
            }),
            Write::Status { key, status, revision } => self.set_status(&key, *status, revision.as_deref()),
            Write::Lead { facts, revision } => self.lead(facts, revision.as_deref()),
            Write::Job { job, uid, suspend, node_selector, annotations } => self.modify(&job, |object| match object {
                Object::Job(facts) if facts.uid == uid => {
                    let facts = Arc::make_mut(facts);
                    switch(facts, suspend, node_selector)?;
                    annotate(&mut facts.annotations, annotations);
                    Ok(())
                }
                Object::Job(_) => Err(Refusal::Conflict("another Job of this name".into())),
                _ => Err(Refusal::NotFound),
            }),
            Write::NotePod { pod, uid, annotations } => self.modify(&pod, |object| match object {
                Object::Pod(facts) if facts.uid == uid => {
                    annotate(&mut Arc::make_mut(facts).annotations, annotations);
                    Ok(())
                }
                _ => Err(Refusal::Conflict("another pod of this name".into())),
            }),
            Write::DeletePod { pod, uid, grace: _ } => self.modify(&pod, |object| match object {
                Object::Pod(facts) if facts.uid == uid => {
                    Arc::make_mut(facts).terminating = true;
                    Ok(())
                }
                _ => Err(Refusal::Conflict("another pod of this name".into())),
            }),
            Write::Cordon { node, on } => self.modify(&node, |object| {
                let Object::Node(facts) = object else { return Err(Refusal::NotFound) };
                let facts = Arc::make_mut(facts);
                (facts.unschedulable, facts.locked_out) = (on, on);
                Ok(())
            }),
            Write::Finalizer { key, present } => self.finalize(&key, present),
            Write::Delete(key) => self.remove(&key).map(|()| None),
            Write::Event { regarding, warning, reason, action: _, note } => {
                self.recorded.push(Recorded { time: self.now, regarding, warning, reason, note });
                Ok(None)
            }
        }
    }

    fn create(&mut self, mut object: Object) -> Applied {
        let key = object.key();
        if self.objects.contains_key(&key) {
            return Err(Refusal::Exists);
        }
        if let Object::ControllableLoad(load) = &mut object {
            above_nameplate(&load.spec)?;
            // A status is a subresource: nobody is born with one.
            Arc::make_mut(load).status = None;
        }
        self.stamp(&mut object);
        self.store(&key, object);
        Ok(self.objects.get(&key).cloned())
    }

    /// Gives a new object what the server gives: a UID, a generation, the time.
    fn stamp(&mut self, object: &mut Object) {
        let uid = format!("{:08x}", self.revision + 1);
        let created = self.now;
        match object {
            Object::Job(job) => {
                let job = Arc::make_mut(job);
                job.uid = uid;
                job.created = Some(created);
            }
            Object::Pod(pod) => Arc::make_mut(pod).uid = uid,
            own => {
                if let Some(meta) = own.meta_mut() {
                    meta.uid = Some(uid);
                    meta.generation = Some(1);
                    meta.creation_timestamp = Some(api_time(created));
                }
            }
        }
    }

    /// Stores the object under a new revision and shows it.
    fn store(&mut self, key: &Key, mut object: Object) {
        object.set_revision(&self.next_revision());
        self.show(key, Some(&object));
        self.objects.insert(key.clone(), object);
    }

    fn modify(&mut self, key: &Key, change: impl FnOnce(&mut Object) -> Result<(), Refusal>) -> Applied {
        let mut object = self.objects.get(key).cloned().ok_or(Refusal::NotFound)?;
        change(&mut object)?;
        if self.objects.get(key) != Some(&object) {
            self.store(key, object);
        }
        Ok(self.objects.get(key).cloned())
    }

    fn change_load(
        &mut self,
        key: &Key,
        change: impl FnOnce(
            &ControllableLoad,
            &str,
        ) -> Result<(ControllableLoadSpec, Option<ControllableLoadStatus>), Refusal>,
    ) -> Applied {
        self.modify(key, |object| {
            let stands = object.revision().to_owned();
            let Object::ControllableLoad(load) = object else { return Err(Refusal::NotFound) };
            let (spec, status) = change(load, &stands)?;
            let load = Arc::make_mut(load);
            if load.spec != spec {
                load.metadata.generation = load.metadata.generation.map(|g| g + 1);
            }
            load.spec = spec;
            load.status = status;
            Ok(())
        })
    }

    fn set_status(&mut self, key: &Key, status: Status, revision: Option<&str>) -> Applied {
        self.modify(key, |object| {
            still(object.revision(), revision)?;
            match (object, status) {
                (Object::PowerBudget(o), Status::PowerBudget(s)) => Arc::make_mut(o).status = Some(s),
                (Object::MiningFleet(o), Status::MiningFleet(s)) => Arc::make_mut(o).status = Some(s),
                (Object::GpuPool(o), Status::GpuPool(s)) => Arc::make_mut(o).status = Some(s),
                (Object::LeaseClass(o), Status::LeaseClass(s)) => Arc::make_mut(o).status = Some(s),
                (Object::ComputeLease(o), Status::ComputeLease(s)) => Arc::make_mut(o).status = Some(s),
                (Object::GridEvent(o), Status::GridEvent(s)) => Arc::make_mut(o).status = Some(s),
                (Object::Lockout(o), Status::Lockout(s)) => Arc::make_mut(o).status = Some(s),
                _ => return Err(Refusal::Invalid("this status is of another kind".into())),
            }
            Ok(())
        })
    }

    fn lead(&mut self, facts: LeadershipFacts, revision: Option<&str>) -> Applied {
        let key = Key::cluster(Kind::Leadership, crate::store::LEADERSHIP_NAME);
        match (self.objects.get(&key).map(Object::revision), revision) {
            (None, Some(_)) => return Err(Refusal::NotFound),
            (Some(_), None) => return Err(Refusal::Exists),
            (Some(stands), Some(had)) if stands != had => {
                return Err(Refusal::Conflict("the object has been modified".into()));
            }
            _ => {}
        }
        self.store(&key, Object::Leadership(Arc::new(facts)));
        Ok(self.objects.get(&key).cloned())
    }

    fn finalize(&mut self, key: &Key, present: bool) -> Applied {
        let finalizer = match key.kind {
            Kind::PowerBudget => crate::api::BUDGET_FINALIZER,
            _ => crate::api::LOAD_FINALIZER,
        };
        self.modify(key, |object| {
            let meta = object.meta_mut().ok_or(Refusal::NotFound)?;
            let stands = meta.finalizers.iter().flatten().any(|f| f == finalizer);
            if present && !stands && meta.deletion_timestamp.is_some() {
                return Err(invalid("no new finalizers can be added if the object is being deleted"));
            }
            if present != stands {
                let finalizers = meta.finalizers.get_or_insert_default();
                finalizers.retain(|f| f != finalizer);
                if present {
                    finalizers.push(finalizer.into());
                }
            }
            Ok(())
        })?;
        let leaves = self
            .objects
            .get(key)
            .and_then(Object::meta)
            .is_some_and(|m| m.deletion_timestamp.is_some() && m.finalizers.as_ref().is_none_or(Vec::is_empty));
        if leaves {
            self.objects.remove(key);
            self.show(key, None);
        }
        Ok(self.objects.get(key).cloned())
    }

    /// A person or controller deletes an object: at once, or once its finalizers are gone.
    ///
    /// # Errors
    /// There is no such object.
    pub fn remove(&mut self, key: &Key) -> Result<(), Refusal> {
        let held = |o: &Object| o.meta().and_then(|m| m.finalizers.as_ref()).is_some_and(|f| !f.is_empty());
        let object = self.objects.get(key).ok_or(Refusal::NotFound)?;
        if held(object) {
            let at = api_time(self.now);
            self.modify(key, |object| {
                if let Some(meta) = object.meta_mut() {
                    meta.deletion_timestamp.get_or_insert(at);
                }
                Ok(())
            })?;
        } else {
            self.objects.remove(key);
            self.show(key, None);
        }
        Ok(())
    }

    /// An object vanishes whatever holds it: `kubectl delete` with its finalizers taken out by hand.
    pub fn vanish(&mut self, key: &Key) {
        if self.objects.remove(key).is_some() {
            self.show(key, None);
        }
    }

    /// A person applies an object: created, or its spec replaced under a new generation; its status stays.
    pub fn put(&mut self, mut object: Object) {
        let key = object.key();
        let Some(old) = self.objects.get(&key).cloned() else {
            self.stamp(&mut object);
            self.store(&key, object);
            return;
        };
        carry_over(&mut object, &old);
        if object != old {
            self.store(&key, object);
        }
    }

    /// A controller of the cluster changes an object as it likes.
    pub fn update(&mut self, key: &Key, change: impl FnOnce(&mut Object)) {
        let changed = self.modify(key, |object| {
            change(object);
            Ok(())
        });
        drop(changed);
    }
}

/// What stays when a spec is replaced: metadata that the server keeps, and the status.
fn carry_over(new: &mut Object, old: &Object) {
    macro_rules! keep {
        ($new:ident, $old:ident) => {{
            let new = Arc::make_mut($new);
            let generation = $old.metadata.generation.map(|g| g + i64::from(new.spec != $old.spec));
            new.metadata = $old.metadata.clone();
            new.metadata.generation = generation;
            new.status = $old.status.clone();
        }};
    }
    match (new, old) {
        (Object::PowerBudget(new), Object::PowerBudget(old)) => keep!(new, old),
        (Object::MiningFleet(new), Object::MiningFleet(old)) => keep!(new, old),
        (Object::GpuPool(new), Object::GpuPool(old)) => keep!(new, old),
        (Object::LeaseClass(new), Object::LeaseClass(old)) => keep!(new, old),
        (Object::ComputeLease(new), Object::ComputeLease(old)) => keep!(new, old),
        (Object::GridEvent(new), Object::GridEvent(old)) => keep!(new, old),
        (Object::Lockout(new), Object::Lockout(old)) => keep!(new, old),
        (Object::ControllableLoad(new), Object::ControllableLoad(old)) => keep!(new, old),
        (Object::Job(new), Object::Job(old)) => Arc::make_mut(new).uid.clone_from(&old.uid),
        (Object::Pod(new), Object::Pod(old)) => {
            let new = Arc::make_mut(new);
            (new.uid, new.revision) = (old.uid.clone(), old.revision.clone());
        }
        _ => {}
    }
}

/// Flips a Job's switch, and says which nodes its pods ask for.
fn switch(job: &mut JobFacts, suspend: Option<bool>, node_selector: BTreeMap<String, String>) -> Result<(), Refusal> {
    let moves = node_selector.iter().any(|(label, value)| job.node_selector.get(label) != Some(value));
    if moves && (job.started || !job.suspended) {
        return Err(invalid("spec.template: field is immutable"));
    }
    job.node_selector.extend(node_selector);
    job.suspended = suspend.unwrap_or(job.suspended);
    // The job controller sets the time as soon as it sees it. It stays, as before Kubernetes 1.36, where less is allowed.
    job.started |= !job.suspended;
    Ok(())
}

/// Sets annotations, or removes them.
fn annotate(stands: &mut BTreeMap<String, String>, annotations: BTreeMap<String, Option<String>>) {
    for (name, value) in annotations {
        match value {
            Some(value) => drop(stands.insert(name, value)),
            None => drop(stands.remove(&name)),
        }
    }
}

fn agent_pod(load: &Key, manifest: &serde_json::Value) -> Object {
    let text = |pointer: &str| manifest.pointer(pointer).and_then(|v| v.as_str()).map(str::to_owned);
    Object::Pod(Arc::new(PodFacts {
        namespace: load.namespace.as_deref().unwrap_or_default().into(),
        name: text("/metadata/name").unwrap_or_else(|| format!("{}-agent", load.name)),
        agent_of: Some(load.name.to_string()),
        node: text("/spec/nodeName"),
        template: manifest
            .pointer("/metadata/annotations")
            .and_then(|all| all.get(crate::api::AGENT_TEMPLATE_ANNOTATION)?.as_str())
            .map(str::to_owned),
        ..PodFacts::default()
    }))
}
