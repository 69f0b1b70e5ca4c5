//! The kinds on a real API server: every definition is taken, every good object is accepted, and every bad one of
//! `examples/bad` is refused in the very words that the client-side check uses.

use std::path::{Path, PathBuf};

use ampacity::api::power_budget::FEEDERS_MAX;
use ampacity::api::table::{self, Case};
use ampacity::api::{check, crd, manifest};
use ampacity_e2e::{Needs, Test, cluster_test, definitions};
use anyhow::{Context, Result};
use http::Method;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// One request, with a body of JSON.
async fn send(test: &Test, method: Method, path: &str, body: Option<&Value>) -> Result<Value, kube::Error> {
    let bytes = body.map(ToString::to_string).unwrap_or_default().into_bytes();
    let request = http::Request::builder().method(method).uri(path).header("content-type", "application/json");
    let request =
        request.body(bytes).map_err(|e| kube::Error::BuildRequest(kube::core::request::Error::BuildRequest(e)))?;
    test.admin().request(request).await
}

/// Where an object's kind is kept: its collection's path, in the test's namespace where it has one.
fn collection(test: &Test, crds: &[CustomResourceDefinition], object: &Value) -> Result<String> {
    let kind = object.get("kind").and_then(Value::as_str).context("an object without a kind")?;
    let crd = crds.iter().find(|c| c.spec.names.kind == kind).with_context(|| format!("no definition of {kind}"))?;
    let namespace =
        if crd.spec.scope == "Namespaced" { format!("namespaces/{}/", test.namespace()) } else { String::new() };
    Ok(format!("/apis/ampacity.dev/v1alpha1/{namespace}{}", crd.spec.names.plural))
}

/// The object, in the test's namespace where it has one.
fn here(test: &Test, object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(namespace) = object.pointer_mut("/metadata/namespace") {
        *namespace = test.namespace().into();
    }
    object
}

/// Tries every step of a case and returns what the last one was answered.
async fn play(test: &Test, crds: &[CustomResourceDefinition], case: &Case) -> Result<Result<Value, kube::Error>> {
    let mut kept: Option<Value> = None;
    for (index, step) in case.steps.iter().enumerate() {
        let last = index + 1 == case.steps.len();
        let path = collection(test, crds, step)?;
        let name = step.pointer("/metadata/name").and_then(Value::as_str).context("a step without a name")?;
        let mut object = here(test, step);
        if !(last && case.status) {
            let written = match &kept {
                None => send(test, Method::POST, &format!("{path}?fieldValidation=Strict"), Some(&object)).await,
                Some(old) => {
                    version(&mut object, old);
                    send(test, Method::PUT, &format!("{path}/{name}?fieldValidation=Strict"), Some(&object)).await
                }
            };
            if last {
                clear(test, &path, name, written.is_ok() || kept.is_some()).await?;
                return Ok(written);
            }
            kept = Some(written.with_context(|| format!("{}: step {index}", case.name))?);
        }
        if let Some(old) = kept.as_ref().filter(|_| step.get("status").is_some()) {
            version(&mut object, old);
            let path_of_status = format!("{path}/{name}/status?fieldValidation=Strict");
            let written = send(test, Method::PUT, &path_of_status, Some(&object)).await;
            if last {
                clear(test, &path, name, true).await?;
                return Ok(written);
            }
            kept = Some(written.with_context(|| format!("{}: status of step {index}", case.name))?);
        }
    }
    anyhow::bail!("{}: its last step writes nothing", case.name)
}

/// Makes `object` a write over `old`.
fn version(object: &mut Value, old: &Value) {
    let version = old.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".into(), version);
    }
}

async fn clear(test: &Test, path: &str, name: &str, there: bool) -> Result<()> {
    if there {
        send(test, Method::DELETE, &format!("{path}/{name}"), None).await?;
    }
    Ok(())
}

