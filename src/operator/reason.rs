//! Reasons, in words.

use super::site::LoadRow;
use super::tables::Tables;
use ampacity_core::plan::Reason;

/// One short sentence.
pub fn sentence(reason: &Reason, _tables: &Tables, _rows: &[LoadRow], _leases: &[String]) -> String {
    format!("{reason:?}")
}
