//! Everything that is not an order: reports, the leadership, Jobs, deletion.

use super::orders::{create, load, order};
use super::{Case, Client, End, Line, Outcome, conflict, same};
use crate::api::power_budget::{FeederNameplate, Leader, PowerBudgetStatus};
use crate::api::{BUDGET_FINALIZER, ControllableLoad, LOAD_FINALIZER, PowerBudget, WattsQuantity};
use crate::store::{Answer, JobFacts, Key, Kind, LeadershipFacts, NodeFacts, Object, Refusal, Status, Write};
use ampacity_core::units::{Span, Time};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a report replaces its own fields, changes no generation, and may ask for a resource version",
        run: report,
    },
    Case { name: "the leadership changes by compare-and-swap alone", run: lead },
    Case { name: "a Job's switch is flipped on its UID alone, and only our annotations change", run: job },
    Case {
        name: "a node is closed to what is new and opened again, whoever closed it, and nothing else changes",
        run: node,
    },
    Case { name: "a deleted load stays until its finalizer is taken, and then it is gone", run: finalizer },
    Case { name: "a budget's finalizer is put and taken beside what others wrote", run: budget_finalizer },
    Case { name: "what is not there cannot be written", run: missing },
    Case { name: "an Event is taken about anything, however long its note", run: event },
];

fn budget(end: &mut dyn End, name: &str) -> Result<PowerBudget, String> {
    let budget = serde_json::json!({
        "apiVersion": "ampacity.dev/v1alpha1", "kind": "PowerBudget",
        "metadata": {"name": format!("{}-{name}", end.prefix())},
        "spec": {"limitWatts": "100M", "reserveWatts": "1M", "policy": {"mode": "Shadow"},
            "feeders": [{"name": "hall-a", "limitWatts": "60M"}]},
    });
    serde_json::from_value(budget).map_err(|e| e.to_string())
}

/// Puts a budget and waits until it is shown.
fn put_budget(end: &mut dyn End, client: &mut Client, name: &str) -> Result<Key, String> {
    let object = Object::PowerBudget(Arc::new(budget(end, name)?));
    let key = object.key();
    end.put(object)?;
    client.until(end, "the budget", |c| c.objects.contains_key(&key))?;
    Ok(key)
}

fn report(end: &mut dyn End) -> Outcome {
    let mut client = Client::connect(end, Line::Good)?;
    let key = put_budget(end, &mut client, "report")?;
    let generation = client.objects.get(&key).and_then(|o| o.meta()).and_then(|m| m.generation);
    let kept = FeederNameplate { feeder: "hall-a".into(), nameplate_watts: WattsQuantity::new(7) };
    let leader = Leader { id: "a".into(), epoch: 1, namespace: None };
    let first = PowerBudgetStatus { nameplates: vec![kept], leader: Some(leader), ..PowerBudgetStatus::default() };
    let second = PowerBudgetStatus { leader: None, observed_generation: Some(1), ..first.clone() };
    let mut known = client.objects.get(&key).map(|o| o.revision().to_owned()).unwrap_or_default();
    for status in [first, second] {
        let status_of = |revision| Write::Status {
            key: key.clone(),
            status: Box::new(Status::PowerBudget(status.clone())),
            revision,
        };
        let stands = client.accepted(end, status_of(None))?;
        // At another resource version it is refused; at its own it is accepted, and changes nothing where nothing is new.
        conflict(&client.refused(end, status_of(Some(known)))?)?;
        known = stands.revision().to_owned();
        same(&client.accepted(end, status_of(Some(known.clone())))?, &stands)?;
        let Object::PowerBudget(budget) = &stands else { return Err(format!("no budget: {stands:?}")) };
        same(&budget.status, &Some(status))?;
        same(&budget.metadata.generation, &generation)?;
        client.shows(end, &stands)?;
    }
    end.delete(&key)
}

