//! The agent of one load: obeys the newest order, states its ceiling before it raises, lowers the ceiling on proof.
//!
//! It acts through its caller: [`Act::State`] writes the status, [`Act::Device`] sets the devices. To raise: first the
//! statement, accepted under the order that is obeyed, then the devices, within [`PERMIT`] of sending that statement.
//! To lower: first the devices, then the proof, then the statement. Nothing it does rests on a message having arrived.
//!
//! No statement is below the setpoint of its order. While that order stands the devices may so rise to it again without
//! a new statement, and what was stated under it stays true however late it lands.

mod duty;
mod limit;
#[cfg(test)]
mod tests;

use self::limit::Fall;
use super::rules::{Broken, Rule};
use super::{Act, Heartbeat, HolderId, Input, LoadView, Order, Outcome, Precondition, Proof, Statement};
use crate::units::{Span, Time, Watts};

/// How long after a status write was sent (and then accepted) a device may be raised. A successor waits as long.
pub const PERMIT: Span = Span::seconds(10);

/// While devices are being raised one after another, the status write is repeated so often.
pub const PERMIT_RENEWAL: Span = Span::seconds(5);

/// A Lease renewal seen longer ago permits no raise.
pub const LEADER_LIFE: Span = Span::seconds(10);

/// A status write that is not answered within this is taken to be lost.
pub const WRITE_LIFE: Span = Span::seconds(10);

/// A status write that was refused is tried again after this, or at once when something newer is read.
pub const REFUSED_RETRY: Span = Span::seconds(5);

/// Where heartbeats carry the life of the proof, the status is written so often for it.
pub const PROOF_RENEWAL: Span = Span::seconds(60);

/// A ceiling on its way down is stated at most so often before it has arrived.
pub const LOWERING_PACE: Span = Span::seconds(5);

/// What an agent is started with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// This run of this process: no other run, of this pod or another, has the same.
    pub holder: HolderId,
    /// The longest that a command sent to a device may take to have its effect, or else to have none.
    pub settle: Span,
    /// Without a leader: how long to hold before lowering, jitter not included.
    pub hold: Span,
    /// Without a leader: how fast to lower after that, W per minute.
    pub down_per_minute: Watts,
    /// The status is written so often for nothing but the life of the proof: [`PROOF_RENEWAL`] where heartbeats carry
    /// it in between; where none do, sooner than the shortest proof ends.
    pub renewal: Span,
}

/// Where this run stands towards the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Role {
    /// Has not held the load yet: changes nothing.
    Candidate,
    /// Holds it, and waits until nothing that its predecessor did can reach a device any more.
    Waiting { until: Time },
    /// Holds it.
    Holding,
    /// Another holds it: changes nothing for good.
    Overtaken,
}

/// The last [`Act::Device`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Command {
    number: u64,
    limit: Watts,
    raise_until: Option<Time>,
    /// No proof has shown it carried out.
    open: bool,
    /// Devices may stand lower than this, since none was raised to get here.
    short: bool,
}

/// A status write without a good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Flight {
    write: u64,
    sent: Time,
    order: Order,
    revision: u64,
    permits: bool,
    /// Refused or lost; not to be tried again before this unless something newer is read.
    failed: Option<Time>,
}

/// The state machine beside the devices of one load.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Agent {
    config: Config,
    started: Time,
    /// The newest spec seen, with the status as it stood: obeyed also when the load is gone.
    view: Option<LoadView>,
    gone: bool,
    role: Role,
    leader: Option<(u64, Time)>,
    shed: Option<(Order, Watts)>,
    fall: Option<Fall>,
    device: Option<Command>,
    commands: u64,
    /// Proofs made before this command may rest on what a raise has undone since.
    barrier: u64,
    /// The most the devices can draw by proof and by what they were told since, W.
    reach: Option<Watts>,
    proof: Option<Proof>,
    writes: u64,
    flight: Option<Flight>,
    /// Under which order, and when sent, the last accepted statement of a ceiling.
    permit: Option<(Order, Time)>,
    stated_at: Time,
    pub(super) broken: Broken,
}

