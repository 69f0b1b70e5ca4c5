//! What one decision leaves for the next to remember.
//!
//! Small and not precious: an operator that takes over starts with [`Memory::default`], and everything here then counts
//! as just begun, which only makes the first minutes slower to change. What must not be forgotten stands in the leases'
//! and budgets' status.

use crate::units::{Time, Watts};

/// What one decision leaves for the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// By load: position and `LoadId` are the same. Shorter than the loads where some are new.
    pub loads: Vec<LoadMemory>,
    /// What the site's economic ramp allows is counted from here.
    pub ramp: Option<Ramp>,
}

/// The last decision on one load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadMemory {
    /// What it was last awarded, W.
    pub awarded: Watts,
    /// Since when it runs (awarded more than its standby) or stands.
    pub switched: Time,
    /// Whether it runs.
    pub on: bool,
    /// Since when it has used less than its award, if it does.
    pub idle_since: Option<Time>,
    /// Trimmed so, until it asks for more.
    pub trimmed: Option<Trimmed>,
}

/// What a load is left with, since it did not use more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// The most that it is awarded, W.
    pub most: Watts,
    /// What it was awarded when the rest was taken back, W.
    pub of: Watts,
    /// Since when it had used less by then.
    pub since: Time,
}

/// Where the site's economic ramp stands: credit is earned from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ramp {
    /// Rises have used up all that was earned before.
    pub up_since: Time,
    /// Falls have used up all that was earned before.
    pub down_since: Time,
}
