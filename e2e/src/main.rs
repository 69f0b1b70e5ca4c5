//! Builds the suite's control plane, or starts one and leaves it up until it is told to stop.

use std::path::PathBuf;

use ampacity_e2e::{Plain, binaries, identity};
use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

/// The control plane of the cluster suite.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build what is missing of the control plane's binaries and of Helm.
    Build,
    /// Start a control plane; it runs until SIGTERM, SIGINT or the end of this process.
    Up {
        /// Where to write the administrator's kubeconfig once everything is ready.
        #[arg(long)]
        kubeconfig: PathBuf,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Build => {
            binaries::find_or_build(&|line| println!("{line}"))?;
            binaries::helm(&|line| println!("{line}")).map(drop)
        }
        Command::Up { kubeconfig } => {
            tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(up(kubeconfig))
        }
    }
}

async fn up(kubeconfig: PathBuf) -> Result<()> {
    let plain = Plain::start().await?;
    let source = plain.kubeconfig(identity::ADMIN)?;
    // By a rename, so that who waits for the file finds it whole.
    let beside = kubeconfig.with_extension("new");
    std::fs::copy(&source, &beside).with_context(|| format!("writing {}", beside.display()))?;
    std::fs::rename(&beside, &kubeconfig).with_context(|| format!("writing {}", kubeconfig.display()))?;
    println!("ready after {:.1} s: {}", plain.ready_after().as_secs_f64(), plain.server());
    println!("kubectl: {}", plain.kubectl().display());
    for (name, bytes) in plain.resident_bytes() {
        println!("{name}: {} MB", bytes / 1_000_000);
    }
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        outcome = tokio::signal::ctrl_c() => outcome?,
    }
    std::fs::remove_file(&kubeconfig).with_context(|| format!("removing {}", kubeconfig.display()))
}
