//! The charts installed on a real API server: what comes up, and what the operator's account can do with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ampacity::api::{
    ComputeLease, ControllableLoad, GpuPool, GridEvent, LeaseClass, Lockout, MiningFleet, PowerBudget,
};
use ampacity::link::memory::{Exchange, MemoryUplink};
use ampacity::market::Market;
use ampacity::operator::http::{self, Health};
use ampacity::operator::own::AgentPods;
use ampacity::operator::run::{Pace, Shell, run};
use ampacity::operator::{Operator, Options};
use ampacity::store::Filter;
use ampacity::store::kube::{KubeStore, control};
use ampacity_core::units::Time;
use ampacity_e2e::helm::Helm;
use ampacity_e2e::identity::{ADMIN, token};
use ampacity_e2e::{Needs, Test, cluster_test_within, definitions, until};
use anyhow::{Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, MutexGuard, Notify, OnceCell, oneshot};

use super::{INSTALLATIONS, table};

/// The namespace of the release.
pub(super) const NAMESPACE: &str = "ampacity";
/// All of a test, the start of a control plane left out.
pub(super) const LIMIT: Duration = Duration::from_secs(300);
const SOON: Duration = Duration::from_secs(60);

/// Once for all tests of this file: there is one release a cluster.
static INSTALLED: OnceCell<()> = OnceCell::const_new();
/// An operator acts on all that the others make: one test at a time.
static TURN: Mutex<()> = Mutex::const_new(());

/// Installs both charts as production does, in a namespace that takes restricted pods alone, and takes the turn.
pub(super) async fn installed(test: &Test) -> Result<MutexGuard<'static, ()>> {
    let turn = TURN.lock().await;
    INSTALLED.get_or_try_init(async || install(test).await).await?;
    Ok(turn)
}

async fn install(test: &Test) -> Result<()> {
    let (plain, helm) = (test.plain()?, Helm::find()?);
    let kubeconfig = plain.kubeconfig(ADMIN)?;
    test.kubectl(&["apply", "-f", &table("monitoring-crds.yaml").display().to_string()])?;
    helm.run(Some(&kubeconfig), &["install", "ampacity-crds", "ampacity-crds"])?;
    definitions::served(&test.admin()).await?;
    definitions::served_at(&test.admin(), "/apis/monitoring.coreos.com/v1/servicemonitors?limit=1").await?;
    for node in ["n1", "n2"] {
        let labels = [("nvidia.com/gpu.present", "true"), ("node-role.kubernetes.io/control-plane", "")];
        plain.kwok_node(node, &labels, &[("nvidia.com/gpu", "8")]).await?;
    }
    test.kubectl(&["create", "namespace", NAMESPACE])?;
    test.kubectl(&["label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted"])?;
    every_object_is_accepted(test)?;
    let values = table("production.values.yaml").display().to_string();
    let arguments = ["install", "ampacity", "ampacity", "--namespace", NAMESPACE, "--values", &values];
    let notes = helm.run(Some(&kubeconfig), &[&arguments[..], &["--wait", "--timeout", "120s"]].concat())?;
    ensure!(notes.contains("two operators in namespace ampacity"), "{notes}");
    Ok(())
}

/// Asked before anything is installed: over what Helm has made, other values would be merged.
fn every_object_is_accepted(test: &Test) -> Result<()> {
    for installation in INSTALLATIONS {
        let path = table(&format!("{installation}.yaml"));
        let objects = std::fs::read_to_string(&path)?.lines().filter(|line| line.starts_with("kind: ")).count();
        let file = path.display().to_string();
        let said = test.kubectl(&["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", &file])?;
        assert_eq!(said.lines().filter(|line| line.ends_with("(server dry run)")).count(), objects, "{said}");
    }
    Ok(())
}

/// A token of an account of the release, as the kubelet of n1 gets it for a pod (or for none).
pub(super) async fn token_of(test: &Test, account: &str, pod: Option<(&str, &str)>) -> Result<String> {
    let config = test.plain()?.config_as("system:node:n1", &["system:nodes", "system:masters"]).await?;
    token(Client::try_from(config)?, NAMESPACE, account, &[], pod).await
}

