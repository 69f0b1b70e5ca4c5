//! How often an agent writes without a stream, and whom it does not obey.

use super::*;
use crate::sim::plant::container::{s19k_pro_luxos, whatsminer_percent};
use crate::sim::plant::gpunode::h100;
use ampacity_core::guard::proof::DeviceClass;
use serde_json::json;

fn devices(classes: Vec<DeviceClass>) -> LoadDevices {
    LoadDevices { classes, devices: Vec::new(), overhead_watts: Watts::ZERO }
}

#[test]
fn without_heartbeats_a_status_is_written_four_times_in_the_shortest_life_of_a_proof() {
    let renewal = |classes| unaided_renewal(&devices(classes), &Policy::default());
    let (kept, lost, gpu) = (s19k_pro_luxos().class, whatsminer_percent().class, h100().class);
    let fast = DeviceClass { boot_to_full: Span::seconds(2), ..gpu.clone() };
    assert_eq!(renewal(vec![kept.clone()]), PROOF_RENEWAL, "ten minutes of life");
    assert_eq!(renewal(vec![kept, lost, gpu]), Span::seconds(3), "twelve seconds are the shortest");
    assert_eq!(renewal(vec![fast]), RENEWAL_LEAST);
}

/// A load whose devices nobody needs.
struct Bare;

impl Devices for Bare {
    fn describe(&self) -> LoadDevices {
        devices(vec![h100().class])
    }
    fn submit(&mut self, _: &[ampacity_core::guard::proof::DeviceCommand], _: Time) {}
    fn poll(&mut self, _: Time) -> Vec<ampacity_core::guard::proof::DeviceAnswer> {
        Vec::new()
    }
    fn meter(&mut self, _: Time) -> Option<crate::device::Sample> {
        None
    }
}

#[test]
fn a_spec_of_a_newer_protocol_is_not_obeyed() {
    let options = Options {
        load: Key::namespaced(Kind::ControllableLoad, "ampacity", "a"),
        pod: "a-agent".into(),
        holder: HolderId(1),
        hold: Span::minutes(5),
        down_per_minute: Watts::kilo(1),
        policy: Policy::default(),
    };
    let mut agent = Agent::new(options, &Bare, Time::ZERO).unwrap();
    let mut seen = |protocol: i32| {
        let load = json!({
            "apiVersion": "ampacity.dev/v1alpha1", "kind": "ControllableLoad",
            "metadata": {"name": "a", "namespace": "ampacity", "resourceVersion": "7"},
            "spec": {
                "protocol": protocol, "budget": "b", "feeder": "f", "kind": "Gpu",
                "owner": {"pool": "p", "node": "n"}, "nameplateWatts": 10, "setpointWatts": 10,
                "fallbackWatts": 10, "order": {"epoch": 1, "sequence": 0},
            },
        });
        let load: ControllableLoad = serde_json::from_value(load).unwrap();
        let input = agent.input(Seen::Object(Object::ControllableLoad(Arc::new(load))), Time::ZERO);
        (input.is_some(), agent.is_outdated())
    };
    assert_eq!([seen(1), seen(2)], [(true, None), (false, Some(2))]);
}
