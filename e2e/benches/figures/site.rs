//! The site that is measured: a control plane, its objects, an operator as a process, and the agents of all its loads.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ampacity::agent::setting::Made;
use ampacity::api::{ComputeLease, ControllableLoad, GpuPool, GridEvent, LeaseClass, MiningFleet, PowerBudget};
use ampacity::link::grpc::certificates::AGENT_SECRET;
use ampacity::link::grpc::identity::AUDIENCE;
use ampacity::store::kube::control;
use ampacity_core::tree::Tree;
use ampacity_e2e::helm::Helm;
use ampacity_e2e::identity::ADMIN;
use ampacity_e2e::process::Part;
use ampacity_e2e::{Plain, definitions, until};
use anyhow::{Context, Result, ensure};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret, ServiceAccount};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;
use tokio::task::JoinSet;

use super::crowd::{Crowd, Recruit};

pub(crate) const NAMESPACE: &str = "ampacity";
pub(crate) const BUDGET: &str = "figures";
/// Requests under way at once, of whoever makes the site.
const AT_ONCE: usize = 32;
/// All that the site's making and settling may take, each step.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);
/// Mining pays at this price of power, USD/MWh, and at this one it does not.
pub(crate) const PAYS: &str = "25.00";
pub(crate) const DOES_NOT_PAY: &str = "400.00";
/// A container holds one machine: a thousand of them are simulated beside what is measured.
const FULL_WATTS: i64 = 3_500;

/// How large it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) containers: usize,
    /// GPU nodes of eight GPUs.
    pub(crate) nodes: usize,
    /// Jobs of one GPU.
    pub(crate) jobs: usize,
}

impl Size {
    pub(crate) const fn loads(self) -> usize {
        self.containers + self.nodes
    }

    /// What nodes at lowest caps draw: a limit of this much on them stops every lease.
    pub(crate) fn idle_nodes_watts(self) -> Result<i64> {
        Ok(i64::try_from(self.nodes)? * (8 * 200 + 4_600))
    }

    /// What must run: such nodes, machines asleep at 30 W, and the reserve. A limit of this much takes all else.
    pub(crate) fn must_run_watts(self) -> Result<i64> {
        Ok(self.idle_nodes_watts()? + i64::try_from(self.containers)? * 30 + 1_000)
    }
}

pub(crate) struct Site {
    pub(crate) plain: Plain,
    pub(crate) admin: Client,
    pub(crate) size: Size,
    /// Tokens of the chart's accounts: the operator and the agents are let in as what they are.
    operator: String,
    agents: String,
}

/// What the chart says of who may do what, and of who waits for whom at the API server.
fn granted(plain: &Plain) -> Result<()> {
    let shown = ["--show-only", "templates/rbac.yaml", "--show-only", "templates/flow-control.yaml"];
    let chart = Helm::find()?
        .run(None, &[&["template", "ampacity", "ampacity", "--namespace", NAMESPACE], &shown[..]].concat())?;
    let file = plain.folder().join("chart.yaml");
    fs::write(&file, chart)?;
    let kubeconfig = plain.kubeconfig(ADMIN)?;
    let done = Command::new(plain.kubectl()).env("KUBECONFIG", kubeconfig).arg("apply").arg("-f").arg(file).output()?;
    ensure!(done.status.success(), "kubectl apply: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// A token of one of them for the API server itself.
async fn token(admin: &Client, account: &str) -> Result<String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), NAMESPACE);
    let asked: TokenRequest = serde_json::from_value(json!({"spec": {"audiences": [], "expirationSeconds": 14_400}}))?;
    let given = accounts.create_token_request(account, &PostParams::default(), &asked).await?;
    Ok(given.status.context("a token request without an answer")?.token)
}

