//! What Ampacity decides, and nothing else.
//!
//! No I/O, no clock, no Kubernetes, no dependencies: time comes in as a value, decisions leave as values. The same
//! code runs in production, in the demo, in back-tests, in the simulation and in the model check.
//!
//! Reading order: [`units`] and [`tree`] are the vocabulary; [`guard`] keeps every limit whatever is wanted; the rest
//! decides what is wanted.

pub mod bid;
pub mod clear;
pub mod curve;
pub mod decide;
pub mod guard;
pub mod hold;
pub mod lease;
pub mod memory;
pub mod plan;
pub mod snapshot;
pub mod tree;
pub mod units;
