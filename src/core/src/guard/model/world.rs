//! The world around the machines: an API server, messages that are late, lost or answered to nobody, devices, clocks.

use super::intern::{Key, Machines, Status};
use crate::guard::agent::{Agent, Config, PROOF_RENEWAL};
use crate::guard::ledger::Ledger;
use crate::guard::rules::{Broken, Rule};
use crate::guard::{
    Act, HolderId, Input, LoadFacts, LoadId, LoadView, Order, Outcome, Precondition, Proof, Seen, Statement, Want,
    Write,
};
use crate::tree::{Node, NodeId, Tree};
use crate::units::{Ppm, Span, Time, Watts};

/// The most that the two loads may draw together, and what each of them could draw alone, W.
pub(super) const LIMIT: u8 = 2;
const START: Time = Time::seconds(1_000);
const FAR: Time = Time::seconds(1_000_000);
const NEVER: i16 = -1;
const ALWAYS: i16 = i16::MAX;

/// A rule that the world holds, not the machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outside {
    /// The order of a spec rises with every write (else: its epoch does not fall).
    Fence,
    /// A claim leaves the setpoint as it stands (else: it writes the one in the leader's cache).
    ClaimKeeps,
    /// A status with a ceiling carries the order of the spec.
    StatusOrder,
    /// A status with a ceiling comes from the holder.
    StatusHolder,
    /// A status on a revision is refused on any other.
    StatusRevision,
    /// A proof is limiters read back (else: watts measured).
    ProofByLimiter,
    /// Every process is a new holder (else: a restarted agent has the number of the run before).
    NewHolder,
    /// A new epoch is above every epoch ever used (else: above those in the store).
    ClockEpoch,
}

/// What is taken away in a run: nothing, or a rule, or rules of which each makes up for the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Without {
    pub(super) rules: [Option<Rule>; 2],
    pub(super) outside: Option<Outside>,
}

/// How often things may still happen, and which things happen at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Budget {
    /// Writes of the operators, claims included.
    pub(super) sends: u8,
    /// New leaders beside the first.
    pub(super) leads: u8,
    /// Agents of load 0 that start while the one before runs on.
    pub(super) spares: u8,
    /// Agents of load 0 that die; each starts again without memory.
    pub(super) kills: u8,
    /// Objects deleted.
    pub(super) deletes: u8,
    /// Deleted objects made again.
    pub(super) remakes: u8,
    /// Backups restored.
    pub(super) restores: u8,
    /// Changes of what the devices of a load would draw.
    pub(super) demands: u8,
    /// Jumps of the clock, each by `jump_seconds`.
    pub(super) jumps: u8,
    /// Writes (of operators, of agents) that are given up and may land later or never.
    pub(super) late: u8,
    /// Proofs that reach the agent later than they were made.
    pub(super) late_proofs: u8,
    /// Raises that reach the device later than they were sent.
    pub(super) late_raises: u8,
    /// Views that come again after newer ones.
    pub(super) stale: u8,
    /// Sheds that are shouted.
    pub(super) shouts: u8,
}

/// Where a run starts, and what is in it besides.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scene {
    pub(super) budget: Budget,
    /// Setpoints in force, obeyed and proved, W.
    pub(super) now: [i64; 2],
    /// Those of the backup.
    pub(super) backup: [i64; 2],
    pub(super) fallback: i64,
    /// How far the clock jumps, s.
    pub(super) jump_seconds: i64,
    /// Without a leader the agents hold for this, s; 0: for ever.
    pub(super) hold_seconds: i64,
    /// A limiter holds so long after it was read back, s, then the device may drop it; 0: for ever.
    pub(super) life_seconds: i64,
    /// How long ago all that was proved, s.
    pub(super) start_seconds: i16,
    /// A second agent took load 0 over since, and the first has yet to see it.
    pub(super) pair: bool,
    /// Load 0 is to stay under 0 W in this time (s after the start).
    pub(super) known_limit: Option<(i64, i64)>,
}

/// An order on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Flight {
    from: u8,
    load: u8,
    epoch: u8,
    sequence: u8,
    setpoint: u8,
    given_up: bool,
    lowers: bool,
}

