//! A training job as a tenant's program is one: it counts steps, is told of its notice through the downward API, writes a
//! checkpoint, says so on its Job with its own projected token, and goes on from the checkpoint when it is started again.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ampacity::api::CHECKPOINT_DONE_ANNOTATION;
use anyhow::{Context, Result};
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Config};
use serde_json::json;

/// How long a step of the training takes.
const STEP: Duration = Duration::from_millis(50);

/// Where it works, and who it is.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Its volume: what lies there outlives the pod.
    #[arg(long)]
    folder: PathBuf,
    /// The file of the id under which a checkpoint is asked for; empty while none is.
    #[arg(long)]
    notice: PathBuf,
    /// Its Job, in its own namespace.
    #[arg(long)]
    job: String,
}

/// Trains until it is killed. It writes into its folder: `starts`, a line each with the step that it began at; `step`, the
/// last step made; `checkpoint`, the last step saved.
///
/// # Errors
/// If its folder cannot be written, or its Job not be patched.
pub async fn train(arguments: &Arguments) -> Result<()> {
    let config = Config::incluster().context("no account of a pod")?;
    let jobs: Api<Job> = Api::default_namespaced(Client::try_from(config)?);
    let mut step = number(&arguments.folder.join("checkpoint"))?.unwrap_or(0);
    let mut starts = OpenOptions::new().append(true).create(true).open(arguments.folder.join("starts"))?;
    starts.write_all(format!("{step}\n").as_bytes())?;
    let mut saved = String::new();
    loop {
        tokio::time::sleep(STEP).await;
        step += 1;
        put(&arguments.folder.join("step"), step)?;
        let asked = fs::read_to_string(&arguments.notice).unwrap_or_default();
        let asked = asked.trim();
        if !asked.is_empty() && asked != saved {
            put(&arguments.folder.join("checkpoint"), step)?;
            let done = json!({"metadata": {"annotations": {CHECKPOINT_DONE_ANNOTATION: asked}}});
            jobs.patch(&arguments.job, &PatchParams::default(), &Patch::Merge(done)).await?;
            println!("checkpoint {asked} is at step {step}");
            asked.clone_into(&mut saved);
        }
    }
}

/// The number in a file; none if there is no file.
///
/// # Errors
/// If something else is in it.
pub fn number(path: &Path) -> Result<Option<u64>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().parse().with_context(|| format!("{}: {text:?}", path.display()))?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

/// Whole or not at all, whenever it is killed.
fn put(path: &Path, number: u64) -> Result<()> {
    let beside = path.with_extension("new");
    fs::write(&beside, number.to_string()).with_context(|| format!("writing {}", beside.display()))?;
    fs::rename(&beside, path).with_context(|| format!("writing {}", path.display()))
}
