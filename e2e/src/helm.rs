//! Helm, run as people run it.

use std::fs;
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
    pub fn refused(&self, kubeconfig: Option<&Path>, arguments: &[&str]) -> Result<String> {
        let done = self.start(kubeconfig, arguments)?;
        if done.status.success() {
            bail!("helm {} succeeded, and was to be refused", arguments.join(" "));
        }
        String::from_utf8(done.stderr).context("what helm printed")
    }

    /// Copies the charts into `folder`, which must not exist, as they would be of another version.
    ///
    /// # Errors
    /// If a file cannot be read or written, or a chart does not say its version where it is looked for.
    pub fn charts_of(version: &str, folder: &Path) -> Result<()> {
        for chart in ["ampacity", "ampacity-crds"] {
            copy(&Path::new(CHARTS).join(chart), &folder.join(chart))?;
            let path = folder.join(chart).join("Chart.yaml");
            let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            let is = |line: &&str| line.starts_with("version: ") || line.starts_with("appVersion: ");
            let lines: Vec<String> = text
                .lines()
                .map(|line| match line.split_once(' ') {
                    Some((key, _)) if is(&line) => format!("{key} {version}\n"),
                    _ => format!("{line}\n"),
                })
                .collect();
            if text.lines().filter(is).count() != 2 {
                bail!("{}: one version and one appVersion are looked for", path.display());
            }
            fs::write(&path, lines.concat()).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
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

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry?.path();
        let to = to.join(entry.file_name().unwrap_or_default());
        if entry.is_dir() {
            copy(&entry, &to)?;
        } else {
            fs::copy(&entry, &to).with_context(|| format!("copying {}", entry.display()))?;
        }
    }
    Ok(())
}
