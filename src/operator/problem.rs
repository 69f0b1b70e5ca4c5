//! What is wrong with an object that the API server could not see: the field, the value and what would be right.

use crate::store::Key;

/// One thing wrong with one object. It harms nothing else: the object is left out, or its old form stays in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The object at whose author the message is.
    pub key: Key,
    /// What sort of mistake: the condition's reason.
    pub cause: Cause,
    /// The field, the value and what would be right.
    pub message: String,
}

/// What sort of mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// It names a budget that does not exist.
    BudgetNotFound,
    /// It names a feeder that its budget does not have.
    FeederNotFound,
    /// It names a pool that does not exist.
    PoolNotFound,
    /// It names a load that does not exist.
    LoadNotFound,
    /// A value cannot be, beside others.
    Invalid,
    /// A source cannot be read.
    SourceUnreadable,
    /// A node carries the labels of two pools.
    NodeInTwoPools,
    /// Classes promise more than there is.
    SumPassesCapacity,
}

impl Problem {
    /// A field of `key` names something of `what` that does not exist.
    pub fn missing(key: Key, cause: Cause, field: &str, name: &str, have: &[&str]) -> Self {
        let have = match have {
            [] => "there is none".to_owned(),
            some => format!("there is {}", shown(some)),
        };
        Self { key, cause, message: format!("{field}: {name:?} does not exist; {have}") }
    }

    /// A value of `key` cannot be.
    pub fn invalid(key: Key, message: String) -> Self {
        Self { key, cause: Cause::Invalid, message }
    }
}

/// A list for a message: the first few by name, the rest by number.
fn shown(names: &[&str]) -> String {
    const SHOWN_MAX: usize = 8;
    let mut text = names.iter().take(SHOWN_MAX).copied().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN_MAX {
        text.push_str(&format!(" and {} more", names.len() - SHOWN_MAX));
    }
    text
}