/// What an inventory was last told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Driver {
    command: u16,
    limit: u8,
    /// Seconds after the start; [`NEVER`], [`ALWAYS`].
    raise_until: i16,
    told: bool,
    /// A proof that was made and is yet to be read by the agent: its command, ceiling, settled.
    proof: Option<(u16, u8, bool)>,
}

/// Everything, at one moment. Numbers are those of the [`Machines`]; 0: there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    api: [u32; 2],
    old: [u32; 2],
    backup: [u32; 2],
    epochs: (u8, u8),
    ledger: [u32; 2],
    agent: [[u32; 2]; 2],
    driver: [[Driver; 2]; 2],
    orders: [Option<Flight>; 3],
    status: [[[u32; 2]; 2]; 2],
    limiter: [u8; 2],
    demand: [u8; 2],
    /// A raise sent to the devices of this load and still on its way, and by which agent; 0: none.
    rising: [(u8, u8); 2],
    /// Up to when limiters hold by themselves, s after the start.
    holds: [i16; 2],
    holders: [u8; 2],
    seconds: i16,
    left: Budget,
}

/// A run's fixed parts, and the machines.
pub(super) struct Model {
    pub(super) machines: Machines,
    pub(super) without: Without,
    scene: Scene,
    /// Whether to describe each step.
    pub(super) tell: bool,
}

pub(super) type Next = Vec<(String, World)>;

fn watts(x: u8) -> Watts {
    Watts::new(i64::from(x))
}

fn small(w: Watts) -> u8 {
    u8::try_from(w.get()).unwrap()
}

impl World {
    /// Whether the loads draw more than the limit.
    pub(super) fn over_limit(&self) -> bool {
        (0..2).map(|i| self.limiter[i].min(self.demand[i])).sum::<u8>() > LIMIT
    }

    fn now(&self) -> Time {
        START.after(Span::seconds(i64::from(self.seconds)))
    }
}

impl Model {
    pub(super) fn new(scene: Scene, without: Without) -> Self {
        let mut machines = Machines::default();
        machines.number_commands = scene.budget.late_proofs > 0;
        Self { machines, without, scene, tell: false }
    }

    fn keeps(&self, outside: Outside) -> bool {
        self.without.outside != Some(outside)
    }

    fn view(&self, load: usize, setpoint: i64, order: Order, revision: u64) -> LoadView {
        let at = |s: i64| START.after(Span::seconds(s));
        let known = self.scene.known_limit.filter(|_| load == 0);
        let schedule = known.map(|(from, until)| crate::guard::KnownLimit {
            from: at(from),
            until: at(until),
            limit: Watts::ZERO,
        });
        LoadView {
            setpoint: Watts::new(setpoint),
            order,
            nameplate: watts(LIMIT),
            fallback: Watts::new(self.scene.fallback),
            schedule: schedule.into_iter().collect(),
            stated: None,
            revision,
        }
    }

    fn agent(&self, holder: u64, now: Time) -> Agent {
        let hold =
            if self.scene.hold_seconds == 0 { FAR.since(Time::new(0)) } else { Span::seconds(self.scene.hold_seconds) };
        let config = Config {
            holder: HolderId(holder),
            settle: Span::seconds(5),
            hold,
            down_per_minute: Watts::new(600),
            renewal: PROOF_RENEWAL,
        };
        let mut agent = Agent::new(config, now);
        agent.broken = Broken(self.without.rules);
        agent
    }

    fn expires(&self, seconds: i16) -> Time {
        let life = self.scene.life_seconds;
        if life == 0 { FAR } else { START.after(Span::seconds(i64::from(seconds) + life)) }
    }

