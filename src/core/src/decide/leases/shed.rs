//! What limits force: leases that will not fit, in shed order, with the time that is left to tell them.

use super::{Ask, Claim, bid, forced as ask, limit_reason};
use crate::bid::Bid;
use crate::decide::limits::{Stage, metered};
use crate::lease::{Level, NoticeReason, Stance};
use crate::snapshot::{LoadKind, Policy, Snapshot, TimedLimit};
use crate::tree::{NodeId, Tree};
use crate::units::{Span, Time, UsdPerMwh, Watts};

const HOUR: Span = Span::minutes(60);

/// By claim: what limits force it to, if they do and it is time to act.
pub(super) fn forced(
    snapshot: &Snapshot,
    stages: &[Stage<'_>],
    claims: &[Claim<'_>],
    wanted: &[Ask],
    loads: &[Bid],
) -> Vec<Option<Ask>> {
    let order = order(claims);
    let floors = snapshot.tree.sums(loads.iter().map(|bid| (bid.node(), bid.floor())));
    let mut cuts: Vec<Vec<(&Stage<'_>, Cut)>> = Vec::new();
    cuts.resize_with(claims.len(), Vec::new);
    for stage in stages {
        for cut in cut(snapshot, stage, claims, wanted, &order, &floors, loads) {
            if let Some(own) = cuts.get_mut(cut.claim) {
                own.push((stage, cut));
            }
        }
    }
    let rows = claims.iter().zip(wanted).zip(cuts);
    rows.map(|((claim, wanted), cuts)| answer(snapshot, claim, wanted, &cuts)).collect()
}

/// What is asked of one lease for all that it does not fit, soonest first.
///
/// What has to be down first is served first, however deep the next cut is. But a cut that follows before another notice
/// could be served is told of in the notice that is given now: one stop, told in time, instead of a second that is not.
fn answer(snapshot: &Snapshot, claim: &Claim<'_>, wanted: &Ask, cuts: &[(&Stage<'_>, Cut)]) -> Option<Ask> {
    let notice = claim.contract.offer.terms.notice;
    let deadline = |ask: &Ask| match (ask.wanted.why, claim.stance) {
        (NoticeReason::Emergency, _) => ask.wanted.by.unwrap_or(snapshot.now),
        (_, Stance::OnNotice(given)) => given.deadline,
        _ => snapshot.now.after(notice),
    };
    let served = |ask: &Ask| claim.contract.grant.watts <= ask.wanted.level.watts;
    let mut chosen: Option<Ask> = None;
    for (stage, cut) in cuts {
        let Some(first) = &mut chosen else {
            chosen = act(snapshot, stage, claim, wanted, cut);
            continue;
        };
        let given_now = claim.stance == Stance::Free && first.wanted.why == NoticeReason::Limit;
        if given_now && stage.binds < deadline(first).after(notice) {
            if cut.level.watts < first.wanted.level.watts {
                first.wanted.level = cut.level;
            }
        } else if let Some(next) = act(snapshot, stage, claim, wanted, cut)
            && next.wanted.level.watts < first.wanted.level.watts
            && (served(first) || deadline(&next) <= deadline(first))
        {
            *first = next;
        }
    }
    chosen
}

/// One lease that does not fit.
struct Cut {
    claim: usize,
    level: Level,
    /// When it has to be down.
    due: Time,
    node: NodeId,
}

/// Shed order: what has no work to lose, then flexible leases by credit and lost work per watt, then firm ones.
fn order(claims: &[Claim<'_>]) -> Vec<usize> {
    let key = |claim: &Claim<'_>| {
        let terms = &claim.contract.offer.terms;
        let stop = claim.contract.stop_cost().per(claim.contract.full.watts.over(HOUR));
        let working = claim.runs() && !matches!(claim.stance, Stance::OnNotice(_));
        (terms.firm, working, terms.credit + stop + claim.allowance)
    };
    let mut order: Vec<((bool, bool, UsdPerMwh), usize)> =
        claims.iter().enumerate().map(|(at, claim)| (key(claim), at)).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, at)| at).collect()
}

/// What is left at one node, or at one limit on GPUs, and when it has to be kept.
struct Room {
    left: Watts,
    due: Time,
}

