//! What each load may be given at all: its floor, the most, and who says so.

use super::limits::Limits;
use super::obligations::{self, Duty, Held};
use crate::bid::Bid;
use crate::guard::Basis;
use crate::hold::{self, SwitchHold, trim::Trim};
use crate::memory::LoadMemory;
use crate::plan::Reason;
use crate::snapshot::{Fleet, Load, LockoutTarget, Member, Snapshot};
use crate::tree::NodeId;
use crate::units::{Span, Time, Watts};

/// A load whose agent nobody has heard under this leader is not called stuck before this and its proof time are over.
const TAKE_OVER: Span = Span::seconds(60);

/// The box of one load, in W.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    /// Drawn whatever power costs.
    pub(super) floor: Watts,
    /// Its floor as it was built: what bookings count with.
    pub(super) natural_floor: Watts,
    /// Asleep or at lowest caps: what the floor falls to where limits leave no room for it.
    pub(super) standby: Watts,
    /// No award is above this.
    pub(super) most: Watts,
    /// Who set `most`.
    pub(super) capped: Option<Cap>,
    /// The strictest lockout on it, whoever set `most`: what that leaves it, W, and its position.
    pub(super) lockout: Option<(Watts, u32)>,
    /// What it was last awarded; what it was last told where nothing is remembered.
    pub(super) present: Watts,
    /// It counts at this and is not raised: its agent has not proved less.
    pub(super) stuck: Option<Watts>,
    /// Runs on whatever the price until then.
    pub(super) keeps_on: Option<Time>,
    /// What its use has shown.
    pub(super) trim: Trim,
    /// A person's hold lowers it at once to `most`.
    pub(super) locked: bool,
}

/// Why a load may not have more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cap {
    /// The lockout at this position.
    Lockout(u32),
    /// What cannot be read, at this position.
    Unread(u32),
    /// This node's meter is stale.
    Meter(NodeId),
    /// It was stopped too recently.
    Off(Time),
    /// It does not use more.
    Trim {
        /// What it leaves, W.
        unused: Watts,
        /// Since when.
        since: Time,
    },
    /// There is no price to decide by.
    NoPrice,
}

impl Cap {
    /// The reason to show.
    pub(super) fn reason(self, snapshot: &Snapshot) -> Reason {
        match self {
            Self::Lockout(at) => {
                let lockout = snapshot.lockouts.get(at as usize);
                let said = |f: fn(&crate::snapshot::Lockout) -> &String| lockout.map(f).cloned().unwrap_or_default();
                let since = lockout.map_or(Time::ZERO, |l| l.since);
                Reason::Lockout { name: said(|l| &l.name), holder: said(|l| &l.holder), since }
            }
            Self::Unread(at) => {
                let unread = snapshot.unread.get(at as usize);
                Reason::UnreadHold { name: unread.map(|unread| unread.name.clone()).unwrap_or_default() }
            }
            Self::Meter(node) => Reason::StaleMeter { node },
            Self::Off(until) => Reason::MinimumOff { until },
            Self::Trim { unused, since } => Reason::Trimmed { unused, since },
            Self::NoPrice => Reason::NoPrice,
        }
    }
}

impl Range {
    /// What it counts for where it is awarded `watts`.
    pub(super) fn counted(&self, watts: Watts) -> Watts {
        self.stuck.map_or(watts, |bound| bound.max(watts))
    }

    fn cap(&mut self, most: Watts, cap: Cap) {
        if most < self.most {
            self.most = most.at_least_zero();
            self.capped = Some(cap);
            self.floor = self.floor.min(self.most);
            self.standby = self.standby.min(self.floor);
        }
    }
}

/// What is said of nodes, carried down to the loads below them.
struct Said {
    /// Per node: the strictest lockout at or above it.
    lockouts: Vec<Option<(Watts, u32)>>,
    /// Per node: a stale meter at or above it.
    meters: Vec<Option<NodeId>>,
    /// Per load: the strictest lockout on it alone.
    locked: Vec<Option<(Watts, u32)>>,
    /// Per node: what cannot be read at or above it.
    unread: Vec<Option<u32>>,
    /// Per load: what cannot be read on it alone.
    unread_on: Vec<Option<u32>>,
    /// Per node: it or one above it has a meter that alone asks for a shed.
    near: Vec<bool>,
}

