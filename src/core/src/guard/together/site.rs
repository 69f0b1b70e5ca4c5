//! A small site: the real ledgers, agents and inventories, an API server that holds the fence, devices whose true draw
//! is known, and messages that go wrong.

mod turns;

use crate::guard::agent::{Config, PROOF_RENEWAL};
use crate::guard::proof::tests::{Unit, at, load, miner, policy};
use crate::guard::proof::{
    Ask, DeviceAnswer, DeviceClass, DeviceCommand, DeviceReading, Inventory, Limiter, LoadDevices, Refusal, Retention,
    WriteAnswer, Written,
};
use crate::guard::{
    Act, Agent, HolderId, Input, Ledger, LoadFacts, LoadId, LoadView, Order, Outcome, Precondition, Seen, Statement,
    Want, Write,
};
use crate::tree::{Node, NodeId, Tree};
use crate::units::{Ppm, Span, Time, Watts};

/// What becomes of the next write: of an order, of a status, of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Answered,
    /// It never arrives.
    Lost,
    /// It lands, and nobody hears of it.
    Unheard,
    /// It is given up, and lands so many seconds later.
    Late(u8),
    /// It is answered with no.
    Refused,
}

#[derive(Clone, Debug)]
enum Landing {
    Order(LoadId, Write),
    Status(usize, Statement, Precondition),
    Limiter(usize, usize, Limiter),
}

/// One run of an agent's process.
#[derive(Clone, Debug)]
struct Run {
    agent: Agent,
    inventory: Inventory,
}

/// One load: what the API server holds of it (newest last), its agents, its devices.
#[derive(Debug)]
pub(super) struct Load {
    node: NodeId,
    shown: Vec<LoadView>,
    runs: Vec<Run>,
    pub(super) units: Vec<Unit>,
    /// What a frozen device goes on saying, whatever it does.
    said: [Option<DeviceReading>; 2],
    /// The first device's address reaches the second one.
    pub(super) aliased: bool,
    /// Devices that say yes and do nothing.
    pub(super) liars: [bool; 2],
    /// How many versions behind the operators and the agents read.
    pub(super) lag: usize,
    pub(super) order_fate: Fate,
    pub(super) status_fate: Fate,
    pub(super) device_fate: Fate,
    /// Its agents neither read nor are heard, but for their devices.
    pub(super) cut_off: bool,
    /// The operators do not find it in their lists.
    pub(super) unlisted: bool,
    pub(super) want: Watts,
    volatile: bool,
    /// What a volatile device drew before the reboot that lost its limiter, and whether it has taken one again: until it
    /// has settled then, what it draws above that is held against nobody.
    lost: [Option<(Watts, bool)>; 2],
}

#[derive(Debug)]
pub(super) struct Site {
    tree: Tree,
    pub(super) loads: Vec<Load>,
    leaders: Vec<Ledger>,
    landings: Vec<(Time, Landing)>,
    /// Limits that events set, and what is wrong with a write that a leader made.
    limits: Vec<(NodeId, Watts)>,
    pub(super) unfit: Vec<String>,
    restored: bool,
    holders: u64,
    epochs: u64,
    pub(super) now: Time,
}

/// Two miners of 3 kW and 500 W beside them; volatile ones come back from a reboot without a limiter.
fn devices(volatile: bool) -> LoadDevices {
    let retention = if volatile { Retention::Volatile } else { Retention::Persistent };
    load(vec![DeviceClass { retention, ..miner() }], &[0, 0])
}

fn devices_overhead() -> Watts {
    devices(false).overhead_watts
}

