//! What a grid event or a lockout holds down.

use super::answer::{Explanation, Figure, Trouble};
use super::load::members;
use super::subject::Subject;
use super::view::{Decided, View};
use crate::store::{Key, Kind};
use ampacity_core::guard::LoadId;
use ampacity_core::plan::Reason;
use ampacity_core::snapshot::{LoadKind, LockoutTarget, Obligation, TimedLimit};
use ampacity_core::tree::NodeId;
use ampacity_core::units::{Time, Watts};

/// The loads at or below a node, of one kind where one is asked for.
fn below(decided: &Decided<'_>, node: NodeId, kind: Option<LoadKind>) -> Vec<LoadId> {
    let tree = decided.ledger.tree();
    let own = decided.snapshot.loads.iter();
    let own = own.filter(|load| tree.path(load.node).any(|n| n == node));
    own.filter(|load| kind.is_none() || load.member.kind() == kind).map(|load| load.id).collect()
}

pub(super) fn event(view: &View, name: &str) -> Result<Explanation, Trouble> {
    let subject = Subject::Event(name.into()).to_string();
    let unknown = || Trouble::Unknown(format!("{subject}: there is none"));
    let object = view.cache.event(&Key::cluster(Kind::GridEvent, name)).ok_or_else(unknown)?;
    let decided = view.decided(&subject, |site| site.name == object.spec.target.budget)?;
    let answer = Explanation { subject, ..decided.head() };
    if let Some(limit) = decided.snapshot.limits.iter().find(|limit| limit.name == name) {
        return Ok(limited(&decided, limit, answer));
    }
    if let Some(at) = decided.snapshot.obligations.iter().position(|own| own.name == name)
        && let Some(obligation) = decided.snapshot.obligations.get(at)
    {
        return Ok(obliged(&decided, obligation, at, answer));
    }
    let why = "it counts for nothing: see its condition Accepted".to_owned();
    Ok(Explanation { reason: "NotFollowed".into(), why, ..answer })
}

fn limited(decided: &Decided<'_>, limit: &TimedLimit, mut answer: Explanation) -> Explanation {
    let (policy, names, now) = (&decided.snapshot.policy, decided.names(), decided.snapshot.now);
    let (from, until) = (limit.binds_from(policy), limit.binds_until(policy));
    let node = names.node(limit.node);
    let tightest = decided.told.events.get(limit.node.index()).and_then(Option::as_ref);
    let own = tightest.is_some_and(|(name, _)| *name == limit.name);
    let full = decided.told.loads.node(limit.node).is_some_and(|node| node.headroom <= Watts::ZERO);
    (answer.reason, answer.why) = if now >= until {
        ("Over".into(), format!("it is over since {}", names.time(limit.until)))
    } else if now < from.max(limit.order_by(policy)) {
        let by = names.time(from.max(limit.order_by(policy)));
        (
            "Coming".into(),
            format!("{node} has to keep it from {by} and walks down to it before, as late as its ramp allows"),
        )
    } else if limit.kind.is_some() {
        ("InForce".into(), format!("it holds one kind of load below {node}"))
    } else if !own {
        ("Looser".into(), format!("another limit of {node} is stricter"))
    } else if full {
        ("Binds".into(), format!("it binds: what runs below {node} takes all that it leaves"))
    } else {
        ("InForce".into(), format!("it is in force, and {node} draws less anyway"))
    };
    answer.figures = vec![
        Figure::watts("limit", limit.limit, format!("on {node}")),
        Figure::told("from", names.time(limit.from)),
        Figure::told("until", if limit.until == Time::MAX { "withdrawn".into() } else { names.time(limit.until) }),
        Figure::told("seen", format!("{}, priority {}", names.time(limit.seen), limit.priority)),
        Figure::told("order by", names.time(limit.order_by(policy))),
    ];
    answer.limits = decided.limits(limit.node);
    let held = |id: &LoadId| {
        let reason = decided.told.plan.load(*id).map(|award| &award.reason);
        matches!(reason, Some(Reason::Event { name, .. }) if *name == limit.name)
            || matches!(reason, Some(Reason::Ramp | Reason::NotProved { .. }))
    };
    let loads: Vec<LoadId> = below(decided, limit.node, limit.kind).into_iter().filter(held).collect();
    answer.members = members(decided, &loads);
    answer.changes.push(match limit.until {
        Time::MAX => "ends when it is withdrawn by who owns it".into(),
        until => format!("ends at {} without a word", names.time(until)),
    });
    answer
}

