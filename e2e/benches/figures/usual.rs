//! The figures of a site of usual size.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use ampacity::api::ComputeLease;
use ampacity_e2e::bench::{get, is_ok};
use ampacity_e2e::binaries::Program;
use ampacity_e2e::process::{Part, cpu_seconds};
use ampacity_e2e::until;
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams, PostParams};

use super::crowd::Crowd;
use super::large::ETCD;
use super::metrics::{Etcd, Turns, metric, writes};
use super::site::{DOES_NOT_PAY, NAMESPACE, PATIENCE, PAYS, Site, Size, clear, create_all, job, lease};
use super::table::{Row, row, spread};

/// Prices move so often while nothing is to come of it, for so long.
const WITHIN_DEAD_BAND: [&str; 2] = ["25.00", "25.30"];
const MOVES_EVERY: Duration = Duration::from_secs(5);
const STEADY: Duration = Duration::from_secs(60);
/// The loop is watched for so long while nothing happens.
const QUIET: Duration = Duration::from_secs(20);
const FLIPS: usize = 6;
const KILLS: usize = 5;

/// What parts have spent of the cores, s, and how much was written.
#[derive(Clone, Copy, Default)]
struct Spent {
    seconds: f64,
    api_server: f64,
    etcd: f64,
    operator: f64,
    agents: f64,
    writes: f64,
}

impl Spent {
    /// `began`: what the clock counts from.
    async fn by_now(site: &Site, operator: &Part, began: Instant) -> Result<Self> {
        let of = |program| anyhow::Ok(site.plain.part(program)?.cpu_seconds().context("a part without a figure")?);
        Ok(Self {
            seconds: began.elapsed().as_secs_f64(),
            api_server: of(Program::ApiServer)?,
            etcd: of(Program::Etcd)?,
            operator: operator.cpu_seconds().context("no operator")?,
            agents: cpu_seconds(std::process::id()).context("no figure of this process")?,
            writes: writes(&site.admin).await?,
        })
    }

    /// With what was spent from one moment to another.
    fn plus(self, from: Self, to: Self) -> Self {
        Self {
            seconds: self.seconds + to.seconds - from.seconds,
            api_server: self.api_server + to.api_server - from.api_server,
            etcd: self.etcd + to.etcd - from.etcd,
            operator: self.operator + to.operator - from.operator,
            agents: self.agents + to.agents - from.agents,
            writes: self.writes + to.writes - from.writes,
        }
    }
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds, api_server, etcd, operator, agents, writes } = self;
        let each = api_server * 1e3 / writes.max(1.0);
        write!(
            f,
            "{writes:.0} writes in {seconds:.1} s, {each:.1} ms of API server each; of a core: API server \
             {api_server:.1} s, etcd {etcd:.1} s, operator {operator:.1} s, agents and watchers {agents:.1} s"
        )
    }
}

/// The setpoints of all containers.
fn setpoints(crowd: &Crowd) -> BTreeMap<String, (i64, Instant)> {
    let told = crowd.told();
    let containers = told.orders.iter().filter(|(name, _)| name.starts_with("s21-"));
    containers.map(|(name, (watts, _, at))| (name.clone(), (*watts, *at))).collect()
}

/// Waits until every container's setpoint is as wanted.
async fn ordered(
    (site, crowd): (&Site, &Crowd),
    what: &str,
    is: impl Fn(i64) -> bool,
) -> Result<BTreeMap<String, (i64, Instant)>> {
    until(what, PATIENCE, async || {
        let all = setpoints(crowd);
        let right = all.values().filter(|(watts, _)| is(*watts)).count();
        ensure!(right == site.size.containers, "{right} of {}", all.len());
        Ok(Some(all))
    })
    .await
}

/// Waits until no setpoint has changed for so long: machines boot for minutes, and what they do not draw yet is given to
/// others and back.
async fn at_rest(crowd: &Crowd, quiet: Duration) -> Result<BTreeMap<String, (i64, Instant)>> {
    until("setpoints to rest", PATIENCE, async || {
        let now = setpoints(crowd);
        let last = now.values().map(|(_, at)| *at).max().context("no setpoints")?;
        ensure!(last.elapsed() >= quiet, "one changed {:.0} s ago", last.elapsed().as_secs_f64());
        Ok(Some(now))
    })
    .await
}

