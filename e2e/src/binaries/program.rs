//! What can be built: the programs, by name and by Go package, and the modules that pin them.

use std::path::Path;

/// Where the pinned modules and kwok's stages live.
pub const CONTROL_PLANE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/control-plane");
/// Where Helm's pinned module lives: it stands on other versions than the control plane's.
pub(super) const HELM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/helm");
/// Where containerd's and the network plugins' pinned module lives.
pub(super) const RUNTIME: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/node");
/// Where `CoreDNS`' pinned module lives.
pub(super) const DNS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dns");
/// Where the pinned module of etcd's tools lives: with the control plane's, all of that would be built anew.
pub(super) const BACKUPS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/etcd");

/// Where cert-manager's pinned module lives: it stands on other versions than the control plane's.
pub(super) const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/certificates");
/// Where Prometheus' pinned module lives.
pub(super) const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/rules");

/// A program of a control plane, of a node, or of what people run beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// The store of the API server.
    Etcd,
    /// kube-apiserver.
    ApiServer,
    /// kube-controller-manager.
    ControllerManager,
    /// kube-scheduler.
    Scheduler,
    /// kubectl.
    Kubectl,
    /// kwok, which plays nodes.
    Kwok,
    /// Helm, which is no part of a control plane.
    Helm,
    /// kubelet.
    Kubelet,
    /// kube-proxy, which takes a Service's address to its pods.
    KubeProxy,
    /// containerd.
    Containerd,
    /// The process beside each pod that containerd talks to.
    Shim,
    /// containerd's own command line, which imports images.
    Ctr,
    /// The network plugin that joins a pod to its node.
    Ptp,
    /// The network plugin of a pod's own loopback interface.
    Loopback,
    /// The network plugin that gives a pod its address.
    HostLocal,
    /// `CoreDNS`.
    CoreDns,
    /// etcdctl, which backs a running etcd up.
    Etcdctl,
    /// etcdutl, which makes an etcd's folder of a backup.
    Etcdutl,
    /// cert-manager's controllers of certificates.
    CertManager,
    /// Prometheus' engine, on rules and series of files.
    Rules,
}

impl Program {
    /// Those of the control plane, in the order in which they start.
    pub const ALL: [Self; 6] =
        [Self::Etcd, Self::ApiServer, Self::ControllerManager, Self::Scheduler, Self::Kwok, Self::Kubectl];

    /// The name under which it is cached and known to people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kubectl => "kubectl",
            Self::Kwok => "kwok",
            Self::Helm => "helm",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::Containerd => "containerd",
            Self::Shim => "containerd-shim-runc-v2",
            Self::Ctr => "ctr",
            Self::Ptp => "ptp",
            Self::Loopback => "loopback",
            Self::HostLocal => "host-local",
            Self::CoreDns => "coredns",
            Self::Etcdctl => "etcdctl",
            Self::Etcdutl => "etcdutl",
            Self::CertManager => "cert-manager",
            Self::Rules => "rules",
        }
    }

    /// Its Go package.
    pub(super) fn package(self) -> &'static str {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::ApiServer => "k8s.io/kubernetes/cmd/kube-apiserver",
            Self::ControllerManager => "k8s.io/kubernetes/cmd/kube-controller-manager",
            Self::Scheduler => "k8s.io/kubernetes/cmd/kube-scheduler",
            Self::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
            Self::Kwok => "sigs.k8s.io/kwok/cmd/kwok",
            Self::Helm => "helm.sh/helm/v3/cmd/helm",
            Self::Kubelet => "k8s.io/kubernetes/cmd/kubelet",
            Self::KubeProxy => "k8s.io/kubernetes/cmd/kube-proxy",
            Self::Containerd => "github.com/containerd/containerd/v2/cmd/containerd",
            Self::Shim => "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
            Self::Ctr => "github.com/containerd/containerd/v2/cmd/ctr",
            Self::Ptp => "github.com/containernetworking/plugins/plugins/main/ptp",
            Self::Loopback => "github.com/containernetworking/plugins/plugins/main/loopback",
            Self::HostLocal => "github.com/containernetworking/plugins/plugins/ipam/host-local",
            Self::CoreDns => "ampacity.dev/e2e/dns",
            Self::Etcdctl => "go.etcd.io/etcd/etcdctl/v3",
            Self::Etcdutl => "go.etcd.io/etcd/etcdutl/v3",
            Self::CertManager => "ampacity.dev/e2e/certificates",
            Self::Rules => "ampacity.dev/e2e/rules",
        }
    }

    /// What `go build` calls it: the last element of its package's path that is not a version.
    pub(super) fn built_name(self) -> &'static str {
        match self {
            Self::Etcd => "server",
            Self::CoreDns => "dns",
            Self::CertManager => "certificates",
            other => other.name(),
        }
    }
}

/// What is built together, from one `go.mod`.
pub(super) struct Set {
    pub(super) name: &'static str,
    pub(super) programs: &'static [Program],
    pub(super) modules: &'static str,
    /// How long it takes on two cores, from empty caches.
    pub(super) takes: &'static str,
}

impl Set {
    /// The folder of its `go.mod`.
    pub(super) fn folder(&self) -> &'static Path {
        Path::new(self.modules)
    }
}

/// What every cluster test needs.
pub(super) const PLAIN: Set =
    Set { name: "control plane", programs: &Program::ALL, modules: CONTROL_PLANE, takes: "about four minutes" };
/// What the charts' tests need.
pub(super) const CHARTS: Set = Set { name: "helm", programs: &[Program::Helm], modules: HELM, takes: "about a minute" };
/// What the tests of backups need.
pub(super) const TOOLS: Set = Set {
    name: "etcd's tools",
    programs: &[Program::Etcdctl, Program::Etcdutl],
    modules: BACKUPS,
    takes: "about half a minute",
};
/// What the tests of given certificates need.
pub(super) const ISSUERS: Set = Set {
    name: "cert-manager",
    programs: &[Program::CertManager],
    modules: CERTIFICATES,
    takes: "about two minutes after the control plane",
};
/// What the tests of the chart's alerts need.
pub(super) const ALERTS: Set =
    Set { name: "Prometheus' engine", programs: &[Program::Rules], modules: RULES, takes: "about half a minute" };
/// What a real node needs. Its Kubernetes is the control plane's, from the same modules.
pub(super) const NODE: [Set; 3] = [
    Set {
        name: "kubelet and kube-proxy",
        programs: &[Program::Kubelet, Program::KubeProxy],
        modules: CONTROL_PLANE,
        takes: "about half a minute after the control plane",
    },
    Set {
        name: "containerd",
        programs: &[
            Program::Containerd,
            Program::Shim,
            Program::Ctr,
            Program::Ptp,
            Program::Loopback,
            Program::HostLocal,
        ],
        modules: RUNTIME,
        takes: "about a minute",
    },
    Set { name: "dns", programs: &[Program::CoreDns], modules: DNS, takes: "about two minutes" },
];
