//! The CustomResourceDefinitions, as the API server gets them.

use super::{ComputeLease, ControllableLoad, GpuPool, GridEvent, LeaseClass, Lockout, MiningFleet, PowerBudget};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

/// Why the definitions cannot be made; a mistake in this crate alone.
#[derive(Debug, thiserror::Error)]
pub enum CrdError {
    /// A definition is no valid JSON after it was tidied.
    #[error("a CustomResourceDefinition cannot be read back: {0}")]
    Json(#[from] serde_json::Error),
    /// A definition cannot be printed.
    #[error("a CustomResourceDefinition cannot be printed: {0}")]
    Yaml(#[from] serde_yaml::Error),
}

/// Every definition, in the order of DESIGN section 2.
///
/// # Errors
/// A definition that cannot be read back.
pub fn all() -> Result<Vec<CustomResourceDefinition>, CrdError> {
    let raw = [
        PowerBudget::crd(),
        MiningFleet::crd(),
        GpuPool::crd(),
        LeaseClass::crd(),
        ComputeLease::crd(),
        GridEvent::crd(),
        Lockout::crd(),
        ControllableLoad::crd(),
    ];
    raw.into_iter().map(tidied).collect()
}

/// Every definition as one YAML stream.
///
/// # Errors
/// A definition that cannot be printed.
pub fn yaml() -> Result<String, CrdError> {
    Ok(files()?.into_iter().map(|(_, text)| text).collect())
}

/// Every definition as the file of `crds/` that holds it: name and text.
///
/// # Errors
/// A definition that cannot be printed.
pub fn files() -> Result<Vec<(String, String)>, CrdError> {
    let file = |crd: &CustomResourceDefinition| {
        let name = format!("{}.yaml", crd.spec.names.plural);
        Ok((name, format!("---\n{}", serde_yaml::to_string(crd)?)))
    };
    all()?.iter().map(file).collect()
}

/// Takes out what schemars adds and Kubernetes should not have.
fn tidied(crd: CustomResourceDefinition) -> Result<CustomResourceDefinition, CrdError> {
    let mut value = serde_json::to_value(crd)?;
    if let Some(versions) = value.pointer_mut("/spec/versions").and_then(Value::as_array_mut) {
        for schema in versions.iter_mut().filter_map(|v| v.pointer_mut("/schema/openAPIV3Schema")) {
            tidy(schema, true);
        }
    }
    Ok(serde_json::from_value(value)?)
}

/// Walks one schema and everything below it. `ruled` says whether rules on quantities are affordable here.
fn tidy(schema: &mut Value, ruled: bool) {
    let Some(object) = schema.as_object_mut() else { return };
    // Without `nullable` the API server drops a null before it looks, so that `has()` means what it says.
    object.remove("nullable");
    object.remove("title");
    if object.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        // The type is implied; schemars leaves empty branches behind.
        object.remove("anyOf");
        if let Some(Value::String(text)) = object.get_mut("description") {
            // kubectl explain shows such a field as <Object>.
            text.push_str(" Watts, written as 70M, 2500k or 700.");
        }
        if !ruled {
            // The API server takes the text to be as long as a whole request, which a list multiplies past its
            // budget. The pattern refuses the same values.
            object.remove("x-kubernetes-validations");
        }
    }
    if let Some(Value::String(text)) = object.get_mut("description") {
        // One line a paragraph: kubectl wraps to the width of the terminal.
        *text = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect::<Vec<_>>().join("\n\n");
    }
    if object.get("default") == Some(&Value::Null) {
        object.remove("default");
    }
    for (place, ruled) in [("properties", ruled), ("items", false), ("additionalProperties", false)] {
        match object.get_mut(place) {
            Some(Value::Object(properties)) if place == "properties" => {
                properties.iter_mut().for_each(|(name, below)| tidy(below, ruled && name != "status"));
            }
            Some(one) => tidy(one, ruled),
            None => {}
        }
    }
}