impl Site {
    /// So many loads over two rows, the first of which has two halls; every limit at so many percent of nameplate.
    pub(super) fn new(loads: usize, percent: i64) -> Self {
        let nodes = (0..loads).map(|at| NodeId([3, 4, 2][at % 3]));
        let nameplate = devices(false).nameplate();
        let hung = |node: u32| -> Watts {
            let below: &[u32] = match node {
                0 => &[2, 3, 4],
                1 => &[3, 4],
                2 => &[2],
                3 => &[3],
                _ => &[4],
            };
            nodes.clone().filter(|at| below.contains(&at.0)).map(|_| nameplate).sum()
        };
        let node = |name: &str, at: u32, parent: Option<u32>| Node {
            name: name.into(),
            parent: parent.map(NodeId),
            // What sleeps draws all the same: less than that is no limit that could be kept.
            limit: hung(at).part(Ppm::percent(percent)) + Watts::new(200),
            reserve: Watts::new(100),
            auxiliary: Watts::ZERO,
            loss: Ppm::percent(1),
        };
        let rows = [("site", None), ("row a", Some(0)), ("row b", Some(0)), ("hall a1", Some(1)), ("hall a2", Some(1))];
        let tree = rows.iter().zip(0..).map(|((name, parent), at)| node(name, at, *parent)).collect();
        let blank = |volatile| LoadView {
            setpoint: Watts::ZERO,
            order: Order::default(),
            nameplate,
            // Some fall back to less than they are told, some would to more.
            fallback: Watts::new(if volatile { 3_000 } else { 600 }),
            schedule: vec![],
            stated: None,
            revision: 1,
        };
        let unit = |volatile: bool, at: usize| {
            let facts = devices(volatile);
            Unit::new(facts.classes[0].clone(), facts.devices[at].identity.0, Limiter::Asleep)
        };
        let loads = nodes.zip(0..).map(|(node, at)| (node, at % 2 == 1)).map(|(node, volatile)| Load {
            node,
            volatile,
            shown: vec![blank(volatile)],
            runs: Vec::new(),
            units: vec![unit(volatile, 0), unit(volatile, 1)],
            said: [None; 2],
            aliased: false,
            lost: [None; 2],
            liars: [false; 2],
            lag: 0,
            order_fate: Fate::Answered,
            status_fate: Fate::Answered,
            device_fate: Fate::Answered,
            cut_off: false,
            unlisted: false,
            want: Watts::new(600),
        });
        let mut site = Self {
            tree: Tree::new(tree).unwrap(),
            loads: loads.collect(),
            leaders: Vec::new(),
            landings: Vec::new(),
            limits: Vec::new(),
            unfit: Vec::new(),
            restored: false,
            holders: 0,
            epochs: 0,
            now: at(0),
        };
        (0..site.loads.len()).for_each(|load| site.start(load));
        site.lead();
        site
    }

    /// A leader with a higher epoch takes over; the one before runs on until it sees that.
    pub(super) fn lead(&mut self) {
        let epoch = self.now.get().unsigned_abs() / 1_000;
        let facts = self.loads.iter().map(|load| LoadFacts {
            node: load.node,
            nameplate: devices(load.volatile).nameplate(),
            proof_within: Span::seconds(30),
        });
        let mut leader = Ledger::new(epoch.max(self.epochs + 1), self.tree.clone(), facts, self.now);
        leader.set_limits(self.limits.clone());
        self.epochs = leader.epoch();
        self.leaders.push(leader);
    }

    /// Nobody leads any more.
    pub(super) fn abandon(&mut self) {
        self.leaders.clear();
    }

    /// An event limits a node to so many percent of what it may carry; none: it is over.
    pub(super) fn limit(&mut self, node: u32, percent: Option<i64>) {
        self.limits.retain(|(other, _)| other.0 != node);
        let limit = self.tree.node(NodeId(node)).map_or(Watts::ZERO, |node| node.limit);
        self.limits.extend(percent.map(|percent| (NodeId(node), limit.part(Ppm::percent(percent)))));
        self.leaders.iter_mut().for_each(|leader| leader.set_limits(self.limits.clone()));
    }

    /// The API server comes back from a backup, so many versions of each load ago, after all leaders were stopped as the
    /// runbook says; revisions are bumped. Another leads then.
    pub(super) fn restore(&mut self, versions: usize) {
        self.restored = true;
        self.leaders.clear();
        for load in &mut self.loads {
            let newest = load.shown.last().map_or(0, |view| view.revision);
            let back = load.shown.len().saturating_sub(1 + versions);
            let old = load.shown[back].clone();
            load.shown = vec![LoadView { revision: newest + 1_000, ..old }];
        }
        self.lead();
    }

    /// A new run of a load's agent, beside whatever runs already.
    pub(super) fn start(&mut self, load: usize) {
        self.holders += 1;
        let (settle, hold) = (Span::seconds(11), Span::seconds(120));
        let config = Config {
            holder: HolderId(self.holders),
            settle,
            hold,
            down_per_minute: Watts::new(2_000),
            renewal: PROOF_RENEWAL,
        };
        let inventory = Inventory::new(devices(self.loads[load].volatile), policy(), self.now).unwrap();
        self.loads[load].runs.push(Run { agent: Agent::new(config, self.now), inventory });
    }

    /// All runs but the newest end.
    pub(super) fn kill_older(&mut self, load: usize) {
        let runs = &mut self.loads[load].runs;
        runs.drain(..runs.len() - 1);
    }

    /// The newest leader.
    pub(super) fn ledger(&mut self) -> &mut Ledger {
        self.leaders.last_mut().unwrap()
    }

    /// What may be raised at a load: the least room from its node up.
    pub(super) fn room(&mut self, load: usize) -> Watts {
        let (node, now) = (self.loads[load].node, self.now);
        let room = self.ledger().headroom(now);
        self.tree.path(node).map(|at| room[at.index()]).min().unwrap()
    }

