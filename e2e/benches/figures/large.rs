//! Ten thousand of everything.

use std::time::{Duration, Instant};

use ampacity::api::ComputeLease;
use ampacity_e2e::bench::{get, is_ok};
use ampacity_e2e::until;
use anyhow::{Context, Result};
use kube::api::Api;

use super::metrics::{Etcd, Turns, metric, writes};
use super::site::{PATIENCE, Site, Size, create_all, lease};
use super::table::{Row, row};
use super::usual::suspensions;

const LOADS: usize = 10_000;
/// Their GPUs are shared by the leases.
const NODES: usize = 250;
const LEASES: usize = 10_000;
const JOBS: usize = 10_000;
/// What is known of etcd elsewhere.
pub(crate) const ETCD: &str = "default quota 2 GiB; 4.1 kB a status write";
/// The loop is watched for so long.
const WATCHED: Duration = Duration::from_secs(120);

/// Ten thousand loads whose agents are silent, and ten thousand leases: how long a fresh operator takes until it leads,
/// how long it turns, and what it holds.
pub(crate) async fn loads_and_leases(rows: &mut Vec<Row>) -> Result<()> {
    let site = Site::new(Size { containers: LOADS - NODES, nodes: NODES, jobs: 0 }).await?;
    let (maker, _) = site.operator("op-a")?;
    let began = Instant::now();
    drop(site.born().await?);
    eprintln!("{LOADS} loads born after {:.0} s", began.elapsed().as_secs_f64());
    let leases: Api<ComputeLease> = Api::namespaced(site.admin.clone(), "default");
    create_all(&leases, (0..LEASES).map(|at| lease(&format!("l{at}"), 1)).collect::<Result<_>>()?).await?;
    eprintln!("{LEASES} leases made after {:.0} s", began.elapsed().as_secs_f64());
    site.offered(LEASES).await?;
    eprintln!("all answered after {:.0} s", began.elapsed().as_secs_f64());
    maker.kill()?;
    let began = Instant::now();
    let (operator, port) = site.operator("op-b")?;
    let ready = async || Ok(is_ok(&get(port, "/readyz").await?).then_some(()));
    until("an operator that has listed all", PATIENCE, ready).await?;
    let listed = began.elapsed().as_secs_f64();
    until("it to lead", PATIENCE, async || Ok((metric(port, "ampacity_leader").await? > 0.0).then_some(()))).await?;
    let leads = began.elapsed().as_secs_f64();
    let what = format!("{LOADS} loads and {LEASES} leases, agents silent: start");
    let measured = format!("all listed after {listed:.1} s, leads after {leads:.1} s (the former leader was killed)");
    rows.push(row(&what, "≤ 30 s", measured, ""));
    watched(&site, &operator, port, rows).await
}

/// What it takes while it leads.
async fn watched(site: &Site, operator: &ampacity_e2e::process::Part, port: u16, rows: &mut Vec<Row>) -> Result<()> {
    let (turns, etcd, written) =
        (Turns::by_now(port).await?, Etcd::by_now(&site.plain).await?, writes(&site.admin).await?);
    let spent = operator.cpu_seconds().context("no operator")?;
    tokio::time::sleep(WATCHED).await;
    let watched = WATCHED.as_secs_f64();
    let share = (operator.cpu_seconds().context("no operator")? - spent) / watched * 100.0;
    let measured = format!("{}; {share:.0} % of a core", turns.since(port).await?);
    rows.push(row("the same: turn", "≤ 100 ms", measured, "plan for 10,000 units: ≤ 100 ms p99"));
    let memory = operator.resident_bytes().context("no operator")? / (1 << 20);
    rows.push(row("the same: memory", "≤ 512 MiB", format!("{memory} MiB"), "≤ 256 MiB at 10,000 Jobs"));
    let rate = (writes(&site.admin).await? - written) / watched;
    let measured = format!("{}, {rate:.1} writes a second", etcd.since(&site.plain, watched, 1.0).await?);
    rows.push(row("the same: etcd", "< 500 MB in an hour", measured, ETCD));
    Ok(())
}

/// Ten thousand Jobs of one lease.
pub(crate) async fn jobs(rows: &mut Vec<Row>) -> Result<()> {
    let site = Site::new(Size { containers: 0, nodes: JOBS / 8, jobs: JOBS }).await?;
    let (_operator, _) = site.operator("op-a")?;
    let crowd = site.crowd().await?;
    rows.extend(suspensions(&site, &crowd, ("≤ 40 s", "not asked")).await?);
    Ok(())
}
