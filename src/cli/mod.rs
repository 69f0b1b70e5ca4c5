//! The subcommands.

pub mod agent;
pub mod crds;
pub mod demo;
pub mod explain;
pub mod operator;
