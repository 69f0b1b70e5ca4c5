//! The bodies of writes.

use super::facts::{EPOCH_ANNOTATION, LINK_ANNOTATION};
use crate::api::{ControllableLoadStatus, LOCKED_OUT_ANNOTATION};
use crate::store::object::{api_limit, api_order};
use crate::store::{LEADERSHIP_NAME, LeadershipFacts};
use ampacity_core::guard::{KnownLimit, Order};
use ampacity_core::units::Watts;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Every field of a load's status: a statement says all of them, so that none of an earlier one stays.
const STATUS_FIELDS: [&str; 11] = [
    "observedGeneration",
    "conditions",
    "ceilingWatts",
    "order",
    "protocol",
    "holder",
    "bootId",
    "readBackTime",
    "proofExpires",
    "measuredWatts",
    "devices",
];

/// Puts a field into an object of the body.
pub(super) fn put(body: &mut Value, place: &str, name: &str, value: Value) {
    if let Some(map) = body.get_mut(place).and_then(Value::as_object_mut) {
        map.insert(name.into(), value);
    }
}

/// An order: what it does not say stays as it stands.
pub(super) fn order_patch(
    order: Order,
    setpoint: Option<Watts>,
    fallback: Option<Watts>,
    schedule: Option<&[KnownLimit]>,
) -> Map<String, Value> {
    let mut spec = Map::new();
    spec.insert("order".into(), json!(api_order(order)));
    if let Some(watts) = setpoint {
        spec.insert("setpointWatts".into(), json!(watts.get()));
    }
    if let Some(watts) = fallback {
        spec.insert("fallbackWatts".into(), json!(watts.get()));
    }
    if let Some(limits) = schedule {
        spec.insert("schedule".into(), json!(limits.iter().map(api_limit).collect::<Vec<_>>()));
    }
    spec
}

/// A statement: the whole status, and nothing else.
pub(super) fn statement_patch(status: &ControllableLoadStatus, revision: Option<&str>) -> Value {
    let mut fields: Map<String, Value> = STATUS_FIELDS.iter().map(|name| ((*name).into(), Value::Null)).collect();
    if let Value::Object(stated) = json!(status) {
        fields.extend(stated);
    }
    let mut body = json!({ "status": fields });
    if let (Some(revision), Some(map)) = (revision, body.as_object_mut()) {
        map.insert("metadata".into(), json!({ "resourceVersion": revision }));
    }
    body
}

/// The leader's Lease.
pub(super) fn lease_patch(facts: &LeadershipFacts) -> Value {
    let renewed = k8s_openapi::jiff::Timestamp::from_millisecond(facts.renewed.get()).unwrap_or_default();
    let link = Some(&facts.link).filter(|link| !link.is_empty());
    let annotations = json!({EPOCH_ANNOTATION: facts.epoch.to_string(), LINK_ANNOTATION: link});
    json!({
        "metadata": {"name": LEADERSHIP_NAME, "annotations": annotations},
        "spec": {
            "holderIdentity": Some(&facts.holder).filter(|holder| !holder.is_empty()),
            "leaseDurationSeconds": i32::try_from(facts.duration.whole_seconds().max(1)).unwrap_or(i32::MAX),
            "leaseTransitions": i32::try_from(facts.transitions).unwrap_or(i32::MAX),
            "renewTime": MicroTime(renewed),
        },
    })
}

/// The leader's Lease where there is none. What a patch takes away by a null, a new object does not have.
///
/// # Errors
/// None that a test does not find: the form is ours.
pub(super) fn new_lease(facts: &LeadershipFacts) -> serde_json::Result<Lease> {
    let mut body = lease_patch(facts);
    if let Some(annotations) = body.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.retain(|_, value| !value.is_null());
    }
    serde_json::from_value(body)
}