/// The leases that do not fit the limits of one stage.
fn cut(
    snapshot: &Snapshot,
    stage: &Stage<'_>,
    claims: &[Claim<'_>],
    wanted: &[Ask],
    order: &[usize],
    floors: &[Watts],
    loads: &[Bid],
) -> Vec<Cut> {
    let active = stage.active.iter().filter(|e| e.kind.is_none()).map(|e| (e.node, e.limit));
    let tree = metered(snapshot, &snapshot.tree.tightened(active), true);
    let always = metered(snapshot, &snapshot.tree, true);
    let draws: Vec<Watts> = claims.iter().zip(wanted).map(|(claim, wanted)| draw(claim, wanted)).collect();
    let placed = claims.iter().zip(&draws).map(|(claim, draw)| (claim.node, *draw));
    let taken = tree.sums(placed);
    let mut room: Vec<Room> = Vec::with_capacity(tree.len());
    for (at, (floor, taken)) in floors.iter().zip(&taken).enumerate() {
        let id = NodeId(at as u32);
        let need = *floor + *taken;
        room.push(Room { left: tree.capacity(id) - need, due: due(snapshot, stage, id, need > always.capacity(id)) });
    }
    let mut gpu_room: Vec<(&TimedLimit, Room)> = Vec::new();
    for event in stage.active.iter().filter(|e| e.kind == Some(LoadKind::Gpu)) {
        let below = |id: NodeId| tree.path(id).any(|n| n == event.node);
        let nodes =
            snapshot.loads.iter().zip(loads).filter(|(l, _)| l.member.kind() == Some(LoadKind::Gpu) && below(l.node));
        let floors: Watts = nodes.map(|(_, bid)| bid.floor()).sum();
        let leased: Watts = claims.iter().zip(&draws).filter(|(c, _)| below(c.node)).map(|(_, draw)| *draw).sum();
        let loss = tree.node(event.node).map_or_else(Default::default, |n| n.loss);
        let left = event.limit.at_least_zero().without(loss) - floors - leased;
        gpu_room.push((event, Room { left, due: event.order_by(&snapshot.policy) }));
    }
    if room.iter().chain(gpu_room.iter().map(|(_, r)| r)).all(|r| r.left >= Watts::ZERO) {
        return Vec::new();
    }
    Shedder { tree: &tree, claims, draws, room, gpu_room }.shed(order)
}

/// What a claim draws above must-run once it has what it is wanted at; what it still has while it runs.
fn draw(claim: &Claim<'_>, wanted: &Ask) -> Watts {
    if !claim.busy {
        return Watts::ZERO;
    }
    match claim.stance {
        Stance::Ended | Stance::NotYet { .. } => Watts::ZERO,
        Stance::Down { .. } => wanted.wanted.level.watts,
        Stance::Free | Stance::OnNotice(_) | Stance::MustRun(_) => claim.contract.full.watts,
    }
}

/// When the limit at a node has to be kept: now, where it is too much even without events. What an event asks that binds
/// before this stage is a cut of its own stage, so only those that begin with this one say when, where there are some.
fn due(snapshot: &Snapshot, stage: &Stage<'_>, id: NodeId, passes_anyway: bool) -> Time {
    if passes_anyway {
        return snapshot.now;
    }
    let here = stage.active.iter().filter(|e| e.kind.is_none() && e.node == id);
    let policy = &snapshot.policy;
    let soonest = here.map(|e| (e.binds_from(policy) < stage.binds, e.order_by(policy))).min();
    soonest.map_or(snapshot.now, |(_, by)| by)
}

struct Shedder<'a> {
    tree: &'a Tree,
    claims: &'a [Claim<'a>],
    draws: Vec<Watts>,
    room: Vec<Room>,
    gpu_room: Vec<(&'a TimedLimit, Room)>,
}

