//! Two tenants with ordinary `edit` rights on a site that runs: the charts' roles and policies, an operator and agents
//! as real processes under the charts' accounts. Whatever one of them tries is refused by the API server with a word
//! that helps, or leads to nothing within a tick; the other one notices none of it, and what the GPUs can draw is
//! bounded by their nodes' caps all the while.

#[path = "tenants/attempts.rs"]
mod attempts;
#[path = "tenants/flood.rs"]
mod flood;
#[path = "tenants/granted.rs"]
mod granted;
#[path = "tenants/stand.rs"]
mod stand;
#[path = "tenants/watch.rs"]
mod watch;

use std::collections::BTreeSet;
use std::time::Duration;

use ampacity::api::{ComputeLease, LeaseClass, PowerBudget};
use ampacity_e2e::{Test, until};
use anyhow::{Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use stand::{LIMIT_WATTS, NAMESPACE, NODES, Stand, TENANTS};

/// All of a test, what it stands on included.
const LIMIT: Duration = Duration::from_secs(900);
/// What the operator undoes is gone within its turn of a second, the Job controller's and kwok's; on a machine that has
/// more to do it takes longer.
const UNDONE_WITHIN: Duration = Duration::from_secs(60);

/// What a tenant has: its terms, what is granted and why, its Job, the pods of that and where they run, and the prices.
async fn has(test: &Test, namespace: &str) -> Result<Value> {
    let lease = Api::<ComputeLease>::namespaced(test.admin(), namespace).get("train").await?;
    let status = lease.status.unwrap_or_default();
    let job = Api::<Job>::namespaced(test.admin(), namespace).get("train").await?;
    let pods = Api::<Pod>::namespaced(test.admin(), namespace).list(&of_job()).await?.items;
    let pods: Vec<Value> = pods.iter().map(|pod| json!([pod.uid(), pod.labels(), place(pod), ends(pod)])).collect();
    let class = Api::<LeaseClass>::all(test.admin()).get("firm").await?.spec;
    let budget = Api::<PowerBudget>::all(test.admin()).get("yard").await?.spec;
    Ok(json!({
        "lease": lease.spec, "terms": status.terms, "offer": status.offer, "grant": status.grant,
        "notice": status.notice, "conditions": status.conditions,
        "job": {"uid": job.metadata.uid, "labels": job.metadata.labels, "annotations": job.metadata.annotations,
                "spec": job.spec, "active": job.status.and_then(|status| status.active)},
        "pods": pods, "class": class, "budget": budget,
    }))
}

fn of_job() -> ListParams {
    ListParams::default().labels("job-name=train")
}

fn place(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

fn ends(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// The pods on leased nodes that are nobody's by right: neither the platform's nor of the Jobs that were granted.
async fn strangers(test: &Test) -> Result<BTreeSet<String>> {
    let pods = Api::<Pod>::all(test.admin()).list(&ListParams::default()).await?.items;
    let on_leased = |pod: &&Pod| place(pod).is_some_and(|node| NODES.contains(&node));
    let by_right = |pod: &&Pod| {
        let namespace = pod.namespace().unwrap_or_default();
        let of = pod.owner_references().iter().any(|owner| owner.kind == "Job" && owner.name == "train");
        namespace == NAMESPACE || (TENANTS.contains(&namespace.as_str()) && of)
    };
    let strange = pods.iter().filter(on_leased).filter(|pod| !by_right(pod));
    Ok(strange.map(|pod| format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any())).collect())
}

/// What must hold after everything that is tried: the other has what it had, nobody strange is on a leased node for
/// longer than it takes to undo, and the caps never let the nodes draw more than the site may.
async fn nothing_came_of_it(test: &Test, stand: &Stand, before: &Value, tried: &str) -> Result<()> {
    until(&format!("{tried}: nobody strange on a leased node"), UNDONE_WITHIN, async || {
        let strangers = strangers(test).await?;
        ensure!(strangers.is_empty(), "{strangers:?}");
        Ok(Some(()))
    })
    .await?;
    assert_eq!(&has(test, TENANTS[0]).await?, before, "{tried}");
    let seen = stand.caps.seen();
    ensure!(seen.most_watts <= LIMIT_WATTS, "{tried}: {seen:?}");
    ensure!(stand.operator.ended().is_none(), "{tried}: the operator ended");
    Ok(())
}

/// A row of the table that the test prints.
fn row(tried: &str, how: &str, stopped: &str, said: &str) {
    eprintln!("| {tried} | {how} | {stopped} | {said} |");
}
