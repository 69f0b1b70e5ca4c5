//! What the operator and the API server tell of themselves.

use ampacity_e2e::Plain;
use ampacity_e2e::bench::get;
use anyhow::{Context, Result, ensure};
use kube::Client;

/// The sum of a metric's values over all its labels.
pub(crate) async fn metric(port: u16, name: &str) -> Result<f64> {
    let text = get(port, "/metrics").await?;
    let lines = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
    let values: Vec<f64> = lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    ensure!(!values.is_empty(), "no {name} in {text}");
    Ok(values.iter().sum())
}

/// The operator's own histogram of how long its turns take.
pub(crate) struct Turns {
    /// Turns of at most so many seconds.
    buckets: Vec<(f64, u64)>,
    seconds: f64,
}

impl Turns {
    /// Up to now.
    pub(crate) async fn by_now(port: u16) -> Result<Self> {
        let text = get(port, "/metrics").await?;
        let bucket = |line: &str| {
            let (bound, count) = line.strip_prefix("ampacity_tick_seconds_bucket{le=\"")?.split_once("\"} ")?;
            Some((bound.parse().unwrap_or(f64::INFINITY), count.parse().ok()?))
        };
        let buckets: Vec<(f64, u64)> = text.lines().filter_map(bucket).collect();
        ensure!(!buckets.is_empty(), "no turns in {text}");
        let seconds = text.lines().find_map(|line| line.strip_prefix("ampacity_tick_seconds_sum "));
        Ok(Self { buckets, seconds: seconds.and_then(|sum| sum.parse().ok()).context("no sum of turns")? })
    }

    /// Those since then: the histogram tells each one's next higher bound alone.
    pub(crate) async fn since(&self, port: u16) -> Result<String> {
        let now = Self::by_now(port).await?;
        let pairs = now.buckets.iter().zip(&self.buckets);
        let of_these: Vec<(f64, u64)> =
            pairs.map(|((bound, all), (_, before))| (*bound, all.saturating_sub(*before))).collect();
        let all = of_these.last().map_or(0, |(_, count)| *count);
        ensure!(all > 0, "no turns");
        let bound = |share: f64| {
            let least = (all as f64 * share).ceil() as u64;
            of_these.iter().find(|(_, count)| *count >= least).map_or(f64::INFINITY, |(bound, _)| bound * 1e3)
        };
        let mean = (now.seconds - self.seconds) / all as f64 * 1e3;
        Ok(format!(
            "mean {mean:.1} ms, p50 ≤ {} ms, p99 ≤ {} ms, all ≤ {} ms of {all} turns",
            bound(0.5),
            bound(0.99),
            bound(1.0)
        ))
    }
}

/// Requests to the API server that changed something, all of them together but for the Leases of nodes and leaders: a
/// cluster has those without this operator.
pub(crate) async fn writes(admin: &Client) -> Result<f64> {
    let text = admin.request_text(http::Request::get("/metrics").body(Vec::new())?).await?;
    let is_write = |line: &&str| {
        let verb = ["POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"];
        let verb = verb.iter().any(|verb| line.contains(&format!("verb=\"{verb}\"")));
        // Questions that are asked by POST change nothing.
        let asks = line.contains("reviews\"") || line.contains("subresource=\"token\"");
        verb && !asks && !line.contains("resource=\"leases\"")
    };
    let counters = text.lines().filter(|line| line.starts_with("apiserver_request_total{")).filter(is_write);
    Ok(counters.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

/// What etcd holds, MB: its file, and of that what is in use.
#[derive(Clone, Copy)]
pub(crate) struct Etcd {
    pub(crate) file: f64,
    pub(crate) used: f64,
}

impl Etcd {
    /// As it says itself.
    pub(crate) async fn by_now(plain: &Plain) -> Result<Self> {
        let mb = async |name| Ok::<_, anyhow::Error>(metric(plain.etcd_port(), name).await? / 1e6);
        let file = mb("etcd_mvcc_db_total_size_in_bytes").await?;
        Ok(Self { file, used: mb("etcd_mvcc_db_total_size_in_use_in_bytes").await? })
    }

    /// How it has grown since, and what it comes to: every five minutes the API server compacts what was older than that
    /// the time before, so that ten minutes of writes are there at most. `times` as many writes are told of as well.
    pub(crate) async fn since(self, plain: &Plain, seconds: f64, times: f64) -> Result<String> {
        let now = Self::by_now(plain).await?;
        let a_second = (now.used - self.used).max(0.0) / seconds;
        let most = |times: f64| now.used + a_second * times * 600.0;
        let more = if times > 1.0 {
            format!("; at {times:.1} times the writes {:.0} MB (extrapolated)", most(times))
        } else {
            String::new()
        };
        Ok(format!(
            "file {:.0} MB, {:.0} MB used, {:.1} kB a second more: {:.0} MB at most by compaction{more}",
            now.file,
            now.used,
            a_second * 1e3,
            most(1.0)
        ))
    }
}
