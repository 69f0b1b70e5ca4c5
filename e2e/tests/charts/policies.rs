//! Roles and policies: `e2e/charts/policies.yaml`, played by impersonation, and the claims of real tokens.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use ampacity_e2e::{Needs, Test, cluster_test_within, until};
use anyhow::{Context, Result, anyhow};
use http::Method;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::installed::{LIMIT, NAMESPACE, installed, token_of};
use super::table;

/// Roles are gathered, and policies noticed, within a second or two; a busy machine is slower.
const NOTICED: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Person {
    user: String,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    extra: BTreeMap<String, String>,
}

impl Person {
    /// Who this is, as headers of an administrator's request. A ServiceAccount's groups come with it.
    fn headers(&self) -> Vec<(String, String)> {
        let account = self.user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split(':').next());
        let of_account = account.map(|namespace| format!("system:serviceaccounts:{namespace}"));
        let implied = of_account.into_iter().chain(account.map(|_| "system:serviceaccounts".to_owned()));
        let groups = self.groups.iter().cloned().chain(implied).chain(["system:authenticated".to_owned()]);
        let extra = self
            .extra
            .iter()
            .map(|(key, value)| (format!("impersonate-extra-{}", key.replace('/', "%2f")), value.clone()));
        let groups = groups.map(|group| ("impersonate-group".to_owned(), group));
        [("impersonate-user".to_owned(), self.user.clone())].into_iter().chain(groups).chain(extra).collect()
    }
}

#[derive(Deserialize)]
struct Table {
    people: BTreeMap<String, Person>,
    given: Vec<Map<String, Value>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    is: String,
    by: String,
    get: Option<String>,
    post: Option<String>,
    patch: Option<String>,
    delete: Option<String>,
    body: Option<Value>,
    policy: Option<String>,
    refused: Option<String>,
    rbac: Option<String>,
}

impl Case {
    fn request(&self) -> Result<(Method, &str)> {
        let ways = [
            (Method::GET, &self.get),
            (Method::POST, &self.post),
            (Method::PATCH, &self.patch),
            (Method::DELETE, &self.delete),
        ];
        let found = ways.into_iter().find_map(|(method, path)| Some((method, path.as_deref()?)));
        found.with_context(|| format!("{}: none of get, post, patch and delete", self.is))
    }

    /// What the API server is to answer; nothing: it accepts.
    fn expected(&self) -> Option<String> {
        let by_policy = self.policy.as_ref().zip(self.refused.as_ref()).map(|(policy, said)| {
            format!("ValidatingAdmissionPolicy '{policy}' with binding '{policy}' denied request: {}", said.trim())
        });
        by_policy.or_else(|| self.rbac.clone())
    }
}

/// Sends a request as somebody, or as the administrator. What the API server says no with is an answer.
async fn send(
    client: &Client,
    by: Option<&Person>,
    (method, path): (Method, &str),
    body: Option<&Value>,
) -> Result<Result<Value, String>> {
    let content = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let mut request = http::Request::builder().method(method).uri(path).header("content-type", content);
    for (name, value) in by.map(Person::headers).unwrap_or_default() {
        request = request.header(name, value);
    }
    let request = request.body(body.map(ToString::to_string).unwrap_or_default().into_bytes())?;
    match client.request::<Value>(request).await {
        Ok(answer) => Ok(Ok(answer)),
        Err(kube::Error::Api(status)) => Ok(Err(status.message.clone())),
        Err(error) => Err(error.into()),
    }
}

/// Makes what the cases start from, and gives the words of paths and bodies that stand for what only it knows.
async fn given(test: &Test, table: &Table) -> Result<Vec<(&'static str, String)>> {
    let admin = test.admin();
    for (request, body) in table.given.iter().flatten() {
        let (method, path) = request.split_once(' ').context("METHOD path")?;
        let mut body = body.clone();
        let by = body.as_object_mut().and_then(|body| body.remove("by"));
        let by = by.as_ref().and_then(Value::as_str).and_then(|name| table.people.get(name));
        until(&format!("{request} {body}"), NOTICED, async || {
            let sent = send(&admin, by, (method.parse()?, path), Some(&body)).await?;
            match sent {
                Err(message) if !message.ends_with("already exists") => Err(anyhow!(message)),
                _ => Ok(Some(())),
            }
        })
        .await?;
    }
    let pods: Api<Pod> = Api::namespaced(admin, "tenant-a");
    let pod = until("a pod of the running Job", NOTICED, async || {
        Ok(pods.list(&ListParams::default().labels("job-name=running")).await?.items.into_iter().next())
    })
    .await?;
    let owner = pod.owner_references().first().map(|owner| owner.uid.clone()).context("a pod without an owner")?;
    Ok(vec![("POD-OF-running", pod.name_any()), ("UID-OF-running", owner)])
}

