//! Finds the binaries of a control plane, of a real node and Helm, or builds them from the pinned modules of
//! `e2e/{control-plane,helm,node,dns,etcd,certificates,rules}/go.mod`.
//!
//! They live outside the work tree, in `$AMPACITY_E2E_CACHE` (default `~/.cache/ampacity-e2e`), in a folder
//! named by the hash of `go.mod`, `go.sum`, the Go version and the platform: another pin gets another folder. A binary
//! appears there by a rename when it is whole, so an interrupted build leaves nothing that looks finished,
//! and the next one builds only what is missing. A lock lets one build at a time work on a folder.

mod program;

use std::collections::VecDeque;
use std::fs::{self, File, TryLockError};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use program::{ALERTS, CERTIFICATES, CHARTS, ISSUERS, NODE, PLAIN, RUNTIME, Set, TOOLS};
pub use program::{CONTROL_PLANE, Program};

/// A build that takes longer is stuck: from empty caches two cores need about four minutes.
const BUILD_LIMIT: Duration = Duration::from_secs(40 * 60);
/// How often a build says that it is still at it.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// Where the programs of a control plane are, and of a node if those were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries(Vec<(&'static [Program], PathBuf)>);

impl Binaries {
    /// The path of one program: its bare name if it was not asked for.
    #[must_use]
    pub fn path(&self, program: Program) -> PathBuf {
        let folder = self.0.iter().find(|(programs, _)| programs.contains(&program)).map(|(_, folder)| folder);
        folder.map_or_else(|| PathBuf::from(program.name()), |folder| folder.join(program.name()))
    }
}

/// The control plane's binaries, built first where they are missing; `say` hears what is being done and how long it took.
///
/// # Errors
/// If Go is missing or too old (says what to install), if the build fails (with Go's own last words), or if
/// another build holds the lock for longer than a build may take.
pub fn find_or_build(say: &(dyn Fn(&str) + Sync)) -> Result<Binaries> {
    Ok(Binaries(vec![(PLAIN.programs, folder_of(&PLAIN, say)?)]))
}

/// The same, with those of a real node.
///
/// # Errors
/// As [`find_or_build`].
pub fn find_or_build_node(say: &(dyn Fn(&str) + Sync)) -> Result<Binaries> {
    let sets = std::iter::once(&PLAIN).chain(&NODE);
    sets.map(|set| Ok((set.programs, folder_of(set, say)?))).collect::<Result<_>>().map(Binaries)
}

/// The path of Helm, built first where it is missing. See [`find_or_build`].
///
/// # Errors
/// As [`find_or_build`].
pub fn helm(say: &(dyn Fn(&str) + Sync)) -> Result<PathBuf> {
    Ok(folder_of(&CHARTS, say)?.join(Program::Helm.name()))
}

/// etcdctl and etcdutl, built first where they are missing. See [`find_or_build`].
///
/// # Errors
/// As [`find_or_build`].
pub fn etcd_tools(say: &(dyn Fn(&str) + Sync)) -> Result<Binaries> {
    Ok(Binaries(vec![(TOOLS.programs, folder_of(&TOOLS, say)?)]))
}

/// The path of cert-manager's controllers, built first where they are missing. See [`find_or_build`].
///
/// # Errors
/// As [`find_or_build`].
pub fn cert_manager(say: &(dyn Fn(&str) + Sync)) -> Result<PathBuf> {
    Ok(folder_of(&ISSUERS, say)?.join(Program::CertManager.name()))
}

/// The folder of the definitions of cert-manager's kinds, of the pinned module itself.
///
/// # Errors
/// If the module cannot be had.
pub fn cert_manager_definitions() -> Result<PathBuf> {
    let arguments = ["mod", "download", "-json", "github.com/cert-manager/cert-manager"];
    let asked = Command::new("go").args(arguments).current_dir(CERTIFICATES).output().context("starting go")?;
    let said: serde_json::Value = serde_json::from_slice(&asked.stdout).context("what go says of a module")?;
    let folder = said.get("Dir").and_then(serde_json::Value::as_str).ok_or_else(|| anyhow!("{said}"))?;
    Ok(Path::new(folder).join("deploy/crds"))
}

/// The path of Prometheus' engine, built first where it is missing. See [`find_or_build`].
///
/// # Errors
/// As [`find_or_build`].
pub fn rules(say: &(dyn Fn(&str) + Sync)) -> Result<PathBuf> {
    Ok(folder_of(&ALERTS, say)?.join(Program::Rules.name()))
}

