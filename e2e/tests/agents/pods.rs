//! The agents' pods as the operator makes and replaces them.

use std::collections::BTreeMap;

use ampacity_e2e::bench::linked::phase;
use ampacity_e2e::bench::{Bench, PROVED_WITHIN, SITE, SOON, ended};
use ampacity_e2e::process::Part;
use ampacity_e2e::{Test, until};
use anyhow::{Result, anyhow, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::json;

/// The agents' pods by name.
async fn pods(test: &Test) -> Result<BTreeMap<String, Pod>> {
    let labelled = ListParams::default().labels("app.kubernetes.io/component=agent");
    let pods = Api::<Pod>::default_namespaced(test.admin()).list(&labelled).await?;
    Ok(pods.items.into_iter().map(|pod| (pod.name_any(), pod)).collect())
}

fn uids(pods: &BTreeMap<String, Pod>) -> Vec<(String, Option<String>)> {
    pods.iter().map(|(name, pod)| (name.clone(), pod.uid())).collect()
}

fn image(pod: &Pod) -> Option<String> {
    pod.spec.as_ref()?.containers.first()?.image.clone()
}

/// The pods, once there are two and both run.
async fn two(test: &Test) -> Result<Option<BTreeMap<String, Pod>>> {
    let pods = pods(test).await?;
    let runs = |pod: &Pod| pod.metadata.deletion_timestamp.is_none() && phase(pod) == "Running";
    Ok((pods.len() == 2 && pods.values().all(runs)).then_some(pods))
}

/// One agent pod a container, each as its template says; one that a person deleted is made again.
pub(super) async fn pods_are_made(test: &Test) -> Result<BTreeMap<String, Pod>> {
    let made = until("two agents' pods that run", SOON, async || two(test).await).await?;
    assert_eq!(made.keys().collect::<Vec<_>>(), ["bench-s21-0-agent", "bench-s21-1-agent"]);
    for (pod, load) in made.values().zip(["bench-s21-0", "bench-s21-1"]) {
        template(pod, load)?;
    }
    let api: Api<Pod> = Api::default_namespaced(test.admin());
    api.delete("bench-s21-1-agent", &DeleteParams::default()).await?;
    let again = async || Ok(two(test).await?.filter(|pods| uids(pods) != uids(&made)));
    let again = until("another in its place", SOON, again).await?;
    assert_eq!(uids(&again).first(), uids(&made).first(), "the other is left alone");
    Ok(again)
}

/// An operator with another image replaces one agent after the other.
pub(super) async fn pods_are_replaced(
    test: &Test,
    bench: &Bench<'_>,
    operator: Part,
    made: BTreeMap<String, Pod>,
) -> Result<Part> {
    operator.terminate()?;
    assert_eq!(ended(&operator).await?.0, Some(0));
    let operator = bench.operator("registry.example/ampacity:2", &[])?;
    let mut least = 2;
    let all = until("both under the new image", PROVED_WITHIN, async || {
        let pods = pods(test).await?;
        least = least.min(pods.values().filter(|pod| pod.metadata.deletion_timestamp.is_none()).count());
        let new = pods.values().all(|pod| image(pod).as_deref() == Some("registry.example/ampacity:2"));
        Ok((pods.len() == 2 && new).then_some(pods))
    })
    .await?;
    assert!(least >= 1, "both were gone at once");
    assert!(uids(&all).iter().zip(uids(&made)).all(|(new, old)| *new != old), "nobody changes a pod's image in place");
    Ok(operator)
}

/// What the API server holds of a pod, as far as it decides what its agent may do.
fn template(pod: &Pod, load: &str) -> Result<()> {
    let value = serde_json::to_value(pod)?;
    let at = |pointer: &str| value.pointer(pointer).cloned().unwrap_or_default();
    assert_eq!(pod.metadata.owner_references, None, "agents outlive their loads");
    let labels = pod.labels();
    assert_eq!(labels.get("ampacity.dev/load").map(String::as_str), Some(load));
    assert_eq!(labels.get("ampacity.dev/budget").map(String::as_str), Some(SITE));
    let expected = [
        ("/spec/restartPolicy", json!("Always")),
        ("/spec/serviceAccountName", json!("default")),
        ("/spec/securityContext/runAsNonRoot", json!(true)),
        ("/spec/securityContext/seccompProfile/type", json!("RuntimeDefault")),
        ("/spec/containers/0/image", json!("registry.example/ampacity:1")),
        ("/spec/containers/0/securityContext/readOnlyRootFilesystem", json!(true)),
        ("/spec/containers/0/securityContext/allowPrivilegeEscalation", json!(false)),
        ("/spec/containers/0/securityContext/capabilities", json!({"drop": ["ALL"]})),
        ("/spec/containers/0/resources/limits", json!({"memory": "128Mi"})),
    ];
    for (pointer, is) in expected {
        ensure!(at(pointer) == is, "{pointer}: {} and not {is}", at(pointer));
    }
    let args: Vec<String> = serde_json::from_value(at("/spec/containers/0/args"))?;
    let named = args.iter().skip_while(|arg| *arg != "--load").nth(1).map(String::as_str);
    (named == Some(load)).then_some(()).ok_or_else(|| anyhow!("{args:?}"))
}