fn made(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "ampacity.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// Makes many objects of one kind, some at once.
pub(crate) async fn create_all<K>(api: &Api<K>, all: Vec<K>) -> Result<()>
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Send + Sync,
{
    let mut making = JoinSet::new();
    for one in all {
        while making.len() >= AT_ONCE {
            making.join_next().await.context("nothing is made")???;
        }
        let api = api.clone();
        making.spawn(async move {
            // A connection that the API server closes at that moment is no answer: once more, on another.
            match api.create(&PostParams::default(), &one).await {
                Err(kube::Error::Service(_)) => match api.create(&PostParams::default(), &one).await {
                    Err(kube::Error::Api(said)) if said.code == 409 => Ok(()),
                    again => again.map(drop),
                },
                made => made.map(drop),
            }
        });
    }
    while let Some(done) = making.join_next().await {
        done??;
    }
    Ok(())
}

impl Site {
    /// A control plane with the site's objects on it.
    pub(crate) async fn new(size: Size) -> Result<Self> {
        let plain = Plain::start().await?;
        let mut config = plain.config(ADMIN).await?;
        config.read_timeout = Some(PATIENCE);
        let admin = Client::try_from(config)?;
        definitions::install(&admin).await?;
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}}))?;
        Api::all(admin.clone()).create(&PostParams::default(), &namespace).await?;
        plain.service_account(&admin, NAMESPACE).await?;
        plain.kwok_node("ops", &[], &[("pods", "20000")]).await?;
        plain
            .kwok_nodes((0..size.nodes).map(|at| format!("g{at}")), &[("pool", "h100")], &[("nvidia.com/gpu", "8")])
            .await?;
        granted(&plain)?;
        let (operator, agents) =
            (token(&admin, "ampacity-operator").await?, token(&admin, "ampacity-miner-agent").await?);
        let site = Self { plain, admin, size, operator, agents };
        site.describe().await?;
        Ok(site)
    }

    async fn describe(&self) -> Result<()> {
        let by = PostParams::default();
        let budget: PowerBudget = serde_json::from_value(made(
            "PowerBudget",
            BUDGET,
            &json!({
                "limitWatts": "200M", "reserveWatts": "1k", "policy": {"mode": "Active"},
                "ramp": {"upWattsPerMinute": "1G", "economicDownWattsPerMinute": "1G", "maxEconomicStepPercent": 100},
                "energyPrice": {"source": {"static": {"value": PAYS}}},
                "hashprice": {"source": {"static": {"value": "52.00"}}, "poolFeePercent": "2.0"},
            }),
        ))?;
        Api::all(self.admin.clone()).create(&by, &budget).await?;
        for (at, from) in (0..self.size.containers).step_by(2_000).enumerate() {
            let containers = (self.size.containers - from).min(2_000);
            let fleet: MiningFleet = serde_json::from_value(made(
                "MiningFleet",
                &format!("s21-{at}"),
                &json!({
                    "budget": BUDGET, "feeder": BUDGET, "containers": containers, "minersPerContainer": 1, "model": "S21",
                    "curve": [{"watts": 1855, "gigahashPerSecond": 120_000}, {"watts": FULL_WATTS, "gigahashPerSecond": 200_000}],
                    "setpointRetention": "Persistent", "minimumOnSeconds": 0, "minimumOffSeconds": 0,
                }),
            ))?;
            Api::all(self.admin.clone()).create(&by, &fleet).await?;
        }
        let pool: GpuPool = serde_json::from_value(made(
            "GpuPool",
            "h100",
            &json!({
                "budget": BUDGET, "feeder": BUDGET, "nodeLabels": {"pool": "h100"}, "gpusPerNode": 8,
                "minCapWatts": 200, "maxCapWatts": 700, "overheadWatts": "4600",
            }),
        ))?;
        Api::all(self.admin.clone()).create(&by, &pool).await?;
        let class: LeaseClass = serde_json::from_value(made(
            "LeaseClass",
            "firm",
            &json!({"delivery": "Jobs", "pool": "h100", "service": "Firm", "pricePerGpuHour": "2.10"}),
        ))?;
        Api::all(self.admin.clone()).create(&by, &class).await?;
        Ok(())
    }

    /// Starts an operator. Gives where it answers.
    pub(crate) fn operator(&self, name: &'static str) -> Result<(Part, u16)> {
        let port = ampacity_e2e::bench::port()?;
        let address = format!("127.0.0.1:{port}");
        let kubeconfig = self.plain.kubeconfig_with_token("operator", &self.operator)?;
        let arguments = [
            "operator",
            "--namespace",
            NAMESPACE,
            "--name",
            name,
            "--http-address",
            &address,
            "--explain-address",
            "127.0.0.1:0",
            "--link-address",
            "127.0.0.1:0",
            "--link-miner-account",
            "default",
            "--link-gpu-account",
            "default",
        ];
        Ok((self.plain.run(name, &format!("{name}.log"), &kubeconfig, &arguments)?, port))
    }

    /// Waits until every load is born.
    pub(crate) async fn born(&self) -> Result<Vec<ControllableLoad>> {
        let loads: Api<ControllableLoad> = Api::namespaced(self.admin.clone(), NAMESPACE);
        until("every load", PATIENCE, async || {
            let all = loads.list_metadata(&ListParams::default()).await?.items.len();
            ensure!(all == self.size.loads(), "{all}");
            Ok(Some(loads.list(&ListParams::default()).await?.items))
        })
        .await
    }

    /// Starts the agents of all loads, and waits until each is linked and its ceiling stated.
    pub(crate) async fn crowd(&self) -> Result<Crowd> {
        let loads = self.born().await?;
        let pods: Api<Pod> = Api::namespaced(self.admin.clone(), NAMESPACE);
        let pod = |load: &ControllableLoad| -> Result<Pod> {
            let node = load.spec.owner.node.as_deref().unwrap_or("ops");
            Ok(serde_json::from_value(json!({
                "metadata": {"name": format!("{}-agent", load.name_any())},
                "spec": {"nodeName": node, "containers": [{"name": "agent", "image": "none"}]},
            }))?)
        };
        create_all(&pods, loads.iter().map(pod).collect::<Result<_>>()?).await?;
        let folder = self.plain.folder().join("link");
        self.certificates(&folder).await?;
        let tree = Tree::try_from(&Api::<PowerBudget>::all(self.admin.clone()).get(BUDGET).await?)?;
        let recruits = self.recruits(&loads, &folder).await?;
        let eyes = Client::try_from(control(self.plain.config(ADMIN).await?))?;
        let agents = Client::try_from(control(self.plain.config_with_token(&self.agents).await?))?;
        let (crowd, all) = (Crowd::start((eyes, agents), NAMESPACE, &tree, &folder, recruits)?, self.size.loads());
        until("every agent linked and proved", PATIENCE, async || {
            let told = crowd.told();
            ensure!(told.linked == all && told.stated.len() == all, "{} {}", told.linked, told.stated.len());
            Ok(Some(()))
        })
        .await?;
        Ok(crowd)
    }

    async fn certificates(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        let secrets: Api<Secret> = Api::namespaced(self.admin.clone(), NAMESPACE);
        let secret =
            until("the agents' certificate", PATIENCE, async || Ok(secrets.get_opt(AGENT_SECRET).await?)).await?;
        for (name, data) in secret.data.unwrap_or_default() {
            fs::write(folder.join(name), data.0)?;
        }
        Ok(())
    }

    /// What each agent is made of, with a token that the API server made for its pod.
    async fn recruits(&self, loads: &[ControllableLoad], folder: &Path) -> Result<Vec<Recruit>> {
        let pods: Api<Pod> = Api::namespaced(self.admin.clone(), NAMESPACE);
        let pods = pods.list(&ListParams::default()).await?.items;
        let fleets = Api::<MiningFleet>::all(self.admin.clone()).list(&ListParams::default()).await?.items;
        let pool = Api::<GpuPool>::all(self.admin.clone()).get("h100").await?.spec;
        let mut asking: JoinSet<Result<Recruit>> = JoinSet::new();
        let mut recruits = Vec::with_capacity(loads.len());
        for load in loads {
            let (name, pod) = (load.name_any(), format!("{}-agent", load.name_any()));
            let uid = pods.iter().find(|one| one.name_any() == pod).and_then(ResourceExt::uid);
            let fleet = load.spec.owner.fleet.as_ref();
            let fleet = fleet.and_then(|fleet| fleets.iter().find(|one| one.name_any() == *fleet));
            let made = fleet.map_or_else(
                || Made::Node(Box::new(pool.clone())),
                |fleet| Made::Container(Box::new(fleet.spec.clone())),
            );
            let accounts: Api<ServiceAccount> = Api::namespaced(self.admin.clone(), NAMESPACE);
            let token: PathBuf = folder.join(format!("{name}.token"));
            while asking.len() >= AT_ONCE {
                recruits.push(asking.join_next().await.context("nothing is asked")???);
            }
            asking.spawn(async move {
                let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid});
                let asked =
                    json!({"spec": {"audiences": [AUDIENCE], "expirationSeconds": 7200, "boundObjectRef": bound}});
                let asked: TokenRequest = serde_json::from_value(asked)?;
                let given = accounts.create_token_request("default", &PostParams::default(), &asked).await?;
                fs::write(&token, given.status.context("a token request without an answer")?.token)?;
                Ok(Recruit { load: name, pod, made, token })
            });
        }
        while let Some(recruit) = asking.join_next().await {
            recruits.push(recruit??);
        }
        Ok(recruits)
    }

    /// Power costs this much from now on, USD/MWh. Gives when that was asked.
    pub(crate) async fn price(&self, usd: &str) -> Result<Instant> {
        let patch = json!({"spec": {"energyPrice": {"source": {"static": {"value": usd}}}}});
        let asked = Instant::now();
        Api::<PowerBudget>::all(self.admin.clone())
            .patch(BUDGET, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(asked)
    }

    /// The utility limits the site, or one kind of its loads, at once. Gives when that was asked.
    pub(crate) async fn limit(&self, name: &str, kind: Option<&str>, watts: i64) -> Result<Instant> {
        let target = kind.map_or_else(|| json!({"budget": BUDGET}), |kind| json!({"budget": BUDGET, "kind": kind}));
        let event: GridEvent = serde_json::from_value(made(
            "GridEvent",
            name,
            &json!({
                "target": target, "limitWatts": watts.to_string(), "owner": "oncor", "reason": "line trip",
                "responseSeconds": 0,
            }),
        ))?;
        let asked = Instant::now();
        Api::all(self.admin.clone()).create(&PostParams::default(), &event).await?;
        Ok(asked)
    }

    /// The limit is taken back.
    pub(crate) async fn lift(&self, name: &str) -> Result<()> {
        Api::<GridEvent>::all(self.admin.clone()).delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Waits until each of so many leases has its offer.
    pub(crate) async fn offered(&self, count: usize) -> Result<()> {
        let leases: Api<ComputeLease> = Api::namespaced(self.admin.clone(), "default");
        until("an answer to each lease", PATIENCE, async || {
            let all = leases.list(&ListParams::default()).await?.items;
            let offered = |one: &&ComputeLease| one.status.as_ref().is_some_and(|status| status.offer.is_some());
            let answered = all.iter().filter(offered).count();
            ensure!(answered == count, "{answered}");
            Ok(Some(()))
        })
        .await
    }
}

/// A lease of so many GPUs that has begun.
pub(crate) fn lease(name: &str, gpus: i32) -> Result<ComputeLease> {
    let hence =
        |hours: i64| Timestamp::from_second(Timestamp::now().as_second() + hours * 3_600).map(|at| at.to_string());
    Ok(serde_json::from_value(json!({
        "apiVersion": "ampacity.dev/v1alpha1", "kind": "ComputeLease", "metadata": {"name": name},
        "spec": {"className": "firm", "gpus": gpus, "maxPricePerGpuHour": "2.20",
                 "term": {"start": hence(-1)?, "end": hence(48)?}},
    }))?)
}

/// A Job of one pod and one GPU under a lease.
pub(crate) fn job(name: &str, lease: &str) -> Result<Job> {
    let labels = json!({"ampacity.dev/lease": lease});
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {"suspend": true, "template": {
            "metadata": {"labels": labels},
            "spec": {"restartPolicy": "Never", "containers":
                [{"name": "a", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]},
        }},
    }))?)
}

/// Deletes all objects of a kind in a namespace and waits until they are gone.
pub(crate) async fn clear<K>(api: &Api<K>) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    K::DynamicType: Default,
{
    until("all to be gone", PATIENCE, async || {
        // A thousand may take longer than the API server gives one request: the next goes on with those that are left.
        api.delete_collection(&DeleteParams::background(), &ListParams::default()).await?;
        Ok(api.list_metadata(&ListParams::default()).await?.items.is_empty().then_some(()))
    })
    .await
}
