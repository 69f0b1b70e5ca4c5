//! Why a site or feeder is split as it is.

use super::answer::{Explanation, Figure, Stands, Trouble, usd, usd_per_mwh};
use super::load::members;
use super::subject::Subject;
use super::view::View;
use ampacity_core::guard::LoadId;
use ampacity_core::snapshot::Quote;
use ampacity_core::tree::NodeId;
use ampacity_core::units::{UsdPerMwh, Watts};

pub(super) fn explain(view: &View, budget: &str, feeder: Option<&str>) -> Result<Explanation, Trouble> {
    let subject = Subject::Place { budget: budget.into(), feeder: feeder.map(ToOwned::to_owned) }.to_string();
    let decided = view.decided(&subject, |site| site.name == budget)?;
    let tree = decided.ledger.tree();
    let names = || tree.nodes().iter().skip(1).map(|node| node.name.as_str()).collect::<Vec<_>>().join(", ");
    let unknown = || Trouble::Unknown(format!("{subject}: no such feeder; {budget} has {}", names()));
    let node = feeder.map_or(Some(NodeId::SITE), |name| tree.find(name)).ok_or_else(unknown)?;
    let award = decided.told.plan.nodes.get(node.index()).ok_or_else(unknown)?;
    let mut answer = Explanation { subject, ..decided.head() };
    answer.limits = decided.limits(node);
    let binds = award.shadow_price > UsdPerMwh::ZERO;
    (answer.reason, answer.why) = match (answer.limits.first(), decided.told.price) {
        (_, None) => ("NoPrice".into(), "no price to act on: what runs runs on, nothing is raised".into()),
        (Some(limit), _) if binds => {
            let price = limit.shadow_price_usd_per_mwh.clone().unwrap_or_default();
            let by = limit.event.as_ref().map_or(String::new(), |event| format!(", set by grid event {event}"));
            ("Limit".into(), format!("its limit binds{by}: one MWh more here is worth {price} USD"))
        }
        (_, Some(price)) => {
            ("Price".into(), format!("its limit does not bind: power at {} USD/MWh decides", usd_per_mwh(price)))
        }
    };
    answer.figures = figures(&decided, node);
    let auction = &decided.told.loads;
    answer.bids.extend(auction.next_out(node, None).map(|step| decided.bid(&step, Stands::NextOut)));
    answer.bids.extend(auction.next_in(node, None).map(|step| decided.bid(&step, Stands::NextIn)));
    let below = decided.snapshot.loads.iter().filter(|load| tree.path(load.node).any(|n| n == node));
    let below: Vec<LoadId> = below.map(|load| load.id).collect();
    answer.members = members(&decided, &below);
    if let Some(step) = auction.next_in(node, None) {
        let (who, waits) = (decided.who(step.bidder), step.watts - step.taken);
        if decided.told.price.is_some_and(|price| step.merit <= price) {
            let price = usd_per_mwh(step.merit);
            answer.changes.push(format!("{who} would get {waits} more if power cost less than {price} USD/MWh"));
        } else if let Some(room) = auction.more_with_room(step.bidder) {
            answer.changes.push(format!("{who} would get {} more with room for {} more", room.gain, room.watts));
        }
    }
    if let Some((price, loss)) = auction.next_out(node, None).and_then(|step| auction.less_from(step.bidder)) {
        let who = auction.next_out(node, None).map(|step| decided.who(step.bidder)).unwrap_or_default();
        answer.changes.push(format!("{who} would lose {loss} once power costs {} USD/MWh", usd_per_mwh(price)));
    }
    Ok(answer)
}

fn figures(decided: &super::view::Decided<'_>, node: NodeId) -> Vec<Figure> {
    let (tree, names) = (decided.ledger.tree(), decided.names());
    let mut figures = Vec::new();
    if let Some(own) = tree.node(node) {
        figures.push(Figure::watts("reserve", own.reserve, "kept free below the limit"));
        if own.auxiliary > Watts::ZERO {
            figures.push(Figure::watts("auxiliary", own.auxiliary, "drawn by what is no load"));
        }
    }
    if let Some(reading) = decided.snapshot.meters.get(node.index()).copied().flatten() {
        figures.push(Figure::watts("measured", reading.watts, format!("by the meter at {}", names.time(reading.time))));
    }
    if node == NodeId::SITE {
        let quote = |value: Option<String>, fresh: bool| match (value, fresh) {
            (None, _) => "none that may be acted on".into(),
            (Some(value), true) => value,
            (Some(value), false) => format!("{value}, in place of a stale one"),
        };
        let (power, hash) = (decided.snapshot.price, decided.snapshot.hashprice);
        let power_told = quote(power.value().map(usd_per_mwh), matches!(power, Quote::Fresh { .. }));
        let hash_told = quote(hash.value().map(|h| h.to_string()), matches!(hash, Quote::Fresh { .. }));
        figures.push(Figure::told("power", format!("{power_told} USD/MWh")));
        figures.push(Figure::told("hashprice", format!("{hash_told} USD/PH/day")));
        figures
            .push(Figure::told("margin", format!("{} USD an hour at the targets", usd(decided.told.hourly.margin()))));
    }
    figures
}
