//! Ten thousand of everything, and what the figures share.

use std::time::{Duration, Instant};

use ampacity::api::ComputeLease;
use ampacity_e2e::until;
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ListParams};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::site::{PATIENCE, Site, Size, create_all};
use super::{Row, row};

const LOADS: usize = 10_000;
const LEASES: usize = 10_000;
/// The loop is watched for so long.
const WATCHED: Duration = Duration::from_secs(60);

/// What a GET at a port of this machine answers.
pub(crate) async fn get(port: u16, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// The sum of a metric's values over all its labels.
pub(crate) async fn metric(port: u16, name: &str) -> Result<f64> {
    let text = get(port, "/metrics").await?;
    let lines = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
    let values: Vec<f64> = lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    ensure!(!values.is_empty(), "no {name} in {text}");
    Ok(values.iter().sum())
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

/// Ten thousand loads whose agents are silent, and ten thousand leases: how long a fresh operator takes until it leads
/// and has claimed them, how long it turns, and what it holds.
pub(crate) async fn measure() -> Result<Vec<Row>> {
    // Two thousand containers to a fleet, and two hundred and fifty nodes, whose GPUs the leases share.
    let site = Site::new(Size { containers: LOADS - 250, nodes: 250, jobs: 0 }).await?;
    let (maker, _) = site.operator("op-a")?;
    drop(site.born().await?);
    let leases: Api<ComputeLease> = Api::namespaced(site.admin.clone(), "default");
    create_all(&leases, (0..LEASES).map(|at| lease(&format!("l{at}"), 1)).collect::<Result<_>>()?).await?;
    until("an answer to each lease", PATIENCE, async || {
        let all = leases.list(&ListParams::default()).await?.items;
        let answered = all.iter().filter(|one| one.status.as_ref().is_some_and(|status| status.offer.is_some()));
        let answered = answered.count();
        ensure!(answered == LEASES, "{answered}");
        Ok(Some(()))
    })
    .await?;
    maker.kill()?;
    let began = Instant::now();
    let (operator, port) = site.operator("op-b")?;
    until("an operator that has listed all", PATIENCE, async || {
        Ok(get(port, "/readyz").await?.contains("200 OK").then_some(()))
    })
    .await?;
    let listed = began.elapsed();
    until("it to lead", PATIENCE, async || Ok((metric(port, "ampacity_leader").await? > 0.0).then_some(()))).await?;
    let leads = began.elapsed();
    tokio::time::sleep(WATCHED).await;
    let text = get(port, "/metrics").await?;
    let buckets: Vec<(f64, u64)> = text
        .lines()
        .filter_map(|line| {
            let (bound, count) = line.strip_prefix("ampacity_tick_seconds_bucket{le=\"")?.split_once("\"} ")?;
            Some((bound.parse().unwrap_or(f64::INFINITY), count.parse().ok()?))
        })
        .collect();
    let all = buckets.last().context("no turns")?.1;
    ensure!(all > 10, "{all} turns");
    let share = |of: f64| buckets.iter().find(|(_, count)| *count as f64 >= all as f64 * of).map_or(0.0, |(le, _)| *le);
    let memory = operator.resident_bytes().context("no operator")? / (1 << 20);
    let size = metric_of_etcd(&site).await?;
    Ok(vec![
        row(
            "10,000 loads and 10,000 leases: start",
            "≤ 30 s",
            format!("all listed after {:.1} s, leads after {:.1} s", listed.as_secs_f64(), leads.as_secs_f64()),
        ),
        row(
            "the same: tick",
            "≤ 100 ms",
            format!("median at most {} s, p99 {} s, all {} s of {all} turns", share(0.5), share(0.99), share(1.0)),
        ),
        row("the same: memory", "≤ 512 MiB", format!("{memory} MiB")),
        row("the same: etcd", "< 500 MB in an hour", format!("{size:.0} MB after a minute")),
    ])
}

/// What etcd's file holds, MB, as the API server knows.
async fn metric_of_etcd(site: &Site) -> Result<f64> {
    let text = site.admin.request_text(http::Request::get("/metrics").body(Vec::new())?).await?;
    let line = text.lines().find(|line| line.starts_with("apiserver_storage_size_bytes{"));
    let bytes: f64 = line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).context("no size")?;
    Ok(bytes / 1e6)
}
