//! What is on its way between the machines: orders, answers, status writes, views, sheds.

use super::*;
use crate::guard::model::intern::{Key, Status};
use crate::guard::{Act, LoadId, Want, Write};

impl Model {
    pub(super) fn operator(&mut self, world: &World, op: usize, out: &mut Next) {
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
    pub(super) fn sent(&self, mut world: World, op: usize, writes: &[Write]) -> Option<World> {
        for write in writes {
            let spoken = matches!(write, Write::Shout { .. });
            let (load, order, setpoint, lowers) = match *write {
                Write::Claim { load, order } => {
                    let cached = self.machines.ledgers.get(world.ledger[op]).view(load)?.setpoint;
                    (load, order, cached, false)
                }
                Write::Shout { .. } if world.left.shouts == 0 => return None,
                Write::Lower { load, order, setpoint } | Write::Shout { load, order, setpoint } => {
                    (load, order, setpoint, true)
                }
                Write::Raise { load, order, setpoint } => (load, order, setpoint, false),
            };
            world.left.sends = world.left.sends.checked_sub(1)?;
            let flight = Flight {
                from: op as u8,
                load: load.0 as u8,
                epoch: order.epoch as u8,
                sequence: order.sequence as u8,
                setpoint: small(setpoint),
                given_up: spoken,
                lowers,
                spoken,
            };
            *world.orders.iter_mut().find(|slot| slot.is_none())? = Some(flight);
        }
        (!writes.is_empty()).then_some(world)
    }

    pub(super) fn order(&mut self, world: &World, at: usize, flight: Flight, out: &mut Next) {
        if !flight.spoken {
            self.land(world, at, flight, out);
        }
        self.shout(world, flight, out);
    }

    /// The API server takes a write, or refuses it.
    fn land(&mut self, world: &World, at: usize, flight: Flight, out: &mut Next) {
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
    }

    /// The link carries a shed, whatever becomes of its write.
    fn shout(&mut self, world: &World, flight: Flight, out: &mut Next) {
        if flight.lowers_shouted(world.left.shouts) {
            let load = usize::from(flight.load);
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

    pub(super) fn answer(&mut self, world: &mut World, op: usize, flight: Flight, key: Key) {
        let ledger = world.ledger[op];
        if ledger > 0 && u64::from(flight.epoch) == self.machines.ledgers.get(ledger).epoch() {
            world.ledger[op] = self.machines.learn(ledger, u32::from(flight.load), key, world.now()).unwrap_or(0);
        }
    }

    pub(super) fn status(&mut self, world: &World, load: usize, slot: usize, at: usize, out: &mut Next) {
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
    pub(super) fn allows(&self, view: &LoadView, status: &Status) -> bool {
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
    pub(super) fn tell_agent(&mut self, world: &mut World, load: usize, slot: usize, key: Key) -> bool {
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
                    world.driver[load][slot] = Driver { proof, ..Driver::told(*command, *limit, *raise_until) };
                }
            }
        }
        before != after || !acts.is_empty()
    }

    pub(super) fn hears(&mut self, world: &World, load: usize, slot: usize, out: &mut Next) {
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
}