fn facts(holder: &str, epoch: u64, renewed: i64) -> LeadershipFacts {
    LeadershipFacts {
        holder: holder.into(),
        epoch,
        renewed: Time::seconds(renewed),
        duration: Span::seconds(10),
        // One has a link, and who comes after it none: its address goes with it.
        link: if holder == "b" { "b:8443".into() } else { String::new() },
        transitions: 0,
        revision: String::new(),
    }
}

fn lead(end: &mut dyn End) -> Outcome {
    let mut client = Client::connect(end, Line::Good)?;
    let mut other = Client::connect(end, Line::Good)?;
    let write = |facts: &LeadershipFacts, revision: Option<&str>| Write::Lead {
        facts: facts.clone(),
        revision: revision.map(Into::into),
    };
    let (a, b) = (facts("a", 5, 1_000), facts("b", 6, 2_000));
    same(&client.refused(end, write(&a, Some("1")))?, &Refusal::NotFound)?;
    let stands = client.accepted(end, write(&a, None))?;
    same(&without_revision(&stands), &Some(a.clone()))?;
    other.shows(end, &stands)?;
    same(&other.refused(end, write(&b, None))?, &Refusal::Exists)?;
    let renewed = client.accepted(end, write(&facts("a", 5, 1_002), Some(stands.revision())))?;
    conflict(&other.refused(end, write(&b, Some(stands.revision())))?)?;
    let taken = other.accepted(end, write(&b, Some(renewed.revision())))?;
    same(&without_revision(&taken), &Some(b))?;
    client.shows(end, &taken)?;
    let released = other.accepted(end, write(&facts("", 6, 2_000), Some(taken.revision())))?;
    same(&without_revision(&released), &Some(facts("", 6, 2_000)))
}

fn without_revision(object: &Object) -> Option<LeadershipFacts> {
    let Object::Leadership(facts) = object else { return None };
    Some(LeadershipFacts { revision: String::new(), ..LeadershipFacts::clone(facts) })
}

fn job(end: &mut dyn End) -> Outcome {
    let mut client = Client::connect(end, Line::Good)?;
    let name = "train";
    let facts = JobFacts {
        namespace: end.namespace(),
        name: name.into(),
        lease: "llm".into(),
        suspended: true,
        parallelism: 2,
        gpus_per_pod: 4,
        grace: Span::seconds(900),
        annotations: [("ampacity.dev/checkpoint-done".into(), "1".into())].into(),
        ..JobFacts::default()
    };
    end.put(Object::Job(Arc::new(facts.clone())))?;
    let key = Key::namespaced(Kind::Job, &end.namespace(), name);
    client.until(end, "the Job", |c| c.objects.contains_key(&key))?;
    let Some(Object::Job(shown)) = client.objects.get(&key).cloned() else { return Err("no Job".into()) };
    let plain = JobFacts { uid: String::new(), created: None, revision: String::new(), ..JobFacts::clone(&shown) };
    same(&plain, &facts)?;
    let pool = |name: &str| BTreeMap::from([("ampacity.dev/pool".to_owned(), name.to_owned())]);
    let write = |uid: &str, suspend: Option<bool>, annotations: &[(&str, Option<&str>)]| Write::Job {
        job: key.clone(),
        uid: uid.into(),
        suspend,
        node_selector: suspend.map(|off| pool(if off { "b200" } else { "h100" })).unwrap_or_default(),
        annotations: annotations.iter().map(|(k, v)| ((*k).into(), v.map(Into::into))).collect(),
    };
    let wrong = "00000000-0000-4000-8000-000000000000";
    conflict(&client.refused(end, write(wrong, Some(false), &[]))?)?;
    let (asked, done) = ("ampacity.dev/checkpoint-requested", "ampacity.dev/checkpoint-done");
    let noticed = client.accepted(end, write(&shown.uid, None, &[(asked, Some("2"))]))?;
    let Object::Job(noticed) = &noticed else { return Err("no Job".into()) };
    let both: BTreeMap<String, String> = [(asked.into(), "2".into()), (done.into(), "1".into())].into();
    same(&(noticed.suspended, noticed.annotations.clone()), &(true, both))?;
    let resumed = client.accepted(end, write(&shown.uid, Some(false), &[(asked, None), ("ampacity.dev/no", None)]))?;
    let Object::Job(resumed) = &resumed else { return Err("no Job".into()) };
    let stands = (resumed.suspended, resumed.node_selector.clone(), resumed.annotations.clone());
    same(&stands, &(false, pool("h100"), facts.annotations))?;
    client.until(
        end,
        "the Job to be shown as resumed and started",
        |c| matches!(c.objects.get(&key), Some(Object::Job(job)) if !job.suspended && job.started),
    )?;
    // Where the pods of a Job that has started may run is settled.
    client.refused(end, write(&shown.uid, Some(true), &[])).map(drop)
}

