//! The node shape: beside a control plane a real node, whose pods are real processes. A kubelet, containerd, runc,
//! kube-proxy and `CoreDNS` in a bundle of namespaces, as root. kwok plays only the nodes that
//! [`Plain::kwok_node`] makes.

mod files;
pub mod image;
mod space;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use crate::binaries::Program;
use crate::identity::{self, ADMIN};
use crate::plain::{Plain, takes_pods};
use crate::process::Part;
use crate::wait::until;
pub use files::NAME;
pub(crate) use space::Space;

/// How long a node may take until it takes pods, on a busy machine.
const READY: Duration = Duration::from_secs(60);

/// Programs of the machine that a node needs, and Debian's package of each.
const COMMANDS: [(&str, &str); 7] = [
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("ip", "iproute2"),
    ("runc", "runc"),
    ("nft", "nftables"),
    ("busybox", "busybox"),
    ("strip", "binutils"),
];

/// What a machine must let root do: how it is tried, and what it is.
const ABILITIES: [(&str, &str); 4] = [
    ("unshare --net --mount --pid --fork --propagation private mount -t tmpfs tmpfs /run", "namespaces of its own"),
    ("unshare --net ip link add veth0 type veth peer name veth1", "pairs of network interfaces (veth)"),
    ("unshare --net nft add table ip a", "nftables"),
    ("grep -qw overlay /proc/filesystems", "the overlay file system"),
];

/// What keeps a real node from running on this machine, or nothing.
#[must_use]
pub fn trouble() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("a real node's pods are real processes in namespaces: it needs root".into());
    }
    let missing: Vec<_> = COMMANDS.iter().filter(|(name, _)| find(name).is_none()).collect();
    if !missing.is_empty() {
        let (names, mut packages): (Vec<_>, Vec<_>) = missing.into_iter().copied().unzip();
        packages.dedup();
        return Some(format!("{} missing: on Debian \"apt-get install {}\"", names.join(", "), packages.join(" ")));
    }
    ABILITIES.iter().find_map(|(tried, what)| {
        let error = space::run("/bin/sh", &["-c", tried]).err()?;
        Some(format!("this machine does not give {what} ({error:#})"))
    })
}

/// The path of a program of the machine.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|at| at.join(name)).find(|path| path.is_file())
}

impl Plain {
    /// Starts what makes a node, and waits until it takes pods. The API server is ready.
    pub(crate) async fn bring_up_node(&mut self) -> Result<()> {
        let folder = self.folder().to_owned();
        for name in ["cni", "opt"] {
            fs::create_dir(folder.join(name))?;
        }
        let plugins = self.program(Program::Ptp).parent().context("a plugin without a folder")?.to_owned();
        let kubeconfigs = [identity::KUBELET, identity::PROXY, identity::DNS].map(|user| self.kubeconfig(user));
        let [kubelet, proxy, dns] = kubeconfigs;
        let space = self.space()?;
        let at = |name: &str| folder.join(name);
        fs::write(at("containerd.toml"), files::containerd(&folder, &plugins))?;
        fs::write(at("cni/pods.conflist"), serde_json::to_string(&files::network(&folder, space))?)?;
        fs::write(at("kubelet.json"), serde_json::to_string(&files::kubelet(&folder, space))?)?;
        fs::write(at("Corefile"), files::dns(&dns?, space))?;
        let proxy = files::proxy_arguments(&proxy?, space);
        let (socket, inside) = (space.path(files::SOCKET), space.inside());
        self.launch_inside(Program::Containerd, vec![format!("--config={}", at("containerd.toml").display())])?;
        self.ready("containerd's socket", async || Ok(socket.exists().then_some(()))).await?;
        self.import(&image::busybox(&folder, files::PAUSE_IMAGE, &["sleep", "infinity"])?)?;
        self.launch_inside(
            Program::Kubelet,
            vec![
                format!("--config={}", at("kubelet.json").display()),
                format!("--kubeconfig={}", kubelet?.display()),
                "--root-dir=/run/kubelet".into(),
                "--cert-dir=/run/kubelet/pki".into(),
                format!("--hostname-override={NAME}"),
                format!("--node-ip={inside}"),
            ],
        )?;
        self.launch_inside(Program::KubeProxy, proxy)?;
        self.launch_inside(Program::CoreDns, vec!["-conf".into(), at("Corefile").display().to_string()])?;
        let nodes: Api<Node> = Api::all(self.client(ADMIN).await?);
        let ready = tokio::time::timeout(
            READY,
            self.ready("the real node to take pods", async || Ok(takes_pods(&nodes.get(NAME).await?).then_some(()))),
        );
        ready.await.context("the real node")?
    }

