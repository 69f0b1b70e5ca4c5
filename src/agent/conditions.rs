//! What an agent says of its load in the conditions of its status: for `kubectl get load`, `kubectl wait` and whoever
//! else follows `Ready` beside `observedGeneration`.
//!
//! Conditions ride on statements, which are written when the ceiling, the epoch or the holder changes, and once a minute.
//! What changes without them (the leader is gone, a device went silent that counts what it counted) is told within that
//! minute: it costs no write of its own.

use crate::api::ControllableLoad;
use crate::api::common::{Statement as Said, clear_condition, set_condition};
use crate::api::controllable_load::{ControllableLoadCondition as Type, ControllableLoadReason as Reason};
use crate::link::Devices;
use crate::store::{api_time, order};
use ampacity_core::guard::Statement;
use ampacity_core::units::{Time, Watts};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// How an agent stands when it states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stands {
    /// Its devices, counted.
    pub(super) devices: Devices,
    /// Without a leader: what the devices were told to stay under, W.
    pub(super) leaderless: Option<Option<Watts>>,
}

/// Says anew what stands in `list`.
pub(super) fn say(list: &mut Vec<Condition>, load: &ControllableLoad, states: &Statement, stands: &Stands, now: Time) {
    let Stands { devices, leaderless } = *stands;
    let setpoint = load.spec.setpoint_watts.watts();
    let silent =
        format!("{} of {} devices do not answer: each counts all that it could draw", devices.silent, devices.total);
    let disobeys = format!(
        "{} of {} devices draw more than their limiter, keep it, or are others: others make room",
        devices.contradicting, devices.total
    );
    let fallen = |limit: Option<Watts>| match limit.filter(|limit| *limit < setpoint) {
        Some(limit) => (Reason::FallingBack, format!("no operator leads: on the way down, at {limit}")),
        None => (Reason::Holding, "no operator leads: holds, and raises nothing".to_owned()),
    };
    let mut said = Saying { list, generation: load.metadata.generation, now };
    said.put(Type::Ready, Some(ready(load, states, &devices)));
    let stood = |count: u32, reason, message| (count > 0).then_some((true, reason, message));
    said.put(Type::DevicesSilent, stood(devices.silent, Reason::Silent, silent));
    said.put(Type::Disobeys, stood(devices.contradicting, Reason::Contradicted, disobeys));
    said.put(Type::Leaderless, leaderless.map(fallen).map(|(reason, message)| (true, reason, message)));
}

/// Ready: a ceiling of this agent's own is stated under the order that stands, and meets its setpoint.
fn ready(load: &ControllableLoad, states: &Statement, devices: &Devices) -> (bool, Reason, String) {
    let setpoint = load.spec.setpoint_watts.watts();
    let Some(ceiling) = states.ceiling else {
        return (false, Reason::Proving, "took the load over: nothing counts until every limiter is read back".into());
    };
    if ceiling <= setpoint && states.order == order(load.spec.order) {
        return (true, Reason::Proved, format!("can draw {ceiling} at most, ordered {setpoint}"));
    }
    let reason = match devices {
        Devices { contradicting: 1.., .. } => Reason::Contradicted,
        Devices { silent: 1.., .. } => Reason::Silent,
        _ => Reason::Moving,
    };
    (false, reason, format!("can draw {ceiling}, ordered {setpoint}"))
}

struct Saying<'a> {
    list: &'a mut Vec<Condition>,
    generation: Option<i64>,
    now: Time,
}

