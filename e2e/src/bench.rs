//! What the tests of operators and agents as processes share: a small site, and the processes of it.

pub mod linked;

use std::net::TcpListener;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ampacity::api::{ControllableLoad, ControllableLoadStatus, GpuPool, GridEvent, MiningFleet, PowerBudget};
use anyhow::{Context, Result, ensure};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::identity::ADMIN;
use crate::process::Part;
use crate::{Plain, Test, until};

/// What takes a take-over (10 s and settling), a proof and a wake of every machine.
pub const PROVED_WITHIN: Duration = Duration::from_secs(150);
/// What takes no proof.
pub const SOON: Duration = Duration::from_secs(60);
/// Machines of a container.
pub const MINERS: i32 = 8;
/// Every machine at its highest step, W.
pub const FULL: i64 = 8 * 3_500;
/// Every machine asleep, with the error that a proof counts, W.
pub const ASLEEP: i64 = 8 * 32;

/// Budgets are the cluster's: two operators of one cluster would both lead it, so each test has a cluster alone.
pub const SITE: &str = "bench";

/// A site of so many containers and a GPU node; its objects are named after it.
///
/// # Errors
/// If the API server refuses one of them.
pub async fn site(test: &Test, containers: i32) -> Result<()> {
    let name = SITE;
    let budget = json!({
        "apiVersion": "ampacity.dev/v1alpha1", "kind": "PowerBudget", "metadata": {"name": name},
        "spec": {
            "limitWatts": "200k", "reserveWatts": "1k", "policy": {"mode": "Active"},
            "feeders": [{"name": "hall-a", "limitWatts": "150k"}],
            "ramp": {"upWattsPerMinute": "10M", "economicDownWattsPerMinute": "600k", "maxEconomicStepPercent": 100},
            "energyPrice": {"source": {"static": {"value": "25.00"}}},
            "hashprice": {"source": {"static": {"value": "52.00"}}, "poolFeePercent": "2.0"},
        },
    });
    let budget: PowerBudget = serde_json::from_value(budget)?;
    Api::all(test.admin()).create(&PostParams::default(), &budget).await?;
    fleet_and_pool(test, ("hall-a", "hall-a"), containers, &json!({})).await?;
    test.kwok_node(&format!("{name}-n1"), &[("pool", name)], &[("nvidia.com/gpu", "8")]).await?;
    Ok(())
}

/// The site's fleet of so many containers and its pool, each below a feeder. `more` is said of the fleet beside.
///
/// # Errors
/// If the API server refuses one of them.
pub async fn fleet_and_pool(test: &Test, below: (&str, &str), containers: i32, more: &Value) -> Result<()> {
    let (of_fleet, of_pool) = below;
    let mut spec = json!({
        "budget": SITE, "feeder": of_fleet, "containers": containers, "minersPerContainer": MINERS, "model": "S21",
        "curve": [{"watts": 1855, "gigahashPerSecond": 120_000}, {"watts": 3500, "gigahashPerSecond": 200_000}],
        "nameplateWattsPerContainer": "30k", "setpointRetention": "Persistent",
        "minimumOnSeconds": 0, "minimumOffSeconds": 0,
    });
    let (fields, more) = spec.as_object_mut().zip(more.as_object()).context("a fleet's fields")?;
    fields.extend(more.clone());
    let pool = json!({
        "budget": SITE, "feeder": of_pool, "nodeLabels": {"pool": SITE}, "gpusPerNode": 8,
        "minCapWatts": 200, "maxCapWatts": 700, "overheadWatts": "4600",
    });
    let fleet = MiningFleet::new(&format!("{SITE}-s21"), serde_json::from_value(spec)?);
    let pool = GpuPool::new(&format!("{SITE}-h100"), serde_json::from_value(pool)?);
    Api::all(test.admin()).create(&PostParams::default(), &fleet).await?;
    Api::all(test.admin()).create(&PostParams::default(), &pool).await?;
    Ok(())
}