    /// Starts a program inside the node.
    fn launch_inside(&mut self, program: Program, arguments: Vec<String>) -> Result<()> {
        let binary = self.program(program);
        // containerd looks for its shim on the path, the kubelet and kube-proxy for the machine's own tools.
        let path = std::env::var("PATH").unwrap_or_default();
        let folder = self.program(Program::Shim);
        let folder = folder.parent().unwrap_or(Path::new("/")).display();
        let mut all = vec![format!("PATH={folder}:{path}"), binary.display().to_string()];
        all.extend(arguments);
        let all = self.space()?.enter(Path::new("/usr/bin/env"), all);
        let log = self.logs().join(format!("{}.log", program.name()));
        let part = Part::start(program.name(), PathBuf::from("nsenter"), all, log, self.keeper())?;
        self.add(program, part);
        Ok(())
    }

    /// Gives the node the image of an archive.
    ///
    /// # Errors
    /// If there is no node, or containerd refuses it: with its words.
    pub fn import(&self, archive: &Path) -> Result<()> {
        let arguments = ["--address", files::SOCKET, "--namespace", "k8s.io", "images", "import"];
        let mut arguments = arguments.map(str::to_owned).to_vec();
        arguments.push(archive.display().to_string());
        self.space()?.run(&self.program(Program::Ctr), arguments).map(drop)
    }

    /// Labels the node, and says that it has so many GPUs, which no pod can tell from the truth. Returns when the
    /// scheduler may count with them: the kubelet takes some seconds.
    ///
    /// # Errors
    /// If there is no node, or it does not follow.
    pub async fn real_gpus(&self, labels: &[(&str, &str)], gpus: u32) -> Result<()> {
        let nodes: Api<Node> = Api::all(self.client(ADMIN).await?);
        let labels: std::collections::BTreeMap<_, _> = labels.iter().copied().collect();
        let by = PatchParams::default();
        nodes.patch(NAME, &by, &Patch::Merge(json!({"metadata": {"labels": labels}}))).await?;
        let count = gpus.to_string();
        let capacity = json!({"status": {"capacity": {"nvidia.com/gpu": count}}});
        nodes.patch_status(NAME, &by, &Patch::Strategic(capacity)).await?;
        until("the node's GPUs", READY, async || {
            let status = nodes.get(NAME).await?.status.unwrap_or_default();
            let given = status.allocatable.unwrap_or_default().remove("nvidia.com/gpu");
            Ok((given.map(|given| given.0) == Some(count.clone())).then_some(()))
        })
        .await
    }

    /// The control group of the node's pods: what it may not leave behind.
    ///
    /// # Errors
    /// If there is no node.
    pub fn cgroup(&self) -> Result<&str> {
        Ok(self.space()?.cgroup())
    }

    fn space(&self) -> Result<&Space> {
        self.node_space()
            .ok_or_else(|| anyhow!("this control plane has no real node: the test must say Needs::RealNode"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_no_machine_has_is_not_found() -> Result<()> {
        assert_eq!((find("no-such-program-anywhere"), find("sh").is_some()), (None, true));
        Ok(())
    }
}
