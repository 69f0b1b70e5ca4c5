//! The binary: parses the command line and runs one subcommand.

use clap::{Parser, Subcommand};

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
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Crds => ampacity::cli::crds::print(&mut std::io::stdout().lock()),
    }
}
