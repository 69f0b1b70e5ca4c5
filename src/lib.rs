//! Ampacity: a Kubernetes operator that splits each site's megawatts between Bitcoin mining containers and leased GPU
//! jobs. The decisions live in `ampacity_core`; this crate is the shells around them.

pub mod agent;
pub mod api;
pub mod cli;
pub mod device;
pub mod digest;
pub mod link;
pub mod market;
pub mod operator;
pub mod sim;
pub mod store;
