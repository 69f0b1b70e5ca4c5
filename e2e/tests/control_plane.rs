//! The control plane under the suite is what it claims to be: rules are enforced, Jobs run and stop, people
//! are kept apart, and faults take hold. What fails here makes every other cluster test worthless.

use std::time::{Duration, Instant};

use ampacity_e2e::binaries::Program;
use ampacity_e2e::identity::{ADMIN, PEOPLE, TENANT_A};
use ampacity_e2e::{Mode, Needs, Test, cluster_test, until};
use anyhow::{Context, Result};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};

/// How long controllers may take to follow a change on a busy machine; they need well under a second.
const FOLLOWS: Duration = Duration::from_secs(30);

/// What the API server said no with: its status code and message.
fn refusal<T>(outcome: kube::Result<T>) -> Result<(u16, String)> {
    match outcome {
        Err(kube::Error::Api(status)) => Ok((status.code, status.message)),
        Err(error) => Err(error).context("expected a refusal by the API server"),
        Ok(_) => anyhow::bail!("the API server accepted what it had to refuse"),
    }
}

#[test]
fn a_rule_of_a_crd_refuses_an_order_that_does_not_rise() -> Result<()> {
    cluster_test(Needs::AnyCluster, async |test| {
        let (group, kind) = (format!("{}.ampacity.dev", test.namespace()), "Order");
        let crds: Api<CustomResourceDefinition> = Api::all(test.admin());
        let name = format!("orders.{group}");
        crds.create(&PostParams::default(), &order_crd(&name, &group)?).await?;
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(&group, "v1", kind), "orders");
        let orders: Api<DynamicObject> = Api::default_namespaced_with(test.admin(), &resource);
        let order = |sequence: i64| {
            json!({"apiVersion": format!("{group}/v1"), "kind": kind, "metadata": {"name": "a"},
                   "spec": {"sequence": sequence}})
        };
        let apply = async |sequence| {
            orders.patch("a", &PatchParams::apply("e2e").force(), &Patch::Apply(order(sequence))).await
        };
        until("the new kind to be served", FOLLOWS, async || Ok(Some(apply(2).await?))).await?;
        let refused = refusal(apply(1).await)?;
        let accepted = apply(3).await?.data.pointer("/spec/sequence").cloned();
        crds.delete(&name, &DeleteParams::default()).await?;
        let why = "Order.NAME \"a\" is invalid: spec.sequence: Invalid value: 1: the sequence must rise";
        assert_eq!(refused, (422, why.replace("NAME", &group)));
        assert_eq!(accepted, Some(json!(3)));
        Ok(())
    })
}

fn order_crd(name: &str, group: &str) -> Result<CustomResourceDefinition> {
    let rule = json!({"rule": "self > oldSelf", "message": "the sequence must rise"});
    let spec = json!({"type": "object", "required": ["sequence"], "properties": {
        "sequence": {"type": "integer", "format": "int64", "x-kubernetes-validations": [rule]}}});
    let schema = json!({"type": "object", "required": ["spec"], "properties": {"spec": spec}});
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"group": group, "scope": "Namespaced", "names": {"kind": "Order", "plural": "orders"},
                 "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]},
    }))?)
}

/// A suspended Job of two pods that each want four of a node's GPUs, on the node named after the test.
fn gpu_job(node: &str, stop_after_seconds: u32) -> Result<Job> {
    let limits = json!({"nvidia.com/gpu": "4"});
    Ok(serde_json::from_value(json!({
        "metadata": {"name": "train"},
        "spec": {"suspend": true, "parallelism": 2, "completions": 2, "template": {
            "metadata": {"annotations": {"e2e.ampacity.dev/stop-after-seconds": stop_after_seconds.to_string()}},
            "spec": {"restartPolicy": "Never", "nodeSelector": {"kubernetes.io/hostname": node},
                     "containers": [{"name": "train", "image": "none", "resources": {"limits": limits}}]},
        }},
    }))?)
}

/// What a Job's status says of its pods: active, ready, terminating.
fn counts(job: &Job) -> (i32, i32, i32) {
    let status = job.status.clone().unwrap_or_default();
    (status.active.unwrap_or(0), status.ready.unwrap_or(0), status.terminating.unwrap_or(0))
}