impl Shedder<'_> {
    /// First lower caps, where terms allow them, then stops: both in shed order, until everything fits.
    fn shed(mut self, order: &[usize]) -> Vec<Cut> {
        let mut cuts: Vec<Option<Cut>> = Vec::new();
        cuts.resize_with(self.claims.len(), || None);
        for stop in [false, true] {
            for &at in order {
                let Some(claim) = self.claims.get(at) else { continue };
                let Some((node, due)) = self.short(claim) else { continue };
                let level = if stop { Level::default() } else { lowest(claim) };
                let draw = self.draws.get(at).copied().unwrap_or_default();
                if level.watts >= draw && claim.pool.is_some() {
                    continue;
                }
                self.free(claim, draw - level.watts);
                if let Some(draw) = self.draws.get_mut(at) {
                    *draw = level.watts;
                }
                if let Some(slot) = cuts.get_mut(at) {
                    *slot = Some(Cut { claim: at, level, due, node });
                }
            }
        }
        cuts.into_iter().flatten().collect()
    }

    /// Where a claim is over a limit, the first to be kept.
    fn short(&self, claim: &Claim<'_>) -> Option<(NodeId, Time)> {
        // A hall counts in its feeder's auxiliary: it is concerned where even the auxiliaries do not fit.
        let over = |id: &NodeId| match claim.pool {
            Some(_) => self.room.get(id.index()).is_some_and(|r| r.left < Watts::ZERO),
            None => self.tree.capacity(*id) < Watts::ZERO,
        };
        let nodes = self.tree.path(claim.node).filter(over);
        let nodes = nodes.filter_map(|id| self.room.get(id.index()).map(|room| (room.due, id)));
        let below = |event: &TimedLimit| claim.pool.is_some() && self.tree.path(claim.node).any(|n| n == event.node);
        let kinds = self.gpu_room.iter().filter(|(event, room)| room.left < Watts::ZERO && below(event));
        let found = nodes.chain(kinds.map(|(event, room)| (room.due, event.node))).min();
        found.map(|(due, node)| (node, due))
    }

    fn free(&mut self, claim: &Claim<'_>, watts: Watts) {
        for id in self.tree.path(claim.node) {
            if let Some(room) = self.room.get_mut(id.index()) {
                room.left += watts;
            }
        }
        for (event, room) in &mut self.gpu_room {
            if self.tree.path(claim.node).any(|n| n == event.node) {
                room.left += watts;
            }
        }
    }
}

/// The lowest level at which a flexible lease still runs; all of it where only a stop is left.
fn lowest(claim: &Claim<'_>) -> Level {
    let (contract, full) = (claim.contract, claim.contract.full);
    let Some(pool) = claim.pool.filter(|_| !contract.offer.terms.firm) else { return full };
    let Some(cap) = bid::lowest_cap(pool, contract) else { return full };
    let watts = Watts::new((cap - pool.min_cap).get().saturating_mul(i64::from(claim.gpus)));
    if watts > Watts::ZERO { Level { watts, cap } } else { full }
}

/// What to do about a cut now: nothing yet, notice, or no notice.
fn act(snapshot: &Snapshot, stage: &Stage<'_>, claim: &Claim<'_>, wanted: &Ask, cut: &Cut) -> Option<Ask> {
    let (now, policy) = (snapshot.now, &snapshot.policy);
    let notice = claim.contract.offer.terms.notice;
    let reason = || limit_reason(event(stage, policy, snapshot, cut.node), cut.node);
    let limit = || Some(ask(cut.level, NoticeReason::Limit, None, reason()));
    let due = cut.due.max(now);
    match claim.stance {
        // It stands for money, and would: nothing changes.
        Stance::Down { .. } if wanted.wanted.level.watts <= cut.level.watts => None,
        Stance::Down { .. } if stage.binds > now.after(notice) => None,
        // Capped, and to be lower still: with what time there is.
        Stance::Down { .. } if claim.contract.grant.watts > cut.level.watts => {
            if now.after(notice) <= due {
                limit()
            } else {
                emergency(cut, due, reason())
            }
        }
        Stance::Down { .. } => Some(ask(cut.level, NoticeReason::Emergency, None, reason())),
        Stance::OnNotice(given) if given.deadline <= due && given.reason != NoticeReason::Emergency => {
            if given.to.watts <= cut.level.watts { limit() } else { emergency(cut, due, reason()) }
        }
        _ if now.after(notice) < stage.binds => None,
        Stance::Free if now.after(notice) <= due => limit(),
        _ => emergency(cut, due, reason()),
    }
}

fn emergency(cut: &Cut, due: Time, reason: crate::plan::Reason) -> Option<Ask> {
    Some(ask(cut.level, NoticeReason::Emergency, Some(due), reason))
}

/// The event that binds at a node in a stage: its name and end.
fn event<'a>(stage: &Stage<'a>, policy: &Policy, snapshot: &Snapshot, node: NodeId) -> Option<(&'a str, Time)> {
    let limit = snapshot.tree.node(node).map_or(Watts::MAX, |n| n.limit);
    let here = stage.active.iter().filter(|e| e.node == node && (e.limit < limit || e.kind.is_some()));
    here.min_by_key(|e| (e.limit, e.order_by(policy))).map(|e| (e.name.as_str(), e.until))
}
