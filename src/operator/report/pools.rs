//! The status of a `GpuPool`.

use super::owners::{Tally, count};
use super::{Conditions, Draft, Scene, many, rejection};
use crate::api::gpu_pool::{GpuPoolCondition as Type, GpuPoolReason as Word};
use crate::api::quantity::WattsQuantity;
use crate::api::{GpuPool, GpuPoolStatus};
use crate::operator::cache::Cache;
use crate::operator::problem::Cause;
use crate::store::{Key, Kind, Status};
use ampacity_core::lease::{Delivery, LeaseState};
use ampacity_core::snapshot::Member;
use ampacity_core::units::Watts;
use kube::ResourceExt;
use std::collections::BTreeMap;

/// The statuses of the site's pools.
pub(super) fn drafts(scene: &Scene<'_>, cache: &Cache, tallies: &BTreeMap<Member, Tally>) -> Vec<Draft> {
    let pools = cache.pools().filter(|pool| pool.spec.budget == scene.site.name);
    pools
        .filter(|pool| pool.metadata.deletion_timestamp.is_none())
        .filter_map(|pool| {
            let key = Key::cluster(Kind::GpuPool, &pool.name_any());
            Draft::of(key, status(scene, pool, tallies), pool.status.as_ref(), |s| &s.conditions, Status::GpuPool)
        })
        .collect()
}

fn status(scene: &Scene<'_>, pool: &GpuPool, tallies: &BTreeMap<Member, Tally>) -> GpuPoolStatus {
    let mut status = pool.status.clone().unwrap_or_default();
    status.observed_generation = pool.metadata.generation;
    let key = Key::cluster(Kind::GpuPool, &pool.name_any());
    let problems = scene.problems(&key);
    let place = scene.tables.pools.iter().position(|row| row.key == key);
    let generation = pool.metadata.generation;
    let mut say = Conditions { list: &mut status.conditions, generation, now: scene.now };
    let Some((row, at)) = place.and_then(|at| Some((scene.tables.pools.get(at)?, u32::try_from(at).ok()?))) else {
        let (cause, message) = rejection(&problems).unwrap_or((Cause::Invalid, "not read yet".into()));
        let word = if cause == Cause::FeederNotFound { Word::FeederNotFound } else { Word::Invalid };
        say.say::<GpuPool>(Type::Accepted, Some((false, word, message.clone())));
        say.say::<GpuPool>(Type::Ready, Some((false, word, message)));
        return status;
    };
    let none = Tally::default();
    let tally = tallies.get(&Member::Pool(at)).unwrap_or(&none);
    say.say::<GpuPool>(Type::Accepted, Some((true, Word::Valid, "the spec makes sense".into())));
    let wanting = tally.wanting();
    let ready = match &wanting {
        _ if row.nodes.is_empty() => {
            (false, Word::NoNodes, "spec.nodeLabels: no node of its own has all of these labels".into())
        }
        Some((true, message)) => (false, Word::Silent, message.clone()),
        Some((false, message)) => (false, Word::Starting, message.clone()),
        None => (true, Word::Operating, format!("{} under orders", many(tally.loads, "node"))),
    };
    say.say::<GpuPool>(Type::Ready, Some(ready));
    let shared = problems.iter().find(|problem| problem.cause == Cause::NodeInTwoPools);
    say.say::<GpuPool>(Type::NodeConflict, shared.map(|p| (true, Word::NodeInTwoPools, p.message.clone())));
    let lost = wanting.filter(|(lost, _)| *lost).map(|(_, message)| (true, Word::Silent, message));
    say.say::<GpuPool>(Type::AgentLost, lost);
    status.nodes = count(row.nodes.len());
    status.gpus = count(row.nodes.len().saturating_mul(row.core.gpus_per_node as usize));
    status.granted_gpus = granted(scene, at);
    status.setpoint_watts = WattsQuantity::new(tally.setpoint.get());
    status.measured_watts = WattsQuantity::new(tally.measured.get());
    status
}

/// GPUs that leases run at, of the pool at this position.
fn granted(scene: &Scene<'_>, at: u32) -> i32 {
    let of = |award: &ampacity_core::plan::LeaseAward| match &award.state {
        LeaseState::Accepted(contract) if contract.grant.watts > Watts::ZERO => match contract.offer.delivery {
            Delivery::Jobs { pool, gpus } if pool == at => gpus as usize,
            _ => 0,
        },
        _ => 0,
    };
    count(scene.turn.plan.leases.iter().map(of).sum())
}
