//! The kinds on a control plane.

use std::time::Duration;

use ampacity::api::crd;
use anyhow::{Context, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;

use crate::wait::until;

/// How long a definition may take until it is served, on a busy machine.
const SERVED: Duration = Duration::from_secs(30);

/// Applies every definition and waits until each is served.
///
/// # Errors
/// If one is refused, or not served in time.
pub async fn install(admin: &Client) -> Result<()> {
    let crds: Api<CustomResourceDefinition> = Api::all(admin.clone());
    let all = crd::all()?;
    for crd in &all {
        let name = crd.metadata.name.as_deref().context("a definition without a name")?;
        crds.patch(name, &PatchParams::apply("e2e").force(), &Patch::Apply(crd)).await?;
    }
    for crd in &all {
        let kind = GroupVersionKind::gvk(&crd.spec.group, "v1alpha1", &crd.spec.names.kind);
        let resource = ApiResource::from_gvk_with_plural(&kind, &crd.spec.names.plural);
        let objects: Api<DynamicObject> = Api::all_with(admin.clone(), &resource);
        until("every kind to be served", SERVED, async || Ok(objects.list(&ListParams::default().limit(1)).await.ok()))
            .await?;
    }
    Ok(())
}
