//! What a client's watches show.

use super::{Key, Kind};

/// What a client's watches show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Everything: an operator.
    All,
    /// One load and the leadership: an agent.
    Load(Key),
}

impl Filter {
    /// Whether an object is shown.
    pub fn passes(&self, key: &Key) -> bool {
        match self {
            Self::All => true,
            Self::Load(load) => key == load || key.kind == Kind::Leadership,
        }
    }

    /// The kinds that are watched.
    pub const fn kinds(&self) -> &'static [Kind] {
        match self {
            Self::All => &Kind::ALL,
            Self::Load(_) => &[Kind::ControllableLoad, Kind::Leadership],
        }
    }
}
