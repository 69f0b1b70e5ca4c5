//! What the tenants' tests stand on: the charts installed, an operator and the agents of four GPU nodes as real
//! processes under the charts' accounts, and two tenants with ordinary `edit` rights in namespaces of their own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ampacity::api::{ComputeLease, ControllableLoad};
use ampacity_e2e::bench::port;
use ampacity_e2e::helm::Helm;
use ampacity_e2e::identity::{ADMIN, token};
use ampacity_e2e::process::Part;
use ampacity_e2e::{Test, definitions, until};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use super::watch::Caps;

/// The namespace of the release.
pub(super) const NAMESPACE: &str = "ampacity";
/// Who is cheated, and who cheats.
pub(super) const TENANTS: [&str; 2] = ["tenant-a", "tenant-b"];
/// The leased nodes.
pub(super) const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];
/// What the site may draw, W. Four nodes at their highest caps draw 40 800.
pub(super) const LIMIT_WATTS: i64 = 36_000;
/// A node at its lowest caps, W, and at its highest.
pub(super) const LOWEST_WATTS: i64 = 8 * 200 + 4_600;
pub(super) const HIGHEST_WATTS: i64 = 8 * 700 + 4_600;
/// What a take-over and the first proofs take.
pub(super) const PROVED_WITHIN: Duration = Duration::from_secs(150);
pub(super) const SOON: Duration = Duration::from_secs(60);

static STAND: OnceCell<Stand> = OnceCell::const_new();
/// One operator, one test at a time.
static TURN: Mutex<()> = Mutex::const_new(());

/// The site, once it runs.
pub(super) struct Stand {
    pub(super) operator: Part,
    /// Where the operator answers.
    pub(super) port: u16,
    _agents: Vec<Part>,
    /// The clients of the tenants, in the order of [`TENANTS`].
    pub(super) clients: [Client; 2],
    pub(super) caps: Arc<Caps>,
}

/// The site, and the turn.
pub(super) async fn stand(test: &Test) -> Result<(&'static Stand, MutexGuard<'static, ()>)> {
    let turn = TURN.lock().await;
    Ok((STAND.get_or_try_init(async || build(test).await).await?, turn))
}

async fn build(test: &Test) -> Result<Stand> {
    install(test).await?;
    let pods: Api<Pod> = Api::namespaced(test.admin(), NAMESPACE);
    let of = |component: &str| ListParams::default().labels(&format!("app.kubernetes.io/component={component}"));
    let operator = pods.list(&of("operator")).await?.items.into_iter().next().context("no operator's pod")?;
    let (operator, port) = start_operator(test, &operator).await?;
    platform(test).await?;
    let (mut agents, mut states) = (Vec::new(), Vec::new());
    for pod in pods.list(&of("gpu-agent")).await?.items {
        let (agent, state) = start_agent(test, &pod).await?;
        agents.push(agent);
        states.push(state);
    }
    ensure!(states.len() == NODES.len(), "{} GPU agents", states.len());
    let clients = [tenant(test, TENANTS[0]).await?, tenant(test, TENANTS[1]).await?];
    let loads: Api<ControllableLoad> = Api::namespaced(test.admin(), NAMESPACE);
    until("every node proved at its lowest caps", PROVED_WITHIN, async || {
        let loads = loads.list(&ListParams::default()).await?.items;
        let ceiling = |load: &ControllableLoad| load.status.as_ref().and_then(|status| status.ceiling_watts);
        let lowest = loads.iter().filter(|load| ceiling(load).is_some_and(|watts| watts.0 <= LOWEST_WATTS));
        Ok((lowest.count() == NODES.len()).then_some(()))
    })
    .await?;
    let caps = Caps::watch(states);
    for (client, namespace) in clients.iter().zip(TENANTS) {
        let leases: Api<ComputeLease> = Api::namespaced(client.clone(), namespace);
        leases.create(&PostParams::default(), &lease("train", 8, 24)?).await?;
        let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
        jobs.create(&PostParams::default(), &job("train", "train", 2, 4)?).await?;
    }
    for (client, namespace) in clients.iter().zip(TENANTS) {
        works(client, namespace).await?;
    }
    // Behind the other, which has all that the lease grants.
    Api::namespaced(clients[1].clone(), TENANTS[1])
        .create(&PostParams::default(), &job("waiting", "train", 1, 4)?)
        .await?;
    until("two leases' nodes to be raised", PROVED_WITHIN, async || {
        let watts = caps.now();
        ensure!(watts.is_some_and(|watts| watts >= 2 * HIGHEST_WATTS + 2 * LOWEST_WATTS), "{watts:?}");
        Ok(Some(()))
    })
    .await?;
    Ok(Stand { operator, port, _agents: agents, clients, caps })
}

