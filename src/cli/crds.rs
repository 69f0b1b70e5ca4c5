//! `ampacity crds`: prints the CustomResourceDefinitions.

use crate::api::crd;
use std::io::Write;

/// Writes every definition to `out` as one YAML stream, for `kubectl apply --server-side -f -`.
///
/// # Errors
/// A definition that cannot be made, or an `out` that cannot be written.
pub fn print(out: &mut impl Write) -> anyhow::Result<()> {
    out.write_all(crd::yaml()?.as_bytes())?;
    Ok(())
}