    /// Both loads held, obeyed and proved; one leader, who knows.
    pub(super) fn start(&mut self) -> World {
        let epoch = if self.scene.budget.restores > 0 { 2 } else { 1 };
        let mut world = World {
            api: [0; 2],
            old: [0; 2],
            backup: [0; 2],
            epochs: (epoch, epoch),
            ledger: [0; 2],
            agent: [[0; 2]; 2],
            driver: [[Driver::default(); 2]; 2],
            orders: [None; 3],
            status: [[[0; 2]; 2]; 2],
            limiter: [0; 2],
            demand: [LIMIT; 2],
            rising: [(0, 0); 2],
            holds: [0; 2],
            holders: [1; 2],
            seconds: self.scene.start_seconds,
            left: self.scene.budget,
        };
        for load in 0..2 {
            let setpoint = self.scene.now[load];
            world.limiter[load] = u8::try_from(setpoint).unwrap();
            let order = Order { epoch: u64::from(epoch), sequence: 2 };
            let (agent, view, driver) = self.settle(1, self.view(load, setpoint, order, 1));
            world.agent[load][0] = agent;
            world.driver[load][0] = driver;
            let mut view = view;
            if self.scene.pair && load == 0 {
                (world.agent[0][1], view, world.driver[0][1]) = self.settle(2, view);
                world.holders[0] = 2;
            }
            world.holds[load] = i16::try_from(self.scene.life_seconds).unwrap();
            let old = Order { epoch: 1, sequence: 1 };
            let statement =
                Statement { ceiling: Some(Watts::new(self.scene.backup[load])), order: old, ..view.stated.unwrap() };
            let backup = LoadView { stated: Some(statement), ..self.view(load, self.scene.backup[load], old, 1) };
            world.backup[load] = self.machines.views.number(backup);
            world.api[load] = self.machines.views.number(view);
            world.old[load] = world.api[load];
        }
        world.ledger[0] = self.lead(&world, u64::from(epoch)).unwrap();
        world
    }

    /// Drives a new agent until it holds its load, has proved and stated.
    fn settle(&mut self, holder: u64, mut view: LoadView) -> (u32, LoadView, Driver) {
        let early = START.before(Span::seconds(100));
        let mut agent = self.agent(holder, early);
        let mut driver = Driver::default();
        let mut queue = std::collections::VecDeque::from([(Input::Load(Some(view.clone())), early)]);
        let leader = Input::Leader { epoch: view.order.epoch, seen: START };
        let proof = Proof { ceiling: view.setpoint, expires: self.expires(0), settled: true };
        queue.push_back((Input::Tick, START.before(Span::seconds(50))));
        queue.push_back((leader, START));
        while let Some((input, now)) = queue.pop_front() {
            for act in agent.step(input, now) {
                match act {
                    Act::State { write, statement, .. } => {
                        view = LoadView { stated: Some(statement), revision: view.revision + 1, ..view };
                        let outcome = Outcome::Accepted(view.clone());
                        queue.push_front((Input::Answer { write, outcome }, now));
                    }
                    Act::Device { command, limit, raise_until, .. } => {
                        driver = told(command, limit, raise_until);
                        queue.push_back((Input::Devices { command, proof }, START));
                    }
                }
            }
        }
        assert_eq!(view.stated.unwrap().ceiling, Some(view.setpoint), "the run starts proved");
        agent.reduce(&mut [], false, START);
        (self.machines.agents.number(agent), view, Driver { command: 1, ..driver })
    }

    /// A new leader after a fresh list.
    fn lead(&mut self, world: &World, epoch: u64) -> Option<u32> {
        let site = Node {
            name: "site".into(),
            parent: None,
            limit: watts(LIMIT),
            reserve: Watts::ZERO,
            auxiliary: Watts::ZERO,
            loss: Ppm::ZERO,
        };
        let facts = LoadFacts { node: NodeId::SITE, nameplate: watts(LIMIT), proof_within: Span::seconds(30) };
        let mut ledger = Ledger::new(epoch, Tree::new(vec![site]).unwrap(), [facts.clone(), facts], world.now());
        ledger.broken = Broken(self.without.rules);
        for load in 0..2 {
            let view = self.present(world, load).cloned();
            ledger.learn(Seen::Load(LoadId(load as u32), view), world.now()).ok()?;
        }
        ledger.reduce();
        Some(self.machines.ledgers.number(ledger))
    }

    fn present(&self, world: &World, load: usize) -> Option<&LoadView> {
        (world.api[load] > 0).then(|| self.machines.views.get(world.api[load]))
    }