fn after(from: Instant, all: impl Iterator<Item = Instant>) -> Vec<f64> {
    all.map(|at| at.saturating_duration_since(from).as_secs_f64()).collect()
}

/// A price tick until every order it leads to was accepted, as its watchers see.
async fn price_ticks(site: &Site, crowd: &Crowd, operator: &Part) -> Result<Row> {
    let (mut all, mut longest, mut spent, began) = (Vec::new(), Vec::new(), Spent::default(), Instant::now());
    let accepted = crowd.told().accepted;
    for flip in 0..FLIPS {
        let down = flip % 2 == 0;
        let from = Spent::by_now(site, operator, began).await?;
        let asked = site.price(if down { DOES_NOT_PAY } else { PAYS }).await?;
        let orders = ordered((site, crowd), "every order of a price tick", |watts| (watts >= 1_855) != down).await?;
        ensure!(orders.values().all(|(_, at)| *at > asked), "an order that is older than its price");
        spent = spent.plus(from, Spent::by_now(site, operator, began).await?);
        let times = after(asked, orders.values().map(|(_, at)| *at));
        longest.extend(times.iter().copied().reduce(f64::max));
        all.extend(times);
        // What was told is carried out before the next.
        at_rest(crowd, QUIET).await?;
    }
    let measured = format!(
        "{}; until the last of a tick: {}; of all ticks: {spent}; orders accepted in all: {}",
        spread(all)?,
        spread(longest)?,
        crowd.told().accepted - accepted
    );
    let what = format!("price tick → all orders accepted, {} loads", site.size.containers);
    Ok(row(&what, "p99 ≤ 3 s", measured, "2.9 ms of API server a write: 2.9 core seconds a tick (section 8)"))
}

/// An urgent limit until every container's agent has heard its shed over TLS.
async fn sheds(site: &Site, crowd: &Crowd) -> Result<Row> {
    crowd.told().heard.clear();
    let asked = site.limit("shed", None, site.size.must_run_watts()?).await?;
    let heard = until("every agent to hear its shed", PATIENCE, async || {
        let told = crowd.told();
        let heard: Vec<Instant> =
            told.heard.iter().filter(|(name, _)| name.starts_with("s21-")).map(|(_, at)| *at).collect();
        ensure!(heard.len() == site.size.containers, "{}", heard.len());
        Ok(Some(heard))
    })
    .await?;
    ensure!(heard.iter().all(|at| *at > asked), "heard before it was asked");
    let orders = ordered((site, crowd), "the orders behind them", |watts| watts < 1_855).await?;
    let written = spread(after(asked, orders.values().map(|(_, at)| *at)))?;
    let measured = format!("{}; the orders behind them accepted: {written}", spread(after(asked, heard.into_iter()))?);
    let what = format!("urgent limit → shed at every agent over the stream, {} loads", site.size.containers);
    site.lift("shed").await?;
    Ok(row(&what, "p99 ≤ 250 ms", measured, "loops of others: 15 s (Dynamo), 90 s (DPS)"))
}

/// How long the operator turns while as many leases as there are GPUs are asked for at once, and while nothing is.
async fn leases_at_once(site: &Site, port: u16) -> Result<[Row; 2]> {
    let leases: Api<ComputeLease> = Api::namespaced(site.admin.clone(), "default");
    let count = site.size.jobs;
    tokio::time::sleep(QUIET).await;
    let quiet = Turns::by_now(port).await?;
    tokio::time::sleep(QUIET).await;
    let (quiet, crowded, began) = (quiet.since(port).await?, Turns::by_now(port).await?, Instant::now());
    create_all(&leases, (0..count).map(|at| lease(&format!("l{at}"), 1)).collect::<Result<_>>()?).await?;
    let made = began.elapsed().as_secs_f64();
    site.offered(count).await?;
    let (answered, turns) = (began.elapsed().as_secs_f64(), crowded.since(port).await?);
    clear(&leases).await?;
    let anchor = "k8s-object-monitor reconciles in p99 9–10 ms at 12,000 objects";
    let measured = format!("{turns}; made within {made:.1} s, the last answered after {answered:.1} s");
    Ok([
        row("the operator's turn while nothing happens", "≤ 100 ms", quiet, anchor),
        row(&format!("the same while {count} leases are asked for at once"), "≤ 100 ms", measured, anchor),
    ])
}

