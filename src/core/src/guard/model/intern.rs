//! The real machines, each state of theirs kept once: the search then moves numbers about, and every answer of a machine
//! is computed once by driving it.

use crate::guard::{
    Act, Agent, Heartbeat, Input, Ledger, LoadId, LoadView, Order, Outcome, Precondition, Proof, Seen, Statement, Want,
    Write,
};
use crate::units::{Time, Watts};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::rc::Rc;

/// A fast hash for small keys: the search spends most of its time in it.
#[derive(Default)]
pub(super) struct Fast(u64);

impl Hasher for Fast {
    fn finish(&self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        mixed ^ (mixed >> 29)
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }
    fn write_u8(&mut self, x: u8) {
        self.write_u64(u64::from(x));
    }
    fn write_u16(&mut self, x: u16) {
        self.write_u64(u64::from(x));
    }
    fn write_u32(&mut self, x: u32) {
        self.write_u64(u64::from(x));
    }
    fn write_u64(&mut self, x: u64) {
        self.0 = (self.0.rotate_left(23) ^ x).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
    fn write_i64(&mut self, x: i64) {
        self.write_u64(x as u64);
    }
    fn write_usize(&mut self, x: usize) {
        self.write_u64(x as u64);
    }
}

pub(super) type Build = BuildHasherDefault<Fast>;

/// Values kept once, by number. Number 0 is nothing.
pub(super) struct Pool<T> {
    values: Vec<Rc<T>>,
    numbers: HashMap<Rc<T>, u32, Build>,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self { values: Vec::new(), numbers: HashMap::default() }
    }
}

impl<T: Hash + Eq> Pool<T> {
    pub(super) fn number(&mut self, value: T) -> u32 {
        if let Some(known) = self.numbers.get(&value) {
            return *known;
        }
        let value = Rc::new(value);
        self.values.push(Rc::clone(&value));
        let number = self.values.len() as u32;
        self.numbers.insert(value, number);
        number
    }

    pub(super) fn get(&self, number: u32) -> &T {
        &self.values[number as usize - 1]
    }
}

/// A status write on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Status {
    pub(super) write: u64,
    pub(super) statement: Statement,
    pub(super) only_if: Precondition,
    pub(super) given_up: bool,
}

type AgentStep = (u32, Rc<[Act]>);
type LedgerStep = (u32, Rc<[Write]>);

/// All that was ever computed.
#[derive(Default)]
pub(super) struct Machines {
    pub(super) views: Pool<LoadView>,
    pub(super) agents: Pool<Agent>,
    pub(super) ledgers: Pool<Ledger>,
    pub(super) statuses: Pool<Status>,
    agent_steps: HashMap<(u32, Key, i64), AgentStep, Build>,
    learned: HashMap<(u32, u32, Key, i64), Option<u32>, Build>,
    ledger_steps: HashMap<(u32, Want, i64), LedgerStep, Build>,
    /// Whether command numbers matter: only where proofs may be late.
    pub(super) number_commands: bool,
}

/// Something told to a machine, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// The view of this number, or nothing.
    Load(u32),
    Tick,
    Leader(u64),
    /// This setpoint is shouted.
    Shed(Order, Watts),
    /// A write (status number, or order) got this answer.
    Accepted(u64, u32),
    Refused(u64),
    Unknown(u64),
    Devices(u64, Proof),
    Heartbeat(Heartbeat),
}

impl Machines {
    fn view(&self, number: u32) -> Option<LoadView> {
        (number > 0).then(|| self.views.get(number).clone())
    }

    fn outcome(&self, key: Key) -> Option<(u64, Outcome)> {
        match key {
            Key::Accepted(write, view) => Some((write, Outcome::Accepted(self.view(view)?))),
            Key::Refused(write) => Some((write, Outcome::Refused)),
            Key::Unknown(write) => Some((write, Outcome::Unknown)),
            _ => None,
        }
    }

    fn input(&self, key: Key, now: Time) -> Input {
        match key {
            Key::Load(view) => Input::Load(self.view(view)),
            Key::Leader(epoch) => Input::Leader { epoch, seen: now },
            Key::Shed(order, setpoint) => Input::Shed { order, setpoint },
            Key::Devices(command, proof) => Input::Devices { command, proof },
            Key::Tick => Input::Tick,
            answer => {
                let (write, outcome) = self.outcome(answer).unwrap();
                Input::Answer { write, outcome }
            }
        }
    }

    /// Drives the agent.
    pub(super) fn agent(&mut self, agent: u32, key: Key, now: Time) -> AgentStep {
        if let Some(known) = self.agent_steps.get(&(agent, key, now.get())) {
            return known.clone();
        }
        let mut machine = self.agents.get(agent).clone();
        let mut acts = machine.step(self.input(key, now), now);
        machine.reduce(&mut acts, self.number_commands, now);
        let result = (self.agents.number(machine), Rc::from(acts));
        self.agent_steps.insert((agent, key, now.get()), result.clone());
        result
    }

    /// Drives the ledger; none: its process exits. An answer is to the write of this sequence.
    pub(super) fn learn(&mut self, ledger: u32, load: u32, key: Key, now: Time) -> Option<u32> {
        if let Some(known) = self.learned.get(&(ledger, load, key, now.get())) {
            return *known;
        }
        let mut machine = self.ledgers.get(ledger).clone();
        let id = LoadId(load);
        let seen = match key {
            Key::Load(view) => Seen::Load(id, self.view(view)),
            Key::Heartbeat(beat) => Seen::Heartbeat(id, beat),
            answer => {
                let (sequence, outcome) = self.outcome(answer).unwrap();
                Seen::Answer { load: id, order: Order { epoch: machine.epoch(), sequence }, outcome }
            }
        };
        let alive = machine.learn(seen, now).is_ok();
        machine.reduce();
        let result = alive.then(|| self.ledgers.number(machine));
        self.learned.insert((ledger, load, key, now.get()), result);
        result
    }

    /// Asks the ledger for its writes.
    pub(super) fn steps(&mut self, ledger: u32, want: Want, now: Time) -> LedgerStep {
        if let Some(known) = self.ledger_steps.get(&(ledger, want, now.get())) {
            return known.clone();
        }
        let mut machine = self.ledgers.get(ledger).clone();
        let writes = machine.steps(&[want], now);
        machine.reduce();
        let result = (self.ledgers.number(machine), Rc::from(writes));
        self.ledger_steps.insert((ledger, want, now.get()), result.clone());
        result
    }
}
