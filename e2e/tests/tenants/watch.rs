//! The caps that stand on the GPUs, looked at ten times a second for as long as the tests run: by the files in which
//! the devices keep their limiters, not by what any agent says of them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::stand::{HIGHEST_WATTS, LOWEST_WATTS};

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A node's overhead, and its GPUs' highest cap, W.
const OVERHEAD_WATTS: i64 = LOWEST_WATTS - 8 * 200;
const UNLIMITED_WATTS: i64 = (HIGHEST_WATTS - OVERHEAD_WATTS) / 8;

/// What all looks together have found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) looks: u64,
    /// The most and the least that all nodes together could draw at any look, W.
    pub(super) most_watts: i64,
    pub(super) least_watts: i64,
    last_watts: i64,
}

/// A look-out on the devices of every node.
pub(super) struct Caps {
    files: Vec<PathBuf>,
    seen: Mutex<Seen>,
}

impl Caps {
    /// Begins to look at these files.
    pub(super) fn watch(files: Vec<PathBuf>) -> Arc<Self> {
        let caps = Arc::new(Self { files, seen: Mutex::default() });
        let own = caps.clone();
        tokio::spawn(async move {
            loop {
                // A file is replaced whole: it can be read at any time.
                if let Ok(watts) = own.sum() {
                    own.add(watts);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        caps
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, watts: i64) {
        let mut seen = self.lock();
        let least = if seen.looks == 0 { watts } else { seen.least_watts.min(watts) };
        *seen = Seen {
            looks: seen.looks + 1,
            most_watts: seen.most_watts.max(watts),
            least_watts: least,
            last_watts: watts,
        };
    }

    fn sum(&self) -> Result<i64> {
        self.files.iter().map(|file| node(file)).sum()
    }

    /// What was found so far.
    pub(super) fn seen(&self) -> Seen {
        *self.lock()
    }

    /// What all nodes together could draw when last looked at, W.
    pub(super) fn now(&self) -> Option<i64> {
        let seen = self.seen();
        (seen.looks > 0).then_some(seen.last_watts)
    }

    /// What the node of this name can draw by its caps, W.
    pub(super) fn of(&self, name: &str) -> Result<i64> {
        let wanted = format!("{name}.devices.json");
        let file = self.files.iter().find(|file| file.ends_with(&wanted));
        node(file.with_context(|| format!("no node {name}"))?)
    }
}

/// What a node can draw by the limiters in force on its GPUs, and its overhead, W.
fn node(file: &Path) -> Result<i64> {
    let state: Value = serde_json::from_slice(&std::fs::read(file)?)?;
    let runs = state.get("limiters").and_then(Value::as_array).context("no limiters")?;
    let mut watts = OVERHEAD_WATTS;
    for run in runs {
        let count = run.get(0).and_then(Value::as_i64).context("no count")?;
        let cap = run.pointer("/1/Watts").and_then(Value::as_i64).unwrap_or(UNLIMITED_WATTS);
        watts += count * cap;
    }
    Ok(watts)
}