/// Puts a node without GPUs, not ready, and waits until it is shown.
pub(super) fn put_node(end: &mut dyn End, client: &mut Client, name: &str) -> Result<(Key, NodeFacts), String> {
    let facts = NodeFacts {
        name: format!("{}-{name}", end.prefix()),
        labels: [("ampacity.dev/contract".into(), "yes".into())].into(),
        ..NodeFacts::default()
    };
    let key = Key::cluster(Kind::Node, &facts.name);
    end.put(Object::Node(Arc::new(facts.clone())))?;
    client.until(end, "the node", |c| c.objects.contains_key(&key))?;
    Ok((key, facts))
}

fn node(end: &mut dyn End) -> Outcome {
    let mut client = Client::connect(end, Line::Good)?;
    let (key, facts) = put_node(end, &mut client, "node")?;
    let write = |on| Write::Cordon { node: key.clone(), on };
    let closed = Object::Node(Arc::new(NodeFacts { unschedulable: true, locked_out: true, ..facts.clone() }));
    let open = Object::Node(Arc::new(facts));
    // Said twice it is no more so, and opening what is open changes nothing.
    for (on, stands) in [(true, &closed), (true, &closed), (false, &open), (false, &open)] {
        same(&as_put(&client.accepted(end, write(on))?), stands)?;
        client.until(end, "the node to be shown so", |c| c.objects.get(&key).map(as_put).as_ref() == Some(stands))?;
    }
    end.delete(&key)?;
    client.until(end, "the node to be gone", |c| !c.objects.contains_key(&key))?;
    same(&client.refused(end, write(true))?, &Refusal::NotFound)
}

/// A node without what a cluster may say of it meanwhile.
pub(super) fn as_put(object: &Object) -> Object {
    let Object::Node(facts) = object else { return object.clone() };
    let mut facts = NodeFacts::clone(facts);
    facts.labels.retain(|name, _| name.starts_with("ampacity.dev/"));
    (facts.ready, facts.gpus) = (false, 0);
    Object::Node(Arc::new(facts))
}

fn finalizers(object: &Object) -> Vec<String> {
    object.meta().and_then(|m| m.finalizers.clone()).unwrap_or_default()
}

fn finalizer(end: &mut dyn End) -> Outcome {
    let mut client = Client::connect(end, Line::Good)?;
    let held = load(end, "finalizer");
    let held = ControllableLoad {
        metadata: kube::api::ObjectMeta { finalizers: Some(vec![LOAD_FINALIZER.into()]), ..held.metadata },
        ..held
    };
    let key = client.accepted(end, Write::CreateLoad(Box::new(held)))?.key();
    same(&client.write(end, Write::Delete(key.clone()))?, &Answer::Accepted(None))?;
    let leaving =
        |c: &Client| c.objects.get(&key).and_then(Object::meta).is_some_and(|m| m.deletion_timestamp.is_some());
    client.until(end, "the load to be shown as leaving", leaving)?;
    // It can still be ordered down, and it is still there.
    let lowered = client.accepted(end, order(&key, 1_000, 1, Some(0)))?;
    same(&finalizers(&lowered), &vec![LOAD_FINALIZER.to_owned()])?;
    let released = Write::Finalizer { key: key.clone(), present: false };
    same(&client.write(end, released)?, &Answer::Accepted(None))?;
    client.until(end, "the load to be gone", |c| !c.objects.contains_key(&key))?;
    same(&client.refused(end, order(&key, 1_000, 2, Some(0)))?, &Refusal::NotFound)
}