    /// All that can happen next.
    pub(super) fn next(&mut self, world: &World, out: &mut Next) {
        for op in 0..2 {
            if world.ledger[op] > 0 {
                self.operator(world, op, out);
            }
        }
        for at in 0..world.orders.len() {
            if let Some(flight) = world.orders[at] {
                self.order(world, at, flight, out);
            }
        }
        for load in 0..2 {
            for slot in 0..2 {
                for at in 0..2 {
                    if world.status[load][slot][at] > 0 {
                        self.status(world, load, slot, at, out);
                    }
                }
                if world.agent[load][slot] > 0 {
                    self.hears(world, load, slot, out);
                    self.devices(world, load, slot, out);
                }
            }
            self.happens(world, load, out);
        }
        self.leads(world, out);
    }

    fn push(&self, out: &mut Next, label: impl FnOnce(&Self) -> String, mut world: World) {
        self.tidy(&mut world);
        out.push((if self.tell { label(self) } else { String::new() }, world));
    }

    /// Forgets writes that were given up and can land no more, and keeps the others in one order.
    fn tidy(&self, world: &mut World) {
        for flight in &mut world.orders {
            let dead = |f: Flight| {
                f.given_up
                    && !f.lowers_shouted(world.left.shouts)
                    && match world.api[usize::from(f.load)] {
                        0 => world.left.remakes == 0,
                        api => {
                            !self.fits(self.machines.views.get(api), f)
                                && world.left.restores == 0
                                && world.left.remakes == 0
                        }
                    }
            };
            *flight = flight.filter(|f| !dead(*f));
        }
        world.orders.sort();
        let left = world.left;
        if left.stale == 0 && left.remakes == 0 {
            world.old = [0; 2];
        }
        for load in 0..2 {
            let api = world.api[load];
            for slot in &mut world.status[load] {
                for at in slot.iter_mut() {
                    if *at > 0 && self.machines.statuses.get(*at).given_up {
                        let gone = api == 0 && left.remakes == 0;
                        let refused = api > 0 && self.lost_for_good(self.machines.views.get(api), *at, left);
                        if gone || refused {
                            *at = 0;
                        }
                    }
                }
                slot.sort_unstable();
            }
        }
    }

    fn fits(&self, view: &LoadView, flight: Flight) -> bool {
        let order = Order { epoch: u64::from(flight.epoch), sequence: u64::from(flight.sequence) };
        if self.keeps(Outside::Fence) { order > view.order } else { order.epoch >= view.order.epoch }
    }

    fn lost_for_good(&self, view: &LoadView, status: u32, left: Budget) -> bool {
        let status = self.machines.statuses.get(status);
        let by_revision = self.keeps(Outside::StatusRevision)
            && matches!(status.only_if, Precondition::Revision(revision) if revision < view.revision);
        let by_order = status.statement.ceiling.is_some()
            && self.keeps(Outside::StatusOrder)
            && self.keeps(Outside::Fence)
            && status.statement.order < view.order;
        by_revision || (by_order && left.restores == 0 && left.remakes == 0)
    }

    fn operator(&mut self, world: &World, op: usize, out: &mut Next) {
        let now = world.now();
        for load in 0..2 {
            let id = LoadId(load as u32);
            let again = world.left.stale > 0 && world.old[load] != world.api[load];
            for stale in 0..=u8::from(again) {
                let shown = if stale > 0 { world.old[load] } else { world.api[load] };
                let mut next = *world;
                next.left.stale -= stale;
                next.ledger[op] = self.machines.learn(world.ledger[op], id.0, Key::Load(shown), now).unwrap_or(0);
                if next.ledger != world.ledger {
                    let when = if stale > 0 { " late" } else { "" };
                    self.push(out, |m| format!("operator {op} sees load {load}{when}: {}", m.show(shown)), next);
                }
            }
            for setpoint in 0..=LIMIT {
                let want = Want { load: id, watts: watts(setpoint), step: Watts::ZERO };
                let (ledger, writes) = self.machines.steps(world.ledger[op], want, now);
                let mut next = *world;
                next.ledger[op] = ledger;
                if let Some(next) = self.sent(next, op, &writes) {
                    self.push(out, |_| format!("operator {op} sends {writes:?}"), next);
                }
            }
        }
    }

