//! A site on paper: orders are obeyed at once, leases' Jobs land and leave at once, time passes.

use crate::curve::{CapCurve, CapPoint, MinerCurve, Preset};
use crate::decide::decide;
use crate::guard::{Basis, Bound, LoadId};
use crate::lease::{Allowance, Book, Class, Contract, Delivery, Lease, LeaseState, Level, Offer, Request, Terms};
use crate::memory::Memory;
use crate::plan::Plan;
use crate::snapshot::{Fleet, Load, Member, Ownership, Policy, Pool, Quote, Reading, Snapshot, TimedLimit};
use crate::tree::{Node, NodeId, Tree};
use crate::units::{GigahashPerSecond, Ppm, Span, Time, Usd, UsdPerMwh, UsdPerPhDay, Watts};

pub(super) const HALL_A: NodeId = NodeId(1);
pub(super) const HALL_B: NodeId = NodeId(2);

pub(super) const fn kw(kilowatts: i64) -> Watts {
    Watts::kilo(kilowatts)
}

/// Anything that tells offers apart: here the terms themselves.
pub(super) fn digest(terms: &[u8]) -> String {
    String::from_utf8_lossy(terms).into_owned()
}

pub(super) const fn minutes(minutes: i64) -> Span {
    Span::minutes(minutes)
}

fn node(name: &str, parent: Option<u32>, limit: Watts) -> Node {
    Node {
        name: name.into(),
        parent: parent.map(NodeId),
        limit,
        reserve: Watts::ZERO,
        auxiliary: Watts::ZERO,
        loss: Ppm::ZERO,
    }
}

/// 10 MW with a hall of 6 MW for containers and one of 4 MW for GPUs.
fn tree() -> Tree {
    Tree::new(vec![node("site", None, kw(10_000)), node("a", Some(0), kw(6_000)), node("b", Some(0), kw(4_000))])
        .unwrap()
}

/// Sets the limit of one node.
pub(super) fn limit(snapshot: &mut Snapshot, id: NodeId, limit: Watts) {
    let mut nodes = snapshot.tree.nodes().to_vec();
    nodes[id.index()].limit = limit;
    snapshot.tree = Tree::new(nodes).unwrap();
}

/// 400 S19j Pro: 10 kW asleep, 740 kW at 24.0 J/TH, 1188 kW at 46.7 J/TH for the rest; a floor of 50 kW.
pub(super) fn fleet() -> Fleet {
    let preset = |watts, tera| Preset { watts: Watts::new(watts), hashrate: GigahashPerSecond::tera(tera) };
    Fleet {
        name: "old".into(),
        ladder: MinerCurve::new(Watts::new(25), &[preset(1_850, 76), preset(2_970, 100)]).unwrap(),
        miners: 400,
        overhead: Watts::ZERO,
        thermal_floor: kw(50),
        step: Watts::ZERO,
        indivisible: false,
        minimum_on: Span::ZERO,
        minimum_off: Span::ZERO,
        start_cost: Usd::new(2_500_000),
        stop_cost: Usd::new(2_500_000),
        ownership: Ownership::Own,
        pool_fee: Ppm::ZERO,
        wear: UsdPerMwh::ZERO,
    }
}

fn pool() -> Pool {
    let point = |cap, percent| CapPoint { cap: Watts::new(cap), throughput: Ppm::percent(percent) };
    Pool {
        name: "h100".into(),
        node: HALL_B,
        gpus_per_node: 8,
        min_cap: Watts::new(200),
        max_cap: Watts::new(700),
        overhead: Watts::new(2_000),
        curve: CapCurve::new(&[point(200, 40), point(400, 80), point(700, 100)]).unwrap(),
    }
}

fn policy() -> Policy {
    Policy {
        up_watts_per_minute: kw(5_000),
        down_watts_per_minute: kw(5_000),
        dead_band: UsdPerMwh::dollars(4),
        allowance_price: UsdPerMwh::ZERO,
        expected_excursion: minutes(15),
        trim_margin: Ppm::percent(5),
        trim_after: minutes(10),
        meter_stale: Span::seconds(90),
        clock_skew: Span::seconds(5),
        slowest_shed: Span::seconds(30),
    }
}

/// A site of containers in hall A, then GPU nodes in hall B, all as told: containers at 740 kW.
pub(super) fn snapshot(containers: u32, gpu_nodes: u32) -> Snapshot {
    let now = Time::seconds(1_700_000_000);
    let load = |at: u32| {
        let miner = at < containers;
        let setpoint = if miner { kw(740) } else { Watts::new(3_600) };
        Load {
            id: LoadId(at),
            name: format!("load-{at}").into(),
            node: if miner { HALL_A } else { HALL_B },
            member: if miner { Member::Fleet(0) } else { Member::Pool(0) },
            nameplate: if miner { kw(1_188) } else { Watts::new(7_600) },
            setpoint,
            bound: Bound { watts: setpoint, basis: Basis::Known, since: now },
            proof_within: Span::seconds(30),
            measured: None,
            drawn: None,
            wants_more: false,
        }
    };
    Snapshot {
        now,
        tree: tree(),
        limits: vec![],
        obligations: vec![],
        lockouts: vec![],
        unread: vec![],
        metered: vec![],
        price: Quote::Fresh { value: UsdPerMwh::dollars(60), since: now },
        hashprice: Quote::Fresh { value: UsdPerPhDay::dollars(50), since: now },
        policy: policy(),
        fleets: vec![fleet()],
        pools: vec![pool()],
        loads: (0..containers + gpu_nodes).map(load).collect(),
        classes: vec![],
        leases: vec![],
        book: Book::default(),
        meters: vec![None; 3],
        meter_stale: vec![],
        memory: Memory::default(),
    }
}

