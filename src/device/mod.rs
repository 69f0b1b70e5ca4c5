//! The port to the devices of one load: miners of a container, GPUs of a node.
//!
//! Messages, not calls: commands are handed over and answers fetched, neither waits. A driver that speaks to real
//! devices runs in its own tasks behind it, the simulated plant in virtual time.
//!
//! What every end of it keeps (`devices.md` says why):
//! - One serial queue a device: at most one write and one read of it under way, in the order given.
//! - Each [`Ask::Set`](ampacity_core::guard::proof::Ask::Set) gets exactly one answer with its number: done, refused
//!   with a reason, or lost once the driver's time-out has passed. A device's yes is passed on as a yes and is no more.
//! - A read that fails gets no answer. Nothing is filled in from an earlier one, and `asked_at` is when the request
//!   left for the device, not when it was queued here.
//! - A limiter is what the device says is in force, never what it was told.
//! - Inventory is the owner's list, not what a scan found: a device that is off is described like the others.

use ampacity_core::guard::proof::{DeviceAnswer, DeviceCommand, LoadDevices};
use ampacity_core::units::{Time, Watts};

/// The devices of one load.
pub trait Devices: Send {
    /// Every device on the load's wires with what it declares: ladder, retention, times, errors.
    fn describe(&self) -> LoadDevices;

    /// Hands commands over. Returns at once; what comes of them comes back through [`Devices::poll`].
    fn submit(&mut self, commands: &[DeviceCommand], now: Time);

    /// What has been answered since the last call, oldest first. Returns at once.
    fn poll(&mut self, now: Time) -> Vec<DeviceAnswer>;

    /// The newest sample of a meter of this load alone, where there is one and it answers.
    fn meter(&mut self, now: Time) -> Option<Sample>;
}

/// One sample of a meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Measured draw, W.
    pub watts: Watts,
    /// The most it may be off, W.
    pub error: Watts,
    /// When it was taken: the sample's own time, not the query's.
    pub time: Time,
}
