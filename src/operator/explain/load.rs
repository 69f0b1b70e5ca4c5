//! Why a load has its setpoint, and a fleet or pool its loads theirs.

use super::answer::{Explanation, Figure, Member, Trouble};
use super::subject::Subject;
use super::view::{Decided, View};
use crate::operator::reason::sentence;
use ampacity_core::decide::explain::Bidder;
use ampacity_core::guard::{Basis, Bound, LoadId};
use ampacity_core::hold::{SwitchHold, switch};
use ampacity_core::plan::Reason;
use ampacity_core::snapshot::Member as Owner;
use ampacity_core::tree::NodeId;
use ampacity_core::units::{Span, Time, Watts};

/// Loads that stand alike are one line; more lines than this nobody reads.
const MEMBERS_MAX: usize = 16;

pub(super) fn explain(view: &View, name: &str) -> Result<Explanation, Trouble> {
    let subject = Subject::Load(name.into()).to_string();
    let decided = view.decided(&subject, |site| site.id(name).is_some())?;
    let unknown = || Trouble::Unknown(format!("{subject}: it is new, nothing was decided on it yet"));
    let id = decided.load(name).ok_or_else(unknown)?;
    let (load, award) = decided.snapshot.loads.get(id.index()).zip(decided.told.plan.load(id)).ok_or_else(unknown)?;
    let bidder = Bidder::Load(id);
    let auction = &decided.told.loads;
    let mut answer = decided.answer(subject, &award.reason);
    answer.figures = figures(&decided, id);
    answer.bids = decided.bids(auction, bidder, decided.stops(auction, bidder));
    answer.limits = decided.limits(load.node);
    answer.changes.extend(decided.ends(&award.reason));
    if matches!(award.reason, Reason::Ramp) {
        answer.changes.extend(arrival(&decided, id, award.watts));
    }
    if !matches!(award.reason, Reason::Lockout { .. } | Reason::NotProved { .. } | Reason::StaleMeter { .. }) {
        answer.changes.extend(decided.changes(auction, bidder));
    }
    Ok(answer)
}

/// When the ramp gets there at the earliest, were it alone on it.
fn arrival(decided: &Decided<'_>, id: LoadId, watts: Watts) -> Option<String> {
    let target = *decided.told.targets.get(id.index())?;
    let policy = &decided.snapshot.policy;
    let rate = if target > watts { policy.up_watts_per_minute } else { policy.down_watts_per_minute };
    let apart = if target > watts { target - watts } else { watts - target };
    let minutes = apart.get().checked_div(rate.get())?.saturating_add(1);
    Some(format!("goes to {target}; the site's ramp of {rate} a minute needs {minutes} min for it, more beside others"))
}

fn figures(decided: &Decided<'_>, id: LoadId) -> Vec<Figure> {
    let (names, now) = (decided.names(), decided.view.now);
    let mut figures = Vec::new();
    let Some((row, load)) = decided.site.row(id).zip(decided.snapshot.loads.get(id.index())) else { return figures };
    let seen = decided.ledger.view(id);
    if let Some(seen) = seen {
        let order = format!("ordered, {}.{}", seen.order.epoch, seen.order.sequence);
        figures.push(Figure::watts("setpoint", seen.setpoint, order));
    }
    if let Some(award) = decided.told.plan.load(id) {
        figures.push(Figure::watts("wanted", award.watts, if award.urgent { "urgent: not ramped" } else { "" }));
        let target = decided.told.targets.get(id.index()).copied().filter(|target| *target != award.watts);
        figures.extend(target.map(|target| Figure::watts("target", target, "where it is to go")));
    }
    let bound = decided.ledger.bound(id, now);
    figures.push(Figure::watts("bound", bound.watts, basis(bound, now)));
    match seen.and_then(|seen| seen.stated) {
        Some(stated) => {
            let until = names.time(stated.proof_expires);
            let note = format!("stated for {}.{}, proof until {until}", stated.order.epoch, stated.order.sequence);
            match stated.ceiling {
                Some(ceiling) => figures.push(Figure::watts("ceiling", ceiling, note)),
                None => figures.push(Figure::told("ceiling", "void: another agent took over")),
            }
        }
        None => figures.push(Figure::told("ceiling", "none stated: counts at nameplate")),
    }
    let raising = decided.in_flight(id);
    if raising > Watts::ZERO {
        figures.push(Figure::watts("raising", raising, "not answered yet"));
    }
    match &row.report {
        Some((report, at)) if now.since(*at) <= Span::seconds(30) => {
            let note = if report.wants_more { "would use more" } else { "" };
            figures.extend(report.measured.map(|watts| Figure::watts("measured", watts, note)));
        }
        Some((_, at)) => figures.push(Figure::told("measured", format!("agent not heard since {}", names.time(*at)))),
        None => figures.push(Figure::told("measured", "agent not heard over the link")),
    }
    figures.push(Figure::watts("nameplate", load.nameplate, ""));
    if let Some(floor) = decided.told.loads.floor(Bidder::Load(id)) {
        figures.push(Figure::watts("floor", floor, "drawn whatever power costs"));
    }
    figures.extend(switched(decided, id));
    figures
}

