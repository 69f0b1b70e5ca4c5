//! How each part is started: its arguments, and the files that they name.

use std::fs;
use std::path::Path;

use anyhow::{Result, anyhow};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::Plain;
use crate::{binaries, identity};

impl Plain {
    pub(super) fn etcd_arguments(&self) -> Vec<String> {
        let client = format!("http://127.0.0.1:{}", self.ports.etcd);
        let peer = format!("http://127.0.0.1:{}", self.ports.etcd_peer);
        vec![
            format!("--data-dir={}", self.at("etcd")),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            // The data does not outlive the run, so it need not outlive a power cut.
            "--unsafe-no-fsync".into(),
            "--log-level=warn".into(),
        ]
    }

    pub(super) fn api_server_arguments(&self) -> Vec<String> {
        let host = self.host();
        let mut arguments = vec![
            format!("--etcd-servers=http://127.0.0.1:{}", self.ports.etcd),
            format!("--bind-address={host}"),
            // Else it looks for a default route, which a machine without a network lacks.
            format!("--advertise-address={host}"),
            format!("--secure-port={}", self.ports.api_server),
            format!("--cert-dir={}", self.at("pki")),
            format!("--token-auth-file={}", self.at("tokens.csv")),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            format!("--service-account-key-file={}", self.at("service-accounts.pub")),
            format!("--service-account-signing-key-file={}", self.at("service-accounts.key")),
            "--service-cluster-ip-range=10.96.0.0/16".into(),
        ];
        let more = match self.node_space() {
            // No pod can reach it by its Service here, and a loopback address is refused as an endpoint.
            None => ["--authorization-mode=RBAC", "--endpoint-reconciler-type=none"].as_slice(),
            Some(_) => &[
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
                "--kubelet-preferred-address-types=InternalIP",
            ],
        };
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        arguments
    }

    pub(super) fn controller_manager_arguments(&self) -> Result<Vec<String>> {
        let kubeconfig = self.kubeconfig(identity::CONTROLLER_MANAGER)?;
        let mut arguments = leaf_arguments(&kubeconfig, self.ports.controller_manager, &self.at("pki-manager"));
        arguments.extend([
            "--use-service-account-credentials".into(),
            format!("--service-account-private-key-file={}", self.at("service-accounts.key")),
            format!("--root-ca-file={}", self.at("pki/apiserver.crt")),
            // Ten times the defaults (20 and 30): the suite measures Ampacity, not this client's patience.
            "--kube-api-qps=200".into(),
            "--kube-api-burst=300".into(),
        ]);
        Ok(arguments)
    }

    pub(super) fn scheduler_arguments(&self) -> Result<Vec<String>> {
        let kubeconfig = self.kubeconfig(identity::SCHEDULER)?;
        Ok(leaf_arguments(&kubeconfig, self.ports.scheduler, &self.at("pki-scheduler")))
    }

    pub(super) fn kwok_arguments(&self) -> Result<Vec<String>> {
        let mut arguments = vec![
            format!("--kubeconfig={}", self.kubeconfig(identity::KWOK)?.display()),
            format!("--config={}", self.at("stages.yaml")),
            // A node needs an address; nothing listens there, and nothing leaves the machine.
            "--node-ip=127.0.0.1".into(),
            "--node-lease-duration-seconds=40".into(),
        ];
        let mine = match self.node_space() {
            None => ["--manage-all-nodes=true"].as_slice(),
            Some(_) => &["--manage-all-nodes=false", "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake"],
        };
        arguments.extend(mine.iter().map(|&argument| argument.to_owned()));
        Ok(arguments)
    }
}

/// What the controller-manager and the scheduler have in common.
fn leaf_arguments(kubeconfig: &Path, port: u16, certificates: &str) -> Vec<String> {
    let kubeconfig = kubeconfig.display();
    vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        "--bind-address=127.0.0.1".into(),
        format!("--secure-port={port}"),
        format!("--cert-dir={certificates}"),
        // There is one of each: an election would only make the start slower.
        "--leader-elect=false".into(),
    ]
}

/// A fresh pair of keys that signs and checks ServiceAccount tokens, private first, as PEM.
pub(super) fn signing_keys() -> Result<(String, String)> {
    use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    let no_key = |_| anyhow!("the key that signs ServiceAccount tokens could not be made");
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(no_key)?;
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(no_key)?;
    let private = pair.to_pkcs8v1().map_err(no_key)?;
    let pem = |kind: &str, der: &[u8]| {
        let text = STANDARD.encode(der);
        format!("-----BEGIN {kind} KEY-----\n{text}\n-----END {kind} KEY-----\n")
    };
    Ok((pem("PRIVATE", private.as_ref()), pem("PUBLIC", public.as_ref())))
}

/// kwok's stages, all in one file.
pub(super) fn stages() -> Result<String> {
    let folder = Path::new(binaries::CONTROL_PLANE).join("stages");
    let mut paths = fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    let texts = paths.iter().map(|path| Ok(fs::read_to_string(path)?)).collect::<Result<Vec<_>>>()?;
    Ok(texts.join("---\n"))
}