/// An urgent limit until every Job of the leases is suspended, and until their pods are gone.
pub(crate) async fn suspensions(
    site: &Site,
    crowd: &Crowd,
    (quick, slow): (&'static str, &'static str),
) -> Result<[Row; 2]> {
    let jobs: Api<Job> = Api::namespaced(site.admin.clone(), "default");
    let leases: Api<ComputeLease> = Api::namespaced(site.admin.clone(), "default");
    let (all, count) = (site.size.jobs, i32::try_from(site.size.jobs)?);
    leases.create(&PostParams::default(), &lease("train", count)?).await?;
    create_all(&jobs, (0..all).map(|at| job(&format!("j{at}"), "train")).collect::<Result<_>>()?).await?;
    until("every Job to run", PATIENCE, async || {
        let told = crowd.told();
        ensure!(told.running.len() == all && told.started.len() == all, "{}", told.running.len());
        Ok(Some(()))
    })
    .await?;
    let asked = site.limit("trip", Some("Gpu"), site.size.idle_nodes_watts()?).await?;
    let (suspended, gone) = until("every Job suspended and every pod gone", PATIENCE, async || {
        let told = crowd.told();
        ensure!(told.suspended.len() == all && told.pods.is_empty(), "{} left", told.pods.len());
        Ok(Some(told.suspended.values().copied().collect::<Vec<_>>()).zip(told.last_gone))
    })
    .await?;
    let gone_after = gone.saturating_duration_since(asked).as_secs_f64();
    site.lift("trip").await?;
    let clients = "operator: 32 requests at once, no rate limit";
    let rows = [
        row(
            &format!("urgent limit → all affected Jobs suspended, {all}"),
            quick,
            format!("{} ({clients})", spread(after(asked, suspended.into_iter()))?),
            "Kueue admits 42.7 a second; GKE preempted 419 pods a second; 300 QPS: 5 s for 1,000",
        ),
        row(
            &format!("the same → their pods gone (kwok), {all}"),
            slow,
            format!("{gone_after:.2} s (job controller: 200 requests a second)"),
            "GKE preempted 39,000 pods in 93 s; its job controller has 20 requests a second by default",
        ),
    ];
    leases.delete("train", &DeleteParams::default()).await?;
    clear(&jobs).await?;
    Ok(rows)
}

/// What all of it costs while prices move and nothing comes of it.
async fn steady(site: &Site, crowd: &Crowd, operator: &Part, port: u16) -> Result<Vec<Row>> {
    let before = at_rest(crowd, STEADY).await?;
    let etcd = Etcd::by_now(&site.plain).await?;
    let began = Instant::now();
    let (from, own_from) = (Spent::by_now(site, operator, began).await?, metric(port, "ampacity_writes_total").await?);
    let mut moves = 0;
    while began.elapsed() < STEADY {
        let usd = WITHIN_DEAD_BAND.iter().cycle().nth(moves).copied().unwrap_or(PAYS);
        site.price(usd).await?;
        moves += 1;
        tokio::time::sleep(MOVES_EVERY).await;
    }
    let (to, own_to) = (Spent::by_now(site, operator, began).await?, metric(port, "ampacity_writes_total").await?);
    let spent = Spent::default().plus(from, to);
    let seconds = spent.seconds;
    let after = setpoints(crowd);
    let moved = before.iter().filter(|(name, order)| after.get(*name).map(|now| now.0) != Some(order.0)).count();
    ensure!(moved == 0, "{moved} setpoints moved within the dead band");
    ensure!(after.len() == site.size.containers && moves > 8, "{} loads, {moves} moves", after.len());
    let etcd = etcd.since(&site.plain, seconds, 10_000.0 / site.size.loads() as f64).await?;
    let (all, own) = (spent.writes / seconds, (own_to - own_from) / seconds);
    let share = spent.operator / seconds * 100.0;
    let memory = operator.resident_bytes().context("no operator")? / (1 << 20);
    let what = format!("steady, {} loads, prices in the dead band: all writes", site.size.loads());
    let nodes = format!("{all:.1} a second, {:.1} of them the prices'; {spent}", moves as f64 / seconds);
    let churn = "Kubernetes' SLOs hold up to a churn of 20 a second";
    Ok(vec![
        row(&what, "≤ 25 a second", nodes, churn),
        row("the same: the operator's writes", "≤ 1 a second", format!("{own:.2} a second"), "≤ 1 a second and site"),
        row("the same: the operator's processor", "≤ 5 % of a core", format!("{share:.1} %"), ""),
        row("the same: the operator's memory", "≤ 256 MiB", format!("{memory} MiB"), "≤ 256 MiB at 10,000 Jobs"),
        row("the same: etcd", "10,000 loads: < 500 MB", etcd, ETCD),
    ])
}

