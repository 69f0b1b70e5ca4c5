//! The operator: observe, decide, apply, report.

pub mod cache;
pub mod leader;
