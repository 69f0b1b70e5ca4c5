//! What a kubelet would give an agent's pod for the link: a token that is bound to it, and the agents' certificate.

use std::path::Path;

use ampacity::link::grpc::certificates::AGENT_SECRET;
use ampacity::link::grpc::identity::AUDIENCE;
use anyhow::Result;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt;
use kube::api::Api;

use super::{SOON, get};
use crate::identity::token;
use crate::{Test, until};

/// The phase of a pod; empty where it has none yet.
#[must_use]
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// A pod that kwok plays, once it runs.
///
/// # Errors
/// If it does not run soon.
pub async fn runs(test: &Test, name: &str) -> Result<Pod> {
    let pods: Api<Pod> = Api::default_namespaced(test.admin());
    until(&format!("pod {name} to run"), SOON, async || {
        let pod = pods.get(name).await?;
        Ok((phase(&pod) == "Running").then_some(pod))
    })
    .await
}

/// What the kubelet would mount into an agent's pod, in `folder`.
///
/// # Errors
/// If there is no certificate yet, or no token to be had.
pub async fn mounted(test: &Test, folder: &Path, pod: &Pod) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let secrets: Api<Secret> = Api::default_namespaced(test.admin());
    let secret = until("the agents' certificate", SOON, async || Ok(secrets.get_opt(AGENT_SECRET).await?)).await?;
    for (name, data) in secret.data.unwrap_or_default() {
        std::fs::write(folder.join(name), data.0)?;
    }
    let (name, uid) = (pod.name_any(), pod.uid().unwrap_or_default());
    let token = token(test.admin(), test.namespace(), "default", &[AUDIENCE], Some((&name, &uid))).await?;
    Ok(std::fs::write(folder.join("token"), token)?)
}

/// An agent's flags for the link.
#[must_use]
pub fn flags(folder: &Path) -> [String; 5] {
    let (dir, token) = (folder.display().to_string(), folder.join("token").display().to_string());
    ["--link".into(), "--link-tls-dir".into(), dir, "--link-token-file".into(), token]
}

/// Whether an agent says that it is linked to the leading operator.
///
/// # Errors
/// If it does not answer.
pub async fn is_linked(port: u16) -> Result<bool> {
    // A whole line: the metric's help begins with its name and a 1 as well.
    Ok(get(port, "/metrics").await?.lines().any(|line| line == "ampacity_agent_link_up 1"))
}