    /// Puts writes on their way, if there is room and budget for them.
    fn sent(&self, mut world: World, op: usize, writes: &[Write]) -> Option<World> {
        for write in writes {
            let (load, order, setpoint, lowers) = match *write {
                Write::Claim { load, order } => {
                    let cached = self.machines.ledgers.get(world.ledger[op]).view(load)?.setpoint;
                    (load, order, cached, false)
                }
                Write::Lower { load, order, setpoint } => (load, order, setpoint, true),
                Write::Raise { load, order, setpoint } => (load, order, setpoint, false),
            };
            world.left.sends = world.left.sends.checked_sub(1)?;
            let flight = Flight {
                from: op as u8,
                load: load.0 as u8,
                epoch: order.epoch as u8,
                sequence: order.sequence as u8,
                setpoint: small(setpoint),
                given_up: false,
                lowers,
            };
            *world.orders.iter_mut().find(|slot| slot.is_none())? = Some(flight);
        }
        (!writes.is_empty()).then_some(world)
    }

    fn order(&mut self, world: &World, at: usize, flight: Flight, out: &mut Next) {
        let (load, op) = (usize::from(flight.load), usize::from(flight.from));
        let landed = self.present(world, load).filter(|view| self.fits(view, flight)).map(|view| {
            let keeps = flight.sequence == 0 && self.keeps(Outside::ClaimKeeps);
            let setpoint = if keeps { view.setpoint } else { watts(flight.setpoint) };
            let order = Order { epoch: u64::from(flight.epoch), sequence: u64::from(flight.sequence) };
            LoadView { setpoint, order, revision: view.revision + 1, ..view.clone() }
        });
        let mut next = *world;
        if let Some(view) = &landed {
            next.old[load] = world.api[load];
            next.api[load] = self.machines.views.number(view.clone());
        }
        next.orders[at] = None;
        if flight.given_up {
            if landed.is_some() {
                self.push(out, |_| format!("{flight:?} lands late"), next);
            }
        } else {
            let sequence = u64::from(flight.sequence);
            let accepted = Key::Accepted(sequence, next.api[load]);
            self.answer(&mut next, op, flight, if landed.is_some() { accepted } else { Key::Refused(sequence) });
            self.push(
                out,
                |_| format!("{flight:?} is answered ({})", if landed.is_some() { "lands" } else { "refused" }),
                next,
            );
            if world.left.late > 0 {
                let mut late = *world;
                late.left.late -= 1;
                late.orders[at] = Some(Flight { given_up: true, ..flight });
                self.answer(&mut late, op, flight, Key::Unknown(sequence));
                self.push(out, |_| format!("{flight:?} is given up"), late);
            }
        }
        if flight.lowers && world.left.shouts > 0 {
            let order = Order { epoch: u64::from(flight.epoch), sequence: u64::from(flight.sequence) };
            for slot in 0..2 {
                let mut next = *world;
                next.left.shouts -= 1;
                if self.tell_agent(&mut next, load, slot, Key::Shed(order, watts(flight.setpoint))) {
                    self.push(out, |_| format!("{flight:?} is shouted to agent {load}.{slot}"), next);
                }
            }
        }
    }

    fn answer(&mut self, world: &mut World, op: usize, flight: Flight, key: Key) {
        let ledger = world.ledger[op];
        if ledger > 0 && u64::from(flight.epoch) == self.machines.ledgers.get(ledger).epoch() {
            world.ledger[op] = self.machines.learn(ledger, u32::from(flight.load), key, world.now()).unwrap_or(0);
        }
    }

