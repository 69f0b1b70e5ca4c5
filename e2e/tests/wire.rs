//! The code of the link's messages is what its definition says: made anew here, so that no build needs a generator.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Where the definition and its code lie.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../src/link/grpc");

#[test]
fn the_links_messages_are_those_of_its_definition() -> Result<()> {
    let folder = Path::new(FOLDER);
    let out = std::env::temp_dir().join(format!("ampacity-wire-{}", std::process::id()));
    fs::create_dir_all(&out)?;
    let definition = protox::compile([folder.join("link.proto")], [folder])?;
    tonic_prost_build::configure().out_dir(&out).compile_fds(definition)?;
    let made = fs::read_to_string(out.join("ampacity.link.v1.rs"))?;
    fs::remove_dir_all(&out)?;
    let committed = folder.join("wire.rs");
    if std::env::var_os("AMPACITY_E2E_UPDATE").is_some() {
        return fs::write(&committed, made).context("writing src/link/grpc/wire.rs");
    }
    let stands = fs::read_to_string(&committed).context("reading src/link/grpc/wire.rs")?;
    ensure!(
        stands == made,
        "src/link/grpc/wire.rs is not what link.proto says: AMPACITY_E2E_UPDATE=1 cargo test -p ampacity-e2e --test wire"
    );
    Ok(())
}
