//! A load's object as the guard counts it.

use crate::api::ControllableLoad;
use crate::store::{Key, Kind, order, time};
use ampacity_core::guard::{HolderId, KnownLimit, LoadView, Statement};
use ampacity_core::units::Time;

/// The fleet or pool that a load says it is of.
pub(super) fn owner(load: &ControllableLoad) -> Option<Key> {
    let owner = &load.spec.owner;
    let fleet = owner.fleet.as_ref().map(|name| Key::cluster(Kind::MiningFleet, name));
    fleet.or_else(|| Some(Key::cluster(Kind::GpuPool, owner.pool.as_ref()?)))
}

/// What safety counts with, of a load's object. A statement under another protocol, or one that cannot be read, is none.
pub fn view(load: &ControllableLoad) -> LoadView {
    let spec = &load.spec;
    let schedule = spec.schedule.iter().map(|limit| KnownLimit {
        from: time(&limit.from),
        until: limit.to.as_ref().map_or(Time::MAX, time),
        limit: limit.limit_watts.watts(),
    });
    LoadView {
        setpoint: spec.setpoint_watts.watts(),
        order: order(spec.order),
        nameplate: spec.nameplate_watts.watts(),
        fallback: spec.fallback_watts.watts(),
        schedule: schedule.collect(),
        stated: statement(load),
        revision: load.metadata.resource_version.as_deref().and_then(|r| r.parse().ok()).unwrap_or(0),
    }
}

fn statement(load: &ControllableLoad) -> Option<Statement> {
    let status = load.status.as_ref()?;
    let holder = HolderId(u64::from_str_radix(&status.holder.as_ref()?.uid, 16).ok()?);
    let understood = status.protocol.is_none_or(|protocol| protocol == crate::api::controllable_load::PROTOCOL);
    Some(Statement {
        ceiling: status.ceiling_watts.filter(|_| understood).map(|w| w.watts()),
        order: status.order.map(order).unwrap_or_default(),
        holder,
        proof_expires: status.proof_expires.as_ref().map_or(Time::ZERO, time),
    })
}
