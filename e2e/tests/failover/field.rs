//! What happens around leaders: watches that drop and expire, clocks that step, agents that are replaced, nodes that are
//! lost, and definitions that change while orders flow.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use ampacity::api::controllable_load::PROTOCOL;
use ampacity::api::{ComputeLease, ControllableLoad, LeaseClass, PowerBudget, crd};
use ampacity_e2e::bench::{SITE, SOON, ended, holder, load, price};
use ampacity_e2e::binaries::Program;
use ampacity_e2e::{Mode, definitions, figure, until};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, PropagationPolicy};
use serde_json::json;

use super::leaders::DECIDES_WITHIN;
use super::plant::{self, BUSY, CHEAP, DEAR, LOW, NODE, NODE_NAME, Site, before};

const SHED_ENDS_WITHIN: Duration = Duration::from_secs(90);
/// Every connection is closed, and none made, for so long: less than a leadership lasts.
const DROPPED: Duration = Duration::from_secs(2);
/// A clock steps by so much.
const STEP_SECONDS: i64 = 3_600;
/// A node and its agent are gone for so long: more than its proof lives, less than what it takes for its pods to be
/// cleared away (40 s).
const LOST: Duration = Duration::from_secs(25);
/// The node at full power, W.
const NODE_FULL: i64 = 4_600 + 8 * 700;

fn cut(site: &Site<'_>, mode: Mode) {
    for proxy in site.operators.iter().map(|operator| &operator.proxy).chain([&site.field]) {
        proxy.set(mode);
    }
}

/// Every watch is dropped, and what is ordered meanwhile is seen afterwards.
pub(crate) async fn watches_dropped(site: &mut Site<'_>) -> Result<()> {
    let (scene, epoch) = ("watches that drop", site.orders.epoch());
    cut(site, Mode::Cut);
    price(site.test, DEAR).await?;
    tokio::time::sleep(DROPPED).await;
    let back = Instant::now();
    cut(site, Mode::Pass);
    let shed = site.shed(SHED_ENDS_WITHIN).await?;
    figure("watches_dropped_back_to_shed_complete", before(shed, back)?.as_secs_f64(), "seconds");
    site.led_on(scene, epoch)?;
    site.held(scene)
}

/// Lines of every operator's and agent's log that say that a watch had expired.
fn expired(site: &Site<'_>) -> Result<usize> {
    let mut count = 0;
    for part in site.operators.iter().map(|o| &o.part).chain(site.agents.iter().map(|agent| &agent.part)) {
        let log = std::fs::read_to_string(part.log())?;
        count += log.lines().filter(|line| line.contains("watch failed") && line.contains("too old")).count();
    }
    Ok(count)
}

/// Watches are dropped, and where they would go on is gone: the API server that kept it has been restarted (410).
pub(crate) async fn watches_expired(site: &mut Site<'_>) -> Result<()> {
    let scene = "watches that expire";
    let already = expired(site)?;
    cut(site, Mode::Cut);
    price(site.test, DEAR).await?;
    let api_server = site.test.plain()?.part(Program::ApiServer)?;
    api_server.kill()?;
    api_server.start_again()?;
    site.test.plain()?.api_server_ready().await?;
    // What a watch asks to go on from must be older than all that the new one keeps.
    price(site.test, DEAR).await?;
    cut(site, Mode::Pass);
    let count = until("watches to expire", SOON, async || {
        let now = expired(site)?;
        Ok((now > already).then_some(now - already))
    })
    .await?;
    figure("watches_expired", count as f64, "watches");
    site.revive()?;
    site.shed(SHED_ENDS_WITHIN).await?;
    site.held(scene)
}

/// Makes what steps the clock of a process that is started with it.
fn stepper(site: &Site<'_>) -> Result<PathBuf> {
    let library = site.bench.plain.folder().join("clock.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/failover/clock.c");
    let status = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status()?;
    ensure!(status.success(), "cc could not make the library that steps a clock: {status}");
    Ok(library)
}

/// The system's clock steps under one operator: back, and it leads on; forth, and it stops leading.
pub(crate) async fn clock_stepped(site: &mut Site<'_>) -> Result<()> {
    let scene = "a clock that steps";
    let (library, step) = (stepper(site)?, site.bench.plain.folder().join("step"));
    std::fs::write(&step, "0")?;
    let stepped = 1 - site.leader().await?;
    site.restart_with(stepped, &[("LD_PRELOAD", &library), ("CLOCK_STEP", &step)]).await?;
    // It follows; the other gives the lead back when it is told to stop.
    let epoch = site.orders.epoch();
    site.operator(1 - stepped)?.part.terminate()?;
    let (_, name) = site.orders.led_above(epoch, SOON).await?;
    ensure!(name == site.operator(stepped)?.name, "{scene}: {name} leads");
    site.revive()?;
    site.settled(BUSY).await?;

    let epoch = site.orders.epoch();
    std::fs::write(&step, format!("-{STEP_SECONDS}"))?;
    price(site.test, DEAR).await?;
    site.shed(SHED_ENDS_WITHIN).await.context("with a clock that was set back")?;
    price(site.test, CHEAP).await?;
    site.settled(BUSY).await.context("with a clock that was set back")?;
    site.led_on(scene, epoch).context("with a clock that was set back")?;

    std::fs::write(&step, format!("{STEP_SECONDS}"))?;
    let forth = Instant::now();
    site.exits(scene, stepped, "leadership lost").await?;
    let first = site.orders.first_above(epoch, SOON).await?;
    let decided = site.in_time(scene, forth, first.at, DECIDES_WITHIN)?;
    figure("clock_set_forth_to_next_decision", decided.as_secs_f64(), "seconds");
    site.held(scene)
}

