//! The status of a `PowerBudget`.

use super::{Conditions, Draft, Scene, few, many, rejection, whole};
use crate::api::PowerBudget;
use crate::api::power_budget::{
    Leader, Mode, NodeStatus, PowerBudgetCondition as Type, PowerBudgetReason as Word, PowerBudgetStatus, Split,
    ValueStatus,
};
use crate::api::quantity::{SignedMoney, WattsQuantity};
use crate::market::Point;
use crate::operator::cache::Cache;
use crate::operator::problem::Cause;
use crate::operator::reason::price;
use crate::operator::tables::WantedLoad;
use crate::store::Status;
use ampacity_core::guard::LoadId;
use ampacity_core::guard::ledger::Verdict;
use ampacity_core::lease::{Delivery, LeaseState};
use ampacity_core::snapshot::{LoadKind, Quote};
use ampacity_core::tree::NodeId;
use ampacity_core::units::{UsdPerMwh, UsdPerPhDay, Watts};

/// The budget's status where it differs from what stands.
pub(super) fn draft(scene: &Scene<'_>, cache: &Cache) -> Option<Draft> {
    // The object as it stands, which the site may be unable to follow: then its old form stays in force.
    let budget = cache.budget(&scene.site.key())?;
    let old = budget.status.as_ref();
    let status = status(scene, budget);
    // Loads are born only after their nameplate stands here.
    let raised = old.is_none_or(|old| old.nameplates != status.nameplates);
    let draft = Draft::of(scene.site.key(), status, old, |s| &s.conditions, Status::PowerBudget)?;
    Some(Draft { urgent: draft.urgent || raised, ..draft })
}

fn status(scene: &Scene<'_>, budget: &PowerBudget) -> PowerBudgetStatus {
    let prices = scene.turn.prices;
    let mut status = PowerBudgetStatus {
        observed_generation: budget.metadata.generation,
        conditions: budget.status.as_ref().map(|s| s.conditions.clone()).unwrap_or_default(),
        leader: scene.turn.leader.map(|(id, epoch, namespace)| Leader {
            id: id.into(),
            epoch: i64::try_from(epoch).unwrap_or(i64::MAX),
            namespace: Some(namespace.into()),
        }),
        nameplates: scene.site.nameplates_to_keep(),
        nodes: nodes(scene),
        energy_price: value(matches!(prices.energy, Quote::Fresh { .. }), prices.energy_point),
        hashprice: value(matches!(prices.hashprice, Quote::Fresh { .. }), prices.hashprice_point),
        split: Some(split(scene)),
    };
    let mut say = Conditions { list: &mut status.conditions, generation: budget.metadata.generation, now: scene.now };
    for (type_, said) in conditions(scene) {
        say.say::<PowerBudget>(type_, said);
    }
    status
}

fn quantity(watts: Watts) -> WattsQuantity {
    WattsQuantity::new(watts.get())
}

fn nodes(scene: &Scene<'_>) -> Vec<NodeStatus> {
    let (sums, headroom) = (scene.ledger.sums(scene.now), scene.ledger.headroom(scene.now));
    let stale = scene.stale_meters();
    let tree = scene.ledger.tree();
    let of = |(at, node): (usize, &ampacity_core::tree::Node)| {
        let id = NodeId(u32::try_from(at).unwrap_or(u32::MAX));
        let reading = scene.site.meters.get(at).copied().flatten().filter(|_| stale.iter().all(|(n, _)| *n != id));
        NodeStatus {
            name: node.name.clone(),
            limit_watts: quantity(scene.turn.plan.nodes.get(at).map_or(node.limit, |n| n.limit)),
            bound_watts: quantity(tree.at_meter(id, sums.get(at).copied().unwrap_or_default())),
            measured_watts: reading.map(|reading| quantity(reading.watts)),
            headroom_watts: quantity(headroom.get(at).copied().unwrap_or_default().at_least_zero()),
        }
    };
    tree.nodes().iter().enumerate().map(of).collect()
}

fn value(fresh: bool, point: Option<Point>) -> Option<ValueStatus> {
    point.map(|point| ValueStatus {
        value: SignedMoney::new(point.value),
        time: whole(point.since),
        known_time: whole(point.known),
        stale: !fresh,
    })
}

/// Setpoints by side; a tenant's hall at what it was granted.
fn split(scene: &Scene<'_>) -> Split {
    let side = |kind| -> Watts {
        let of = scene.loads().filter(|(_, row)| row.member.kind() == Some(kind));
        of.filter_map(|(load, _)| scene.ledger.view(load).map(|view| view.setpoint)).sum()
    };
    let hall = |award: &ampacity_core::plan::LeaseAward| match &award.state {
        LeaseState::Accepted(contract) if matches!(contract.offer.delivery, Delivery::Power { .. }) => {
            contract.grant.watts
        }
        _ => Watts::ZERO,
    };
    let halls: Watts = scene.turn.plan.leases.iter().map(hall).sum();
    Split { mining_watts: quantity(side(LoadKind::Miner)), leased_watts: quantity(side(LoadKind::Gpu) + halls) }
}

type Said = super::Said<Word>;

