//! Helm, run as people run it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

use crate::binaries;

/// The charts of this work tree.
pub const CHARTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts");

/// A built Helm.
#[derive(Debug, Clone)]
pub struct Helm(PathBuf);

impl Helm {
    /// Finds it, or builds it first.
    ///
    /// # Errors
    /// As [`binaries::find_or_build`].
    pub fn find() -> Result<Self> {
        binaries::helm(&|line| eprintln!("{line}")).map(Self)
    }

    /// Runs it in the folder of the charts, against the cluster of `kubeconfig` or none, and gives what it wrote to
    /// standard output.
    ///
    /// # Errors
    /// If it fails: with its own words.
    pub fn run(&self, kubeconfig: Option<&Path>, arguments: &[&str]) -> Result<String> {
        let done = self.start(kubeconfig, arguments)?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            bail!("helm {}: {}\n{said}{}", arguments.join(" "), done.status, String::from_utf8_lossy(&done.stdout));
        }
        String::from_utf8(done.stdout).context("what helm printed")
    }

    /// The same, for a run that is to fail: gives what it wrote to standard error.
    ///
    /// # Errors
    /// If it does not fail.
    pub fn refused(&self, arguments: &[&str]) -> Result<String> {
        let done = self.start(None, arguments)?;
        if done.status.success() {
            bail!("helm {} succeeded, and was to be refused", arguments.join(" "));
        }
        String::from_utf8(done.stderr).context("what helm printed")
    }

    fn start(&self, kubeconfig: Option<&Path>, arguments: &[&str]) -> Result<Output> {
        let mut helm = Command::new(&self.0);
        // It has nothing to keep, and must not see a person's own repositories, plugins or cluster.
        for home in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            helm.env(home, "/proc/none");
        }
        helm.env("KUBECONFIG", kubeconfig.unwrap_or(Path::new("/dev/null")));
        helm.current_dir(CHARTS).args(arguments).stdin(Stdio::null());
        helm.output().with_context(|| format!("running helm {}", arguments.join(" ")))
    }
}