#[test]
fn every_object_of_every_installation_is_accepted_and_its_pods_run_where_pods_are_restricted() -> Result<()> {
    cluster_test_within(LIMIT, Needs::FakeNodes, async |test| {
        let _turn = installed(test).await?;
        let pods = test.kubectl(&["get", "pods", "--namespace", NAMESPACE, "--output", "name"])?;
        let of = |name: &str| pods.lines().filter(|pod| pod.contains(name)).count();
        assert_eq!((of("/ampacity-operator-"), of("/ampacity-gpu-agent-")), (2, 2), "{pods}");
        Ok(())
    })
}

/// The moment that is so many hours from now.
fn hence(hours: i64) -> Result<String> {
    Ok(Timestamp::from_second(Timestamp::now().as_second() + hours * 3_600)?.to_string())
}

/// A site that needs every right that the operator has: loads, a class, a lease and its Job.
async fn site(test: &Test) -> Result<()> {
    let name = "chart-site";
    let made = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "ampacity.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let budget: PowerBudget = serde_json::from_value(made(
        "PowerBudget",
        name,
        json!({"limitWatts": "200k", "policy": {"mode": "Active"}, "meter": {"source": {"static": {"watts": "60k"}}},
               "energyPrice": {"source": {"static": {"value": "25.00"}}},
               "hashprice": {"source": {"static": {"value": "52.00"}}, "poolFeePercent": "2.0"}}),
    ))?;
    let fleet: MiningFleet = serde_json::from_value(made(
        "MiningFleet",
        "chart-s21",
        json!({"budget": name, "feeder": name, "containers": 2, "minersPerContainer": 8, "model": "S21",
               "curve": [{"watts": 1855, "gigahashPerSecond": 120_000}, {"watts": 3500, "gigahashPerSecond": 200_000}]}),
    ))?;
    let pool: GpuPool = serde_json::from_value(made(
        "GpuPool",
        "chart-h100",
        json!({"budget": name, "feeder": name, "nodeLabels": {"nvidia.com/gpu.present": "true"}, "gpusPerNode": 8,
               "minCapWatts": 200, "maxCapWatts": 700, "overheadWatts": "4600"}),
    ))?;
    let class: LeaseClass = serde_json::from_value(made(
        "LeaseClass",
        "chart-firm",
        json!({"delivery": "Jobs", "pool": "chart-h100", "service": "Firm", "pricePerGpuHour": "2.10"}),
    ))?;
    let lease: ComputeLease = serde_json::from_value(made(
        "ComputeLease",
        "go",
        json!({"className": "chart-firm", "gpus": 4, "maxPricePerGpuHour": "2.20",
               "term": {"start": hence(-1)?, "end": hence(24)?}}),
    ))?;
    let labels = json!({"ampacity.dev/lease": "go"});
    let container = json!({"name": "a", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "2"}}});
    let job: Job = serde_json::from_value(json!({
        "metadata": {"name": "train", "labels": labels},
        "spec": {"suspend": true, "template": {"metadata": {"labels": labels},
                 "spec": {"restartPolicy": "Never", "containers": [container]}}},
    }))?;
    let event: GridEvent = serde_json::from_value(made(
        "GridEvent",
        "chart-peak",
        json!({"target": {"budget": name}, "limitWatts": "190k", "owner": "ercot", "reason": "peak"}),
    ))?;
    let by = PostParams::default();
    Api::all(test.admin()).create(&by, &budget).await?;
    Api::all(test.admin()).create(&by, &event).await?;
    Api::all(test.admin()).create(&by, &fleet).await?;
    Api::all(test.admin()).create(&by, &pool).await?;
    Api::all(test.admin()).create(&by, &class).await?;
    Api::default_namespaced(test.admin()).create(&by, &lease).await?;
    Api::default_namespaced(test.admin()).create(&by, &job).await?;
    Ok(())
}