/// Waits until the pods of a tenant's Job run.
pub(super) async fn works(client: &Client, namespace: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let leases: Api<ComputeLease> = Api::namespaced(client.clone(), namespace);
    until(&format!("the Job of {namespace} to run"), PROVED_WITHIN, async || {
        let pods = pods.list(&ListParams::default().labels("job-name=train")).await?.items;
        let running = pods.iter().filter(|pod| pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running"));
        let waits = pods.iter().filter_map(|pod| pod.status.as_ref()?.conditions.as_ref()?.first()?.message.as_deref());
        let waits: Vec<&str> = waits.collect();
        ensure!(running.count() == 2, "pods: {waits:?}; lease: {:?}", leases.get("train").await?.status);
        Ok(Some(()))
    })
    .await
}

async fn install(test: &Test) -> Result<()> {
    let (plain, helm) = (test.plain()?, Helm::find()?);
    let kubeconfig = plain.kubeconfig(ADMIN)?;
    helm.run(Some(&kubeconfig), &["install", "ampacity-crds", "ampacity-crds"])?;
    definitions::served(&test.admin()).await?;
    plain.kwok_node("ops", &[], &[]).await?;
    let nodes: Api<Node> = Api::all(test.admin());
    let leased = json!({"spec": {"taints": [{"key": "ampacity.dev/leased", "effect": "NoSchedule"}]}});
    for node in NODES {
        plain.kwok_node(node, &[("nvidia.com/gpu.present", "true")], &[("nvidia.com/gpu", "8")]).await?;
        nodes.patch(node, &PatchParams::default(), &Patch::Merge(&leased)).await?;
    }
    test.kubectl(&["create", "namespace", NAMESPACE])?;
    test.kubectl(&["label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted"])?;
    let groups = json!(TENANTS.map(|namespace| format!("system:serviceaccounts:{namespace}")));
    let (groups, agents) = (format!("tenantGroups={groups}"), "gpuAgents.enabled=true");
    let release = ["install", "ampacity", "ampacity", "--namespace", NAMESPACE, "--wait", "--timeout", "120s"];
    let values = ["--set-json", agents, "--set-json", &groups];
    helm.run(Some(&kubeconfig), &[&release[..], &values].concat())?;
    Ok(())
}

/// A token of an account, bound to a pod as the kubelet of its node gets it.
async fn token_of(test: &Test, pod: &Pod) -> Result<String> {
    let spec = pod.spec.as_ref().context("a pod without a spec")?;
    let node = spec.node_name.as_deref().context("a pod on no node")?;
    let account = spec.service_account_name.as_deref().context("a pod without an account")?;
    let kubelet = format!("system:node:{node}");
    let config = test.plain()?.config_as(&kubelet, &["system:nodes", "system:masters"]).await?;
    let (name, uid) = (pod.name_any(), pod.uid().unwrap_or_default());
    token(Client::try_from(config)?, NAMESPACE, account, &[], Some((&name, &uid))).await
}

async fn start_operator(test: &Test, pod: &Pod) -> Result<(Part, u16)> {
    let (name, port) = (pod.name_any(), port()?);
    let kubeconfig = test.plain()?.kubeconfig_with_token(&name, &token_of(test, pod).await?)?;
    let address = format!("127.0.0.1:{port}");
    let arguments = ["operator", "--namespace", NAMESPACE, "--name", &name, "--http-address", &address];
    let more = ["--explain-address", "127.0.0.1:0"];
    let operator = test.plain()?.run("operator", "operator.log", &kubeconfig, &[&arguments[..], &more].concat())?;
    Ok((operator, port))
}

/// The agent of the node that the DaemonSet's pod stands for. Gives the file of its devices' limiters.
async fn start_agent(test: &Test, pod: &Pod) -> Result<(Part, PathBuf)> {
    let (name, uid) = (pod.name_any(), pod.uid().unwrap_or_default());
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).context("an agent on no node")?;
    let kubeconfig = test.plain()?.kubeconfig_with_token(&name, &token_of(test, pod).await?)?;
    let state = test.plain()?.logs().join(format!("{node}.devices.json"));
    let (shown, address) = (state.display().to_string(), format!("127.0.0.1:{}", port()?));
    let who = ["agent", "gpu", "--node", &node, "--namespace", NAMESPACE, "--name", &name, "--pod-uid", &uid];
    let how = ["--device", "simulated", "--device-state", &shown, "--http-address", &address];
    let arguments = [&who[..], &how].concat();
    Ok((test.plain()?.run("gpu-agent", &format!("{node}.log"), &kubeconfig, &arguments)?, state))
}