fn said(snapshot: &Snapshot) -> Said {
    let nodes = snapshot.tree.nodes();
    let mut said = Said {
        lockouts: vec![None; nodes.len()],
        meters: vec![None; nodes.len()],
        locked: vec![None; if snapshot.lockouts.is_empty() { 0 } else { snapshot.loads.len() }],
        unread: vec![None; nodes.len()],
        unread_on: vec![None; if snapshot.unread.is_empty() { 0 } else { snapshot.loads.len() }],
        near: vec![false; nodes.len()],
    };
    for metered in &snapshot.metered {
        if let Some(slot) = said.near.get_mut(metered.node.index()) {
            *slot = metered.sheds;
        }
    }
    for (at, unread) in snapshot.unread.iter().enumerate() {
        let slot = match unread.target {
            LockoutTarget::Load(load) => said.unread_on.get_mut(load.index()),
            LockoutTarget::Node(node) => said.unread.get_mut(node.index()),
        };
        if let Some(slot) = slot {
            slot.get_or_insert(at as u32);
        }
    }
    let stricter = |slot: Option<&mut Option<(Watts, u32)>>, lockout: (Watts, u32)| {
        if let Some(slot) = slot {
            *slot = Some(slot.map_or(lockout, |s| s.min(lockout)));
        }
    };
    for (at, lockout) in snapshot.lockouts.iter().enumerate() {
        let limit = (lockout.limit.at_least_zero(), at as u32);
        match lockout.target {
            LockoutTarget::Load(load) => stricter(said.locked.get_mut(load.index()), limit),
            LockoutTarget::Node(node) => stricter(said.lockouts.get_mut(node.index()), limit),
        }
    }
    for (at, node) in nodes.iter().enumerate() {
        let above = node.parent.and_then(|p| said.lockouts.get(p.index()).copied().flatten());
        if let Some(above) = above {
            stricter(said.lockouts.get_mut(at), above);
        }
        let reading = snapshot.meters.get(at).copied().flatten();
        let stale = reading.filter(|r| snapshot.now.since(r.time) > snapshot.meter_stale(NodeId(at as u32)));
        let above = node.parent.and_then(|p| said.meters.get(p.index()).copied().flatten());
        if let Some(slot) = said.meters.get_mut(at) {
            *slot = stale.map(|_| NodeId(at as u32)).or(above);
        }
        let above = node.parent.is_some_and(|p| said.near.get(p.index()).copied().unwrap_or_default());
        if let Some(slot) = said.near.get_mut(at) {
            *slot |= above;
        }
        let above = node.parent.and_then(|p| said.unread.get(p.index()).copied().flatten());
        if let Some(slot) = said.unread.get_mut(at) {
            *slot = slot.or(above);
        }
    }
    said
}