async fn job_reaches(jobs: &Api<Job>, what: &str, counted: (i32, i32, i32)) -> Result<()> {
    let mut last = None;
    let reached = until(what, FOLLOWS, async || {
        let now = counts(&jobs.get("train").await?);
        last = Some(now);
        Ok((now == counted).then_some(()))
    });
    reached.await.with_context(|| format!("(active, ready, terminating) was last {last:?}, not {counted:?}"))
}

async fn suspend(jobs: &Api<Job>, suspend: bool) -> Result<()> {
    jobs.patch("train", &PatchParams::default(), &Patch::Merge(json!({"spec": {"suspend": suspend}}))).await?;
    Ok(())
}

#[test]
fn a_suspended_job_starts_when_unsuspended_and_goes_when_suspended() -> Result<()> {
    cluster_test(Needs::FakeNodes, async |test| {
        let node = test.namespace();
        test.kwok_node(node, &[("pool", "h100")], &[("nvidia.com/gpu", "8")]).await?;
        let (jobs, pods) = (Api::<Job>::default_namespaced(test.admin()), Api::<Pod>::default_namespaced(test.admin()));
        jobs.create(&PostParams::default(), &gpu_job(node, 2)?).await?;
        until("the Job to be Suspended", FOLLOWS, async || {
            let status = jobs.get("train").await?.status.unwrap_or_default();
            let suspended =
                status.conditions.iter().flatten().any(|one| one.type_ == "Suspended" && one.status == "True");
            Ok(suspended.then_some(()))
        })
        .await?;
        assert_eq!(pods.list(&ListParams::default()).await?.items.len(), 0, "a suspended Job has pods");
        suspend(&jobs, false).await?;
        job_reaches(&jobs, "both pods to run", (2, 2, 0)).await?;
        let on: Vec<_> =
            pods.list(&ListParams::default()).await?.items.into_iter().map(|pod| pod.spec?.node_name).collect();
        assert_eq!(on, [Some(node.to_owned()), Some(node.to_owned())]);
        suspend(&jobs, true).await?;
        job_reaches(&jobs, "both pods to be stopping, none counted as active", (0, 0, 2)).await?;
        job_reaches(&jobs, "both pods to be gone", (0, 0, 0)).await?;
        assert_eq!(pods.list(&ListParams::default()).await?.items.len(), 0, "pods outlived the Job's count of them");
        Ok(())
    })
}

#[test]
fn a_node_gives_no_more_gpus_than_it_has() -> Result<()> {
    cluster_test(Needs::FakeNodes, async |test| {
        let node = test.namespace();
        test.kwok_node(node, &[], &[("nvidia.com/gpu", "7")]).await?;
        let (jobs, pods) = (Api::<Job>::default_namespaced(test.admin()), Api::<Pod>::default_namespaced(test.admin()));
        jobs.create(&PostParams::default(), &gpu_job(node, 0)?).await?;
        suspend(&jobs, false).await?;
        job_reaches(&jobs, "one pod to run and one to wait", (2, 1, 0)).await?;
        until("the scheduler to say why the other pod waits", FOLLOWS, async || {
            let pods = pods.list(&ListParams::default()).await?.items;
            let conditions = pods.iter().filter_map(|pod| pod.status.as_ref()?.conditions.as_ref()).flatten();
            let mut messages = conditions.filter_map(|one| one.message.as_deref());
            Ok(messages.any(|why| why.contains("Insufficient nvidia.com/gpu")).then_some(()))
        })
        .await
    })
}

