//! `ampacity operator`, `ampacity agent miner` and `ampacity agent gpu` as processes on a real API server: orders are
//! followed and proved, an agent that is killed changes nothing, the agents' pods are made and replaced, and the link
//! between them carries what must not wait.

#[path = "agents/certificates.rs"]
mod certificates;
#[path = "agents/link.rs"]
mod link;
#[path = "agents/pods.rs"]
mod pods;

use std::time::Duration;

use ampacity::api::{ControllableLoad, ControllableLoadStatus};
use ampacity_e2e::bench::{
    ASLEEP, Bench, FULL, MINERS, PROVED_WITHIN, SOON, ceiling, ended, get, holder, is_ok, load, price, site, stated,
    told, working,
};
use ampacity_e2e::identity::ADMIN;
use ampacity_e2e::process::Part;
use ampacity_e2e::{FaultProxy, Mode, Needs, Test, cluster_test_within, definitions, until};
use anyhow::{Context, Result, ensure};
use kube::api::{Api, ListParams};

use pods::{pods_are_made, pods_are_replaced};

/// All of a test.
const LIMIT: Duration = Duration::from_secs(420);

#[test]
fn operator_and_agents_as_processes_follow_orders_and_one_that_is_killed_changes_nothing() -> Result<()> {
    cluster_test_within(LIMIT, Needs::FakeNodes, async |test| {
        definitions::install(&test.admin()).await?;
        site(test, 2).await?;
        let bench = Bench::new(test)?;
        let operator = bench.operator("registry.example/ampacity:1", &[])?;
        let loads: Api<ControllableLoad> = Api::default_namespaced(test.admin());
        let born = async || loads.list(&ListParams::default()).await.map(|all| all.items.len() == 3);
        until("three loads", SOON, async || Ok(born().await?.then_some(()))).await?;
        let (first, second, node) = ("bench-s21-0", "bench-s21-1", "bench-h100-bench-n1");

        let proxy = test.plain()?.fault_proxy().await?;
        let through = test.plain()?.kubeconfig_through(&proxy, ADMIN)?;
        let (agent, _) = bench.miner(first)?;
        let (far, far_port) = bench.agent("miner", ("--load", second), &through, &[])?;
        let (_gpus, gpu_port) = bench.agent("gpu", ("--node", "bench-n1"), &bench.kubeconfig, &[])?;
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
    let (gpu, _) = bench.agent("gpu", ("--load", name), &bench.kubeconfig, &[])?;
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
    let (agent, port) = far;
    let before = told(port).await?;
    proxy.set(Mode::Cut);
    price(test, "400.00").await?;
    let ordered = until("an order that lowers", SOON, async || {
        let setpoint = load(test, name).await?.spec.setpoint_watts.0;
        Ok((setpoint < FULL / 2).then_some(setpoint))
    })
    .await?;
    ensure!(is_ok(&get(port, "/healthz").await?), "it turns in the dark");
    assert_eq!((told(port).await?, agent.ended()), (before, None));
    assert!(ordered < before);
    proxy.set(Mode::Pass);
    let (status, _) = stated(test, name, "lowered", |s, to| to == ordered && ceiling(s) <= to).await?;
    assert!(status.measured_watts.is_some_and(|watts| watts.0 <= ASLEEP), "{status:?}");
    Ok(())
}
