//! Nodes that kwok plays.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams, PostParams};
use serde_json::json;

use super::{Plain, takes_pods};
use crate::identity::ADMIN;
use crate::wait::until;

impl Plain {
    /// Makes a node that kwok plays and waits until it is Ready. `capacity` is beside 256 pods, 128 CPUs and
    /// 2 TiB of memory: `[("nvidia.com/gpu", "8")]`.
    ///
    /// # Errors
    /// If the node exists, or is not Ready in time.
    pub async fn kwok_node(&self, name: &str, labels: &[(&str, &str)], capacity: &[(&str, &str)]) -> Result<Node> {
        let nodes: Api<Node> = Api::all(self.client(ADMIN).await?);
        let node = kwok_node(name, labels, capacity)?;
        nodes.create(&PostParams::default(), &node).await.with_context(|| format!("creating node {name}"))?;
        until(&format!("node {name} to be ready for pods"), Duration::from_secs(30), async || {
            let node = nodes.get(name).await?;
            Ok(takes_pods(&node).then_some(node))
        })
        .await
    }

    /// Makes many such nodes, all alike but for their names, and waits until each is Ready.
    ///
    /// # Errors
    /// If one of them exists, or they are not Ready in time.
    pub async fn kwok_nodes(
        &self,
        names: impl Iterator<Item = String>,
        labels: &[(&str, &str)],
        capacity: &[(&str, &str)],
    ) -> Result<()> {
        let nodes: Api<Node> = Api::all(self.client(ADMIN).await?);
        for name in names {
            let node = kwok_node(&name, labels, capacity)?;
            nodes.create(&PostParams::default(), &node).await.with_context(|| format!("creating node {name}"))?;
        }
        until("every node to be ready for pods", Duration::from_secs(300), async || {
            Ok(nodes.list(&ListParams::default()).await?.items.iter().all(takes_pods).then_some(()))
        })
        .await
    }
}

/// A node that kwok plays, as it is created.
fn kwok_node(name: &str, labels: &[(&str, &str)], capacity: &[(&str, &str)]) -> Result<Node> {
    let mut resources = BTreeMap::from([("cpu", "128"), ("memory", "2Ti"), ("pods", "256")]);
    resources.extend(capacity.iter().copied());
    let mut all_labels = BTreeMap::from([("kubernetes.io/hostname", name), ("kubernetes.io/os", "linux")]);
    all_labels.extend(labels.iter().copied());
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name, "labels": all_labels, "annotations": {"kwok.x-k8s.io/node": "fake"}},
        "status": {"capacity": resources, "allocatable": resources},
    }))?)
}