/// What the API server said, in the table's words where it says the same of the same field.
fn said(case: &Case, outcome: Result<Value, kube::Error>) -> Vec<String> {
    let status = match outcome {
        Err(kube::Error::Api(status)) => status,
        Err(other) => return vec![other.to_string()],
        Ok(_) => return Vec::new(),
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let mut said: Vec<String> = causes
        .filter(|cause| !cause.message.contains("some validation rules were not checked"))
        .map(|cause| {
            let field = if cause.field == "<nil>" { "" } else { cause.field.as_str() };
            let same = case.refused.iter().find(|line| match line.strip_prefix(&format!("{field}: ")) {
                Some(detail) => cause.message.ends_with(detail),
                None => field.is_empty() && cause.message.ends_with(line.as_str()),
            });
            same.cloned().unwrap_or_else(|| format!("{field}: {}", cause.message))
        })
        .collect();
    // A field that is not known is refused while it is decoded, without a cause.
    for line in case.refused.iter().filter(|line| line.ends_with(check::UNKNOWN_FIELD)) {
        let field = line.trim_end_matches(check::UNKNOWN_FIELD).trim_end_matches(": ");
        if status.message.contains(&format!("unknown field \"{field}\"")) {
            said.push(line.clone());
        }
    }
    if said.is_empty() {
        said.push(status.message.clone());
    }
    said.sort();
    said.dedup();
    said
}

#[test]
fn every_bad_object_is_refused_by_the_api_server_in_the_words_of_its_file() -> Result<()> {
    cluster_test(Needs::AnyCluster, async |test| {
        definitions::install(&test.admin()).await?;
        let crds = crd::all()?;
        let mut wrong = Vec::new();
        let cases = table::cases(&examples().join("bad"))?;
        assert!(cases.len() > 50, "{}", cases.len());
        for case in cases {
            let outcome = said(&case, play(test, &crds, &case).await?);
            if outcome != case.refused {
                wrong.push((case.name, outcome));
            }
        }
        assert_eq!(wrong, []);
        Ok(())
    })
}

#[test]
fn every_example_is_accepted_by_the_api_server_without_an_unknown_field() -> Result<()> {
    cluster_test(Needs::AnyCluster, async |test| {
        definitions::install(&test.admin()).await?;
        let crds = crd::all()?;
        let mut files = 0;
        for folder in [examples(), examples().join("west-texas")] {
            for entry in std::fs::read_dir(folder)? {
                let path = entry?.path();
                if path.extension().is_none_or(|ending| ending != "yaml") {
                    continue;
                }
                files += 1;
                let text = std::fs::read_to_string(&path)?;
                for value in manifest::values(&path.display().to_string(), &text)? {
                    let to = format!("{}?dryRun=All&fieldValidation=Strict", collection(test, &crds, &value)?);
                    let sent = send(test, Method::POST, &to, Some(&here(test, &value))).await;
                    sent.with_context(|| path.display().to_string())?;
                }
            }
        }
        assert_eq!(files, 12);
        Ok(())
    })
}

#[test]
fn the_deepest_tree_of_the_most_feeders_stays_within_what_a_rule_may_cost() -> Result<()> {
    cluster_test(Needs::AnyCluster, async |test| {
        definitions::install(&test.admin()).await?;
        let crds = crd::all()?;
        let name = |i: usize| format!("{i:0>63}");
        let feeder = |i: usize| match i {
            0 => json!({"name": name(0), "limitWatts": "1M"}),
            _ => json!({"name": name(i), "parent": name(i - 1), "limitWatts": "1M"}),
        };
        let feeders: Vec<Value> = (0..FEEDERS_MAX).map(feeder).collect();
        let spec = json!({"limitWatts": "100M", "policy": {"mode": "Shadow"}, "feeders": feeders});
        let budget = json!({"apiVersion": "ampacity.dev/v1alpha1", "kind": "PowerBudget",
                            "metadata": {"name": "deepest"}, "spec": spec});
        let to = format!("{}?dryRun=All&fieldValidation=Strict", collection(test, &crds, &budget)?);
        let made = send(test, Method::POST, &to, Some(&budget)).await?;
        assert_eq!(made.pointer("/spec/feeders").and_then(Value::as_array).map(Vec::len), Some(FEEDERS_MAX));
        Ok(())
    })
}