impl Saying<'_> {
    fn put(&mut self, type_: Type, said: Option<(bool, Reason, String)>) {
        type Load = ControllableLoad;
        match said {
            Some((holds, reason, message)) => {
                let say: Said<Load> = Said { type_, status: Some(holds), reason, message };
                let second = Time::seconds(self.now.get().div_euclid(1_000));
                set_condition(self.list, say, self.generation, &api_time(second));
            }
            None => clear_condition::<Load>(self.list, type_),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ampacity_core::guard::{HolderId, Order};
    use serde_json::json;

    fn load() -> ControllableLoad {
        let load = json!({
            "apiVersion": "ampacity.dev/v1alpha1", "kind": "ControllableLoad",
            "metadata": {"name": "a", "namespace": "ampacity", "generation": 4},
            "spec": {
                "protocol": 1, "budget": "b", "feeder": "f", "kind": "Gpu", "owner": {"pool": "p", "node": "n"},
                "nameplateWatts": 10_000, "setpointWatts": 5_000, "fallbackWatts": 10,
                "order": {"epoch": 7, "sequence": 3},
            },
        });
        serde_json::from_value(load).unwrap()
    }

    fn states(ceiling: Option<i64>, sequence: u64) -> Statement {
        let order = Order { epoch: 7, sequence };
        Statement { ceiling: ceiling.map(Watts::new), order, holder: HolderId(1), proof_expires: Time::ZERO }
    }

    fn devices(silent: u32, contradicting: u32) -> Devices {
        Devices { total: 8, proved: 8 - silent - contradicting, silent, contradicting, idle: 0 }
    }

    /// `Type=Status Reason: message` of each condition.
    fn words(list: &[Condition]) -> Vec<String> {
        list.iter().map(|c| format!("{}={} {}: {}", c.type_, c.status, c.reason, c.message)).collect()
    }

    fn said(states: &Statement, devices: Devices, leaderless: Option<Option<Watts>>) -> Vec<String> {
        let mut list = Vec::new();
        say(&mut list, &load(), states, &Stands { devices, leaderless }, Time::ZERO);
        words(&list)
    }

    #[test]
    fn a_load_is_ready_only_with_a_ceiling_under_its_order_that_meets_the_setpoint() {
        let ready = |ceiling, sequence| said(&states(ceiling, sequence), devices(0, 0), None);
        assert_eq!(ready(Some(5_000), 3), ["Ready=True Proved: can draw 5.00 kW at most, ordered 5.00 kW"]);
        assert_eq!(ready(Some(5_001), 3), ["Ready=False Moving: can draw 5.00 kW, ordered 5.00 kW"]);
        assert_eq!(ready(Some(5_000), 2), ["Ready=False Moving: can draw 5.00 kW, ordered 5.00 kW"]);
        assert_eq!(
            ready(None, 3),
            ["Ready=False Proving: took the load over: nothing counts until every limiter is read back"]
        );
    }

    #[test]
    fn what_is_wrong_is_said_while_it_is_and_why_a_load_is_not_ready() {
        let silent = "DevicesSilent=True Silent: 2 of 8 devices do not answer: each counts all that it could draw";
        let disobeys = "Disobeys=True Contradicted: 1 of 8 devices draw more than their limiter, keep it, or are others: others make room";
        let ready = |reason: &str| format!("Ready=False {reason}: can draw 7.00 kW, ordered 5.00 kW");
        let over = states(Some(7_000), 3);
        assert_eq!(said(&over, devices(2, 0), None), [silent.to_owned(), ready("Silent")]);
        assert_eq!(said(&over, devices(2, 1), None), [silent.to_owned(), disobeys.into(), ready("Contradicted")]);
        let holding = "Leaderless=True Holding: no operator leads: holds, and raises nothing";
        let falling = "Leaderless=True FallingBack: no operator leads: on the way down, at 4.00 kW";
        let met = states(Some(5_000), 3);
        for (limit, words) in [(None, holding), (Some(Watts::kilo(5)), holding), (Some(Watts::kilo(4)), falling)] {
            assert_eq!(said(&met, devices(0, 0), Some(limit)).first().map(String::as_str), Some(words));
        }
    }

    #[test]
    fn a_condition_keeps_its_time_while_it_stands_and_is_of_the_generation_that_was_seen() {
        let mut list = Vec::new();
        let stands = Stands { devices: devices(1, 0), leaderless: None };
        let mut at = |ceiling, stands: &Stands, second: i64| {
            say(&mut list, &load(), &states(Some(ceiling), 3), stands, Time::new(second * 1_000 + 1));
            let of =
                |c: &Condition| (c.type_.clone(), crate::store::time(&c.last_transition_time), c.observed_generation);
            list.iter().map(of).collect::<Vec<_>>()
        };
        let of = |type_: &str, second| (type_.to_owned(), Time::seconds(second), Some(4));
        assert_eq!(at(5_000, &stands, 10), [of("DevicesSilent", 10), of("Ready", 10)]);
        assert_eq!(at(5_000, &stands, 70), [of("DevicesSilent", 10), of("Ready", 10)]);
        assert_eq!(at(6_000, &Stands { devices: devices(0, 0), leaderless: None }, 80), [of("Ready", 80)]);
    }
}