/// Power costs this much from now on.
///
/// # Errors
/// If the API server refuses that.
pub async fn price(test: &Test, usd: &str) -> Result<()> {
    let patch = json!({"spec": {"energyPrice": {"source": {"static": {"value": usd}}}}});
    Api::<PowerBudget>::all(test.admin()).patch(SITE, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

/// A limit of the utility's on the site, or on a feeder of it, W: in force from so long after now until so long after,
/// and what there is to respond to it.
///
/// # Errors
/// If the API server refuses it.
pub async fn limit(
    test: &Test,
    name: &str,
    feeder: Option<&str>,
    watts: i64,
    response: Duration,
    lasts: Range<Duration>,
) -> Result<()> {
    let moment =
        |after: Duration| anyhow::Ok(Timestamp::from_second(Timestamp::now().checked_add(after)?.as_second())?);
    let event: GridEvent = serde_json::from_value(json!({
        "apiVersion": "ampacity.dev/v1alpha1", "kind": "GridEvent", "metadata": {"name": name},
        "spec": {
            "target": {"budget": SITE, "feeder": feeder}, "limitWatts": watts, "owner": "oncor",
            "reason": "transmission constraint", "responseSeconds": response.as_secs(),
            "start": moment(lasts.start)?.to_string(), "end": moment(lasts.end)?.to_string(),
        },
    }))?;
    Api::all(test.admin()).create(&PostParams::default(), &event).await?;
    Ok(())
}

/// A load as it stands.
///
/// # Errors
/// If it is not there.
pub async fn load(test: &Test, name: &str) -> Result<ControllableLoad> {
    Ok(Api::<ControllableLoad>::default_namespaced(test.admin()).get(name).await?)
}

/// A status that states a ceiling under the order that stands, once it keeps what `is` asks of it and its setpoint.
///
/// # Errors
/// If it does not in time.
pub async fn stated(
    test: &Test,
    name: &str,
    what: &str,
    is: impl Fn(&ControllableLoadStatus, i64) -> bool,
) -> Result<(ControllableLoadStatus, i64)> {
    until(&format!("{name}: {what}"), PROVED_WITHIN, async || {
        let load = load(test, name).await?;
        let (setpoint, status) = (load.spec.setpoint_watts.0, load.status.context("no status")?);
        let proved = status.devices.is_some_and(|devices| devices.proved == devices.total);
        let stands = status.order == Some(load.spec.order) && status.ceiling_watts.is_some() && proved;
        ensure!(stands && is(&status, setpoint), "setpoint {setpoint}, {status:?}");
        Ok(Some((status, setpoint)))
    })
    .await
}

/// What a load's agent states that its devices can draw, W; the most there is where it states nothing.
#[must_use]
pub fn ceiling(status: &ControllableLoadStatus) -> i64 {
    status.ceiling_watts.map_or(i64::MAX, |watts| watts.0)
}

/// The pod and the run of the agent that holds a load.
#[must_use]
pub fn holder(status: &ControllableLoadStatus) -> (String, String) {
    status.holder.as_ref().map(|holder| (holder.pod.clone(), holder.uid.clone())).unwrap_or_default()
}

/// A port that is free now.
///
/// # Errors
/// If there is none.
pub fn port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// What a process answers to a GET, with its head.
///
/// # Errors
/// If it does not answer.
pub async fn get(port: u16, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Whether that says 200.
#[must_use]
pub fn is_ok(answer: &str) -> bool {
    answer.lines().next().is_some_and(|line| line.ends_with("200 OK"))
}

/// Where processes of one site are run from.
#[derive(Debug)]
pub struct Bench<'a> {
    /// The control plane that they talk to.
    pub plain: &'a Plain,
    /// Where loads and agents are.
    pub namespace: &'a str,
    /// By which they may do everything.
    pub kubeconfig: PathBuf,
}

impl<'a> Bench<'a> {
    /// For the site of a test.
    ///
    /// # Errors
    /// If the test has no control plane of the suite's.
    pub fn new(test: &'a Test) -> Result<Self> {
        let plain = test.plain()?;
        Ok(Self { plain, namespace: test.namespace(), kubeconfig: plain.kubeconfig(ADMIN)? })
    }

    /// An operator whose agents' pods have this image, with more arguments.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn operator(&self, image: &str, more: &[&str]) -> Result<Part> {
        self.operator_named("op", image, &self.kubeconfig, more)
    }

    /// The same by its name, and by a kubeconfig of its own.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn operator_named(&self, name: &str, image: &str, kubeconfig: &Path, more: &[&str]) -> Result<Part> {
        self.operator_in(&[], name, image, kubeconfig, more)
    }

    /// The same with more in its environment.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn operator_in(
        &self,
        environment: &[(&str, &Path)],
        name: &str,
        image: &str,
        kubeconfig: &Path,
        more: &[&str],
    ) -> Result<Part> {
        let mut arguments = vec![
            "operator",
            "--namespace",
            self.namespace,
            "--name",
            name,
            "--explain-address",
            "127.0.0.1:0",
            "--agent-image",
            image,
            "--agent-service-account",
            "default",
            "--agent-device",
            "simulated",
        ];
        let address = format!("127.0.0.1:{}", port()?);
        if !more.contains(&"--http-address") {
            arguments.extend(["--http-address", address.as_str()]);
        }
        arguments.extend(more);
        self.plain.run_in(environment, "operator", &format!("{name}.log"), kubeconfig, &arguments)
    }

    /// The file in which the simulated devices of a load, or of a node, keep how they stand.
    #[must_use]
    pub fn state(&self, load: &str) -> PathBuf {
        self.plain.logs().join(format!("{load}.devices.json"))
    }

    /// The agent of a load by its name, or of a node.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn agent(&self, kind: &str, (flag, of): (&str, &str), kubeconfig: &Path, more: &[&str]) -> Result<(Part, u16)> {
        let port = port()?;
        let (pod, address) = (format!("{of}-agent"), format!("127.0.0.1:{port}"));
        let state = self.state(of).display().to_string();
        let mut arguments = vec![
            "agent",
            kind,
            flag,
            of,
            "--namespace",
            self.namespace,
            "--name",
            &pod,
            "--device",
            "simulated",
            "--device-state",
            &state,
            "--http-address",
            &address,
        ];
        arguments.extend(more);
        let name = if kind == "miner" { "miner-agent" } else { "gpu-agent" };
        Ok((self.plain.run(name, &format!("{of}-{port}.log"), kubeconfig, &arguments)?, port))
    }

    /// The agent of a container.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn miner(&self, load: &str) -> Result<(Part, u16)> {
        self.agent("miner", ("--load", load), &self.kubeconfig, &[])
    }
}

/// How a process ended, and the last that it said.
///
/// # Errors
/// If it does not end soon.
pub async fn ended(part: &Part) -> Result<(Option<i32>, String)> {
    let code = until("the end of a process", SOON, async || Ok(part.ended())).await?.code();
    let words = part.last_words(1);
    Ok((code, words.trim().to_owned()))
}

/// How many machines the file says are at work.
///
/// # Errors
/// If there is no such file.
pub fn working(state: &Path) -> Result<i64> {
    let state: Value = serde_json::from_slice(&std::fs::read(state)?)?;
    let runs = state.get("limiters").and_then(Value::as_array).cloned().unwrap_or_default();
    let capped = |run: &&Value| run.pointer("/1/Watts").is_some_and(Value::is_i64);
    Ok(runs.iter().filter(capped).filter_map(|run| run.get(0)?.as_i64()).sum())
}

/// What an agent was told to stay under, by its metrics, W.
///
/// # Errors
/// If it does not say.
pub async fn told(port: u16) -> Result<i64> {
    let metrics = get(port, "/metrics").await?;
    let line = metrics.lines().find(|line| line.starts_with("ampacity_agent_limit_watts{"));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).context("no limit")
}
