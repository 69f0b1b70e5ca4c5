//! The kinds on a control plane.

use std::time::Duration;

use ampacity::api::crd;
use anyhow::{Context, Result};
use http::Request;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};

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
    served(admin).await
}

/// Waits until every kind is served.
///
/// # Errors
/// If one is not in time.
pub async fn served(admin: &Client) -> Result<()> {
    for crd in crd::all()? {
        let path = format!("/apis/ampacity.dev/v1alpha1/{}?limit=1", crd.spec.names.plural);
        served_at(admin, &path).await?;
    }
    Ok(())
}

/// Waits until there is a list at a path.
///
/// # Errors
/// If there is none in time.
pub async fn served_at(admin: &Client, path: &str) -> Result<()> {
    until(&format!("{path} to be served"), SERVED, async || {
        Ok(Some(admin.request_text(Request::get(path).body(Vec::new())?).await.map(drop)?))
    })
    .await
}
