//! Backups of etcd, as people make and restore them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::Plain;
use crate::binaries::{self, Program};

impl Plain {
    /// Backs etcd up while it runs: `etcdctl snapshot save`.
    ///
    /// # Errors
    /// If the tools cannot be had, or etcd does not answer.
    pub async fn back_up(&self, file: &Path) -> Result<()> {
        let endpoint = format!("--endpoints=http://127.0.0.1:{}", self.ports.etcd);
        tool(Program::Etcdctl, vec![endpoint, "snapshot".into(), "save".into(), file.display().to_string()]).await
    }

    /// Makes an etcd's folder of a backup, beside the one in use: `etcdutl snapshot restore`. Every revision is lifted by
    /// `bump`, so that none that anybody has seen comes back with something else in it.
    ///
    /// # Errors
    /// If the tools cannot be had, or the backup is none.
    pub async fn restored(&self, file: &Path, bump: u64) -> Result<PathBuf> {
        let folder = self.folder.join("etcd.restored");
        let peer = format!("http://127.0.0.1:{}", self.ports.etcd_peer);
        let mut arguments = vec!["snapshot".into(), "restore".into(), file.display().to_string()];
        arguments.extend([
            format!("--data-dir={}", folder.display()),
            format!("--initial-cluster=default={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--bump-revision={bump}"),
            "--mark-compacted".into(),
        ]);
        tool(Program::Etcdutl, arguments).await?;
        Ok(folder)
    }

    /// Ends etcd at once and starts it again on a folder that [`Plain::restored`] made.
    ///
    /// # Errors
    /// If etcd does not run, or the folder cannot take the other's place.
    pub fn swap_etcd(&self, folder: &Path) -> Result<()> {
        let etcd = self.part(Program::Etcd)?;
        etcd.kill()?;
        let used = self.folder.join("etcd");
        fs::remove_dir_all(&used).with_context(|| format!("removing {}", used.display()))?;
        fs::rename(folder, &used).with_context(|| format!("moving {} to {}", folder.display(), used.display()))?;
        etcd.start_again()
    }
}

async fn tool(program: Program, arguments: Vec<String>) -> Result<()> {
    let run = move || {
        let path = binaries::etcd_tools(&|line| eprintln!("{line}"))?.path(program);
        let output = std::process::Command::new(&path).args(&arguments).output();
        let output = output.with_context(|| format!("starting {}", path.display()))?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        ensure!(output.status.success(), "{} {}: {said}", program.name(), arguments.join(" "));
        Ok(())
    };
    tokio::task::spawn_blocking(run).await?
}
