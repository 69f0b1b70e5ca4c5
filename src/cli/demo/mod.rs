//! `ampacity demo`: the whole operator over a simulated site, in virtual time, as a live view or as lines.

pub mod format;
pub mod plain;
pub mod view;
