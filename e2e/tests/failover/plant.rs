//! Three containers and a GPU node that cannot all run at full power together, an agent process for each, and two
//! operators of which one leads.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ampacity::api::{Lockout, PowerBudget};
use ampacity_e2e::bench::linked::{flags, is_linked, mounted, runs};
use ampacity_e2e::bench::{
    Bench, MINERS, PROVED_WITHIN, SITE, SOON, ceiling, ended, fleet_and_pool, load, price, told,
};
use ampacity_e2e::identity::ADMIN;
use ampacity_e2e::process::Part;
use ampacity_e2e::{FaultProxy, Test, definitions, until};
use anyhow::{Context, Result, anyhow, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use super::orders::Orders;
use super::truth::{Devices, Truth};

pub(crate) const CONTAINERS: [&str; 3] = ["bench-s21-0", "bench-s21-1", "bench-s21-2"];
pub(crate) const NODE: &str = "bench-h100-bench-n1";
pub(crate) const NODE_NAME: &str = "bench-n1";
/// Room for every machine at its low step, and for the high step in two of the three containers.
pub(crate) const HALL: i64 = 74_000;
const GPU_HALL: i64 = 12_000;
const WHOLE: i64 = 90_000;
/// A container with every machine at its low step or its high one, with the limiters' error and a little more, W.
pub(crate) const LOW: i64 = 15_400;
/// Two of three containers at their high step but for a machine each, which the limiters' error takes; and the third with
/// what is left, W.
pub(crate) const BUSY: i64 = 2 * 26_000 + 14_000;
/// At this price every step pays, W; at that one the high step does not.
pub(crate) const CHEAP: &str = "25.00";
pub(crate) const DEAR: &str = "120.00";
/// How fast prices move the site down, W per minute: two containers' high step at once.
const FAST: i64 = 600_000;
/// The same where a shed is to have a middle: a minute's worth is saved up and goes at once, which is most of two
/// containers' high step, and the rest goes a machine at a time.
const SLOW: i64 = 24_000;
/// From the high step of a machine to the low one, W.
pub(crate) const STEP: i64 = 1_645;
/// How long proving a container takes, as the fleet says: a limit that is known sheds so much before it begins.
pub(crate) const PROOF: Duration = Duration::from_secs(20);
/// How much the watches' clock skew adds to that (the operator's own).
pub(crate) const SKEW: Duration = Duration::from_secs(5);
/// What was under way when an operator ended may be told of after that.
const LAST_WORDS: usize = 40;
/// Orders rest for so long, and the site is at rest.
const REST: Duration = Duration::from_secs(4);
pub(crate) const IMAGE: &str = "registry.example/ampacity:1";

/// Something came later, or was given up sooner, than on a machine that has time for it. Limits that are passed and
/// orders that fall are never this.
#[derive(Debug)]
pub(crate) struct Late(pub(crate) String);

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Late {}

/// An operator and its own way to the API server.
pub(crate) struct Operator {
    pub(crate) name: &'static str,
    pub(crate) proxy: FaultProxy,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) part: Part,
}

/// An agent's process.
pub(crate) struct Agent {
    pub(crate) load: &'static str,
    pub(crate) port: u16,
    pub(crate) part: Part,
    pub(crate) flags: [String; 5],
}

/// The site as it runs.
pub(crate) struct Site<'a> {
    pub(crate) test: &'a Test,
    pub(crate) bench: Bench<'a>,
    pub(crate) operators: [Operator; 2],
    pub(crate) agents: Vec<Agent>,
    /// The agents' way to the API server.
    pub(crate) field: FaultProxy,
    field_kubeconfig: PathBuf,
    pub(crate) truth: Truth,
    pub(crate) orders: Orders,
    lockouts: RefCell<Vec<String>>,
}

async fn objects(test: &Test) -> Result<()> {
    let budget = json!({
        "apiVersion": "ampacity.dev/v1alpha1", "kind": "PowerBudget", "metadata": {"name": SITE},
        "spec": {
            "limitWatts": WHOLE, "reserveWatts": "1k", "policy": {"mode": "Active"},
            "feeders": [{"name": "hall-a", "limitWatts": HALL}, {"name": "hall-b", "limitWatts": GPU_HALL}],
            "ramp": {
                "upWattsPerMinute": "10M", "economicDownWattsPerMinute": FAST,
                "maxEconomicStepPercent": 100,
            },
            "energyPrice": {"source": {"static": {"value": CHEAP}}},
            "hashprice": {"source": {"static": {"value": "52.00"}}, "poolFeePercent": "2.0"},
        },
    });
    let budget: PowerBudget = serde_json::from_value(budget)?;
    Api::all(test.admin()).create(&PostParams::default(), &budget).await?;
    let containers = CONTAINERS.len().try_into()?;
    fleet_and_pool(test, ("hall-a", "hall-b"), containers, &json!({"proofSeconds": PROOF.as_secs()})).await?;
    node(test).await
}

