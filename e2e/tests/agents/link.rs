//! The link over real TLS between real processes: tokens that the API server made for pods, certificates that the
//! operator made, and a shed that does not wait for an API server that is frozen.

use std::time::{Duration, Instant, SystemTime};

use ampacity::api::ControllableLoad;
use ampacity::store::LEADERSHIP_NAME;
use ampacity::store::kube::LINK_ANNOTATION;
use ampacity_e2e::bench::linked::{flags, is_linked, mounted, runs};
use ampacity_e2e::bench::{Bench, FULL, SOON, ceiling, limit, load, site, stated, told};
use ampacity_e2e::binaries::Program;
use ampacity_e2e::identity::ADMIN;
use ampacity_e2e::process::Part;
use ampacity_e2e::proxy::FaultProxy;
use ampacity_e2e::{Needs, Test, cluster_test_within, definitions, until};
use anyhow::{Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, PostParams};
use serde_json::json;

/// All of it.
const LIMIT: Duration = Duration::from_secs(720);
/// The utility's limit begins so much after it is known: more than a proof takes, which a shed is early by.
const BEGINS_IN: Duration = Duration::from_secs(180);
/// What the site has to respond to it.
const RESPONSE: Duration = Duration::from_secs(300);
/// So much before it has to, a site is down (the core's PLANNED_LEAD).
const PLANNED_LEAD: Duration = Duration::from_secs(15);
/// The operator's turn of a second, and the link. Far below what the leadership lasts unrenewed.
const SHED_WITHIN: Duration = Duration::from_secs(5);
/// The ramp of this site takes 2.4 s to walk down to the limit, in steps of a second: all of them while the API server
/// answers nothing.
const WALK: Duration = Duration::from_secs(4);
/// Unaided, a node's agent writes its status every three seconds; linked, once a minute.
const QUIET_FOR: Duration = Duration::from_secs(12);

/// When the leader will shed for that limit: from when on agents keep it by themselves, less what there is to respond,
/// and less what plans come early.
async fn shed_at(test: &Test) -> Result<SystemTime> {
    let from = until("the limit in the load's order", SOON, async || {
        Ok(load(test, MINER).await?.spec.schedule.first().map(|limit| limit.from.0))
    })
    .await?;
    Ok(SystemTime::from(from) - RESPONSE - PLANNED_LEAD)
}

/// The operator, an agent of a container and one of a GPU node, all linked, each at all that it may draw.
pub(super) struct Linked<'a> {
    bench: Bench<'a>,
    pub(super) operator: Part,
    /// The agents' way to the API server.
    pub(super) field: FaultProxy,
    pub(super) miner: Part,
    pub(super) gpu: Part,
    pub(super) miner_port: u16,
    pub(super) gpu_port: u16,
}

impl Linked<'_> {
    /// The GPU node's agent is killed, and started again with what a kubelet would mount into its pod now: it and its port.
    pub(super) async fn dials_again(&self, test: &Test) -> Result<(Part, u16)> {
        self.gpu.kill()?;
        let folder = self.bench.plain.logs().join("gpu-again");
        mounted(test, &folder, &runs(test, "gpu-agent").await?).await?;
        let flags = flags(&folder);
        let flags = flags.each_ref().map(String::as_str);
        self.bench.agent("gpu", ("--node", "bench-n1"), &self.bench.kubeconfig, &flags)
    }
}

const MINER: &str = "bench-s21-0";
const NODE: &str = "bench-h100-bench-n1";

