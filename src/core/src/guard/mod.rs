//! The guard: for every node of the tree, always, Σ bounds (with losses) + reserve ≤ limit.
//!
//! Two state machines, both pure. The `ledger` lives with the leading operator: it counts every load at its bound and
//! says which writes may be made now. The `agent` lives beside the devices of one load: it states its ceiling before
//! it raises a device, and lowers the ceiling only on proof. `proof` says what a proof is.
//!
//! The operator, the agents, the simulation and the model check (`model`, in the tests) drive these same two machines.
//!
//! What the API server must hold, by CEL on the root of the load, for every write of anybody:
//! - the fence: `(epoch, sequence)` of the spec rises with every change of the spec;
//! - a status with a ceiling carries the order of the spec as it stands;
//! - the holder changes only in a status without a ceiling.

pub mod agent;
pub mod ledger;
#[cfg(test)]
mod model;
mod rules;
#[cfg(test)]
mod together;

pub use agent::Agent;
pub use ledger::Ledger;

pub mod proof;

use crate::tree::NodeId;
use crate::units::{Span, Time, Watts};

/// A load's place in the caller's tables. Stable while an operator lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoadId(pub u32);

impl LoadId {
    /// The position in tables that run parallel to the loads.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A setpoint's place in the one order of everything: first by leader, then by write. Compared as a pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Order {
    /// The leader's number: above every earlier leader's.
    pub epoch: u64,
    /// The number of the write under this leader, per load. 0 is the claim, which permits no rise.
    pub sequence: u64,
}

/// Who holds a load: one run of one agent's process. The pod UID and what tells this run from every other of that pod
/// (a restarted container is a new holder: commands of the run before it may still be on their way), shortened by the
/// caller to a number that no two runs share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HolderId(pub u64);

/// A limit that is known to come: from `from` to `until` this load is to stay under `limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KnownLimit {
    /// Binds from here (the caller has taken off the slowest shed and the clock skew).
    pub from: Time,
    /// Binds up to here.
    pub until: Time,
    /// The most this load may draw in between, W.
    pub limit: Watts,
}

/// What a load's agent stated in its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Statement {
    /// The most its devices can draw by limiters that were read back, W. None: voided by a change of holder.
    pub ceiling: Option<Watts>,
    /// The order under which that was stated.
    pub order: Order,
    /// Who stated it.
    pub holder: HolderId,
    /// The proof behind the ceiling holds up to here without being renewed.
    pub proof_expires: Time,
}

/// What the API server holds of one load, as far as safety counts with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LoadView {
    /// The watts to stay under.
    pub setpoint: Watts,
    /// That setpoint's place in the order.
    pub order: Order,
    /// The most the load could ever draw, W.
    pub nameplate: Watts,
    /// Where the agent goes without a leader, W: never a rise.
    pub fallback: Watts,
    /// Limits known to be coming, obeyed with or without a leader. At most 8.
    pub schedule: Vec<KnownLimit>,
    /// The agent's last accepted statement.
    pub stated: Option<Statement>,
    /// The object's revision, for the compare-and-swap of a change of holder.
    pub revision: u64,
}

/// A load as the ledger was told of it: facts that do not change while it lives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LoadFacts {
    /// The feeder it hangs on. Immutable.
    pub node: NodeId,
    /// The most it could ever draw, W.
    pub nameplate: Watts,
    /// How long after an order its agent may take to prove it.
    pub proof_within: Span,
}

/// What the ledger is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Seen {
    /// A watch (or a fresh list) shows the load; none: it is missing there.
    Load(LoadId, Option<LoadView>),
    /// The API server answered a write.
    Answer {
        /// The load written.
        load: LoadId,
        /// The order of the write.
        order: Order,
        /// What became of it.
        outcome: Outcome,
    },
    /// A heartbeat over the link renewed the life of a proof: what [`Agent::heartbeat`] said.
    Heartbeat(LoadId, Heartbeat),
    /// A meter reading at a node, by the sample's own time.
    Meter {
        /// Where.
        node: NodeId,
        /// Measured draw, W.
        watts: Watts,
        /// The most the meter may be off, W.
        error: Watts,
        /// When the sample was taken.
        time: Time,
    },
    /// The nameplate sum that the budget keeps for a feeder: what is not there to be seen counts as drawn.
    Tombstone(NodeId, Watts),
    /// A person, or a proof of 0 W, released this load: it is gone.
    Released(LoadId),
}

/// What an agent says over the link while its ceiling stands: the life of its proof, without a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Heartbeat {
    /// The order of the statement that stands.
    pub order: Order,
    /// Who says it.
    pub holder: HolderId,
    /// What the devices are proved to stay under now, W. It renews no statement of less than that.
    pub ceiling: Watts,
    /// The proof now holds up to here.
    pub proof_expires: Time,
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Accepted: the object as it now stands.
    Accepted(LoadView),
    /// Refused by the API server (fence, policy, not found): it did not land.
    Refused,
    /// Lost or timed out: it may have landed, or may land yet.
    Unknown,
}