fn budget_finalizer(end: &mut dyn End) -> Outcome {
    const OTHER: &str = "example.com/other";
    let mut client = Client::connect(end, Line::Good)?;
    let mut budget = budget(end, "finalizer")?;
    budget.metadata.finalizers = Some(vec![OTHER.into()]);
    let object = Object::PowerBudget(Arc::new(budget));
    let key = object.key();
    end.put(object)?;
    client.until(end, "the budget", |c| c.objects.contains_key(&key))?;
    let write = |present| Write::Finalizer { key: key.clone(), present };
    let both = vec![OTHER.to_owned(), BUDGET_FINALIZER.to_owned()];
    let put = client.accepted(end, write(true))?;
    same(&finalizers(&put), &both)?;
    same(&client.accepted(end, write(true))?, &put)?;
    same(&finalizers(&client.accepted(end, write(false))?), &vec![OTHER.to_owned()])?;
    end.delete(&key)?;
    let leaving =
        |c: &Client| c.objects.get(&key).and_then(Object::meta).is_some_and(|m| m.deletion_timestamp.is_some());
    client.until(end, "the budget to be shown as leaving", leaving)?;
    // What leaves can be held by nobody new.
    client.invalid(end, write(true), "no new finalizers can be added if the object is being deleted")
}

fn missing(end: &mut dyn End) -> Outcome {
    let mut client = Client::connect(end, Line::Good)?;
    let here = end.namespace();
    let named = |kind| Key::namespaced(kind, &here, "missing");
    let budget = Key::cluster(Kind::PowerBudget, &format!("{}-missing", end.prefix()));
    let uid = "00000000-0000-4000-8000-000000000000".to_owned();
    let writes = [
        Write::State { load: named(Kind::ControllableLoad), status: Box::default(), revision: None },
        Write::Status {
            key: budget.clone(),
            status: Box::new(Status::PowerBudget(PowerBudgetStatus::default())),
            revision: None,
        },
        Write::Job {
            job: named(Kind::Job),
            uid: uid.clone(),
            suspend: Some(true),
            node_selector: BTreeMap::new(),
            annotations: BTreeMap::new(),
        },
        Write::NotePod {
            pod: named(Kind::Pod),
            uid: uid.clone(),
            annotations: [("ampacity.dev/notice-deadline".into(), Some("x".into()))].into(),
        },
        Write::DeletePod { pod: named(Kind::Pod), uid, grace: None },
        Write::Cordon { node: Key::cluster(Kind::Node, &format!("{}-missing", end.prefix())), on: true },
        Write::Finalizer { key: budget, present: true },
        Write::Delete(named(Kind::ControllableLoad)),
    ];
    for write in writes {
        same(&client.refused(end, write)?, &Refusal::NotFound)?;
    }
    create(end, &mut client, "not-missing").map(drop)
}

fn event(end: &mut dyn End) -> Outcome {
    let mut client = Client::connect(end, Line::Good)?;
    let load = create(end, &mut client, "event")?;
    for regarding in [load, Key::cluster(Kind::PowerBudget, &format!("{}-event", end.prefix()))] {
        let note = "ü".repeat(2_000);
        let write = Write::Event { regarding, warning: true, reason: "Tried", action: "Try", note };
        same(&client.write(end, write)?, &Answer::Accepted(None))?;
    }
    Ok(())
}
