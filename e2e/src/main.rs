//! Builds the suite's control plane, or starts one and leaves it up until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use ampacity_e2e::plain::Shape;
use ampacity_e2e::{Plain, binaries, identity, node, trainer};
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
    /// Build what is missing of the control plane's binaries, and of what people run beside it: etcd's tools,
    /// cert-manager, Prometheus' engine, Helm.
    Build {
        /// And those of a real node.
        #[arg(long)]
        node: bool,
    },
    /// Start a control plane; it runs until SIGTERM, SIGINT or the end of this process.
    Up {
        /// Where to write the administrator's kubeconfig once everything is ready.
        #[arg(long)]
        kubeconfig: PathBuf,
        /// With a real node, whose pods are real processes.
        #[arg(long)]
        node: bool,
    },
    /// Train, as the process of a lease's Job.
    Train(trainer::Arguments),
    /// Say what keeps a real node from running here; the exit code is 0 if nothing does.
    Trouble,
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().command {
        Command::Build { node } => {
            let find = if node { binaries::find_or_build_node } else { binaries::find_or_build };
            find(&|line| println!("{line}"))?;
            binaries::etcd_tools(&|line| println!("{line}"))?;
            binaries::cert_manager(&|line| println!("{line}"))?;
            binaries::rules(&|line| println!("{line}"))?;
            binaries::helm(&|line| println!("{line}")).map(drop)
        }
        Command::Up { kubeconfig, node } => {
            let shape = if node { Shape::Node } else { Shape::Plain };
            tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(up(kubeconfig, shape))
        }
        Command::Train(arguments) => {
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(trainer::train(&arguments))
        }
        Command::Trouble => {
            let trouble = node::trouble();
            trouble.iter().for_each(|why| println!("{why}"));
            return Ok(ExitCode::from(u8::from(trouble.is_some())));
        }
    }?;
    Ok(ExitCode::SUCCESS)
}

async fn up(kubeconfig: PathBuf, shape: Shape) -> Result<()> {
    let plain = Plain::start_as(shape).await?;
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