    fn status(&mut self, world: &World, load: usize, slot: usize, at: usize, out: &mut Next) {
        let status = self.machines.statuses.get(world.status[load][slot][at]).clone();
        let landed = self.present(world, load).filter(|view| self.allows(view, &status)).map(|view| LoadView {
            stated: Some(status.statement),
            revision: view.revision + 1,
            ..view.clone()
        });
        let mut next = *world;
        next.status[load][slot][at] = 0;
        if let Some(view) = &landed {
            next.old[load] = world.api[load];
            next.api[load] = self.machines.views.number(view.clone());
        }
        if status.given_up {
            if landed.is_some() {
                self.push(out, |_| format!("agent {load}.{slot}: {status:?} lands late"), next);
            }
            return;
        }
        let accepted = Key::Accepted(status.write, next.api[load]);
        let key = if landed.is_some() { accepted } else { Key::Refused(status.write) };
        self.tell_agent(&mut next, load, slot, key);
        let label = if landed.is_some() { "lands" } else { "is refused" };
        self.push(out, |_| format!("agent {load}.{slot}: {status:?} {label}"), next);
        if world.left.late > 0 {
            let mut late = *world;
            late.left.late -= 1;
            let given_up = Status { write: 0, given_up: true, ..status.clone() };
            late.status[load][slot][at] = self.machines.statuses.number(given_up);
            self.tell_agent(&mut late, load, slot, Key::Unknown(status.write));
            self.push(out, |_| format!("agent {load}.{slot}: {status:?} is given up"), late);
        }
    }

    /// Whether the API server accepts this status write.
    fn allows(&self, view: &LoadView, status: &Status) -> bool {
        let states = status.statement.ceiling.is_some();
        let order = !states || status.statement.order == view.order || !self.keeps(Outside::StatusOrder);
        let holder = view.stated.map(|stated| stated.holder) == Some(status.statement.holder);
        let holder = !states || holder || !self.keeps(Outside::StatusHolder);
        let revision = match status.only_if {
            Precondition::Order(_) => true,
            Precondition::Revision(revision) => revision == view.revision || !self.keeps(Outside::StatusRevision),
        };
        order && holder && revision
    }

    /// Drives the agent and does what it says. Whether anything came of it.
    fn tell_agent(&mut self, world: &mut World, load: usize, slot: usize, key: Key) -> bool {
        let before = world.agent[load][slot];
        if before == 0 {
            return false;
        }
        let (after, acts) = self.machines.agent(before, key, world.now());
        world.agent[load][slot] = after;
        for act in acts.iter() {
            match act {
                Act::State { write, statement, only_if } => {
                    let status = Status { write: *write, statement: *statement, only_if: *only_if, given_up: false };
                    let number = self.machines.statuses.number(status);
                    let ways = &mut world.status[load][slot];
                    // A second write given up: the first is then taken never to land.
                    let free = if ways[0] == 0 {
                        0
                    } else {
                        usize::from(self.machines.statuses.get(ways[1].max(1)).given_up || ways[1] == 0)
                    };
                    ways[free] = number;
                }
                Act::Device { command, limit, raise_until, .. } => {
                    let proof = world.driver[load][slot].proof;
                    world.driver[load][slot] = Driver { proof, ..told(*command, *limit, *raise_until) };
                }
            }
        }
        before != after || !acts.is_empty()
    }

    fn hears(&mut self, world: &World, load: usize, slot: usize, out: &mut Next) {
        let mut hear = |model: &mut Self, key: Key, stale: u8| {
            let mut next = *world;
            next.left.stale -= stale;
            if model.tell_agent(&mut next, load, slot, key) {
                let label = |m: &Self| if let Key::Load(shown) = key { m.show(shown) } else { format!("{key:?}") };
                model.push(out, |m| format!("agent {load}.{slot} reads {}", label(m)), next);
            }
        };
        hear(self, Key::Load(world.api[load]), 0);
        hear(self, Key::Tick, 0);
        if world.left.stale > 0 && world.old[load] != world.api[load] && world.old[load] > 0 {
            hear(self, Key::Load(world.old[load]), 1);
        }
        for op in world.ledger.into_iter().filter(|op| *op > 0) {
            let epoch = self.machines.ledgers.get(op).epoch();
            hear(self, Key::Leader(epoch), 0);
        }
    }