#[test]
fn everybody_is_who_their_token_says_and_may_do_only_what_they_were_granted() -> Result<()> {
    cluster_test(Needs::AnyCluster, async |test| {
        for person in PEOPLE {
            if person == ADMIN {
                continue; // On a cluster of --kubeconfig the administrator has another name.
            }
            let reviews: Api<SelfSubjectReview> = Api::all(test.client(person).await?);
            let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await?;
            let user = review.status.and_then(|status| status.user_info).unwrap_or_default();
            let mut groups = user.groups.unwrap_or_default();
            groups.retain(|group| group != "system:authenticated");
            assert_eq!((user.username.as_deref(), groups), (Some(person.name), strings(person.groups)));
        }
        let maps: Api<ConfigMap> = Api::default_namespaced(test.client(TENANT_A).await?);
        let (code, message) = refusal(maps.list(&ListParams::default()).await)?;
        let why = "configmaps is forbidden: User \"tenant-a\" cannot list resource \"configmaps\" in API group \"\" \
                   in the namespace \"NAMESPACE\"";
        assert_eq!((code, message), (403, why.replace("NAMESPACE", test.namespace())));
        test.grant(TENANT_A, "view").await?;
        apply(&Api::default_namespaced(test.admin()), "a", "to be seen").await?;
        let seen = until("the grant to be known to the API server", FOLLOWS, async || value_of(&maps, "a").await);
        assert_eq!(seen.await?, "to be seen");
        assert_eq!(refusal(apply_raw(&maps, "a", "x").await)?.0, 403, "who may view could write");
        let others: Api<ConfigMap> = Api::namespaced(test.client(TENANT_A).await?, "default");
        assert_eq!(refusal(others.list(&ListParams::default()).await)?.0, 403, "a grant reached another namespace");
        Ok(())
    })
}

fn strings(all: &[&str]) -> Vec<String> {
    all.iter().map(|&one| one.to_owned()).collect()
}

/// A ConfigMap of this name, whose `data` holds one value.
fn map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": value}})
}

async fn apply_raw(maps: &Api<ConfigMap>, name: &str, value: &str) -> kube::Result<ConfigMap> {
    maps.patch(name, &PatchParams::apply("e2e"), &Patch::Apply(map(name, value))).await
}

async fn apply(maps: &Api<ConfigMap>, name: &str, value: &str) -> Result<()> {
    apply_raw(maps, name, value).await?;
    Ok(())
}

/// Whether an answer came within half a second, and if so whether it was good.
async fn in_time(answer: impl Future<Output = Result<()>>) -> Option<bool> {
    tokio::time::timeout(Duration::from_millis(500), answer).await.ok().map(|outcome| outcome.is_ok())
}

async fn value_of(maps: &Api<ConfigMap>, name: &str) -> Result<Option<String>> {
    Ok(maps.get_opt(name).await?.and_then(|map| map.data?.remove("value")))
}

/// The API of ConfigMaps in the test's namespace: straight, and through a proxy of the test's own.
async fn straight_and_through_a_proxy(
    test: &Test,
) -> Result<(ampacity_e2e::FaultProxy, Api<ConfigMap>, Api<ConfigMap>)> {
    let plain = test.plain()?;
    let proxy = plain.fault_proxy().await?;
    let through = Api::namespaced(plain.client_through(&proxy, ADMIN).await?, test.namespace());
    Ok((proxy, Api::default_namespaced(test.admin()), through))
}

#[test]
fn a_proxy_cuts_and_delays_what_goes_to_the_api_server_and_heals() -> Result<()> {
    cluster_test(Needs::FakeNodes, async |test| {
        let (proxy, _, through) = straight_and_through_a_proxy(test).await?;
        apply(&through, "a", "passed").await?;
        proxy.set(Mode::Cut);
        until("the cut connection to be gone", FOLLOWS, async || Ok((proxy.open_connections() == 0).then_some(())))
            .await?;
        assert!(value_of(&through, "a").await.is_err(), "a read went through a cut line");
        proxy.set(Mode::Delay(Duration::from_millis(300)));
        let started = Instant::now();
        assert_eq!(value_of(&through, "a").await?.as_deref(), Some("passed"));
        assert!(started.elapsed() >= Duration::from_millis(600), "there and back took {:?}", started.elapsed());
        proxy.set(Mode::Pass);
        apply(&through, "a", "healed").await?;
        assert_eq!(value_of(&through, "a").await?.as_deref(), Some("healed"));
        Ok(())
    })
}

