//! `ampacity demo`: the whole operator over a simulated site, in virtual time, as a live view or as lines.

pub mod args;
pub mod cluster;
pub mod format;
pub mod load;
pub mod plain;
pub mod run;
pub mod seeds;
pub mod view;
