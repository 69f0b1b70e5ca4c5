//! What the API server refuses: `tenants/attempts.yaml`, each for real, by a tenant's own account.

use ampacity_e2e::{Needs, Test, cluster_test_within};
use anyhow::{Context, Result};
use http::Method;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use serde::Deserialize;
use serde_json::{Value, json};

use super::stand::{NAMESPACE, TENANTS, stand};
use super::{LIMIT, has, nothing_came_of_it, of_job, row};

#[derive(Deserialize)]
struct Table {
    attempts: Vec<Attempt>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attempt {
    tries: String,
    how: String,
    body: Option<Value>,
    policy: Option<String>,
    head: Option<String>,
    says: Option<String>,
    rbac: Option<String>,
    rule: Option<String>,
}

impl Attempt {
    /// Where it is to be stopped, and the API server's words.
    fn stopped(&self) -> Result<(String, String)> {
        if let (Some(policy), Some(head), Some(says)) = (&self.policy, &self.head, &self.says) {
            let by = format!("ValidatingAdmissionPolicy '{policy}' with binding '{policy}' denied request");
            return Ok((format!("policy {policy}"), format!("{head} is forbidden: {by}: {}", says.trim())));
        }
        let by_right = self.rbac.clone().map(|said| ("RBAC".to_owned(), said));
        let by_rule = || self.rule.clone().map(|said| ("rule of the kind".to_owned(), said));
        by_right.or_else(by_rule).with_context(|| format!("{}: nothing stops it", self.tries))
    }
}

/// Sends a request. What the API server says no with is an answer.
async fn send(client: &Client, how: &str, body: Option<&Value>) -> Result<Result<Value, String>> {
    let (method, path) = how.split_once(' ').context("METHOD path")?;
    let method: Method = method.parse()?;
    let mut body = body.cloned();
    if method == Method::DELETE {
        let options = body.get_or_insert_with(|| json!({})).as_object_mut().context("options")?;
        options.extend([("apiVersion".into(), "v1".into()), ("kind".into(), "DeleteOptions".into())]);
    }
    let content = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let request = http::Request::builder().method(method).uri(path).header("content-type", content);
    let request = request.body(body.map(|body| body.to_string()).unwrap_or_default().into_bytes())?;
    match client.request::<Value>(request).await {
        Ok(answer) => Ok(Ok(answer)),
        Err(kube::Error::Api(status)) => Ok(Err(status.message.clone())),
        Err(error) => Err(error.into()),
    }
}

/// The words of the table that stand for what only the cluster knows.
async fn words(test: &Test) -> Result<[(&'static str, String); 3]> {
    let own: Api<Pod> = Api::namespaced(test.admin(), TENANTS[1]);
    let own = own.list(&of_job()).await?.items.first().map(ResourceExt::name_any);
    let operators: Api<Pod> = Api::namespaced(test.admin(), NAMESPACE);
    let of = ListParams::default().labels("app.kubernetes.io/component=operator");
    let operator = operators.list(&of).await?.items.first().map(ResourceExt::name_any);
    let user = format!("User \"system:serviceaccount:{}:dev\"", TENANTS[1]);
    let pods = own.zip(operator).context("no pods")?;
    Ok([("B-POD", pods.0), ("OP-POD", pods.1), ("User \"B\"", user)])
}

#[test]
fn what_a_tenant_may_not_do_is_refused_in_words_that_help_and_the_other_notices_nothing() -> Result<()> {
    cluster_test_within(LIMIT, Needs::FakeNodes, async |test| {
        let (stand, _turn) = stand(test).await?;
        let table: Table = serde_yaml::from_str(include_str!("attempts.yaml"))?;
        let (words, before) = (words(test).await?, has(test, TENANTS[0]).await?);
        let own = has(test, TENANTS[1]).await?;
        let cheat = &stand.clients[1];
        let mut wrong = Vec::new();
        for attempt in &table.attempts {
            let (stopped, expected) = attempt.stopped()?;
            let filled = |text: &str| words.iter().fold(text.to_owned(), |text, (word, is)| text.replace(word, is));
            let body = attempt.body.as_ref().map(|body| serde_json::from_str::<Value>(&filled(&body.to_string())));
            let answer = send(cheat, &filled(&attempt.how), body.transpose()?.as_ref()).await?;
            let said = answer.map_or_else(|said| said, |_| "accepted".to_owned());
            row(&attempt.tries, &attempt.how, &stopped, &said);
            let expected = filled(&expected);
            if said != expected {
                wrong.push(format!("{}: {said:?}, not {expected:?}", attempt.tries));
            }
            nothing_came_of_it(test, stand, &before, &attempt.tries).await?;
            assert_eq!(has(test, TENANTS[1]).await?, own, "{}: {said}, and something has changed", attempt.tries);
        }
        assert_eq!(wrong, Vec::<String>::new());
        assert!(table.attempts.len() > 40, "{}", table.attempts.len());
        Ok(())
    })
}