/// An agent is frozen, another takes its load, and the frozen one goes on: it ends, and has touched nothing.
pub(crate) async fn agent_replaced(site: &mut Site<'_>) -> Result<()> {
    let scene = "an agent that is replaced while it is frozen";
    let name = site.high().first().cloned().context("no container is high")?;
    let place = site.agents.iter().position(|agent| agent.load == name).context("no agent of that load")?;
    let old = site.agents.get(place).context("no agent")?;
    let was = holder(&load(site.test, &name).await?.status.context("no status")?);
    old.part.freeze()?;
    let frozen = Instant::now();
    let new = site.agent_process(old.load, old.flags.clone())?;
    until("the new holder", SOON, async || {
        let now = holder(&load(site.test, &name).await?.status.context("no status")?);
        Ok((now.1 != was.1).then_some(()))
    })
    .await?;
    site.settled(0).await.context("under the new agent")?;
    ensure!(site.truth.moves(&name, frozen) == 0, "{scene}: a take-over moved devices");
    figure("agent_replaced_taken_over_and_proved", frozen.elapsed().as_secs_f64(), "seconds");
    // It obeys: the load goes down by its hands.
    site.hold(&name).await?;
    until("the load to go down", SHED_ENDS_WITHIN, async || {
        Ok(site.truth.now().get(name.as_str()).is_some_and(|watts| *watts <= LOW).then_some(()))
    })
    .await?;
    let thawed = Instant::now();
    let old = std::mem::replace(site.agents.get_mut(place).context("no agent")?, new);
    old.part.thaw()?;
    let (code, said) = ended(&old.part).await?;
    let word = format!("error: load {name:?}: another agent holds it (status.holder): one agent a load");
    ensure!((code, said.as_str()) == (Some(3), word.as_str()), "{scene}: {code:?} {said}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    ensure!(site.truth.moves(&name, thawed) == 0, "{scene}: who was frozen moved devices");
    site.held(scene)
}

/// What the budget says that a feeder's loads can draw, W.
async fn bound(site: &Site<'_>, node: &str) -> Result<i64> {
    let budget = Api::<PowerBudget>::all(site.test.admin()).get(SITE).await?;
    let status = budget.status.context("no status")?;
    let of = status.nodes.iter().find(|status| status.name == node).context("no such node")?;
    Ok(of.bound_watts.watts().get())
}

/// A lease of the whole node, and its Job.
async fn lease(site: &Site<'_>) -> Result<()> {
    let hence = |hours: i64| -> Result<String> {
        Ok(Timestamp::from_second(Timestamp::now().as_second() + hours * 3_600)?.to_string())
    };
    let class: LeaseClass = serde_json::from_value(json!({
        "apiVersion": "ampacity.dev/v1alpha1", "kind": "LeaseClass", "metadata": {"name": "h100-firm"},
        "spec": {"delivery": "Jobs", "pool": "bench-h100", "pricePerGpuHour": "2.60", "service": "Firm"},
    }))?;
    let lease: ComputeLease = serde_json::from_value(json!({
        "apiVersion": "ampacity.dev/v1alpha1", "kind": "ComputeLease",
        "metadata": {"name": "go", "namespace": "default"},
        "spec": {
            "className": "h100-firm", "gpus": 8, "maxPricePerGpuHour": "3.00",
            "term": {"start": hence(-1)?, "end": hence(24)?},
        },
    }))?;
    let labels = json!({"ampacity.dev/lease": "go"});
    let job: Job = serde_json::from_value(json!({
        "metadata": {"name": "train", "labels": labels},
        "spec": {"suspend": true, "template": {"metadata": {"labels": labels}, "spec": {
            "restartPolicy": "Never", "containers": [{
                "name": "train", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "8"}},
            }],
        }}},
    }))?;
    let made = PostParams::default();
    Api::all(site.test.admin()).create(&made, &class).await?;
    Api::namespaced(site.test.admin(), "default").create(&made, &lease).await?;
    Api::namespaced(site.test.admin(), "default").create(&made, &job).await?;
    Ok(())
}