/// A Job's switch, what its pods' `nodeSelector` is to hold besides, and our annotations, on this UID alone.
pub(super) fn job_patch(
    uid: &str,
    suspend: Option<bool>,
    node_selector: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, Option<String>>,
) -> Value {
    let mut body = note_patch(uid, annotations);
    let mut spec = Map::new();
    spec.extend(suspend.map(|suspend| ("suspend".into(), suspend.into())));
    if !node_selector.is_empty() {
        spec.insert("template".into(), json!({"spec": {"nodeSelector": node_selector}}));
    }
    if let Some(map) = body.as_object_mut().filter(|_| !spec.is_empty()) {
        map.insert("spec".into(), spec.into());
    }
    body
}

/// Our annotations on an object of this UID.
pub(super) fn note_patch(uid: &str, annotations: &BTreeMap<String, Option<String>>) -> Value {
    json!({"metadata": {"uid": uid, "annotations": annotations}})
}

/// A node on which nothing new is to start, marked as ours; or on which it may again.
pub(super) fn cordon_patch(on: bool) -> Value {
    let mark = on.then_some("true");
    json!({"metadata": {"annotations": {LOCKED_OUT_ANNOTATION: mark}}, "spec": {"unschedulable": on.then_some(true)}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::WholeWatts;
    use crate::api::controllable_load::{Devices, Holder};
    use crate::store::api_time;
    use ampacity_core::units::Time;

    #[test]
    fn an_order_without_a_setpoint_leaves_it_as_it_stands() {
        let patch = order_patch(Order { epoch: 7, sequence: 0 }, None, None, None);
        assert_eq!(Value::Object(patch), json!({"order": {"epoch": 7, "sequence": 0}}));
    }

    #[test]
    fn a_lease_is_made_with_and_without_a_link_and_a_patch_takes_an_old_one_off() {
        let facts = |link: &str| LeadershipFacts { link: link.into(), epoch: 7, ..LeadershipFacts::default() };
        let made =
            |link| new_lease(&facts(link)).unwrap().metadata.annotations.unwrap().into_iter().collect::<Vec<_>>();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let epoch = pair(EPOCH_ANNOTATION, "7");
        assert_eq!(made(""), std::slice::from_ref(&epoch));
        assert_eq!(made("10.0.0.7:8443"), [epoch, pair(LINK_ANNOTATION, "10.0.0.7:8443")]);
        assert_eq!(lease_patch(&facts(""))["metadata"]["annotations"][LINK_ANNOTATION], Value::Null);
    }

    #[test]
    fn a_cordon_is_marked_as_ours_and_taken_off_with_its_mark() {
        let on =
            json!({"metadata": {"annotations": {"ampacity.dev/locked-out": "true"}}, "spec": {"unschedulable": true}});
        let off =
            json!({"metadata": {"annotations": {"ampacity.dev/locked-out": null}}, "spec": {"unschedulable": null}});
        assert_eq!([cordon_patch(true), cordon_patch(false)], [on, off]);
    }

    #[test]
    fn a_statement_says_every_field_of_the_status() {
        let at = api_time(Time::seconds(1));
        let full = ControllableLoadStatus {
            observed_generation: Some(1),
            conditions: vec![
                serde_json::from_value(json!({"type": "Ready", "status": "True", "reason": "Proved",
                "message": "", "lastTransitionTime": "2024-01-01T00:00:00Z"}))
                .unwrap(),
            ],
            ceiling_watts: Some(WholeWatts(1)),
            order: Some(api_order(Order::default())),
            protocol: Some(1),
            holder: Some(Holder { uid: "u".into(), pod: "p".into(), since: at.clone() }),
            boot_id: Some("b".into()),
            read_back_time: Some(at.clone()),
            proof_expires: Some(at),
            measured_watts: Some(WholeWatts(1)),
            devices: Some(Devices::default()),
        };
        let mut fields: Vec<String> = json!(full).as_object().unwrap().keys().cloned().collect();
        let mut all: Vec<String> = STATUS_FIELDS.iter().map(|name| (*name).into()).collect();
        fields.sort();
        all.sort();
        assert_eq!(fields, all);
        let empty = statement_patch(&ControllableLoadStatus::default(), Some("7"));
        assert_eq!(empty["metadata"], json!({"resourceVersion": "7"}));
        assert_eq!(empty["status"].as_object().map(|map| map.values().filter(|v| v.is_null()).count()), Some(11));
    }
}
