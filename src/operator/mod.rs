//! The operator: observe, decide, apply, report.

pub mod leader;
