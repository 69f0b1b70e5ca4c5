//! A whole site in one thread and in virtual time: the same operator and agents as in a cluster, over in-memory ports,
//! a simulated plant, and faults. The same seed prints the same trace.

pub mod account;
pub mod build;
pub mod cluster;
pub mod day;
pub mod frame;
pub mod ground;
pub mod happening;
pub mod hardware;
pub mod live;
pub mod plant;
pub mod spec;
pub mod world;
