//! `ampacity demo --cluster`: the same site, operators and agents, on the cluster of a kubeconfig.

use super::args::{DemoArgs, Faults, Speed};
use crate::sim::live::{Live, MARK, Options};
use crate::sim::spec::WorldSpec;
use crate::sim::world::World;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use std::io::{self, Write};
use std::path::Path;

/// Virtual seconds in a second that an API server with its controllers on two cores follows.
pub const SPEED: u32 = 20;
/// At most: pods take a second to start, and their work is to be seen.
const SPEED_MAX: u32 = 60;

/// The world of the command line, on its cluster; says on stderr where to look.
///
/// # Errors
/// One line that names the flag or the file, or what the API server said.
pub fn world(args: &DemoArgs, spec: WorldSpec) -> Result<World, String> {
    if args.faults == Faults::Chaos {
        return Err("--faults chaos: loses and delays messages, which a real API server does not let a demo do; \
                    with --cluster use none or default"
            .into());
    }
    let config = config(args.kubeconfig.as_deref())?;
    let mut err = io::stderr();
    let _ = writeln!(err, "cluster: {}; everything made there bears the label {MARK}", config.cluster_url);
    let speed_max = match args.speed {
        Some(Speed::Times(times)) => times.min(SPEED_MAX),
        Some(Speed::Max) => SPEED_MAX,
        None => SPEED,
    };
    let options = Options { config, speed_max, keep: args.keep };
    let world = World::on(spec, |setting| Ok(Box::new(Live::start(options, setting)?)));
    let world = world.map_err(|error| error.to_string())?;
    let _ = writeln!(err, "look: kubectl get pb,load,cl,jobs -A");
    Ok(world)
}

/// The named kubeconfig, or the one that kubectl would use.
fn config(file: Option<&Path>) -> Result<Config, String> {
    let of =
        file.map_or_else(|| "the current kubeconfig".to_owned(), |file| format!("--kubeconfig {}", file.display()));
    let said = |error: &dyn std::fmt::Display| format!("{of}: {error}");
    let kubeconfig = file.map_or_else(Kubeconfig::read, Kubeconfig::read_from).map_err(|error| said(&error))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| said(&error))?;
    let options = KubeConfigOptions::default();
    runtime.block_on(Config::from_custom_kubeconfig(kubeconfig, &options)).map_err(|error| said(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_that_is_not_there_is_named() {
        let said = config(Some(Path::new("/nowhere/kubeconfig"))).err().unwrap();
        assert!(said.starts_with("--kubeconfig /nowhere/kubeconfig: "), "{said}");
    }
}