    fn devices(&mut self, world: &World, load: usize, slot: usize, out: &mut Next) {
        let driver = world.driver[load][slot];
        if !driver.told {
            return;
        }
        let limiter = world.limiter[load];
        if limiter > driver.limit {
            let mut next = *world;
            next.limiter[load] = driver.limit;
            self.push(out, |_| format!("devices of load {load} are lowered to {} by agent {slot}", driver.limit), next);
        }
        let may_raise = driver.raise_until == ALWAYS || world.seconds < driver.raise_until;
        if limiter < driver.limit && may_raise {
            let mut next = *world;
            next.limiter[load] = driver.limit;
            self.push(out, |_| format!("devices of load {load} are raised to {} by agent {slot}", driver.limit), next);
            if world.left.late_raises > 0 && world.rising[load].0 == 0 {
                let mut next = *world;
                next.left.late_raises -= 1;
                next.rising[load] = (driver.limit, slot as u8);
                self.push(out, |_| format!("a raise of load {load} to {} is sent by agent {slot}", driver.limit), next);
            }
        }
        if self.scene.life_seconds > 0
            && let Some(beat) = self.machines.agents.get(world.agent[load][slot]).heartbeat(world.now())
        {
            for op in 0..2 {
                let mut next = *world;
                if next.ledger[op] > 0 {
                    let told = self.machines.learn(next.ledger[op], load as u32, Key::Heartbeat(beat), world.now());
                    next.ledger[op] = told.unwrap_or(0);
                }
                if next.ledger != world.ledger {
                    self.push(out, |_| format!("operator {op} hears {beat:?} from load {load}"), next);
                }
            }
        }
        let on_its_way = world.rising[load].0 > 0 && usize::from(world.rising[load].1) == slot;
        let read = if self.keeps(Outside::ProofByLimiter) { limiter } else { limiter.min(world.demand[load]) };
        let done = driver.raise_until == NEVER || limiter == driver.limit;
        let proof = (driver.command, read, done && read <= driver.limit && !on_its_way);
        let mut next = *world;
        if self.scene.life_seconds > 0 {
            next.holds[load] = i16::try_from(i64::from(world.seconds) + self.scene.life_seconds).unwrap();
        }
        // What has not settled tells the agent nothing that it does not count already, but where limiters are lost.
        let tells = proof.2 || self.scene.life_seconds > 0;
        if tells && self.proves(&mut next, load, slot, proof) {
            self.push(out, |_| format!("devices of load {load} prove {proof:?} to agent {slot}"), next);
        }
        if world.left.late_proofs > 0 && driver.proof.is_none() {
            let mut next = *world;
            next.left.late_proofs -= 1;
            next.driver[load][slot].proof = Some(proof);
            self.push(
                out,
                |_| format!("devices of load {load} prove {proof:?} to agent {slot}, who reads it later"),
                next,
            );
        }
        if let Some(proof) = driver.proof {
            let mut next = *world;
            next.driver[load][slot].proof = None;
            self.proves(&mut next, load, slot, proof);
            self.push(out, |_| format!("agent {load}.{slot} reads the late proof {proof:?}"), next);
        }
    }

    fn proves(
        &mut self,
        world: &mut World,
        load: usize,
        slot: usize,
        (command, ceiling, settled): (u16, u8, bool),
    ) -> bool {
        let proof = Proof { ceiling: watts(ceiling), expires: self.expires(world.seconds), settled };
        self.tell_agent(world, load, slot, Key::Devices(u64::from(command), proof))
    }

