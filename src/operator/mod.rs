//! The operator: observe, decide, apply, report.

pub mod cache;
pub mod leader;
pub mod problem;
pub mod site;
pub mod tables;
