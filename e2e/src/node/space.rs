//! Where a real node's processes live: a bundle of namespaces of their own, joined to this machine by one pair of
//! virtual network interfaces. When its first process ends, everything in it ends, its mounts and its network with it;
//! what the machine itself keeps (control groups), the run's keeper removes.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::process::{Keeper, Part};
use crate::wait::until;

/// Runs as the first process of the bundle, with the run's folder and the number of its network.
///
/// The kubelet's folder has a short path beside its own, for a socket's path ends at 108 bytes, wherever the run is.
/// The kubelet sets some kernel settings for the whole machine: it gets files of its own in their place.
/// At the end it does nothing but collect the processes that lost their parent.
const FIRST: &str = r#"
set -e
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/log
mkdir /run/kubelet "$1/kubelet" "$1/settings"
mount --bind "$1/kubelet" /run/kubelet
for name in kernel/panic kernel/panic_on_oops vm/overcommit_memory kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
    own=$1/settings/${name##*/}
    cat "/proc/sys/$name" >"$own"
    mount --bind "$own" "/proc/sys/$name"
done
ip link set lo up
tries=0
until ip link show eth0 >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ]
    sleep 0.1
done
ip address add "10.99.$2.2/30" dev eth0
ip link set eth0 up
ip route add default via "10.99.$2.1"
: >"$1/inside"
while :; do sleep 3600 & wait $!; done
"#;

/// Runs when everything was killed. A control group goes once its last process is gone, which takes a moment.
const TIDY: &str = r#"
number=$(cat "$1/number" 2>/dev/null) && ip link delete "ampacity$number" 2>/dev/null
tries=0
while [ "$tries" -lt 50 ]; do
    tries=$((tries + 1))
    for at in /sys/fs/cgroup/NAME /sys/fs/cgroup/*/NAME; do
        [ -d "$at" ] && find "$at" -depth -type d -exec rmdir {} + 2>/dev/null
    done
    left=no
    for at in /sys/fs/cgroup/NAME /sys/fs/cgroup/*/NAME; do [ -d "$at" ] && left=yes; done
    [ "$left" = no ] && break
    sleep 0.1
done
"#;

/// Networks that one machine has room for: as many runs may have a real node at the same time.
const NETWORKS: u8 = 64;

/// A bundle of namespaces with its network.
#[derive(Debug)]
pub(crate) struct Space {
    /// Its first process, as seen from outside.
    first: u32,
    number: u8,
    cgroup: String,
    /// Ends the bundle when dropped.
    _part: Part,
}

impl Space {
    /// Makes one for the run of `folder`.
    pub(crate) async fn start(folder: &Path, keeper: &Arc<Keeper>) -> Result<Self> {
        let cgroup =
            folder.file_name().and_then(|name| name.to_str()).context("a run's folder without a name")?.to_owned();
        fs::write(folder.join("tidy"), TIDY.replace("NAME", &cgroup))?;
        let number = take_network()?;
        fs::write(folder.join("number"), number.to_string())?;
        make_cgroups(&cgroup)?;
        let spaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"];
        let mut arguments = spaces.map(str::to_owned).to_vec();
        arguments.extend(["/bin/sh", "-c", FIRST, "first"].map(str::to_owned));
        arguments.extend([folder.display().to_string(), number.to_string()]);
        let log = folder.join("logs/node.log");
        let part = Part::start("node", PathBuf::from("unshare"), arguments, log, keeper)?;
        let first = until("the node's first process", Duration::from_secs(10), async || Ok(part.only_child())).await?;
        join(number, first)?;
        until("the node's network", Duration::from_secs(10), async || {
            if let Some(status) = part.ended() {
                bail!("it ended with {status}: {}", part.last_words(5));
            }
            Ok(folder.join("inside").exists().then_some(()))
        })
        .await?;
        Ok(Self { first, number, cgroup, _part: part })
    }