#[test]
fn a_write_whose_answer_is_lost_has_happened_all_the_same() -> Result<()> {
    cluster_test(Needs::FakeNodes, async |test| {
        let (proxy, straight, through) = straight_and_through_a_proxy(test).await?;
        apply(&through, "a", "before").await?;
        proxy.set(Mode::DropResponses);
        assert_eq!(in_time(apply(&through, "a", "unanswered")).await, None, "an answer came through");
        until("the write to be seen by others", FOLLOWS, async || {
            Ok((value_of(&straight, "a").await?.as_deref() == Some("unanswered")).then_some(()))
        })
        .await
    })
}

#[test]
fn a_write_into_a_black_hole_lands_when_the_network_heals() -> Result<()> {
    cluster_test(Needs::FakeNodes, async |test| {
        let (proxy, straight, through) = straight_and_through_a_proxy(test).await?;
        apply(&through, "a", "before").await?;
        proxy.set(Mode::BlackHole);
        let late = tokio::spawn(async move { apply(&through, "a", "late").await });
        // Nothing is awaited here: this is the time in which a leak would show.
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(value_of(&straight, "a").await?.as_deref(), Some("before"), "the black hole let a write through");
        proxy.set(Mode::Pass);
        tokio::time::timeout(FOLLOWS, late).await???;
        assert_eq!(value_of(&straight, "a").await?.as_deref(), Some("late"));
        Ok(())
    })
}

#[test]
fn an_api_server_that_freezes_or_dies_comes_back_with_all_that_it_had_accepted() -> Result<()> {
    cluster_test(Needs::OwnControlPlane, async |test| {
        let plain = test.plain()?;
        let server = plain.part(Program::ApiServer)?;
        let maps: Api<ConfigMap> = Api::default_namespaced(test.admin());
        apply(&maps, "a", "kept").await?;
        server.freeze()?;
        assert_eq!(in_time(apply(&maps, "b", "frozen")).await, None, "a frozen API server answered");
        server.thaw()?;
        plain.api_server_ready().await?;
        assert_eq!(value_of(&maps, "a").await?.as_deref(), Some("kept"));
        apply(&maps, "a", "thawed").await?;
        server.kill()?;
        assert_eq!(in_time(apply(&maps, "b", "dead")).await, Some(false), "a dead API server took a write");
        server.start_again()?;
        plain.api_server_ready().await?;
        assert_eq!(value_of(&maps, "a").await?.as_deref(), Some("thawed"));
        Ok(())
    })
}

#[test]
fn a_run_that_is_killed_leaves_no_process_and_no_file() -> Result<()> {
    cluster_test(Needs::FakeNodes, async |test| {
        let folder = std::env::temp_dir().join(format!("ampacity-e2e-killed-{}", test.namespace()));
        std::fs::create_dir(&folder)?;
        let kubeconfig = folder.join("kubeconfig");
        let mut run = tokio::process::Command::new(env!("CARGO_BIN_EXE_ampacity-e2e"))
            .args(["up".as_ref(), "--kubeconfig".as_ref(), kubeconfig.as_os_str()])
            .env("TMPDIR", &folder)
            .kill_on_drop(true)
            .spawn()?;
        let text = until("a control plane of another process", 3 * FOLLOWS, async || {
            Ok(kubeconfig.exists().then(|| std::fs::read_to_string(&kubeconfig)).transpose()?)
        })
        .await?;
        let config: Value = serde_yaml::from_str(&text)?;
        let server = config.pointer("/clusters/0/cluster/server").and_then(Value::as_str).context("no server")?;
        let address = server.strip_prefix("https://").context("not https")?;
        tokio::net::TcpStream::connect(address).await.context("its API server is not there")?;
        run.kill().await?;
        until("its folder to be gone", FOLLOWS, async || {
            let left = std::fs::read_dir(&folder)?.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>>>()?;
            Ok((left == ["kubeconfig"]).then_some(()))
        })
        .await?;
        until("its API server to be gone", FOLLOWS, async || {
            Ok(tokio::net::TcpStream::connect(address).await.is_err().then_some(()))
        })
        .await?;
        Ok(std::fs::remove_dir_all(&folder)?)
    })
}
