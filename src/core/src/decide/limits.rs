//! Which limits count now: the tree as configured, tightened by every grid event that is in force or near.
//!
//! A limit that comes binds from its start, less the slowest shed and the clock skew, to its end plus the skew. Before
//! that it casts a slope: as many watts above it as the site's ramp can still take down until it binds. So a site
//! walks down to a limit that it knows of, and steps only where it was told too late to walk.
//!
//! Where a meter shows more than all bounds below it explain, somebody draws what nobody counts: so much is taken off its
//! limit, and no ramp or notice delays that once the meter is near the limit.

use crate::snapshot::{LoadKind, Policy, Snapshot, TimedLimit};
use crate::tree::{NodeId, Tree};
use crate::units::{Ppm, Span, Time, Watts, mul_div};

/// The share of the ramp that plans count on: what is left is for steps that do not fit and orders that come late.
const PLANNED_RAMP: Ppm = Ppm::percent(75);
/// Plans are there this much before a limit has to be kept, so that the last steps need not hurry.
const PLANNED_LEAD: Span = Span::seconds(15);
const MS_PER_MINUTE: i64 = 60_000;

/// The limits of one decision.
pub(super) struct Limits<'a> {
    /// What awards are planned to.
    pub(super) tree: Tree,
    /// Per node: the capacity that no ramp may delay. At or above the planned one.
    pub(super) urgent: Vec<Watts>,
    /// Per node: the event that tightened it, if one did.
    pub(super) events: Vec<Option<&'a TimedLimit>>,
    /// Limits on one kind of load alone.
    pub(super) kinds: Vec<KindLimit<'a>>,
    /// When the set of limits in force changes next.
    pub(super) wake: Option<Time>,
}

/// A limit on the loads of one kind at or below a node.
pub(super) struct KindLimit<'a> {
    pub(super) event: &'a TimedLimit,
    pub(super) kind: LoadKind,
    /// The most that these loads may draw together, losses taken off, W.
    pub(super) capacity: Watts,
    /// The same, where no ramp may delay it.
    pub(super) urgent: Watts,
}

impl TimedLimit {
    /// From when awards keep it: its start less the slowest shed and the clock skew.
    pub fn binds_from(&self, policy: &Policy) -> Time {
        self.from.before(policy.slowest_shed).before(policy.clock_skew)
    }

    /// Until when awards keep it: its end plus the clock skew.
    pub fn binds_until(&self, policy: &Policy) -> Time {
        self.until.after(policy.clock_skew)
    }

    /// By when the last shed for it has to be ordered: what it allows to respond, less the slowest shed and the skew.
    pub fn order_by(&self, policy: &Policy) -> Time {
        self.from.max(self.seen).after(self.response).before(policy.slowest_shed).before(policy.clock_skew)
    }

    /// By when awards keep it: from when it binds, or where it came too late for that, by when it has to be ordered.
    fn kept_from(&self, policy: &Policy) -> Time {
        let binds = self.binds_from(policy);
        if self.seen <= binds { binds } else { self.order_by(policy) }
    }

    /// It with as much more as a ramp of `rate` W per minute can take down until `lead` before it has to be kept.
    fn slope(&self, policy: &Policy, rate: Watts, lead: Span, now: Time) -> Watts {
        let ahead = self.kept_from(policy).before(lead).since(now).at_least_zero();
        self.limit.at_least_zero() + Watts::new(mul_div(rate.get(), ahead.get(), MS_PER_MINUTE))
    }
}

/// The limits that count at `snapshot.now`.
pub(super) fn in_force(snapshot: &Snapshot) -> Limits<'_> {
    let (policy, now) = (&snapshot.policy, snapshot.now);
    let rate = policy.down_watts_per_minute.at_least_zero();
    let mut events = vec![None; snapshot.tree.len()];
    let mut tightest: Vec<Watts> = snapshot.tree.nodes().iter().map(|n| n.limit).collect();
    let (mut planned, mut urgent, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
    let mut wake: Option<Time> = None;
    for event in snapshot.limits.iter().filter(|e| now < e.binds_until(policy)) {
        let (from, until) = (event.binds_from(policy), event.binds_until(policy));
        let next = if now < from { from } else { until };
        wake = Some(wake.map_or(next, |w| w.min(next))).filter(|w| *w < Time::MAX);
        let plan = event.slope(policy, rate.part(PLANNED_RAMP), PLANNED_LEAD, now);
        let must = event.slope(policy, rate, Span::ZERO, now);
        if let Some(kind) = event.kind {
            let loss = snapshot.tree.node(event.node).map_or(Ppm::ZERO, |n| n.loss);
            kinds.push(KindLimit { event, kind, capacity: plan.without(loss), urgent: must.without(loss) });
            continue;
        }
        if let (Some(tightest), Some(slot)) = (tightest.get_mut(event.node.index()), events.get_mut(event.node.index()))
            && plan < *tightest
        {
            (*tightest, *slot) = (plan, Some(event));
        }
        planned.push((event.node, plan));
        urgent.push((event.node, must));
    }
    let capacities = |tree: &Tree| (0..tree.len()).map(|at| tree.capacity(NodeId(at as u32))).collect();
    let urgent = capacities(&metered(snapshot, &snapshot.tree.tightened(urgent), true));
    let tree = metered(snapshot, &snapshot.tree.tightened(planned), false);
    Limits { tree, urgent, events, kinds, wake }
}

/// `tree` with what meters show and no bound explains taken off their limits; `sheds`: where that is to be shed at once.
pub(super) fn metered(snapshot: &Snapshot, tree: &Tree, sheds: bool) -> Tree {
    let counts = snapshot.metered.iter().filter(|said| said.sheds || !sheds);
    let left = counts.filter_map(|said| Some((said.node, tree.node(said.node)?.limit - said.unexplained)));
    tree.tightened(left)
}

/// A moment from which a stricter set of limits has to be kept.
pub(super) struct Stage<'a> {
    /// Awards keep it from here.
    pub(super) binds: Time,
    /// The limits in force then.
    pub(super) active: Vec<&'a TimedLimit>,
}

/// The sets of limits in force from now to `horizon` from now, soonest first: what notices are given for.
pub(super) fn stages(snapshot: &Snapshot, horizon: Span) -> Vec<Stage<'_>> {
    /// More changes than this within one notice are looked at as they come nearer.
    const MOST: usize = 16;
    let (policy, now) = (&snapshot.policy, snapshot.now);
    let near: Vec<&TimedLimit> = snapshot
        .limits
        .iter()
        .filter(|e| e.binds_from(policy) <= now.after(horizon) && now < e.binds_until(policy))
        .collect();
    let mut starts: Vec<Time> = near.iter().map(|e| e.binds_from(policy).max(now)).chain([now]).collect();
    starts.sort_unstable();
    starts.dedup();
    starts.truncate(MOST);
    let active = |at: Time| {
        near.iter().copied().filter(move |e| e.binds_from(policy) <= at && at < e.binds_until(policy)).collect()
    };
    starts.into_iter().map(|binds| Stage { binds, active: active(binds) }).collect()
}
