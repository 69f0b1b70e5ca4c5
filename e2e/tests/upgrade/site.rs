//! The site that is upgraded: kwok plays its pods, and here each gets its process, which the API server knows by the
//! token of its pod. Devices keep their limiters in files while their agent is replaced, as real ones do.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ampacity::api::ControllableLoad;
use ampacity_e2e::identity::token;
use ampacity_e2e::process::Part;
use ampacity_e2e::{Plain, Test, until};
use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::{NAMESPACE, SOON, kubectl};

/// The site's limit, W: little more than everything at its highest together, 66,200 W.
const LIMIT_WATTS: i64 = 72_000;
/// What the GPU node draws beside its GPUs, W.
const OVERHEAD_WATTS: i64 = 4_600;

/// Two containers of miners and a node of GPUs.
pub(super) async fn apply(test: &Test, kubeconfig: &Path) -> Result<()> {
    let of = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "ampacity.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let budget = json!({
        "limitWatts": LIMIT_WATTS, "policy": {"mode": "Active"}, "meter": {"source": {"static": {"watts": "40k"}}},
        "energyPrice": {"source": {"static": {"value": "25.00"}}},
        "hashprice": {"source": {"static": {"value": "52.00"}}, "poolFeePercent": "2.0"},
    });
    let fleet = json!({
        "budget": "yard", "feeder": "yard", "containers": 2, "minersPerContainer": 8, "model": "S21",
        "curve": [{"watts": 1855, "gigahashPerSecond": 120_000}, {"watts": 3500, "gigahashPerSecond": 200_000}],
        "setpointRetention": "Persistent", "minimumOnSeconds": 0, "minimumOffSeconds": 0,
    });
    let pool = json!({
        "budget": "yard", "feeder": "yard", "nodeLabels": {"nvidia.com/gpu.present": "true"}, "gpusPerNode": 8,
        "minCapWatts": 200, "maxCapWatts": 700, "overheadWatts": OVERHEAD_WATTS,
    });
    let items = [of("PowerBudget", "yard", budget), of("MiningFleet", "s21", fleet), of("GpuPool", "h100", pool)];
    let path = test.plain()?.folder().join("site.json");
    fs::write(&path, serde_json::to_vec(&json!({"apiVersion": "v1", "kind": "List", "items": items}))?)?;
    kubectl(test, kubeconfig, &["apply", "--server-side", "-f", &path.display().to_string()]).await.map(drop)
}

/// The process of a pod.
struct Player {
    pod: String,
    /// Its load or node: of each there is one process at a time. Operators have none.
    seat: Option<String>,
    part: Part,
    stopped: Option<Instant>,
}

/// The kubelet of played pods: a process for each.
pub(super) struct Players {
    pods: Api<Pod>,
    /// As a kubelet, which alone may ask for pods' tokens.
    kubelet: Client,
    /// By UID of the pod.
    all: Mutex<BTreeMap<String, Player>>,
    settled: AtomicBool,
}

impl Players {
    pub(super) async fn new(test: &Test) -> Result<Self> {
        fs::create_dir(test.plain()?.folder().join("devices"))?;
        let kubelet = test.plain()?.config_as("system:node:n1", &["system:nodes", "system:masters"]).await?;
        Ok(Self {
            pods: Api::namespaced(test.admin(), NAMESPACE),
            kubelet: Client::try_from(kubelet)?,
            all: Mutex::default(),
            settled: AtomicBool::new(false),
        })
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Player>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pods that got a process.
    pub(super) fn started(&self) -> Vec<String> {
        self.all().values().map(|player| player.pod.clone()).collect()
    }

    /// Whether every pod has its process, and no process runs whose pod is gone.
    pub(super) fn settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    /// Starts and stops processes as pods come and go, for as long as it is polled.
    pub(super) async fn play(&self, test: &Test) -> Result<()> {
        let mut every = tokio::time::interval(Duration::from_millis(200));
        loop {
            every.tick().await;
            let pods = self.pods.list(&ListParams::default().labels("app.kubernetes.io/name=ampacity")).await?.items;
            let live: BTreeMap<String, Pod> = pods
                .into_iter()
                .filter(|pod| pod.metadata.deletion_timestamp.is_none())
                .filter(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()))
                .map(|pod| (pod.uid().unwrap_or_default(), pod))
                .collect();
            self.stop(&live)?;
            let mut complete = true;
            for (uid, pod) in &live {
                if !self.all().contains_key(uid) {
                    complete &= self.start(test.plain()?, uid, pod).await?;
                }
            }
            let over = self.all().iter().all(|(uid, player)| live.contains_key(uid) || player.part.ended().is_some());
            self.settled.store(complete && over, Ordering::Relaxed);
        }
    }

    fn stop(&self, live: &BTreeMap<String, Pod>) -> Result<()> {
        for (uid, player) in self.all().iter_mut() {
            let ended = player.part.ended();
            if !live.contains_key(uid) && player.stopped.is_none() {
                player.stopped = Some(Instant::now());
                if ended.is_none() {
                    player.part.terminate()?;
                }
            } else if let (Some(status), None) = (ended, player.stopped) {
                bail!("the process of pod {} ended with {status}:\n{}", player.pod, player.part.last_words(10));
            }
        }
        Ok(())
    }