    /// Nothing goes wrong any more.
    pub(super) fn mend(&mut self) {
        self.limits.clear();
        self.leaders.iter_mut().for_each(|leader| leader.set_limits(Vec::new()));
        (0..self.loads.len()).for_each(|load| self.relieve(load));
    }

    /// Nothing goes wrong with one load any more.
    pub(super) fn relieve(&mut self, load: usize) {
        let now = self.now;
        if let Some(load) = self.loads.get_mut(load) {
            (load.aliased, load.said) = (false, [None; 2]);
            (load.lag, load.cut_off, load.unlisted, load.liars) = (0, false, false, [false; 2]);
            (load.order_fate, load.status_fate, load.device_fate) = (Fate::Answered, Fate::Answered, Fate::Answered);
            for unit in &mut load.units {
                (unit.frozen, unit.silent, unit.refuses) = (false, false, false);
                let limiter = unit.limiter;
                unit.set(limiter, now);
                unit.wedged = None;
            }
        }
    }

    /// What a load truly draws.
    pub(super) fn draw(&self, load: usize) -> Watts {
        self.loads[load].units.iter().map(|unit| unit.draw(self.now)).sum::<Watts>() + devices_overhead()
    }

    /// A device reboots.
    pub(super) fn reboot(&mut self, load: usize, unit: usize) {
        let (now, load) = (self.now, &mut self.loads[load]);
        let before = load.units[unit].draw(now);
        load.units[unit].reboot(now);
        if load.volatile {
            load.lost[unit] = Some((load.lost[unit].map_or(before, |(lost, _)| lost), false));
        }
    }

    /// What can be held against the operator: not that a device which is out of reach came back without its limiter.
    fn answers_for(&self, load: usize) -> Watts {
        let devices = self.loads[load].units.iter().zip(self.loads[load].lost);
        let most = |lost: Option<(Watts, bool)>| lost.map_or(Watts::MAX, |(watts, _)| watts);
        let draw = |(unit, lost): (&Unit, _)| unit.draw(self.now).min(most(lost));
        devices.map(draw).sum::<Watts>() + devices_overhead()
    }

    /// Nodes whose loads truly draw more than they may, by name.
    ///
    /// None after a backup: orders stand then that never stood together, and nobody sheds here as a decision would. That
    /// they are counted is seen to all the same.
    pub(super) fn over(&self) -> Vec<String> {
        if self.restored {
            return Vec::new();
        }
        let sums = self.tree.sums((0..self.loads.len()).map(|at| (self.loads[at].node, self.answers_for(at))));
        let over =
            self.tree.nodes().iter().zip(sums).zip(0..).filter(|((_, sum), at)| *sum > self.tree.capacity(NodeId(*at)));
        over.map(|((node, sum), _)| format!("{}: {sum:?}", node.name)).collect()
    }

    /// Loads that draw, or will once they have booted, more than the newest leader counts them with. A leader that counts
    /// right raises nothing into watts that are not free, whatever the others do just then.
    pub(super) fn under_counted(&self) -> Vec<String> {
        let Some(leader) = self.leaders.last().filter(|leader| leader.exit().is_none()) else { return Vec::new() };
        let later = self.now.after(Span::minutes(10));
        let reach = |load: &Load| -> Watts {
            // What a reboot makes of a limiter that it does not keep is due once it is up again.
            let of = |unit: &Unit| unit.draw(self.now).max(if load.volatile { Watts::ZERO } else { unit.draw(later) });
            load.units.iter().map(of).sum::<Watts>() + devices_overhead()
        };
        let rows = self.loads.iter().enumerate().map(|(at, load)| (at, reach(load)));
        let counted = |at: usize| leader.bound(LoadId(at as u32), self.now);
        let under = rows.filter(|(at, reach)| counted(*at).watts < *reach);
        under.map(|(at, reach)| format!("load {at} draws {reach:?}, counts {:?}", counted(at))).collect()
    }

    /// One second passes.
    pub(super) fn second(&mut self) {
        self.now = self.now.after(Span::seconds(1));
        let (now, later) = (self.now, self.now.after(Span::minutes(10)));
        for load in &mut self.loads {
            for (unit, lost) in load.units.iter().zip(&mut load.lost) {
                let settled = unit.wedged.is_none() && unit.draw(now) == unit.draw(later);
                *lost = lost.filter(|(_, taken)| !(*taken && settled));
            }
        }
        let (due, later) = std::mem::take(&mut self.landings).into_iter().partition(|(at, _)| *at <= self.now);
        self.landings = later;
        due.into_iter().for_each(|(_, landing): (Time, Landing)| {
            self.land(&landing);
        });
        (0..self.leaders.len()).for_each(|leader| self.operate(leader));
        self.leaders.retain(|leader| leader.exit().is_none());
        for load in 0..self.loads.len() {
            (0..self.loads[load].runs.len()).for_each(|run| self.run(load, run));
        }
    }
}
