//! The truth: what the devices' limiters allow, read from their own files by a thread that nothing delays, and held
//! against every node of the limit tree. What anyone states of them is not asked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// A sample so often: more than twice as often as is asked for, since the machine may be busy.
const EVERY: Duration = Duration::from_millis(100);
/// At least so many samples a second, on average.
const PER_SECOND: f64 = 4.0;
/// What a machine that sleeps may draw, W.
const ASLEEP_WATTS: i64 = 30;
/// Samples that an error shows before the moment that it is about.
const SHOWN: usize = 12;

/// One load's devices.
#[derive(Clone, Debug)]
pub(crate) struct Devices {
    pub(crate) name: &'static str,
    /// The nodes of the tree that it hangs on.
    pub(crate) nodes: &'static [&'static str],
    /// Drawn whatever the limiters say, W.
    pub(crate) overhead: i64,
    /// A device without a limiter, W.
    pub(crate) unlimited: i64,
    pub(crate) file: PathBuf,
}

/// A limit of a node, from a moment on.
#[derive(Clone, Copy, Debug)]
struct Limit {
    node: &'static str,
    watts: i64,
    from: Instant,
    until: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Sample {
    at: Instant,
    /// By load.
    watts: Vec<i64>,
    /// The first node that is over its limit, with its sum and limit.
    over: Option<(&'static str, i64, i64)>,
}

#[derive(Debug, Default)]
struct Kept {
    limits: Vec<Limit>,
    samples: Vec<Sample>,
}

/// The sampler. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Truth {
    started: Instant,
    devices: Arc<Vec<Devices>>,
    kept: Arc<Mutex<Kept>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Truth {
    /// Samples `devices` against these limits from now on.
    pub(crate) fn start(devices: Vec<Devices>, limits: &[(&'static str, i64)]) -> Self {
        let started = Instant::now();
        let limit = |&(node, watts): &(&'static str, i64)| Limit { node, watts, from: started, until: None };
        let kept = Kept { limits: limits.iter().map(limit).collect(), samples: Vec::new() };
        let (devices, kept, stop) = (Arc::new(devices), Arc::new(Mutex::new(kept)), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (devices, kept, stop) = (devices.clone(), kept.clone(), stop.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    let at = Instant::now();
                    let watts = devices.iter().map(draws).collect();
                    lock(&kept).take(&devices, at, watts);
                    std::thread::sleep(EVERY.saturating_sub(at.elapsed()));
                }
            }
        });
        Self { started, devices, kept, stop, thread: Some(thread) }
    }

    /// A node has this limit as well between two moments.
    pub(crate) fn limit(&self, node: &'static str, watts: i64, from: Instant, until: Instant) {
        lock(&self.kept).limits.push(Limit { node, watts, from, until: Some(until) });
    }

    /// What each load's limiters allow by the last sample, W.
    pub(crate) fn now(&self) -> BTreeMap<&'static str, i64> {
        let watts = lock(&self.kept).samples.last().map(|sample| sample.watts.clone()).unwrap_or_default();
        self.devices.iter().map(|devices| devices.name).zip(watts).collect()
    }

    /// All loads together by the last sample, W.
    pub(crate) fn total(&self) -> i64 {
        self.now().values().sum()
    }

    /// The least that all loads together were allowed between two moments, W.
    pub(crate) fn least(&self, from: Instant, until: Instant) -> i64 {
        let kept = lock(&self.kept);
        let within = kept.samples.iter().filter(|sample| from <= sample.at && sample.at <= until);
        within.map(|sample| sample.watts.iter().sum()).min().unwrap_or_default()
    }

    /// How long the machine kept this sampler from its samples between two moments: it does next to nothing, so nobody
    /// else ran then either.
    pub(crate) fn stalled(&self, from: Instant, until: Instant) -> Duration {
        let kept = lock(&self.kept);
        let within = kept.samples.iter().map(|sample| sample.at).filter(|at| from <= *at && *at <= until);
        let at: Vec<Instant> = within.collect();
        at.iter().zip(at.iter().skip(1)).map(|(a, b)| (*b - *a).saturating_sub(2 * EVERY)).sum()
    }

    /// How often a load's limiters were changed since, as far as samples tell.
    pub(crate) fn moves(&self, load: &str, since: Instant) -> usize {
        let Some(place) = self.devices.iter().position(|devices| devices.name == load) else { return 0 };
        let kept = lock(&self.kept);
        let of = |sample: &Sample| sample.watts.get(place).copied();
        let watts: Vec<_> = kept.samples.iter().filter(|sample| since <= sample.at).map(of).collect();
        watts.windows(2).filter(|pair| pair.first() != pair.last()).count()
    }

    /// No node was over its limit at any sample, and there were enough samples to say so.
    pub(crate) fn held(&self, scene: &str) -> Result<()> {
        let kept = lock(&self.kept);
        if let Some(at) = kept.samples.iter().position(|sample| sample.over.is_some()) {
            let shown = kept.samples.iter().skip(at.saturating_sub(SHOWN)).take(2 * SHOWN);
            let names: Vec<&str> = self.devices.iter().map(|devices| devices.name).collect();
            let line = |sample: &Sample| {
                let after = sample.at.duration_since(self.started).as_secs_f64();
                format!("    {after:8.2} s {:?} {:?}\n", sample.watts, sample.over)
            };
            let trace: String = shown.map(line).collect();
            anyhow::bail!("{scene}: a node was over its limit; {names:?}, W:\n{trace}");
        }
        let (count, seconds) = (kept.samples.len(), self.started.elapsed().as_secs_f64());
        ensure!(count as f64 >= PER_SECOND * seconds, "{scene}: only {count} samples in {seconds:.0} s");
        Ok(())
    }

    /// Samples so far, and the longest time between two, and the longest that a node was over its limit.
    pub(crate) fn figures(&self) -> (usize, Duration, Duration) {
        let kept = lock(&self.kept);
        let pairs = kept.samples.iter().zip(kept.samples.iter().skip(1));
        let gap = pairs.map(|(a, b)| b.at - a.at).max().unwrap_or_default();
        let (mut longest, mut since) = (Duration::ZERO, None);
        for sample in &kept.samples {
            since = sample.over.map(|_| since.unwrap_or(sample.at));
            longest = longest.max(since.map(|since| sample.at - since + EVERY).unwrap_or_default());
        }
        (kept.samples.len(), gap, longest)
    }
}

impl Drop for Truth {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Kept {
    fn take(&mut self, devices: &[Devices], at: Instant, watts: Vec<i64>) {
        let in_force = self.limits.iter().filter(|l| l.from <= at && l.until.is_none_or(|until| at < until));
        let over = in_force.filter_map(|limit| {
            let below = devices.iter().zip(&watts).filter(|(devices, _)| devices.nodes.contains(&limit.node));
            let sum: i64 = below.map(|(_, watts)| watts).sum();
            (sum > limit.watts).then_some((limit.node, sum, limit.watts))
        });
        let over = over.min_by_key(|(_, sum, limit)| limit - sum);
        self.samples.push(Sample { at, watts, over });
    }
}

/// What the limiters allow, W. Before its agent's first start a load's devices have no file, and sleep.
fn draws(devices: &Devices) -> i64 {
    limiters(&devices.file).map_or(0, |runs| {
        let watts = runs.iter().map(|(count, held)| {
            let each = match held {
                Value::String(word) if word == "Asleep" => ASLEEP_WATTS,
                other => other.get("Watts").and_then(Value::as_i64).unwrap_or(devices.unlimited),
            };
            count * each
        });
        devices.overhead + watts.sum::<i64>()
    })
}

/// So many devices in a row are under this limiter.
fn limiters(file: &Path) -> Result<Vec<(i64, Value)>> {
    let state: Value = serde_json::from_slice(&std::fs::read(file)?)?;
    Ok(serde_json::from_value(state.get("limiters").cloned().context("no limiters")?)?)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_above_a_limit_in_force_is_told_with_its_trace_and_one_of_another_time_is_not() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("ampacity-truth-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let file = folder.join("a.json");
        std::fs::write(&file, r#"{"limiters": [[2, {"Watts": 3000}], [1, "Asleep"], [1, "Unlimited"]]}"#)?;
        let devices = Devices { name: "a", nodes: &["hall", "site"], overhead: 5, unlimited: 4_000, file };
        assert_eq!(draws(&devices), 5 + 6_000 + ASLEEP_WATTS + 4_000);
        let truth = Truth::start(vec![devices], &[("site", 10_035)]);
        std::thread::sleep(3 * EVERY);
        truth.held("within")?;
        let later = Instant::now() + Duration::from_secs(60);
        truth.limit("hall", 10_034, later, later + Duration::from_secs(1));
        std::thread::sleep(3 * EVERY);
        truth.held("not yet")?;
        truth.limit("hall", 10_034, Instant::now(), later);
        std::thread::sleep(3 * EVERY);
        let said = truth.held("over").map_err(|error| error.to_string()).err().unwrap_or_default();
        assert!(
            said.contains("over: a node was over its limit") && said.contains("(\"hall\", 10035, 10034)"),
            "{said}"
        );
        std::fs::remove_dir_all(folder)?;
        Ok(())
    }
}