impl Agent {
    /// An agent in the dark: it raises nothing until it has read, become the holder, waited, proved, stated and been
    /// accepted.
    pub const fn new(config: Config, now: Time) -> Self {
        Self {
            config,
            started: now,
            view: None,
            gone: false,
            role: Role::Candidate,
            leader: None,
            shed: None,
            fall: None,
            device: None,
            commands: 0,
            barrier: 0,
            reach: None,
            proof: None,
            writes: 0,
            flight: None,
            permit: None,
            stated_at: now,
            broken: Broken::NONE,
        }
    }

    /// Takes in one thing and says what to do about it, in this order.
    ///
    /// `now` is a clock that never runs backwards. Called with [`Input::Tick`] about once a second.
    pub fn step(&mut self, input: Input, now: Time) -> Vec<Act> {
        self.absorb(input, now);
        let mut acts = Vec::new();
        match self.role {
            Role::Overtaken => return acts,
            Role::Candidate => {
                acts.extend(self.take_over(now));
                return acts;
            }
            Role::Waiting { until } if until <= now || !self.broken.keeps(Rule::SuccessorWaits) => {
                self.role = Role::Holding;
                // What was read back until now may rest on what the predecessor has changed since.
                self.device = None;
            }
            Role::Waiting { .. } | Role::Holding => {}
        }
        self.note_leader(now);
        acts.extend(self.lower(now));
        acts.extend(self.state(now));
        acts.extend(self.raise(now));
        acts
    }

    /// Takes other terms for the time without a leader over, from now on. A fall under way goes on by them: it may stop
    /// sooner or stay where it is, and nothing is raised by it, for only a leader permits that.
    pub const fn follow_loss(&mut self, hold: Span, down_per_minute: Watts) {
        self.config.hold = hold;
        self.config.down_per_minute = down_per_minute;
    }

    /// What to say over the link now, if the statement that stands is still true.
    pub fn heartbeat(&self, now: Time) -> Option<Heartbeat> {
        let stated = self.stated()?;
        let (ceiling, proof) = (self.reach?, self.proof?);
        stated.ceiling.filter(|_| self.role == Role::Holding && now < proof.expires)?;
        Some(Heartbeat { order: stated.order, holder: self.config.holder, ceiling, proof_expires: proof.expires })
    }

    /// Whether another agent holds the load: this one will do nothing any more, and its process should end.
    pub fn is_overtaken(&self) -> bool {
        self.role == Role::Overtaken
    }

    /// Whether the load is missing at the API server: its devices are held where they are.
    pub const fn is_orphaned(&self) -> bool {
        self.gone
    }

    /// For the model check: makes alike what will never act differently. Write numbers only pair answers with writes,
    /// command numbers proofs with commands, and what has run out has run out, however long ago.
    #[cfg(test)]
    pub(super) fn reduce(&mut self, acts: &mut [Act], number_commands: bool, now: Time) {
        if self.role == Role::Overtaken {
            *self = Self { role: Role::Overtaken, broken: self.broken, ..Self::new(self.config.clone(), self.started) };
        }
        if self.flight.is_none() {
            self.writes = 0;
        }
        if self.broken.keeps(Rule::PermitEnds) {
            self.permit = self.permit.filter(|(_, sent)| now < sent.after(PERMIT));
        }
        if let Some(proof) = &mut self.proof {
            proof.ceiling = Watts::ZERO;
        }
        if self.stated_at.after(LOWERING_PACE) <= now {
            self.stated_at = now.before(LOWERING_PACE);
        }
        if number_commands {
            return;
        }
        if let Some(device) = &mut self.device {
            (device.number, self.commands, self.barrier) = (1, 1, 1);
        }
        for act in acts {
            if let Act::Device { command, .. } = act {
                *command = 1;
            }
        }
    }