    /// Whether the pod has its process now: not while its seat is still taken.
    async fn start(&self, plain: &Plain, uid: &str, pod: &Pod) -> Result<bool> {
        let (name, spec) = (pod.name_any(), pod.spec.clone().unwrap_or_default());
        let node = spec.node_name.context("a pod without a node")?;
        let asked = spec.containers.into_iter().next().and_then(|container| container.args).unwrap_or_default();
        let is_operator = asked.first().map(String::as_str) == Some("operator");
        let load = pod.labels().get("ampacity.dev/load").cloned();
        let seat = (!is_operator).then(|| load.unwrap_or_else(|| node.clone()));
        let taken = |player: &Player| player.seat.is_some() && player.seat == seat && player.part.ended().is_none();
        if self.all().values().any(taken) {
            return Ok(false);
        }
        let account = spec.service_account_name.context("a pod without an account")?;
        let token = token(self.kubelet.clone(), NAMESPACE, &account, &[], Some((&name, uid))).await?;
        let kubeconfig = plain.kubeconfig_with_token(&name, &token)?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let state = seat.as_ref().map(|seat| state(plain, seat).display().to_string()).unwrap_or_default();
        let placed = |argument: &String| {
            let argument =
                argument.replace("$(NODE_NAME)", &node).replace("0.0.0.0:8080", &format!("127.0.0.1:{port}"));
            argument.replace("/var/lib/ampacity/devices.json", &state)
        };
        let mut arguments: Vec<String> = asked.iter().map(placed).collect();
        arguments.extend(["--name", &name, "--namespace", NAMESPACE].map(str::to_owned));
        let more = if is_operator { ["--explain-address", "127.0.0.1:0"] } else { ["--pod-uid", uid] };
        arguments.extend(more.map(str::to_owned));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let part = if is_operator { "operator" } else { "agent" };
        let part = plain.run(part, &format!("{name}-{}.log", uid.get(..8).unwrap_or(uid)), &kubeconfig, &arguments)?;
        self.all().insert(uid.to_owned(), Player { pod: name, seat, part, stopped: None });
        Ok(true)
    }

    /// From the stop of the first operator until the second had claimed every load.
    pub(super) async fn longest_without_a_leader(&self, test: &Test) -> Result<Duration> {
        let stopped =
            self.all().values().filter(|player| player.seat.is_none()).filter_map(|player| player.stopped).max();
        let stopped = stopped.context("no operator was stopped")?;
        let loads: Api<ControllableLoad> = Api::namespaced(test.admin(), NAMESPACE);
        until("every load to be claimed by one leader", SOON, async || {
            let loads = loads.list(&ListParams::default()).await?.items;
            let last = loads.iter().map(|load| load.spec.order.epoch).max();
            // An epoch is the second of its leader's take-over.
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
            let claimed = loads.iter().all(|load| Some(load.spec.order.epoch) == last);
            let since = now.saturating_sub(u64::try_from(last.unwrap_or(0))?);
            Ok((claimed && stopped.elapsed() > Duration::from_secs(since))
                .then(|| stopped.elapsed() - Duration::from_secs(since)))
        })
        .await
    }
}

/// Where the devices of a load or node are kept.
fn state(plain: &Plain, seat: &str) -> PathBuf {
    plain.folder().join("devices").join(format!("{seat}.json"))
}

/// Looks at what the devices are held to, all the time.
pub(super) struct Watch {
    folder: PathBuf,
}

impl Watch {
    pub(super) fn new(test: &Test) -> Result<Self> {
        Ok(Self { folder: test.plain()?.folder().join("devices") })
    }

    /// By load, the most that its limiters let its devices draw, W.
    pub(super) fn now(&self) -> Result<BTreeMap<String, i64>> {
        let mut found = BTreeMap::new();
        for entry in
            fs::read_dir(&self.folder)?.flatten().filter(|entry| entry.path().extension() == Some("json".as_ref()))
        {
            let state: Value = serde_json::from_slice(&fs::read(entry.path())?)?;
            let load = state.pointer("/load").and_then(Value::as_str).context("of no load")?;
            found.insert(load.to_owned(), allowed(&state).with_context(|| state.to_string())?);
        }
        Ok(found)
    }

    /// Looks every 20 ms until `body` is done: nothing may fall below what it was, nor all together pass the limit.
    pub(super) async fn during(&self, body: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
        let before = self.now()?;
        let looked = Mutex::new(0_u64);
        let looking = async {
            let mut every = tokio::time::interval(Duration::from_millis(20));
            loop {
                every.tick().await;
                let now = self.now()?;
                let total = OVERHEAD_WATTS + now.values().sum::<i64>();
                ensure!(total <= LIMIT_WATTS, "{total} W are allowed under {LIMIT_WATTS} W: {now:?}");
                for (load, was) in &before {
                    let is = now.get(load).copied().unwrap_or(0);
                    ensure!(is >= *was, "{load} fell from {was} W to {is} W");
                }
                *looked.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            }
        };
        tokio::select! {
            outcome = body() => outcome?,
            fell = looking => return fell,
        }
        let looked = looked.into_inner().unwrap_or_else(PoisonError::into_inner);
        eprintln!(
            "looked {looked} times: nothing fell, nothing passed the limit; {:?} before, {:?} now",
            before,
            self.now()?
        );
        ensure!(looked > 100, "looked {looked} times");
        Ok(())
    }
}

/// The sum of a load's limiters, W; a machine that sleeps is allowed nothing.
fn allowed(state: &Value) -> Option<i64> {
    let runs = state.pointer("/limiters")?.as_array()?;
    let each = runs.iter().map(|run| {
        let watts = match run.get(1)? {
            Value::String(word) if word == "Asleep" => 0,
            // The highest step of the only ladder here.
            Value::String(word) if word == "Unlimited" => 3_500,
            held => held.get("Watts")?.as_i64()?,
        };
        Some(run.get(0)?.as_i64()? * watts)
    });
    each.sum()
}
