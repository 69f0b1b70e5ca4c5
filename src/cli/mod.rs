//! The subcommands.

pub mod agent;
pub mod cluster;
pub mod crds;
pub mod demo;
pub mod explain;
pub mod operator;
pub mod release;
pub mod uninstall;
