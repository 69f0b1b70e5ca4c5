//! Power curves: a preset ladder, a cap curve, and the falling steps that clearing sells.

/// One miner's preset ladder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ladder {}

/// Throughput of a GPU by cap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapCurve {}
