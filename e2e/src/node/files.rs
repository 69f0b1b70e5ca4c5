//! What the node's programs are told: their configuration files and arguments.

use std::path::Path;

use serde_json::{Value, json};

use super::space::Space;

/// The node's name.
pub const NAME: &str = "real";
/// The image of the process that holds a pod's namespaces.
pub(super) const PAUSE_IMAGE: &str = "localhost/pause:1";
/// Where containerd listens, inside.
pub(super) const SOCKET: &str = "/run/containerd/containerd.sock";

/// containerd's configuration. Without CAP_SYS_RESOURCE nobody may lower an OOM score, and every pod would fail.
pub(super) fn containerd(folder: &Path, plugins: &Path) -> String {
    let (folder, plugins) = (folder.display(), plugins.display());
    format!(
        r#"version = 3
root = "{folder}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri"]
[grpc]
address = "{SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
path = "{folder}/opt"
[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE_IMAGE}"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".containerd]
default_runtime_name = "runc"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{plugins}"]
conf_dir = "{folder}/cni"
"#
    )
}

/// The pods' network: each has a line of its own to the node, which routes.
pub(super) fn network(folder: &Path, space: &Space) -> Value {
    let ipam = json!({"type": "host-local", "dataDir": folder.join("addresses"),
                      "ranges": [[{"subnet": space.pods()}]], "routes": [{"dst": "0.0.0.0/0"}]});
    json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "ptp", "ipMasq": false, "ipam": ipam}]})
}

/// The kubelet's configuration.
pub(super) fn kubelet(folder: &Path, space: &Space) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
        "cgroupDriver": "cgroupfs", "cgroupRoot": format!("/{}", space.cgroup()),
        "failCgroupV1": false, "failSwapOn": false, "makeIPTablesUtilChains": false,
        // Only this machine reaches it.
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "clusterDNS": [space.inside()], "clusterDomain": "cluster.local", "resolvConf": "",
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
        "podLogsDir": folder.join("logs/pods"), "volumePluginDir": folder.join("volume-plugins"),
        // A notice reaches a running pod's files within this time.
        "syncFrequency": "5s", "nodeStatusUpdateFrequency": "4s",
        "registerWithTaints": [],
    })
}

/// `CoreDNS`' configuration.
pub(super) fn dns(kubeconfig: &Path, space: &Space) -> String {
    let (kubeconfig, address) = (kubeconfig.display(), space.inside());
    format!(
        ".:53 {{\n    bind {address}\n    errors\n    kubernetes cluster.local {{\n        kubeconfig {kubeconfig}\n    }}\n}}\n"
    )
}

/// kube-proxy's arguments: by nftables, and with no setting of the whole machine touched.
pub(super) fn proxy_arguments(kubeconfig: &Path, space: &Space) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--hostname-override={NAME}"),
        "--proxy-mode=nftables".into(),
        format!("--cluster-cidr={}", space.pods()),
        "--conntrack-max-per-core=0".into(),
        "--conntrack-tcp-timeout-established=0".into(),
        "--conntrack-tcp-timeout-close-wait=0".into(),
    ]
}