/// A node with a lease's Job is lost, and its agent with it: its watts stay counted.
pub(crate) async fn node_lost(site: &mut Site<'_>) -> Result<()> {
    let scene = "a node that is lost";
    lease(site).await?;
    let jobs: Api<Job> = Api::namespaced(site.test.admin(), "default");
    until("the lease's Job to run at full power", Duration::from_secs(120), async || {
        let active = jobs.get("train").await?.status.and_then(|status| status.active);
        let drawn = site.truth.now().get(NODE).copied().unwrap_or_default();
        ensure!(active == Some(1) && drawn >= NODE_FULL * 9 / 10, "{active:?} pods, {drawn} W");
        Ok(Some(()))
    })
    .await?;
    let drawn = site.truth.now().get(NODE).copied().unwrap_or_default();
    // A status is written at most every ten seconds: what it says may be what was counted before.
    until("the budget to say what is counted for it", SOON, async || {
        Ok((bound(site, "hall-b").await? >= drawn).then_some(()))
    })
    .await?;
    let agent = site.agents.iter().find(|agent| agent.load == NODE).context("no agent")?;
    agent.part.freeze()?;
    Api::<Node>::all(site.test.admin()).delete(NODE_NAME, &DeleteParams::default()).await?;
    let (lost, mut least) = (Instant::now(), i64::MAX);
    let watched = async {
        while lost.elapsed() < LOST {
            least = least.min(bound(site, "hall-b").await?);
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        anyhow::Ok(load(site.test, NODE).await?)
    }
    .await;
    plant::node(site.test).await?;
    agent.part.thaw()?;
    let load = watched.context("the load of a node that is gone")?;
    figure("node_lost_least_bound", least as f64, "watts");
    ensure!(least >= drawn, "{scene}: {least} W were counted, and its devices may draw {drawn} W");
    ensure!(load.metadata.deletion_timestamp.is_none(), "{scene}: its load was given up");
    let background =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..DeleteParams::default() };
    jobs.delete("train", &background).await?;
    Api::<ComputeLease>::namespaced(site.test.admin(), "default").delete("go", &background).await?;
    site.held(scene)
}

/// The definitions are applied again, with an optional field more, while orders flow.
pub(crate) async fn definitions_changed(site: &mut Site<'_>) -> Result<()> {
    let (scene, epoch, began) = ("definitions that change under load", site.orders.epoch(), Instant::now());
    let crds: Api<CustomResourceDefinition> = Api::all(site.test.admin());
    for price_now in [DEAR, CHEAP, DEAR] {
        price(site.test, price_now).await?;
        for crd in crd::all()? {
            let mut value = serde_json::to_value(&crd)?;
            let at = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties";
            let status = value.pointer_mut(at).and_then(|status| status.as_object_mut()).context("no status")?;
            let more = format!("addedFor{}", price_now.replace('.', "x"));
            status.insert(more, json!({"type": "string", "description": "Of a newer version."}));
            let name = crd.metadata.name.context("a definition without a name")?;
            crds.patch(&name, &PatchParams::apply("e2e").force(), &Patch::Apply(value)).await?;
        }
        tokio::time::sleep(Duration::from_secs(6)).await;
    }
    let shed = site.shed(SHED_ENDS_WITHIN).await?;
    figure("definitions_changed_to_shed_complete", before(shed, began)?.as_secs_f64(), "seconds");
    let orders = site.orders.changed(began);
    figure("definitions_changed_setpoints_changed_meanwhile", orders.len() as f64, "orders");
    ensure!(!orders.is_empty(), "{scene}: nothing was ordered meanwhile");
    site.led_on(scene, epoch)?;
    definitions::install(&site.test.admin()).await?;
    site.held(scene)
}

/// A newer version has led, and speaks a protocol that this one does not: operators of this version stop leading and
/// follow, the load's agent ends and says why, and every device stays as it is. The last of all scenes: what a newer
/// version has ordered, this one does not take back.
pub(crate) async fn newer_version_led(site: &mut Site<'_>) -> Result<()> {
    let scene = "a newer version that has led";
    let (leader, drawn, load) = (site.leader().await?, site.truth.now(), plant::CONTAINERS[0]);
    let stands = site.orders.now().get(load).cloned().context("no order")?;
    let patch = json!({"spec": {
        "protocol": PROTOCOL + 1, "order": {"epoch": stands.epoch, "sequence": stands.sequence + 1},
    }});
    let loads: Api<ControllableLoad> = Api::default_namespaced(site.test.admin());
    loads.patch(load, &PatchParams::default(), &Patch::Merge(patch)).await?;
    let why = format!("load {load:?}: spec.protocol is {}; this", PROTOCOL + 1);
    site.exits(scene, leader, &why).await?;
    let agent = site.agents.iter().find(|agent| agent.load == load).context("no agent")?;
    let (code, said) = ended(&agent.part).await?;
    ensure!(code == Some(2) && said.contains(&why), "{scene}: {code:?} {said}");
    // Longer than a leadership lasts: nobody of this version takes it, also not started afresh.
    site.revive()?;
    tokio::time::sleep(Duration::from_secs(20)).await;
    ensure!(site.orders.epoch() == stands.epoch, "{scene}: an older version led after it");
    assert_eq!(site.truth.now(), drawn, "{scene}: devices moved");
    site.held(scene)
}