/// With more of the operator's flags.
pub(super) async fn linked<'a>(test: &'a Test, more: &[&str]) -> Result<Linked<'a>> {
    definitions::install(&test.admin()).await?;
    site(test, 1).await?;
    let bench = Bench::new(test)?;
    let link = ["--link-address", "127.0.0.1:0", "--link-gpu-account", "default"];
    let operator = bench.operator("registry.example/ampacity:1", &[&link[..], more].concat())?;
    let container = runs(test, &format!("{MINER}-agent")).await?;
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "gpu-agent"},
        "spec": {"nodeName": "bench-n1", "containers": [{"name": "agent", "image": "none"}]},
    }))?;
    Api::<Pod>::default_namespaced(test.admin()).create(&PostParams::default(), &pod).await?;
    let node = runs(test, "gpu-agent").await?;
    let folders = ["miner", "gpu"].map(|name| bench.plain.logs().join(name));
    let [of_miner, of_gpu] = &folders;
    mounted(test, of_miner, &container).await?;
    mounted(test, of_gpu, &node).await?;
    let (of_miner, of_gpu) = (flags(of_miner), flags(of_gpu));
    let (of_miner, of_gpu) = (of_miner.each_ref().map(String::as_str), of_gpu.each_ref().map(String::as_str));
    let field = bench.plain.fault_proxy().await?;
    let kubeconfig = bench.plain.kubeconfig_through(&field, ADMIN)?;
    let (miner, miner_port) = bench.agent("miner", ("--load", MINER), &kubeconfig, &of_miner)?;
    let (gpu, gpu_port) = bench.agent("gpu", ("--node", "bench-n1"), &kubeconfig, &of_gpu)?;
    for port in [miner_port, gpu_port] {
        until("a link", SOON, async || Ok(is_linked(port).await?.then_some(()))).await?;
    }
    stated(test, MINER, "at full power", |s, to| to >= FULL && (FULL..=to).contains(&ceiling(s))).await?;
    stated(test, NODE, "capped", |s, to| to < 10_000 && ceiling(s) <= to).await?;
    Ok(Linked { bench, operator, field, miner, gpu, miner_port, gpu_port })
}

/// Which of two statuses of a load are different, over a while.
async fn status_writes(test: &Test, name: &str, during: Duration) -> Result<usize> {
    let loads: Api<ControllableLoad> = Api::default_namespaced(test.admin());
    let (started, mut seen) = (Instant::now(), Vec::new());
    while started.elapsed() < during {
        let time = loads.get(name).await?.status.and_then(|status| status.read_back_time);
        if seen.last() != Some(&time) {
            seen.push(time);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    Ok(seen.len() - 1)
}

#[test]
fn a_shed_reaches_agents_over_the_link_while_the_api_server_is_frozen() -> Result<()> {
    cluster_test_within(LIMIT, Needs::OwnControlPlane, async |test| {
        let site = linked(test, &[]).await?;
        let leases: Api<Lease> = Api::default_namespaced(test.admin());
        let lease = leases.get(LEADERSHIP_NAME).await?;
        ensure!(lease.annotations().contains_key(LINK_ANNOTATION), "{:?}", lease.annotations());

        // Heartbeats carry the life of the node's proof, which ends after twelve seconds: its status need not.
        let writes = status_writes(test, NODE, QUIET_FOR).await?;
        ensure!(writes <= 1, "{writes} status writes in {QUIET_FOR:?}");
        let node = load(test, NODE).await?;
        let bound = node.status.as_ref().map(ceiling);
        ensure!(bound.is_some_and(|watts| watts <= node.spec.setpoint_watts.0), "{:?}", node.status);

        // The leader walks down to it before it begins; by themselves agents would keep it only when the time to respond is
        // over.
        limit(test, "peak", None, 10_000, RESPONSE, BEGINS_IN..Duration::from_secs(3_600)).await?;
        let then = shed_at(test).await?;
        let before = (load(test, MINER).await?, told(site.miner_port).await?);
        tokio::time::sleep((then - WALK).duration_since(SystemTime::now())?).await;
        ensure!(told(site.miner_port).await? == before.1, "shed before its time");

        let api_server = test.plain()?.part(Program::ApiServer)?;
        api_server.freeze()?;
        let frozen = Instant::now();
        let shed = until("a shed over the link", WALK + SHED_WITHIN, async || {
            let now = told(site.miner_port).await?;
            Ok((now < FULL / 2).then_some(now))
        })
        .await;
        let took = then.elapsed().unwrap_or_default();
        api_server.thaw()?;
        let shed = shed?;
        eprintln!("{} W -> {shed} W, {took:?} after it was due; frozen for {:?}", before.1, frozen.elapsed());

        // It goes on: the order that was shouted is written down, and proved under the same leader.
        let epoch = before.0.spec.order.epoch;
        let (status, setpoint) = stated(test, MINER, "shed", |s, to| to <= shed && ceiling(s) <= to.max(300)).await?;
        assert_eq!(status.order.map(|order| order.epoch), Some(epoch), "{setpoint} {status:?}");
        assert_eq!(site.operator.ended(), None);
        for port in [site.miner_port, site.gpu_port] {
            ensure!(is_linked(port).await?, "the link lasts");
        }
        Ok(())
    })
}
