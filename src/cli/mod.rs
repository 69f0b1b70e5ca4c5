//! The subcommands.

pub mod crds;
pub mod demo;
pub mod operator;
