//! Report: what a person sees of a site.

use super::observe::Prices;
use super::site::Site;
use super::{Purpose, Purposed};
use crate::api::power_budget::{Leader, NodeStatus, PowerBudgetStatus, Split, ValueStatus};
use crate::api::quantity::{SignedMoney, WattsQuantity};
use crate::market::Point;
use crate::store::{Status, Write, api_time};
use ampacity_core::plan::Plan;
use ampacity_core::snapshot::{LoadKind, Quote};
use ampacity_core::units::{Span, Time, Watts};

/// A status is written at most so often unless something in it matters at once.
const EVERY: Span = Span::seconds(10);

/// The budget's status where it is due.
pub(super) fn budget(
    site: &mut Site,
    plan: &Plan,
    prices: &Prices,
    errors: &[String],
    leader: Option<(&str, u64)>,
    now: Time,
) -> Option<Purposed> {
    let _ = errors;
    let urgent = site.tables.as_ref()?.budget.status.as_ref().map(|s| s.nameplates.clone()).unwrap_or_default()
        != site.nameplates_to_keep();
    if !urgent && now.since(site.reported) < EVERY {
        return None;
    }
    if urgent && now.since(site.reported) < Span::seconds(1) {
        return None;
    }
    site.reported = now;
    let status = status(site, plan, prices, leader, now)?;
    let same = site.tables.as_ref()?.budget.status.as_ref() == Some(&status);
    (!same).then(|| (Write::Status(site.key(), Box::new(Status::PowerBudget(status))), Purpose::Other))
}

fn status(
    site: &Site,
    plan: &Plan,
    prices: &Prices,
    leader: Option<(&str, u64)>,
    now: Time,
) -> Option<PowerBudgetStatus> {
    let (tables, ledger) = (site.tables.as_ref()?, site.ledger.as_ref()?);
    let quantity = |watts: Watts| WattsQuantity::new(watts.get());
    let (sums, headroom) = (ledger.sums(now), ledger.headroom(now));
    let nodes = ledger.tree().nodes().iter().enumerate().map(|(at, node)| NodeStatus {
        name: node.name.clone(),
        limit_watts: quantity(plan.nodes.get(at).map_or(node.limit, |n| n.limit)),
        bound_watts: quantity(sums.get(at).copied().unwrap_or_default()),
        measured_watts: site.meters.get(at).copied().flatten().map(|reading| quantity(reading.watts)),
        headroom_watts: quantity(headroom.get(at).copied().unwrap_or_default().at_least_zero()),
    });
    let side = |kind| {
        let of = |row: &super::site::LoadRow| row.member.kind() == Some(kind);
        let told = site.rows.iter().enumerate().filter(|(_, row)| of(row)).filter_map(|(at, _)| {
            ledger.view(ampacity_core::guard::LoadId(u32::try_from(at).ok()?)).map(|view| view.setpoint)
        });
        quantity(told.sum())
    };
    let stale = |fresh: bool, point: Option<Point>| {
        point.map(|point| ValueStatus {
            value: SignedMoney::new(point.value),
            time: api_time(point.since),
            known_time: api_time(point.known),
            stale: !fresh,
        })
    };
    Some(PowerBudgetStatus {
        observed_generation: tables.budget.metadata.generation,
        conditions: tables.budget.status.as_ref().map(|s| s.conditions.clone()).unwrap_or_default(),
        leader: leader.map(|(id, epoch)| Leader { id: id.into(), epoch: i64::try_from(epoch).unwrap_or(i64::MAX) }),
        nameplates: site.nameplates_to_keep(),
        nodes: nodes.collect(),
        energy_price: stale(matches!(prices.energy, Quote::Fresh { .. }), prices.energy_point),
        hashprice: stale(matches!(prices.hashprice, Quote::Fresh { .. }), prices.hashprice_point),
        split: Some(Split { mining_watts: side(LoadKind::Miner), leased_watts: side(LoadKind::Gpu) }),
    })
}
