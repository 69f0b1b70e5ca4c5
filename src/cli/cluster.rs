//! Which cluster a person's command is about.

use anyhow::Context;
use clap::Args;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use std::path::PathBuf;

/// The cluster of a kubeconfig, or of the pod that this runs in.
#[derive(Args, Clone, Debug)]
pub struct ClusterArgs {
    /// The kubeconfig; left out, KUBECONFIG or the one in the home folder.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; left out, its current one.
    #[arg(long)]
    context: Option<String>,
}

impl ClusterArgs {
    /// How to reach it.
    ///
    /// # Errors
    /// No kubeconfig is found, or it is of no use: names it.
    pub async fn config(&self) -> anyhow::Result<Config> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        match &self.kubeconfig {
            Some(path) => {
                let read = Kubeconfig::read_from(path).with_context(|| format!("reading {}", path.display()))?;
                Config::from_custom_kubeconfig(read, &options).await.context("the kubeconfig")
            }
            None if self.context.is_some() => Config::from_kubeconfig(&options).await.context("the kubeconfig"),
            None => Config::infer().await.context("no cluster: no kubeconfig was found (--kubeconfig)"),
        }
    }
}