/// A limit on a node, in force at once and for good.
pub(super) fn event(now: Time, node: NodeId, limit: Watts) -> TimedLimit {
    TimedLimit {
        name: "utility".into(),
        node,
        kind: None,
        limit,
        from: now,
        until: Time::MAX,
        response: Span::ZERO,
        seen: now,
        priority: 0,
    }
}

pub(super) fn terms(firm: bool) -> Terms {
    Terms {
        firm,
        price: Usd::new(500_000),
        notice: minutes(10),
        allowance: Allowance {
            curtailed: minutes(240),
            per: minutes(7 * 24 * 60),
            events_per_day: 2,
            longest: minutes(180),
            minimum_run: minutes(30),
        },
        credit: UsdPerMwh::dollars(100),
        stop_cost: Usd::new(62_500),
        least_throughput: Ppm::percent(100),
        accepts_itself: true,
        longest_term: minutes(365 * 24 * 60),
    }
}

/// An accepted lease of `gpus`, not granted yet, with Jobs that wait.
pub(super) fn lease(now: Time, name: &str, gpus: u32, terms: Terms) -> Lease {
    let delivery = Delivery::Jobs { pool: 0, gpus };
    let (start, end) = (now, now.after(minutes(60 * 24 * 60)));
    let offer = Offer { terms, delivery, start, end, hash: String::new(), expires: end };
    let full = Level { watts: Watts::new(500 * i64::from(gpus)), cap: Watts::new(700) };
    Lease {
        name: name.into(),
        namespace: "tenant".into(),
        request: Request {
            class: None,
            delivery: Some(delivery),
            start,
            end,
            max_price: None,
            accepted_hash: None,
            asked: now,
        },
        state: LeaseState::Accepted(Box::new(Contract::new(offer, full, now))),
        placed: vec![],
        has_work: true,
        has_pods: false,
        acknowledged: None,
    }
}

/// A request under a class.
pub(super) fn class(delivery: Delivery, terms: Terms) -> Class {
    Class { name: "flex".into(), delivery, terms, per_namespace: i64::MAX }
}

/// The contract of a lease.
pub(super) fn contract(lease: &Lease) -> &Contract {
    match &lease.state {
        LeaseState::Accepted(contract) | LeaseState::Ended(contract) => contract,
        other => panic!("{other:?}"),
    }
}

/// A world in which everybody obeys.
pub(super) struct World {
    pub(super) snapshot: Snapshot,
    pub(super) plan: Plan,
    /// The most that each load can really use.
    pub(super) usable: Vec<Watts>,
    /// What a load's agent does not get below.
    pub(super) stuck: Vec<Option<Watts>>,
}

impl World {
    pub(super) fn new(snapshot: Snapshot) -> Self {
        let (usable, stuck) = (vec![Watts::MAX; snapshot.loads.len()], vec![None; snapshot.loads.len()]);
        Self { plan: decide(&snapshot, digest), snapshot, usable, stuck }
    }

    pub(super) fn price(&mut self, dollars: i64) {
        self.snapshot.price = Quote::Fresh { value: UsdPerMwh::dollars(dollars), since: self.snapshot.now };
    }

    pub(super) fn watts(&self) -> Vec<Watts> {
        self.plan.loads.iter().map(|award| award.watts).collect()
    }

    /// Decides, lets everybody obey, and lets `tick` pass, for as long as `span`.
    pub(super) fn run(&mut self, span: Span, tick: Span) {
        for _ in 0..span.get() / tick.get() {
            self.snapshot.now = self.snapshot.now.after(tick);
            self.step();
        }
    }

    pub(super) fn step(&mut self) {
        let now = self.snapshot.now;
        self.plan = decide(&self.snapshot, digest);
        self.snapshot.memory = self.plan.memory.clone();
        for (at, load) in self.snapshot.loads.iter_mut().enumerate() {
            load.setpoint = self.plan.loads[at].watts;
            let since = load.bound.since;
            load.bound = match self.stuck[at] {
                Some(watts) if load.bound.basis == Basis::Refusing => Bound { watts, basis: Basis::Refusing, since },
                Some(watts) => Bound { watts, basis: Basis::Refusing, since: now },
                None => Bound { watts: load.setpoint, basis: Basis::Known, since: now },
            };
            let watts = load.setpoint.min(self.usable[at]);
            load.measured = Some(Reading { watts, error: Watts::ZERO, time: now });
            load.drawn = Some(watts);
            load.wants_more = self.usable[at] > load.setpoint;
        }
        let nodes: Vec<LoadId> =
            self.snapshot.loads.iter().filter(|l| matches!(l.member, Member::Pool(_))).map(|l| l.id).collect();
        let mut next = nodes.iter();
        for (lease, award) in self.snapshot.leases.iter_mut().zip(&self.plan.leases) {
            lease.state = award.state.clone();
            let LeaseState::Accepted(contract) = &lease.state else { continue };
            let Delivery::Jobs { gpus, .. } = contract.offer.delivery else { continue };
            let runs = contract.grant.watts > Watts::ZERO && lease.has_work;
            lease.has_pods = runs;
            let nodes: Vec<(LoadId, u32)> =
                (0..gpus.div_ceil(8)).filter_map(|_| next.next()).map(|id| (*id, gpus.min(8))).collect();
            lease.placed = if runs { nodes } else { Vec::new() };
        }
        self.snapshot.book = Book::of(&self.snapshot.leases);
    }
}
