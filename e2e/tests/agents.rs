//! `ampacity operator`, `ampacity agent miner` and `ampacity agent gpu` as processes on a real API server: orders are
//! followed and proved, an agent that is killed changes nothing, and the agents' pods are made and replaced.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ampacity::api::{ControllableLoad, ControllableLoadStatus, GpuPool, MiningFleet, PowerBudget};
use ampacity_e2e::identity::ADMIN;
use ampacity_e2e::process::Part;
use ampacity_e2e::{FaultProxy, Mode, Needs, Plain, Test, cluster_test_within, definitions, until};
use anyhow::{Context, Result, anyhow, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// All of a test.
const LIMIT: Duration = Duration::from_secs(420);
/// What takes a take-over (10 s and settling), a proof and a wake of every machine.
const PROVED_WITHIN: Duration = Duration::from_secs(150);
const SOON: Duration = Duration::from_secs(60);
const MINERS: i32 = 8;
/// Every machine at its highest step, W.
const FULL: i64 = 8 * 3_500;
/// Every machine asleep, with the error that a proof counts, W.
const ASLEEP: i64 = 8 * 32;

/// Budgets are the cluster's: two operators of one cluster would both lead it, so this file is one test.
const SITE: &str = "bench";

/// A site of two containers and a GPU node; its objects are named after it.
async fn site(test: &Test) -> Result<()> {
    let name = SITE;
    let budget = json!({
        "apiVersion": "ampacity.dev/v1alpha1", "kind": "PowerBudget", "metadata": {"name": name},
        "spec": {
            "limitWatts": "200k", "reserveWatts": "1k", "policy": {"mode": "Active"},
            "feeders": [{"name": "hall-a", "limitWatts": "150k"}],
            "ramp": {"upWattsPerMinute": "10M", "economicDownWattsPerMinute": "10M", "maxEconomicStepPercent": 100},
            "energyPrice": {"source": {"static": {"value": "25.00"}}},
            "hashprice": {"source": {"static": {"value": "52.00"}}, "poolFeePercent": "2.0"},
        },
    });
    let fleet = json!({
        "apiVersion": "ampacity.dev/v1alpha1", "kind": "MiningFleet", "metadata": {"name": format!("{name}-s21")},
        "spec": {
            "budget": name, "feeder": "hall-a", "containers": 2, "minersPerContainer": MINERS, "model": "S21",
            "curve": [{"watts": 1855, "gigahashPerSecond": 120_000}, {"watts": 3500, "gigahashPerSecond": 200_000}],
            "nameplateWattsPerContainer": "30k", "setpointRetention": "Persistent",
            "minimumOnSeconds": 0, "minimumOffSeconds": 0,
        },
    });
    let pool = json!({
        "apiVersion": "ampacity.dev/v1alpha1", "kind": "GpuPool", "metadata": {"name": format!("{name}-h100")},
        "spec": {
            "budget": name, "feeder": "hall-a", "nodeLabels": {"pool": name}, "gpusPerNode": 8,
            "minCapWatts": 200, "maxCapWatts": 700, "overheadWatts": "4600",
        },
    });
    let budget: PowerBudget = serde_json::from_value(budget)?;
    let fleet: MiningFleet = serde_json::from_value(fleet)?;
    let pool: GpuPool = serde_json::from_value(pool)?;
    Api::all(test.admin()).create(&PostParams::default(), &budget).await?;
    Api::all(test.admin()).create(&PostParams::default(), &fleet).await?;
    Api::all(test.admin()).create(&PostParams::default(), &pool).await?;
    test.kwok_node(&format!("{name}-n1"), &[("pool", name)], &[("nvidia.com/gpu", "8")]).await?;
    Ok(())
}

/// Power costs this much from now on.
async fn price(test: &Test, usd: &str) -> Result<()> {
    let patch = json!({"spec": {"energyPrice": {"source": {"static": {"value": usd}}}}});
    Api::<PowerBudget>::all(test.admin()).patch(SITE, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

async fn load(test: &Test, name: &str) -> Result<ControllableLoad> {
    Ok(Api::<ControllableLoad>::default_namespaced(test.admin()).get(name).await?)
}

/// A status that states a ceiling under the order that stands, once it keeps what `is` asks of it and its setpoint.
async fn stated(
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

fn ceiling(status: &ControllableLoadStatus) -> i64 {
    status.ceiling_watts.map_or(i64::MAX, |watts| watts.0)
}

fn holder(status: &ControllableLoadStatus) -> (String, String) {
    status.holder.as_ref().map(|holder| (holder.pod.clone(), holder.uid.clone())).unwrap_or_default()
}

/// A port that is free now.
fn port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

async fn get(port: u16, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

fn is_ok(answer: &str) -> bool {
    answer.lines().next().is_some_and(|line| line.ends_with("200 OK"))
}

/// Where processes of one site are run from.
struct Bench<'a> {
    plain: &'a Plain,
    namespace: &'a str,
    kubeconfig: PathBuf,
}

impl<'a> Bench<'a> {
    fn new(test: &'a Test) -> Result<Self> {
        let plain = test.plain()?;
        Ok(Self { plain, namespace: test.namespace(), kubeconfig: plain.kubeconfig(ADMIN)? })
    }

    fn operator(&self, image: &str) -> Result<Part> {
        let address = format!("127.0.0.1:{}", port()?);
        let arguments = [
            "operator",
            "--namespace",
            self.namespace,
            "--name",
            "op",
            "--http-address",
            &address,
            "--explain-address",
            "127.0.0.1:0",
            "--agent-image",
            image,
            "--agent-service-account",
            "default",
            "--agent-device",
            "simulated",
        ];
        self.plain.run("operator", "operator.log", &self.kubeconfig, &arguments)
    }

    fn state(&self, load: &str) -> PathBuf {
        self.plain.logs().join(format!("{load}.devices.json"))
    }

    /// The agent of a load by its name, or of a node.
    fn agent(&self, kind: &str, (flag, of): (&str, &str), kubeconfig: &Path) -> Result<(Part, u16)> {
        let port = port()?;
        let (pod, address) = (format!("{of}-agent"), format!("127.0.0.1:{port}"));
        let state = self.state(of).display().to_string();
        let arguments = [
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
        let name = if kind == "miner" { "miner-agent" } else { "gpu-agent" };
        Ok((self.plain.run(name, &format!("{of}-{port}.log"), kubeconfig, &arguments)?, port))
    }

    fn miner(&self, load: &str) -> Result<(Part, u16)> {
        self.agent("miner", ("--load", load), &self.kubeconfig)
    }
}

/// How a process ended, and the last that it said.
async fn ended(part: &Part) -> Result<(Option<i32>, String)> {
    let code = until("the end of a process", SOON, async || Ok(part.ended())).await?.code();
    let words = part.last_words(1);
    Ok((code, words.trim().to_owned()))
}

/// How many machines the file says are at work.
fn working(state: &Path) -> Result<i64> {
    let state: Value = serde_json::from_slice(&std::fs::read(state)?)?;
    let runs = state.get("limiters").and_then(Value::as_array).cloned().unwrap_or_default();
    let capped = |run: &&Value| run.pointer("/1/Watts").is_some_and(Value::is_i64);
    Ok(runs.iter().filter(capped).filter_map(|run| run.get(0)?.as_i64()).sum())
}

#[test]
fn operator_and_agents_as_processes_follow_orders_and_one_that_is_killed_changes_nothing() -> Result<()> {
    cluster_test_within(LIMIT, Needs::FakeNodes, async |test| {
        definitions::install(&test.admin()).await?;
        site(test).await?;
        let bench = Bench::new(test)?;
        let operator = bench.operator("registry.example/ampacity:1")?;
        let loads: Api<ControllableLoad> = Api::default_namespaced(test.admin());
        let born = async || loads.list(&ListParams::default()).await.map(|all| all.items.len() == 3);
        until("three loads", SOON, async || Ok(born().await?.then_some(()))).await?;
        let (first, second, node) = ("bench-s21-0", "bench-s21-1", "bench-h100-bench-n1");

        let proxy = test.plain()?.fault_proxy().await?;
        let through = test.plain()?.kubeconfig_through(&proxy, ADMIN)?;
        let (agent, _) = bench.miner(first)?;
        let (far, far_port) = bench.agent("miner", ("--load", second), &through)?;
        let (_gpus, gpu_port) = bench.agent("gpu", ("--node", "bench-n1"), &bench.kubeconfig)?;
        // While they take over and prove. kwok runs the pods' objects, the agents are these processes.
        let made = pods_are_made(test).await?;

        // Mining pays: machines that slept are woken, each proved under its order.
        for name in [first, second] {
            let all = async || Ok((working(&bench.state(name))? == i64::from(MINERS)).then_some(()));
            until("every machine to be told to work", PROVED_WITHIN, all).await?;
            let woken = |s: &ControllableLoadStatus, to: i64| (FULL..=to).contains(&ceiling(s));
            stated(test, name, "every machine proved under its order", woken).await?;
        }
        // Nobody leased the node: it is held at its lowest caps, 200 W a GPU and the error beside the overhead.
        let (status, setpoint) = stated(test, node, "capped", |s, to| to < 10_000 && ceiling(s) <= to).await?;
        assert!(ceiling(&status) >= 8 * 200, "{setpoint} {status:?}");
        answers_for_itself(gpu_port, node).await?;

        let _operator = pods_are_replaced(test, &bench, operator, made).await?;
        killed_changes_nothing(test, &bench, agent, first).await?;
        refuses_what_is_not_its_own(&bench, first).await?;
        in_the_dark_holds(test, &proxy, (&far, far_port), second).await
    })
}

/// What people and kubelets ask an agent.
async fn answers_for_itself(port: u16, load: &str) -> Result<()> {
    ensure!(is_ok(&get(port, "/healthz").await?) && is_ok(&get(port, "/readyz").await?));
    let metrics = get(port, "/metrics").await?;
    for word in [
        &format!("ampacity_agent_ceiling_watts{{load=\"{load}\"}} "),
        &format!("ampacity_agent_limit_watts{{load=\"{load}\"}} "),
        "ampacity_agent_devices{standing=\"proved\"} 8",
        "ampacity_agent_writes_total{outcome=\"accepted\"} ",
        "ampacity_agent_tick_seconds_count ",
    ] {
        ensure!(metrics.contains(word), "no {word} in\n{metrics}");
    }
    Ok(())
}

/// Killed while its machines work, an agent leaves them at work; its successor takes the load over, which voids the
/// ceiling, proves what it finds, and obeys.
async fn killed_changes_nothing(test: &Test, bench: &Bench<'_>, agent: Part, name: &str) -> Result<()> {
    let before = load(test, name).await?.status.map(|status| holder(&status)).unwrap_or_default();
    agent.kill()?;
    let (agent, port) = bench.miner(name)?;
    let taken = until("the new holder", SOON, async || {
        let status = load(test, name).await?.status.context("no status")?;
        Ok((holder(&status).1 != before.1).then_some(status))
    })
    .await?;
    assert_eq!(
        (taken.ceiling_watts, holder(&taken).0),
        (None, format!("{name}-agent")),
        "void until it is proved anew"
    );
    ensure!(!is_ok(&get(port, "/readyz").await?), "ready without a proof of its own");
    assert_eq!(working(&bench.state(name))?, i64::from(MINERS), "the machines work on");
    let (status, _) = stated(test, name, "proved anew", |s, to| to >= FULL && ceiling(s) <= to).await?;
    assert!(ceiling(&status) >= FULL, "{status:?}");
    assert_eq!(working(&bench.state(name))?, i64::from(MINERS));

    // A second agent of the load: the first must not go on.
    let (other, _) = bench.miner(name)?;
    let said = format!("error: load {name:?}: another agent holds it (status.holder): one agent a load");
    assert_eq!(ended(&agent).await?, (Some(3), said));
    // Leaving, it changes nothing.
    other.terminate()?;
    assert_eq!(ended(&other).await?.0, Some(0));
    assert_eq!(working(&bench.state(name))?, i64::from(MINERS));
    Ok(())
}

/// A load of the other kind, and one that is not there: an agent says so and ends.
async fn refuses_what_is_not_its_own(bench: &Bench<'_>, name: &str) -> Result<()> {
    let (gpu, _) = bench.agent("gpu", ("--load", name), &bench.kubeconfig)?;
    wrong(&gpu, &format!("error: load {name:?}: spec.kind is Miner, not Gpu: serve it with `ampacity agent miner`"))
        .await?;
    let (nobody, _) = bench.miner("nobody")?;
    let said = format!(
        "error: --load nobody: there is no ControllableLoad of this name in namespace {:?}; there are: bench-h100-bench-n1, bench-s21-0, bench-s21-1",
        bench.namespace
    );
    wrong(&nobody, &said).await
}

async fn wrong(part: &Part, said: &str) -> Result<()> {
    assert_eq!(ended(part).await?, (Some(2), said.to_owned()));
    Ok(())
}

/// Cut off from the API server an agent keeps what it was told; back again it obeys what was ordered meanwhile.
async fn in_the_dark_holds(test: &Test, proxy: &FaultProxy, far: (&Part, u16), name: &str) -> Result<()> {
    let told = |metrics: &str| {
        let line = metrics.lines().find(|line| line.starts_with("ampacity_agent_limit_watts{"));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<i64>().ok())
    };
    let (agent, port) = far;
    let before = told(&get(port, "/metrics").await?).context("no limit")?;
    proxy.set(Mode::Cut);
    price(test, "400.00").await?;
    let ordered = until("an order that lowers", SOON, async || {
        let setpoint = load(test, name).await?.spec.setpoint_watts.0;
        Ok((setpoint < FULL / 2).then_some(setpoint))
    })
    .await?;
    ensure!(is_ok(&get(port, "/healthz").await?), "it turns in the dark");
    assert_eq!((told(&get(port, "/metrics").await?), agent.ended()), (Some(before), None));
    assert!(ordered < before);
    proxy.set(Mode::Pass);
    let (status, _) = stated(test, name, "lowered", |s, to| to == ordered && ceiling(s) <= to).await?;
    assert!(status.measured_watts.is_some_and(|watts| watts.0 <= ASLEEP), "{status:?}");
    Ok(())
}

/// The agents' pods by name.
async fn pods(test: &Test) -> Result<BTreeMap<String, Pod>> {
    let labelled = ListParams::default().labels("app.kubernetes.io/component=agent");
    let pods = Api::<Pod>::default_namespaced(test.admin()).list(&labelled).await?;
    Ok(pods.items.into_iter().map(|pod| (pod.name_any(), pod)).collect())
}

fn uids(pods: &BTreeMap<String, Pod>) -> Vec<(String, Option<String>)> {
    pods.iter().map(|(name, pod)| (name.clone(), pod.uid())).collect()
}

fn image(pod: &Pod) -> Option<String> {
    pod.spec.as_ref()?.containers.first()?.image.clone()
}

/// The pods, once there are two and both run.
async fn two(test: &Test) -> Result<Option<BTreeMap<String, Pod>>> {
    let pods = pods(test).await?;
    let runs = |pod: &Pod| pod.metadata.deletion_timestamp.is_none() && phase(pod) == "Running";
    Ok((pods.len() == 2 && pods.values().all(runs)).then_some(pods))
}

/// One agent pod a container, each as its template says; one that a person deleted is made again.
async fn pods_are_made(test: &Test) -> Result<BTreeMap<String, Pod>> {
    let made = until("two agents' pods that run", SOON, async || two(test).await).await?;
    assert_eq!(made.keys().collect::<Vec<_>>(), ["bench-s21-0-agent", "bench-s21-1-agent"]);
    for (pod, load) in made.values().zip(["bench-s21-0", "bench-s21-1"]) {
        template(pod, load)?;
    }
    let api: Api<Pod> = Api::default_namespaced(test.admin());
    api.delete("bench-s21-1-agent", &DeleteParams::default()).await?;
    let again = async || Ok(two(test).await?.filter(|pods| uids(pods) != uids(&made)));
    let again = until("another in its place", SOON, again).await?;
    assert_eq!(uids(&again).first(), uids(&made).first(), "the other is left alone");
    Ok(again)
}

/// An operator with another image replaces one agent after the other.
async fn pods_are_replaced(
    test: &Test,
    bench: &Bench<'_>,
    operator: Part,
    made: BTreeMap<String, Pod>,
) -> Result<Part> {
    operator.terminate()?;
    assert_eq!(ended(&operator).await?.0, Some(0));
    let operator = bench.operator("registry.example/ampacity:2")?;
    let mut least = 2;
    let all = until("both under the new image", PROVED_WITHIN, async || {
        let pods = pods(test).await?;
        least = least.min(pods.values().filter(|pod| pod.metadata.deletion_timestamp.is_none()).count());
        let new = pods.values().all(|pod| image(pod).as_deref() == Some("registry.example/ampacity:2"));
        Ok((pods.len() == 2 && new).then_some(pods))
    })
    .await?;
    assert!(least >= 1, "both were gone at once");
    assert!(uids(&all).iter().zip(uids(&made)).all(|(new, old)| *new != old), "nobody changes a pod's image in place");
    Ok(operator)
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// What the API server holds of a pod, as far as it decides what its agent may do.
fn template(pod: &Pod, load: &str) -> Result<()> {
    let value = serde_json::to_value(pod)?;
    let at = |pointer: &str| value.pointer(pointer).cloned().unwrap_or_default();
    assert_eq!(pod.metadata.owner_references, None, "agents outlive their loads");
    let labels = pod.labels();
    assert_eq!(labels.get("ampacity.dev/load").map(String::as_str), Some(load));
    assert_eq!(labels.get("ampacity.dev/budget").map(String::as_str), Some(SITE));
    let expected = [
        ("/spec/restartPolicy", json!("Always")),
        ("/spec/serviceAccountName", json!("default")),
        ("/spec/securityContext/runAsNonRoot", json!(true)),
        ("/spec/securityContext/seccompProfile/type", json!("RuntimeDefault")),
        ("/spec/containers/0/image", json!("registry.example/ampacity:1")),
        ("/spec/containers/0/securityContext/readOnlyRootFilesystem", json!(true)),
        ("/spec/containers/0/securityContext/allowPrivilegeEscalation", json!(false)),
        ("/spec/containers/0/securityContext/capabilities", json!({"drop": ["ALL"]})),
        ("/spec/containers/0/resources/limits", json!({"memory": "128Mi"})),
    ];
    for (pointer, is) in expected {
        ensure!(at(pointer) == is, "{pointer}: {} and not {is}", at(pointer));
    }
    let args: Vec<String> = serde_json::from_value(at("/spec/containers/0/args"))?;
    let named = args.iter().skip_while(|arg| *arg != "--load").nth(1).map(String::as_str);
    (named == Some(load)).then_some(()).ok_or_else(|| anyhow!("{args:?}"))
}