/// Asks until the answer is as expected; else what was wrong with the last one.
async fn play(client: &Client, table: &Table, known: &[(&str, String)], case: &Case) -> Result<Option<String>> {
    let filled = |text: String| known.iter().fold(text, |text, (word, is)| text.replace(word, is));
    let (method, path) = case.request()?;
    let dry = if matches!(method, Method::GET | Method::DELETE) { "" } else { "?dryRun=All" };
    let path = format!("{}{dry}", filled(path.to_owned()));
    let mut body: Option<Value> =
        case.body.as_ref().map(|body| serde_json::from_str(&filled(body.to_string()))).transpose()?;
    if method == Method::DELETE {
        // The options of a deletion are its body, and the query is not looked at then.
        let options = body.get_or_insert_with(|| json!({})).as_object_mut().context("options")?;
        options.extend([("apiVersion".into(), "v1".into()), ("kind".into(), "DeleteOptions".into())]);
        options.insert("dryRun".into(), json!(["All"]));
    }
    let person = table.people.get(&case.by).with_context(|| format!("{}: nobody is {}", case.is, case.by))?;
    let expected = case.expected();
    let mut last = None;
    let asked = until(&case.is, NOTICED, async || {
        let answer = send(client, Some(person), (method.clone(), &path), body.as_ref()).await?;
        let right = match (&answer, &expected) {
            (Ok(_), None) => true,
            (Err(message), Some(expected)) => message.ends_with(expected.as_str()),
            _ => false,
        };
        last = Some(answer.map_or_else(|message| message, |_| "accepted".to_owned()));
        Ok(right.then_some(()))
    });
    Ok(asked.await.err().map(|_| format!("{}: {last:?}, not {expected:?}", case.is)))
}

#[test]
fn everybody_may_do_what_is_theirs_and_is_told_why_not_what_is_not() -> Result<()> {
    cluster_test_within(LIMIT, Needs::FakeNodes, async |test| {
        let _turn = installed(test).await?;
        let table: Table = serde_yaml::from_str(&fs::read_to_string(table("policies.yaml"))?)?;
        let known = given(test, &table).await?;
        let mut wrong = Vec::new();
        for case in &table.cases {
            wrong.extend(play(&test.admin(), &table, &known, case).await?);
            // Each is waited for; a few tell enough.
            if wrong.len() == 3 {
                break;
            }
        }
        assert_eq!(wrong, Vec::<String>::new());
        assert!(table.cases.len() > 100, "{}", table.cases.len());
        tokens_tell_which_node_they_come_from(test).await
    })
}

/// The claims that the table plays are those that the API server itself puts into a pod's token.
async fn tokens_tell_which_node_they_come_from(test: &Test) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(test.admin(), NAMESPACE);
    let on_n1 = ListParams::default().labels("app.kubernetes.io/component=gpu-agent").fields("spec.nodeName=n1");
    let pod = pods.list(&on_n1).await?.items.into_iter().next().context("no GPU agent on n1")?;
    let (name, uid) = (pod.name_any(), pod.uid().unwrap_or_default());
    let token = token_of(test, "ampacity-gpu-agent", Some((&name, &uid))).await?;
    let agent = Client::try_from(test.plain()?.config_with_token(&token).await?)?;
    let state = async |load: &str| {
        let path = format!("/apis/ampacity.dev/v1alpha1/namespaces/{NAMESPACE}/controllableloads/{load}/status");
        let body = json!({"status": {"measuredWatts": 1}});
        send(&agent, None, (Method::PATCH, &path), Some(&body)).await
    };
    let own = state("h100-n1").await?.map(|load| load.pointer("/status/measuredWatts").cloned());
    assert_eq!(own, Ok(Some(json!(1))));
    let refused = format!("pod {name} on node n1 is not the agent of load s21-0");
    let other = state("s21-0").await?.err().unwrap_or_default();
    assert!(other.ends_with(&refused), "{other}");
    Ok(())
}