fn folder_of(set: &Set, say: &(dyn Fn(&str) + Sync)) -> Result<PathBuf> {
    let folder = cache_root()?.join(cache_key(set.folder())?);
    if missing(set, &folder).is_empty() {
        say(&format!("{}: cached in {}", set.name, folder.display()));
        return Ok(folder);
    }
    fs::create_dir_all(&folder).with_context(|| format!("making the cache folder {}", folder.display()))?;
    let lock = take_lock(set.name, &folder, say)?;
    let wanted = missing(set, &folder);
    if !wanted.is_empty() {
        build(set, &folder, &wanted, say)?;
    }
    drop(lock);
    Ok(folder)
}

fn missing(set: &Set, folder: &Path) -> Vec<Program> {
    set.programs.iter().copied().filter(|program| !folder.join(program.name()).is_file()).collect()
}

fn cache_root() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let named = set("AMPACITY_E2E_CACHE");
    let usual =
        || set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache"))).map(|at| at.join("ampacity-e2e"));
    named
        .or_else(usual)
        .ok_or_else(|| anyhow!("neither AMPACITY_E2E_CACHE nor HOME is set: nowhere to keep the binaries"))
}

/// The hash of all that decides what the binaries are.
fn cache_key(modules: &Path) -> Result<String> {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut own: Vec<PathBuf> = fs::read_dir(modules)
        .with_context(|| format!("reading {}", modules.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "go"))
        .collect();
    own.sort();
    for path in [modules.join("go.mod"), modules.join("go.sum")].into_iter().chain(own) {
        context.update(&fs::read(&path).with_context(|| format!("reading {}", path.display()))?);
    }
    context.update(go_facts(modules)?.as_bytes());
    Ok(context.finish().as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// Go's version and platform, as `go env` prints them.
fn go_facts(modules: &Path) -> Result<String> {
    let asked = Command::new("go").args(["env", "GOVERSION", "GOOS", "GOARCH"]).current_dir(modules).output();
    let answer = asked.map_err(|error| anyhow!("go cannot be run ({error}): {}", how_to_install(modules)))?;
    if !answer.status.success() {
        let words = String::from_utf8_lossy(&answer.stderr).trim().to_owned();
        bail!("go env failed ({words}): {}", how_to_install(modules));
    }
    Ok(String::from_utf8_lossy(&answer.stdout).into_owned())
}

fn how_to_install(modules: &Path) -> String {
    let wanted = directive(modules, "go").unwrap_or_else(|_| String::from("1.26"));
    format!("install Go {wanted} or newer from https://go.dev/dl (Debian 12's own golang, 1.19, is too old)")
}

/// The version that follows `name` in `go.mod`.
fn directive(modules: &Path, name: &str) -> Result<String> {
    let text = fs::read_to_string(modules.join("go.mod")).context("reading go.mod")?;
    let version = text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(name)).then(|| words.next().map(str::to_owned)).flatten()
    });
    version.ok_or_else(|| anyhow!("{} has no line that starts with {name:?}", modules.join("go.mod").display()))
}

