//! The port between the leading operator and the agents: telemetry up, sheds down.
//!
//! Nothing that travels here can raise a watt, and nothing that is lost here can free one. Each agent has one bounded
//! queue each way; the newest message of a kind replaces an older one, so that a slow end never delays another.

pub mod memory;
pub mod none;

use ampacity_core::guard::{HolderId, KnownLimit, Order};
use ampacity_core::units::{Time, Watts};
use std::sync::Arc;

/// Telemetry and heartbeat of one agent: the newest replaces what was not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The load's name.
    pub load: Arc<str>,
    /// Who speaks.
    pub holder: HolderId,
    /// The order under which the ceiling below was last accepted.
    pub order: Order,
    /// The ceiling that was accepted last, W; none: none yet, or void.
    pub ceiling: Option<Watts>,
    /// The proof behind it holds up to here.
    pub proof_expires: Time,
    /// What the devices draw, W; none: not known.
    pub measured: Option<Watts>,
    /// The most that `measured` may be off, W.
    pub error: Watts,
    /// When that was sampled.
    pub sampled: Time,
    /// Of the ceiling, what no limiter lets through, and what devices have left unused for long, W: they are the first to
    /// be lowered.
    pub unused: Watts,
    /// Devices in the inventory, proved, silent, and contradicting what they said.
    pub devices: Devices,
    /// It uses what it has, and would use more than its setpoint allows.
    pub wants_more: bool,
    /// What the agent is doing, for people.
    pub note: String,
}

/// Counts over an inventory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Devices {
    /// In the inventory.
    pub total: u32,
    /// Whose limiter is proved.
    pub proved: u32,
    /// That do not answer.
    pub silent: u32,
    /// That say one thing and draw another.
    pub contradicting: u32,
    /// That leave what they may draw unused, or were lowered for it.
    pub idle: u32,
}

/// From the operator to one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shout {
    /// Lower at once.
    Shed {
        /// The order that the durable write carries.
        order: Order,
        /// Stay under this, W.
        setpoint: Watts,
    },
    /// Limits known to be coming.
    Schedule(Vec<KnownLimit>),
}

/// The operator's end.
pub trait Uplink {
    /// The newest reports since the last call, at most one for each agent.
    fn poll(&mut self) -> Vec<Arc<Report>>;
    /// Shouts at a load's agent; lost where no agent listens.
    fn shout(&mut self, load: &str, shout: Shout);
}

/// An agent's end.
pub trait Downlink {
    /// What the operator shouted since the last call, oldest first.
    fn poll(&mut self) -> Vec<Shout>;
    /// Reports; replaces a report that was not sent yet.
    fn report(&mut self, report: Report);
}