/// A person holds the node that the lease's pod runs on, and releases it.
async fn hold_and_release(test: &Test) -> Result<()> {
    let pods: Api<Pod> = Api::default_namespaced(test.admin());
    let of_job = ListParams::default().labels("job-name=train");
    let (pod, node) = until("the Job's pod to have a node", SOON, async || {
        let pod = pods.list(&of_job).await?.items.into_iter().next();
        Ok(pod.and_then(|pod| Some((pod.uid()?, pod.spec?.node_name?))))
    })
    .await?;
    let lockout: Lockout = serde_json::from_value(json!({
        "apiVersion": "ampacity.dev/v1alpha1", "kind": "Lockout", "metadata": {"name": "chart"},
        "spec": {"target": {"budget": "chart-site", "load": format!("chart-h100-{node}")}, "holder": "admin", "reason": "fan"},
    }))?;
    let lockouts: Api<Lockout> = Api::all(test.admin());
    lockouts.create(&PostParams::default(), &lockout).await?;
    let nodes: Api<Node> = Api::all(test.admin());
    let cordoned = async || anyhow::Ok(nodes.get(&node).await?.spec.and_then(|spec| spec.unschedulable) == Some(true));
    until("the node to be cordoned", SOON, async || Ok(cordoned().await?.then_some(()))).await?;
    until("the pod to be gone", SOON, async || {
        let there = pods.list(&of_job).await?.items.iter().any(|one| one.uid().as_ref() == Some(&pod));
        Ok((!there).then_some(()))
    })
    .await?;
    lockouts.delete("chart", &DeleteParams::default()).await?;
    until("the node to be given back", SOON, async || Ok((!cordoned().await?).then_some(()))).await
}

/// Runs an operator with a client of its own until `driver` is done with it.
async fn operate(client: Client, driver: impl AsyncFnOnce(SocketAddr) -> Result<()>) -> Result<()> {
    let mut store = KubeStore::connect(client, NAMESPACE, Filter::All);
    let mut link = MemoryUplink::join(&Exchange::new(0, Time::ZERO), "charted");
    let mut feeds = Market::new(std::path::Path::new("."));
    let health = Arc::new(Health::default());
    let (address, serving) = http::serve("127.0.0.1:0".parse()?, health.clone()).await?;
    let options = Options {
        name: "charted".into(),
        namespace: NAMESPACE.into(),
        agents: AgentPods::Elsewhere,
        link: String::new(),
    };
    let pace = Pace::default();
    let link_wake = Arc::new(Notify::new());
    let shell = Shell { store: &mut store, link: &mut link, link_wake, feeds: &mut feeds, health, pace };
    let (stop, stopped) = oneshot::channel::<()>();
    let running = run(Operator::new(options), shell, async { drop(stopped.await) });
    let driving = async {
        let driven = driver(address).await;
        drop(stop);
        driven
    };
    let (outcome, driven) = tokio::join!(running, driving);
    serving.abort();
    assert_eq!(outcome, Ok(()));
    driven
}

async fn metrics(address: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[test]
fn the_operators_account_may_do_all_that_an_operator_does() -> Result<()> {
    cluster_test_within(LIMIT, Needs::FakeNodes, async |test| {
        let _turn = installed(test).await?;
        site(test).await?;
        let token = token_of(test, "ampacity-operator", None).await?;
        let client = Client::try_from(control(test.plain()?.config_with_token(&token).await?))?;
        operate(client, async |address| {
            let loads: Api<ControllableLoad> = Api::namespaced(test.admin(), NAMESPACE);
            until("the loads of the site", SOON, async || {
                let of_site = ListParams::default().labels("ampacity.dev/budget=chart-site");
                Ok((loads.list(&of_site).await?.items.len() == 4).then_some(()))
            })
            .await?;
            let jobs: Api<Job> = Api::default_namespaced(test.admin());
            let leases: Api<ComputeLease> = Api::default_namespaced(test.admin());
            until("the lease's Job to be started", SOON, async || {
                let spec = jobs.get("train").await?.spec.unwrap_or_default();
                ensure!(spec.suspend == Some(false), "{:?}", leases.get("go").await?.status);
                Ok(Some(()))
            })
            .await?;
            hold_and_release(test).await?;
            let text = metrics(address).await?;
            ensure!(text.contains("ampacity_writes_total{outcome=\"accepted\"}"), "{text}");
            let age = "ampacity_node_measured_age_seconds{site=\"chart-site\",node=\"chart-site\"} 0.0";
            ensure!(text.contains(age), "{text}");
            ensure!(!text.contains("ampacity_writes_total{outcome=\"refused\"}"), "{text}");
            Ok(())
        })
        .await
    })
}
