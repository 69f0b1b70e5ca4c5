//! The `ampacity` binary of this work tree, for tests that run it as what it is: a process.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};

/// Where it is, once it was built.
static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);

/// The binary, built first: a test binary's own build makes the library alone.
///
/// # Errors
/// If it does not build: cargo's own words are on standard error.
pub fn ampacity() -> Result<PathBuf> {
    let mut built = BUILT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(path) = &*built {
        return Ok(path.clone());
    }
    // target/<profile>/deps/<test>: the same profile, and with this package's features the same libraries.
    let test = std::env::current_exe().context("this test's own path")?;
    let profile = test.ancestors().nth(2).context("a test outside of a target folder")?;
    let target = profile.parent().context("a profile outside of a target folder")?;
    let release = profile.file_name().is_some_and(|name| name == "release");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    cargo.args(["build", "--quiet", "-p", "ampacity", "-p", "ampacity-e2e", "--bin", "ampacity", "--target-dir"]);
    // A release build is a bench's: with a bench beside it the binary shares its libraries, and needs no second build.
    cargo.arg(target).args(release.then_some(["--release", "--bench", "figures"]).into_iter().flatten());
    let status = cargo.status().context("starting cargo")?;
    ensure!(status.success(), "cargo could not build the ampacity binary: {status}");
    Ok(built.insert(profile.join("ampacity")).clone())
}
