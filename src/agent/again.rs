//! What an agent reads again while it runs, and what it does about a change.
//!
//! Once a minute, in a task of its own: the budget, the load and its owner's object. `leaderLoss` (and this load's share
//! of it, which shrinks as loads are born) is taken over at once: it moves no device while a leader is there, and can
//! only lower without one. Other devices (another ladder, another count) cannot be taken over, since what was proved was
//! proved of the old ones: the agent says so and ends with a code of its own, for its pod to start it afresh. The agents
//! of one fleet do that one after another within [`AFRESH_WITHIN`], since each new start counts at nameplate until it
//! has proved. What cannot be read, and an owner that is gone, changes nothing.

use super::setting::{self, Setting, Which};
use crate::api::common::LoadKind;
use crate::sim::hardware::same_devices;
use ampacity_core::guard::HolderId;
use ampacity_core::units::{Span, Watts};
use kube::{Client, ResourceExt};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// So often.
const EVERY: Duration = Duration::from_secs(60);
/// One reading takes this long at most.
const WITHIN: Duration = Duration::from_secs(10);
/// Agents whose devices are others start afresh within this, each at its own moment.
const AFRESH_WITHIN: Span = Span::minutes(10);

/// What was read last, against what the agent runs by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    /// Without a leader: how long to hold before lowering.
    pub hold: Span,
    /// Without a leader: how fast to lower after that, W per minute.
    pub down_per_minute: Watts,
    /// The owner's object describes other devices than those that the agent drives.
    pub other_devices: bool,
}

impl Again {
    /// As it was read at the start.
    pub const fn first(setting: &Setting) -> Self {
        Self { hold: setting.hold, down_per_minute: setting.down_per_minute, other_devices: false }
    }

    /// As it is read now, by an agent that was set up as `first`.
    pub fn of(first: &Setting, now: &Setting) -> Self {
        let made = first.made.as_ref().zip(now.made.as_ref());
        Self { other_devices: made.is_some_and(|(was, is)| !same_devices(was, is)), ..Self::first(now) }
    }
}

/// After how long this run is to end for other devices: the runs of a fleet are spread evenly by their numbers.
pub fn afresh_after(holder: HolderId) -> Span {
    let share = i64::try_from(holder.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54).unwrap_or_default();
    Span::new(ampacity_core::units::mul_div(AFRESH_WITHIN.get(), share, 1_024))
}

/// Reads everything again for as long as the receiver lives. The task ends with it.
pub fn follow(
    client: Client,
    namespace: &str,
    kind: LoadKind,
    first: Setting,
) -> (watch::Receiver<Again>, JoinHandle<()>) {
    let (told, hears) = watch::channel(Again::first(&first));
    let namespace = namespace.to_owned();
    let task = tokio::spawn(async move {
        let which = Which::Load(first.load.name_any());
        while !told.is_closed() {
            tokio::time::sleep(EVERY).await;
            let read = tokio::time::timeout(WITHIN, setting::read(&client, &namespace, &which, kind)).await;
            let again = match read {
                Ok(Ok(now)) => Again::of(&first, &now),
                Ok(Err(why)) => {
                    tracing::warn!(%why, "cannot be read again: goes on as it is");
                    continue;
                }
                Err(_) => continue,
            };
            told.send_if_modified(|last| std::mem::replace(last, again) != again);
        }
    });
    (hears, task)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::setting::Made;
    use ampacity_core::tree::{Node, Tree};
    use ampacity_core::units::{Ppm, Time};
    use serde_json::json;

    fn setting(gpus: Option<i32>, price: &str, hold: i64) -> Setting {
        let load = json!({
            "apiVersion": "ampacity.dev/v1alpha1", "kind": "ControllableLoad", "metadata": {"name": "h100-n1"},
            "spec": {
                "protocol": 1, "budget": "b", "feeder": "f", "kind": "Gpu", "owner": {"pool": "h100", "node": "n1"},
                "nameplateWatts": 5_700, "setpointWatts": 5_700, "fallbackWatts": 5_700,
                "order": {"epoch": 1, "sequence": 0},
            },
        });
        let pool = |gpus: i32| {
            json!({
                "budget": "b", "feeder": price, "nodeLabels": {"pool": "h100"}, "gpusPerNode": gpus, "minCapWatts": 200,
                "maxCapWatts": 700, "overheadWatts": 4600,
            })
        };
        let none = Watts::ZERO;
        let limit = Watts::kilo(100);
        let site = Node { name: "b".into(), parent: None, limit, reserve: none, auxiliary: none, loss: Ppm::ZERO };
        Setting {
            load: serde_json::from_value(load).unwrap(),
            made: gpus.map(|gpus| Made::Node(serde_json::from_value(pool(gpus)).unwrap())),
            tree: Tree::new(vec![site]).unwrap(),
            hold: Span::seconds(hold),
            down_per_minute: Watts::new(hold),
        }
    }

    #[test]
    fn another_leader_loss_is_taken_over_and_only_other_devices_ask_for_a_new_start() {
        let first = setting(Some(8), "a", 300);
        let again = |gpus, price, hold| {
            let Again { hold, down_per_minute, other_devices } = Again::of(&first, &setting(gpus, price, hold));
            (hold.whole_seconds(), down_per_minute.get(), other_devices)
        };
        assert_eq!(again(Some(8), "a", 300), (300, 300, false));
        assert_eq!(again(Some(8), "b", 60), (60, 60, false), "what describes no device");
        assert_eq!(again(Some(4), "a", 300), (300, 300, true));
        assert_eq!(again(None, "a", 300), (300, 300, false), "an owner that is gone");
    }

    #[test]
    fn the_agents_of_a_fleet_start_afresh_one_after_another() {
        let mut after: Vec<Time> = (1..=50).map(|holder| Time::ZERO.after(afresh_after(HolderId(holder)))).collect();
        after.sort_unstable();
        after.dedup();
        assert!(after.len() > 40 && after.iter().all(|at| *at < Time::ZERO.after(AFRESH_WITHIN)), "{after:?}");
    }
}