/// The box of every load. `priced`: there is a price to move by; where there is none, what may serve an obligation gets
/// its box from [`rest`].
pub(super) fn ranges(snapshot: &Snapshot, duties: &[Duty<'_>], priced: bool) -> Vec<Range> {
    let said = said(snapshot);
    let of = |load: &Load| {
        let memory = snapshot.memory.loads.get(load.id.index());
        let mut range = physical(snapshot, load, memory);
        // Near a limit nobody waits for who is not known about.
        if load.bound.basis.is_blind() && said.near.get(load.node.index()).copied().unwrap_or_default() {
            range.stuck = Some(load.bound.watts).filter(|watts| *watts > load.setpoint).or(range.stuck);
        }
        if !priced && !obligations::concerns(snapshot, duties, load) {
            range.cap(range.present.max(range.floor), Cap::NoPrice);
        }
        let lockout = |held: &[Option<(Watts, u32)>], at: usize| held.get(at).copied().flatten();
        let lockout = [lockout(&said.locked, load.id.index()), lockout(&said.lockouts, load.node.index())];
        let of = |slots: &[Option<u32>], at: usize| slots.get(at).copied().flatten();
        let unread = of(&said.unread_on, load.id.index()).or(of(&said.unread, load.node.index())).map(Cap::Unread);
        let meter = said.meters.get(load.node.index()).copied().flatten().map(Cap::Meter);
        if let Some(cap) = unread.or(meter) {
            // A rise that was decided and not made yet is none.
            range.present = range.present.min(load.setpoint);
            range.cap(load.setpoint, cap);
        }
        range.lockout = lockout.into_iter().flatten().min();
        if let Some((limit, at)) = range.lockout {
            range.locked = limit < range.present.max(load.setpoint);
            range.cap(limit, Cap::Lockout(at));
            range.keeps_on = None;
        }
        range
    };
    snapshot.loads.iter().map(of).collect()
}

/// Without a price what may serve an obligation rises as far as that takes, and no further.
pub(super) fn rest(snapshot: &Snapshot, duties: &[Duty<'_>], held: &Held, ranges: &mut [Range], bids: &mut [Bid]) {
    for (at, load) in snapshot.loads.iter().enumerate() {
        let (Some(range), Some(bid), Some(hold)) = (ranges.get_mut(at), bids.get_mut(at), held.holds.get(at)) else {
            continue;
        };
        if obligations::concerns(snapshot, duties, load) {
            range.cap(range.present.max(range.floor).max(hold.watts), Cap::NoPrice);
            *bid = bid.clone().capped_at(range.most);
        }
    }
}

/// What the load is by itself, whoever says what.
fn physical(snapshot: &Snapshot, load: &Load, memory: Option<&LoadMemory>) -> Range {
    let present = memory.map_or(load.setpoint.min(load.nameplate), |m| m.awarded);
    let mut range = Range {
        floor: Watts::ZERO,
        natural_floor: Watts::ZERO,
        standby: Watts::ZERO,
        most: load.nameplate,
        capped: None,
        lockout: None,
        present,
        stuck: stuck(load, snapshot.now).then_some(load.bound.watts),
        keeps_on: None,
        trim: Trim::default(),
        locked: false,
    };
    let fleet = |at: u32| snapshot.fleets.get(at as usize);
    let pool = |at: u32| snapshot.pools.get(at as usize);
    match load.member {
        Member::Fleet(at) => {
            if let Some(fleet) = fleet(at) {
                of_container(&mut range, snapshot, load, fleet, memory);
            }
        }
        Member::Pool(at) => {
            if let Some(pool) = pool(at) {
                let gpus = i64::from(pool.gpus_per_node);
                let sum = |cap: Watts| Watts::new(cap.get().saturating_mul(gpus)) + pool.overhead;
                range.floor = sum(pool.min_cap).min(load.nameplate);
                (range.standby, range.natural_floor) = (range.floor, range.floor);
                range.most = sum(pool.max_cap).min(load.nameplate);
            }
        }
        Member::Kept => {
            let stands = load.setpoint.min(load.nameplate);
            (range.floor, range.standby, range.most) = (stands, stands, stands);
            range.present = stands;
        }
        Member::Retired => range.most = Watts::ZERO,
    }
    range
}

fn of_container(range: &mut Range, snapshot: &Snapshot, load: &Load, fleet: &Fleet, memory: Option<&LoadMemory>) {
    range.standby = asleep(fleet).min(load.nameplate);
    range.floor = range.standby.max(fleet.thermal_floor).min(load.nameplate);
    range.natural_floor = range.floor;
    match hold::switch(memory, fleet.minimum_on, fleet.minimum_off, snapshot.now) {
        Some(SwitchHold::On(until)) => range.keeps_on = Some(until),
        Some(SwitchHold::Off(until)) => range.cap(range.floor, Cap::Off(until)),
        None => {}
    }
    let keeps = range.floor + least_step(fleet, range.most - range.floor);
    range.trim = hold::trim::trim(memory, load, keeps, &snapshot.policy, snapshot.now);
    if let Some(trimmed) = range.trim.trimmed {
        // Up to a whole step: never below what it uses.
        let above = (trimmed.most - range.floor).at_least_zero();
        let whole = if fleet.indivisible { range.most - range.floor } else { -((-above).floor_to(fleet.step)) };
        let most = range.floor + whole;
        range.cap(most, Cap::Trim { unused: (trimmed.of - most).at_least_zero(), since: trimmed.since });
    }
}

/// A container with every miner asleep, W.
pub(super) fn asleep(fleet: &Fleet) -> Watts {
    Watts::new(fleet.ladder.sleep().get().saturating_mul(i64::from(fleet.miners)))
}

/// The least that a container can rise above its floor by, W: all of it, a step, or one miner and the pumps.
fn least_step(fleet: &Fleet, all: Watts) -> Watts {
    let one = fleet.ladder.steps().next().map_or(Watts::ZERO, |step| step.watts) + fleet.overhead;
    if fleet.indivisible { all } else { one.max(fleet.step).min(all) }
}

/// Whether the agent had its time to prove what it was told, and did not.
fn stuck(load: &Load, now: Time) -> bool {
    let patience = match load.bound.basis {
        Basis::Known => return false,
        Basis::Refusing => Span::ZERO,
        Basis::Proving | Basis::Expired | Basis::Absent => load.proof_within,
        Basis::Unclaimed | Basis::Unstated => TAKE_OVER + load.proof_within,
    };
    load.bound.watts > load.setpoint && now.since(load.bound.since) > patience
}

/// Where floors alone pass a limit, thermal floors give way: a utility's limit and a breaker stand above them. The last
/// containers first, each as a whole, so that few suffer. `loads` are the positions of the containers.
pub(super) fn yield_floors(snapshot: &Snapshot, limits: &Limits<'_>, ranges: &mut [Range]) {
    let counted = |(load, range): (&Load, &Range)| (load.node, range.counted(range.floor));
    let mut sums = limits.tree.sums(snapshot.loads.iter().zip(ranges.iter()).map(counted));
    let over = |sums: &[Watts], id: NodeId| {
        limits.tree.path(id).any(|n| sums.get(n.index()).is_some_and(|sum| *sum > limits.tree.capacity(n)))
    };
    if !(0..limits.tree.len()).any(|at| over(&sums, NodeId(at as u32))) {
        return;
    }
    for (load, range) in snapshot.loads.iter().zip(ranges.iter_mut()).rev() {
        let yields = range.floor - range.standby;
        if range.stuck.is_some() || yields <= Watts::ZERO || !over(&sums, load.node) {
            continue;
        }
        range.floor = range.standby;
        range.keeps_on = None;
        for node in limits.tree.path(load.node) {
            if let Some(sum) = sums.get_mut(node.index()) {
                *sum -= yields;
            }
        }
    }
}