/// The GPUs' node, made (again).
pub(crate) async fn node(test: &Test) -> Result<()> {
    test.kwok_node(NODE_NAME, &[("pool", SITE)], &[("nvidia.com/gpu", "8")]).await.map(drop)
}

impl<'a> Site<'a> {
    /// Starts everything and waits until the site is busy.
    pub(crate) async fn start(test: &'a Test) -> Result<Self> {
        definitions::install(&test.admin()).await?;
        let bench = Bench::new(test)?;
        let devices = |name, hall: &'static [&'static str], overhead, unlimited, of| Devices {
            name,
            nodes: hall,
            overhead,
            unlimited,
            file: bench.state(of),
        };
        let mut all: Vec<Devices> =
            CONTAINERS.map(|name| devices(name, &["hall-a", SITE], 0, 30_000 / i64::from(MINERS), name)).into();
        all.push(devices(NODE, &["hall-b", SITE], 4_600, 700, NODE_NAME));
        let truth = Truth::start(all, &[(SITE, WHOLE), ("hall-a", HALL), ("hall-b", GPU_HALL)]);
        objects(test).await?;
        let orders = Orders::follow(test);
        let operators = [operator(&bench, "op-a").await?, operator(&bench, "op-b").await?];
        let field = bench.plain.fault_proxy().await?;
        let field_kubeconfig = bench.plain.kubeconfig_through(&field, ADMIN)?;
        let lockouts = RefCell::default();
        let agents = Vec::new();
        let mut site = Self { test, bench, operators, agents, field, field_kubeconfig, truth, orders, lockouts };
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "gpu-agent"},
            "spec": {"nodeName": NODE_NAME, "containers": [{"name": "agent", "image": "none"}]},
        }))?;
        Api::<Pod>::default_namespaced(test.admin()).create(&PostParams::default(), &pod).await?;
        for name in CONTAINERS {
            let agent = site.agent(name, &format!("{name}-agent")).await?;
            site.agents.push(agent);
        }
        let agent = site.agent(NODE, "gpu-agent").await?;
        site.agents.push(agent);
        for agent in &site.agents {
            until("a link", SOON, async || Ok(is_linked(agent.port).await?.then_some(()))).await?;
        }
        site.settled(BUSY).await.context("before the first scene")?;
        Ok(site)
    }

    /// The agent of a load, in the place of a pod.
    async fn agent(&self, load: &'static str, pod: &str) -> Result<Agent> {
        let folder = self.bench.plain.logs().join(load);
        let pod = runs(self.test, pod).await?;
        mounted(self.test, &folder, &pod).await?;
        self.agent_process(load, flags(&folder))
    }

    /// One more process for a load, with what an earlier one was given.
    pub(crate) fn agent_process(&self, load: &'static str, flags: [String; 5]) -> Result<Agent> {
        let more = flags.each_ref().map(String::as_str);
        let (kind, of) = if load == NODE { ("gpu", ("--node", NODE_NAME)) } else { ("miner", ("--load", load)) };
        let (part, port) = self.bench.agent(kind, of, &self.field_kubeconfig, &more)?;
        Ok(Agent { load, port, part, flags })
    }

    /// The operator that leads, and where it stands among the two.
    pub(crate) async fn leader(&self) -> Result<usize> {
        until("a leader", SOON, async || {
            let (name, _) = self.orders.leader();
            Ok(self.operators.iter().position(|operator| operator.name == name && operator.part.ended().is_none()))
        })
        .await
    }

    pub(crate) fn operator(&self, place: usize) -> Result<&Operator> {
        self.operators.get(place).context("one of two operators")
    }

    /// Waits until an operator has ended as one that must be started afresh, and said `why` at the end. Gives when.
    pub(crate) async fn exits(&self, scene: &str, place: usize, why: &str) -> Result<Instant> {
        let part = &self.operator(place)?.part;
        let (code, _) = ended(part).await?;
        let at = Instant::now();
        let words = part.last_words(LAST_WORDS);
        let said = words.lines().rev().find(|line| line.contains("exiting")).unwrap_or_default();
        ensure!(code == Some(3) && said.contains(why), "{scene}: {code:?} {words}");
        Ok(at)
    }

    /// Starts every operator that has ended, as a kubelet would. Gives how many there were.
    pub(crate) fn revive(&mut self) -> Result<usize> {
        let mut revived = 0;
        for operator in &mut self.operators {
            if operator.part.ended().is_some() || !operator.part.is_running() {
                operator.part = start(&self.bench, operator.name, &operator.kubeconfig, &[])?;
                revived += 1;
            }
        }
        Ok(revived)
    }

    /// Stops an operator that follows, and starts it again in another environment.
    pub(crate) async fn restart_with(&mut self, place: usize, environment: &[(&str, &Path)]) -> Result<()> {
        let operator = self.operators.get_mut(place).context("one of two operators")?;
        operator.part.terminate()?;
        ended(&operator.part).await?;
        operator.part = start(&self.bench, operator.name, &operator.kubeconfig, environment)?;
        Ok(())
    }

    /// Waits until orders rest, every load's ceiling is proved under its order by who leads, and the containers draw at
    /// least `busy` W together.
    pub(crate) async fn settled(&self, busy: i64) -> Result<()> {
        let (mut seen, mut since) = (BTreeMap::new(), Instant::now());
        until("a site at rest", PROVED_WITHIN, async || {
            let orders = self.orders.now();
            let stand: BTreeMap<_, _> =
                orders.iter().map(|(load, order)| (load.clone(), (order.epoch, order.sequence))).collect();
            if stand != seen {
                (seen, since) = (stand, Instant::now());
            }
            let drawn: i64 = CONTAINERS.iter().filter_map(|name| self.truth.now().get(name).copied()).sum();
            ensure!(drawn >= busy, "{:?}, {orders:?}", self.truth.now());
            ensure!(since.elapsed() >= REST, "orders go on: {orders:?}");
            let (leader, epoch) = self.orders.leader();
            for name in CONTAINERS.iter().chain([&NODE]) {
                let load = load(self.test, name).await?;
                let (spec, status) = (load.spec, load.status.with_context(|| format!("{name}: no status"))?);
                let stands = status.order == Some(spec.order) && ceiling(&status) <= spec.setpoint_watts.0;
                ensure!(stands, "{name}: {} W ordered, {status:?}", spec.setpoint_watts.0);
                ensure!(spec.order.epoch == epoch, "{name}: {:?}, {leader} leads under {epoch}", spec.order);
            }
            Ok(Some(()))
        })
        .await
    }

    /// Back to a busy site with two operators, for the next scene.
    pub(crate) async fn restore(&mut self) -> Result<()> {
        for operator in &self.operators {
            operator.proxy.set(ampacity_e2e::Mode::Pass);
        }
        self.field.set(ampacity_e2e::Mode::Pass);
        self.revive()?;
        for name in self.lockouts.take() {
            Api::<Lockout>::all(self.test.admin()).delete(&name, &DeleteParams::default()).await?;
        }
        self.ramp(FAST).await?;
        price(self.test, CHEAP).await?;
        // On a busy machine a leader may fail to renew in time meanwhile: the next scene is to find two operators.
        loop {
            self.settled(BUSY).await?;
            if self.revive()? == 0 {
                return Ok(());
            }
        }
    }

    /// Prices move the site down so fast, W per minute.
    async fn ramp(&self, down: i64) -> Result<()> {
        let patch = json!({"spec": {"ramp": {"economicDownWattsPerMinute": down}}});
        let budgets: Api<PowerBudget> = Api::all(self.test.admin());
        budgets.patch(SITE, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Starts to shed by price, and returns as soon as some orders of that are written and others are not.
    pub(crate) async fn half_shed(&self) -> Result<()> {
        let high = self.high().len();
        ensure!(high >= 2, "{high} containers are high: one cannot be written and another not");
        self.ramp(SLOW).await?;
        let started = Instant::now();
        price(self.test, DEAR).await?;
        until("the first orders of a shed", SOON, async || Ok((!self.orders.changed(started).is_empty()).then_some(())))
            .await
    }

    /// A person holds a container at its low step: another may have its watts.
    pub(crate) async fn hold(&self, load: &str) -> Result<()> {
        let name = format!("hold-{load}");
        let lockout: Lockout = serde_json::from_value(json!({
            "apiVersion": "ampacity.dev/v1alpha1", "kind": "Lockout", "metadata": {"name": name},
            "spec": {
                "target": {"budget": SITE, "load": load}, "holder": "admin", "reason": "fans", "limitWatts": LOW,
            },
        }))?;
        Api::all(self.test.admin()).create(&PostParams::default(), &lockout).await?;
        self.lockouts.borrow_mut().push(name);
        Ok(())
    }

    /// The lockouts are gone with what a backup does not hold.
    pub(crate) fn forget_holds(&self) {
        self.lockouts.take();
    }

    /// The containers that are ordered more than their low step.
    pub(crate) fn high(&self) -> Vec<String> {
        let orders = self.orders.now();
        let high = orders.values().filter(|order| order.setpoint > LOW && order.load != NODE);
        high.map(|order| order.load.clone()).collect()
    }

    /// What the containers' agents were told to stay under, over the link too, W.
    pub(crate) async fn told(&self) -> Result<BTreeMap<String, i64>> {
        let mut all = BTreeMap::new();
        for agent in self.agents.iter().filter(|agent| agent.load != NODE) {
            all.insert(agent.load.to_owned(), told(agent.port).await?);
        }
        Ok(all)
    }

    /// Containers' last setpoints of epochs up to this, or what they were `told` where that is less: a shed that was
    /// shouted may never have been written. Together, W.
    pub(crate) fn ordered_under(&self, epoch: i64, told: &BTreeMap<String, i64>) -> i64 {
        let orders = self.orders.under(epoch);
        let of = |(load, told): (&String, &i64)| orders.get(load).map_or(0, |order| order.setpoint.min(*told));
        told.iter().map(of).sum()
    }

    /// Waits until every container is ordered to its low step at most, and draws no more.
    pub(crate) async fn shed(&self, within: Duration) -> Result<Instant> {
        until("every container at its low step", within, async || {
            let truth = self.truth.now();
            let down = CONTAINERS.iter().all(|name| truth.get(name).is_some_and(|watts| *watts <= LOW));
            ensure!(self.high().is_empty() && down, "{:?}, {truth:?}", self.orders.now());
            Ok(Some(Instant::now()))
        })
        .await
    }

    /// For a while nothing oscillates: no load's setpoint changes more often than `most`. Gives how often any changed.
    pub(crate) async fn calm(&self, scene: &str, during: Duration, most: usize) -> Result<usize> {
        let since = Instant::now();
        tokio::time::sleep(during).await;
        let changed = self.orders.changed(since);
        for name in CONTAINERS.iter().chain([&NODE]) {
            let of: Vec<_> = changed.iter().filter(|order| order.load == **name).map(|o| o.setpoint).collect();
            ensure!(of.len() <= most, "{scene}: {name} was told {of:?} within {during:?}");
        }
        Ok(changed.len())
    }

    /// How long something took that must take no longer than `within`, but for what the machine stood still meanwhile.
    pub(crate) fn in_time(&self, scene: &str, from: Instant, until: Instant, within: Duration) -> Result<Duration> {
        let (took, stalled) = (before(until, from)?, self.truth.stalled(from, until));
        let said = format!("{scene}: {took:?}, of which the machine stood still for {stalled:?}");
        if took <= within + stalled { Ok(took) } else { Err(Late(said).into()) }
    }

    /// Nobody led anew since `epoch`. Who cannot renew in time stops leading, on a busy machine too.
    pub(crate) fn led_on(&self, scene: &str, epoch: i64) -> Result<()> {
        if self.orders.epoch() == epoch { Ok(()) } else { Err(Late(format!("{scene}: the lead was lost")).into()) }
    }

    /// What must hold in every scene.
    pub(crate) fn held(&self, scene: &str) -> Result<()> {
        self.truth.held(scene)?;
        self.orders.rose(scene)
    }
}

async fn operator(bench: &Bench<'_>, name: &'static str) -> Result<Operator> {
    let proxy = bench.plain.fault_proxy().await?;
    let kubeconfig = bench.plain.kubeconfig_through(&proxy, ADMIN)?;
    let part = start(bench, name, &kubeconfig, &[])?;
    Ok(Operator { name, proxy, kubeconfig, part })
}

fn start(bench: &Bench<'_>, name: &str, kubeconfig: &Path, environment: &[(&str, &Path)]) -> Result<Part> {
    let link = ["--link-address", "127.0.0.1:0", "--link-gpu-account", "default"];
    bench.operator_in(environment, name, IMAGE, kubeconfig, &link)
}

/// How long before something a moment is, for an error.
pub(crate) fn before(later: Instant, earlier: Instant) -> Result<Duration> {
    later.checked_duration_since(earlier).ok_or_else(|| anyhow!("{:?} too late", earlier.duration_since(later)))
}
