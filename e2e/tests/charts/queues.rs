//! Which of the API server's queues operator and agents wait in.

use ampacity_e2e::{Needs, Test, cluster_test_within};
use anyhow::{Context, Result};
use http::Request;
use kube::Client;
use kube::client::Body;

use super::installed::{LIMIT, NAMESPACE, installed, token_of};

/// The FlowSchema that the API server puts a request of a release's account to, as it says itself.
async fn schema_of(test: &Test, account: &str, path: &str) -> Result<String> {
    let token = token_of(test, account, None).await?;
    let client = Client::try_from(test.plain()?.config_with_token(&token).await?)?;
    let answer = client.send(Request::get(path).body(Body::empty())?).await?;
    let uid = answer.headers().get("X-Kubernetes-PF-FlowSchema-UID").context("an answer that names no FlowSchema")?;
    let names = "-o=jsonpath={range .items[*]}{.metadata.uid} {.metadata.name}{\"\\n\"}{end}";
    let all = test.kubectl(&["get", "flowschemas", names])?;
    let named = all.lines().find_map(|line| line.strip_prefix(uid.to_str().ok()?));
    Ok(named.with_context(|| format!("{uid:?} is none of {all}"))?.trim().to_owned())
}

#[test]
fn orders_have_a_way_of_their_own_at_the_api_server_and_agents_wait_among_themselves() -> Result<()> {
    cluster_test_within(LIMIT, Needs::FakeNodes, async |test| {
        let _turn = installed(test).await?;
        let loads = format!("/apis/ampacity.dev/v1alpha1/namespaces/{NAMESPACE}/controllableloads");
        let (status, lead) =
            (format!("{loads}/s21-0/status"), format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"));
        let asked = [
            ("ampacity-operator", &*loads, "ampacity-operator"),
            ("ampacity-operator", &*lead, "ampacity-operator"),
            ("ampacity-operator", "/apis/batch/v1/namespaces/default/jobs", "ampacity-operator"),
            ("ampacity-operator", "/api/v1/namespaces/default/pods", "ampacity-operator"),
            // Reports wait with everybody else's.
            ("ampacity-operator", "/apis/ampacity.dev/v1alpha1/powerbudgets/west-texas/status", "service-accounts"),
            ("ampacity-miner-agent", &*loads, "ampacity-agents"),
            ("ampacity-miner-agent", &*status, "ampacity-agents"),
            ("ampacity-gpu-agent", &*lead, "ampacity-agents"),
            ("default", &*loads, "service-accounts"),
        ];
        for (account, path, want) in asked {
            assert_eq!(schema_of(test, account, path).await?, want, "{account} at {path}");
        }
        Ok(())
    })
}
