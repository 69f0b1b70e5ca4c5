//! The rules of `ControllableLoad`, as the real server's schema and policies run them.

use crate::api::controllable_load::{EPOCH_LEAP, EPOCH_MAX, SEQUENCE_LEAP};
use crate::api::{ControllableLoad, ControllableLoadSpec, ControllableLoadStatus};
use crate::store::Refusal;

/// A refusal that says the rule.
pub(super) fn invalid(rule: &str) -> Refusal {
    Refusal::Invalid(rule.into())
}

/// No load is given more than it can draw.
pub(super) fn above_nameplate(spec: &ControllableLoadSpec) -> Result<(), Refusal> {
    if spec.setpoint_watts > spec.nameplate_watts {
        return Err(invalid("setpointWatts must not be above nameplateWatts"));
    }
    if spec.fallback_watts > spec.nameplate_watts {
        return Err(invalid("fallbackWatts must not be above nameplateWatts"));
    }
    Ok(())
}

/// The order's fence: the rules of `ControllableLoadSpec`, as the real server runs them.
pub(super) fn fence(old: &ControllableLoadSpec, new: &ControllableLoadSpec) -> Result<(), Refusal> {
    let same_epoch = new.order.epoch == old.order.epoch;
    if new != old && new.order <= old.order {
        return Err(invalid(
            "order must rise with every change: a later epoch, or a higher sequence of the same epoch",
        ));
    }
    if !same_epoch && (new.order.sequence != 0 || new.setpoint_watts > old.setpoint_watts) {
        return Err(invalid(
            "the first order of an epoch is a claim: order.sequence must be 0 and setpointWatts no higher than it stands",
        ));
    }
    if new.order.epoch - old.order.epoch > EPOCH_LEAP || new.order.epoch > EPOCH_MAX {
        return Err(invalid("order.epoch leaps: it may rise by at most 315360000 (ten years of seconds) at once"));
    }
    if same_epoch && new.order.sequence - old.order.sequence > SEQUENCE_LEAP {
        return Err(invalid("order.sequence leaps: it may rise by at most 1000000 at once"));
    }
    above_nameplate(new)
}

/// Whether what `stands` is what the writer had read.
pub(super) fn still(stands: &str, revision: Option<&str>) -> Result<(), Refusal> {
    match revision {
        Some(revision) if revision != stands => Err(Refusal::Conflict("the object has been modified".into())),
        _ => Ok(()),
    }
}

/// The rules on a load's status that need its spec or its old status.
pub(super) fn state_rules(old: &ControllableLoad, new: &ControllableLoadStatus) -> Result<(), Refusal> {
    let Some(ceiling) = new.ceiling_watts else { return Ok(()) };
    let before = old.status.as_ref();
    let stands = new.order == Some(old.spec.order);
    let falls = before.is_some_and(|b| {
        b.ceiling_watts.is_some_and(|c| ceiling <= c) && b.order.map(|o| o.epoch) == new.order.map(|o| o.epoch)
    });
    if !stands && !falls {
        return Err(invalid(
            "status.ceilingWatts may rise, or be stated under another epoch, only while status.order equals spec.order: read the load again",
        ));
    }
    let uid = |status: &ControllableLoadStatus| status.holder.as_ref().map(|h| h.uid.clone());
    let same_holder = before.is_some_and(|b| uid(b).is_some() && uid(b) == uid(new));
    if uid(new).is_some() && !same_holder && ceiling < old.spec.nameplate_watts {
        return Err(invalid("status.ceilingWatts is void under a new holder: leave it out, or state the nameplate"));
    }
    Ok(())
}