    /// The number of the last command to the devices.
    #[cfg(test)]
    pub(super) fn command_number(&self) -> Option<u64> {
        self.device.as_ref().map(|command| command.number)
    }

    /// What the devices were last told to stay under, W.
    pub fn limit(&self) -> Option<Watts> {
        self.device.as_ref().map(|command| command.limit)
    }

    /// The order obeyed.
    pub fn order(&self) -> Option<Order> {
        self.view.as_ref().map(|view| view.order)
    }

    fn absorb(&mut self, input: Input, now: Time) {
        match input {
            Input::Load(None) => self.gone = true,
            Input::Load(Some(view)) => self.see(view, now),
            Input::Leader { epoch, seen } => {
                let newer = self.leader.is_none_or(|(known, at)| (known, at) < (epoch, seen));
                if newer {
                    self.leader = Some((epoch, seen.min(now)));
                }
            }
            Input::Shed { order, setpoint } => self.hear_shed(order, setpoint),
            Input::Answer { write, outcome } => self.answered(write, outcome, now),
            Input::Devices { command, proof } => self.believe(command, proof),
            Input::Tick => self.flight = self.flight.filter(|flight| flight.failed.is_none_or(|retry| now < retry)),
        }
    }

    /// Obeys nothing older than the newest it has seen; learns who holds the load.
    fn see(&mut self, view: LoadView, now: Time) {
        if let Some(known) = &self.view {
            let older = view.order < known.order;
            if (older && self.broken.keeps(Rule::Memory))
                || (view.order == known.order && view.revision < known.revision)
            {
                return;
            }
        }
        self.gone = false;
        self.shed = self.shed.filter(|(order, _)| *order > view.order);
        // A write that failed is worth another try once there is something new to write it on.
        self.flight = self.flight.filter(|flight| flight.failed.is_none() || flight.revision == view.revision);
        let holder = view.stated.map(|stated| stated.holder);
        self.view = Some(view);
        let mine = holder == Some(self.config.holder);
        self.role = match self.role {
            Role::Candidate if mine => Role::Waiting { until: now.after(PERMIT).after(self.config.settle) },
            Role::Waiting { .. } | Role::Holding if holder.is_none() => Role::Candidate,
            Role::Waiting { .. } | Role::Holding if !mine && self.broken.keeps(Rule::OneHolder) => Role::Overtaken,
            role => role,
        };
    }

    fn answered(&mut self, write: u64, outcome: Outcome, now: Time) {
        let flight = self.flight.filter(|flight| flight.write == write);
        match outcome {
            Outcome::Accepted(view) => {
                if let Some(flight) = flight {
                    self.flight = None;
                    if flight.permits {
                        self.permit = Some((flight.order, flight.sent));
                    }
                }
                self.see(view, now);
            }
            Outcome::Refused | Outcome::Unknown => {
                // What was refused will be refused until something has changed; what was lost is worth a repetition.
                let wait = if outcome == Outcome::Refused { REFUSED_RETRY } else { Span::default() };
                self.flight = flight.map(|flight| Flight { failed: Some(now.after(wait)), ..flight }).or(self.flight);
            }
        }
    }

    /// Becomes the holder by compare-and-swap, which voids the ceiling.
    fn take_over(&mut self, now: Time) -> Option<Act> {
        let view = self.view.as_ref().filter(|_| !self.gone)?;
        let void = Statement { ceiling: None, order: view.order, holder: self.config.holder, proof_expires: now };
        let only_if = Precondition::Revision(view.revision);
        self.send(void, only_if, now)
    }

    /// This run's own statement, as it stands at the API server.
    fn stated(&self) -> Option<Statement> {
        let stated = self.view.as_ref()?.stated?;
        (stated.holder == self.config.holder || !self.broken.keeps(Rule::OneHolder)).then_some(stated)
    }
}
