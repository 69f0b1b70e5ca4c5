//! The rules that the model check can take away, one at a time, to see that each is needed.
//!
//! Outside this crate's own tests nothing can take a rule away: [`Broken`] is then empty and [`Broken::keeps`] constant.

/// A rule of the two machines. What the API server and the inventory hold stands in the model's own world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Rule {
    /// Agent: the ceiling is stated, and accepted, before a device is raised.
    CeilingFirst,
    /// Agent: no statement is below the setpoint of the order that it is made under.
    NotBelowSetpoint,
    /// Agent: a proof counts only if it was made after the last raise was called off.
    ProofAfterRaise,
    /// Agent: an order of sequence 0 raises nothing.
    ClaimRaisesNothing,
    /// Agent: raises only under an epoch whose Lease it saw renewed.
    LeaseSeen,
    /// Agent: whoever sees another holder is done.
    OneHolder,
    /// Agent: a successor waits until nothing of its predecessor can reach the devices.
    SuccessorWaits,
    /// Agent: a permit to raise lives 10 s.
    PermitEnds,
    /// Agent: without a leader it only ever lowers.
    FallLowers,
    /// Agent: obeys nothing older than the newest it has seen.
    Memory,
    /// Ledger: a load that this leader has not claimed counts at nameplate and is not raised.
    ClaimFirst,
    /// Ledger: a write without an answer counts.
    UnansweredCounts,
    /// Ledger: a ceiling counts only if stated under this leader's epoch.
    OwnEpoch,
    /// Ledger: a load that is not in the list counts at nameplate.
    AbsentCounts,
    /// Ledger: a proof whose life ran out counts at nameplate.
    ProofLife,
}

/// Which rules a test took away: none, outside tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Broken(#[cfg(test)] pub(super) [Option<Rule>; 2]);

impl Broken {
    /// All rules hold.
    pub(super) const NONE: Self = Self(
        #[cfg(test)]
        [None; 2],
    );

    /// Whether this rule holds.
    pub(super) fn keeps(self, rule: Rule) -> bool {
        #[cfg(test)]
        return !self.0.contains(&Some(rule));
        #[cfg(not(test))]
        {
            let _ = rule;
            true
        }
    }
}
