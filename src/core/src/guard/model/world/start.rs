//! Where a run begins.

use super::*;
use crate::guard::agent::{Agent, Config, PROOF_RENEWAL};
use crate::guard::ledger::Ledger;
use crate::guard::rules::Broken;
use crate::guard::{Act, HolderId, Input, KnownLimit, LoadFacts, LoadId, Outcome, Proof, Seen, Statement};
use crate::tree::{Node, NodeId, Tree};
use crate::units::Ppm;

impl Model {
    pub(super) fn view(&self, load: usize, setpoint: i64, order: Order, revision: u64) -> LoadView {
        let at = |s: i64| START.after(Span::seconds(s));
        let known = self.scene.known_limit.filter(|_| load == 0);
        let schedule = known.map(|(from, until)| KnownLimit { from: at(from), until: at(until), limit: Watts::ZERO });
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

    pub(super) fn agent(&self, holder: u64, now: Time) -> Agent {
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

    pub(super) fn expires(&self, seconds: i16) -> Time {
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
            let order = Order { epoch: u64::from(epoch), sequence: self.scene.sequence };
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

    /// Where the search begins: the start, and the steps of the scene's prelude.
    pub(in crate::guard::model) fn begin(&mut self) -> World {
        let mut world = self.start();
        let told = std::mem::replace(&mut self.tell, true);
        for wanted in self.scene.prelude {
            let mut out = Vec::new();
            self.next(&world, &mut out);
            let labels: Vec<String> = out.iter().map(|(label, _)| label.clone()).collect();
            let step = out.into_iter().find(|(label, _)| label.starts_with(wanted));
            world = step.unwrap_or_else(|| panic!("no step {wanted:?} among {labels:#?}")).1;
        }
        self.tell = told;
        world
    }

    /// Drives a new agent until it holds its load, has proved and stated.
    pub(super) fn settle(&mut self, holder: u64, mut view: LoadView) -> (u32, LoadView, Driver) {
        let early = START.before(Span::seconds(100));
        let mut agent = self.agent(holder, early);
        let mut driver = Driver::default();
        let mut queue = std::collections::VecDeque::from([(Input::Load(Some(view.clone())), early)]);
        let leader = Input::Leader { epoch: view.order.epoch, seen: START };
        let proof = Proof { ceiling: view.setpoint, expires: self.expires(0), settled: true, rising: false };
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
                        driver = Driver::told(command, limit, raise_until);
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
    pub(super) fn lead(&mut self, world: &World, epoch: u64) -> Option<u32> {
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
}