    /// This machine's address on the pair.
    pub(crate) fn outside(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 99, self.number, 1)
    }

    /// The node's address.
    pub(crate) fn inside(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 99, self.number, 2)
    }

    /// The addresses of its pods.
    pub(crate) fn pods(&self) -> String {
        format!("10.244.{}.0/24", self.number)
    }

    /// The control group, in every hierarchy, that all pods are in.
    pub(crate) fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// A path of the node's own file system (`/run/…`), as seen from outside.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.first))
    }

    /// The arguments of `nsenter` that run a program inside.
    pub(crate) fn enter(&self, program: &Path, arguments: Vec<String>) -> Vec<String> {
        let mut all: Vec<String> = ["--net", "--mount", "--pid", "--"].map(str::to_owned).to_vec();
        all.insert(0, format!("--target={}", self.first));
        all.push(program.display().to_string());
        all.extend(arguments);
        all
    }

    /// Runs a program inside to its end and gives what it wrote to standard output.
    pub(crate) fn run(&self, program: &Path, arguments: Vec<String>) -> Result<String> {
        let arguments = self.enter(program, arguments);
        run("nsenter", &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// Runs a program to its end and gives what it wrote to standard output.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let done = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let done = done.with_context(|| format!("running {program}"))?;
    if !done.status.success() {
        bail!("{program} {}: {}: {}", arguments.join(" "), done.status, String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Makes the pair of interfaces of the first network that no other run has: whose name is free.
fn take_network() -> Result<u8> {
    let mut last = anyhow!("no network was tried");
    for number in 0..NETWORKS {
        let (here, there) = (format!("ampacity{number}"), format!("ampacity{number}n"));
        match run("ip", &["link", "add", &here, "type", "veth", "peer", "name", &there]) {
            Ok(_) => return Ok(number),
            Err(error) => last = error,
        }
    }
    Err(last.context(format!("none of {NETWORKS} pairs of network interfaces could be made")))
}

/// Moves the other end to the node, and gives this end its address and the way to the pods.
fn join(number: u8, first: u32) -> Result<()> {
    let (here, there) = (format!("ampacity{number}"), format!("ampacity{number}n"));
    run("ip", &["link", "set", &there, "netns", &first.to_string(), "name", "eth0"])?;
    run("ip", &["address", "add", &format!("10.99.{number}.1/30"), "dev", &here])?;
    run("ip", &["link", "set", &here, "up"])?;
    run("ip", &["route", "add", &format!("10.244.{number}.0/24"), "via", &format!("10.99.{number}.2")])?;
    Ok(())
}

/// The folders of the hierarchies of control groups: one of version 2, several of version 1.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        return Ok(vec![root.to_owned()]);
    }
    let mut all = Vec::new();
    for entry in fs::read_dir(root).context("reading the control groups")? {
        let at = entry?.path();
        if !at.is_symlink() && at.join("cgroup.procs").exists() {
            all.push(at);
        }
    }
    Ok(all)
}

/// Makes the control group that holds the node's pods, apart from those of other runs and of this machine.
fn make_cgroups(name: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let at = hierarchy.join(name);
        fs::create_dir(&at).with_context(|| format!("making the control group {}", at.display()))?;
        for inherited in ["cpuset.cpus", "cpuset.mems"] {
            let from = hierarchy.join(inherited);
            if from.exists() && at.join(inherited).exists() {
                fs::write(at.join(inherited), fs::read(from)?)?;
            }
        }
        let controllers = hierarchy.join("cgroup.controllers");
        if hierarchy == Path::new("/sys/fs/cgroup") && controllers.exists() {
            for controller in fs::read_to_string(controllers)?.split_whitespace() {
                for parent in [&hierarchy, &at] {
                    // One that is not to be had there is not needed either, or the kubelet says so.
                    let _ = fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}"));
                }
            }
        }
    }
    Ok(())
}