    /// What happens to one load by itself.
    fn happens(&mut self, world: &World, load: usize, out: &mut Next) {
        let left = world.left;
        let orphans = world.status[load][0].map(|at| match at {
            0 => 0,
            at => {
                let status = self.machines.statuses.get(at).clone();
                self.machines.statuses.number(Status { write: 0, given_up: true, ..status })
            }
        });
        let mut case = |wanted: bool, label: &str, change: &mut dyn FnMut(&mut World)| {
            if wanted {
                let mut next = *world;
                change(&mut next);
                self.push(out, |_| format!("load {load}: {label}"), next);
            }
        };
        case(left.demands > 0, "its demand changes", &mut |w| {
            w.left.demands -= 1;
            w.demand[load] = LIMIT - w.demand[load];
        });
        case(world.rising[load].0 > 0, "a raise arrives", &mut |w| {
            w.limiter[load] = w.limiter[load].max(w.rising[load].0);
            w.rising[load] = (0, 0);
        });
        let lapsed = load == 0
            && self.scene.life_seconds > 0
            && world.seconds >= world.holds[load]
            && world.limiter[load] < LIMIT;
        case(lapsed, "its devices drop their limiters", &mut |w| w.limiter[load] = LIMIT);
        case(left.deletes > 0 && world.api[load] > 0, "deleted", &mut |w| {
            w.left.deletes -= 1;
            w.old[load] = w.api[load];
            w.api[load] = 0;
        });
        case(left.kills > 0 && load == 0 && world.agent[0][0] > 0, "its agent dies", &mut |w| {
            w.left.kills -= 1;
            w.agent[load][0] = 0;
            w.driver[load][0] = Driver::default();
            w.status[load][0] = orphans;
        });
        if left.remakes > 0 && world.api[load] == 0 {
            let mut next = *world;
            next.left.remakes -= 1;
            let revision = self.machines.views.get(world.old[load]).revision + 2;
            let view = self.view(load, i64::from(LIMIT), Order::default(), revision);
            next.api[load] = self.machines.views.number(view);
            self.push(out, |_| format!("load {load}: made again"), next);
        }
        let slot = usize::from(left.spares > 0 && load == 0 && world.agent[load][1] == 0);
        if slot == 1 || world.agent[load][0] == 0 {
            let mut next = *world;
            next.left.spares -= slot as u8;
            next.holders[load] += u8::from(self.keeps(Outside::NewHolder));
            let agent = self.agent(u64::from(next.holders[load]), world.now());
            next.agent[load][slot] = self.machines.agents.number(agent);
            self.push(out, |_| format!("load {load}: agent {slot} starts"), next);
        }
    }

    /// Leaders, backups, clocks.
    fn leads(&mut self, world: &World, out: &mut Next) {
        let mut next = *world;
        if world.left.leads > 0 && world.ledger[1] == 0 {
            next.left.leads -= 1;
            let (clock, stored) = world.epochs;
            let epoch = if self.keeps(Outside::ClockEpoch) { clock + 1 } else { stored + 1 };
            next.epochs = (clock.max(epoch), epoch);
            next.ledger[1] = self.lead(world, u64::from(epoch)).unwrap_or(0);
            self.push(out, |_| format!("operator 1 leads with epoch {epoch}"), next);
        }
        if world.left.restores > 0 && world.ledger[1] == 0 {
            // By the runbook: operators are stopped, revisions bumped; it takes longer than a permit lives.
            let mut next = *world;
            next.left.restores -= 1;
            next.ledger[0] = 0;
            next.epochs.1 = 1;
            next.seconds += 11;
            next.rising = [(0, 0); 2];
            for load in 0..2 {
                let revision = self.machines.views.get(world.api[load]).revision + 1;
                let view = LoadView { revision, ..self.machines.views.get(world.backup[load]).clone() };
                next.api[load] = self.machines.views.number(view);
                next.old[load] = next.api[load];
            }
            self.push(out, |_| "a backup is restored".into(), next);
        }
        if world.left.jumps > 0 {
            let mut next = *world;
            next.left.jumps -= 1;
            next.seconds += i16::try_from(self.scene.jump_seconds).unwrap();
            // A command reaches its device within the settling time, or never.
            next.rising = [(0, 0); 2];
            self.push(out, |_| format!("{} s pass", self.scene.jump_seconds), next);
        }
    }

    fn show(&self, view: u32) -> String {
        if view == 0 {
            return "nothing".into();
        }
        let v = self.machines.views.get(view);
        let stated = v.stated.map(|s| format!("{:?} under {:?} by {:?}", s.ceiling, s.order, s.holder.0));
        format!("setpoint {:?} {:?} stated {stated:?} rev {}", v.setpoint, v.order, v.revision)
    }
}

impl Flight {
    /// It may still be heard as a shout.
    fn lowers_shouted(self, shouts: u8) -> bool {
        self.lowers && shouts > 0
    }
}

fn told(command: u64, limit: Watts, raise_until: Option<Time>) -> Driver {
    let raise_until =
        raise_until.map_or(NEVER, |until| i16::try_from(until.since(START).whole_seconds()).unwrap_or(ALWAYS));
    Driver { command: command as u16, limit: small(limit), raise_until, told: true, proof: None }
}