fn obliged(decided: &Decided<'_>, own: &Obligation, at: usize, mut answer: Explanation) -> Explanation {
    let names = decided.names();
    let award = decided.told.plan.obligations.get(at).cloned().unwrap_or_default();
    (answer.reason, answer.why) = match &award.short {
        Some(reason) => ("Short".into(), crate::operator::reason::sentence(reason, &names)),
        None if award.required == Watts::ZERO => ("Idle".into(), "nothing has to be held now".into()),
        None => ("Held".into(), "all that was sold is held".into()),
    };
    answer.figures = vec![
        Figure::watts("sold", own.minimum, format!("below {}", names.node(own.node))),
        Figure::watts("required", award.required, "now"),
        Figure::watts("held", award.held, "above what no shed takes"),
        Figure::watts("drawn", award.drawn, "of that, as last seen"),
        Figure::told(
            "price",
            format!("the dearest of these loses {} USD/MWh", super::answer::usd_per_mwh(award.price)),
        ),
    ];
    answer.limits = decided.limits(own.node);
    answer.members = members(decided, &below(decided, own.node, own.kind));
    answer
}

pub(super) fn lockout(view: &View, name: &str) -> Result<Explanation, Trouble> {
    let subject = Subject::Lockout(name.into()).to_string();
    let unknown = || Trouble::Unknown(format!("{subject}: there is none"));
    let object = view.cache.lockout(&Key::cluster(Kind::Lockout, name)).ok_or_else(unknown)?;
    let decided = view.decided(&subject, |site| site.name == object.spec.target.budget)?;
    let mut answer = Explanation { subject, ..decided.head() };
    let Some(own) = decided.snapshot.lockouts.iter().find(|lockout| lockout.name == name) else {
        let why = "it holds nothing: see its condition Accepted".to_owned();
        return Ok(Explanation { reason: "NotFollowed".into(), why, ..answer });
    };
    let (loads, node) = match own.target {
        LockoutTarget::Load(load) => {
            (vec![load], decided.snapshot.loads.get(load.index()).map_or(NodeId::SITE, |load| load.node))
        }
        LockoutTarget::Node(node) => (below(&decided, node, None), node),
    };
    let above = |id: &&LoadId| decided.ledger.bound(**id, view.now).watts > own.limit;
    let late = loads.iter().filter(above).count();
    (answer.reason, answer.why) = if late == 0 {
        ("Met".into(), "every load it is on is proved at or below it".into())
    } else {
        ("NotMet".into(), format!("{late} of {} loads may still draw more than it allows", loads.len()))
    };
    let others = decided.snapshot.lockouts.iter().filter(|other| other.name != name && other.target == own.target);
    let others: Vec<&str> = others.map(|other| other.name.as_str()).collect();
    answer.figures = vec![
        Figure::watts("limit", own.limit, "each load"),
        Figure::told("holder", own.holder.clone()),
        Figure::told("reason", object.spec.reason.clone()),
    ];
    answer.limits = decided.limits(node);
    answer.members = members(&decided, &loads);
    answer.changes.push(format!("{} releases it: kubectl delete lockout {name}", own.holder));
    if !others.is_empty() {
        answer
            .changes
            .push(format!("the same is held by {} too, and stays down until each is released", others.join(", ")));
    }
    answer.changes.push("it is never proof of isolation".into());
    answer.figures.push(Figure::watts(
        "bound",
        loads.iter().map(|id| decided.ledger.bound(*id, view.now).watts).sum(),
        "together",
    ));
    Ok(answer)
}
