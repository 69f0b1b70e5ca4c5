//! Ampacity.

pub mod api;
pub mod cli;
