//! The binary: parses the command line and runs one subcommand.

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Splits a site's megawatts between Bitcoin mining and leased GPU jobs.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints the CustomResourceDefinitions as YAML.
    Crds,
    /// Runs the operator in a cluster.
    Operator(ampacity::cli::operator::OperatorArgs),
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Crds => ampacity::cli::crds::print(&mut std::io::stdout().lock()).map(|()| ExitCode::SUCCESS),
        Command::Operator(args) => ampacity::cli::operator::operate(&args),
    }
}
