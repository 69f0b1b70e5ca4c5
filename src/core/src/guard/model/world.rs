//! The world around the machines: an API server, messages that are late, lost or answered to nobody, devices, clocks.

mod messages;
mod start;
mod things;

use super::intern::Machines;
use super::scenes::{Budget, Scene};
use crate::guard::rules::Rule;
use crate::guard::{LoadView, Order, Precondition};
use crate::units::{Span, Time, Watts};

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
    pub(super) outside: [Option<Outside>; 2],
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
    /// Only shouted: it never lands.
    spoken: bool,
}

/// What an inventory was last told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Driver {
    command: u16,
    limit: u8,
    /// Seconds after the start; [`NEVER`], [`ALWAYS`].
    raise_until: i16,
    told: bool,
    /// A proof that was made and is yet to be read by the agent: its command, ceiling, settled, rising.
    proof: Option<(u16, u8, bool, bool)>,
}

impl Driver {
    /// By a command of the agent.
    fn told(command: u64, limit: Watts, raise_until: Option<Time>) -> Self {
        let raise_until =
            raise_until.map_or(NEVER, |until| i16::try_from(until.since(START).whole_seconds()).unwrap_or(ALWAYS));
        Self { command: command as u16, limit: small(limit), raise_until, told: true, proof: None }
    }
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
        !self.without.outside.contains(&Some(outside))
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
            let may_land = |f: Flight| match world.api[usize::from(f.load)] {
                _ if f.spoken => false,
                0 => world.left.remakes > 0,
                api => {
                    let again = world.left.restores > 0 || world.left.remakes > 0;
                    again || self.fits(self.machines.views.get(api), f)
                }
            };
            *flight = flight.filter(|f| !f.given_up || f.lowers_shouted(world.left.shouts) || may_land(*f));
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
