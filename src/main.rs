//! The binary: parses the command line and runs one subcommand.

use ampacity::cli::demo::{self, args::DemoArgs, cluster};
use ampacity::sim::world::World;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Splits a site's megawatts between Bitcoin mining and leased GPU jobs.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the agent of one load: obeys its order, proves what its devices can draw.
    Agent {
        /// What its devices are.
        #[command(subcommand)]
        of: ampacity::cli::agent::AgentCommand,
    },
    /// Prints the CustomResourceDefinitions as YAML.
    Crds,
    /// Runs a whole site in virtual time: no cluster, no devices, the same decisions.
    Demo(Box<DemoArgs>),
    /// Says why a load, lease, limit or hold stands as it does, or what an object would change.
    Explain(ampacity::cli::explain::ExplainArgs),
    /// Runs the operator in a cluster.
    Operator(ampacity::cli::operator::OperatorArgs),
    /// Gives a person's word that loads are theirs from now on and not Ampacity's, or takes it back.
    Release(ampacity::cli::release::ReleaseArgs),
    /// Runs in the chart's uninstall hooks.
    Uninstall {
        /// Which step.
        #[command(subcommand)]
        step: ampacity::cli::uninstall::UninstallCommand,
    },
}

fn main() -> ExitCode {
    run(Cli::parse().command).unwrap_or_else(|error| {
        // One line, as of flags that are wrong.
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Agent { of } => ampacity::cli::agent::act(&of),
        Command::Crds => ampacity::cli::crds::print(&mut std::io::stdout().lock()).map(|()| ExitCode::SUCCESS),
        Command::Demo(args) => {
            let world = demo::run::World { advance: World::advance, frame: World::frame, account: World::account };
            Ok(if args.cluster {
                demo::run::run(&args, |spec| cluster::world(&args, spec), world)
            } else {
                demo::run::run(&args, World::new, world)
            })
        }
        Command::Explain(args) => ampacity::cli::explain::explain(&args),
        Command::Operator(args) => ampacity::cli::operator::operate(&args),
        Command::Release(args) => ampacity::cli::release::release(&args).map(|()| ExitCode::SUCCESS),
        Command::Uninstall { step } => ampacity::cli::uninstall::uninstall(&step),
    }
}