/// What each condition is to say; none: it is to be absent.
fn conditions(scene: &Scene<'_>) -> [(Type, Said); 6] {
    let (over, lost) = (over_limit(scene), agents_lost(scene));
    let ready = ready(scene, &over);
    [
        (Type::Accepted, Some(accepted(scene))),
        (Type::Ready, Some(ready)),
        (Type::OverLimit, over),
        (Type::MeterStale, meter_stale(scene)),
        (Type::PriceStale, price_stale(scene).map(|message| (true, Word::Stale, message))),
        (Type::AgentLost, lost),
    ]
}

fn accepted(scene: &Scene<'_>) -> (bool, Word, String) {
    if let Some((cause, message)) = rejection(&scene.problems(&scene.site.key())) {
        let word = if cause == Cause::SourceUnreadable { Word::SourceUnreadable } else { Word::Invalid };
        return (false, word, message);
    }
    if !scene.turn.errors.is_empty() {
        return (false, Word::SourceUnreadable, scene.turn.errors.join("; "));
    }
    (true, Word::Valid, "the spec makes sense".into())
}

fn ready(scene: &Scene<'_>, over: &Said) -> (bool, Word, String) {
    if scene.tables.budget.spec.policy.mode == Mode::Shadow {
        return (true, Word::Shadow, "decides and reports; orders nothing".into());
    }
    if let Some((_, word, message)) = over {
        return (false, *word, message.clone());
    }
    let all = many(scene.tables.wanted.len(), "load");
    let waiting = scene.site.wanted().filter(|(_, id)| id.is_none_or(|load| !scene.under_orders(load)));
    let missing: Vec<(&WantedLoad, Option<LoadId>)> = waiting.collect();
    if missing.is_empty() {
        return (true, Word::Operating, format!("{all} under orders"));
    }
    let is_lost = |(_, id): &(&WantedLoad, Option<LoadId>)| {
        id.is_some_and(|load| scene.site.row(load).is_some_and(|row| scene.lost(load, row).is_some()))
    };
    let word = if missing.iter().all(is_lost) { Word::Silent } else { Word::TakingOver };
    let names: Vec<String> = missing.iter().map(|(want, _)| want.name.clone()).collect();
    (false, word, format!("{} of {all} not claimed and proved: {}", names.len(), few(&names)))
}

fn over_limit(scene: &Scene<'_>) -> Said {
    let overruns = scene.overruns();
    let known = overruns.iter().any(|over| over.verdict == Verdict::Known);
    let of = |over: &ampacity_core::guard::ledger::Overrun| {
        let what = match over.verdict {
            Verdict::Wait { until } => format!("too little is known; sheds at {} UTC", scene.names().time(until)),
            Verdict::Overdue => "too little was known for too long: sheds".into(),
            Verdict::Meter => "its meter is near the limit: sheds".into(),
            Verdict::Known => "sheds".into(),
        };
        format!("{}: bounds of {} pass {}; {what}", scene.node(over.node), over.bounds, over.capacity.at_least_zero())
    };
    let messages: Vec<String> = overruns.iter().map(of).collect();
    let word = if known { Word::Overrun } else { Word::Ignorance };
    (!messages.is_empty()).then(|| (true, word, messages.join("; ")))
}

fn meter_stale(scene: &Scene<'_>) -> Said {
    let of = |(node, last): (NodeId, Option<ampacity_core::units::Time>)| {
        let last = last.map_or("never read".into(), |at| format!("last sample at {} UTC", scene.names().time(at)));
        format!("meter of {}: {last}; nothing is raised there", scene.node(node))
    };
    let messages: Vec<String> = scene.stale_meters().into_iter().map(of).collect();
    (!messages.is_empty()).then(|| (true, Word::Stale, messages.join("; ")))
}

/// What is said of stale prices; none while each that the site has a source for is fresh.
pub(super) fn price_stale(scene: &Scene<'_>) -> Option<String> {
    let (spec, prices) = (&scene.tables.budget.spec, scene.turn.prices);
    let energy = spec
        .energy_price
        .as_ref()
        .and_then(|_| stale(scene, prices.energy, prices.energy_point, |v: UsdPerMwh| price(v)));
    let hash = spec
        .hashprice
        .as_ref()
        .and_then(|_| stale(scene, prices.hashprice, prices.hashprice_point, |v: UsdPerPhDay| v.to_string()));
    let said: Vec<String> =
        [energy.map(|what| format!("energy price {what}")), hash.map(|what| format!("hashprice {what}"))]
            .into_iter()
            .flatten()
            .collect();
    (!said.is_empty()).then(|| said.join("; "))
}

fn stale<T>(scene: &Scene<'_>, quote: Quote<T>, newest: Option<Point>, show: fn(T) -> String) -> Option<String> {
    let last = newest.map_or("never seen".into(), |p| format!("last for {} UTC", scene.names().time(p.since)));
    match quote {
        Quote::Fresh { .. } => None,
        Quote::Substituted { value, .. } => Some(format!("{last}: acts on {} instead", show(value))),
        Quote::Missing => Some(format!("{last}: nothing moves for economics")),
    }
}

fn agents_lost(scene: &Scene<'_>) -> Said {
    let lost: Vec<String> =
        scene.loads().filter(|(load, row)| scene.lost(*load, row).is_some()).map(|(_, row)| row.name.clone()).collect();
    (!lost.is_empty()).then(|| (true, Word::Silent, format!("{} silent: {}", lost.len(), few(&lost))))
}
