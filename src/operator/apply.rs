//! Apply: what the guard lets through of a plan, as writes; and what became of them.

use super::site::{Site, view};
use super::{Purpose, Purposed};
use crate::link::{Shout, Uplink};
use crate::store::{Answer, Object, Refusal, Write};
use ampacity_core::guard::ledger::Exit;
use ampacity_core::guard::{LoadId, Order, Outcome, Seen as Learned, Write as Guarded};
use ampacity_core::plan::Plan;
use ampacity_core::tree::NodeId;
use ampacity_core::units::Time;

/// The orders that may be written now, sheds first. Each lower setpoint is shouted as well, and where
/// a write has no answer yet a shed is only shouted.
pub(super) fn orders(site: &mut Site, plan: &Plan, link: &mut dyn Uplink, now: Time) -> Vec<Purposed> {
    let Some(ledger) = &mut site.ledger else { return Vec::new() };
    let nodes = plan.nodes.iter().enumerate();
    ledger.set_limits(nodes.map(|(at, node)| (NodeId(u32::try_from(at).unwrap_or(u32::MAX)), node.limit)).collect());
    for at in 0..site.rows.len() {
        let load = LoadId(u32::try_from(at).unwrap_or(u32::MAX));
        if (site.fallback(load).is_some() || site.coming(load).is_some())
            && let Some(ledger) = &mut site.ledger
        {
            ledger.renew(load);
        }
    }
    let Some(ledger) = &mut site.ledger else { return Vec::new() };
    let steps = ledger.steps(&plan.wants, now);
    let mut writes = Vec::with_capacity(steps.len());
    for step in steps {
        let (load, order, setpoint, shed) = match step {
            Guarded::Shout { load, order, setpoint } => {
                if let Some(row) = site.rows.get(load.index()) {
                    link.shout(&row.name, Shout::Shed { order, setpoint });
                }
                continue;
            }
            Guarded::Claim { load, order } => (load, order, None, false),
            Guarded::Lower { load, order, setpoint } => (load, order, Some(setpoint), true),
            Guarded::Raise { load, order, setpoint } => (load, order, Some(setpoint), false),
        };
        let Some(row) = site.rows.get(load.index()) else { continue };
        if let (true, Some(setpoint)) = (shed, setpoint) {
            link.shout(&row.name, Shout::Shed { order, setpoint });
        }
        let fallback = setpoint.and_then(|_| site.fallback(load));
        let schedule = setpoint.and_then(|_| site.coming(load));
        if let Some(limits) = schedule.as_ref().filter(|limits| !limits.is_empty()) {
            link.shout(&row.name, Shout::Schedule { order, limits: limits.clone() });
        }
        let write = Write::Order { load: row.key.clone(), order, setpoint, fallback, schedule };
        writes.push((write, Purpose::Order { site: site.name.clone(), load, order, shed, sent: now }));
    }
    writes
}

/// What became of an order goes back into the ledger.
pub(super) fn answered(site: &mut Site, load: LoadId, order: Order, answer: &Answer, now: Time) -> Result<(), Exit> {
    match &mut site.ledger {
        Some(ledger) => ledger.learn(Learned::Answer { load, order, outcome: outcome(answer) }, now),
        None => Ok(()),
    }
}

/// What an answer says of the load. That queues were too long says nothing of it: such an order is decided anew at once,
/// and no other is written first to hear whether the load takes orders.
fn outcome(answer: &Answer) -> Outcome {
    match answer {
        Answer::Accepted(Some(Object::ControllableLoad(object))) => Outcome::Accepted(view(object)),
        Answer::Refused(Refusal::Busy) | Answer::Accepted(_) | Answer::Unknown => Outcome::Unknown,
        Answer::Refused(_) => Outcome::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_that_found_no_room_in_a_queue_is_none_that_its_load_refused() {
        let refused = |why| outcome(&Answer::Refused(why));
        assert_eq!(refused(Refusal::Busy), Outcome::Unknown);
        for why in [Refusal::NotFound, Refusal::Invalid("the fence".into()), Refusal::Forbidden("a policy".into())] {
            assert_eq!(refused(why.clone()), Outcome::Refused, "{why:?}");
        }
        assert_eq!(outcome(&Answer::Unknown), Outcome::Unknown);
        assert_eq!(outcome(&Answer::Accepted(None)), Outcome::Unknown);
    }
}
