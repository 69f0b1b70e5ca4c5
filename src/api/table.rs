//! The table of objects that are refused, and with what words: `examples/bad`, one file a case.
//!
//! A file's comments say what is wrong with it (`# Refused: FIELD: MESSAGE`, one line each fault) and whether the last
//! step is a write of the status (`# Subresource: status`). Its documents are steps: every one but the last is
//! accepted, each replaces the one before, and the last is refused. The same table is held against the client-side
//! check here and against a real API server by the cluster suite.

use super::manifest::{self, ManifestError};
use serde_json::Value;
use std::path::Path;

/// One case of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// The file's name without its ending.
    pub name: String,
    /// Every fault of the last step, as `FIELD: MESSAGE`, sorted.
    pub refused: Vec<String>,
    /// Whether the last step writes the status subresource.
    pub status: bool,
    /// The steps; the last is refused.
    pub steps: Vec<Value>,
}

/// Why the table cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// A file cannot be read.
    #[error("{0}: {1}")]
    Io(String, std::io::Error),
    /// A file is no YAML.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// Reads every case of a folder, by name.
///
/// # Errors
/// A file that cannot be read or is no YAML.
pub fn cases(folder: &Path) -> Result<Vec<Case>, TableError> {
    let io = |e| TableError::Io(folder.display().to_string(), e);
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_none_or(|ending| ending != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(|e| TableError::Io(path.display().to_string(), e))?;
        cases.push(case(&path, &text)?);
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(cases)
}

fn case(path: &Path, text: &str) -> Result<Case, TableError> {
    let said = |what: &'static str| text.lines().filter_map(move |line| line.strip_prefix(what)).map(str::to_string);
    let mut refused: Vec<String> = said("# Refused: ").collect();
    refused.sort();
    Ok(Case {
        name: path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
        refused,
        status: said("# Subresource: status").next().is_some(),
        steps: manifest::values(&path.display().to_string(), text)?,
    })
}