fn take_lock(name: &str, folder: &Path, say: &dyn Fn(&str)) -> Result<File> {
    let path = folder.join(".lock");
    let file = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(error).context("locking the cache folder"),
            Err(TryLockError::WouldBlock) if started.elapsed() > BUILD_LIMIT => {
                bail!("another build has held {} for {} s", path.display(), BUILD_LIMIT.as_secs())
            }
            Err(TryLockError::WouldBlock) => {}
        }
        if started.elapsed() < Duration::from_millis(500) {
            say(&format!("{name}: another run is building it; waiting for that one"));
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Builds `wanted` beside their place and moves each there when all are whole. The caller holds the lock.
fn build(set: &Set, folder: &Path, wanted: &[Program], say: &(dyn Fn(&str) + Sync)) -> Result<()> {
    let started = Instant::now();
    let names: Vec<&str> = wanted.iter().map(|program| program.name()).collect();
    say(&format!(
        "{}: building {} from source (once; from empty caches {} on two cores)",
        set.name,
        names.join(", "),
        set.takes
    ));
    let half_done = folder.join(".building");
    // What an interrupted build left: nobody else is building while we hold the lock.
    if half_done.exists() {
        fs::remove_dir_all(&half_done).context("removing what an interrupted build left")?;
    }
    fs::create_dir(&half_done).context("making a folder to build in")?;
    let flags = version_flags(set.folder())?;
    let go = Command::new("go")
        .args(["build", "-v", "-mod=readonly", "-trimpath", "-ldflags", &flags, "-o"])
        .arg(&half_done)
        .args(wanted.iter().map(|program| program.package()))
        .env("CGO_ENABLED", "0")
        .current_dir(set.modules)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting go build")?;
    watch_build(set.name, go, started, say)?;
    for program in wanted {
        let from = half_done.join(program.built_name());
        fs::rename(&from, folder.join(program.name()))
            .with_context(|| format!("go build left no {}", from.display()))?;
    }
    fs::remove_dir_all(&half_done).context("removing the folder that was built in")?;
    let took = started.elapsed().as_secs_f64();
    say(&format!("{}: built in {took:.0} s, kept in {}", set.name, folder.display()));
    Ok(())
}

/// Without these a server says that it is `v0.0.0-master+$Format…`, and Helm takes a cluster that it is not connected to
/// for version 1.20.
fn version_flags(modules: &Path) -> Result<String> {
    let kubernetes = directive(Path::new(CONTROL_PLANE), "k8s.io/kubernetes")?;
    let mut numbers = kubernetes.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    if modules == Path::new(CONTROL_PLANE) {
        let prefix = "-X k8s.io/component-base/version.git";
        return Ok(format!("-s -w {prefix}Version={kubernetes} {prefix}Major={major} {prefix}Minor={minor}"));
    }
    if modules == Path::new(RUNTIME) {
        // A kubelet asks its runtime for a version that it can read.
        let containerd = directive(modules, "github.com/containerd/containerd/v2")?;
        return Ok(format!("-s -w -X github.com/containerd/containerd/v2/version.Version={containerd}"));
    }
    if modules != Path::new(CHARTS.modules) {
        return Ok(String::from("-s -w"));
    }
    let (helm, prefix) = (directive(modules, "helm.sh/helm/v3")?, "-X helm.sh/helm/v3");
    let of = |package: &str| {
        format!("{prefix}/{package}.k8sVersionMajor={major} {prefix}/{package}.k8sVersionMinor={minor}")
    };
    let (chart, lint) = (of("pkg/chartutil"), of("pkg/lint/rules"));
    Ok(format!("-s -w {prefix}/internal/version.version={helm} {chart} {lint}"))
}

/// Waits for `go build -v`, saying now and then how far it is: it prints one line a package.
fn watch_build(name: &str, mut go: Child, started: Instant, say: &(dyn Fn(&str) + Sync)) -> Result<()> {
    let lines = go.stderr.take().context("go build has no stderr")?;
    let packages = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_lines(lines, &packages));
        let mut said = Instant::now();
        let status = loop {
            if let Some(status) = go.try_wait().context("waiting for go build")? {
                break status;
            }
            if started.elapsed() > BUILD_LIMIT {
                go.kill().context("ending go build")?;
            }
            if said.elapsed() > SAY_EVERY {
                said = Instant::now();
                let done = packages.load(Ordering::Relaxed);
                say(&format!("{name}: {:.0} s, {done} packages compiled", started.elapsed().as_secs_f64()));
            }
            std::thread::sleep(Duration::from_millis(200));
        };
        let last = reader.join().map_err(|_| anyhow!("reading what go build says failed"))?;
        if !status.success() {
            bail!("go build ended with {status}; its last words:\n{}", Vec::from(last).join("\n"));
        }
        Ok(())
    })
}

/// Counts lines and keeps the last forty.
fn read_lines(from: impl Read, count: &AtomicUsize) -> VecDeque<String> {
    let mut last = VecDeque::new();
    for line in BufReader::new(from).lines().map_while(Result::ok) {
        count.fetch_add(1, Ordering::Relaxed);
        if last.len() == 40 {
            last.pop_front();
        }
        last.push_back(line);
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_go_mod_so_that_they_are_pinned_in_one_place() -> Result<()> {
        let modules = Path::new(CONTROL_PLANE);
        let kubernetes = directive(modules, "k8s.io/kubernetes")?;
        assert_eq!(
            version_flags(modules)?,
            format!(
                "-s -w -X k8s.io/component-base/version.gitVersion={kubernetes} \
                 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36"
            )
        );
        let why = format!("{CONTROL_PLANE}/go.mod has no line that starts with \"k8s.io/nosuch\"");
        assert_eq!(directive(modules, "k8s.io/nosuch").map_err(|error| error.to_string()), Err(why));
        assert!(
            version_flags(Path::new(CHARTS.modules))?.contains(" -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=36 ")
        );
        Ok(())
    }

    #[test]
    fn every_program_is_a_tool_of_the_pinned_modules() -> Result<()> {
        for (modules, program) in [&PLAIN, &CHARTS, &TOOLS, &ISSUERS, &ALERTS]
            .into_iter()
            .chain(&NODE)
            .flat_map(|set| set.programs.iter().map(|program| (set.modules, program)))
        {
            let text = fs::read_to_string(Path::new(modules).join("go.mod"))?;
            let named = |line: &str| line.trim().split(' ').any(|word| word == program.package());
            assert!(text.lines().any(named), "{}", program.name());
        }
        Ok(())
    }
}