/// The leader is killed: until another's first order was accepted.
async fn failovers(site: &Site, crowd: &Crowd, first: (Part, u16)) -> Result<Row> {
    let leases: Api<Lease> = Api::namespaced(site.admin.clone(), NAMESPACE);
    let names = ["op-b", "op-c", "op-d", "op-e", "op-f"];
    let (mut leader, mut times) = (first, Vec::new());
    for name in names.iter().take(KILLS) {
        let standby = site.operator(name)?;
        until("the standby to be ready", PATIENCE, async || Ok(is_ok(&get(standby.1, "/readyz").await?).then_some(())))
            .await?;
        let epoch = crowd.told().orders.values().map(|(_, epoch, _)| *epoch).max().context("no orders")?;
        let killed = Instant::now();
        leader.0.kill()?;
        let decided = until("a new leader's first order", PATIENCE, async || {
            let told = crowd.told();
            Ok(told.orders.values().filter(|(_, of, _)| *of > epoch).map(|(_, _, at)| *at).min())
        })
        .await?;
        times.push(decided.saturating_duration_since(killed).as_secs_f64());
        let holder = leases.get(ampacity::store::LEADERSHIP_NAME).await?.spec.and_then(|spec| spec.holder_identity);
        ensure!(holder.as_deref() == Some(*name), "{holder:?}");
        leader = standby;
        // Every load is claimed before the next leader dies.
        until("every load to be claimed", PATIENCE, async || {
            let told = crowd.told();
            let claimed = told.orders.values().filter(|(_, of, _)| *of > epoch).count();
            ensure!(claimed == site.size.loads(), "{claimed}");
            Ok(Some(()))
        })
        .await?;
    }
    Ok(row(
        "failover, kill → next decision accepted",
        "≤ 15 s",
        spread(times)?,
        "drift and failover: ≤ 15 s and the lease",
    ))
}

/// All of them, in this order: what moves least comes first. What prices do may be left out.
pub(crate) async fn measure(size: Size, prices: bool, rows: &mut Vec<Row>) -> Result<()> {
    let began = Instant::now();
    let site = Site::new(size).await?;
    let (operator, port) = site.operator("op-a")?;
    let crowd = site.crowd().await?;
    ordered((&site, &crowd), "every container at full power", |watts| watts >= 3_500).await?;
    eprintln!("{} loads at work after {:.0} s", site.size.loads(), began.elapsed().as_secs_f64());
    if prices {
        rows.extend(steady(&site, &crowd, &operator, port).await?);
        rows.push(price_ticks(&site, &crowd, &operator).await?);
    }
    rows.push(sheds(&site, &crowd).await?);
    ordered((&site, &crowd), "every container at full power again", |watts| watts >= 3_500).await?;
    rows.extend(leases_at_once(&site, port).await?);
    rows.extend(suspensions(&site, &crowd, ("≤ 5 s", "≤ 10 s")).await?);
    rows.push(failovers(&site, &crowd, (operator, port)).await?);
    Ok(())
}