/// What the ledger wants written, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Write {
    /// First write of a leader to a load: the new epoch at sequence 0, the setpoint as it stands. Permits no rise.
    Claim {
        /// The load.
        load: LoadId,
        /// (own epoch, 0).
        order: Order,
    },
    /// A setpoint not above the one that stands. Free at any time; also shouted over the link.
    Lower {
        /// The load.
        load: LoadId,
        /// The write's place.
        order: Order,
        /// The new setpoint.
        setpoint: Watts,
    },
    /// A setpoint below all that was asked while a write has no answer, or was refused: told over the link alone. No
    /// shed waits for an API server. The order is of its own and never written; the next write comes after it.
    Shout {
        /// The load.
        load: LoadId,
        /// Its place among writes.
        order: Order,
        /// The setpoint that is not to be passed.
        setpoint: Watts,
    },
    /// A setpoint above the one that stands, or above what was last asked: there was room on every ancestor.
    Raise {
        /// The load.
        load: LoadId,
        /// The write's place.
        order: Order,
        /// The new setpoint.
        setpoint: Watts,
    },
}

/// Why a load counts at what it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Basis {
    /// max(setpoint, ceiling, unanswered raises), all known.
    Known,
    /// The setpoint is below the ceiling: the agent has yet to prove it.
    Proving,
    /// This leader's claim has not been read back.
    Unclaimed,
    /// No ceiling stated under the present epoch, or voided by a change of holder.
    Unstated,
    /// The proof's life ran out.
    Expired,
    /// The load is missing from the list.
    Absent,
    /// The load refuses its orders.
    Refusing,
}

/// What one load counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bound {
    /// What safety counts with, W.
    pub watts: Watts,
    /// Why that.
    pub basis: Basis,
    /// Since when the basis has been this.
    pub since: Time,
}

/// A wanted setpoint for one load, most valuable first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Want {
    /// The load.
    pub load: LoadId,
    /// The setpoint wanted for it, W.
    pub watts: Watts,
    /// A raise that only partly fits is made in whole multiples of this above the present setpoint; 0: any amount.
    pub step: Watts,
}

/// What the devices of a load, taken together, can draw: made by `proof::Inventory`, believed by `agent::Agent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Proof {
    /// Σ over the whole inventory of proved limiters with their error, else power-on watts, and the largest overhead, W.
    pub ceiling: Watts,
    /// Up to here this holds without being read back again.
    pub expires: Time,
    /// Every command has been given, answered, read back and has settled. A device that cannot be reached counts
    /// its power-on watts and does not keep the others from settling.
    pub settled: bool,
    /// A device is still to be told to rise, or to be read first: leave to raise is of use. False while those that were
    /// told are on their way.
    pub rising: bool,
}

/// What an agent is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The watch (or a list) shows the load; none: it is gone, which changes nothing on the devices.
    Load(Option<LoadView>),
    /// The leader's Lease was seen renewed.
    Leader {
        /// The epoch of that leader.
        epoch: u64,
        /// When the renewal was seen, by the agent's own clock.
        seen: Time,
    },
    /// The leading operator shouts a lower setpoint. Takes effect at once; never raises anything. Stands until a spec
    /// of this order or a later one is seen.
    Shed {
        /// The order that the durable write of this setpoint carries.
        order: Order,
        /// Stay under this, W.
        setpoint: Watts,
    },
    /// The leading operator shouts limits that are known to come. Never raises anything: they bind beside those of the
    /// spec, until a spec of this order or a later one is seen.
    Schedule {
        /// The order that the durable write of these limits carries.
        order: Order,
        /// At most 8; what is more is left to the spec.
        limits: Vec<KnownLimit>,
    },
    /// The API server answered the agent's status write number `write`.
    Answer {
        /// The number that [`Act::State`] carried.
        write: u64,
        /// What became of it: for `Accepted`, the object as it now stands.
        outcome: Outcome,
    },
    /// What the devices prove now.
    Devices {
        /// The newest [`Act::Device`] that had been handed to the inventory when it made this proof.
        command: u64,
        /// The proof.
        proof: Proof,
    },
    /// Time passed.
    Tick,
}

/// What an agent wants done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// Write the status.
    State {
        /// Number of this write, for its answer.
        write: u64,
        /// What to state.
        statement: Statement,
        /// On what the API server is to accept it.
        only_if: Precondition,
    },
    /// Bring the devices to limiters whose sum, with error and overhead, fits `limit`, and keep them there. Takes the
    /// place of every earlier one: a raise that has not been sent to its device by then is not sent any more.
    Device {
        /// Its number, for [`Input::Devices`]. The same number again renews `raise_until` alone.
        command: u64,
        /// W.
        limit: Watts,
        /// Up to here a device may be sent a higher limiter than it has; none: none may.
        raise_until: Option<Time>,
        /// Nothing read back before this counts: another agent's commands may have reached the devices since.
        afresh: bool,
    },
}

/// On what a status write is to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precondition {
    /// The spec still carries this order, and the status this holder: no more than CEL holds every status write to.
    /// Enough for a ceiling that rises: landing late it counts too much.
    Order(Order),
    /// Besides, the object still has this revision. For all else: a change of holder, and a ceiling that does not
    /// rise, which would hide a higher one if it landed after it.
    Revision(u64),
}