/// Since when it runs or stands, and until when its fleet's minimum times hold it there.
fn switched(decided: &Decided<'_>, id: LoadId) -> Option<Figure> {
    let (names, snapshot) = (decided.names(), &decided.snapshot);
    let memory = snapshot.memory.loads.get(id.index())?;
    let word = if memory.on { "runs" } else { "stands" };
    let since = format!("{word} since {}", names.time(memory.switched));
    let fleet = match snapshot.loads.get(id.index())?.member {
        Owner::Fleet(at) => snapshot.fleets.get(at as usize),
        Owner::Pool(_) | Owner::Kept | Owner::Retired => None,
    };
    let hold = fleet.and_then(|own| switch(Some(memory), own.minimum_on, own.minimum_off, snapshot.now));
    let note = match hold {
        Some(SwitchHold::On(until) | SwitchHold::Off(until)) => {
            format!("{since}, at least until {}", names.time(until))
        }
        None => since,
    };
    Some(Figure::told("switched", note))
}

fn basis(bound: Bound, now: Time) -> String {
    let why = match bound.basis {
        Basis::Known => return "proved".into(),
        Basis::Proving => "its agent has yet to prove the setpoint",
        Basis::Unclaimed => "not claimed by this leader yet",
        Basis::Unstated => "no ceiling stated under this leader",
        Basis::Expired => "its proof ran out",
        Basis::Absent => "the object is missing",
        Basis::Refusing => "the API server refuses its orders",
    };
    format!("{why}, for {} s", now.since(bound.since).at_least_zero().whole_seconds())
}

/// A fleet or a pool: its loads, those that stand alike together.
pub(super) fn of_owner(view: &View, subject: &Subject, name: &str) -> Result<Explanation, Trouble> {
    let fleet = matches!(subject, Subject::Fleet(_));
    let key = |owner: &crate::store::Key| {
        owner.name.as_ref() == name && (owner.kind == crate::store::Kind::MiningFleet) == fleet
    };
    let known = |site: &crate::operator::site::Site| {
        let tables = site.tables.as_ref();
        tables.is_some_and(|tables| {
            if fleet {
                tables.fleets.iter().any(|row| row.core.name == name)
            } else {
                tables.pools.iter().any(|row| row.core.name == name)
            }
        }) || site.rows.iter().any(|row| row.owner.as_ref().is_some_and(key))
    };
    let decided = view.decided(&subject.to_string(), known)?;
    let own = (0_u32..).map(LoadId).zip(&decided.site.rows);
    let own = own.filter(|(_, row)| !row.released && row.owner.as_ref().is_some_and(key));
    let loads: Vec<LoadId> = own.map(|(id, _)| id).collect();
    let mut answer = Explanation { subject: subject.to_string(), ..decided.head() };
    answer.members = members(&decided, &loads);
    let sum = |of: &dyn Fn(LoadId) -> Watts| loads.iter().map(|id| of(*id)).sum::<Watts>();
    let setpoint = sum(&|id| decided.ledger.view(id).map_or(Watts::ZERO, |view| view.setpoint));
    let bound = sum(&|id| decided.ledger.bound(id, view.now).watts);
    answer.figures = vec![
        Figure::watts("setpoints", setpoint, format!("of {} loads", loads.len())),
        Figure::watts("bounds", bound, ""),
    ];
    answer.reason = if answer.members.len() == 1 { "Alike".into() } else { "Various".into() };
    answer.why = match answer.members.first() {
        Some(member) => format!("{} of {}: {}", member.count, loads.len(), member.why),
        None => "it has no loads".into(),
    };
    let node = loads.first().and_then(|id| decided.snapshot.loads.get(id.index())).map(|load| load.node);
    answer.limits = decided.limits(node.unwrap_or(NodeId::SITE));
    let auction = &decided.told.loads;
    // One that bids speaks for the others: a lockout's load has nothing to sell.
    let bids = |id: &&LoadId| !auction.steps(Bidder::Load(**id)).is_empty();
    if let Some(first) = loads.iter().find(bids).filter(|_| fleet) {
        let bidder = Bidder::Load(*first);
        answer.bids = decided.bids(auction, bidder, decided.stops(auction, bidder));
        let changes = decided.changes(auction, bidder).into_iter();
        answer.changes = changes.map(|change| format!("{} {change}", decided.names().load(*first))).collect();
    }
    Ok(answer)
}

/// Loads that were told the same for the same reason, the largest group first.
pub(super) fn members(decided: &Decided<'_>, loads: &[LoadId]) -> Vec<Member> {
    let mut members: Vec<Member> = Vec::new();
    for id in loads {
        let Some(award) = decided.told.plan.load(*id) else { continue };
        let setpoint = decided.ledger.view(*id).map_or(Watts::ZERO, |view| view.setpoint);
        let bound = decided.ledger.bound(*id, decided.view.now).watts;
        let why = sentence(&award.reason, &decided.names());
        let alike = |m: &&mut Member| {
            (m.setpoint_watts, m.wanted_watts, m.bound_watts, &m.why)
                == (setpoint.get(), award.watts.get(), bound.get(), &why)
        };
        match members.iter_mut().find(alike) {
            Some(member) => member.count += 1,
            None => members.push(Member {
                name: decided.names().load(*id),
                count: 1,
                setpoint_watts: setpoint.get(),
                wanted_watts: award.watts.get(),
                bound_watts: bound.get(),
                why,
            }),
        }
    }
    members.sort_by_key(|member| std::cmp::Reverse(member.count));
    members.truncate(MEMBERS_MAX);
    members
}