/// What the platform team describes.
async fn platform(test: &Test) -> Result<()> {
    let made = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "ampacity.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let budget = json!({
        "limitWatts": LIMIT_WATTS.to_string(), "reserveWatts": "1k", "policy": {"mode": "Active"},
        "ramp": {"upWattsPerMinute": "10M", "economicDownWattsPerMinute": "10M"},
        "energyPrice": {"source": {"static": {"value": "25.00"}}},
        "hashprice": {"source": {"static": {"value": "52.00"}}, "poolFeePercent": "2.0"},
    });
    let pool = json!({
        "budget": "yard", "feeder": "yard", "nodeLabels": {"nvidia.com/gpu.present": "true"}, "gpusPerNode": 8,
        "minCapWatts": 200, "maxCapWatts": 700, "overheadWatts": "4600",
    });
    let class = json!({
        "delivery": "Jobs", "pool": "h100", "service": "Firm", "pricePerGpuHour": "2.10", "noticeSeconds": 60,
        "maxGpusPerNamespace": 9,
    });
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        made("PowerBudget", "yard", budget), made("GpuPool", "h100", pool), made("LeaseClass", "firm", class),
    ]});
    test.apply(&objects)
}

/// A namespace, and a client of an account in it that has the right to edit it, once that is in force.
async fn tenant(test: &Test, namespace: &str) -> Result<Client> {
    let named = |name: &str| json!({"name": name, "namespace": namespace});
    let group = "rbac.authorization.k8s.io";
    test.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": named("dev")},
            {"apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": named("dev"),
             "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "edit"},
             "subjects": [{"kind": "ServiceAccount", "name": "dev", "namespace": namespace}]},
    ]}))?;
    let token = token(test.admin(), namespace, "dev", &[], None).await?;
    let client = Client::try_from(test.plain()?.config_with_token(&token).await?)?;
    let leases: Api<ComputeLease> = Api::namespaced(client.clone(), namespace);
    until("a tenant's rights", SOON, async || Ok(leases.list(&ListParams::default()).await.ok())).await?;
    Ok(client)
}

/// The moment that is so many hours from now.
pub(super) fn hence(hours: i64) -> Result<String> {
    Ok(Timestamp::from_second(Timestamp::now().as_second() + hours * 3_600)?.to_string())
}

/// A lease that began an hour ago and lasts so many hours more.
pub(super) fn lease(name: &str, gpus: i32, hours: i64) -> Result<ComputeLease> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "ampacity.dev/v1alpha1", "kind": "ComputeLease", "metadata": {"name": name},
        "spec": {"className": "firm", "gpus": gpus, "maxPricePerGpuHour": "2.20",
                 "term": {"start": hence(-1)?, "end": hence(hours)?}},
    }))?)
}

/// A Job under a lease as a tenant writes it: for nodes that are not the lease's, which the operator does not leave so.
pub(super) fn job(name: &str, lease: &str, pods: i32, gpus: i32) -> Result<Job> {
    let labels = json!({"ampacity.dev/lease": lease});
    let container =
        json!({"name": "a", "image": "none", "resources": {"limits": {"nvidia.com/gpu": gpus.to_string()}}});
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {"suspend": true, "parallelism": pods, "completions": pods, "template": {
            "metadata": {"labels": labels},
            "spec": {"restartPolicy": "Never", "containers": [container],
                     "nodeSelector": {"nvidia.com/gpu.present": "elsewhere"},
                     "tolerations": [{"key": "ampacity.dev/leased", "operator": "Exists"}]},
        }},
    }))?)
}

/// What a GET at a port of this machine answers.
pub(super) async fn get(port: u16, path: &str) -> Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
